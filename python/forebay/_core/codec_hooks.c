/* SPDX-License-Identifier: Apache-2.0 */
#include "codec_hooks.h"

#include "decode.h"
#include "keys.h"

PyObject *hook_encode(PyObject *module, PyObject *value)
{
    core_state *state = core_state_of(module);
    core_writer writer;
    core_writer_init(&writer, NULL, 0, PY_SSIZE_T_MAX);
    int outcome = core_encode(&state->types, value, &writer);
    PyObject *bytes = NULL;
    if (outcome == 0)
        bytes = PyBytes_FromStringAndSize((const char *)core_writer_data(&writer),
                                          (Py_ssize_t)core_writer_length(&writer));
    else if (outcome == CORE_TOO_BIG)
        core_raise(state, FOREBAY_TOOBIG, NULL, NULL);
    core_writer_clear(&writer);
    return bytes;
}

typedef PyObject *decoder(core_types *types, const uint8_t *data, size_t length);

static PyObject *decode_buffer(PyObject *module, PyObject *data, decoder *decode)
{
    if (!PyBytes_CheckExact(data))
        return PyErr_Format(PyExc_TypeError, "bytes expected, not %.100s", Py_TYPE(data)->tp_name);
    return decode(&core_state_of(module)->types, (const uint8_t *)PyBytes_AS_STRING(data),
                  (size_t)PyBytes_GET_SIZE(data));
}

PyObject *hook_decode(PyObject *module, PyObject *data)
{
    return decode_buffer(module, data, core_decode);
}

PyObject *hook_encode_key(PyObject *module, PyObject *key)
{
    core_key encoded;
    if (core_key_encode(&core_state_of(module)->types, key, &encoded) < 0)
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)encoded.data, (Py_ssize_t)encoded.length);
    core_key_clear(&encoded);
    return bytes;
}

PyObject *hook_decode_key(PyObject *module, PyObject *data)
{
    return decode_buffer(module, data, core_key_decode);
}
