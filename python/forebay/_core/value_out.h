/* SPDX-License-Identifier: Apache-2.0 */
/* Where the library's gets put values, and how they become Python objects.
 * Bytes are copied once, into the object that is returned; what is to be
 * decoded is copied to private memory first. */
#ifndef CORE_VALUE_OUT_H
#define CORE_VALUE_OUT_H

#include "decode.h"
#include "objects.h"

#define VALUE_SCRATCH 2048u           /* bytes of an encoded value that take no heap block */
#define VALUE_LARGE ((size_t)1 << 20) /* bytes whose copy lets other threads run */

/* One value.  `bytes` and `heap` are owned. */
typedef struct value_out {
    PyObject *bytes; /* FOREBAY_KIND_BYTES; else NULL */
    void *heap;      /* the encoded value if `scratch` is too small */
    size_t length;
    forebay_kind kind;
    arena_object *arena;     /* borrowed; entered while the GIL is released */
    PyThreadState *released; /* set while the GIL is released for a large copy */
    bool keep_gil;           /* the entry changed size under such a copy: get once more, with the GIL */
    unsigned char scratch[VALUE_SCRATCH]; /* no initial value: it would cost more than the get */
} value_out;

static inline void value_out_init(value_out *out, arena_object *arena)
{
    out->arena = arena;
    out->bytes = NULL;
    out->heap = NULL;
    out->released = NULL;
    out->keep_gil = false;
}
/* forebay_sink.room() with a value_out as its context. */
void *value_out_room(void *context, size_t item, size_t length, forebay_kind kind);
/* After each get: take the GIL back. */
void value_out_reacquire(value_out *out);
static inline void value_out_after_get(value_out *out)
{
    if (__builtin_expect(out->released != NULL, 0))
        value_out_reacquire(out);
}
/* The bytes that were copied: valid until the value is taken. */
static inline const void *value_out_data(const value_out *out)
{
    if (out->kind == FOREBAY_KIND_BYTES)
        return PyBytes_AS_STRING(out->bytes);
    return out->length <= VALUE_SCRATCH ? out->scratch : out->heap;
}
/* The value, a new reference, or NULL with an exception; ends `out`. */
PyObject *value_out_take(core_state *state, value_out *out);
/* Free what was given out for nothing. */
void value_out_drop(value_out *out);

/* After a ValueError of the decoder: the entry is damaged, say so within our
 * tree.  Returns NULL. */
PyObject *value_raise_damaged(core_state *state);

/* Decode a private copy; CorruptError if it is not a value. */
PyObject *value_decode(core_state *state, forebay_kind kind, const void *data, size_t length);

#endif
