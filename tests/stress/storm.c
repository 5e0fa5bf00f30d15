/* SPDX-License-Identifier: Apache-2.0 */
/* storm [kills]: worker processes, each a program of its own, use one arena
 * while they are killed and stopped at random moments, some of them in another
 * PID namespace.  Nobody may see a wrong value, wait, or lose a segment. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arena/segments.h"
#include "cache/dictionaries.h"
#include "self_value.h"
#include "stress_worker.h"

#define ARENA_SIZE ((uint64_t)2 << 20)
#define WORKERS 6u
#define LONGEST_CPU_US 100000u

static char path[64], board_path[64];

static void remove_files(void)
{
    unlink(path);
    unlink(board_path);
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static stress_board *map_board(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(stress_board)) != 0)
        die("board");
    stress_board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (board == MAP_FAILED)
        die("board");
    return board;
}

static forebay_cache *open_named(const char *cache_name, const char *name, uint64_t size, forebay_arena **arena_out)
{
    forebay_arena_options options = {.size = size};
    forebay_error error = {0};
    forebay_cache *cache = NULL;
    forebay_cache_options how = {.ttl_ms = FOREBAY_TTL_STORED, .codec = strcmp(cache_name, "packed") == 0 ? "zstd" : "none"};
    if (forebay_arena_open(name, &options, arena_out, &error) != FOREBAY_OK
        || forebay_cache_open(*arena_out, cache_name, &how, &cache, &error) != FOREBAY_OK) {
        printf("cannot open: %s\n", error.message);
        fflush(stdout);
    }
    return cache;
}

static forebay_cache *open_cache(const char *name, uint64_t size, forebay_arena **arena_out)
{
    return open_named("storm", name, size, arena_out);
}

/* storm work|count|quota|view|pack PATH BOARD NUMBER SEED: random calls; increments alone; random
 * calls, of each second worker on the cache that has a limit; views that stay open. */
static int be_worker(char **argv)
{
    forebay_arena *arena;
    stress_board *board = map_board(argv[3]);
    uint32_t number = (uint32_t)atoi(argv[4]);
    bool limited = strcmp(argv[1], "quota") == 0 && number % 2 == 0;
    bool packs = strcmp(argv[1], "pack") == 0;
    forebay_cache *cache = open_named(limited ? "limited" : packs ? "packed" : "storm", argv[2], 0, &arena);
    if (cache == NULL) {
        atomic_fetch_add(&board->wrong, 1);
        return 1;
    }
    if (strcmp(argv[1], "view") == 0)
        stress_view(cache, board, number, 0);
    else if (strcmp(argv[1], "count") == 0)
        stress_count(cache, board, number, 0);
    else
        stress_work(arena, cache, board, (uint32_t)atoi(argv[5]), 0);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return 0;
}

static void run_self(const char *what, uint32_t number, uint32_t seed)
{
    char a[16], b[16];
    snprintf(a, sizeof a, "%u", number);
    snprintf(b, sizeof b, "%u", seed);
    execl("/proc/self/exe", "storm", what, path, board_path, a, b, (char *)NULL);
    _exit(127);
}

/* The child of a process that may be killed at any moment.  It dies with its
 * parent; it looks at a pipe of the parent's to learn that this died before it
 * could ask for that. */
static pid_t fork_bound(void)
{
    int alive[2];
    if (pipe2(alive, O_CLOEXEC | O_NONBLOCK) != 0)
        _exit(125);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(alive[1]);
    if (read(alive[0], &byte, 1) == 0)
        _exit(124);
    return 0;
}

/* Odd workers live in a PID namespace of their own, where `separate`: then the
 * returned process only waits for the worker, and its death kills that. */
