/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_methods.h"

/* What one attempt to open needs and gives. */
typedef struct open_request {
    const char *path; /* NULL: anonymous, or by descriptor */
    int fd;           /* -1: by path */
    forebay_arena_options options;
    forebay_arena *arena;
    forebay_error error;
} open_request;

static forebay_status open_once(open_request *request)
{
    request->error = (forebay_error){ 0 };
    if (request->fd >= 0)
        return forebay_arena_open_fd(request->fd, &request->options, &request->arena, &request->error);
    return forebay_arena_open(request->path, &request->options, &request->arena, &request->error);
}

/* Open with the GIL released; a signal whose handler does not raise starts the
 * attempt again. */
static PyObject *open_requested(core_state *state, open_request *request, PyObject *path)
{
    forebay_status status;
    do {
        Py_BEGIN_ALLOW_THREADS status = open_once(request);
        Py_END_ALLOW_THREADS if (status == FOREBAY_INTERRUPTED && PyErr_CheckSignals() < 0) return NULL;
    } while (status == FOREBAY_INTERRUPTED);
    if (status != FOREBAY_OK)
        return core_raise(state, status, &request->error, path);
    PyObject *arena = arena_new(state, request->arena, path);
    if (arena != NULL) {
        ((arena_object *)arena)->trust = request->options.trust;
        ((arena_object *)arena)->guard = request->options.guard;
    }
    return arena;
}

PyObject *open_arena(PyObject *module, PyObject *arguments)
{
    PyObject *path;
    unsigned long long size;
    unsigned int mode, timeout_ms;
    int trust, guard;
    if (!PyArg_ParseTuple(arguments, "OKIppI:open_arena", &path, &size, &mode, &trust, &guard, &timeout_ms))
        return NULL;
    open_request request = { .fd = -1 };
    request.options = (forebay_arena_options){
        .size = size, .mode = (mode_t)mode, .trust = trust, .guard = guard, .timeout_ms = timeout_ms
    };
    if (path == Py_None)
        return open_requested(core_state_of(module), &request, Py_None);
    char *text;
    if (PyBytes_AsStringAndSize(path, &text, NULL) < 0) /* NULL: no zero byte inside */
        return NULL;
    request.path = text;
    PyObject *shown = PyUnicode_DecodeFSDefault(text);
    if (shown == NULL)
        return NULL;
    PyObject *arena = open_requested(core_state_of(module), &request, shown);
    Py_DECREF(shown);
    return arena;
}

PyObject *open_arena_fd(PyObject *module, PyObject *arguments)
{
    int fd, trust, guard;
    unsigned int timeout_ms;
    if (!PyArg_ParseTuple(arguments, "ippI:open_arena_fd", &fd, &trust, &guard, &timeout_ms))
        return NULL;
    if (fd < 0)
        return PyErr_Format(PyExc_ValueError, "fd must not be negative: %d", fd);
    open_request request = { .fd = fd };
    request.options = (forebay_arena_options){ .trust = trust, .guard = guard, .timeout_ms = timeout_ms };
    return open_requested(core_state_of(module), &request, Py_None);
}
