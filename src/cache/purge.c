/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/purge.h"

static void purge_slot(forebay_arena *arena, uint32_t lane, _Atomic uint64_t *slot)
{
    uint64_t word = atomic_load(slot);
    uint32_t segment;
    if (word == 0 || fb_slot_moving(word) || !fb_slot_segment(arena, word, &segment))
        return;
    fb_lane_hold(arena, lane, 0, segment);
    uint64_t again = atomic_load(slot);
    entry_view view;
    if (!fb_slot_same(again, word) || !fb_entry_view_slot(arena, again, &view)
        || fb_cache_tag_is_current(arena, view.cache_tag))
        return;
    while (fb_slot_same(again, word) && !atomic_compare_exchange_weak(slot, &again, 0))
        ;
}

/* An entry that is moved during the pass, by an evictor, stays in its slot; by a
 * split, goes to a higher bucket, which the pass has still to come to; entries of
 * cleared caches are not displaced.  An insert under way is aborted, or sees,
 * after its slot was taken, that its cache was cleared. */
void fb_purge(forebay_arena *arena)
{
    uint32_t lane = fb_lane_enter(arena);
    uint64_t limit = fb_index_bucket_limit(arena);
    fb_index_help(arena, lane);
    for (uint64_t b = 0; b <= fb_index_word(arena) >> 1 && b < limit; b++) {
        if (b == fb_index_word(arena) >> 1 && (fb_index_word(arena) & 1) == 0)
            break;
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
            purge_slot(arena, lane, &arena->buckets[b].slots[i]);
    }
    fb_lane_release(arena, lane, 0);
    fb_lane_leave(arena, lane);
}
