/* SPDX-License-Identifier: Apache-2.0 */
/* stepper kill|stop|count [operation...]: at every instruction of every
 * operation (with FOREBAY_SOAK=1, else at every p-th for a prime p; long
 * operations at fewer), a victim process is killed with SIGKILL, or is stopped while
 * another process overwrites the whole arena, and then goes on to its end.
 * Afterwards all invariants and all values are checked. */
#include "arena/arena_state.h"
#include "step_channels.h"
#include "step_tiers.h"
#include "step_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LONGEST_CALL_MS 100.0

typedef enum step_mode { MODE_KILL, MODE_STOP } step_mode;

static char path[64];
static uint8_t *template_bytes[STEP_ARENAS]; /* the arenas as their makers left them */

static void remove_file(void) { unlink(path); }

_Noreturn static void die(const char *what)
{
    perror(what);
    exit(1);
}

static forebay_cache *open_both(forebay_arena **arena_out, uint64_t size)
{
    forebay_arena_options options = {.size = size};
    forebay_error error = {0};
    forebay_cache *cache = NULL;
    forebay_cache_options plain = {.codec = "none"};
    if (forebay_arena_open(path, &options, arena_out, &error) != FOREBAY_OK
        || forebay_cache_open(*arena_out, "step", size != 0 ? &plain : NULL, &cache, &error) != FOREBAY_OK) {
        printf("cannot open: %s\n", error.message);
        return NULL;
    }
    return cache;
}

static void close_both(forebay_arena *arena, forebay_cache *cache)
{
    forebay_cache_close(cache);
    forebay_arena_close(arena);
}

static void make_template(step_arena kind)
{
    static const char *const names[] = {"calm", "full", "limited", "packed", "full packed"};
    forebay_arena *arena = NULL;
    unlink(path);
    forebay_cache *cache = open_both(&arena, STEP_ARENA_SIZE);
    if (cache != NULL && (kind == LIMITED || kind == PACKED || kind == PACKED_FULL)) {
        forebay_cache_options limited = {.limit = STEP_LIMIT, .update = true}, packed = {.codec = "zstd", .update = true};
        forebay_cache_close(cache);
        if (forebay_cache_open(arena, "step", kind == LIMITED ? &limited : &packed, &cache, NULL) != FOREBAY_OK)
            cache = NULL;
        atomic_store(&arena->caches[0].train_at, UINT64_MAX); /* no thread beside what is stepped */
        if (cache != NULL && kind != LIMITED && !step_publish(arena, cache, STEP_KEY))
            cache = NULL;
    }
    if (cache == NULL || !step_prepare_limit(arena) || !step_prepare_channel(arena) || !step_prepare_arena(cache, kind)) {
        printf("cannot prepare the %s arena\n", names[kind]);
        exit(1);
    }
    close_both(arena, cache);
    template_bytes[kind] = malloc(STEP_ARENA_SIZE);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || template_bytes[kind] == NULL || pread(fd, template_bytes[kind], STEP_ARENA_SIZE, 0) != STEP_ARENA_SIZE)
        die("template");
    close(fd);
}

static void restore_template(step_arena kind)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, template_bytes[kind], STEP_ARENA_SIZE, 0) != STEP_ARENA_SIZE)
        die("restore");
    close(fd);
}

/* In the child: ready, stop; the operation; stop. */
static void be_victim(const step_operation *operation)
{
    forebay_arena *arena = NULL;
    forebay_cache *cache = open_both(&arena, 0);
    if (cache == NULL || (operation->prepare != NULL && !operation->prepare(arena, cache)))
        _exit(3);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(4);
    raise(SIGSTOP);
    bool good = operation->run(arena, cache);
    raise(SIGSTOP);
    close_both(arena, cache);
    _exit(good ? 0 : 2);
}

static pid_t start_victim(const step_operation *operation)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        be_victim(operation);
    int status = 0; /* for the message, where waiting itself fails */
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) {
        printf("%s: the victim could not begin (status %x)\n", operation->name, status);
        exit(1);
    }
    return pid;
}

