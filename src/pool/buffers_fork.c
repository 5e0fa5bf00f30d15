/* SPDX-License-Identifier: Apache-2.0 */
/* All pools of buffers of this process, so that fork() finds none of them locked
 * and a child counts only what it takes itself. */
#include <sched.h>
#include <stdatomic.h>

#include "pool/buffers_state.h"

static atomic_flag lock = ATOMIC_FLAG_INIT; /* before the lock of any pool */
static forebay_buffers *all;                     /* under lock */
static bool handlers_installed;             /* under lock */

static void block(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        sched_yield();
}

static void unblock(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void before_fork(void)
{
    block();
    for (forebay_buffers *b = all; b != NULL; b = b->next)
        buffers_lock(b);
}

static void after_fork_in_parent(void)
{
    for (forebay_buffers *b = all; b != NULL; b = b->next)
        buffers_unlock(b);
    unblock();
}

static void start_anew_held(forebay_buffers *buffers)
{
    fb_queue_forget_held(buffers);
    buffers->generation++;
    buffers->bytes = buffers->idle_bytes;
    buffers->waits = buffers->given_up = 0;
    for (uint32_t i = 0; i < buffers->class_count; i++) {
        buffer_class *class = &buffers->classes[i];
        class->in_use = class->hits = class->misses = 0;
    }
}

static void after_fork_in_child(void)
{
    for (forebay_buffers *b = all; b != NULL; b = b->next) {
        start_anew_held(b);
        buffers_unlock(b);
    }
    unblock();
}

forebay_status fb_buffers_register(forebay_buffers *buffers)
{
    block();
    if (!handlers_installed)
        handlers_installed = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    if (handlers_installed) {
        buffers->next = all;
        all = buffers;
    }
    bool installed = handlers_installed;
    unblock();
    return installed ? FOREBAY_OK : FOREBAY_NOMEM;
}

void fb_buffers_unregister(forebay_buffers *buffers)
{
    block();
    forebay_buffers **link = &all;
    while (*link != buffers)
        link = &(*link)->next;
    *link = buffers->next;
    unblock();
}
