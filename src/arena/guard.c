/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/guard.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>

#include "arena/registry.h"

#define GUARDED_MAX 64u
#define PAGE_MASK ((uintptr_t)4095)

/* Read by the handler, which can take no lock. */
static _Atomic(forebay_arena *) guarded[GUARDED_MAX];
static struct sigaction previous; /* written once, before the handler can run */
static bool installed;            /* under the registry's lock */

static forebay_arena *arena_at(uintptr_t address)
{
    for (uint32_t i = 0; i < GUARDED_MAX; i++) {
        forebay_arena *arena = atomic_load(&guarded[i]);
        if (arena != NULL && address - (uintptr_t)arena->base < arena->geometry.size)
            return arena;
    }
    return NULL;
}

/* Zero pages from the one that faulted to the end: the rest of the file is gone too. */
static bool replace_rest(forebay_arena *arena, uintptr_t address)
{
    uintptr_t from = address & ~PAGE_MASK;
    uintptr_t end = (uintptr_t)arena->base + arena->geometry.size;
    void *pages = mmap((void *)from, end - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (pages == MAP_FAILED)
        return false;
    atomic_store(&arena->truncated, true);
    atomic_store(arena->attached, 0); /* the next call looks at `truncated` */
    return true;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else if (previous.sa_handler == SIG_IGN && info->si_code <= 0) {
        return; /* sent by kill(), and ignored before us */
    } else {
        struct sigaction fatal = { .sa_handler = SIG_DFL };
        sigaction(number, &fatal, NULL);
        if (info->si_code <= 0)
            raise(number); /* a fault comes again by itself */
    }
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    forebay_arena *arena = info->si_code > 0 ? arena_at(address) : NULL;
    if (arena == NULL || !replace_rest(arena, address))
        pass_on(number, info, context);
    errno = saved;
}

static bool install_held(void)
{
    struct sigaction ours = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    sigemptyset(&ours.sa_mask);
    if (installed)
        return true;
    if (sigaction(SIGBUS, NULL, &previous) != 0 || sigaction(SIGBUS, &ours, NULL) != 0)
        return false;
    installed = true;
    return true;
}

forebay_status fb_guard_add(forebay_arena *arena)
{
    forebay_status status = FOREBAY_IO;
    fb_fork_block();
    if (install_held()) {
        status = FOREBAY_NOMEM;
        for (uint32_t i = 0; i < GUARDED_MAX && status != FOREBAY_OK; i++) {
            forebay_arena *expected = NULL;
            if (atomic_compare_exchange_strong(&guarded[i], &expected, arena))
                status = FOREBAY_OK;
        }
    }
    fb_fork_unblock();
    return status;
}

void fb_guard_remove(forebay_arena *arena)
{
    for (uint32_t i = 0; i < GUARDED_MAX; i++) {
        forebay_arena *expected = arena;
        if (atomic_compare_exchange_strong(&guarded[i], &expected, NULL))
            return;
    }
}
