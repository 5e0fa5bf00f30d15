/* SPDX-License-Identifier: Apache-2.0 */
/* ObjectPool and its `with` blocks.
 *
 * The pool's state changes between OBJECT_POOL_LOCK and OBJECT_POOL_UNLOCK, where
 * no Python code runs: the GIL is the lock, or, where there is none, the lock of
 * the object. */
#ifndef CORE_OBJECT_POOL_H
#define CORE_OBJECT_POOL_H

#include "object_table.h"

#ifdef Py_GIL_DISABLED
#define OBJECT_POOL_LOCK(pool) Py_BEGIN_CRITICAL_SECTION(pool)
#define OBJECT_POOL_UNLOCK Py_END_CRITICAL_SECTION()
#else
#define OBJECT_POOL_LOCK(pool) {
#define OBJECT_POOL_UNLOCK }
#endif

typedef struct object_pool_object {
    PyObject_HEAD core_state *state;
    PyObject *create, *reset, *close; /* owned; the last two may be NULL */
    uint64_t max_size;                /* fixed, as what follows */
    uint64_t max_uses;                /* 0: no limit */
    bool keep_after_error;
    bool closed;                      /* under the lock, as what follows */
    object_entry *idle;               /* a stack: the last one given back goes first */
    size_t idle_count, idle_room;
    object_table in_use;
    uint64_t created, reused, dropped, lost, hook_errors;
    PyObject *weakrefs;
} object_pool_object;

/* An object to use, new reference. */
PyObject *object_pool_take(object_pool_object *self);
/* The end of a use, `failed` if by an exception. */
int object_pool_give(object_pool_object *self, PyObject *object, bool failed);

/* What borrow() returns. */
PyObject *borrow_new(object_pool_object *pool);

#endif
