/* SPDX-License-Identifier: Apache-2.0 */
/* Records: containers of encoded MessagePack that decode what is touched.  Record
 * is a map, RecordList an array, RecordTuple a tuple; what is inside is decoded
 * or, if it is a container, a record on the same bytes.
 *
 * The bytes belong to `owner`, a bytes object or a View, which each record on them
 * holds.  They are not trusted and may be anything.  Records hold nothing that
 * could lead back to them, so the collector does not know them.
 *
 * All fields are under the GIL.  `index` and `marks` are made once, whole, and then
 * never change, so that a lookup that runs Python code keeps its ground. */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include "core.h"

#include "value/skip.h"

typedef struct record_object {
    PyObject_HEAD core_state *state;
    PyObject *owner;      /* owned */
    const uint8_t *start; /* of the owner's bytes */
    const uint8_t *at;    /* this value, header and all */
    const uint8_t *first; /* its first element or key */
    const uint8_t *end;   /* nothing of it lies beyond */
    uint32_t count;       /* elements, or pairs */
    uint32_t looks;       /* lookups without index */
    PyObject *index;      /* Record: dict of key: offset of its value from `first`; NULL: not made yet */
    size_t *marks;        /* RecordList: offsets from `first` of every RECORD_STEP-th element; NULL: not made yet */
} record_object;

#define RECORD_STEP 16u /* elements that are skipped one by one: memory for marks is half a byte for each */

/* The value at the reader: decoded, or a record if it is a container.  Only a
 * decoded one is gone past.  NULL with CorruptError or MemoryError. */
PyObject *record_value(core_state *state, PyObject *owner, const uint8_t *start, fb_pack_reader *reader);
/* The value that `owner`, whose bytes these are, holds; the same. */
PyObject *record_of(core_state *state, PyObject *owner, const void *data, size_t length);

bool record_check(const core_state *state, PyObject *object); /* of any of the three types */

/* An element, or a value, of the record; `reader` goes past it.  The same. */
PyObject *record_next(record_object *self, fb_pack_reader *reader);
/* Raise CorruptError for what is wrong at `at`; returns NULL. */
PyObject *record_raise(record_object *self, const uint8_t *at, fb_pack_error error);
static inline fb_pack_reader record_reader(const record_object *self, const uint8_t *at)
{
    return (fb_pack_reader){ .at = at, .end = self->end };
}
/* The same for a value that is known by its place. */
static inline PyObject *record_value_at(record_object *self, const uint8_t *at)
{
    fb_pack_reader reader = record_reader(self, at);
    return record_value(self->state, self->owner, self->start, &reader);
}

/* Make the index of a Record unless it is there. */
int record_make_index(record_object *self);

typedef enum record_walk { RECORD_ELEMENTS, RECORD_VALUES, RECORD_ITEMS } record_walk;
/* An iterator over the record. */
PyObject *record_iterate(record_object *self, record_walk walk);

/* What the types share. */
#define RECORD_MATERIALIZE_DOC                                                                               \
    "materialize($self, /)\n--\n\n"                                                                          \
    "All of it as fresh dicts, lists and tuples: what Cache.get() gives."
#define RECORD_REDUCE_DOC "__reduce__($self, /)\n--\n\nPickled as its bytes."
#define RECORD_COPY_DOC "__copy__($self, /)\n--\n\nThe record itself: it cannot change."
#define RECORD_DEEPCOPY_DOC "__deepcopy__($self, memo, /)\n--\n\nThe record itself: it cannot change."
PyObject *record_materialize(PyObject *self, PyObject *unused);
PyObject *record_reduce(PyObject *self, PyObject *unused);
PyObject *record_itself(PyObject *self, PyObject *unused);
PyObject *record_repr(PyObject *self);
void record_dealloc(PyObject *self);
int record_bool(PyObject *self);
/* An object's plain value: of a record materialize(), of others themselves.  New. */
PyObject *record_plain_of(const core_state *state, PyObject *object);

/* Functions of the module. */
#define PLAIN_DOC                                                                                            \
    "plain(record, /)\n--\n\n"                                                                               \
    "The record as fresh dicts, lists and tuples; TypeError if it is none.  For encoders\n"                  \
    "that ask for a function for types they do not know:\n"                                                  \
    "json.dumps(record, default=forebay.plain)."
#define RECORD_FROM_BYTES_DOC "_record(data, /)\n--\n\nThe value encoded in these bytes, containers as records."
PyObject *core_plain(PyObject *module, PyObject *record);
PyObject *core_record_from_bytes(PyObject *module, PyObject *data);

#endif
