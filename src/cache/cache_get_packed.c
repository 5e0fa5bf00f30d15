/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of packed entries: copy the packed bytes out, check that nothing moved,
 * unpack the copy. */
#include "base/copy.h"
#include "cache/hit.h"
#include "cache/reading.h"
#include "cache/warm.h"

#define COPY_BUFFER 2048u

/* Copy the packed bytes; false: they changed. */
static bool copy_whole(forebay_arena *arena, const read_match *match, uint8_t *copy)
{
    fb_copy_out(copy, match->view.value, match->view.value_length);
    bool is_run = match->view.units > fb_segment_units(arena);
    return fb_entry_stable(arena, &match->view) && (!is_run || fb_slot_unchanged(match));
}

static bool copy_packed(forebay_arena *arena, const read_match *match, uint8_t *copy)
{
    if (match->view.value_length <= HOLD_ABOVE)
        return copy_whole(arena, match, copy);
    uint32_t lane = fb_lane_enter(arena);
    fb_lane_hold(arena, lane, 0, match->view.segment);
    bool whole = copy_whole(arena, match, copy);
    fb_lane_release(arena, lane, 0);
    fb_lane_leave(arena, lane);
    return whole;
}

static serve_result unpack(forebay_cache *cache, const index_key *key, read_match *match, const uint8_t *copy,
                           const forebay_sink *sink, size_t item, uint64_t now, forebay_status *status)
{
    forebay_arena *arena = cache->arena;
    packed_prefix prefix;
    if (!fb_packed_prefix(copy, match->view.value_length, &prefix) || prefix.raw_length > arena->max_entry)
        return SERVE_EXPIRED;
    void *room = sink->room(sink->context, item, prefix.raw_length, (forebay_kind)match->view.kind);
    *status = room == NULL ? FOREBAY_NOMEM : FOREBAY_OK;
    if (room == NULL)
        return SERVED;
    if (!fb_packed_open(arena, &prefix, copy, match->view.value_length, room))
        return fb_slot_unchanged(match) ? SERVE_EXPIRED : SERVE_AGAIN; /* replaced, and then its dictionary went */
    fb_note_hit(cache, key, match->slot, match->word, match->view.units);
    fb_cache_count(cache, COUNTER_PACKED_HITS);
    fb_warm_after_hit(cache, key, match, room, prefix.raw_length, now);
    return SERVED;
}

/* Not inlined: get_one() is flattened, and this calls much. */
__attribute__((noinline)) serve_result fb_serve_packed(forebay_cache *cache, const index_key *key, read_match *match, const forebay_sink *sink,
                             size_t item, uint64_t now, forebay_status *status)
{
    uint8_t small[COPY_BUFFER], *copy = small;
    if (!fb_entry_stable(cache->arena, &match->view)) /* before a length is believed */
        return SERVE_AGAIN;
    *status = FOREBAY_NOMEM;
    if (match->view.value_length > sizeof small && (copy = malloc(match->view.value_length)) == NULL)
        return SERVED;
    serve_result result = SERVE_AGAIN;
    if (copy_packed(cache->arena, match, copy))
        result = unpack(cache, key, match, copy, sink, item, now, status);
    if (copy != small)
        free(copy);
    return result;
}
