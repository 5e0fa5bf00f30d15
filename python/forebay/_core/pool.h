/* SPDX-License-Identifier: Apache-2.0 */
/* PoolCore: what forebay.Pool and forebay.AsyncPool share, and what must not be
 * interrupted: which objects are idle, which are out and with whom, who waits.
 *
 * All of it happens under the GIL, and without running Python code in between,
 * unless a comment says otherwise.  Python decides what to do (when to create, how to
 * wait); what it holds meanwhile is an object that undoes itself when it is dropped,
 * so that a KeyboardInterrupt or a cancellation anywhere loses nothing. */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "objects.h"

/* A pooled object and its history.  Times are ns of CLOCK_MONOTONIC. */
typedef struct pool_item {
    PyObject *object;   /* owned */
    PyObject *permit;   /* owned bytes of Limit.take(), or NULL */
    PyObject *code;     /* owned: where it was taken (a code object), or NULL */
    int lasti;          /* in that code */
    bool by_getconn;    /* taken without a context that brings it back */
    bool is_fresh;      /* never idle nor handed out: needs no check */
    bool is_told;       /* that it has been out for too long */
    struct held_object *holder; /* borrowed: who brings it back, unless another does before; or NULL */
    uint32_t index;     /* in `used` while it is out */
    uint32_t drain;     /* of the pool when it was made */
    uint32_t generation; /* of the pool when it was made; another: a parent's, never touched again */
    int64_t expires;
    int64_t since;      /* when it became idle, or was taken */
    struct pool_item *previous, *next; /* of all */
} pool_item;

typedef struct item_list {
    pool_item **items;
    uint32_t count;
} item_list;

typedef struct pool_counters {
    uint64_t requests, queued, wait_ns, errors, usage_ns, bad, made, make_ns, make_errors, lost;
} pool_counters;

typedef enum pool_phase { POOL_NEW, POOL_OPEN, POOL_CLOSED } pool_phase;

typedef struct pool_object {
    PyObject_HEAD core_state *state;
    PyObject *check, *reset, *end;        /* owned, or NULL; none in an AsyncPool, which calls them itself */
    PyObject *limit;                      /* owned, or NULL */
    PyObject *own_code;                   /* owned: tuple of str, how names of files begin that are Forebay's; or NULL */
    pool_phase phase;
    pool_item *all;                       /* every item, wherever it is */
    item_list idle;                       /* the last one was used last */
    item_list used;                       /* in no order */
    item_list discarded;                  /* to be closed */
    uint32_t capacity;                    /* of each list: enough for all there are */
    uint32_t objects;                     /* idle, used, and in between: with a waiter, or a hook */
    uint32_t creating, closing;           /* objects that a worker is at */
    uint32_t generation;                  /* raised in the child of a fork */
    uint32_t min_size, max_size, max_waiting; /* 0: any number may wait */
    uint32_t drain;                       /* raised by drain(): older objects are not used again */
    int64_t timeout, lifetime, max_idle;  /* INT64_MAX: for ever */
    struct waiter_object *first, *last;   /* the queue; borrowed: each leaves it when it ends */
    uint32_t waiting;
    pool_counters counters;
    PyObject *weakrefs;
} pool_object;

typedef enum waiter_phase { WAITER_QUEUED, WAITER_GIVEN, WAITER_REFUSED, WAITER_LEFT } waiter_phase;

/* A place in the queue. */
typedef struct waiter_object {
    PyObject_HEAD pool_object *pool;      /* owned */
    PyObject *wake;                       /* owned: called once, when the wait is over */
    pool_item *item;                      /* GIVEN: the waiter's, until taken from it */
    waiter_phase phase;
    int64_t since;                        /* when it began to wait */
    int64_t order;                        /* when its request came; the queue is sorted by it */
    struct waiter_object *previous, *next;
} waiter_object;

/* An item outside the pool's lists, or out, and who brings it back. */
typedef struct held_object {
    PyObject_HEAD pool_object *pool;      /* owned */
    pool_item *item;                      /* NULL: not entered, or left, or putconn() brought it back */
    bool is_out;                          /* it is in `used` */
    bool is_suspect;                      /* if it is dropped now, it cannot be used again */
    bool is_entering, is_leaving;         /* Python code runs in __enter__(), __exit__() */
    int64_t timeout;
} held_object;

