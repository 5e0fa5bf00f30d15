/* SPDX-License-Identifier: Apache-2.0 */
/* Seven policies for one engine, as data, and the rule that applies them.
 * The real cache and its miniatures decide with the same function. */
#ifndef FB_POLICY_CONSTANTS_H
#define FB_POLICY_CONSTANTS_H

#include "cache/policy.h"

#define POLICY_COUNT 7u
#define SCORE_MAX 63u
#define CAPACITY_TICKS 8u /* ghost ages are in ticks; so many pass while a cacheful is dropped */

enum policy_kind { KIND_ORDINARY, KIND_CLOCK, KIND_FREQUENCY };
enum ghost_origin { GHOST_NONE = 0, GHOST_PROBATION = 1, GHOST_MAIN = 2, GHOST_HISTORY = 3 };

typedef struct policy_constants {
    const char *name;
    enum policy_kind kind;
    uint32_t probation_share; /* of the segments, per mille */
    uint32_t promote_at;      /* frequency at which probation gives to main */
    uint32_t ghost_window;    /* ages below it admit to main; 1/256 tick */
    uint32_t frequency_max;
    bool main_ghosts;         /* what main drops may come back to main */
} policy_constants;

extern const policy_constants fb_policy_table[POLICY_COUNT];
/* `index` may be anything: it is shared memory. */
static inline const policy_constants *fb_policy_constants(uint32_t index)
{
    return &fb_policy_table[index < POLICY_COUNT ? index : 0];
}

/* What the frequency policy needs to know beyond the entry. */
typedef struct score_threshold {
    uint32_t admit;      /* probation -> main needs a score above it */
    uint32_t keep;       /* main keeps what scores above it, or reaches it and was hit */
    bool main_has_room;  /* main is more than a segment below its share */
} score_threshold;

typedef struct policy_verdict {
    enum policy_target target;
    uint32_t frequency;
    uint32_t score;
    enum ghost_origin ghost; /* when dropped */
} policy_verdict;

/* log2 of the entry's size over the average (24.8 fixed point), rounded towards
 * 0, -1 to 2.  What counts is hits per byte: twice as large, it takes one hit
 * more to get to main. */
int fb_policy_weight(uint32_t units, uint64_t average);

policy_verdict fb_policy_judge(const policy_constants *constants, score_threshold threshold,
                               enum queue queue, int weight, uint32_t frequency, uint32_t score);

/* Where a key goes that is not in the cache, given its ghost (age in 1/256 tick). */
enum queue fb_policy_queue(const policy_constants *constants, enum ghost_origin origin, uint32_t age);

/* Which queue gives up its oldest: main is over its share, or there is nothing else. */
bool fb_policy_main_over(const policy_constants *constants, uint64_t main, uint64_t available);

/* The frequency policy's threshold, 1/65536: drifts so that a quarter to a half of main is dropped. */
#define THRESHOLD_ONE 65536u
uint32_t fb_policy_drift(uint32_t threshold, uint32_t entries, uint32_t dropped);
/* What is added to it for keeping in main when so many entries of main were
 * looked at without a segment's worth dropped: without it eviction in
 * frequency mode can go on for ever. */
uint64_t fb_policy_guard(uint64_t fruitless, uint64_t capacity);

#endif
