/* SPDX-License-Identifier: Apache-2.0 */
/* limit_storm [kills]: processes of two threads take permits of one limit, fork children
 * that do, too, drop it when they can, and are killed and stopped at random moments.  For
 * each permit its holder locks one of as many bytes of a file as there are permits: the
 * kernel knows of those, the arena does not.  Nobody may find them all locked, wait
 * long, or get no turn; what the killed held can be had within 100 ms. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <forebay/forebay.h>

#include "self_value.h"

#define ARENA_SIZE ((uint64_t)1 << 20)
#define WORKERS 6u
#define MOST 3u
#define SCANS 20 /* of the bytes: holders come and go meanwhile, and all seem locked */
#define LONGEST_WAIT_MS 10000u
#define AVAILABLE_MS 100u
#define CHILD_ROUNDS 10u
#define NAME "database"

typedef struct board {
    _Atomic uint64_t turns[WORKERS]; /* permits that a worker, or a child of it, got */
    _Atomic uint64_t waits, yields, children, drops, refused, wrong;
    _Atomic bool calm;    /* nobody is to hold any: time for drops */
    _Atomic bool frantic; /* nobody is to keep any: time for races */
    _Atomic bool over;
} board;

static board *shared;
static char path[64];
static int evidence = -1; /* opened before the arena: closed before its locks are, by the kernel too */

/* Bytes this process has locked; threads of it have one lock together. */
static pthread_mutex_t bytes_lock = PTHREAD_MUTEX_INITIALIZER;
static bool bytes_ours[MOST];

static void wrong(const char *what, uint64_t a, uint64_t b)
{
    atomic_fetch_add(&shared->wrong, 1);
    printf("%s (%llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b);
    fflush(stdout);
}

typedef struct worker {
    forebay_arena *arena;
    forebay_limit *limit;
    uint32_t number;
    uint64_t state;
} worker;

static uint64_t next_random(worker *w)
{
    w->state += UINT64_C(0x9e3779b97f4a7c15);
    return self_value_mix(w->state);
}

static void pause_us(uint64_t us)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}

static bool open_arena(worker *w, uint64_t size)
{
    forebay_arena_options options = {.size = size};
    forebay_error error = {0};
    if (forebay_arena_open(path, &options, &w->arena, &error) == FOREBAY_OK)
        return true;
    printf("cannot open: %s\n", error.message);
    return false;
}

static void open_limit(worker *w)
{
    forebay_error error = {0};
    if (forebay_limit_open(w->arena, NAME, MOST, false, &w->limit, &error) != FOREBAY_OK) {
        wrong(error.message, w->number, 0);
        _exit(1);
    }
}

/* ---- evidence ---- */

static bool set_lock(uint32_t byte, short type)
{
    return fcntl(evidence, F_SETLK, &(struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1}) == 0;
}

static int lock_any_byte(void)
{
    for (uint32_t i = 0; i < MOST; i++)
        if (!bytes_ours[i] && set_lock(i, F_WRLCK)) {
            bytes_ours[i] = true;
            return (int)i;
        }
    return -1;
}

/* A byte for one more permit; there is one as long as there are not too many. */
static int lock_byte(void)
{
    int byte = -1;
    for (int scan = 0; scan < SCANS && byte < 0; scan++) {
        pthread_mutex_lock(&bytes_lock);
        byte = lock_any_byte();
        pthread_mutex_unlock(&bytes_lock);
    }
    if (byte < 0)
        wrong("more hold a permit than there are", MOST, 0);
    return byte;
}

static void unlock_byte(int byte)
{
    if (byte < 0)
        return;
    pthread_mutex_lock(&bytes_lock);
    bytes_ours[byte] = false;
    (void)set_lock((uint32_t)byte, F_UNLCK);
    pthread_mutex_unlock(&bytes_lock);
}

/* A child has none of its parent's locks. */
static void forget_bytes(void)
{
    pthread_mutex_init(&bytes_lock, NULL);
    memset(bytes_ours, 0, sizeof bytes_ours);
}