int64_t pool_now(void);

/* pool_state.c.  None of these fails, but for memory where it says so. */

/* A new item is idle, or goes to who waits; takes over both references.  -1: no memory. */
int pool_add(pool_object *pool, PyObject *object, PyObject *permit);
/* The item used last, now the caller's; NULL: none is idle, or others wait. */
pool_item *pool_pop_idle(pool_object *pool);
/* The caller's item goes out; where from is noted: the innermost line that is not
 * Forebay's own.  Allocates, so that in Python 3.11 a collection may run. */
void pool_hand_out(pool_object *pool, pool_item *item, bool by_getconn);
/* An item that is out is the caller's again; its use is counted. */
void pool_take_back(pool_object *pool, pool_item *item);
/* The caller's item goes to who waits, or is idle, or is closed if it may not be
 * used again.  Wakes who gets it, which may run Python code at the end. */
void pool_settle(pool_object *pool, pool_item *item);
/* The caller's item is to be closed. */
void pool_discard(pool_object *pool, pool_item *item);
/* Idle items that are too old, or idle for too long, are to be closed. */
void pool_discard_stale(pool_object *pool);
/* Take an item's references away and free it; for one that is in no other list. */
void pool_item_free(pool_object *pool, pool_item *item);
/* The pool ends: free its items; permits of objects that end with them are given back.
 * Runs destructors. */
void pool_free_items(pool_object *pool);
/* In the child of a fork: forget all; appends the parent's objects to a list. */
int pool_forsake(pool_object *pool, PyObject *objects);
/* Items there are, or will be; those to be closed are counted by `all`. */
uint32_t pool_size(const pool_object *pool);
uint32_t pool_size_of_all(const pool_object *pool);
/* It is a parent's, in the child of a fork. */
static inline bool pool_has_forsaken(const pool_object *pool, const pool_item *item)
{
    return item->generation != pool->generation;
}
/* Which item that is out has this object; NULL. */
pool_item *pool_find_used(const pool_object *pool, PyObject *object);
bool pool_is_idle(const pool_object *pool, PyObject *object);

/* pool_waiter.c */
/* order: when its request came, if it was in the queue before, and has its place again; else 0. */
waiter_object *waiter_new(pool_object *pool, PyObject *wake, int64_t order);
void waiter_leave(waiter_object *waiter);
/* Its wait is over.  Runs Python code. */
void waiter_wake(waiter_object *waiter);

/* pool_get.c */

/* The object of `timeout` ns at most, handed out; NULL with an exception.  Runs Python code. */
pool_item *pool_get(pool_object *pool, int64_t timeout, bool by_getconn);
/* Back from who had it, who may have left an exception; it is reset, unless it is
 * unusable.  -1 with an exception: of the caller, or of a hook; it is back all the
 * same.  Runs Python code. */
int pool_put(pool_object *pool, pool_item *item, bool is_bad);
/* An item that nobody had after all, from a destructor.  Runs Python code. */
void pool_return_unused(pool_object *pool, pool_item *item);
/* Say that there is work to do in the background.  Runs Python code; -1 with an exception. */
int pool_need_worker(pool_object *pool);
/* The same from a destructor, which may have interrupted anything. */
void pool_need_worker_later(pool_object *pool);
/* The class of an error: what the pool's own class says it is, as a driver's pool may; new reference. */
PyObject *pool_error(pool_object *pool, core_error error, const char *attribute);
/* PoolClosedError, or what a pool that was never opened says. */
void pool_raise_closed(pool_object *pool);
bool pool_ns_from_object(PyObject *object, int64_t *ns);

/* pool_checkout.c */

/* What was given as timeout, or the pool's; false with an exception. */
bool pool_timeout_from_arguments(const pool_object *pool, const char *function, PyObject *const *arguments, Py_ssize_t count,
                                 PyObject *names, int64_t *timeout);
PyObject *pool_connection(PyObject *pool, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
/* Another brings the item back, not its context. */
void pool_item_leave_holder(pool_item *item);
/* Takes the item over, unless it fails. */
PyObject *held_new(pool_object *pool, pool_item *item, bool is_out);

#endif
