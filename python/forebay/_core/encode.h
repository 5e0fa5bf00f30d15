/* SPDX-License-Identifier: Apache-2.0 */
/* Python values to bytes.  The format is docs/reference/encoding.md.
 *
 * Every function here needs the GIL (or an attached thread state) and may run
 * other Python threads before it returns. */
#ifndef CORE_ENCODE_H
#define CORE_ENCODE_H

#include "types.h"

#include <forebay/cache.h>

#include "value/msgpack.h"

#define CORE_VALUE_DEPTH FB_PACK_DEPTH /* containers inside each other; more is a ValueError */

/* Where an encoded value goes: memory of the caller's (the stack, or room in an
 * arena) as long as it suffices, a heap block afterwards. */
typedef struct core_writer {
    fb_pack_writer pack; /* first: grow() gets its address */
    uint8_t *heap;       /* NULL while the caller's memory suffices */
    size_t limit;        /* the most bytes that may be written */
    bool too_big;        /* `limit` was reached */
} core_writer;

/* Write to `memory` (may be NULL if `capacity` is 0). */
void core_writer_init(core_writer *writer, void *memory, size_t capacity, size_t limit);
/* Free the heap block, if any.  Safe to call twice. */
void core_writer_clear(core_writer *writer);
/* What was written: at the caller's memory, or at `heap` if that is set. */
static inline const uint8_t *core_writer_data(const core_writer *writer)
{
    return writer->pack.start;
}
static inline size_t core_writer_length(const core_writer *writer)
{
    return (size_t)(writer->pack.at - writer->pack.start);
}

/* Returned by the encoders when the value needs more than `limit` bytes: no
 * exception is set, the caller raises FOREBAY_TOOBIG. */
#define CORE_TOO_BIG 1

/* Append `value` as MessagePack.  0, CORE_TOO_BIG, or -1 with an exception:
 * TypeError (names the type, where it is and what to do), ValueError (nested
 * too deeply), RuntimeError (a container changed meanwhile), MemoryError.
 * After a failure what was appended is void. */
static inline int core_encode(core_types *types, PyObject *value, core_writer *writer);
/* The same with a function (NULL: none) that is called for each value of a type
 * that cannot be stored; what it returns is stored in its place, what it raises
 * is raised.  The caller owns it. */
int core_encode_with(core_types *types, PyObject *hook, PyObject *value, core_writer *writer);
static inline int core_encode(core_types *types, PyObject *value, core_writer *writer)
{
    return core_encode_with(types, NULL, value, writer);
}

/* How core_encode_value() will store `value`.  Never fails, never calls Python. */
forebay_kind core_value_kind(PyObject *value);

/* A value ready to be stored. */
typedef struct core_encoded {
    const void *data; /* inside `value`, `integer` or the writer's memory: valid as long as all three */
    size_t length;    /* bytes */
    forebay_kind kind;
    uint8_t integer[8];
} core_encoded;

/* Encode `value` by the kind that fits: exact bytes are used where they are
 * (FOREBAY_KIND_BYTES, the writer stays empty), an exact int of 64 bits goes to
 * `out->integer` (FOREBAY_KIND_INT), everything else is appended to `writer`,
 * which must be empty before (FOREBAY_KIND_MSGPACK), with the hook.  Returns as core_encode(). */
int core_encode_value(core_types *types, PyObject *hook, PyObject *value, core_writer *writer, core_encoded *out);

#endif
