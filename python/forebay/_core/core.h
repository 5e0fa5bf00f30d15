/* SPDX-License-Identifier: Apache-2.0 */
/* forebay._core: what its files share.  One C file per Python type; the state
 * of a (sub-)interpreter is in core_state, nothing is in C globals.
 *
 * Every function here needs the GIL.  Those returning int give 0, or -1 with an
 * exception set. */
#ifndef CORE_H
#define CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include <forebay/forebay.h>

#include "encode.h"

/* The exceptions; errors.c has their names, parents and texts. */
typedef enum core_error {
    CORE_ERROR,
    CORE_ARENA_ERROR,
    CORE_NOT_FOUND_ERROR,
    CORE_DENIED_ERROR,
    CORE_NO_SPACE_ERROR,
    CORE_BUSY_ERROR,
    CORE_TIMEOUT_ERROR,
    CORE_CORRUPT_ERROR,
    CORE_VERSION_ERROR,
    CORE_INVALID_ERROR,
    CORE_CLOSED_ERROR,
    CORE_CONFLICT_ERROR,
    CORE_FULL_ERROR,
    CORE_TOO_BIG_ERROR,
    CORE_TYPE_MISMATCH_ERROR,
    CORE_OVERFLOW_ERROR,
    CORE_MISS_ERROR,
    CORE_VIEW_ERROR,
    CORE_LOAD_ERROR,
    CORE_RECURSIVE_LOAD_ERROR,
    CORE_POOL_ERROR,
    CORE_POOL_TIMEOUT_ERROR,
    CORE_POOL_CLOSED_ERROR,
    CORE_TOO_MANY_REQUESTS_ERROR,
    CORE_ERROR_COUNT
} core_error;

/* The module state.  Objects point to it: a type keeps its module alive, so it
 * is there as long as any of them can be called. */
typedef struct core_state {
    core_types types; /* encode.h */
    PyTypeObject *arena_type;
    PyTypeObject *cache_type;
    PyTypeObject *keys_type;
    PyTypeObject *memoized_type;
    PyTypeObject *view_type;
    PyTypeObject *limit_type;
    PyTypeObject *channel_type;
    PyTypeObject *tier_record_type;
    PyTypeObject *pool_type, *held_type, *waiter_type;
    PyTypeObject *record_type, *record_list_type, *record_tuple_type, *record_iterator_type;
    PyTypeObject *buffer_pool_type, *pooled_buffer_type, *object_pool_type, *borrow_type;
    PyTypeObject *batch_type, *batch_row_type, *batch_column_type, *batch_builder_type;
    PyTypeObject *timedelta_type;
    PyTypeObject *sentinel_type;
    PyObject *absent, *missing; /* sentinels */
    PyObject *size_warning;
    PyObject *errors[CORE_ERROR_COUNT];
} core_state;

extern PyType_Spec arena_type_spec;
extern PyType_Spec cache_type_spec;
extern PyType_Spec keys_type_spec;
extern PyType_Spec memoized_type_spec;
extern PyType_Spec view_type_spec;
extern PyType_Spec limit_type_spec;
extern PyType_Spec channel_type_spec;
extern PyType_Spec tier_record_type_spec;
extern PyType_Spec pool_type_spec;
extern PyType_Spec held_type_spec;
extern PyType_Spec waiter_type_spec;
extern PyType_Spec sentinel_type_spec;
extern PyType_Spec record_map_spec;
extern PyType_Spec record_list_spec;
extern PyType_Spec record_tuple_spec;
extern PyType_Spec record_iterator_spec;
extern PyType_Spec buffer_pool_type_spec;
extern PyType_Spec pooled_buffer_type_spec;
extern PyType_Spec object_pool_type_spec;
extern PyType_Spec borrow_type_spec;
extern PyType_Spec batch_type_spec;
extern PyType_Spec batch_row_spec;
extern PyType_Spec batch_column_spec;
extern PyType_Spec batch_builder_spec;

/* An object that stands for no value; its repr is forebay.NAME. */
PyObject *sentinel_new(core_state *state, const char *name);

extern PyModuleDef core_module;
core_state *core_state_of(PyObject *module);

/* Create the exceptions and add them to the module. */
int errors_init(core_state *state, PyObject *module);

/* Set the exception for `status`, a failure, and return NULL.  An exception
 * that is set already stays.  `error` and `path` (str or bytes) may be NULL. */
PyObject *core_raise(core_state *state, forebay_status status, const forebay_error *error, PyObject *path);
/* Set MissError with `key` as its only argument and return NULL. */
PyObject *core_raise_miss(core_state *state, PyObject *key);

#endif