/* Step `count` instructions; fewer if the operation ends: returns how many. */
static long step_victim(pid_t pid, long count)
{
    for (long i = 0; i < count; i++) {
        int status;
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid)
            die("step");
        if (!WIFSTOPPED(status)) {
            printf("the victim ended while stepped (status %x)\n", status);
            exit(1);
        }
        if (WSTOPSIG(status) != SIGTRAP)
            return i;
    }
    return count;
}

static void kill_victim(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    do {
        if (waitpid(pid, &status, 0) != pid)
            die("wait for the killed");
    } while (!WIFSIGNALED(status));
}

/* Let the victim go on to its end; false if its operation gave a wrong result. */
static bool end_victim(pid_t pid)
{
    int status;
    for (;;) {
        if (ptrace(PTRACE_CONT, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid)
            die("go on");
        if (WIFSTOPPED(status) && WSTOPSIG(status) != SIGSTOP && WSTOPSIG(status) != SIGTRAP) {
            printf("the victim got signal %d\n", WSTOPSIG(status));
            kill_victim(pid);
            return false;
        }
        if (WIFEXITED(status) || WIFSIGNALED(status))
            break;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("the victim's operation went wrong (status %x)\n", status);
        return false;
    }
    return true;
}

static bool after_kill(const step_operation *operation, forebay_arena *arena, forebay_cache *cache, bool recycle)
{
    bool good = step_verify(arena) && step_check_values(cache, operation, false) && step_live_on(cache, operation);
    if (good && recycle)
        good = step_recycle(cache, operation);
    return step_verify(arena) && step_check_limit(cache, operation->arena) && good;
}

/* The arena is not overwritten: what is old is to be there, and not to be read. */
static bool after_stop_at_channel(const step_operation *operation, forebay_arena *arena, forebay_cache *cache, pid_t victim)
{
    bool good = step_verify(arena);
    good &= step_recycle_channel(arena, operation);
    good &= step_verify(arena);
    good &= end_victim(victim);
    good &= step_check_channel_recycled(arena, operation);
    good &= step_verify(arena);
    good &= step_check_values(cache, operation, false);
    return good;
}

static bool after_stop(const step_operation *operation, forebay_arena *arena, forebay_cache *cache, pid_t victim)
{
    if (step_is_about_channels(operation))
        return after_stop_at_channel(operation, arena, cache, victim);
    bool good = step_verify(arena) && step_recycle(cache, operation) && step_check_recycled(cache);
    if (step_is_about_limits(operation))
        good &= step_recycle_limit(arena, operation);
    good &= step_verify(arena);
    good &= end_victim(victim);
    if (step_is_about_limits(operation))
        good &= step_check_limit_recycled(arena);
    if (step_is_about_tiers(operation))
        good &= step_tiers_live_on(arena);
    good &= step_verify(arena);
    if (!operation->clears)
        good &= step_check_recycled(cache);
    if (!operation->clears && operation->key != STEP_BIG_KEY) /* whose room may be taken from anywhere */
        good &= step_check_youngest(cache, operation->arena);
    good &= step_check_values(cache, operation, true);
    good &= step_check_limit(cache, operation->arena);
    return good;
}

/* One experiment.  Every other time the other process has had the arena open all along. */
static bool experiment(const step_operation *operation, step_mode mode, long at, long nth, bool *ended)
{
    forebay_arena *arena = NULL;
    forebay_cache *cache = NULL;
    restore_template(operation->arena);
    step_note_begin();
    if (nth % 2)
        cache = open_both(&arena, 0);
    pid_t victim = start_victim(operation);
    *ended = step_victim(victim, at) < at;
    if (mode == MODE_KILL)
        kill_victim(victim);
    if (cache == NULL)
        cache = open_both(&arena, 0);
    if (cache == NULL) {
        if (mode == MODE_STOP)
            kill_victim(victim);
        return false;
    }
    bool good = mode == MODE_KILL ? after_kill(operation, arena, cache, nth % 8 == 0) : after_stop(operation, arena, cache, victim);
    close_both(arena, cache);
    return good;
}

static long count_steps(const step_operation *operation)
{
    restore_template(operation->arena);
    pid_t victim = start_victim(operation);
    long count = step_victim(victim, 100000000);
    kill_victim(victim);
    return count;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Steps between experiments, 1 or a prime, so that about `wanted` are made. */
static long choose_stride(long steps, long wanted)
{
    long stride = steps / wanted;
    if (stride < 2)
        return 1;
    for (;; stride++) {
        bool prime = true;
        for (long d = 2; d * d <= stride && prime; d++)
            prime = stride % d != 0;
        if (prime)
            return stride;
    }
}

/* Each experiment begins at the first instruction, so that all of them take
 * steps * steps / 2: long operations get fewer. */
static long affordable(long steps, long wanted)
{
    long budget = wanted == 0 ? 60000000 : 200000;
    long most = budget * 2 / steps;
    if (wanted == 0 || most < wanted)
        wanted = most >= 6 ? most : steps > 500000 ? 3 : 6;
    return wanted;
}

static int run_operation(const step_operation *operation, step_mode mode, long wanted)
{
    long steps = count_steps(operation);
    long stride = choose_stride(steps, affordable(steps, wanted));
    double begun = seconds();
    long nth = 0;
    int failures = 0;
    bool ended = false;
    for (long at = 0; !ended && at < steps + 200 && failures < 5; at += stride, nth++) {
        if (!experiment(operation, mode, at, nth, &ended)) {
            printf("FAIL %s: %s at instruction %ld\n", operation->name, mode == MODE_KILL ? "killed" : "stopped", at);
            failures++;
        }
    }
    printf("%s %-16s %6ld instructions, %5ld %s (stride %ld), %.1f s\n", failures ? "FAIL" : "ok  ", operation->name, steps,
           nth, mode == MODE_KILL ? "killed" : "stopped", stride, seconds() - begun);
    fflush(stdout);
    return failures;
}

/* Stepper and victim take turns: on one processor that is five times as fast as
 * waking each other across two. */
static void stay_on_one_processor(step_mode mode)
{
    cpu_set_t allowed, one;
    int chosen = -1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        die("processors");
    for (int i = 0; i < CPU_SETSIZE && (chosen < 0 || mode == MODE_STOP); i++) /* the two modes run side by side */
        if (CPU_ISSET(i, &allowed))
            chosen = i;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        die("processor");
}

static bool is_wanted(const char *name, char **names)
{
    if (*names == NULL)
        return true;
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 2 || (strcmp(argv[1], "kill") != 0 && strcmp(argv[1], "stop") != 0)) {
        fprintf(stderr, "usage: stepper kill|stop [operation...]\n");
        return 2;
    }
    step_mode mode = strcmp(argv[1], "kill") == 0 ? MODE_KILL : MODE_STOP;
    const char *soak = getenv("FOREBAY_SOAK");
    long wanted = soak != NULL && *soak != 0 && *soak != '0' ? 0 : mode == MODE_KILL ? 80 : 40;
    const char *points = getenv("FOREBAY_STEP_POINTS"); /* experiments for each operation */
    if (points != NULL)
        wanted = atol(points);
    snprintf(path, sizeof path, "/dev/shm/forebay-step-%d", (int)getpid());
    atexit(remove_file);
    stay_on_one_processor(mode);
    for (int kind = 0; kind < STEP_ARENAS; kind++)
        make_template((step_arena)kind);
    int failures = 0;
    for (size_t i = 0; i < step_operation_count; i++)
        if (is_wanted(step_operations[i].name, argv + 2))
            failures += run_operation(&step_operations[i], mode, wanted);
    const char *name;
    double longest = step_longest_call(&name) / 1000;
    printf("longest call of the others: %s, %.2f ms\n", name, longest);
    return failures != 0 || longest > LONGEST_CALL_MS;
}
