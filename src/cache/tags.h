/* SPDX-License-Identifier: Apache-2.0 */
/* Tags: a counter each in a fixed table; an entry notes what the counters of its
 * tags were when its write began.  Raising a counter makes all entries that note
 * it stale, in constant time.  Two tags may share a counter: then invalidating
 * one takes the other's entries along (a miss too many, never one too few). */
#ifndef FB_TAGS_H
#define FB_TAGS_H

#include "base/hash.h"
#include "cache/entry.h"

#define TAG_NUMBER_MASK ((UINT64_C(1) << TAG_NUMBER_BITS) - 1)

static inline _Atomic uint64_t *fb_tag_counter(const forebay_arena *arena, uint64_t number)
{
    return &arena->tags[number & (arena->geometry.tag_count - 1)];
}
/* The number of a tag's counter: tags belong to one life of a cache. */
static inline uint64_t fb_tag_number(const forebay_arena *arena, uint32_t cache_number, uint32_t life, const void *tag, size_t length)
{
    uint64_t owner = ((uint64_t)life << 32 | cache_number) + 1;
    return fb_hash(tag, length, arena->hash_seed ^ owner * UINT64_C(0x9e3779b97f4a7c15)) & (arena->geometry.tag_count - 1);
}
/* What an entry written from now on notes. */
static inline uint64_t fb_tag_now(const forebay_arena *arena, uint64_t number)
{
    return atomic_load(fb_tag_counter(arena, number)) << TAG_NUMBER_BITS | number; /* seq_cst: before the entry's slot */
}
static inline bool fb_tag_is_valid(const forebay_arena *arena, uint64_t noted)
{
    return fb_tag_now(arena, noted & TAG_NUMBER_MASK) == noted;
}
static inline void fb_tag_invalidate(forebay_arena *arena, uint64_t number)
{
    atomic_fetch_add(fb_tag_counter(arena, number), 1);
}

#endif
