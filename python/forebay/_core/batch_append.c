/* SPDX-License-Identifier: Apache-2.0 */
/* Values that do not fit the column as it is: they change it, or are converted. */
#include "batch_values.h"

/* Call a function of _batch_types.py; NULL ends the arguments. */
__attribute__((sentinel)) static PyObject *call_with(const char *name, ...)
{
    PyObject *module = PyImport_ImportModule("forebay._batch_types");
    PyObject *function = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    if (function == NULL)
        return NULL;
    PyObject *arguments[6];
    size_t count = 0;
    va_list list;
    va_start(list, name);
    while (count < 6 && (arguments[count] = va_arg(list, PyObject *)) != NULL)
        count++;
    va_end(list);
    PyObject *result = PyObject_Vectorcall(function, arguments, count, NULL);
    Py_DECREF(function);
    return result;
}

/* Let _batch_types.py say what is wrong, and what to do. */
static int raise_misfit(batch_part *part, PyObject *value, PyObject *name, uint64_t row)
{
    PyObject *type = batch_part_type(part), *number = PyLong_FromUnsignedLongLong(row);
    PyObject *none = type != NULL && number != NULL ? call_with("misfit", type, value, name, number, NULL) : NULL;
    Py_XDECREF(type);
    Py_XDECREF(number);
    Py_XDECREF(none);
    return -1;
}

static int raise_no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

/* Append to an undeclared column of which the values so far are of another kind:
 * all of it is packed. */
static int repack(core_state *state, batch_part *part)
{
    batch_part packed = { .column = batch_column_new(NULL, 0) };
    if (packed.column == NULL)
        return raise_no_memory();
    bool done = batch_column_begin(packed.column, BATCH_PACKED);
    for (size_t row = 0; done && row < part->column->rows; row++) {
        if (batch_column_is_null(part->column, row)) {
            done = batch_column_put_null(packed.column);
            continue;
        }
        PyObject *value = batch_part_value(state, part, row);
        done = value != NULL && batch_part_put(state, &packed, value) == BATCH_PUT_DONE;
        Py_XDECREF(value);
    }
    if (!done) {
        batch_part_clear(&packed);
        return PyErr_Occurred() ? -1 : raise_no_memory();
    }
    batch_part_clear(part);
    *part = packed;
    return 0;
}

/* Say which column and row an error of the encoder is about. */
static int locate_error(batch_part *part, PyObject *value, PyObject *name, uint64_t row)
{
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError)
        && !PyErr_ExceptionMatches(PyExc_BufferError))
        return -1;
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    raise_misfit(part, value, name, row);
    PyObject *type_now, *error_now, *trace_now;
    PyErr_Fetch(&type_now, &error_now, &trace_now);
    PyErr_NormalizeException(&type_now, &error_now, &trace_now);
    if (error_now != NULL)
        PyException_SetCause(error_now, error); /* steals it */
    else
        Py_XDECREF(error);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    PyErr_Restore(type_now, error_now, trace_now);
    return -1;
}

static int append_converted(core_state *state, batch_part *part, PyObject *value, PyObject *name, uint64_t row)
{
    PyObject *type = batch_part_type(part);
    PyObject *converted = type == NULL ? NULL : call_with("convert", type, value, NULL);
    Py_XDECREF(type);
    if (converted == NULL)
        return locate_error(part, value, name, row);
    batch_put outcome = batch_part_put(state, part, converted);
    Py_DECREF(converted);
    if (outcome == BATCH_PUT_MISFIT)
        return raise_misfit(part, value, name, row);
    return outcome == BATCH_PUT_DONE ? 0 : -1;
}

static int append_changing(core_state *state, batch_part *part, PyObject *value, PyObject *name, uint64_t row)
{
    batch_column *column = part->column;
    batch_put outcome = BATCH_PUT_MISFIT;
    if (column->kind == BATCH_NULL) {
        batch_kind kind = batch_part_choose(state, part, value);
        if (!batch_column_begin(column, kind))
            return raise_no_memory();
        outcome = batch_part_put(state, part, value);
    }
    if (outcome == BATCH_PUT_MISFIT && repack(state, part) < 0)
        return -1;
    if (outcome == BATCH_PUT_MISFIT)
        outcome = batch_part_put(state, part, value);
    return outcome == BATCH_PUT_DONE ? 0 : locate_error(part, value, name, row);
}

int batch_part_append(core_state *state, batch_part *part, PyObject *value, PyObject *name, uint64_t row)
{
    if (value == Py_None)
        return batch_column_put_null(part->column) ? 0 : raise_no_memory();
    batch_put outcome = batch_part_put(state, part, value);
    if (outcome == BATCH_PUT_DONE)
        return 0;
    if (outcome == BATCH_PUT_FAILED)
        return locate_error(part, value, name, row);
    if (part->column->is_declared)
        return append_converted(state, part, value, name, row);
    return append_changing(state, part, value, name, row);
}

/* ---- declared types -------------------------------------------------------- */

static int kind_of_name(PyObject *name, batch_kind *kind)
{
    for (int i = BATCH_BOOL; i < BATCH_PACKED; i++) {
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, batch_kind_name((batch_kind)i)) == 0) {
            *kind = (batch_kind)i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "no type of columns: %R", name);
    return -1;
}

int batch_part_declare(core_state *state, batch_part *part, PyObject *type)
{
    PyObject *name, *zone;
    int precision, scale;
    batch_kind kind;
    if (!PyArg_ParseTuple(type, "OiiO", &name, &precision, &scale, &zone) || kind_of_name(name, &kind) < 0)
        return -1;
    if (zone != Py_None) {
        batch_put outcome = batch_part_set_zone(state, part, zone);
        if (outcome == BATCH_PUT_MISFIT)
            PyErr_Format(PyExc_TypeError, "no time zone of columns: %R; use datetime.timezone or zoneinfo", zone);
        if (outcome != BATCH_PUT_DONE)
            return -1;
    }
    part->column->precision = (uint8_t)precision;
    part->column->scale = (uint8_t)scale;
    part->column->is_declared = true;
    if (batch_column_begin(part->column, kind))
        return 0;
    return raise_no_memory();
}

PyObject *batch_part_type(const batch_part *part)
{
    const batch_column *column = part->column;
    bool is_decimal = column->kind == BATCH_DECIMAL;
    return Py_BuildValue("(siiO)", batch_kind_name(column->kind), is_decimal ? column->precision : 0,
                         is_decimal ? column->scale : 0, part->zone != NULL ? part->zone : Py_None);
}
