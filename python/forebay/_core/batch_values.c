/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_values.h"

#include "decode.h"

void batch_part_clear(batch_part *part)
{
    batch_column_drop(part->column);
    part->column = NULL;
    Py_CLEAR(part->zone);
}

static batch_put done_or_no_memory(bool done)
{
    if (done)
        return BATCH_PUT_DONE;
    PyErr_NoMemory();
    return BATCH_PUT_FAILED;
}

/* ---- putting --------------------------------------------------------------- */

static batch_put put_int(batch_column *column, PyObject *value)
{
    if (!PyLong_CheckExact(value))
        return BATCH_PUT_MISFIT;
    int overflow;
    int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0)
        return BATCH_PUT_MISFIT;
    return done_or_no_memory(batch_column_put_fixed(column, &number, sizeof number));
}

static batch_put put_double(batch_column *column, PyObject *value)
{
    if (!PyFloat_CheckExact(value))
        return BATCH_PUT_MISFIT;
    double number = PyFloat_AS_DOUBLE(value);
    return done_or_no_memory(batch_column_put_fixed(column, &number, sizeof number));
}

static batch_put put_wide_text(batch_column *column, PyObject *value)
{
    bool has_surrogates;
    if (!core_text_ready(value))
        return BATCH_PUT_FAILED;
    size_t length = core_utf8_length(value, &has_surrogates);
    if (has_surrogates)
        return BATCH_PUT_MISFIT;
    uint8_t *at = batch_column_room(column, length);
    if (at != NULL)
        core_utf8_write(value, at);
    return done_or_no_memory(at != NULL);
}

static batch_put put_text(batch_column *column, PyObject *value)
{
    if (!PyUnicode_CheckExact(value))
        return BATCH_PUT_MISFIT;
    if (!PyUnicode_IS_COMPACT_ASCII(value))
        return put_wide_text(column, value);
    size_t length = (size_t)PyUnicode_GET_LENGTH(value);
    return done_or_no_memory(batch_column_put_bytes(column, PyUnicode_1BYTE_DATA(value), length));
}

static bool is_binary(PyObject *value)
{
    return PyBytes_CheckExact(value) || PyMemoryView_Check(value) || PyByteArray_CheckExact(value);
}

static batch_put put_binary(batch_column *column, PyObject *value)
{
    if (PyBytes_CheckExact(value))
        return done_or_no_memory(
            batch_column_put_bytes(column, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value)));
    if (!is_binary(value))
        return BATCH_PUT_MISFIT;
    Py_buffer view;
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0)
        return BATCH_PUT_FAILED;
    bool done = batch_column_put_bytes(column, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return done_or_no_memory(done);
}

static batch_put put_uuid(core_state *state, batch_column *column, PyObject *value)
{
    if (!PyType_IsSubtype(Py_TYPE(value), state->types.uuid))
        return BATCH_PUT_MISFIT;
    PyObject *safety = PyObject_GetAttr(value, state->types.str_is_safe);
    if (safety == NULL)
        return BATCH_PUT_FAILED;
    Py_DECREF(safety);
    if (safety != state->types.uuid_unknown)
        return BATCH_PUT_MISFIT;
    PyObject *bytes = core_uuid_bytes(&state->types, value);
    if (bytes == NULL)
        return BATCH_PUT_FAILED;
    bool done = batch_column_put_fixed(column, PyBytes_AS_STRING(bytes), 16);
    Py_DECREF(bytes);
    return done_or_no_memory(done);
}

/* What the encoder would refuse, but a column of its own kind would not. */
static PyObject *packable(core_state *state, PyObject *value)
{
    if (PyMemoryView_Check(value) || PyByteArray_CheckExact(value))
        return PyBytes_FromObject(value);
    if (!Py_IS_TYPE(value, state->types.uuid) && PyType_IsSubtype(Py_TYPE(value), state->types.uuid)) {
        PyObject *bytes = core_uuid_bytes(&state->types, value);
        PyObject *uuid = bytes == NULL ? NULL
                                       : core_uuid_from_bytes(&state->types, (const uint8_t *)PyBytes_AS_STRING(bytes), NULL);
        Py_XDECREF(bytes);
        return uuid;
    }
    return Py_NewRef(value);
}

