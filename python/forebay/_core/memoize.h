/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_MEMOIZE_H
#define CORE_MEMOIZE_H

#include "core.h"

#define CORE_MEMOIZED_DOC                                                                                    \
    "_memoized(function, name, resolve, miss, digest, key, typed, /)\n--\n\n"                               \
    "The callable behind forebay._memoize.memoize()."
PyObject *core_memoized(PyObject *module, PyObject *arguments);

#endif
