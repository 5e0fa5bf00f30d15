/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the policy region.  All zero is a valid start; any content is
 * survived: whoever reads a word bounds it.
 *
 *   0              256                       half, at most MINIATURES_MAX
 *   [policy_region][7 miniatures, some slack ][ghost buckets ...]
 */
#ifndef FB_POLICY_REGION_H
#define FB_POLICY_REGION_H

#include "cache/ghosts.h"

#define MINIATURES_MAX (UINT64_C(36) << 10)

#define CAPACITY_MAX (1u << 30) /* entries */

typedef struct policy_region {
    /* read by every get, written when the policy or the sampling changes */
    _Atomic uint64_t sample_limit;   /* keys whose hash is below are sampled */
    _Atomic uint32_t active;         /* index of the constants in use */
    _Atomic uint32_t epoch;          /* one is 30 cachefuls of requests; scores halve with each */

    /* written by evictors, relaxed: averages and counts, a lost update costs nothing */
    _Alignas(64) _Atomic uint64_t segments; /* main << 32 | probation, at the last choice */
    _Atomic uint64_t clock;          /* ticks, 40.24 fixed point */
    _Atomic uint32_t available;      /* segments, at the last choice */
    _Atomic uint32_t capacity;       /* entries that fit, estimated; 0: not known yet */
    _Atomic uint32_t units;          /* running average of an entry's, 24.8 fixed point; 0: none seen */
    _Atomic uint32_t ghost_buckets;  /* in use, of those there are */
    _Atomic uint32_t threshold;      /* of the frequency policy, 1/65536 */
    _Atomic uint32_t fruitless;      /* entries of main looked at since ... */
    _Atomic uint32_t dropped;        /* ... a segment's worth was dropped */
    _Atomic uint32_t drain;          /* segments of main still to be gone through, stuck or not */

    /* the selector's */
    _Alignas(64) _Atomic uint64_t claim; /* 0: free; else (owner << 1 | 1), see rows.h */
    /* the rest under the claim */
    uint64_t real_misses;            /* of sampled keys in the cache itself, with decay, 1/65536 */
    uint64_t clock_seen;             /* `clock` when something was last dropped */
    uint32_t quiet;                  /* samples since */
    uint32_t until_decision;         /* samples */
    uint32_t until_epoch;            /* samples */
    uint32_t unstick_wait;           /* samples until it may be tried again */
    uint8_t reserved[80];
} policy_region;
static_assert(sizeof(policy_region) == 256, "four cache lines, fixed for format 1");

static inline uint64_t fb_policy_ghosts_offset(uint64_t region_size)
{
    uint64_t half = region_size / 2 & ~UINT64_C(63);
    return half < MINIATURES_MAX ? half : MINIATURES_MAX;
}
/* Entries each miniature has room for; 0: the region is too small for any. */
uint32_t fb_policy_miniature_room(uint64_t region_size);

/* A sample in a row's ring: bit 0 whether it hit, 1..7 size code, then the low
 * 56 bits of the key's hash.  A miss knows no size, its code is 0; what did not
 * hit and has one is no request: it tells the size of what is being put in. */
#define SAMPLE_HIT UINT64_C(1)
#define SAMPLE_SIZE_SHIFT 1u
#define SAMPLE_SHIFT 8u

static inline policy_region *fb_policy_region(const forebay_arena *arena)
{
    return (policy_region *)arena->policy;
}

#define POLICY_LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define POLICY_STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

#endif
