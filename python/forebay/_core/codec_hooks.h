/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding and decoding without an arena: for the tests of the formats. */
#ifndef CORE_CODEC_HOOKS_H
#define CORE_CODEC_HOOKS_H

#include "core.h"

#define HOOK_ENCODE_DOC "_encode(value, /)\n--\n\nThe value as MessagePack."
#define HOOK_DECODE_DOC                                                                                      \
    "_decode(data, /)\n--\n\nThe value of exactly these bytes; ValueError if they are not one."
#define HOOK_ENCODE_KEY_DOC "_encode_key(key, /)\n--\n\nThe canonical bytes of a key."
#define HOOK_DECODE_KEY_DOC                                                                                  \
    "_decode_key(data, /)\n--\n\nThe key of canonical bytes; ValueError if they are not one."

PyObject *hook_encode(PyObject *module, PyObject *value);
PyObject *hook_decode(PyObject *module, PyObject *data);
PyObject *hook_encode_key(PyObject *module, PyObject *key);
PyObject *hook_decode_key(PyObject *module, PyObject *data);

#endif
