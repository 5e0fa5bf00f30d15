/* SPDX-License-Identifier: Apache-2.0 */
/* Ghosts: what the cache remembers of keys it dropped.  A lossy table of 4-byte
 * words in 64-byte buckets, youngest first, the last pushed out.  Any thread of
 * any process stores single words (relaxed): a race loses or doubles a ghost. */
#ifndef FB_GHOSTS_H
#define FB_GHOSTS_H

#include "cache/policy_constants.h"

#define GHOST_BUCKET 16u

/* 0: empty; bits 0..1 origin, 2..7 score, 8..11 epoch, 12..18 tick, 19..31 of the hash, never 0. */
typedef struct ghost_bucket {
    _Alignas(64) _Atomic uint32_t words[GHOST_BUCKET];
} ghost_bucket;

/* Where to look: a table of `count` buckets, 0 for none.  `clock` counts ticks * 256. */
typedef struct ghost_table {
    ghost_bucket *buckets;
    uint32_t count;
    uint32_t clock;
} ghost_table;

typedef struct ghost {
    enum ghost_origin origin; /* GHOST_NONE: not found */
    uint32_t age;             /* 1/256 tick, right to half a tick */
    uint32_t score, epoch;    /* epoch: 4 bits */
} ghost;

void fb_ghost_put(ghost_table table, uint64_t hash, enum ghost_origin origin, uint32_t score, uint32_t epoch);
/* Finds and removes. */
ghost fb_ghost_take(ghost_table table, uint64_t hash);

#endif
