/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: Python objects to canonical bytes and back.  The format is
 * docs/reference/encoding.md.  Two keys have the same bytes exactly if they have the same
 * type and are equal: 1, "1", b"1" and True are four keys. */
#ifndef CORE_KEYS_H
#define CORE_KEYS_H

#include "encode.h"

#define CORE_KEY_SMALL 128u /* bytes of a key that take no heap block */
#define CORE_KEY_DEPTH 32   /* tuples inside each other */

/* An encoded key; give it no initial value. */
typedef struct core_key {
    const uint8_t *data; /* `small` or the heap: do not copy the struct */
    size_t length;       /* 1 to FOREBAY_KEY_MAX */
    uint8_t *heap;
    uint8_t small[CORE_KEY_SMALL];
} core_key;

/* Encode `key`.  0, or -1 with TypeError (names what is allowed), ValueError
 * (longer than FOREBAY_KEY_MAX, nested too deeply) or MemoryError.  On 0 the
 * caller ends it with core_key_clear(); on -1 there is nothing to clear. */
int core_key_encode(core_types *types, PyObject *key, core_key *out);
static inline void core_key_clear(core_key *key)
{
    if (key->heap != NULL)
        PyMem_Free(key->heap);
}

/* Append one key to what `writer` holds, for batches: note
 * core_writer_length() before and after each; the memory may move, so take
 * addresses when all are written.  Give the writer SIZE_MAX as its limit.
 * Returns as core_key_encode(); on -1 the writer holds what it held before. */
int core_key_append(core_types *types, PyObject *key, core_writer *writer);

/* The key of these bytes: a new reference, or NULL with ValueError or
 * MemoryError.  Bytes that core_key_encode() does not make are a ValueError. */
PyObject *core_key_decode(core_types *types, const uint8_t *data, size_t length);

#endif
