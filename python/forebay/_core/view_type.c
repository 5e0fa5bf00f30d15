/* SPDX-License-Identifier: Apache-2.0 */
/* View: a value in place, as a read-only buffer. */
#include "cache_methods.h"
#include "keys.h"

typedef struct view_object {
    PyObject_HEAD forebay_view view; /* arena NULL: released */
    arena_object *arena;             /* owned: it cannot be closed meanwhile */
    Py_ssize_t exports;              /* buffers given out */
} view_object;

PyObject *view_of_key(cache_object *self, const void *key, size_t key_length, forebay_status *status)
{
    forebay_cache *cache = cache_handle(self);
    view_object *view = cache == NULL ? NULL : PyObject_New(view_object, self->state->view_type);
    *status = FOREBAY_OK;
    if (view == NULL)
        return NULL;
    *status = forebay_view_open(cache, key, key_length, &view->view);
    view->arena = (arena_object *)Py_NewRef((PyObject *)self->arena);
    view->exports = 0;
    if (*status == FOREBAY_OK && view->view.kind == FOREBAY_KIND_ABSENT)
        *status = FOREBAY_MISS;
    if (*status == FOREBAY_OK)
        return (PyObject *)view;
    Py_DECREF(view);
    return NULL;
}

const forebay_view *view_contents(PyObject *view)
{
    return &((view_object *)view)->view;
}

PyObject *cache_view(PyObject *object, PyObject *key)
{
    cache_object *self = (cache_object *)object;
    core_key encoded;
    forebay_status status;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return NULL;
    PyObject *view = view_of_key(self, encoded.data, encoded.length, &status);
    core_key_clear(&encoded);
    if (view != NULL || status == FOREBAY_OK)
        return view;
    return status == FOREBAY_MISS ? core_raise_miss(self->state, key) : cache_raise(self, status);
}

