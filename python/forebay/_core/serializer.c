/* SPDX-License-Identifier: Apache-2.0 */
#include "serializer.h"

#include "keys.h"

static int resolve(PyObject *argument, value_serializer *out)
{
    PyObject *module = PyImport_ImportModule("forebay._serializers");
    PyObject *pair = module == NULL ? NULL : PyObject_CallMethod(module, "resolve", "(O)", argument);
    Py_XDECREF(module);
    if (pair == NULL)
        return -1;
    PyObject *dumps, *loads;
    int outcome = PyArg_ParseTuple(pair, "OO:resolve", &dumps, &loads) ? 0 : -1;
    if (outcome == 0) {
        out->named = Py_NewRef(argument);
        out->dumps = Py_NewRef(dumps);
        out->loads = loads == Py_None ? NULL : Py_NewRef(loads);
    }
    Py_DECREF(pair);
    return outcome;
}

bool serializer_is_usual(PyObject *argument)
{
    return argument == NULL
           || (PyUnicode_Check(argument) && PyUnicode_CompareWithASCIIString(argument, "msgpack") == 0);
}

int serializer_from_object(PyObject *argument, value_serializer *out)
{
    *out = (value_serializer){ NULL, NULL, NULL };
    if (!serializer_is_usual(argument))
        return resolve(argument, out);
    out->named = PyUnicode_InternFromString("msgpack");
    return out->named == NULL ? -1 : 0;
}

void serializer_clear(value_serializer *serializer)
{
    Py_CLEAR(serializer->named);
    Py_CLEAR(serializer->dumps);
    Py_CLEAR(serializer->loads);
}

PyObject *serializer_dump(const cache_object *self, PyObject *value)
{
    PyObject *bytes = PyObject_CallOneArg(self->serializer.dumps, value);
    if (bytes == NULL || PyBytes_CheckExact(bytes))
        return bytes;
    PyErr_Format(PyExc_TypeError, "the serializer of the cache %R must give bytes, not %.100s", self->name,
                 Py_TYPE(bytes)->tp_name);
    Py_DECREF(bytes);
    return NULL;
}

/* Add a note to the exception that is set; what goes wrong meanwhile matters less. */
static void note_key(const cache_object *self, const void *key, size_t key_length)
{
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    PyObject *decoded = core_key_decode(&self->state->types, key, key_length);
    PyObject *text = decoded == NULL ? NULL
                                     : PyUnicode_FromFormat("while loading the value of key %R of the cache %R",
                                                            decoded, self->name);
    PyObject *done = text == NULL ? NULL : PyObject_CallMethod(exception, "add_note", "O", text);
    if (done == NULL)
        PyErr_Clear();
    Py_XDECREF(decoded);
    Py_XDECREF(text);
    Py_XDECREF(done);
    PyErr_Restore(type, exception, traceback);
}

PyObject *serializer_load(const cache_object *self, const void *key, size_t key_length, forebay_kind kind,
                          PyObject *stored)
{
    if (stored == NULL || kind != FOREBAY_KIND_BYTES || self->serializer.loads == NULL)
        return stored;
    PyObject *value = PyObject_CallOneArg(self->serializer.loads, stored);
    Py_DECREF(stored);
    if (value == NULL)
        note_key(self, key, key_length);
    return value;
}