/* ---- holding ---- */

/* Keep it until another process should have it, as a pool does. */
static void keep(worker *w, bool idle)
{
    for (int ms = 0; ms < 200 && !atomic_load(&shared->calm) && !atomic_load(&shared->frantic); ms++) {
        if (forebay_limit_wanted(w->limit) && forebay_limit_should_yield(w->limit, idle)) {
            atomic_fetch_add(&shared->yields, 1);
            return;
        }
        pause_us(1000);
    }
}

static void hold(worker *w, const forebay_permit *permit)
{
    uint64_t r = next_random(w);
    forebay_permit second;
    int byte = lock_byte(), more = -1;
    bool has_more = r % 4 == 0 && forebay_permit_take(w->limit, &second) == FOREBAY_OK;
    if (has_more)
        more = lock_byte();
    atomic_fetch_add(&shared->turns[w->number], 1);
    if (atomic_load(&shared->frantic))
        sched_yield();
    else if (r / 4 % 8 == 0)
        keep(w, r / 32 % 2);
    else if (r / 4 % 8 > 3)
        pause_us(r / 32 % 1000);
    unlock_byte(more);
    if (has_more && forebay_permit_give_back(w->limit, &second) != FOREBAY_OK)
        wrong("the second permit was not ours", w->number, 0);
    unlock_byte(byte);
    if (forebay_permit_give_back(w->limit, permit) != FOREBAY_OK)
        wrong("the permit was not ours", w->number, 0);
}

static forebay_status wait_for_turn(worker *w, forebay_permit *permit)
{
    forebay_turn turn;
    forebay_status status = forebay_permit_queue(w->limit, &turn);
    atomic_fetch_add(&shared->waits, 1);
    for (uint32_t waited = 0; status == FOREBAY_OK; waited += 1000) {
        status = forebay_permit_wait(w->limit, &turn, 1000, permit);
        if (status != FOREBAY_TIMEOUT)
            break;
        if (waited >= LONGEST_WAIT_MS)
            wrong("waited too long", w->number, waited);
        status = waited >= LONGEST_WAIT_MS ? FOREBAY_TIMEOUT : FOREBAY_OK;
    }
    forebay_permit_leave(w->limit, &turn);
    return status;
}

/* Who holds one does not drop: it is refused then. */
static void drop(worker *w)
{
    forebay_status status = forebay_limit_drop(w->arena, NAME);
    if (status < FOREBAY_OK && status != FOREBAY_BUSY && status != FOREBAY_TIMEOUT)
        wrong("not dropped", w->number, (uint64_t)-status);
    atomic_fetch_add(status == FOREBAY_OK ? &shared->drops : &shared->refused, 1);
}

static void take_turn(worker *w)
{
    forebay_permit permit;
    forebay_status status = forebay_permit_take(w->limit, &permit);
    if (status == FOREBAY_MISS)
        status = wait_for_turn(w, &permit);
    if (status == FOREBAY_OK) {
        hold(w, &permit);
    } else if (status == FOREBAY_CLOSED) { /* dropped */
        forebay_limit_close(w->limit);
        open_limit(w);
    } else {
        wrong("no permit", w->number, (uint64_t)-status);
    }
}

static void one_round(worker *w)
{
    uint64_t r = next_random(w);
    if (r % 256 == 0 || atomic_load(&shared->calm))
        drop(w);
    if (!atomic_load(&shared->calm))
        take_turn(w);
    if (atomic_load(&shared->calm) || (r % 4 == 0 && !atomic_load(&shared->frantic)))
        pause_us(r / 256 % 1000);
}

static void *second_thread(void *argument)
{
    worker w = *(worker *)argument;
    w.state ^= UINT64_C(0x5555);
    open_limit(&w);
    while (!atomic_load(&shared->over))
        one_round(&w);
    forebay_limit_close(w.limit);
    return NULL;
}

