/* SPDX-License-Identifier: Apache-2.0 */
/* BatchBuilder: rows into columns, until a batch has its bytes. */
#include "batch_objects.h"

#define LOOK_EVERY 1024u /* rows between looks for signals */

typedef struct builder_object {
    PyObject_HEAD core_state *state;
    PyObject *names, *positions; /* owned */
    PyObject *types;             /* owned: tuple of types or None, for each column */
    PyObject *pending;           /* owned: the row that the batch before had no room for; NULL: none */
    batch_part *parts;           /* owned; NULL: not begun */
    batch_spares *spares;        /* owned */
    Py_ssize_t count;            /* columns */
    size_t rows, max_rows, max_bytes;
    size_t packed;               /* bytes of the columns but for bits of validity */
    uint64_t rows_before;        /* in batches that are finished */
    bool is_full, is_busy;
} builder_object;

/* ---- the columns ----------------------------------------------------------- */

static int begin(builder_object *self)
{
    if (self->parts != NULL)
        return 0;
    batch_part *parts = batch_parts_new(self->count, self->spares);
    for (Py_ssize_t i = 0; parts != NULL && i < self->count; i++) {
        PyObject *type = PyTuple_GET_ITEM(self->types, i);
        if (type != Py_None && batch_part_declare(self->state, &parts[i], type) < 0) {
            batch_parts_free(parts, self->count);
            parts = NULL;
        }
    }
    self->parts = parts;
    return parts == NULL ? -1 : 0;
}

static size_t bytes_of(const builder_object *self)
{
    size_t bytes = 0;
    for (Py_ssize_t i = 0; i < self->count; i++)
        bytes += batch_column_nbytes(self->parts[i].column);
    return bytes;
}

static void drop_rows_from(builder_object *self, size_t rows)
{
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (self->parts[i].column->rows > rows)
            batch_column_truncate(self->parts[i].column, rows);
    }
}

/* ---- one row --------------------------------------------------------------- */

static int wrong_count(builder_object *self, Py_ssize_t count)
{
    PyErr_Format(PyExc_ValueError, "row %llu has %zd values; there are %zd columns",
                 (unsigned long long)(self->rows_before + self->rows), count, self->count);
    return -1;
}

static PyObject *tuple_of_dict(builder_object *self, PyObject *row)
{
    PyObject *tuple = PyTuple_New(self->count);
    for (Py_ssize_t i = 0; tuple != NULL && i < self->count; i++) {
        PyObject *value = PyDict_GetItemWithError(row, PyTuple_GET_ITEM(self->names, i));
        if (value != NULL) {
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(value));
            continue;
        }
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "row %llu has no value of column %R",
                         (unsigned long long)(self->rows_before + self->rows), PyTuple_GET_ITEM(self->names, i));
        Py_CLEAR(tuple);
    }
    return tuple;
}

/* A row of any kind as a tuple: new. */
static PyObject *tuple_of(builder_object *self, PyObject *row)
{
    if (PyTuple_Check(row))
        return Py_NewRef(row);
    if (PyDict_Check(row))
        return tuple_of_dict(self, row);
    if (Py_IS_TYPE(row, self->state->batch_row_type))
        return batch_row_to_tuple(row);
    if (!PyUnicode_Check(row) && !PyBytes_Check(row) && (PySequence_Check(row) || PyList_Check(row)))
        return PySequence_Tuple(row);
    return PyErr_Format(PyExc_TypeError, "rows are tuples, lists or dicts, not %.100s: set the cursor's row factory back",
                        Py_TYPE(row)->tp_name);
}

/* An int of one digit or none, which most are: others take a call. */
static inline bool small_int(PyObject *value, int64_t *number)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)value))
        return false;
    *number = PyUnstable_Long_CompactValue((PyLongObject *)value);
#else
    Py_ssize_t size = Py_SIZE(value);
    if (size < -1 || size > 1)
        return false;
    *number = size * (int64_t)((PyLongObject *)value)->ob_digit[0];
