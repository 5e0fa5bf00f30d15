/* SPDX-License-Identifier: Apache-2.0 */
/* Going through the keys of a cache. */
#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/cache_state.h"

/* Copy the key in this slot if it is one of the cache; its length, 0: none. */
static uint32_t key_in_slot(forebay_arena *arena, uint32_t lane, const index_key *like, _Atomic uint64_t *slot, uint64_t now,
                            uint8_t key[FOREBAY_KEY_MAX])
{
    uint64_t word = atomic_load(slot);
    uint32_t segment;
    if (word == 0 || fb_slot_tentative(word) || !fb_slot_segment(arena, word, &segment))
        return 0;
    fb_lane_hold(arena, lane, 0, segment);
    uint64_t again = atomic_load(slot); /* seq_cst: after the hold */
    entry_view view;
    if (!fb_slot_same(again, word) || !fb_entry_view_slot(arena, again, &view) || view.cache_tag != like->cache_tag
        || !fb_index_counts(arena, like, &view, now))
        return 0;
    fb_copy_out(key, view.key, view.key_length);
    /* a key of more than a segment goes on where nothing is held */
    return fb_slot_same(atomic_load(slot), word) ? view.key_length : 0;
}

/* Buckets of the index now, one that is being split off included. */
static uint64_t buckets_in_use(const forebay_arena *arena)
{
    uint64_t word = fb_index_word(arena);
    uint64_t count = (word >> 1) + (word & 1), limit = fb_index_bucket_limit(arena);
    return count < limit ? count : limit;
}

forebay_status forebay_scan(forebay_cache *cache, uint64_t *cursor, size_t buckets,
                            bool (*visit)(void *context, const void *key, size_t key_length), void *context)
{
    static const char any = 0;
    forebay_arena *arena = cache->arena;
    index_key like;
    forebay_status status = fb_cache_begin(cache, &any, sizeof any, &like);
    if (status != FOREBAY_OK)
        return status;
    uint32_t lane = fb_lane_enter(arena);
    uint64_t now = fb_now_ms(arena);
    if (fb_cache_is_behind(cache, &like, now))
        *cursor = buckets_in_use(arena); /* nothing is there to be seen */
    for (size_t n = 0; n < buckets && *cursor < buckets_in_use(arena); n++, ++*cursor) {
        fb_index_help(arena, lane); /* an entry on the move is in neither bucket */
        for (uint32_t i = 0; i < BUCKET_SLOTS && status == FOREBAY_OK; i++) {
            uint8_t key[FOREBAY_KEY_MAX];
            uint32_t length = key_in_slot(arena, lane, &like, &arena->buckets[*cursor].slots[i], now, key);
            if (length != 0 && !visit(context, key, length))
                status = FOREBAY_NOMEM;
        }
        if (status != FOREBAY_OK)
            break;
    }
    fb_lane_leave(arena, lane);
    if (status == FOREBAY_OK && *cursor >= buckets_in_use(arena))
        *cursor = 0;
    return status;
}
