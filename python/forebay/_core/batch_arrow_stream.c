/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of batches as Arrow's struct: whoever reads it pulls, from any thread,
 * and each pull runs Python code with the GIL. */
#include "batch_arrow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct stream {
    core_state *state;
    PyObject *source; /* owned; see BATCH_ARROW_STREAM_DOC */
    char *error;      /* owned; of the last failure, NULL: none */
} stream;

/* Keep the text of the exception that is set, and clear it. */
static int keep_error(stream *self)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *text = value == NULL ? NULL : PyUnicode_FromFormat("%s: %S", Py_TYPE(value)->tp_name, value);
    const char *bytes = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    free(self->error);
    self->error = strdup(bytes != NULL ? bytes : "the batches failed");
    PyErr_Clear();
    Py_XDECREF(text);
    bool no_memory = type != NULL && PyErr_GivenExceptionMatches(type, PyExc_MemoryError);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return no_memory ? ENOMEM : EIO;
}

static PyObject *call_source(stream *self, const char *method)
{
    PyObject *result = PyObject_CallMethod(self->source, method, NULL);
    if (result == NULL || result == Py_None || Py_IS_TYPE(result, self->state->batch_type))
        return result;
    PyErr_Format(PyExc_TypeError, "%s() of a stream gave no Batch", method);
    Py_DECREF(result);
    return NULL;
}

static int get_schema(struct ArrowArrayStream *arrow, struct ArrowSchema *out)
{
    stream *self = arrow->private_data;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *batch = call_source(self, "schema");
    bool done = batch != NULL && batch != Py_None && batch_export_schema((batch_object *)batch, out) == 0;
    Py_XDECREF(batch);
    int outcome = done ? 0 : keep_error(self);
    PyGILState_Release(gil);
    return outcome;
}

static int get_next(struct ArrowArrayStream *arrow, struct ArrowArray *out)
{
    stream *self = arrow->private_data;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *batch = call_source(self, "next");
    bool done = batch != NULL;
    if (batch == Py_None)
        *out = (struct ArrowArray){ .release = NULL }; /* the end */
    else if (done)
        done = batch_export_array((batch_object *)batch, out) == 0;
    Py_XDECREF(batch);
    int outcome = done ? 0 : keep_error(self);
    PyGILState_Release(gil);
    return outcome;
}

static const char *get_last_error(struct ArrowArrayStream *arrow)
{
    return ((stream *)arrow->private_data)->error;
}

/* Once the interpreter is gone there is nothing left to close. */
static void release_stream(struct ArrowArrayStream *arrow)
{
    stream *self = arrow->private_data;
    if (Py_IsInitialized()) {
        PyGILState_STATE gil = PyGILState_Ensure();
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        PyObject *none = PyObject_CallMethod(self->source, "close", NULL);
        if (none == NULL)
            PyErr_WriteUnraisable(self->source);
        Py_XDECREF(none);
        Py_DECREF(self->source);
        PyErr_Restore(type, value, trace);
        PyGILState_Release(gil);
    }
    free(self->error);
    free(self);
    arrow->release = NULL;
}

static void stream_capsule_end(PyObject *capsule)
{
    struct ArrowArrayStream *arrow = PyCapsule_GetPointer(capsule, "arrow_array_stream");
    if (arrow->release != NULL)
        arrow->release(arrow);
    free(arrow);
}

PyObject *batch_arrow_stream(PyObject *module, PyObject *source)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        return PyErr_Format(PyExc_RuntimeError,
                            "streams are for the main interpreter, as whoever reads them may do it in any thread: "
                            "export batch by batch");
    struct ArrowArrayStream *arrow = malloc(sizeof *arrow);
    stream *self = calloc(1, sizeof *self);
    PyObject *capsule = NULL;
    if (arrow != NULL && self != NULL)
        capsule = PyCapsule_New(arrow, "arrow_array_stream", stream_capsule_end);
    else
        PyErr_NoMemory();
    if (capsule == NULL) {
        free(arrow);
        free(self);
        return NULL;
    }
    self->state = core_state_of(module);
    self->source = Py_NewRef(source);
    *arrow = (struct ArrowArrayStream){ get_schema, get_next, get_last_error, release_stream, self };
    return capsule;
}
