/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/quota.h"

static const arena_cache *record_of(const forebay_arena *arena, uint32_t group)
{
    return group == 0 || group > arena->geometry.cache_count ? NULL : &arena->caches[group - 1];
}

uint32_t fb_group_share(const forebay_arena *arena, uint32_t group)
{
    const arena_cache *record = record_of(arena, group);
    uint64_t share = record == NULL ? 0 : atomic_load_explicit(&record->share, memory_order_relaxed);
    uint64_t whole = (uint64_t)arena->geometry.segment_count << arena->segment_shift;
    if (share > whole)
        share = whole;
    return (uint32_t)((share + arena->geometry.segment_size - 1) >> arena->segment_shift);
}

uint32_t fb_group_limit_of(const forebay_arena *arena, uint32_t group)
{
    const arena_cache *record = record_of(arena, group);
    uint64_t limit = record == NULL ? 0 : atomic_load_explicit(&record->limit, memory_order_relaxed) >> arena->segment_shift;
    if (record == NULL || atomic_load_explicit(&record->limit, memory_order_relaxed) == 0
        || limit > arena->geometry.segment_count)
        return SEGMENTS_UNLIMITED;
    return limit < QUOTA_LIMIT_MIN ? QUOTA_LIMIT_MIN : (uint32_t)limit;
}

bool fb_quota_forbids(const forebay_arena *arena, uint32_t group, uint64_t units)
{
    uint32_t limit = fb_group_limit(arena, group);
    return limit != SEGMENTS_UNLIMITED && units > (uint64_t)(limit / 2) * fb_segment_units(arena);
}
