/* SPDX-License-Identifier: Apache-2.0 */
/* The workers of `forebay bench`. */
#include "bench_run.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 100u         /* keys of one get_many */
#define HOT_KEYS 200u      /* all of these stay in the processor's caches */
#define CLOCK_EVERY 64u    /* calls between two looks at the clock: its 20 ns do not show */
#define START_TRIES 100000 /* of 100 us: 10 s until all workers must have started */

volatile sig_atomic_t bench_stop;

typedef struct bench_worker {
    const bench_plan *plan;
    forebay_cache *cache;
    bench_board *board;
    bench_job job;
    uint32_t number; /* among all workers of all processes */
    pthread_t thread;
    unsigned char *room; /* BATCH values; the worker's own */
    uint64_t keys[BATCH];
    size_t lengths[BATCH];
} bench_worker;

static double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13; /* xorshift64 */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Where a value begins with its key, a wrong one is seen. */
static bool value_fits_key(const bench_worker *worker, const unsigned char *value, size_t length,
                           uint64_t key)
{
    if (length != worker->plan->value_size)
        return false;
    return length < sizeof(key) || memcmp(value, &key, sizeof(key)) == 0;
}

static void do_set(bench_worker *worker, uint64_t key, bench_tally *tally)
{
    if (worker->plan->value_size >= sizeof(key))
        memcpy(worker->room, &key, sizeof(key));
    forebay_status status =
        forebay_set(worker->cache, &key, sizeof(key), worker->room, worker->plan->value_size,
                    FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
    tally->keys++;
    if (status == FOREBAY_OK)
        tally->hits++;
    else
        tally->failures++;
}

static void do_get(bench_worker *worker, uint64_t key, bench_tally *tally)
{
    size_t length;
    forebay_kind kind;
    forebay_status status = forebay_get_into(worker->cache, &key, sizeof(key), worker->room,
                                             worker->plan->value_size, &length, &kind);
    tally->keys++;
    if (status == FOREBAY_OK) {
        tally->hits++;
        tally->wrong += !value_fits_key(worker, worker->room, length, key);
    } else if (status != FOREBAY_MISS) {
        tally->failures++;
    }
}

static void *batch_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    bench_worker *worker = context;
    (void)kind;
    worker->lengths[item] = length;
    return length <= worker->plan->value_size ? worker->room + item * worker->plan->value_size : NULL;
}

static void do_get_many(bench_worker *worker, uint64_t *random, bench_tally *tally)
{
    forebay_key keys[BATCH];
    forebay_status status[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        worker->keys[i] = next_random(random) % worker->plan->entries;
        keys[i] = (forebay_key){ &worker->keys[i], sizeof(worker->keys[i]) };
    }
    forebay_sink sink = { batch_room, worker };
    tally->keys += BATCH;
    if (forebay_get_many(worker->cache, keys, BATCH, &sink, status) != FOREBAY_OK) {
        tally->failures++;
        return;
    }
    for (size_t i = 0; i < BATCH; i++) {
        if (status[i] != FOREBAY_OK)
            continue;
        tally->hits++;
        tally->wrong += !value_fits_key(worker, worker->room + i * worker->plan->value_size,
                                        worker->lengths[i], worker->keys[i]);
    }
}

static void do_some(bench_worker *worker, uint64_t *random, bench_tally *tally)
{
    uint64_t span = worker->plan->entries;
    if (worker->job == BENCH_GET_HOT && span > HOT_KEYS)
        span = HOT_KEYS;
    if (worker->job == BENCH_GET_MANY) {
        do_get_many(worker, random, tally);
        return;
    }
    for (unsigned i = 0; i < CLOCK_EVERY; i++) {
        uint64_t key = next_random(random) % span;
        if (worker->job == BENCH_SET)
            do_set(worker, key, tally);
        else
            do_get(worker, key, tally);
    }
}

static bool ended_early(const bench_worker *worker)
{
    return bench_stop || atomic_load_explicit(&worker->board->abandon, memory_order_relaxed) != 0;
}

