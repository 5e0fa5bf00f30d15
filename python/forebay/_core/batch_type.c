/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_objects.h"

/* ---- making ---------------------------------------------------------------- */

batch_part *batch_parts_new(Py_ssize_t count, batch_spares *spares)
{
    batch_part *parts = PyMem_Calloc(count != 0 ? (size_t)count : 1, sizeof *parts);
    if (parts == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        parts[i].column = batch_column_new(spares, (size_t)i);
        if (parts[i].column == NULL) {
            batch_parts_free(parts, count);
            PyErr_NoMemory();
            return NULL;
        }
    }
    return parts;
}

void batch_parts_free(batch_part *parts, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; parts != NULL && i < count; i++)
        batch_part_clear(&parts[i]);
    PyMem_Free(parts);
}

PyObject *batch_positions_of(PyObject *names)
{
    PyObject *positions = PyDict_New();
    for (Py_ssize_t i = 0; positions != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int known = PyDict_Contains(positions, name);
        PyObject *position = PyLong_FromSsize_t(known == 1 ? -1 : i);
        if (known < 0 || position == NULL || PyDict_SetItem(positions, name, position) < 0)
            Py_CLEAR(positions);
        Py_XDECREF(position);
    }
    return positions;
}

PyObject *batch_new(core_state *state, PyObject *names, PyObject *positions, batch_part *parts, Py_ssize_t count,
                    Py_ssize_t rows)
{
    batch_object *self = PyObject_New(batch_object, state->batch_type);
    if (self == NULL) {
        batch_parts_free(parts, count);
        return NULL;
    }
    self->state = state;
    self->names = Py_NewRef(names);
    self->positions = Py_NewRef(positions);
    self->parts = parts;
    self->count = count;
    self->rows = rows;
    return (PyObject *)self;
}

static void batch_dealloc(PyObject *object)
{
    batch_object *self = (batch_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    batch_parts_free(self->parts, self->count);
    Py_DECREF(self->names);
    Py_DECREF(self->positions);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- cells ----------------------------------------------------------------- */

static Py_ssize_t position_of_name(batch_object *batch, PyObject *name)
{
    PyObject *found = PyDict_GetItemWithError(batch->positions, name);
    if (found == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, name);
        return -1;
    }
    Py_ssize_t position = PyLong_AsSsize_t(found);
    if (position < 0)
        PyErr_Format(PyExc_KeyError, "several columns are called %R: take one by its number, or name them apart with AS", name);
    return position;
}

Py_ssize_t batch_position(batch_object *batch, PyObject *key)
{
    if (PyUnicode_Check(key))
        return position_of_name(batch, key);
    if (!PyIndex_Check(key)) {
        PyErr_Format(PyExc_TypeError, "a column is taken by its name or number, not by %.100s", Py_TYPE(key)->tp_name);
        return -1;
    }
    Py_ssize_t position = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (position == -1 && PyErr_Occurred())
        return -1;
    position += position < 0 ? batch->count : 0;
    if (position >= 0 && position < batch->count)
        return position;
    PyErr_Format(PyExc_IndexError, "no column %R: there are %zd", key, batch->count);
    return -1;
}

PyObject *batch_cell(batch_object *batch, Py_ssize_t row, Py_ssize_t column)
{
    return batch_part_value(batch->state, &batch->parts[column], (size_t)row);
}

PyObject *batch_tuple(batch_object *batch, Py_ssize_t row)
{
    PyObject *tuple = PyTuple_New(batch->count);
    for (Py_ssize_t i = 0; tuple != NULL && i < batch->count; i++) {
        PyObject *value = batch_cell(batch, row, i);
        if (value == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, value);
    }
    return tuple;
}

/* A name of several columns would lose values: KeyError. */
static int names_are_unique(batch_object *batch)
{
    if (PyDict_GET_SIZE(batch->positions) == batch->count)
        return 0;
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        if (position_of_name(batch, PyTuple_GET_ITEM(batch->names, i)) < 0)
            return -1;
    }
    return 0;
}

