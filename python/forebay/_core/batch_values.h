/* SPDX-License-Identifier: Apache-2.0 */
/* Python values into columns and back.  What comes back is equal to what went in
 * and of the same type; but memoryviews and bytearrays come back as bytes, and
 * subclasses of uuid.UUID (drivers have their own) as uuid.UUID. */
#ifndef BATCH_VALUES_H
#define BATCH_VALUES_H

#include "core.h"

#include "batch_column.h"

/* A column and what of it is a Python object. */
typedef struct batch_part {
    batch_column *column; /* owned; NULL: none */
    PyObject *zone;       /* owned; the tzinfo of a BATCH_TIMESTAMP that is not BATCH_NAIVE, else NULL */
} batch_part;

void batch_part_clear(batch_part *part);

/* Append a value, with whatever that takes: the first one that is not None gives
 * the column its kind; one of another kind makes it BATCH_PACKED; to a declared
 * column it is converted, if that loses nothing.
 * -1: TypeError or ValueError that names the column and the row (`row` counts from
 * the stream's first), MemoryError; the column's rows are as before. */
int batch_part_append(core_state *state, batch_part *part, PyObject *value, PyObject *name, uint64_t row);

/* Give an empty part its declared type: a tuple (kind, precision, scale, tzinfo or
 * None), as _batch_types.py makes it. */
int batch_part_declare(core_state *state, batch_part *part, PyObject *type);
/* The tuple of a part: new. */
PyObject *batch_part_type(const batch_part *part);

/* The value of a row: new. */
PyObject *batch_part_value(core_state *state, const batch_part *part, size_t row);

/* ---- between the files of this job ---- */

typedef enum batch_put { BATCH_PUT_DONE, BATCH_PUT_MISFIT, BATCH_PUT_FAILED } batch_put;
/* Append a value that is not None if it is of the column's kind and would come back as it is. */
batch_put batch_part_put(core_state *state, batch_part *part, PyObject *value);
/* For a column of BATCH_NULL: the kind that suits the value.  Sets scale and zone. */
batch_kind batch_part_choose(core_state *state, batch_part *part, PyObject *value);

/* batch_moments.c: dates and times. */
batch_put batch_put_moment(core_state *state, batch_part *part, PyObject *value);
PyObject *batch_moment_value(core_state *state, const batch_part *part, size_t row);
/* Take over the tzinfo of a datetime (None: naive): DONE, MISFIT if it is of a kind
 * that cannot be kept, FAILED. */
batch_put batch_part_set_zone(core_state *state, batch_part *part, PyObject *zone);
/* batch_decimals.c */
batch_put batch_put_decimal(core_state *state, batch_part *part, PyObject *value);
PyObject *batch_decimal_value(core_state *state, const batch_part *part, size_t row);
/* The scale of a Decimal whose exponent suits a decimal128; false if it has none. */
bool batch_decimal_scale(PyObject *value, uint8_t *scale);

#endif
