/* SPDX-License-Identifier: Apache-2.0 */
/* A process with threads at work forks again and again, its children fork too,
 * all go on with the handle they inherited, and some are killed. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stress_worker.h"

#define BREADTH 6u

static forebay_arena *arena;
static forebay_cache *cache;
static stress_board *board;

static void *work_beside(void *unused)
{
    (void)unused;
    stress_work(arena, cache, board, 77, 0);
    return NULL;
}

static void work_and_fork(uint32_t seed, unsigned depth)
{
    stress_work(arena, cache, board, seed, 200);
    pid_t pid = depth > 0 ? fork() : -1;
    if (pid == 0) {
        work_and_fork(seed * 31 + 1, depth - 1);
        _exit(0);
    }
    stress_work(arena, cache, board, seed + 1, 200);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static void one_round(uint32_t round)
{
    pid_t pids[BREADTH];
    for (uint32_t i = 0; i < BREADTH; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            work_and_fork(round * 100 + i, i % 3);
            _exit(0);
        }
    }
    struct timespec t = {0, (long)(round * 7919 % 5000) * 1000};
    nanosleep(&t, NULL);
    for (uint32_t i = 0; i < BREADTH; i++) {
        if (i % 2)
            kill(pids[i], SIGKILL);
        int status;
        waitpid(pids[i], &status, 0);
        if (i % 2 == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
            printf("a child ended with %x\n", status);
            atomic_fetch_add(&board->wrong, 1);
        }
    }
}

static void print_violation(void *context, const char *message)
{
    (void)context;
    printf("verify: %s\n", message);
}

int main(void)
{
    const char *soak = getenv("FOREBAY_SOAK");
    uint32_t rounds = soak != NULL && *soak != 0 && *soak != '0' ? 2000 : 30;
    forebay_arena_options options = {.size = (uint64_t)4 << 20};
    forebay_error error = {0};
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || forebay_arena_open(NULL, &options, &arena, &error) != FOREBAY_OK
        || forebay_cache_open(arena, "forks", NULL, &cache, &error) != FOREBAY_OK) {
        printf("cannot open: %s\n", error.message);
        return 1;
    }
    pthread_t beside;
    pthread_create(&beside, NULL, work_beside, NULL);
    for (uint32_t round = 0; round < rounds; round++)
        one_round(round);
    atomic_store(&board->over, true);
    pthread_join(beside, NULL);
    bool good = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK && atomic_load(&board->wrong) == 0;
    printf("%u rounds of forks: %llu calls, %llu hits, %llu wrong\n", rounds, (unsigned long long)atomic_load(&board->calls),
           (unsigned long long)atomic_load(&board->hits), (unsigned long long)atomic_load(&board->wrong));
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return !good;
}
