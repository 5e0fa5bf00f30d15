/* SPDX-License-Identifier: Apache-2.0 */
/* About how many bytes values take on the wire. */
#include "batch_objects.h"

#define DEPTH_MAX 32
#define OTHER 16 /* a number, a date, what is not known */

static size_t measure(PyObject *value, int depth);

static size_t measure_items(PyObject *items, int depth)
{
    size_t bytes = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++)
        bytes += measure(PySequence_Fast_GET_ITEM(items, i), depth);
    return bytes;
}

static size_t measure_dict(PyObject *dict, int depth)
{
    size_t bytes = 0;
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &position, &key, &value))
        bytes += measure(value, depth);
    return bytes;
}

static size_t measure_text(PyObject *text)
{
    bool has_surrogates;
    return core_text_ready(text) ? 4 + core_utf8_length(text, &has_surrogates) : OTHER;
}

static size_t measure(PyObject *value, int depth)
{
    if (value == Py_None || PyBool_Check(value))
        return 1;
    if (PyUnicode_Check(value))
        return measure_text(value);
    if (PyBytes_Check(value))
        return 4 + (size_t)PyBytes_GET_SIZE(value);
    if (PyByteArray_Check(value))
        return 4 + (size_t)PyByteArray_GET_SIZE(value);
    if (PyMemoryView_Check(value))
        return 4 + (size_t)PyMemoryView_GET_BUFFER(value)->len;
    if (PyLong_Check(value) || PyFloat_Check(value))
        return 8;
    if ((PyTuple_Check(value) || PyList_Check(value)) && depth < DEPTH_MAX)
        return 4 + measure_items(value, depth + 1);
    if (PyDict_Check(value) && depth < DEPTH_MAX)
        return 4 + measure_dict(value, depth + 1);
    return OTHER;
}

PyObject *batch_measure(PyObject *module, PyObject *row)
{
    size_t bytes = measure(row, 0);
    return PyErr_Occurred() ? NULL : PyLong_FromSize_t(bytes);
}