static pid_t start_worker(const char *what, uint32_t number, uint32_t seed, bool separate)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!separate || number % 2 == 0)
        run_self(what, number, seed);
    if (unshare(CLONE_NEWPID) != 0)
        _exit(126);
    pid_t inner = fork_bound();
    if (inner == 0)
        run_self(what, number, seed);
    int status;
    waitpid(inner, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static bool can_unshare(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWPID) == 0 ? 0 : 1);
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void print_violation(void *context, const char *message)
{
    (void)context;
    printf("verify: %s\n", message);
}

/* Keys that fit at once: set twice what the arena holds, count what is there. */
static uint64_t measure_capacity(const char *name)
{
    forebay_arena *arena;
    forebay_cache *cache = open_cache(name, ARENA_SIZE, &arena);
    if (cache == NULL)
        return 0;
    static uint8_t value[1000];
    char text[24];
    uint64_t found = 0, most = 2 * ARENA_SIZE / sizeof value;
    for (uint64_t key = 500000; key < 500000 + 2 * most; key++) {
        self_value_make(value, key, 1, sizeof value);
        if (forebay_set(cache, text, self_value_key(text, key), value, sizeof value, FOREBAY_KIND_BYTES,
                        FOREBAY_TTL_DEFAULT, FOREBAY_SET) != FOREBAY_OK)
            printf("set failed while filling\n");
    }
    for (uint64_t key = 500000; key < 500000 + 2 * most; key++) {
        size_t length;
        forebay_kind kind;
        found += forebay_get_into(cache, text, self_value_key(text, key), value, sizeof value, &length, &kind) == FOREBAY_OK;
    }
    if (forebay_arena_verify(arena, print_violation, NULL) != FOREBAY_OK)
        found = 0;
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return found;
}

static void pause_us(unsigned us)
{
    struct timespec t = {0, (long)us * 1000};
    nanosleep(&t, NULL);
}

/* Kill or stop one worker, start another for a killed one.  A stopped one goes
 * on at the next turn of its place. */
static uint32_t strike(const char *what, pid_t *pids, bool *stopped, bool separate, uint32_t turn)
{
    uint32_t i = (uint32_t)(self_value_mix(turn) % WORKERS);
    if (stopped[i]) {
        kill(pids[i], SIGCONT);
        stopped[i] = false;
        return 0;
    }
    if (self_value_mix(turn * 7u + 1) % 2 == 0) {
        kill(pids[i], SIGSTOP);
        stopped[i] = true;
        return 1;
    }
    kill(pids[i], SIGKILL);
    waitpid(pids[i], NULL, 0);
    pids[i] = start_worker(what, i, turn, separate);
    return 1;
}

