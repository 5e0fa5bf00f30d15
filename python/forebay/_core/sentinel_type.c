/* SPDX-License-Identifier: Apache-2.0 */
/* ABSENT and MISSING: what a look finds where there is no value. */
#include "core.h"

#include <stddef.h>
#include <structmember.h> /* T_OBJECT_EX: 3.11 has no Py_ names for them */

typedef struct sentinel_object {
    PyObject_HEAD PyObject *name; /* str */
} sentinel_object;

PyObject *sentinel_new(core_state *state, const char *name)
{
    sentinel_object *self = PyObject_New(sentinel_object, state->sentinel_type);
    if (self == NULL)
        return NULL;
    self->name = PyUnicode_InternFromString(name);
    if (self->name == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void sentinel_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(((sentinel_object *)object)->name);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *sentinel_repr(PyObject *object)
{
    return PyUnicode_FromFormat("forebay.%U", ((sentinel_object *)object)->name);
}

/* Pickled by name: it is the same object wherever it comes out. */
static PyObject *sentinel_reduce(PyObject *object, PyObject *unused)
{
    return Py_NewRef(((sentinel_object *)object)->name);
}

static PyMethodDef sentinel_methods[] = {
    { "__reduce__", sentinel_reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\nPickled by name." },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot sentinel_slots[] = {
    { Py_tp_doc, (void *)"What stands for no value: a loader returns forebay.ABSENT to say that there is none." },
    { Py_tp_dealloc, sentinel_dealloc },
    { Py_tp_repr, sentinel_repr },
    { Py_tp_methods, sentinel_methods },
    { 0, NULL },
};

PyType_Spec sentinel_type_spec = {
    .name = "forebay.Sentinel",
    .basicsize = sizeof(sentinel_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = sentinel_slots,
};
