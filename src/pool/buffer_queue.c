/* SPDX-License-Identifier: Apache-2.0 */
/* Those who wait for a buffer, in the order in which they came. */
#include <stdlib.h>

#include "base/futex.h"
#include "pool/buffers_state.h"

/* Of a waiter.  All but QUEUED: it is off the queue, stored under the lock. */
enum { QUEUED, SERVED, NO_MEMORY, CLOSED, FORGOTTEN };

forebay_buffer_waiter *fb_queue_join_held(forebay_buffers *buffers, uint32_t class_index)
{
    forebay_buffer_waiter *waiter = calloc(1, sizeof *waiter);
    if (waiter == NULL)
        return NULL;
    waiter->previous = buffers->last;
    waiter->class_index = class_index;
    *(buffers->last != NULL ? &buffers->last->next : &buffers->first) = waiter;
    buffers->last = waiter;
    buffers->waiting++;
    buffers->waits++;
    return waiter;
}

static void unlink_held(forebay_buffers *buffers, forebay_buffer_waiter *waiter)
{
    *(waiter->previous != NULL ? &waiter->previous->next : &buffers->first) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->previous : &buffers->last) = waiter->previous;
    buffers->waiting--;
}

/* The waiter may be freed as soon as the state is stored: the wake-up uses the address only. */
static void end_wait_held(forebay_buffers *buffers, forebay_buffer_waiter *waiter, uint32_t state)
{
    unlink_held(buffers, waiter);
    atomic_store_explicit(&waiter->state, state, memory_order_release); /* pairs with the acquire in outcome_of() */
    fb_futex_wake(&waiter->state, 1, FUTEX_OF_PROCESS);
}

void fb_queue_serve_held(forebay_buffers *buffers)
{
    while (buffers->first != NULL) {
        forebay_buffer_waiter *waiter = buffers->first;
        forebay_status status = fb_buffers_take_held(buffers, waiter->class_index, &waiter->slot);
        if (status == FOREBAY_BUSY)
            return;
        end_wait_held(buffers, waiter, status == FOREBAY_OK ? SERVED : NO_MEMORY);
    }
}

void fb_queue_close_held(forebay_buffers *buffers)
{
    while (buffers->first != NULL)
        end_wait_held(buffers, buffers->first, CLOSED);
}

void fb_queue_forget_held(forebay_buffers *buffers)
{
    while (buffers->first != NULL)
        end_wait_held(buffers, buffers->first, FORGOTTEN);
}

/* FOREBAY_EXISTS: it is in the queue. */
static forebay_status outcome_of(const forebay_buffer_waiter *waiter)
{
    switch (atomic_load_explicit(&waiter->state, memory_order_acquire)) { /* pairs with end_wait_held() */
    case QUEUED:
        return FOREBAY_EXISTS;
    case SERVED:
        return FOREBAY_OK;
    case NO_MEMORY:
        return FOREBAY_NOMEM;
    case CLOSED:
        return FOREBAY_CLOSED;
    default:
        return FOREBAY_BUSY;
    }
}

/* What the waiter was given, or NULL; frees it. */
static forebay_buffer *end_waiter(forebay_buffer_waiter *waiter)
{
    forebay_buffer *buffer = waiter->slot == NULL ? NULL : &waiter->slot->shown;
    free(waiter);
    return buffer;
}

forebay_status forebay_buffers_wait(forebay_buffers *buffers, forebay_buffer_waiter *waiter, uint32_t timeout_ms,
                                    forebay_buffer **buffer_out)
{
    (void)buffers;
    *buffer_out = NULL;
    int64_t end = fb_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        forebay_status status = outcome_of(waiter);
        if (status != FOREBAY_EXISTS) {
            *buffer_out = end_waiter(waiter);
            return status;
        }
        int64_t left = end - fb_monotonic_ns();
        if (left <= 0)
            return FOREBAY_TIMEOUT;
        if (!fb_futex_wait(&waiter->state, QUEUED, left, FUTEX_OF_PROCESS))
            return FOREBAY_INTERRUPTED;
    }
}

forebay_buffer *forebay_buffers_leave(forebay_buffers *buffers, forebay_buffer_waiter *waiter)
{
    buffers_lock(buffers);
    if (outcome_of(waiter) == FOREBAY_EXISTS) {
        unlink_held(buffers, waiter);
        fb_queue_serve_held(buffers); /* it may have kept smaller ones from what there is */
    }
    buffers_unlock(buffers);
    return end_waiter(waiter);
}