static void view_dealloc(PyObject *object)
{
    view_object *self = (view_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    forebay_view_close(&self->view); /* exported buffers hold the object: there is none */
    Py_DECREF(self->arena);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *view_refuse_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyErr_SetString(PyExc_TypeError, "Cache.view() makes views; View cannot be called");
    return NULL;
}

static bool is_released(const view_object *self)
{
    if (self->view.arena == NULL)
        PyErr_SetString(PyExc_ValueError, "the view was released");
    return self->view.arena == NULL;
}

static int view_get_buffer(PyObject *object, Py_buffer *buffer, int flags)
{
    view_object *self = (view_object *)object;
    buffer->obj = NULL;
    if (is_released(self)
        || PyBuffer_FillInfo(buffer, object, (void *)(uintptr_t)self->view.data, (Py_ssize_t)self->view.length, 1, flags) < 0)
        return -1;
    self->exports++;
    return 0;
}

static void view_release_buffer(PyObject *object, Py_buffer *buffer)
{
    ((view_object *)object)->exports--;
}

PyDoc_STRVAR(view_release_doc, "release($self, /)\n--\n\n"
                               "Let the arena use the space again.  BufferError while memoryviews or arrays of\n"
                               "the view are in use.  Releasing again does nothing.");

static PyObject *view_release(PyObject *object, PyObject *unused)
{
    view_object *self = (view_object *)object;
    if (self->exports != 0)
        return PyErr_Format(PyExc_BufferError, "the view is still read through %zd memoryviews or arrays: drop them first",
                            self->exports);
    forebay_view_close(&self->view);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(view_enter_doc, "__enter__($self, /)\n--\n\nThe view itself; it is released at the end of the block.");

static PyObject *view_enter(PyObject *object, PyObject *unused)
{
    return is_released((view_object *)object) ? NULL : Py_NewRef(object);
}

PyDoc_STRVAR(view_exit_doc, "__exit__($self, type, value, traceback, /)\n--\n\nRelease the view.");

static PyObject *view_exit(PyObject *object, PyObject *arguments)
{
    return view_release(object, NULL);
}

PyDoc_STRVAR(view_tobytes_doc, "tobytes($self, /)\n--\n\nA copy of the bytes.");

static PyObject *view_tobytes(PyObject *object, PyObject *unused)
{
    view_object *self = (view_object *)object;
    return is_released(self) ? NULL : PyBytes_FromStringAndSize(self->view.data, (Py_ssize_t)self->view.length);
}

static Py_ssize_t view_length(PyObject *object)
{
    view_object *self = (view_object *)object;
    return is_released(self) ? -1 : (Py_ssize_t)self->view.length;
}

/* An int of an index, a memoryview of a slice. */
static PyObject *view_subscript(PyObject *object, PyObject *index)
{
    PyObject *memory = PyMemoryView_FromObject(object);
    PyObject *item = memory == NULL ? NULL : PyObject_GetItem(memory, index);
    Py_XDECREF(memory);
    return item;
}

static PyObject *view_compare(PyObject *object, PyObject *other, int operation)
{
    if (((view_object *)object)->view.arena == NULL)
        return PyBool_FromLong((object == other) == (operation == Py_EQ)); /* as a memoryview */
    PyObject *memory = PyMemoryView_FromObject(object);
    PyObject *result = memory == NULL ? NULL : PyObject_RichCompare(memory, other, operation);
    Py_XDECREF(memory);
    return result;
}

static PyObject *view_get_zero_copy(PyObject *object, void *unused)
{
    view_object *self = (view_object *)object;
    return is_released(self) ? NULL : PyBool_FromLong(self->view.zero_copy);
}

static PyObject *view_get_kind(PyObject *object, void *unused)
{
    static const char *const names[] = { "bytes", "msgpack", "int" };
    view_object *self = (view_object *)object;
    if (is_released(self))
        return NULL;
    return PyUnicode_FromString((size_t)self->view.kind < 3 ? names[self->view.kind] : "unknown");
}

static PyObject *view_get_nbytes(PyObject *object, void *unused)
{
    Py_ssize_t length = view_length(object);
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *view_get_released(PyObject *object, void *unused)
{
    return PyBool_FromLong(((view_object *)object)->view.arena == NULL);
}

static PyObject *view_repr(PyObject *object)
{
    view_object *self = (view_object *)object;
    if (self->view.arena == NULL)
        return PyUnicode_FromString("<forebay.View, released>");
    return PyUnicode_FromFormat("<forebay.View of %zu bytes, %s>", self->view.length,
                                self->view.zero_copy ? "in place" : "a copy");
}

static PyMethodDef view_methods[] = {
    { "release", view_release, METH_NOARGS, view_release_doc },
    { "tobytes", view_tobytes, METH_NOARGS, view_tobytes_doc },
    { "__enter__", view_enter, METH_NOARGS, view_enter_doc },
    { "__exit__", view_exit, METH_VARARGS, view_exit_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef view_properties[] = {
    { "zero_copy", view_get_zero_copy, NULL, "True if the bytes are those in the arena, False if they are a private copy.", NULL },
    { "kind", view_get_kind, NULL, "How the value is encoded: 'bytes' (as it was set), 'msgpack' or 'int' (8 bytes, little-endian).", NULL },
    { "nbytes", view_get_nbytes, NULL, "How many bytes there are.", NULL },
    { "released", view_get_released, NULL, "True after release().", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(view_doc, "The bytes of a value where they are in the arena: a read-only buffer.\n\n"
                       "Cache.view() makes it.  memoryview(), bytes(), numpy.frombuffer() and whatever\n"
                       "takes a bytes-like object read it without a copy.  The bytes never change,\n"
                       "whatever is set, deleted or evicted; their space is not used for others until\n"
                       "release(), so keep it short.  A context manager: leaving the block releases it.\n\n"
                       "Where it cannot be in place it is a private copy: zero_copy says so.  That is\n"
                       "when this process has views on 64 parts of the arena already, or views keep a\n"
                       "fourth of it.");

static PyType_Slot view_slots[] = {
    { Py_tp_doc, (void *)view_doc },
    { Py_tp_new, view_refuse_new },
    { Py_tp_dealloc, view_dealloc },
    { Py_tp_repr, view_repr },
    { Py_tp_methods, view_methods },
    { Py_tp_getset, view_properties },
    { Py_tp_richcompare, view_compare },
    { Py_sq_length, view_length },
    { Py_mp_length, view_length },
    { Py_mp_subscript, view_subscript },
    { Py_bf_getbuffer, view_get_buffer },
    { Py_bf_releasebuffer, view_release_buffer },
    { 0, NULL },
};

PyType_Spec view_type_spec = {
    .name = "forebay.View",
    .basicsize = sizeof(view_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = view_slots,
};
