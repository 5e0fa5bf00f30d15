/* SPDX-License-Identifier: Apache-2.0 */
/* lease_storm [kills]: processes read a counting "database" through the cache, under
 * leases, and update it and invalidate, while they are killed and stopped at random
 * moments.  Whoever reads must get nothing older than what was invalidated before
 * the read began; nobody may wait for the dead, or long for the stopped. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <forebay/forebay.h>

#include "cache/leases.h"
#include "self_value.h"

#define ARENA_SIZE ((uint64_t)1 << 20)
#define WORKERS 6u
#define KEYS 24u
#define LEASE_MS 100u       /* then a stopped loader is overtaken */
#define LONGEST_WAIT_MS 10000u

typedef struct board {
    _Atomic uint64_t database[KEYS]; /* the truth: a version */
    _Atomic uint64_t gone[KEYS];     /* versions below this one were invalidated: nobody may get them */
    _Atomic uint64_t loads, stored, refused, waits, failed, hits, wrong;
    _Atomic bool over;
} board;

static board *shared;
static char path[64];

static void wrong(const char *what, uint64_t key, uint64_t a, uint64_t b)
{
    atomic_fetch_add(&shared->wrong, 1);
    printf("%s: key %llu (%llu, %llu)\n", what, (unsigned long long)key, (unsigned long long)a, (unsigned long long)b);
    fflush(stdout);
}

typedef struct worker {
    forebay_arena *arena;
    forebay_cache *cache;
    uint64_t state;
} worker;

static uint64_t next_random(worker *w)
{
    w->state += UINT64_C(0x9e3779b97f4a7c15);
    return self_value_mix(w->state);
}

static void pause_us(uint64_t us)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

static bool open_it(worker *w, uint64_t size)
{
    forebay_arena_options options = {.size = size};
    forebay_error error = {0};
    if (forebay_arena_open(path, &options, &w->arena, &error) == FOREBAY_OK
        && forebay_cache_open(w->arena, "storm", NULL, &w->cache, &error) == FOREBAY_OK)
        return true;
    printf("cannot open: %s\n", error.message);
    return false;
}

/* A version, in a value long enough for others to be evicted. */
typedef struct value {
    uint64_t version, key;
    uint8_t rest[200];
} value;

static forebay_status get(worker *w, const char *text, size_t length, uint64_t key, uint64_t *version)
{
    value v;
    size_t got;
    forebay_kind kind;
    forebay_status status = forebay_get_into(w->cache, text, length, &v, sizeof v, &got, &kind);
    if (status != FOREBAY_OK)
        return status;
    if (got != sizeof v || v.key != key)
        wrong("another value", key, got, v.key);
    *version = v.version;
    return FOREBAY_OK;
}

static void load(worker *w, const char *text, size_t length, uint64_t key, const forebay_lease *lease)
{
    uint64_t r = next_random(w);
    value v = {.version = atomic_load(&shared->database[key]), .key = key};
    atomic_fetch_add(&shared->loads, 1);
    if (r % 4 == 0)
        pause_us(r / 4 % 300);
    if (r % 16 == 1) {
        forebay_lease_end(w->cache, lease);
    } else if (r % 16 == 2) {
        forebay_lease_fail(w->cache, lease, "no", 2);
        atomic_fetch_add(&shared->failed, 1);
    } else {
        forebay_status status = forebay_lease_store(w->cache, lease, text, length, &v, sizeof v, FOREBAY_KIND_BYTES,
                                                    &(forebay_set_options){0});
        if (status != FOREBAY_OK && status != FOREBAY_MISS)
            wrong("not stored", key, (uint64_t)-status, 0);
        atomic_fetch_add(status == FOREBAY_OK ? &shared->stored : &shared->refused, 1);
    }
}

static void wait_for(worker *w, uint64_t key, const forebay_lease *lease)
{
    atomic_fetch_add(&shared->waits, 1);
    for (uint32_t waited = 0; forebay_lease_wait(w->cache, lease, 1000) != FOREBAY_OK; waited += 1000)
        if (waited >= LONGEST_WAIT_MS && !atomic_load(&shared->over)) {
            wrong("waited too long", key, waited, lease->token);
            return;
        }
}

/* Read through the cache: until there is a value, a few times. */
static void read_through(worker *w, const char *text, size_t length, uint64_t key)
{
    for (int tries = 0; tries < 5; tries++) {
        forebay_lease lease;
        uint64_t version, gone = atomic_load(&shared->gone[key]);
        forebay_status status = get(w, text, length, key, &version);
        if (status == FOREBAY_OK) {
            atomic_fetch_add(&shared->hits, 1);
            if (version < gone)
                wrong("got what was invalidated", key, version, gone);
            return;
        }
        status = forebay_lease_take(w->cache, text, length, LEASE_MS, &lease);
        if (status == FOREBAY_OK)
            load(w, text, length, key, &lease);
        else if (status == FOREBAY_EXISTS)
            wait_for(w, key, &lease);
        else
            wrong("no lease", key, (uint64_t)-status, 0);
    }
}

