/* SPDX-License-Identifier: Apache-2.0 */
/* Where forebay_get_many() puts the values of one chunk: bytes straight into
 * Python objects, encoded ones behind each other into private blocks. */
#ifndef CORE_BATCH_OUT_H
#define CORE_BATCH_OUT_H

#include "value_out.h"

#define BATCH_KEYS 256u    /* keys of one call of the library */
#define BATCH_FIRST 16384u /* bytes of encoded values that take no heap block */
#define BATCH_BLOCK 65536u /* bytes of a heap block; longer values get their own */

typedef struct batch_value {
    PyObject *bytes;  /* owned; FOREBAY_KIND_BYTES, else NULL */
    const void *data; /* in a block */
    size_t length;
    forebay_kind kind;
} batch_value;

typedef struct batch_block {
    struct batch_block *next;
    unsigned char data[]; /* 8-byte aligned */
} batch_block;

typedef struct batch_out {
    size_t count;                      /* of values that are in use */
    batch_block *blocks;               /* owned */
    unsigned char *free_at, *free_end; /* what is left of the newest block */
    batch_value values[BATCH_KEYS];
    unsigned char first[BATCH_FIRST];
} batch_out;

void batch_out_init(batch_out *out, size_t count);
/* forebay_sink.room() with a batch_out as its context. */
void *batch_out_room(void *context, size_t item, size_t length, forebay_kind kind);
/* The value of an item that was found; a new reference, or NULL with an exception. */
PyObject *batch_out_take(core_state *state, batch_out *out, size_t item);
/* Free everything that was not taken. */
void batch_out_drop(batch_out *out);

#endif
