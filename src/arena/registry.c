/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/registry.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "arena/file_lock.h"
#include "arena/rows.h"

#define TRANSIENT_MAX 64u /* more at once than this are not told to children */

static atomic_flag lock = ATOMIC_FLAG_INIT;
static forebay_arena *open_arenas;               /* under lock */
static _Atomic int transients[TRANSIENT_MAX];    /* fd + 1, 0 = free; stored under lock */
static bool handlers_installed;                  /* under lock */

void fb_fork_block(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        sched_yield();
}

void fb_fork_unblock(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void prepare_child(forebay_arena *arena)
{
    arena->child_fd = fb_fd_reopen(arena);
    fb_row_prepare_child(arena);
}

/* A description for each child-to-be, opened while this process may still open
 * the file: the child may be about to give up that right (a server that starts
 * as root), and needs one of its own for its row's lock. */
static void before_fork(void)
{
    fb_fork_block();
    for (forebay_arena *a = open_arenas; a != NULL; a = a->next_open)
        prepare_child(a);
}

static void after_fork_in_parent(void)
{
    for (forebay_arena *a = open_arenas; a != NULL; a = a->next_open) {
        fb_row_child_made(a);
        if (a->child_fd >= 0)
            close(a->child_fd);
        a->child_fd = -1;
    }
    fb_fork_unblock();
}

static void after_fork_in_child(void)
{
    for (forebay_arena *a = open_arenas; a != NULL; a = a->next_open)
        fb_row_forget(a);
    for (uint32_t i = 0; i < TRANSIENT_MAX; i++) {
        int fd = atomic_exchange(&transients[i], 0) - 1;
        if (fd >= 0)
            close(fd);
    }
    fb_fork_unblock();
}

forebay_status fb_registry_add(forebay_arena *arena)
{
    fb_fork_block();
    if (!handlers_installed)
        handlers_installed = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    forebay_status status = handlers_installed ? FOREBAY_OK : FOREBAY_NOMEM;
    if (status == FOREBAY_OK) {
        arena->next_open = open_arenas;
        open_arenas = arena;
    }
    fb_fork_unblock();
    return status;
}

void fb_registry_remove(forebay_arena *arena)
{
    fb_fork_block();
    forebay_arena **link = &open_arenas;
    while (*link != NULL && *link != arena)
        link = &(*link)->next_open;
    if (*link != NULL)
        *link = arena->next_open;
    fb_fork_unblock();
}

void fb_transient_add_held(int fd)
{
    for (uint32_t i = 0; i < TRANSIENT_MAX; i++) {
        if (atomic_load(&transients[i]) == 0) {
            atomic_store(&transients[i], fd + 1);
            return;
        }
    }
}

int fb_transient_open(const forebay_arena *arena)
{
    fb_fork_block();
    int fd = fb_fd_reopen(arena);
    if (fd >= 0)
        fb_transient_add_held(fd);
    fb_fork_unblock();
    return fd;
}

void fb_transient_forget(int fd)
{
    for (uint32_t i = 0; i < TRANSIENT_MAX; i++) {
        int expected = fd + 1;
        if (atomic_compare_exchange_strong(&transients[i], &expected, 0))
            return;
    }
}

void fb_transient_close(int fd)
{
    if (fd < 0)
        return;
    fb_fork_block(); /* between the two, a child would close a number that is another file by then */
    fb_transient_forget(fd);
    close(fd);
    fb_fork_unblock();
}
