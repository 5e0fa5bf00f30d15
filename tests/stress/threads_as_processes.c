/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that play processes: each opens the arena for itself, so that it has a
 * row, claims and holds of its own, in one mapping's worth of races that
 * ThreadSanitizer can see; beside them threads that share one handle. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stress_worker.h"

#define HANDLES 4u
#define SHARERS 3u

#define PERMITS 2u
#define CALLS_PER_PERMIT 20u

static char path[64];
static stress_board board;
static uint64_t calls;
static _Atomic uint32_t holders; /* of permits */

static forebay_cache *open_cache(forebay_arena **arena_out)
{
    forebay_arena_options options = {.size = FOREBAY_ARENA_MIN_SIZE};
    forebay_error error = {0};
    forebay_cache *cache = NULL;
    forebay_cache_options how = {.ttl_ms = FOREBAY_TTL_STORED, .codec = "zstd"};
    atomic_store(&board.packs, true);
    if (forebay_arena_open(path, &options, arena_out, &error) != FOREBAY_OK
        || forebay_cache_open(*arena_out, "threads", &how, &cache, &error) != FOREBAY_OK) {
        printf("cannot open: %s\n", error.message);
        exit(1);
    }
    return cache;
}

static void hold(forebay_limit *limit, const forebay_permit *permit)
{
    if (atomic_fetch_add(&holders, 1) >= PERMITS) {
        printf("more hold a permit than there are\n");
        atomic_fetch_add(&board.wrong, 1);
    }
    (void)forebay_limit_should_yield(limit, false);
    atomic_fetch_sub(&holders, 1);
    if (forebay_permit_give_back(limit, permit) != FOREBAY_OK)
        atomic_fetch_add(&board.wrong, 1);
}

/* Permits of one limit, taken in turns. */
static void use_limit(forebay_arena *arena, uint64_t times)
{
    forebay_limit *limit;
    forebay_limit_info info;
    if (forebay_limit_open(arena, "threads", PERMITS, false, &limit, NULL) != FOREBAY_OK)
        exit(1);
    for (uint64_t i = 0; i < times; i++) {
        forebay_permit permit;
        forebay_turn turn;
        forebay_status status = forebay_permit_take(limit, &permit);
        if (status == FOREBAY_MISS && forebay_permit_queue(limit, &turn) == FOREBAY_OK) {
            status = forebay_permit_wait(limit, &turn, 60000, &permit);
            forebay_permit_leave(limit, &turn);
        }
        if (status == FOREBAY_OK)
            hold(limit, &permit);
        else
            atomic_fetch_add(&board.wrong, 1);
        (void)forebay_limit_at(arena, 0, &info);
    }
    forebay_limit_close(limit);
}

static void *play_process(void *number)
{
    forebay_arena *arena;
    forebay_cache *cache = open_cache(&arena);
    uint32_t n = (uint32_t)(uintptr_t)number;
    use_limit(arena, calls / CALLS_PER_PERMIT);
    stress_count(cache, &board, n, calls / 10);
    stress_work(arena, cache, &board, n, calls);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return NULL;
}

typedef struct shared_handle {
    forebay_arena *arena;
    forebay_cache *cache;
    uint32_t number;
} shared_handle;

static void *share_handle(void *argument)
{
    shared_handle *shared = argument;
    use_limit(shared->arena, calls / CALLS_PER_PERMIT);
    stress_work(shared->arena, shared->cache, &board, shared->number, calls);
    return NULL;
}

static void print_violation(void *context, const char *message)
{
    (void)context;
    printf("verify: %s\n", message);
}

int main(void)
{
    const char *soak = getenv("FOREBAY_SOAK");
    calls = soak != NULL && *soak != 0 && *soak != '0' ? 1000000 : 20000;
    snprintf(path, sizeof path, "/dev/shm/forebay-threads-%d", (int)getpid());
    pthread_t threads[HANDLES + SHARERS];
    shared_handle shared[SHARERS];
    forebay_arena *arena;
    forebay_cache *cache = open_cache(&arena);
    for (uint32_t i = 0; i < HANDLES; i++)
        pthread_create(&threads[i], NULL, play_process, (void *)(uintptr_t)i);
    for (uint32_t i = 0; i < SHARERS; i++) {
        shared[i] = (shared_handle){arena, cache, 100 + i};
        pthread_create(&threads[HANDLES + i], NULL, share_handle, &shared[i]);
    }
    for (uint32_t i = 0; i < HANDLES + SHARERS; i++)
        pthread_join(threads[i], NULL);
    bool good = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK && atomic_load(&board.wrong) == 0;
    printf("%llu calls, %llu hits, %llu wrong\n", (unsigned long long)atomic_load(&board.calls),
           (unsigned long long)atomic_load(&board.hits), (unsigned long long)atomic_load(&board.wrong));
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    unlink(path);
    return !good || atomic_load(&board.hits) == 0;
}
