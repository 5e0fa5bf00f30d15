/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_BUFFERS_H
#define FOREBAY_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/export.h>
#include <forebay/status.h>

FOREBAY_BEGIN

/* Writable buffers that are used again, by size class, in memory of this process
 * that is in no arena.
 *
 * What costs with a fresh buffer is that the kernel makes its pages, one fault
 * for each 4 KiB, and takes them away again.  Here a buffer that was given back
 * keeps its pages and goes to whoever asks next for one of its class.
 *
 * A class is a power of two from `min_buffer` on; the last is `max_buffer`.  All
 * buffers that have memory, in use or idle, take at most `max_bytes`; idle ones
 * of any class, the longest idle first, lose theirs to make room.  What still
 * does not fit waits, strictly first come, first served: nobody overtakes a
 * large request with a small one.
 *
 *     forebay_buffer *buffer;
 *     if (forebay_buffers_take(buffers, 65536, NULL, &buffer) == FOREBAY_OK) {
 *         n = read(fd, buffer->data, buffer->capacity);
 *         forebay_buffers_give(buffers, buffer);
 *     }
 *
 * Threads: all functions are safe from any; forebay_buffers_free() comes last.
 * Fork: the child has a copy of the pool and of all buffers.  What was in use
 * stays valid there and is no longer counted; who was waiting is forgotten. */
typedef struct forebay_buffers forebay_buffers;

typedef struct forebay_buffer {
    void *data;      /* at the start of a page */
    size_t capacity; /* bytes, all writable */
} forebay_buffer;

/* A place in the queue. */
typedef struct forebay_buffer_waiter forebay_buffer_waiter;

#define FOREBAY_IDLE_FOR_EVER UINT64_MAX
#define FOREBAY_BUFFER_CLASSES 48

typedef struct forebay_buffers_options {
    size_t max_bytes;     /* at least max_buffer */
    size_t min_buffer;    /* rounded up to a power of two, a page at least */
    size_t max_buffer;    /* rounded up to pages; at least min_buffer */
    uint64_t max_idle_ms; /* who is idle for longer loses its memory, while the pool is used; FOREBAY_IDLE_FOR_EVER */
    bool out_of_dumps;    /* the memory is left out of core dumps */
} forebay_buffers_options;

typedef struct forebay_buffer_class_stats {
    size_t capacity;
    uint64_t in_use, idle; /* buffers */
    uint64_t hits, misses; /* taken with memory that was there, and without */
} forebay_buffer_class_stats;

typedef struct forebay_buffers_stats {
    size_t max_bytes, bytes, in_use_bytes; /* bytes: in use or idle */
    uint64_t waiting;                      /* now */
    uint64_t waits;                        /* requests that had to wait */
    uint64_t given_up;                     /* idle buffers that lost their memory */
    uint32_t class_count;
    forebay_buffer_class_stats classes[FOREBAY_BUFFER_CLASSES];
} forebay_buffers_stats;

/* FOREBAY_INVALID: the options contradict each other; FOREBAY_NOMEM.  On FOREBAY_OK
 * the caller owns `*buffers_out`, which has no memory for buffers yet; else it is NULL. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_buffers_open(const forebay_buffers_options *options,
                                                                   forebay_buffers **buffers_out);
/* Every later request gets FOREBAY_CLOSED, those that wait too; idle memory goes.
 * What is in use stays valid until it is given back. */
FOREBAY_API void forebay_buffers_close(forebay_buffers *buffers);
/* Unmap all.  No buffer may be in use, nobody may wait.  NULL is ignored. */
FOREBAY_API void forebay_buffers_free(forebay_buffers *buffers);

/* The largest size that can be taken. */
FOREBAY_API size_t forebay_buffers_largest(const forebay_buffers *buffers);

/* A buffer of at least `size` bytes (0 < size) with any content.
 * FOREBAY_TOOBIG: larger than the largest.  FOREBAY_NOMEM.  FOREBAY_CLOSED.
 * FOREBAY_BUSY: too much is in use, or others wait; unless `waiter_out` is NULL,
 * `*waiter_out` is a place in the queue then, and must be ended. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_buffers_take(forebay_buffers *buffers, size_t size,
                                                                   forebay_buffer_waiter **waiter_out,
                                                                   forebay_buffer **buffer_out);
/* Sleep until it is the waiter's turn.  FOREBAY_OK, FOREBAY_CLOSED, FOREBAY_NOMEM: the
 * waiter has ended.  So it has with FOREBAY_BUSY: this is a child of a fork() made
 * meanwhile, where the queue is forgotten; take again.  FOREBAY_TIMEOUT,
 * FOREBAY_INTERRUPTED (a signal): it still is in the queue. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_buffers_wait(forebay_buffers *buffers,
                                                                   forebay_buffer_waiter *waiter, uint32_t timeout_ms,
                                                                   forebay_buffer **buffer_out);
/* Off the queue: ends the waiter.  The buffer that it may have been given at this
 * moment is the caller's; NULL: none. */
FOREBAY_API forebay_buffer *forebay_buffers_leave(forebay_buffers *buffers, forebay_buffer_waiter *waiter);

/* A buffer that was taken; whoever waits for it is woken. */
FOREBAY_API void forebay_buffers_give(forebay_buffers *buffers, forebay_buffer *buffer);
/* What was idle for `idle_ms` at least loses its memory; returns the bytes. */
FOREBAY_API size_t forebay_buffers_trim(forebay_buffers *buffers, uint64_t idle_ms);
FOREBAY_API void forebay_buffers_get_stats(forebay_buffers *buffers, forebay_buffers_stats *stats);

FOREBAY_END

#endif
