/* SPDX-License-Identifier: Apache-2.0 */
/* BatchRow: a row of a batch as a read-only mapping. */
#include "batch_objects.h"

typedef struct row_object {
    PyObject_HEAD batch_object *batch; /* owned */
    Py_ssize_t row;
} row_object;

PyObject *batch_row_new(batch_object *batch, Py_ssize_t row)
{
    row_object *self = PyObject_New(row_object, batch->state->batch_row_type);
    if (self == NULL)
        return NULL;
    self->batch = (batch_object *)Py_NewRef((PyObject *)batch);
    self->row = row;
    return (PyObject *)self;
}

static void row_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF((PyObject *)((row_object *)object)->batch);
    type->tp_free(object);
    Py_DECREF(type);
}

PyObject *batch_row_to_dict(PyObject *object)
{
    return batch_dict(((row_object *)object)->batch, ((row_object *)object)->row);
}

PyObject *batch_row_to_tuple(PyObject *object)
{
    return batch_tuple(((row_object *)object)->batch, ((row_object *)object)->row);
}

static PyObject *row_materialize(PyObject *object, PyObject *unused)
{
    return batch_row_to_dict(object);
}

static PyObject *row_astuple(PyObject *object, PyObject *unused)
{
    return batch_row_to_tuple(object);
}

static Py_ssize_t row_length(PyObject *object)
{
    return ((row_object *)object)->batch->count;
}

static PyObject *row_subscript(PyObject *object, PyObject *key)
{
    row_object *self = (row_object *)object;
    Py_ssize_t position = batch_position(self->batch, key);
    return position < 0 ? NULL : batch_cell(self->batch, self->row, position);
}

static PyObject *row_get(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "get() takes 1 to 2 positional arguments, %zd given", count);
    row_object *self = (row_object *)object;
    bool absent = PyUnicode_Check(arguments[0]) && PyDict_Contains(self->batch->positions, arguments[0]) == 0;
    if (absent)
        return Py_NewRef(count == 2 ? arguments[1] : Py_None);
    PyObject *value = row_subscript(object, arguments[0]);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_IndexError))
        return value;
    PyErr_Clear();
    return Py_NewRef(count == 2 ? arguments[1] : Py_None);
}

static int row_contains(PyObject *object, PyObject *key)
{
    return PyDict_Contains(((row_object *)object)->batch->positions, key);
}

static PyObject *row_iter(PyObject *object)
{
    return PyObject_GetIter(((row_object *)object)->batch->names);
}

static PyObject *view_of(PyObject *object, const char *type)
{
    PyObject *module = PyImport_ImportModule("collections.abc");
    PyObject *view = module == NULL ? NULL : PyObject_CallMethod(module, type, "O", object);
    Py_XDECREF(module);
    return view;
}

static PyObject *row_keys(PyObject *object, PyObject *unused) { return view_of(object, "KeysView"); }
static PyObject *row_values(PyObject *object, PyObject *unused) { return view_of(object, "ValuesView"); }
static PyObject *row_items(PyObject *object, PyObject *unused) { return view_of(object, "ItemsView"); }

/* What the row is compared with, as a dict; NULL without an exception: it is no mapping. */
static PyObject *dict_of(PyObject *self, PyObject *other)
{
    if (PyDict_Check(other))
        return Py_NewRef(other);
    if (!PyType_HasFeature(Py_TYPE(other), Py_TPFLAGS_MAPPING))
        return NULL;
    return PyObject_CallOneArg((PyObject *)&PyDict_Type, other);
}

/* With a name that two columns share: equal to rows of the same names alone. */
static PyObject *compare_ambiguous(row_object *self, PyObject *other, int operation)
{
    bool alike = Py_IS_TYPE(other, Py_TYPE((PyObject *)self));
    int same = alike ? PyObject_RichCompareBool(self->batch->names, ((row_object *)other)->batch->names, Py_EQ) : 0;
    if (same <= 0)
        return same < 0 ? NULL : PyBool_FromLong(operation == Py_NE);
    PyObject *ours = batch_row_to_tuple((PyObject *)self), *theirs = ours == NULL ? NULL : batch_row_to_tuple(other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(ours, theirs, operation);
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return result;
}

static PyObject *row_compare(PyObject *object, PyObject *other, int operation)
{
    row_object *self = (row_object *)object;
    if (operation != Py_EQ && operation != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    if (PyDict_GET_SIZE(self->batch->positions) != self->batch->count)
        return compare_ambiguous(self, other, operation);
    PyObject *theirs = dict_of(object, other);
    if (theirs == NULL && PyErr_Occurred())
        return NULL;
    if (theirs == NULL)
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *ours = batch_row_to_dict(object);
    PyObject *result = ours == NULL ? NULL : PyObject_RichCompare(ours, theirs, operation);
    Py_XDECREF(ours);
    Py_DECREF(theirs);
    return result;
}

static Py_hash_t row_hash(PyObject *object)
{
    PyErr_SetString(PyExc_TypeError, "unhashable type: 'forebay.BatchRow', as a dict is; make a key of its astuple()");
    return -1;
}

/* Pairs, as a dict could not show a name that two columns share. */
static PyObject *row_repr(PyObject *object)
{
    PyObject *tuple = batch_row_to_tuple(object);
    PyObject *text = tuple == NULL
                         ? NULL
                         : PyUnicode_FromFormat("BatchRow(%R: %R)", ((row_object *)object)->batch->names, tuple);
    Py_XDECREF(tuple);
    return text;
}

static PyMethodDef row_methods[] = {
    { "get", (PyCFunction)(void (*)(void))row_get, METH_FASTCALL, "get($self, key, default=None, /)\n--\n\nThe value of a column; default if there is none." },
    { "keys", row_keys, METH_NOARGS, "keys($self, /)\n--\n\nThe names of the columns, as a set-like view." },
    { "values", row_values, METH_NOARGS, "values($self, /)\n--\n\nThe values, as a view; each is decoded when it is reached." },
    { "items", row_items, METH_NOARGS, "items($self, /)\n--\n\nPairs of name and value, as a set-like view." },
    { "astuple", row_astuple, METH_NOARGS, "astuple($self, /)\n--\n\nThe row as a tuple: what the driver gave." },
    { "materialize", row_materialize, METH_NOARGS, "materialize($self, /)\n--\n\nThe row as a fresh dict.  KeyError if two columns share a name." },
    { NULL, NULL, 0, NULL },
};

PyDoc_STRVAR(row_doc, "A row of a Batch: a read-only mapping of column names to values.\n\n"
                      "row[\"name\"] and row[0] decode one value, fresh each time.  Iterating goes over\n"
                      "the names; astuple() and dict(row) give all values.  A name that two columns\n"
                      "share (JOINs) is a KeyError: take them by number.  The row keeps its batch in\n"
                      "memory.  It is equal to the dict it stands for.");

static PyType_Slot row_slots[] = {
    { Py_tp_doc, (void *)row_doc },
    { Py_tp_dealloc, row_dealloc },
    { Py_tp_repr, row_repr },
    { Py_tp_hash, row_hash },
    { Py_tp_richcompare, row_compare },
    { Py_tp_iter, row_iter },
    { Py_tp_methods, row_methods },
    { Py_mp_subscript, row_subscript },
    { Py_mp_length, row_length },
    { Py_sq_contains, row_contains },
    { 0, NULL },
};

PyType_Spec batch_row_spec = {
    .name = "forebay.BatchRow",
    .basicsize = sizeof(row_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_MAPPING,
    .slots = row_slots,
};
