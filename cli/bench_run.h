/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_BENCH_RUN_H
#define FOREBAY_CLI_BENCH_RUN_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <forebay/forebay.h>

#define BENCH_WORKERS_MAX 64u /* threads of all processes together */

/* In the order in which they run: sets last, since they evict. */
typedef enum bench_job { BENCH_GET_HOT, BENCH_GET, BENCH_GET_MANY, BENCH_SET, BENCH_JOB_COUNT } bench_job;

typedef struct bench_plan {
    uint64_t size, value_size; /* bytes */
    uint64_t entries, threads, processes;
    double seconds; /* of each job */
} bench_plan;

/* What one worker did in one job; a worker writes only its own. */
typedef struct bench_tally {
    uint64_t keys, hits, failures, wrong;
    double seconds;
} bench_tally;

/* Memory that all workers share: mapped MAP_SHARED by the caller. */
typedef struct bench_board {
    _Atomic uint32_t ready;   /* workers that wait for the start */
    _Atomic uint32_t start;   /* 1: run */
    _Atomic uint32_t abandon; /* 1: a worker failed, or Ctrl-C: end now */
    bench_tally tallies[BENCH_WORKERS_MAX];
} bench_board;

/* Set by the signal handler of whoever runs the jobs. */
extern volatile sig_atomic_t bench_stop;

/* Set every key once.  false: no memory, or most sets failed. */
bool bench_fill(const bench_plan *plan, forebay_cache *cache);

/* Run one job with all workers for plan->seconds; `sum` gets the sum of what
 * they did and the mean of their time.  false: a worker died or could not
 * start.  All processes and threads have ended when it returns. */
bool bench_run_job(const bench_plan *plan, forebay_cache *cache, bench_board *board, bench_job job,
                   bench_tally *sum);

#endif
