/* SPDX-License-Identifier: Apache-2.0 */
/* A column of a batch, laid out as Arrow lays out columns, so that exporting it
 * copies nothing.
 *
 * A column is filled by one thread that has the GIL, and never changes once its
 * batch is made.  It holds no Python object: references may be dropped by any
 * thread, with or without the GIL, even after the interpreter's end. */
#ifndef BATCH_COLUMN_H
#define BATCH_COLUMN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch_buffer.h"
#include "batch_spares.h"

typedef enum batch_kind {
    BATCH_NULL,      /* nothing but NULL so far: no buffers at all */
    BATCH_BOOL,      /* bits */
    BATCH_INT64,
    BATCH_DOUBLE,
    BATCH_TEXT,      /* UTF-8 */
    BATCH_BINARY,
    BATCH_DATE,      /* int32: days since 1970 */
    BATCH_TIME,      /* int64: microseconds since midnight */
    BATCH_TIMESTAMP, /* int64: microseconds since 1970, in UTC if the column has a zone */
    BATCH_DURATION,  /* int64: microseconds */
    BATCH_DECIMAL,   /* int128: the digits; the scale is the column's */
    BATCH_UUID,      /* 16 bytes */
    BATCH_PACKED,    /* whatever the encoder takes, each value a MessagePack of its own */
} batch_kind;
#define BATCH_KINDS (BATCH_PACKED + 1)

#define BATCH_DECIMAL_DIGITS 38
#define BATCH_ZONE_NAME 64 /* bytes, with the zero at the end */

typedef enum batch_zone {
    BATCH_NAIVE,
    BATCH_FIXED, /* a datetime.timezone: `zone_offset` from UTC */
    BATCH_NAMED, /* a ZoneInfo */
} batch_zone;

__extension__ typedef __int128 batch_int128;
__extension__ typedef unsigned __int128 batch_uint128;

typedef struct batch_column {
    _Atomic size_t references;
    batch_kind kind;
    bool is_declared;                /* the user gave its type: the kind never changes */
    uint8_t precision, scale;        /* BATCH_DECIMAL; a declared precision may be less than 38 */
    batch_zone zone;                 /* BATCH_TIMESTAMP */
    int64_t zone_offset;             /* microseconds */
    char zone_name[BATCH_ZONE_NAME]; /* Arrow's; "" if naive */
    size_t rows, null_count;
    batch_buffer validity;           /* a bit for each row; empty while there is no NULL */
    batch_buffer values;             /* of fixed width; or the bytes of BATCH_TEXT, _BINARY, _PACKED */
    batch_buffer offsets;            /* of those: int32, one more than there are rows */
    batch_spares *spares;            /* shared: where the buffers go; NULL: they are freed */
    size_t place;                    /* in it, of the first of BATCH_COLUMN_BUFFERS */
} batch_column;

#define BATCH_COLUMN_BUFFERS 3u

/* A new, empty column of BATCH_NULL, the `number`-th of its stream, with buffers from
 * the spares (NULL: none); NULL if there is no memory. */
batch_column *batch_column_new(batch_spares *spares, size_t number);
/* Nothing will be appended any more: give back what it does not need. */
void batch_column_finish(batch_column *column);
batch_column *batch_column_share(batch_column *column);
void batch_column_drop(batch_column *column); /* NULL is fine */

/* Bytes for each value; 0: bits, none, or of varying length. */
size_t batch_kind_width(batch_kind kind);
bool batch_kind_varies(batch_kind kind);
/* "int64", as types= and BatchColumn.type have it. */
const char *batch_kind_name(batch_kind kind);

/* Give a column of BATCH_NULL a kind; its rows stay NULL.  false: no memory, the
 * column is as before. */
bool batch_column_begin(batch_column *column, batch_kind kind);
/* Forget the rows from `rows` on. */
void batch_column_truncate(batch_column *column, size_t rows);

/* Append: true, or false if there is no memory (or the offsets end at 2 GiB) with
 * nothing changed but room. */
bool batch_column_put_null(batch_column *column);
bool batch_column_put_bool(batch_column *column, bool value);
bool batch_column_put_bytes(batch_column *column, const void *data, size_t length);
/* Room for a value of the varying kinds, to be written by the caller. */
uint8_t *batch_column_room(batch_column *column, size_t length);
/* Count the row whose value was just written; for the inline function below. */
bool batch_column_mark_valid(batch_column *column);

static inline bool batch_column_put_fixed(batch_column *column, const void *value, size_t width)
{
    uint8_t *at = batch_buffer_room(&column->values, width);
    if (at == NULL)
        return false;
    __builtin_memcpy(at, value, width);
    if (column->null_count != 0)
        return batch_column_mark_valid(column);
    column->rows++;
    return true;
}

/* Read. */
static inline bool batch_bit(const uint8_t *bits, size_t index)
{
    return bits[index / 8] >> index % 8 & 1;
}
static inline bool batch_column_is_null(const batch_column *column, size_t row)
{
    return column->kind == BATCH_NULL || (column->null_count != 0 && !batch_bit(column->validity.data, row));
}
static inline int64_t batch_column_int64(const batch_column *column, size_t row)
{
    return ((const int64_t *)(const void *)column->values.data)[row];
}
static inline const uint8_t *batch_column_bytes(const batch_column *column, size_t row, size_t *length)
{
    const int32_t *offsets = (const int32_t *)(const void *)column->offsets.data;
    *length = (size_t)(offsets[row + 1] - offsets[row]);
    return column->values.data + offsets[row];
}
size_t batch_column_nbytes(const batch_column *column);

#endif
