/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas: a cache with a share or a limit has a group of segments of its own, so
 * that what it takes is counted by the segments, whoever dies.  Group 0 is all
 * other caches. */
#ifndef FB_QUOTA_H
#define FB_QUOTA_H

#include "arena/segments.h"

/* The smallest limit: heads for several writers, room for evictors. */
#define QUOTA_LIMIT_MIN 8u
/* Of the segments, those that shares may add up to: the index and the caches
 * without a share need some. */
#define QUOTA_SHARES_MAX(segments) ((segments) / 4 * 3)

/* Where entries of this cache go now. */
static inline uint32_t fb_cache_group(const forebay_arena *arena, uint32_t cache_number)
{
    const arena_cache *record = &arena->caches[cache_number];
    bool has_quota = (atomic_load_explicit(&record->share, memory_order_relaxed)
                      | atomic_load_explicit(&record->limit, memory_order_relaxed)) != 0;
    return has_quota ? cache_number + 1 : 0;
}

/* Segments that nobody else may evict from. */
uint32_t fb_group_share(const forebay_arena *arena, uint32_t group);
/* Segments the group may have: SEGMENTS_UNLIMITED, or QUOTA_LIMIT_MIN or more. */
uint32_t fb_group_limit_of(const forebay_arena *arena, uint32_t group);
static inline uint32_t fb_group_limit(const forebay_arena *arena, uint32_t group)
{
    return group == 0 ? SEGMENTS_UNLIMITED : fb_group_limit_of(arena, group);
}
/* Segments that writers may take the group to: one less, for the copies of its evictor. */
static inline uint32_t fb_group_most(const forebay_arena *arena, uint32_t group)
{
    uint32_t limit = fb_group_limit(arena, group);
    return limit == SEGMENTS_UNLIMITED ? limit : limit - 1;
}

/* An entry of so many units could fill more than half of the group's limit. */
bool fb_quota_forbids(const forebay_arena *arena, uint32_t group, uint64_t units);

#endif
