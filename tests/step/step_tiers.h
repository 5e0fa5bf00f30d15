/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a tier, and what the others must find after them. */
#ifndef TESTS_STEP_TIERS_H
#define TESTS_STEP_TIERS_H

#include "step.h"

/* What these work on, in place of a key. */
#define STEP_TIER 1000030u
static inline bool step_is_about_tiers(const step_operation *operation) { return operation->key == STEP_TIER; }

/* Prepared by the victim: it uses a tier; all records are of tiers that nobody uses any more. */
bool step_tier_is_open(forebay_arena *arena, forebay_cache *cache);
bool step_tiers_are_left(forebay_arena *arena, forebay_cache *cache);

bool step_do_use_tier(forebay_arena *arena, forebay_cache *cache);
bool step_do_leave_tier_out(forebay_arena *arena, forebay_cache *cache);
bool step_do_count_in_tier(forebay_arena *arena, forebay_cache *cache);

/* The victim has ended: nothing that it said counts, and all records can be had. */
bool step_tiers_live_on(forebay_arena *arena);

#endif