PyObject *batch_dict(batch_object *batch, Py_ssize_t row)
{
    PyObject *dict = names_are_unique(batch) < 0 ? NULL : PyDict_New();
    for (Py_ssize_t i = 0; dict != NULL && i < batch->count; i++) {
        PyObject *value = batch_cell(batch, row, i);
        if (value == NULL || PyDict_SetItem(dict, PyTuple_GET_ITEM(batch->names, i), value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

/* ---- rows ------------------------------------------------------------------ */

static Py_ssize_t batch_length(PyObject *object)
{
    return ((batch_object *)object)->rows;
}

static PyObject *batch_item(PyObject *object, Py_ssize_t row)
{
    batch_object *self = (batch_object *)object;
    if (row >= 0 && row < self->rows)
        return batch_row_new(self, row);
    PyErr_Format(PyExc_IndexError, "no such row: the batch has %zd", self->rows);
    return NULL;
}

static PyObject *rows_of_slice(batch_object *self, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t length = PySlice_AdjustIndices(self->rows, &start, &stop, step);
    PyObject *list = PyList_New(length);
    for (Py_ssize_t i = 0; list != NULL && i < length; i++) {
        PyObject *row = batch_row_new(self, start + i * step);
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, row);
    }
    return list;
}

static PyObject *batch_subscript(PyObject *object, PyObject *key)
{
    batch_object *self = (batch_object *)object;
    if (PySlice_Check(key))
        return rows_of_slice(self, key);
    if (!PyIndex_Check(key))
        return PyErr_Format(PyExc_TypeError, "a row is taken by its number, not by %.100s; columns: column()", Py_TYPE(key)->tp_name);
    Py_ssize_t row = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (row == -1 && PyErr_Occurred())
        return NULL;
    return batch_item(object, row < 0 ? row + self->rows : row);
}

typedef PyObject *(*row_maker)(batch_object *batch, Py_ssize_t row);

static PyObject *list_of(PyObject *object, row_maker make)
{
    batch_object *self = (batch_object *)object;
    PyObject *list = PyList_New(self->rows);
    for (Py_ssize_t i = 0; list != NULL && i < self->rows; i++) {
        PyObject *row = make(self, i);
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, row);
    }
    return list;
}

static PyObject *batch_to_tuples(PyObject *object, PyObject *unused)
{
    return list_of(object, batch_tuple);
}

static PyObject *batch_to_dicts(PyObject *object, PyObject *unused)
{
    return list_of(object, batch_dict);
}

static PyObject *batch_get_column(PyObject *object, PyObject *key)
{
    Py_ssize_t position = batch_position((batch_object *)object, key);
    return position < 0 ? NULL : batch_column_view((batch_object *)object, position);
}

static PyObject *batch_get_columns(PyObject *object, void *unused)
{
    return Py_NewRef(((batch_object *)object)->names);
}

static PyObject *batch_get_nbytes(PyObject *object, void *unused)
{
    batch_object *self = (batch_object *)object;
    size_t bytes = 0;
    for (Py_ssize_t i = 0; i < self->count; i++)
        bytes += batch_column_nbytes(self->parts[i].column);
    return PyLong_FromSize_t(bytes);
}

/* ---- Arrow ----------------------------------------------------------------- */

static PyObject *batch_types(PyObject *object, PyObject *unused)
{
    batch_object *self = (batch_object *)object;
    PyObject *types = PyTuple_New(self->count);
    for (Py_ssize_t i = 0; types != NULL && i < self->count; i++) {
        PyObject *type = batch_part_type(&self->parts[i]);
        if (type == NULL)
            Py_CLEAR(types);
        else
            PyTuple_SET_ITEM(types, i, type);
    }
    return types;
}

/* A part like another, on the same column. */
static void share_part(batch_part *to, const batch_part *from)
{
    batch_column_drop(to->column);
    to->column = batch_column_share(from->column);
    to->zone = Py_XNewRef(from->zone);
}

static int convert_part(batch_object *self, Py_ssize_t position, batch_part *to, PyObject *type, uint64_t first_row)
{
    if (batch_part_declare(self->state, to, type) < 0)
        return -1;
    PyObject *name = PyTuple_GET_ITEM(self->names, position);
    for (Py_ssize_t row = 0; row < self->rows; row++) {
        PyObject *value = batch_cell(self, row, position);
        int outcome = value == NULL ? -1 : batch_part_append(self->state, to, value, name, first_row + (uint64_t)row);
        Py_XDECREF(value);
        if (outcome < 0)
            return -1;
    }
    return 0;
}

static PyObject *batch_converted(PyObject *object, PyObject *arguments)
{
    batch_object *self = (batch_object *)object;
    PyObject *types;
    unsigned long long first_row;
    if (!PyArg_ParseTuple(arguments, "O!K:_converted", &PyTuple_Type, &types, &first_row))
        return NULL;
    if (PyTuple_GET_SIZE(types) != self->count)
        return PyErr_Format(PyExc_ValueError, "%zd types expected", self->count);
    batch_part *parts = batch_parts_new(self->count, NULL);
    for (Py_ssize_t i = 0; parts != NULL && i < self->count; i++) {
        PyObject *type = PyTuple_GET_ITEM(types, i);
        if (type == Py_None) {
            share_part(&parts[i], &self->parts[i]);
        } else if (convert_part(self, i, &parts[i], type, first_row) < 0) {
            batch_parts_free(parts, self->count);
            parts = NULL;
        }
    }
    return parts == NULL ? NULL : batch_new(self->state, self->names, self->positions, parts, self->count, self->rows);
}

/* The batch with packed columns as columns of one kind: new. */
static batch_object *exportable(PyObject *object)
{
    batch_object *self = (batch_object *)object;
    bool packed = false;
    for (Py_ssize_t i = 0; i < self->count; i++)
        packed |= self->parts[i].column->kind == BATCH_PACKED;
    if (!packed)
        return (batch_object *)Py_NewRef(object);
    PyObject *module = PyImport_ImportModule("forebay._batch_types");
    PyObject *fitting = module == NULL ? NULL : PyObject_CallMethod(module, "exportable", "O", object);
    Py_XDECREF(module);
    return (batch_object *)fitting;
}

static PyObject *batch_c_schema(PyObject *object, PyObject *unused)
{
    batch_object *self = exportable(object);
    PyObject *capsule = self == NULL ? NULL : batch_arrow_schema(self);
    Py_XDECREF((PyObject *)self);
    return capsule;
}

static int parse_requested(PyObject *arguments, PyObject *keywords, const char *format)
{
    static char *names[] = { "requested_schema", NULL };
    PyObject *requested;
    return PyArg_ParseTupleAndKeywords(arguments, keywords, format, names, &requested) ? 0 : -1;
}

static PyObject *batch_c_array(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    if (parse_requested(arguments, keywords, "|O:__arrow_c_array__") < 0)
        return NULL;
    batch_object *self = exportable(object);
    PyObject *capsules = self == NULL ? NULL : batch_arrow_array(self);
    Py_XDECREF((PyObject *)self);
    return capsules;
}

static PyObject *batch_c_stream(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    if (parse_requested(arguments, keywords, "|O:__arrow_c_stream__") < 0)
        return NULL;
    PyObject *module = PyImport_ImportModule("forebay._batch_types");
    PyObject *capsule = module == NULL ? NULL : PyObject_CallMethod(module, "stream_of_one", "O", object);
    Py_XDECREF(module);
    return capsule;
}

/* ---- the type -------------------------------------------------------------- */

static PyObject *batch_repr(PyObject *object)
{
    batch_object *self = (batch_object *)object;
    return PyUnicode_FromFormat("<forebay.Batch of %zd rows, columns %R>", self->rows, self->names);
}

static PyMethodDef batch_methods[] = {
    { "column", batch_get_column, METH_O,
      "column($self, key, /)\n--\n\nThe BatchColumn of a name or number.  KeyError if there is none of the name, or\nare several; IndexError if there is none of the number." },
    { "to_tuples", batch_to_tuples, METH_NOARGS, "to_tuples($self, /)\n--\n\nA list of all rows as tuples: what the driver gave." },
    { "to_dicts", batch_to_dicts, METH_NOARGS,
      "to_dicts($self, /)\n--\n\nA list of all rows as dicts.  KeyError if two columns share a name." },
    { "_types", batch_types, METH_NOARGS, "_types($self, /)\n--\n\nA tuple (kind, precision, scale, tzinfo) for each column." },
    { "_converted", batch_converted, METH_VARARGS,
      "_converted($self, types, first_row, /)\n--\n\nThe batch with its columns converted to types; None: as it is." },
    { "__arrow_c_schema__", batch_c_schema, METH_NOARGS, "__arrow_c_schema__($self, /)\n--\n\nThe schema as an Arrow PyCapsule." },
    { "__arrow_c_array__", (PyCFunction)(void (*)(void))batch_c_array, METH_VARARGS | METH_KEYWORDS,
      "__arrow_c_array__($self, /, requested_schema=None)\n--\n\nSchema and data as Arrow PyCapsules, without a copy; another schema is not\nmade.  TypeError or ValueError if values of one column have no common Arrow type." },
    { "__arrow_c_stream__", (PyCFunction)(void (*)(void))batch_c_stream, METH_VARARGS | METH_KEYWORDS,
      "__arrow_c_stream__($self, /, requested_schema=None)\n--\n\nA stream of this one batch as an Arrow PyCapsule; see __arrow_c_array__()." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef batch_properties[] = {
    { "columns", batch_get_columns, NULL, "The names of the columns: a tuple of str.", NULL },
    { "nbytes", batch_get_nbytes, NULL, "How many bytes the values take, off Python's heap.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(batch_doc, "Some rows of a result, packed by column.\n\n"
                        "forebay.batches() makes them.  batch[i] is a BatchRow that decodes what is\n"
                        "looked at, column(name) a whole column; a slice is a list of rows.  What comes\n"
                        "out equals what the driver gave, in value and type; but memoryviews come back\n"
                        "as bytes, and a driver's own UUIDs as uuid.UUID.  pyarrow, polars, pandas and\n"
                        "duckdb take a batch by the Arrow PyCapsule interface without a copy.\n\n"
                        "A batch never changes; any thread may read it.");

static PyType_Slot batch_slots[] = {
    { Py_tp_doc, (void *)batch_doc },
    { Py_tp_dealloc, batch_dealloc },
    { Py_tp_repr, batch_repr },
    { Py_tp_methods, batch_methods },
    { Py_tp_getset, batch_properties },
    { Py_tp_iter, PySeqIter_New },
    { Py_sq_length, batch_length },
    { Py_sq_item, batch_item },
    { Py_mp_length, batch_length },
    { Py_mp_subscript, batch_subscript },
    { 0, NULL },
};

PyType_Spec batch_type_spec = {
    .name = "forebay.Batch",
    .basicsize = sizeof(batch_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};