/* A child goes on with its parent's handles, beside it. */
static void have_child(worker *w)
{
    pid_t pid = fork();
    if (pid > 0) {
        atomic_fetch_add(&shared->children, 1);
        (void)waitpid(pid, NULL, 0);
    } else if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        forget_bytes();
        for (uint32_t i = 0; i < CHILD_ROUNDS && !atomic_load(&shared->over); i++)
            one_round(w);
        _exit(0);
    }
}

static void work(uint32_t number, uint64_t seed)
{
    worker w = {.number = number, .state = seed};
    pthread_t thread;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    forget_bytes();
    if (!open_arena(&w, 0))
        _exit(1);
    open_limit(&w);
    if (pthread_create(&thread, NULL, second_thread, &(worker){w.arena, NULL, number, seed}) != 0)
        _exit(1);
    while (!atomic_load(&shared->over)) {
        one_round(&w);
        if (next_random(&w) % 64 == 0)
            have_child(&w);
    }
    pthread_join(thread, NULL);
    forebay_limit_close(w.limit);
    forebay_arena_close(w.arena);
    _exit(0);
}

static pid_t start(uint32_t number, uint64_t seed)
{
    pid_t pid = fork();
    if (pid == 0)
        work(number, seed);
    return pid;
}

static void change_mood(uint32_t i)
{
    atomic_store(&shared->calm, i % 16 == 15);
    atomic_store(&shared->frantic, i % 4 == 2);
    if (i % 16 == 15)
        pause_us(20000);
}

static void storm(uint32_t kills, pid_t pids[WORKERS])
{
    worker dice = {.state = 42};
    for (uint32_t i = 0; i < kills && atomic_load(&shared->wrong) == 0; i++) {
        uint64_t r = next_random(&dice);
        uint32_t number = (uint32_t)(r % WORKERS);
        change_mood(i);
        pause_us(r / 64 % 6000);
        if (r / 8 % 3 != 0) {
            kill(pids[number], SIGKILL);
            (void)waitpid(pids[number], NULL, 0);
            pids[number] = start(number, r);
        } else {
            kill(pids[number], SIGSTOP);
            pause_us(1000 * (r / 64 % 16 == 0 ? 700 : r / 64 % 40));
            kill(pids[number], SIGCONT);
        }
    }
    change_mood(2); /* nobody keeps any */
}

/* ---- the end ---- */

/* A child that lives on for a while when its parent was killed. */
static void have_survivor(void)
{
    pid_t parent = getpid();
    if (fork() != 0)
        return;
    while (getppid() == parent)
        pause_us(1000);
    pause_us(2 * 1000 * AVAILABLE_MS);
    _exit(0);
}

