/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a limit, and what the others must find after them. */
#ifndef TESTS_STEP_LIMITS_H
#define TESTS_STEP_LIMITS_H

#include "step.h"

/* What these work on, in place of a key: permits; the table of limits, whose lock the
 * stopped may hold. */
#define STEP_PERMITS 1000010u
#define STEP_LIMITS 1000011u
static inline bool step_is_about_limits(const step_operation *operation)
{
    return operation->key == STEP_PERMITS || operation->key == STEP_LIMITS;
}

/* Create the limit. */
bool step_prepare_limit(forebay_arena *arena);

/* Prepared by the victim: it has a permit, or a turn; other processes left their permits,
 * or places, when they died; one that lives waits. */
bool step_limit_is_open(forebay_arena *arena, forebay_cache *cache);
bool step_permit_is_held(forebay_arena *arena, forebay_cache *cache);
bool step_turn_is_taken(forebay_arena *arena, forebay_cache *cache);
bool step_permits_are_left(forebay_arena *arena, forebay_cache *cache);
bool step_places_are_left(forebay_arena *arena, forebay_cache *cache);
bool step_somebody_waits(forebay_arena *arena, forebay_cache *cache);

bool step_do_take(forebay_arena *arena, forebay_cache *cache);
bool step_do_give_back(forebay_arena *arena, forebay_cache *cache);
bool step_do_queue(forebay_arena *arena, forebay_cache *cache);
bool step_do_wait(forebay_arena *arena, forebay_cache *cache);
bool step_do_leave(forebay_arena *arena, forebay_cache *cache);
bool step_do_yield(forebay_arena *arena, forebay_cache *cache);
bool step_do_lower(forebay_arena *arena, forebay_cache *cache);
bool step_do_make_limit(forebay_arena *arena, forebay_cache *cache);
bool step_do_drop_limit(forebay_arena *arena, forebay_cache *cache);

/* Of the killed nothing is left: all permits can be had, the limit can be dropped, made
 * anew, and all can be had again. */
bool step_limit_lives_on(forebay_arena *arena);
/* While the victim is stopped: take what can be had, in turns drop the limit and make it
 * anew, keep all that can be had or nothing. */
bool step_recycle_limit(forebay_arena *arena, const step_operation *operation);
/* The victim went on and ended: what was kept still is, and then step_limit_lives_on(). */
bool step_check_limit_recycled(forebay_arena *arena);

#endif
