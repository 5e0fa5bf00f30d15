/* SPDX-License-Identifier: Apache-2.0 */
/* What a Cache object does with values instead of encoding them itself. */
#ifndef CORE_SERIALIZER_H
#define CORE_SERIALIZER_H

#include "objects.h"

/* The argument serializer= of Arena.cache(); NULL: omitted.  Fills `out` with new
 * references. */
bool serializer_is_usual(PyObject *argument); /* "msgpack", which means none */
int serializer_from_object(PyObject *argument, value_serializer *out);
void serializer_clear(value_serializer *serializer);

/* The bytes to store, a new reference, of a cache that has a serializer; NULL
 * with an exception. */
PyObject *serializer_dump(const cache_object *self, PyObject *value);

/* The value of what was stored as `kind` under the key of these bytes; takes
 * `stored` over (NULL gives NULL).  An exception gets a note that names the key. */
PyObject *serializer_load(const cache_object *self, const void *key, size_t key_length, forebay_kind kind,
                          PyObject *stored);

#endif
