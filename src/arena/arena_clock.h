/* SPDX-License-Identifier: Apache-2.0 */
/* The arena's clock: milliseconds since the arena was made, going on through
 * reboots and sleep; the same in every process. */
#ifndef FB_ARENA_CLOCK_H
#define FB_ARENA_CLOCK_H

#include <time.h>

#include "arena/arena_state.h"

static inline uint64_t fb_now_ms(const forebay_arena *arena)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000
           + (uint64_t)atomic_load_explicit(&arena->super->clock_offset, memory_order_relaxed);
}
/* At format: time starts at 1 (0 means none).  At open after a reboot: goes on
 * from the last look by the wall clock.  Under the creation lock. */
void fb_clock_start(forebay_arena *arena);
void fb_clock_rebase(forebay_arena *arena, const uint8_t boot_id[16]);
/* By writers, about once a second: add the time the machine slept; note wall
 * clock and arena time for fb_clock_rebase(); see whether the file at the path
 * was replaced. */
void fb_clock_look(forebay_arena *arena, uint64_t now_ms);
/* By readers: the time, after a look once a second. */
static inline uint64_t fb_time_of_get(forebay_arena *arena)
{
    uint64_t now = fb_now_ms(arena);
    if (__builtin_expect(now < atomic_load_explicit(&arena->next_slow_look, memory_order_relaxed), 1))
        return now;
    atomic_store_explicit(&arena->next_slow_look, now + 1000, memory_order_relaxed);
    fb_clock_look(arena, now);
    return fb_now_ms(arena);
}

#endif
