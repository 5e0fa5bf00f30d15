/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that open arenas and run other processes. */
#ifndef ARENA_FIXTURE_H
#define ARENA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arena/rows.h"

#define MIB ((uint64_t)1 << 20)

/* In a child: cmocka's asserts would jump into the parent's list of tests. */
#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                               \
        }                                                                           \
    } while (0)

/* A path on tmpfs that no other test uses.  Static; good until the next call. */
__attribute__((unused)) static const char *fresh_path(void)
{
    static char path[64];
    static int number;
    (void)snprintf(path, sizeof path, "/dev/shm/forebay-unit-%d-%d", (int)getpid(), number++);
    (void)unlink(path);
    return path;
}

__attribute__((unused)) static forebay_arena *open_sized(const char *path, uint64_t size)
{
    forebay_arena_options options = { .size = size };
    forebay_arena *arena = NULL;
    forebay_error error = { 0 };
    forebay_status status = forebay_arena_open(path, &options, &arena, &error);
    if (status != FOREBAY_OK)
        fprintf(stderr, "open: %s\n", error.message);
    return arena;
}

__attribute__((unused)) static void sleep_ms(long ms)
{
    struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
        ;
}

/* Another process: it runs `body`, and says and hears single words. */
typedef struct peer {
    pid_t pid;
    int say, hear; /* pipe ends of this side */
} peer;

__attribute__((unused)) static void peer_say(peer *p, uint64_t word)
{
    if (write(p->say, &word, sizeof word) != (ssize_t)sizeof word)
        abort();
}

/* UINT64_MAX: the other side is gone. */
__attribute__((unused)) static uint64_t peer_hear(peer *p)
{
    uint64_t word;
    ssize_t got;
    do
        got = read(p->hear, &word, sizeof word);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof word ? word : UINT64_MAX;
}

__attribute__((unused)) static peer peer_start(void (*body)(peer *parent, void *context), void *context)
{
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
        abort();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        alarm(120); /* nothing stays behind, whatever fails */
        peer parent = { .pid = getppid(), .say = up[1], .hear = down[0] };
        close(up[0]);
        close(down[1]);
        body(&parent, context);
        _exit(0);
    }
    close(up[1]);
    close(down[0]);
    return (peer){ .pid = pid, .say = down[1], .hear = up[0] };
}

/* Wait for its end; returns what waitpid() says. */
__attribute__((unused)) static int peer_end(peer *p)
{
    int status = -1;
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(p->say);
    close(p->hear);
    return status;
}

__attribute__((unused)) static int peer_kill(peer *p)
{
    kill(p->pid, SIGKILL);
    return peer_end(p);
}

/* Run `body` in a process of its own, which must end well. */
__attribute__((unused)) static void assert_child_succeeds(void (*body)(peer *parent, void *context), void *context)
{
    peer p = peer_start(body, context);
    int status = peer_end(&p);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