static batch_put put_packed(core_state *state, batch_column *column, PyObject *value)
{
    uint8_t stack[512];
    core_writer writer;
    PyObject *taken = packable(state, value);
    if (taken == NULL)
        return BATCH_PUT_FAILED;
    core_writer_init(&writer, stack, sizeof stack, INT32_MAX);
    int outcome = core_encode(&state->types, taken, &writer);
    Py_DECREF(taken);
    bool done = outcome == 0 && batch_column_put_bytes(column, core_writer_data(&writer), core_writer_length(&writer));
    core_writer_clear(&writer);
    return outcome < 0 ? BATCH_PUT_FAILED : done_or_no_memory(done);
}

static batch_put put_bool(batch_column *column, PyObject *value)
{
    if (!PyBool_Check(value))
        return BATCH_PUT_MISFIT;
    return done_or_no_memory(batch_column_put_bool(column, value == Py_True));
}

batch_put batch_part_put(core_state *state, batch_part *part, PyObject *value)
{
    batch_column *column = part->column;
    switch (column->kind) {
    case BATCH_NULL:
        return BATCH_PUT_MISFIT;
    case BATCH_BOOL:
        return put_bool(column, value);
    case BATCH_INT64:
        return put_int(column, value);
    case BATCH_DOUBLE:
        return put_double(column, value);
    case BATCH_TEXT:
        return put_text(column, value);
    case BATCH_BINARY:
        return put_binary(column, value);
    case BATCH_DATE:
    case BATCH_TIME:
    case BATCH_TIMESTAMP:
    case BATCH_DURATION:
        return batch_put_moment(state, part, value);
    case BATCH_DECIMAL:
        return batch_put_decimal(state, part, value);
    case BATCH_UUID:
        return put_uuid(state, column, value);
    case BATCH_PACKED:
        return put_packed(state, column, value);
    }
    return BATCH_PUT_MISFIT;
}

batch_kind batch_part_choose(core_state *state, batch_part *part, PyObject *value)
{
    const PyTypeObject *type = Py_TYPE(value);
    const core_types *types = &state->types;
    if (type == &PyUnicode_Type)
        return BATCH_TEXT;
    if (type == &PyLong_Type)
        return BATCH_INT64;
    if (type == &PyFloat_Type)
        return BATCH_DOUBLE;
    if (type == &PyBool_Type)
        return BATCH_BOOL;
    if (is_binary(value))
        return BATCH_BINARY;
    if (type == types->datetime)
        return BATCH_TIMESTAMP; /* its zone is set by the first put */
    if (type == types->date)
        return BATCH_DATE;
    if (type == types->time)
        return BATCH_TIME;
    if (type == types->timedelta)
        return BATCH_DURATION;
    if (type == types->decimal && batch_decimal_scale(value, &part->column->scale)) {
        part->column->precision = BATCH_DECIMAL_DIGITS;
        return BATCH_DECIMAL;
    }
    if (PyType_IsSubtype(Py_TYPE(value), types->uuid))
        return BATCH_UUID;
    return BATCH_PACKED;
}

/* ---- getting --------------------------------------------------------------- */

static PyObject *bytes_value(core_state *state, const batch_column *column, size_t row)
{
    size_t length;
    const uint8_t *data = batch_column_bytes(column, row, &length);
    if (column->kind == BATCH_TEXT)
        return PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)length, NULL);
    if (column->kind == BATCH_BINARY)
        return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length);
    return core_decode(&state->types, data, length);
}

PyObject *batch_part_value(core_state *state, const batch_part *part, size_t row)
{
    const batch_column *column = part->column;
    if (batch_column_is_null(column, row))
        return Py_NewRef(Py_None);
    switch (column->kind) {
    case BATCH_NULL:
        break;
    case BATCH_BOOL:
        return PyBool_FromLong(batch_bit(column->values.data, row));
    case BATCH_INT64:
        return PyLong_FromLongLong(batch_column_int64(column, row));
    case BATCH_DOUBLE:
        return PyFloat_FromDouble(((const double *)(const void *)column->values.data)[row]);
    case BATCH_TEXT:
    case BATCH_BINARY:
    case BATCH_PACKED:
        return bytes_value(state, column, row);
    case BATCH_DATE:
    case BATCH_TIME:
    case BATCH_TIMESTAMP:
    case BATCH_DURATION:
        return batch_moment_value(state, part, row);
    case BATCH_DECIMAL:
        return batch_decimal_value(state, part, row);
    case BATCH_UUID:
        return core_uuid_from_bytes(&state->types, column->values.data + row * 16, NULL);
    }
    return Py_NewRef(Py_None);
}