/* Returns how many views those had open who were struck. */
static uint64_t storm(const char *what, uint32_t strikes, bool separate, const stress_board *board)
{
    uint64_t held = 0;
    pid_t pids[WORKERS];
    bool stopped[WORKERS] = {false};
    for (uint32_t i = 0; i < WORKERS; i++)
        pids[i] = start_worker(what, i, 1000000 + i, separate);
    uint32_t turn = 0;
    for (uint32_t done = 0; done < strikes; turn++) {
        pause_us(500 + (unsigned)(self_value_mix(turn * 3u) % 15000));
        uint32_t struck = (uint32_t)(self_value_mix(turn) % WORKERS);
        uint32_t hit = strike(what, pids, stopped, separate, turn);
        held += hit != 0 ? atomic_load(&board->held[struck]) : 0;
        done += hit;
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        kill(pids[i], SIGKILL); /* the stopped ones too: all die inside their work */
    while (waitpid(-1, NULL, 0) > 0) /* with those of other namespaces, whose reaper this is */
        ;
    return held;
}

static bool judge_mixed(uint32_t strikes, bool separate)
{
    stress_board *board = map_board(board_path);
    memset(board, 0, sizeof *board);
    unlink(path);
    uint64_t before = measure_capacity(path);
    unlink(path);
    forebay_arena *arena;
    forebay_cache *cache = open_cache(path, ARENA_SIZE, &arena);
    if (cache == NULL)
        return false;
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    (void)storm("work", strikes, separate, board);
    cache = open_cache(path, 0, &arena); /* all processes were killed: a warm start */
    if (cache == NULL)
        return false;
    bool sound = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK;
    uint64_t warm = forebay_len(cache);
    stress_work(arena, cache, board, 1, 5000);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    uint64_t after = measure_capacity(path);
    uint64_t wrong = atomic_load(&board->wrong), cpu = atomic_load(&board->longest_cpu_us);
    printf("%u kills and stops%s: %llu calls, %llu hits, %llu full, %llu wrong; longest call %.2f ms of CPU (%.2f ms of time, "
           "stops included); %llu entries found warm; capacity %llu before, %llu after\n",
           strikes, separate ? ", two PID namespaces" : "", (unsigned long long)atomic_load(&board->calls),
           (unsigned long long)atomic_load(&board->hits), (unsigned long long)atomic_load(&board->failed_sets),
           (unsigned long long)wrong, (double)cpu / 1000, (double)atomic_load(&board->longest_wall_us) / 1000,
           (unsigned long long)warm, (unsigned long long)before, (unsigned long long)after);
    munmap(board, sizeof *board);
    bool capacity_back = after * 100 >= before * 95;
    return sound && wrong == 0 && cpu < LONGEST_CPU_US && warm > 0 && before > 0 && capacity_back;
}

/* An acknowledged increment is never lost; an unacknowledged one may have happened. */
static bool judge_counters(uint32_t strikes, bool separate)
{
    stress_board *board = map_board(board_path);
    memset(board, 0, sizeof *board);
    unlink(path);
    forebay_arena *arena;
    forebay_cache *cache = open_cache(path, ARENA_SIZE, &arena);
    if (cache == NULL)
        return false;
    (void)storm("count", strikes, separate, board);
    bool good = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK && atomic_load(&board->wrong) == 0;
    uint64_t total = 0;
    for (uint32_t c = 0; c < STRESS_COUNTERS; c++) {
        uint64_t acknowledged = 0, attempted = 0;
        for (uint32_t i = 0; i < WORKERS; i++) {
            acknowledged += atomic_load(&board->acknowledged[i][c]);
            attempted += atomic_load(&board->attempted[i][c]);
        }
        int64_t value = stress_counter_value(cache, c);
        total += acknowledged;
        if (value < (int64_t)acknowledged || value > (int64_t)attempted) {
            printf("counter %u: %lld, but %llu acknowledged and %llu attempted\n", c, (long long)value,
                   (unsigned long long)acknowledged, (unsigned long long)attempted);
            good = false;
        }
    }
    forebay_cache_stats stats = {0};
    (void)forebay_cache_get_stats(cache, &stats);
    printf("%u kills and stops%s: %llu increments acknowledged, %s, %llu counters evicted\n", strikes,
           separate ? ", two PID namespaces" : "", (unsigned long long)total, good ? "none lost" : "WRONG",
           (unsigned long long)stats.evictions);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    munmap(board, sizeof *board);
    return good;
}

static forebay_cache *open_quota(forebay_arena *arena, const char *name, uint64_t share, uint64_t limit)
{
    forebay_cache *cache = NULL;
    forebay_error error = {0};
    forebay_cache_options options = {.share = share, .limit = limit, .codec = "none"};
    if (forebay_cache_open(arena, name, &options, &cache, &error) != FOREBAY_OK)
        printf("cannot open: %s\n", error.message);
    return cache;
}

/* Write the quiet cache's entries, or count those that are there. */
static uint64_t quiet_entries(forebay_cache *cache, uint64_t keys, bool write)
{
    static uint8_t value[1000];
    uint64_t there = 0, sequence;
    for (uint64_t key = 0; key < keys; key++) {
        char text[24];
        size_t length = SELF_VALUE_MIN + key % 500, key_length = self_value_key(text, key);
        forebay_kind kind;
        self_value_make(value, key, 1, length);
        if (write)
            there += forebay_set(cache, text, key_length, value, length, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT,
                                 FOREBAY_SET) == FOREBAY_OK;
        else
            there += forebay_get_into(cache, text, key_length, value, sizeof value, &length, &kind) == FOREBAY_OK
                     && self_value_check(value, length, key, &sequence);
    }
    return there;
}

/* Workers on two caches, one with a limit; a third with a share is not touched. */
static bool judge_quotas(uint32_t strikes, bool separate)
{
    enum { QUIET = 1200 };
    uint64_t share = ARENA_SIZE / 4, limit = ARENA_SIZE / 4;
    stress_board *board = map_board(board_path);
    memset(board, 0, sizeof *board);
    unlink(path);
    forebay_arena *arena;
    forebay_cache *cache = open_cache(path, ARENA_SIZE, &arena);
    forebay_cache *quiet = cache == NULL ? NULL : open_quota(arena, "quiet", share, 0);
    forebay_cache *limited = cache == NULL ? NULL : open_quota(arena, "limited", 0, limit);
    if (quiet == NULL || limited == NULL || quiet_entries(quiet, QUIET, true) != QUIET)
        return false;
    (void)storm("quota", strikes, separate, board);
    forebay_cache_stats of_quiet = {0}, of_limited = {0};
    bool good = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK && atomic_load(&board->wrong) == 0;
    good &= forebay_cache_get_stats(quiet, &of_quiet) == FOREBAY_OK && forebay_cache_get_stats(limited, &of_limited) == FOREBAY_OK;
    uint64_t there = quiet_entries(quiet, QUIET, false);
    printf("%u kills and stops%s, with quotas: %llu calls, %llu full; %llu of %d quiet entries there, in %llu of %llu bytes; "
           "limited cache %llu of %llu bytes\n", strikes, separate ? ", two PID namespaces" : "",
           (unsigned long long)atomic_load(&board->calls), (unsigned long long)atomic_load(&board->failed_sets),
           (unsigned long long)there, QUIET, (unsigned long long)of_quiet.bytes, (unsigned long long)share,
           (unsigned long long)of_limited.bytes, (unsigned long long)limit);
    forebay_cache_close(limited);
    forebay_cache_close(quiet);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    munmap(board, sizeof *board);
    return good && there == QUIET && of_limited.bytes <= limit;
}

/* Views of the killed and the stopped: nothing leaks, eviction goes on. */
static bool judge_views(uint32_t strikes, bool separate)
{
    stress_board *board = map_board(board_path);
    memset(board, 0, sizeof *board);
    unlink(path);
    uint64_t before = measure_capacity(path);
    unlink(path);
    forebay_arena *arena;
    forebay_cache *cache = open_cache(path, ARENA_SIZE, &arena);
    if (cache == NULL)
        return false;
    uint64_t held = storm("view", strikes, separate, board);
    bool good = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK; /* sweeps the dead */
    held_segments pinned;
    uint32_t left = 0;
    fb_segments_pinned(arena, &pinned);
    for (uint32_t i = 0; i < 64; i++)
        left += (uint32_t)__builtin_popcountll(pinned.bits[i]);
    (void)forebay_clear(cache); /* what was viewed is hot, and would stay */
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    uint64_t after = measure_capacity(path), wrong = atomic_load(&board->wrong), full = atomic_load(&board->failed_sets);
    uint64_t cpu = atomic_load(&board->longest_cpu_us);
    printf("%u kills and stops%s: %llu views, %llu in place, %llu open when their process was killed or stopped; %llu wrong, "
           "%llu full; longest call %.2f ms of CPU; %u segments pinned at the end; capacity %llu before, %llu after\n",
           strikes, separate ? ", two PID namespaces" : "", (unsigned long long)atomic_load(&board->views),
           (unsigned long long)atomic_load(&board->views_in_place), (unsigned long long)held, (unsigned long long)wrong,
           (unsigned long long)full, (double)cpu / 1000, left, (unsigned long long)before, (unsigned long long)after);
    munmap(board, sizeof *board);
    return good && wrong == 0 && full == 0 && left == 0 && held > 10000 && cpu < LONGEST_CPU_US && before > 0
           && after * 100 >= before * 95;
}

static uint32_t dictionaries_left(forebay_arena *arena)
{
    uint32_t left = 0;
    fb_dictionaries_reclaim(arena);
    for (uint32_t i = 0; i < arena->geometry.dictionary_count; i++)
        left += atomic_load(&arena->dictionaries[i].word) != DICTIONARY_FREE;
    return left;
}

/* Dictionaries are trained, published and retired while values are packed with
 * them; those that nothing needs any more go, whoever died. */
static bool judge_packing(uint32_t strikes, bool separate)
{
    stress_board *board = map_board(board_path);
    memset(board, 0, sizeof *board);
    atomic_store(&board->packs, true);
    unlink(path);
    forebay_arena *arena;
    forebay_cache *cache = open_named("packed", path, ARENA_SIZE, &arena);
    if (cache == NULL)
        return false;
    (void)storm("pack", strikes, separate, board);
    bool good = forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK;
    forebay_cache_stats stats = {0};
    (void)forebay_cache_get_stats(cache, &stats);
    (void)forebay_clear(cache);
    forebay_cache_close(cache);
    uint64_t capacity = measure_capacity(path); /* every segment is another one now */
    uint32_t left = dictionaries_left(arena);
    uint64_t wrong = atomic_load(&board->wrong), cpu = atomic_load(&board->longest_cpu_us);
    printf("%u kills and stops%s, packed: %llu calls, %llu hits, %llu of them unpacked, %llu kept unpacked, %.2f times smaller; "
           "%llu dictionaries, %u left of them; %llu wrong; longest call %.2f ms of CPU\n",
           strikes, separate ? ", two PID namespaces" : "", (unsigned long long)atomic_load(&board->calls),
           (unsigned long long)stats.hits, (unsigned long long)stats.packed_hits, (unsigned long long)stats.warmed,
           (double)stats.value_bytes / (double)(stats.stored_bytes + 1),
           (unsigned long long)atomic_load(&board->dictionaries), left, (unsigned long long)wrong, (double)cpu / 1000);
    forebay_arena_close(arena);
    good &= wrong == 0 && atomic_load(&board->dictionaries) > 2 * DICTIONARY_SLOTS && left <= 1 && stats.packed_hits > 0
            && cpu < LONGEST_CPU_US && capacity > 0;
    munmap(board, sizeof *board);
    return good;
}

int main(int argc, char **argv)
{
    if (argc == 6)
        return be_worker(argv);
    const char *soak = getenv("FOREBAY_SOAK");
    uint32_t strikes = soak != NULL && *soak != 0 && *soak != '0' ? 10000 : 300;
    if (argc == 2)
        strikes = (uint32_t)atoi(argv[1]);
    snprintf(path, sizeof path, "/dev/shm/forebay-storm-%d", (int)getpid());
    snprintf(board_path, sizeof board_path, "/dev/shm/forebay-storm-board-%d", (int)getpid());
    atexit(remove_files);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    bool separate = can_unshare();
    if (!separate)
        printf("no right to make a PID namespace here: those rounds are left out\n");
    bool good = judge_mixed(strikes, false);
    good &= judge_counters(strikes / 2, false);
    good &= judge_quotas(strikes / 2, false);
    good &= judge_views(strikes, false);
    good &= judge_packing(strikes, false);
    if (separate) {
        good &= judge_mixed(strikes / 2, true);
        good &= judge_counters(strikes / 4, true);
        good &= judge_quotas(strikes / 4, true);
        good &= judge_views(strikes, true);
        good &= judge_packing(strikes, true);
    }
    return !good;
}