#endif
    return true;
}

/* Append the commonest values without a call for each; true if that was one. */
static inline bool append_common(batch_column *column, PyObject *value, size_t *packed)
{
    if (column->kind == BATCH_INT64 && PyLong_CheckExact(value)) {
        int64_t number;
        *packed += sizeof number;
        return small_int(value, &number) && batch_column_put_fixed(column, &number, sizeof number);
    }
    if (column->kind == BATCH_TEXT && PyUnicode_CheckExact(value) && PyUnicode_IS_COMPACT_ASCII(value)) {
        size_t length = (size_t)PyUnicode_GET_LENGTH(value);
        *packed += sizeof(int32_t) + length;
        return batch_column_put_bytes(column, PyUnicode_1BYTE_DATA(value), length);
    }
    if (column->kind == BATCH_DOUBLE && PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        *packed += sizeof number;
        return batch_column_put_fixed(column, &number, sizeof number);
    }
    return false;
}

/* The bytes that packed leaves out, at most: a bit for each value, begun bytes, first offsets. */
static size_t most_bits(const builder_object *self)
{
    return ((self->rows + 1) / 8 + 8) * (size_t)self->count;
}

/* Append the values; on failure of any there is nothing of the row. */
static int append_values(builder_object *self, PyObject *tuple)
{
    if (PyTuple_GET_SIZE(tuple) != self->count)
        return wrong_count(self, PyTuple_GET_SIZE(tuple));
    size_t packed = self->packed;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        PyObject *value = PyTuple_GET_ITEM(tuple, i);
        batch_part *part = &self->parts[i];
        size_t before = packed;
        if (append_common(part->column, value, &packed))
            continue;
        packed = before - batch_column_nbytes(part->column);
        if (batch_part_append(self->state, part, value, PyTuple_GET_ITEM(self->names, i), self->rows_before + self->rows) < 0) {
            drop_rows_from(self, self->rows);
            self->packed = bytes_of(self); /* a column may have changed its kind */
            return -1;
        }
        packed += batch_column_nbytes(part->column);
    }
    self->packed = packed;
    return 0;
}

/* 1: it is in; 0: the batch is full without it; -1. */
static int append_row(builder_object *self, PyObject *row)
{
    PyObject *tuple = tuple_of(self, row);
    int outcome = tuple == NULL ? -1 : append_values(self, tuple);
    Py_XDECREF(tuple);
    if (outcome < 0)
        return -1;
    size_t bytes = self->packed + most_bits(self);
    if (bytes >= self->max_bytes)
        bytes = bytes_of(self);
    if (bytes > self->max_bytes && self->rows != 0) {
        drop_rows_from(self, self->rows);
        self->is_full = true;
        return 0;
    }
    self->rows++;
    self->is_full = bytes >= self->max_bytes || self->rows >= self->max_rows;
    return 1;
}

static int append_pending(builder_object *self)
{
    if (self->pending == NULL)
        return 0;
    PyObject *row = self->pending;
    self->pending = NULL;
    int outcome = append_row(self, row);
    Py_DECREF(row);
    return outcome < 0 ? -1 : 0;
}

/* ---- many rows ------------------------------------------------------------- */

/* One filling at a time: fetching may run code that would get here again. */
static int enter(builder_object *self)
{
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "the batches are being filled already, further up or in another thread");
        return -1;
    }
    if (begin(self) < 0)
        return -1;
    self->is_busy = true;
    if (append_pending(self) == 0)
        return 0;
    self->is_busy = false;
    return -1;
}

