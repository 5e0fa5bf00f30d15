/* SPDX-License-Identifier: Apache-2.0 */
/* The pool as its files share it.  Functions named _held need its lock. */
#ifndef FB_BUFFERS_STATE_H
#define FB_BUFFERS_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <forebay/buffers.h>

/* A buffer: what its holder sees, and what the pool knows of it. */
typedef struct buffer_slot {
    forebay_buffer shown; /* first: the holder's pointer is the slot's */
    uint32_t class_index;
    uint32_t generation;  /* of the pool, when it was taken */
    uint64_t idle_since;  /* ms, monotonic */
    struct buffer_slot *newer, *older;
} buffer_slot;

struct forebay_buffer_waiter {
    forebay_buffer_waiter *next, *previous;
    uint32_t class_index;
    buffer_slot *slot;      /* what it was given */
    _Atomic uint32_t state; /* what it sleeps on; buffer_queue.c */
};

/* Buffers of one capacity.  Each is in use, or idle (has memory), or bare (has an
 * address, and the kernel has taken its memory back). */
typedef struct buffer_class {
    size_t capacity;
    buffer_slot *newest, *oldest; /* the idle ones, by when they were given back */
    buffer_slot *bare;            /* linked by `older` */
    uint64_t in_use, idle;
    uint64_t hits, misses;
} buffer_class;

/* Addresses for some buffers of one class, and the buffers. */
typedef struct buffer_slab {
    struct buffer_slab *next;
    void *base;
    size_t bytes;
    buffer_slot slots[];
} buffer_slab;

struct forebay_buffers {
    pthread_mutex_t lock; /* taken after the lock of all pools; guards all that is not fixed */
    size_t max_bytes;     /* fixed, as what follows */
    uint64_t max_idle_ms;
    bool out_of_dumps;
    uint32_t class_count;
    bool closed;
    size_t bytes;                     /* of idle ones and those in use */
    size_t idle_bytes;
    uint32_t generation;              /* forks between here and the first process */
    uint32_t swept;                   /* the class that was last looked at for idle ones */
    forebay_buffer_waiter *first, *last;   /* the queue */
    uint64_t waiting, waits, given_up;
    buffer_slab *slabs;
    forebay_buffers *next;                 /* in the list of all pools, under its lock */
    buffer_class classes[FOREBAY_BUFFER_CLASSES];
};

/* buffer_slabs.c */
/* Make bare buffers of the class; false: no memory. */
bool fb_slab_add_held(forebay_buffers *buffers, uint32_t class_index);
/* The kernel takes the memory; false: it does not. */
bool fb_slab_drop_memory(const buffer_slot *slot);
void fb_slabs_unmap(forebay_buffers *buffers);

/* buffers.c */
/* FOREBAY_OK, FOREBAY_BUSY or FOREBAY_NOMEM, without regard to the queue. */
forebay_status fb_buffers_take_held(forebay_buffers *buffers, uint32_t class_index, buffer_slot **slot_out);

/* buffer_queue.c */
/* A waiter at the end of the queue; NULL: no memory. */
forebay_buffer_waiter *fb_queue_join_held(forebay_buffers *buffers, uint32_t class_index);
/* Give what there is now to those who wait, in their order. */
void fb_queue_serve_held(forebay_buffers *buffers);
/* Nobody is in the queue any more; each learns why. */
void fb_queue_close_held(forebay_buffers *buffers);
void fb_queue_forget_held(forebay_buffers *buffers);

/* buffers_fork.c */
/* From now until the removal, fork() is told to the pool.  FOREBAY_NOMEM. */
forebay_status fb_buffers_register(forebay_buffers *buffers);
void fb_buffers_unregister(forebay_buffers *buffers);

static inline void buffers_lock(forebay_buffers *buffers)
{
    (void)pthread_mutex_lock(&buffers->lock); /* a plain mutex that nobody locks twice */
}

static inline void buffers_unlock(forebay_buffers *buffers)
{
    (void)pthread_mutex_unlock(&buffers->lock);
}

#endif
