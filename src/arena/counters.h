/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of caches without contention: each handle adds to lines of its own
 * (arena_counters), and whoever asks sums up.
 *
 * Lines 0 .. cache_count - 1 are shared: line i always belongs to cache i, and
 * serves those who found no line of their own.  The others, two for each row,
 * are taken as needed, left behind when their owner ends or dies, and adopted,
 * counts and all, by the next handle that uses the same cache.
 *
 * owner_and_cache:
 *   bit 0       counts: the line's numbers belong to the cache below
 *   bits 1..7   cache
 *   bits 8..23  low bits of the cache's life
 *   bits 24..35 owner's row + 1; 0: nobody's
 *   bits 36..63 low bits of the owner's generation
 * A word without bit 0 says nothing about the numbers: whoever takes such a line
 * empties it first. */
#ifndef FB_COUNTERS_H
#define FB_COUNTERS_H

#include "arena/arena_state.h"

typedef struct counter_sums {
    int64_t entries; /* may be negative for a moment: a delete is seen before its set */
    uint64_t counts[COUNTER_COUNT];
} counter_sums;

/* The line to add to for this cache in its present life, by relaxed fetch-adds.
 * Never NULL for a cache_index below cache_count.  A search of up to 2 x rows
 * lines: keep the answer until the row or the cache's life changes. */
arena_counters *fb_counters_line(forebay_arena *arena, uint32_t cache_index);

/* The cache's shared line, made to count for its present life: no search, for
 * who counts for many caches in turn. */
arena_counters *fb_counters_shared(const forebay_arena *arena, uint32_t cache_index);

/* Add up all lines of the cache in its present life. */
void fb_counters_sum(const forebay_arena *arena, uint32_t cache_index, counter_sums *sums_out);

/* When the cache is dropped or made: empty its shared line.  (The other lines
 * carry its life, and stop counting by themselves.)  Under the table lock. */
void fb_counters_forget(forebay_arena *arena, uint32_t cache_index);

/* Leave all lines of this row's owner behind; generation as in row_owner.  By the
 * owner, or by who sweeps its row. */
void fb_counters_orphan(forebay_arena *arena, uint32_t row, uint32_t generation);

#endif