static void update(worker *w, const char *text, size_t length, uint64_t key)
{
    uint64_t version = atomic_fetch_add(&shared->database[key], 1) + 1;
    if (forebay_delete(w->cache, text, length) < FOREBAY_OK)
        wrong("not invalidated", key, version, 0);
    uint64_t gone = atomic_load(&shared->gone[key]);
    while (gone < version && !atomic_compare_exchange_weak(&shared->gone[key], &gone, version))
        ;
}

static void work(uint64_t seed)
{
    worker w = {.state = seed};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!open_it(&w, 0))
        _exit(1);
    while (!atomic_load(&shared->over)) {
        char text[24];
        uint64_t r = next_random(&w), key = r % KEYS;
        size_t length = self_value_key(text, key);
        if (r / KEYS % 8 == 0) {
            update(&w, text, length, key);
        } else if (r / KEYS % 8 == 1) {
            value filler = {0};
            length = self_value_key(text, 1000 + r / 1000 % 5000);
            (void)!forebay_set(w.cache, text, length, &filler, sizeof filler, FOREBAY_KIND_BYTES, 0, FOREBAY_SET);
        } else {
            read_through(&w, text, length, key);
        }
    }
    forebay_cache_close(w.cache);
    forebay_arena_close(w.arena);
    _exit(0);
}

static pid_t start(uint64_t seed)
{
    pid_t pid = fork();
    if (pid == 0)
        work(seed);
    return pid;
}

static void storm(uint32_t kills, pid_t pids[WORKERS])
{
    worker dice = {.state = 42};
    for (uint32_t i = 0; i < kills && atomic_load(&shared->wrong) == 0; i++) {
        uint64_t r = next_random(&dice);
        pid_t *pid = &pids[r % WORKERS];
        pause_us(r / 64 % 6000);
        if (r / 8 % 3 != 0) {
            kill(*pid, SIGKILL);
            (void)waitpid(*pid, NULL, 0);
            *pid = start(r);
        } else {
            kill(*pid, SIGSTOP);
            pause_us(1000 * (r / 64 % 4 == 0 ? 2 * LEASE_MS : r / 64 % 20));
            kill(*pid, SIGCONT);
        }
    }
}

static void report(void *context, const char *message)
{
    (void)context;
    wrong(message, 0, 0, 0);
}

/* Whatever the killed had can be had, and nothing is held at the end. */
static void check_the_end(worker *w)
{
    for (uint64_t key = 0; key < KEYS; key++) {
        char text[24];
        forebay_lease lease;
        size_t length = self_value_key(text, key);
        forebay_status status;
        while ((status = forebay_lease_take(w->cache, text, length, LEASE_MS, &lease)) == FOREBAY_EXISTS)
            wait_for(w, key, &lease);
        if (status != FOREBAY_OK)
            wrong("no lease at the end", key, (uint64_t)-status, 0);
        forebay_lease_end(w->cache, &lease);
    }
    if (fb_leases_held(w->arena) != 0)
        wrong("held at the end", 0, fb_leases_held(w->arena), 0);
    (void)!forebay_arena_verify(w->arena, report, NULL);
}

int main(int argc, char **argv)
{
    bool soak = getenv("FOREBAY_SOAK") != NULL;
    uint32_t kills = argc > 1 ? (uint32_t)atoi(argv[1]) : soak ? 10000 : 400;
    snprintf(path, sizeof path, "/dev/shm/forebay-lease-storm-%d", (int)getpid());
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    worker w = {.state = 1};
    if (shared == MAP_FAILED || !open_it(&w, ARENA_SIZE))
        return 1;
    pid_t pids[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++)
        pids[i] = start(i + 1);
    storm(kills, pids);
    atomic_store(&shared->over, true);
    for (uint32_t i = 0; i < WORKERS; i++) {
        kill(pids[i], SIGCONT);
        (void)waitpid(pids[i], NULL, 0);
    }
    check_the_end(&w);
    forebay_cache_close(w.cache);
    forebay_arena_close(w.arena);
    unlink(path);
    printf("%u kills and stops: %llu hits, %llu loads, %llu stored, %llu refused, %llu failed, %llu waits, %llu wrong\n", kills,
           (unsigned long long)shared->hits, (unsigned long long)shared->loads, (unsigned long long)shared->stored,
           (unsigned long long)shared->refused, (unsigned long long)shared->failed, (unsigned long long)shared->waits,
           (unsigned long long)shared->wrong);
    bool worked = shared->hits > 0 && shared->stored > 0 && shared->refused > 0 && shared->waits > 0;
    return shared->wrong != 0 || !worked;
}