static void *work(void *context)
{
    bench_worker *worker = context;
    uint64_t random = 0x9e3779b97f4a7c15u * (worker->number + 1);
    bench_tally tally = { 0 };
    atomic_fetch_add(&worker->board->ready, 1);
    while (!atomic_load(&worker->board->start) && !ended_early(worker))
        usleep(100);
    double begin = clock_seconds(), end = begin + worker->plan->seconds, now;
    do {
        do_some(worker, &random, &tally);
        now = clock_seconds();
    } while (now < end && !ended_early(worker));
    tally.seconds = now - begin;
    worker->board->tallies[worker->number] = tally;
    return NULL;
}

static bool start_worker(bench_worker *worker)
{
    worker->room = calloc(BATCH, worker->plan->value_size + 1);
    if (worker->room != NULL && pthread_create(&worker->thread, NULL, work, worker) == 0)
        return true;
    free(worker->room);
    return false;
}

/* One process's threads.  false: one could not start; the others were ended. */
static bool run_threads(const bench_plan *plan, forebay_cache *cache, bench_board *board, bench_job job,
                        uint32_t process)
{
    uint32_t count = (uint32_t)plan->threads, started = 0;
    bench_worker *workers = calloc(count, sizeof(*workers));
    while (workers != NULL && started < count) {
        bench_worker *worker = &workers[started];
        *worker = (bench_worker){
            .plan = plan, .cache = cache, .board = board, .job = job, .number = process * count + started
        };
        if (!start_worker(worker))
            break;
        started++;
    }
    if (started < count)
        atomic_store(&board->abandon, 1);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        free(workers[i].room);
    }
    free(workers);
    return started == count;
}

/* false: one of them died or failed; the others were told to end. */
static bool wait_for_children(const pid_t *children, uint32_t count, bench_board *board)
{
    bool fine = true;
    for (uint32_t i = 0; i < count; i++) {
        int state = 0;
        while (waitpid(children[i], &state, 0) < 0 && errno == EINTR)
            if (bench_stop)
                atomic_store(&board->abandon, 1);
        if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
            atomic_store(&board->abandon, 1);
            fine = false;
        }
    }
    return fine;
}

/* Let all begin together, so that none measures while others still start. */
static bool start_together(const bench_plan *plan, bench_board *board)
{
    uint32_t workers = (uint32_t)(plan->threads * plan->processes);
    int tries = 0;
    while (atomic_load(&board->ready) < workers && tries < START_TRIES && !bench_stop
           && !atomic_load(&board->abandon)) {
        usleep(100);
        tries++;
    }
    bool all = atomic_load(&board->ready) == workers;
    atomic_store(all ? &board->start : &board->abandon, 1);
    return all;
}

static bool run_processes(const bench_plan *plan, forebay_cache *cache, bench_board *board, bench_job job)
{
    pid_t children[BENCH_WORKERS_MAX];
    uint32_t count = 0;
    for (; count < plan->processes; count++) {
        children[count] = fork();
        if (children[count] == 0)
            _exit(run_threads(plan, cache, board, job, count) ? 0 : 1);
        if (children[count] < 0)
            break;
    }
    bool started = count == plan->processes;
    if (started)
        started = start_together(plan, board);
    else
        atomic_store(&board->abandon, 1);
    return wait_for_children(children, count, board) && started;
}

bool bench_run_job(const bench_plan *plan, forebay_cache *cache, bench_board *board, bench_job job,
                   bench_tally *sum)
{
    uint32_t workers = (uint32_t)(plan->threads * plan->processes);
    memset(board, 0, sizeof(*board));
    atomic_store(&board->start, plan->processes == 1);
    bool fine = plan->processes == 1 ? run_threads(plan, cache, board, job, 0)
                                     : run_processes(plan, cache, board, job);
    *sum = (bench_tally){ 0 };
    for (uint32_t i = 0; i < workers; i++) {
        const bench_tally *one = &board->tallies[i];
        sum->keys += one->keys;
        sum->hits += one->hits;
        sum->failures += one->failures;
        sum->wrong += one->wrong;
        sum->seconds += one->seconds / workers;
    }
    return fine;
}

bool bench_fill(const bench_plan *plan, forebay_cache *cache)
{
    bench_worker worker = { .plan = plan, .cache = cache, .room = calloc(1, plan->value_size + 1) };
    bench_tally tally = { 0 };
    for (uint64_t key = 0; worker.room != NULL && key < plan->entries && !bench_stop; key++)
        do_set(&worker, key, &tally);
    bool had_room = worker.room != NULL;
    free(worker.room);
    return had_room && tally.failures <= plan->entries / 2;
}