/* True while the iteration goes on. */
static bool drain_one(builder_object *self, PyObject *iterator, bool *failed, bool *ended)
{
    PyObject *row = Py_TYPE(iterator)->tp_iternext(iterator);
    if (row == NULL) {
        if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_StopIteration))
            PyErr_Clear();
        *failed = PyErr_Occurred() != NULL;
        *ended = true;
        return false;
    }
    int outcome = append_row(self, row);
    if (outcome == 0)
        self->pending = Py_NewRef(row);
    Py_DECREF(row);
    *failed = outcome < 0;
    return outcome == 1 && !self->is_full;
}

PyDoc_STRVAR(drain_doc, "drain($self, iterator, /)\n--\n\nTake rows until the batch is full (True) or there are no more (False).");

static PyObject *builder_drain(PyObject *object, PyObject *iterator)
{
    builder_object *self = (builder_object *)object;
    if (!PyIter_Check(iterator))
        return PyErr_Format(PyExc_TypeError, "an iterator expected, not %.100s", Py_TYPE(iterator)->tp_name);
    if (enter(self) < 0)
        return NULL;
    bool failed = false, ended = false;
    for (size_t i = 1; !self->is_full && drain_one(self, iterator, &failed, &ended); i++) {
        if (i % LOOK_EVERY == 0 && PyErr_CheckSignals() < 0) {
            failed = true;
            break;
        }
    }
    self->is_busy = false;
    return failed ? NULL : PyBool_FromLong(!ended);
}

PyDoc_STRVAR(take_doc, "take($self, rows, start, /)\n--\n\nTake rows[start:] until the batch is full; returns the index of the first row left.");

static PyObject *builder_take(PyObject *object, PyObject *arguments)
{
    builder_object *self = (builder_object *)object;
    PyObject *rows;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(arguments, "On:take", &rows, &index))
        return NULL;
    if (index < 0 || !(PyList_CheckExact(rows) || PyTuple_CheckExact(rows)))
        return PyErr_Format(PyExc_TypeError, "a list or tuple of rows and an index expected");
    if (enter(self) < 0)
        return NULL;
    int outcome = 1;
    while (outcome == 1 && !self->is_full && index < PySequence_Fast_GET_SIZE(rows)) {
        PyObject *row = Py_NewRef(PySequence_Fast_GET_ITEM(rows, index));
        outcome = append_row(self, row);
        Py_DECREF(row);
        index += outcome == 1;
    }
    self->is_busy = false;
    return outcome < 0 ? NULL : PyLong_FromSsize_t(index);
}

PyDoc_STRVAR(finish_doc, "finish($self, /)\n--\n\nThe rows so far as a Batch; the next one begins.");

static PyObject *builder_finish(PyObject *object, PyObject *unused)
{
    builder_object *self = (builder_object *)object;
    if (self->is_busy || begin(self) < 0) {
        if (self->is_busy)
            PyErr_SetString(PyExc_RuntimeError, "the batch is being filled");
        return NULL;
    }
    batch_part *parts = self->parts;
    size_t rows = self->rows;
    for (Py_ssize_t i = 0; i < self->count; i++)
        batch_column_finish(parts[i].column);
    self->parts = NULL;
    self->rows_before += rows;
    self->rows = self->packed = 0;
    self->is_full = false;
    return batch_new(self->state, self->names, self->positions, parts, self->count, (Py_ssize_t)rows);
}

PyDoc_STRVAR(retire_doc, "retire($self, /)\n--\n\nNo more batches will be made: memory kept for them is given back.");

static PyObject *builder_retire(PyObject *object, PyObject *unused)
{
    batch_spares_close(((builder_object *)object)->spares);
    Py_RETURN_NONE;
}

/* ---- the type -------------------------------------------------------------- */

static int check_names(PyObject *names)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (!PyUnicode_CheckExact(name)) {
            PyErr_Format(PyExc_TypeError, "names of columns are str, not %.100s", Py_TYPE(name)->tp_name);
            return -1;
        }
    }
    return 0;
}

