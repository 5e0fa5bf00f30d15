/* SPDX-License-Identifier: Apache-2.0 */
/* BatchColumn: a column of a batch, or every n-th value of it, as a read-only sequence. */
#include "batch_objects.h"

typedef struct column_object {
    PyObject_HEAD batch_object *batch; /* owned */
    Py_ssize_t position;
    Py_ssize_t start, step, length;    /* rows: start, start + step, ... */
} column_object;

static PyObject *column_new(batch_object *batch, Py_ssize_t position, Py_ssize_t start, Py_ssize_t step, Py_ssize_t length)
{
    column_object *self = PyObject_New(column_object, batch->state->batch_column_type);
    if (self == NULL)
        return NULL;
    self->batch = (batch_object *)Py_NewRef((PyObject *)batch);
    self->position = position;
    self->start = start;
    self->step = step;
    self->length = length;
    return (PyObject *)self;
}

PyObject *batch_column_view(batch_object *batch, Py_ssize_t position)
{
    return column_new(batch, position, 0, 1, batch->rows);
}

static void column_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF((PyObject *)((column_object *)object)->batch);
    type->tp_free(object);
    Py_DECREF(type);
}

static Py_ssize_t column_length(PyObject *object)
{
    return ((column_object *)object)->length;
}

static PyObject *value_at(column_object *self, Py_ssize_t index)
{
    return batch_cell(self->batch, self->start + index * self->step, self->position);
}

static PyObject *column_item(PyObject *object, Py_ssize_t index)
{
    column_object *self = (column_object *)object;
    if (index >= 0 && index < self->length)
        return value_at(self, index);
    PyErr_Format(PyExc_IndexError, "no such row: the column has %zd", self->length);
    return NULL;
}

static PyObject *column_subscript(PyObject *object, PyObject *key)
{
    column_object *self = (column_object *)object;
    if (PySlice_Check(key)) {
        Py_ssize_t start, stop, step;
        if (PySlice_Unpack(key, &start, &stop, &step) < 0)
            return NULL;
        Py_ssize_t length = PySlice_AdjustIndices(self->length, &start, &stop, step);
        return column_new(self->batch, self->position, self->start + start * self->step, self->step * step, length);
    }
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred())
        return NULL;
    return column_item(object, index < 0 ? index + self->length : index);
}

static PyObject *column_to_list(PyObject *object, PyObject *unused)
{
    column_object *self = (column_object *)object;
    PyObject *list = PyList_New(self->length);
    for (Py_ssize_t i = 0; list != NULL && i < self->length; i++) {
        PyObject *value = value_at(self, i);
        if (value == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, value);
    }
    return list;
}

/* Call a method of the list, for what is rarely asked. */
static PyObject *by_list(PyObject *object, const char *method, PyObject *arguments)
{
    PyObject *list = column_to_list(object, NULL);
    PyObject *function = list == NULL ? NULL : PyObject_GetAttrString(list, method);
    PyObject *result = function == NULL ? NULL : PyObject_CallObject(function, arguments);
    Py_XDECREF(list);
    Py_XDECREF(function);
    return result;
}

static PyObject *column_index(PyObject *object, PyObject *arguments)
{
    return by_list(object, "index", arguments);
}

static PyObject *column_count(PyObject *object, PyObject *arguments)
{
    return by_list(object, "count", arguments);
}

static PyObject *column_reversed(PyObject *object, PyObject *unused)
{
    column_object *self = (column_object *)object;
    Py_ssize_t last = self->start + (self->length - 1) * self->step;
    PyObject *reversed = column_new(self->batch, self->position, last, -self->step, self->length);
    PyObject *iterator = reversed == NULL ? NULL : PySeqIter_New(reversed);
    Py_XDECREF(reversed);
    return iterator;
}

static const batch_column *column_of(PyObject *object)
{
    column_object *self = (column_object *)object;
    return self->batch->parts[self->position].column;
}

static PyObject *column_get_name(PyObject *object, void *unused)
{
    column_object *self = (column_object *)object;
    return Py_NewRef(PyTuple_GET_ITEM(self->batch->names, self->position));
}

static PyObject *column_get_type(PyObject *object, void *unused)
{
    const batch_column *column = column_of(object);
    if (column->kind == BATCH_DECIMAL)
        return PyUnicode_FromFormat("decimal(%d, %d)", column->precision, column->scale);
    if (column->zone != BATCH_NAIVE)
        return PyUnicode_FromFormat("timestamp[%s]", column->zone_name);
    return PyUnicode_FromString(batch_kind_name(column->kind));
}

static PyObject *column_repr(PyObject *object)
{
    PyObject *name = column_get_name(object, NULL), *type = column_get_type(object, NULL);
    PyObject *text = name == NULL || type == NULL ? NULL
                                                  : PyUnicode_FromFormat("<forebay.BatchColumn %R of %zd values, %U>", name,
                                                                         column_length(object), type);
    Py_XDECREF(name);
    Py_XDECREF(type);
    return text;
}

static PyMethodDef column_methods[] = {
    { "to_list", column_to_list, METH_NOARGS, "to_list($self, /)\n--\n\nAll values in a list." },
    { "index", column_index, METH_VARARGS, "index($self, value, start=0, stop=9223372036854775807, /)\n--\n\nThe first row with the value; ValueError if there is none." },
    { "count", column_count, METH_VARARGS, "count($self, value, /)\n--\n\nHow many rows have the value." },
    { "__reversed__", column_reversed, METH_NOARGS, "__reversed__($self, /)\n--\n\nThe values, from the last to the first." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef column_properties[] = {
    { "name", column_get_name, NULL, "The column's name.", NULL },
    { "type", column_get_type, NULL,
      "How it is stored: 'int64', 'text', 'decimal(38, 2)', 'timestamp[UTC]'... as\ntypes= has it; 'null': nothing but NULL; 'packed': values of several types.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(column_doc, "A column of a Batch: a read-only sequence that decodes what is looked at.\n\n"
                         "A slice is a BatchColumn, too, on the same memory.  It keeps its batch.");

static PyType_Slot column_slots[] = {
    { Py_tp_doc, (void *)column_doc },
    { Py_tp_dealloc, column_dealloc },
    { Py_tp_repr, column_repr },
    { Py_tp_methods, column_methods },
    { Py_tp_getset, column_properties },
    { Py_tp_iter, PySeqIter_New },
    { Py_sq_length, column_length },
    { Py_sq_item, column_item },
    { Py_mp_length, column_length },
    { Py_mp_subscript, column_subscript },
    { 0, NULL },
};

PyType_Spec batch_column_spec = {
    .name = "forebay.BatchColumn",
    .basicsize = sizeof(column_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_SEQUENCE,
    .slots = column_slots,
};