/* Hold one, or none, and wait for more. */
static void hold_and_wait(int ready)
{
    worker w = {.number = 0};
    forebay_permit permit;
    forebay_turn turn;
    if (!open_arena(&w, 0))
        _exit(1);
    open_limit(&w);
    (void)!forebay_permit_take(w.limit, &permit);
    (void)!forebay_permit_queue(w.limit, &turn);
    have_survivor();
    (void)!write(ready, "", 1);
    for (;;)
        (void)!forebay_permit_wait(w.limit, &turn, 1000, &permit);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Take all permits; how many there were by `end`. */
static uint32_t take_all(worker *w, double end)
{
    forebay_permit permits[MOST + 1];
    forebay_turn turn;
    uint32_t taken = 0;
    bool in_time = true;
    while (in_time && taken <= MOST && forebay_permit_queue(w->limit, &turn) == FOREBAY_OK) {
        double left = end - now_ms();
        in_time = forebay_permit_wait(w->limit, &turn, taken == MOST || left < 0 ? 0 : (uint32_t)left, &permits[taken])
                  == FOREBAY_OK;
        forebay_permit_leave(w->limit, &turn);
        taken += in_time;
    }
    for (uint32_t i = 0; i < taken; i++)
        if (forebay_permit_give_back(w->limit, &permits[i]) != FOREBAY_OK)
            wrong("the permit was not ours at the end", i, 0);
    return taken;
}

/* All holders are killed at once; what they held can be had. */
static double kill_all_holders(worker *w)
{
    int ready[2];
    pid_t pids[2 * MOST];
    char byte;
    if (pipe2(ready, O_CLOEXEC) != 0)
        return -1;
    for (uint32_t i = 0; i < 2 * MOST; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            hold_and_wait(ready[1]);
        if (read(ready[0], &byte, 1) != 1)
            wrong("a holder could not begin", i, 0);
    }
    close(ready[0]);
    close(ready[1]);
    forebay_permit none;
    if (forebay_permit_take(w->limit, &none) != FOREBAY_MISS)
        wrong("not all are held", 0, 0);
    for (uint32_t i = 0; i < 2 * MOST; i++)
        kill(pids[i], SIGKILL);
    double killed = now_ms();
    for (uint32_t i = 0; i < 2 * MOST; i++)
        (void)waitpid(pids[i], NULL, 0);
    uint32_t taken = take_all(w, now_ms() + AVAILABLE_MS); /* a look late is a look still */
    if (taken != MOST)
        wrong("not all can be had after their holders were killed", taken, MOST);
    return now_ms() - killed;
}

static void report(void *context, const char *message)
{
    (void)context;
    wrong(message, 0, 0);
}

static void check_the_end(worker *w, uint64_t mean)
{
    forebay_limit_info info;
    double longest = 0, sum = 0;
    open_limit(w);
    if (take_all(w, now_ms() + LONGEST_WAIT_MS) != MOST)
        wrong("not all can be had at the end", 0, 0);
    for (int round = 0; round < 20; round++) {
        double took = kill_all_holders(w);
        longest = took > longest ? took : longest;
        sum += took / 20;
    }
    printf("all that %u killed processes held was had after %.1f ms in the mean, %.1f ms at most\n", 2 * MOST, sum, longest);
    if (!forebay_limit_at(w->arena, 0, &info) || info.held != 0 || info.waiting != 0)
        wrong("held at the end", info.held, info.waiting);
    for (uint32_t i = 0; i < WORKERS; i++)
        if (atomic_load(&shared->turns[i]) < mean / 8)
            wrong("got hardly a turn", i, atomic_load(&shared->turns[i]));
    (void)!forebay_arena_verify(w->arena, report, NULL);
    forebay_limit_close(w->limit);
}

static bool set_up(worker *w)
{
    char file[80];
    snprintf(path, sizeof path, "/dev/shm/forebay-limit-storm-%d", (int)getpid());
    snprintf(file, sizeof file, "%s-evidence", path);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    evidence = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    unlink(file);
    return shared != MAP_FAILED && evidence >= 0 && open_arena(w, ARENA_SIZE);
}

int main(int argc, char **argv)
{
    bool soak = getenv("FOREBAY_SOAK") != NULL;
    uint32_t kills = argc > 1 ? (uint32_t)atoi(argv[1]) : soak ? 10000 : 400;
    worker w = {.state = 1};
    if (!set_up(&w))
        return 1;
    pid_t pids[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++)
        pids[i] = start(i, i + 1);
    storm(kills, pids);
    atomic_store(&shared->over, true);
    uint64_t turns = 0;
    for (uint32_t i = 0; i < WORKERS; i++) {
        (void)waitpid(pids[i], NULL, 0);
        turns += atomic_load(&shared->turns[i]);
    }
    check_the_end(&w, turns / WORKERS);
    forebay_arena_close(w.arena);
    unlink(path);
    printf("%u kills and stops: %llu turns, %llu waits, %llu given up for others, %llu children, %llu drops, %llu refused, %llu "
           "wrong\n", kills, (unsigned long long)turns, (unsigned long long)shared->waits, (unsigned long long)shared->yields,
           (unsigned long long)shared->children, (unsigned long long)shared->drops, (unsigned long long)shared->refused,
           (unsigned long long)shared->wrong);
    bool worked = shared->waits > 0 && shared->yields > 0 && shared->children > 0 && shared->drops > 0 && shared->refused > 0;
    return shared->wrong != 0 || !worked;
}