static PyObject *builder_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *names, *types;
    Py_ssize_t max_bytes, max_rows;
    if (keywords != NULL && PyDict_GET_SIZE(keywords) != 0)
        return PyErr_Format(PyExc_TypeError, "BatchBuilder() takes no keyword arguments");
    if (!PyArg_ParseTuple(arguments, "O!O!nn:BatchBuilder", &PyTuple_Type, &names, &PyTuple_Type, &types, &max_bytes,
                          &max_rows)
        || check_names(names) < 0)
        return NULL;
    if (PyTuple_GET_SIZE(types) != PyTuple_GET_SIZE(names) || max_bytes < 0 || max_rows < 1)
        return PyErr_Format(PyExc_ValueError, "a type (or None) for each name, bytes and rows expected");
    builder_object *self = (builder_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = PyType_GetModuleState(type);
    self->names = Py_NewRef(names);
    self->types = Py_NewRef(types);
    self->count = PyTuple_GET_SIZE(names);
    self->max_bytes = (size_t)max_bytes;
    self->max_rows = (size_t)max_rows;
    self->positions = batch_positions_of(names);
    self->spares = batch_spares_new((size_t)self->count * BATCH_COLUMN_BUFFERS);
    if (self->spares == NULL && self->positions != NULL)
        PyErr_NoMemory();
    if (self->positions == NULL || self->spares == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void builder_dealloc(PyObject *object)
{
    builder_object *self = (builder_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    batch_parts_free(self->parts, self->count);
    if (self->spares != NULL)
        batch_spares_close(self->spares);
    batch_spares_drop(self->spares);
    Py_XDECREF(self->names);
    Py_XDECREF(self->positions);
    Py_XDECREF(self->types);
    Py_XDECREF(self->pending);
    type->tp_free(object);
    Py_DECREF(type);
}

static int builder_traverse(PyObject *object, visitproc visit, void *arg)
{
    builder_object *self = (builder_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->types);
    Py_VISIT(self->pending);
    return 0;
}

static int builder_clear(PyObject *object)
{
    Py_CLEAR(((builder_object *)object)->pending);
    return 0;
}

static PyObject *builder_get_rows(PyObject *object, void *unused)
{
    return PyLong_FromSize_t(((builder_object *)object)->rows);
}

static PyObject *builder_get_full(PyObject *object, void *unused)
{
    return PyBool_FromLong(((builder_object *)object)->is_full);
}

static PyObject *builder_get_nbytes(PyObject *object, void *unused)
{
    builder_object *self = (builder_object *)object;
    return PyLong_FromSize_t(self->parts != NULL ? bytes_of(self) : 0);
}

static PyMethodDef builder_methods[] = {
    { "drain", builder_drain, METH_O, drain_doc },
    { "take", builder_take, METH_VARARGS, take_doc },
    { "retire", builder_retire, METH_NOARGS, retire_doc },
    { "finish", builder_finish, METH_NOARGS, finish_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef builder_properties[] = {
    { "rows", builder_get_rows, NULL, "How many rows the batch has.", NULL },
    { "full", builder_get_full, NULL, "Nothing more goes into the batch.", NULL },
    { "nbytes", builder_get_nbytes, NULL, "How many bytes it has.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(builder_doc, "BatchBuilder(names, types, max_bytes, max_rows, /)\n--\n\n"
                          "Packs rows into Batches of at most max_bytes and max_rows, of one row at least.\n"
                          "types: for each column a tuple of _batch_types.py, or None.");

static PyType_Slot builder_slots[] = {
    { Py_tp_doc, (void *)builder_doc },
    { Py_tp_new, builder_new },
    { Py_tp_dealloc, builder_dealloc },
    { Py_tp_traverse, builder_traverse },
    { Py_tp_clear, builder_clear },
    { Py_tp_methods, builder_methods },
    { Py_tp_getset, builder_properties },
    { 0, NULL },
};

PyType_Spec batch_builder_spec = {
    .name = "forebay._core.BatchBuilder",
    .basicsize = sizeof(builder_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = builder_slots,
};
