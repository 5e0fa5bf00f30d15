/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "arena/arena_clock.h"
#include "cache/cache_state.h"
#include "base/copy.h"
#include "cache/publish.h"

/* Whether there was one. */
static bool remove_entry(forebay_cache *cache, const index_key *key)
{
    forebay_arena *arena = cache->arena;
    uint32_t lane = fb_lane_enter(arena);
    bool removed;
    bool was_live = fb_unpublish(arena, lane, key, fb_now_ms(arena), &removed);
    if (removed)
        atomic_fetch_sub_explicit(&fb_cache_counters(cache)->entries, 1, memory_order_relaxed);
    if (was_live)
        fb_cache_count(cache, COUNTER_DELETES);
    fb_lane_leave(arena, lane);
    return was_live;
}

forebay_status forebay_delete(forebay_cache *cache, const void *key, size_t key_length)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    fb_leases_break(cache->arena, k.hash);
    return remove_entry(cache, &k) ? FOREBAY_OK : FOREBAY_MISS;
}

forebay_status forebay_expel(forebay_cache *cache, const void *key, size_t key_length)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    return remove_entry(cache, &k) ? FOREBAY_OK : FOREBAY_MISS;
}

forebay_status forebay_delete_many(forebay_cache *cache, const forebay_key *keys, size_t count, size_t *deleted)
{
    *deleted = 0;
    for (size_t i = 0; i < count; i++) {
        forebay_status status = forebay_delete(cache, keys[i].data, keys[i].length);
        if (status == FOREBAY_OK)
            ++*deleted;
        else if (status != FOREBAY_MISS)
            return status;
    }
    return FOREBAY_OK;
}

/* Copy the value of the entry, held, into what `sink` provides.  FOREBAY_MISS: it
 * cannot be unpacked. */
static forebay_status copy_value(forebay_arena *arena, const entry_view *view, const forebay_sink *sink)
{
    forebay_kind kind = (forebay_kind)view->kind;
    if (view->header & ENTRY_PACKED) {
        unpacked_value value;
        forebay_status status = fb_packed_read(arena, view, &value);
        if (status != FOREBAY_OK)
            return status == FOREBAY_NOMEM ? FOREBAY_NOMEM : FOREBAY_MISS;
        void *to = sink->room(sink->context, 0, value.length, kind);
        if (to != NULL)
            memcpy(to, value.data, value.length);
        free(value.data);
        return to != NULL ? FOREBAY_OK : FOREBAY_NOMEM;
    }
    void *room = sink->room(sink->context, 0, view->value_length, kind);
    if (room == NULL)
        return FOREBAY_NOMEM;
    fb_copy_out(room, view->value, view->value_length);
    return FOREBAY_OK;
}

/* Copy the entry out and remove exactly it.  True when *status is decided: MISS
 * if the look was certain. */
static bool try_pop(forebay_cache *cache, const index_key *key, const forebay_sink *sink, uint32_t lane, uint64_t now,
                    forebay_status *status)
{
    forebay_arena *arena = cache->arena;
    uint64_t moves = fb_index_moves(arena);
    index_look look = fb_index_look_settled(arena, lane, key->hash);
    index_match match;
    *status = FOREBAY_MISS;
    if (!fb_index_find_held(arena, lane, key, &look, &match))
        return !fb_index_look_is_split(arena, &look) && fb_index_word(arena) == look.word && fb_index_moves(arena) == moves;
    if (!fb_index_counts(arena, key, &match.view, now))
        return true;
    forebay_status copied = copy_value(arena, &match.view, sink);
    if (copied == FOREBAY_NOMEM) {
        *status = FOREBAY_NOMEM;
        return true;
    }
    /* an entry that spans segments is held by its first only: whole if its slot is the same */
    uint64_t word = match.word;
    fb_leases_break(arena, key->hash);
    while (fb_slot_same(word, match.word)) {
        if (!atomic_compare_exchange_weak(match.slot, &word, 0))
            continue;
        fb_segment_note_dead(arena, match.view.segment, match.view.units);
        atomic_fetch_sub_explicit(&fb_cache_counters(cache)->entries, 1, memory_order_relaxed);
        fb_cache_count(cache, COUNTER_DELETES);
        *status = copied; /* one that nobody can read any more is none */
        return true;
    }
    return false;
}

forebay_status forebay_pop(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    uint32_t lane = fb_lane_enter(cache->arena);
    uint64_t now = fb_now_ms(cache->arena);
    status = FOREBAY_MISS;
    for (int unsettled = 0; !fb_cache_is_behind(cache, &k, now) && !try_pop(cache, &k, sink, lane, now, &status) && unsettled < INDEX_TRIES; unsettled++)
        ;
    fb_lane_leave(cache->arena, lane);
    return status;
}
