/* SPDX-License-Identifier: Apache-2.0 */
#include "arguments.h"

#include <math.h>

static int ttl_from_seconds(double seconds, PyObject *ttl, uint64_t *ttl_ms)
{
    if (isnan(seconds) || seconds <= 0) {
        PyErr_Format(PyExc_ValueError,
                     "ttl must be more than 0 seconds, not %R; pass None for entries that never expire", ttl);
        return -1;
    }
    double milliseconds = ceil(seconds * 1000.0);
    if (milliseconds > (double)TTL_MAX_MS) {
        PyErr_Format(PyExc_ValueError,
                     "ttl may be at most %llu seconds, not %R; pass None for entries that never expire",
                     (unsigned long long)(TTL_MAX_MS / 1000), ttl);
        return -1;
    }
    *ttl_ms = (uint64_t)milliseconds;
    return 0;
}

static int ttl_from_timedelta(PyObject *ttl, uint64_t *ttl_ms)
{
    PyObject *seconds = PyObject_CallMethod(ttl, "total_seconds", NULL);
    if (seconds == NULL)
        return -1;
    double value = PyFloat_AsDouble(seconds);
    Py_DECREF(seconds);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    return ttl_from_seconds(value, ttl, ttl_ms);
}

static int ttl_from_int(PyObject *ttl, uint64_t *ttl_ms)
{
    int overflow;
    long long seconds = PyLong_AsLongLongAndOverflow(ttl, &overflow);
    if (overflow != 0)
        return ttl_from_seconds(overflow > 0 ? HUGE_VAL : -1.0, ttl, ttl_ms);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    return ttl_from_seconds((double)seconds, ttl, ttl_ms);
}

int ttl_from_object(core_state *state, PyObject *ttl, uint64_t *ttl_ms)
{
    *ttl_ms = FOREBAY_TTL_DEFAULT;
    if (ttl == NULL || ttl == Py_Ellipsis)
        return 0;
    if (ttl == Py_None) {
        *ttl_ms = FOREBAY_TTL_FOREVER;
        return 0;
    }
    if (PyFloat_Check(ttl))
        return ttl_from_seconds(PyFloat_AS_DOUBLE(ttl), ttl, ttl_ms);
    if (PyLong_Check(ttl) && !PyBool_Check(ttl))
        return ttl_from_int(ttl, ttl_ms);
    if (PyObject_TypeCheck(ttl, state->timedelta_type))
        return ttl_from_timedelta(ttl, ttl_ms);
    PyErr_Format(PyExc_TypeError, "ttl must be seconds (int or float), a timedelta or None, not %.100s",
                 Py_TYPE(ttl)->tp_name);
    return -1;
}

int size_from_object(PyObject *size, const char *what, uint64_t *bytes)
{
    PyObject *module = PyImport_ImportModule("forebay._open");
    PyObject *parsed = module == NULL ? NULL : PyObject_CallMethod(module, "parse_size", "Os", size, what);
    Py_XDECREF(module);
    if (parsed == NULL)
        return -1;
    *bytes = PyLong_AsUnsignedLongLong(parsed);
    Py_DECREF(parsed);
    return *bytes == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static double seconds_from_object(core_state *state, PyObject *seconds, const char *what)
{
    if (PyFloat_Check(seconds) || (PyLong_Check(seconds) && !PyBool_Check(seconds)))
        return PyFloat_AsDouble(seconds);
    if (!PyObject_TypeCheck(seconds, state->timedelta_type)) {
        PyErr_Format(PyExc_TypeError, "%s must be seconds (int or float), a timedelta or None, not %.100s", what,
                     Py_TYPE(seconds)->tp_name);
        return -1.0;
    }
    PyObject *total = PyObject_CallMethod(seconds, "total_seconds", NULL);
    double value = total == NULL ? -1.0 : PyFloat_AsDouble(total);
    Py_XDECREF(total);
    return value;
}

int wait_from_object(core_state *state, PyObject *seconds, const char *what, uint64_t *wait_ms)
{
    *wait_ms = WAIT_FOR_EVER;
    if (seconds == Py_None)
        return 0;
    double value = seconds_from_object(state, seconds, what);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    if (!(value >= 0)) { /* a NaN, too */
        PyErr_Format(PyExc_ValueError, "%s must be 0 seconds or more, not %R; pass None for no limit", what, seconds);
        return -1;
    }
    if (value < 1e12) /* longer: for ever */
        *wait_ms = (uint64_t)ceil(value * 1000.0);
    return 0;
}

PyObject *ttl_to_object(uint64_t ttl_ms)
{
    if (ttl_ms == 0 || ttl_ms == FOREBAY_TTL_FOREVER)
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)ttl_ms / 1000.0);
}

int keywords_from_vector(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *function,
                         const keyword *keywords, size_t keyword_count)
{
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *given = PyTuple_GET_ITEM(names, i);
        size_t k = 0;
        while (k < keyword_count && PyUnicode_CompareWithASCIIString(given, keywords[k].name) != 0)
            k++;
        if (k == keyword_count) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", function, given);
            return -1;
        }
        *keywords[k].value = arguments[count + i];
    }
    return 0;
}

int keyword_from_vector(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *function,
                        const char *name, PyObject **value)
{
    return keywords_from_vector(arguments, count, names, function, &(keyword){ name, value }, 1);
}

int check_positional(const char *function, Py_ssize_t count, Py_ssize_t least, Py_ssize_t most)
{
    if (count >= least && count <= most)
        return 0;
    if (least == most)
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments, %zd given", function, least,
                     count);
    else
        PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd positional arguments, %zd given", function,
                     least, most, count);
    return -1;
}
