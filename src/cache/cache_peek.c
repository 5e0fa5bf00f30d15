/* SPDX-License-Identifier: Apache-2.0 */
/* Looks that leave nothing behind: for who has counted already, or never would. */
#include <stdlib.h>
#include <string.h>

#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/cache_state.h"
#include "cache/packed.h"

#define PEEK_TRIES 16

/* Copy out an entry whose segment is held. */
static forebay_status copy_held(forebay_arena *arena, const entry_view *view, const forebay_sink *sink)
{
    unpacked_value unpacked = {.length = view->value_length};
    bool packed = (view->header & ENTRY_PACKED) != 0;
    forebay_status status = packed ? fb_packed_read(arena, view, &unpacked) : FOREBAY_OK;
    if (status != FOREBAY_OK)
        return status == FOREBAY_NOMEM ? status : FOREBAY_MISS; /* damaged, or its dictionary is gone */
    void *room = sink->room(sink->context, 0, unpacked.length, (forebay_kind)view->kind);
    if (room != NULL && packed)
        memcpy(room, unpacked.data, unpacked.length);
    else if (room != NULL)
        fb_copy_out(room, view->value, unpacked.length);
    free(unpacked.data);
    return room != NULL ? FOREBAY_OK : FOREBAY_NOMEM;
}

/* One look.  True: *status is final. */
static bool look_once(forebay_arena *arena, const index_key *key, uint32_t lane, uint64_t now, const forebay_sink *sink,
                      forebay_status *status)
{
    index_match match;
    uint64_t moves = fb_index_moves(arena);
    index_look look = fb_index_look_settled(arena, lane, key->hash);
    *status = FOREBAY_MISS;
    if (!fb_index_find_held(arena, lane, key, &look, &match))
        return fb_index_word(arena) == look.word && fb_index_moves(arena) == moves;
    if (!fb_index_readable(arena, key, &match.view, now))
        return true;
    *status = copy_held(arena, &match.view, sink);
    /* what is longer than a segment goes on where nothing is held */
    return *status == FOREBAY_NOMEM || fb_slot_same(atomic_load(match.slot), match.word);
}

forebay_status forebay_peek(forebay_cache *cache, const void *data, size_t length, const forebay_sink *sink)
{
    index_key key;
    forebay_status status = fb_cache_begin(cache, data, length, &key);
    if (status != FOREBAY_OK)
        return status;
    forebay_arena *arena = cache->arena;
    uint64_t now = fb_now_ms(arena);
    uint32_t lane = fb_lane_enter(arena);
    bool final = false;
    for (int t = 0; t < PEEK_TRIES && !final && !fb_cache_is_behind(cache, &key, now); t++)
        final = look_once(arena, &key, lane, now, sink, &status);
    fb_lane_leave(arena, lane);
    return final ? status : FOREBAY_MISS;
}
