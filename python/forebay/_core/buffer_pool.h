/* SPDX-License-Identifier: Apache-2.0 */
/* BufferPool and the buffers it hands out.
 *
 * What several threads may touch at once is atomic or under the pool's own lock:
 * nothing here relies on the GIL. */
#ifndef CORE_BUFFER_POOL_H
#define CORE_BUFFER_POOL_H

#include <stdatomic.h>

#include "core.h"
#include <forebay/buffers.h>

typedef struct buffer_pool_object {
    PyObject_HEAD core_state *state;
    forebay_buffers *buffers;       /* owned */
    uint64_t timeout_ms;       /* fixed; WAIT_FOR_EVER */
    bool clear;                /* fixed: buffers are zeroed when they are given back */
    _Atomic bool closed;
    _Atomic Py_ssize_t viewed; /* buffers that were released and are still looked at */
    PyObject *weakrefs;
} buffer_pool_object;

/* A PooledBuffer of `size` bytes; takes `memory` over, also when it fails. */
PyObject *pooled_buffer_new(buffer_pool_object *pool, forebay_buffer *memory, Py_ssize_t size);

#endif
