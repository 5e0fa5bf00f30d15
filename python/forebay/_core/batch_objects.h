/* SPDX-License-Identifier: Apache-2.0 */
/* The Python types of result batches: BatchBuilder fills columns and makes a Batch
 * of them; BatchRow and BatchColumn are what a Batch is read by.
 *
 * A Batch never changes.  None of them leads back to itself (names are strs, zones
 * are of two types that hold nothing), so the collector does not know them. */
#ifndef BATCH_OBJECTS_H
#define BATCH_OBJECTS_H

#include "batch_values.h"

typedef struct batch_object {
    PyObject_HEAD core_state *state;
    PyObject *names;     /* owned: tuple of str */
    PyObject *positions; /* owned: dict of name: position, -1: of several columns; shared by a stream's batches */
    batch_part *parts;   /* owned, `count` of them */
    Py_ssize_t count, rows;
} batch_object;

/* A batch of these parts (taken over, also on failure); NULL with an exception. */
PyObject *batch_new(core_state *state, PyObject *names, PyObject *positions, batch_part *parts, Py_ssize_t count,
                    Py_ssize_t rows);
/* `count` parts with new columns, on the spares (may be NULL); NULL with an exception. */
batch_part *batch_parts_new(Py_ssize_t count, batch_spares *spares);
void batch_parts_free(batch_part *parts, Py_ssize_t count);
/* dict of name: position; names is a tuple of strs. */
PyObject *batch_positions_of(PyObject *names);

/* The position of a column by its name or number; -1 with KeyError (no such name, or
 * one of several columns), IndexError or TypeError. */
Py_ssize_t batch_position(batch_object *batch, PyObject *key);
PyObject *batch_cell(batch_object *batch, Py_ssize_t row, Py_ssize_t column);
PyObject *batch_tuple(batch_object *batch, Py_ssize_t row);
PyObject *batch_dict(batch_object *batch, Py_ssize_t row);

PyObject *batch_row_new(batch_object *batch, Py_ssize_t row);
PyObject *batch_row_to_dict(PyObject *row);
PyObject *batch_row_to_tuple(PyObject *row);
PyObject *batch_column_view(batch_object *batch, Py_ssize_t position);

/* batch_arrow.c.  Capsules; the columns are shared, not copied.  All columns must be
 * exportable: ValueError else. */
PyObject *batch_arrow_schema(batch_object *batch);
PyObject *batch_arrow_array(batch_object *batch); /* tuple of the schema's and the array's */
#define BATCH_ARROW_STREAM_DOC                                                                               \
    "_arrow_stream(source, /)\n--\n\n"                                                                       \
    "The capsule of a stream over source.schema() (a Batch) and source.next() (Batches,\n"                   \
    "then None); source.close() is called when the stream is released."
PyObject *batch_arrow_stream(PyObject *module, PyObject *source);

#define BATCH_MEASURE_DOC                                                                                    \
    "_measure(row, /)\n--\n\nAbout how many bytes a row's values take where they are sent."
PyObject *batch_measure(PyObject *module, PyObject *row);

#endif
