/* SPDX-License-Identifier: Apache-2.0 */
/* What storms share: the counters that workers keep in memory of their own,
 * beside the arena, so that the judge can read them after a SIGKILL. */
#ifndef TESTS_STRESS_WORKER_H
#define TESTS_STRESS_WORKER_H

#include <forebay/forebay.h>

#include <stdatomic.h>
#include <stdbool.h>

#define STRESS_WORKERS 16u
#define STRESS_KEYS 3000u
#define STRESS_COUNTERS 8u

typedef struct stress_board {
    _Atomic uint64_t calls;
    _Atomic uint64_t hits;
    _Atomic uint64_t failed_sets;   /* FOREBAY_FULL */
    _Atomic uint64_t wrong;         /* wrong values and statuses: must stay 0 */
    _Atomic uint64_t longest_cpu_us;  /* of one call, CPU time of its thread */
    _Atomic uint64_t longest_wall_us; /* of one call that was not stopped */
    _Atomic bool over;
    _Atomic bool packs;             /* workers train dictionaries, and publish others, all the time */
    _Atomic uint64_t dictionaries;  /* trained or published */
    _Atomic uint64_t acknowledged[STRESS_WORKERS][STRESS_COUNTERS]; /* increments that returned */
    _Atomic uint64_t attempted[STRESS_WORKERS][STRESS_COUNTERS];
    _Atomic uint64_t views, views_in_place; /* opened */
    _Atomic uint32_t held[STRESS_WORKERS];  /* views a worker has open */
} stress_board;

/* Everything at random until board->over, `calls` calls at most (0: no limit). */
void stress_work(forebay_arena *arena, forebay_cache *cache, stress_board *board, uint32_t seed, uint64_t calls);
/* Writes, and views: a hundred at a time stay open. */
void stress_view(forebay_cache *cache, stress_board *board, uint32_t worker, uint64_t calls);
/* Increments alone, acknowledged on the board. */
void stress_count(forebay_cache *cache, stress_board *board, uint32_t worker, uint64_t calls);
/* The sum of one counter; -1 if it is gone. */
int64_t stress_counter_value(forebay_cache *cache, uint32_t counter);

#endif
