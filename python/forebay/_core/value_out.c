/* SPDX-License-Identifier: Apache-2.0 */
#include "value_out.h"

static void *room_for_bytes(value_out *out, size_t length)
{
    if (out->bytes != NULL && (size_t)PyBytes_GET_SIZE(out->bytes) == length)
        return PyBytes_AS_STRING(out->bytes);
    if (out->released != NULL) {
        /* Not here: who waits for the GIL inside the library may be waited for. */
        out->keep_gil = true;
        return NULL;
    }
    Py_XDECREF(out->bytes);
    out->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (out->bytes == NULL)
        return NULL;
    void *room = PyBytes_AS_STRING(out->bytes);
    if (length > VALUE_LARGE && !out->keep_gil) {
        arena_enter(out->arena);
        out->released = PyEval_SaveThread();
    }
    return room;
}

void value_out_reacquire(value_out *out)
{
    PyEval_RestoreThread(out->released);
    out->released = NULL;
    arena_leave(out->arena);
}

static void *room_for_encoded(value_out *out, size_t length)
{
    if (length <= VALUE_SCRATCH)
        return out->scratch;
    void *heap = PyMem_RawRealloc(out->heap, length);
    if (heap != NULL)
        out->heap = heap;
    return heap;
}

void *value_out_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    value_out *out = context;
    out->length = length;
    out->kind = kind;
    return kind == FOREBAY_KIND_BYTES ? room_for_bytes(out, length) : room_for_encoded(out, length);
}

PyObject *value_raise_damaged(core_state *state)
{
    if (!PyErr_ExceptionMatches(PyExc_ValueError))
        return NULL;
    PyObject *type, *cause, *traceback;
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    PyErr_Format(state->errors[CORE_CORRUPT_ERROR], "the entry is damaged: %S", cause);
    Py_XDECREF(type);
    Py_XDECREF(cause);
    Py_XDECREF(traceback);
    return NULL;
}

PyObject *value_decode(core_state *state, forebay_kind kind, const void *data, size_t length)
{
    PyObject *value = core_decode_value(&state->types, kind, data, length);
    return value != NULL ? value : value_raise_damaged(state);
}

PyObject *value_out_take(core_state *state, value_out *out)
{
    PyObject *value;
    if (out->kind == FOREBAY_KIND_BYTES) {
        value = out->bytes;
        out->bytes = NULL;
    } else {
        value = value_decode(state, out->kind, value_out_data(out), out->length);
    }
    if (__builtin_expect(out->bytes != NULL || out->heap != NULL, 0))
        value_out_drop(out);
    return value;
}

void value_out_drop(value_out *out)
{
    Py_CLEAR(out->bytes);
    PyMem_RawFree(out->heap);
    out->heap = NULL;
}
