/* SPDX-License-Identifier: Apache-2.0 */
#include "base/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

static int with_scope(int operation, futex_scope scope)
{
    return scope == FUTEX_OF_PROCESS ? operation | FUTEX_PRIVATE_FLAG : operation;
}

bool fb_futex_wait(const _Atomic uint32_t *word, uint32_t seen, int64_t ns, futex_scope scope)
{
    struct timespec most = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    if (syscall(SYS_futex, word, with_scope(FUTEX_WAIT, scope), seen, &most, NULL, 0) == 0 || errno == EAGAIN
        || errno == ETIMEDOUT)
        return true;
    return errno != EINTR && nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL) == 0;
}

void fb_futex_wake(const _Atomic uint32_t *word, int most, futex_scope scope)
{
    (void)syscall(SYS_futex, word, with_scope(FUTEX_WAKE, scope), most, NULL, NULL, 0);
}

int64_t fb_monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}
