/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: many keys in one call of the library, which overlaps their memory
 * latency. */
#include "arguments.h"
#include "batch_out.h"
#include "cache_methods.h"
#include "keys.h"
#include "serializer.h"
#include "value_out.h"

#define KEYS_AHEAD 8   /* of the one being encoded, to ask memory for */
#define KEY_BYTES 4096u /* of a chunk's keys that take no further heap block */

/* Up to BATCH_KEYS keys, encoded behind each other.  On the heap: threads may
 * have small stacks. */
typedef struct key_chunk {
    size_t count;
    PyObject *objects[BATCH_KEYS]; /* owned: the list they came from may change */
    size_t ends[BATCH_KEYS];       /* where each ends in the writer */
    forebay_key keys[BATCH_KEYS];
    forebay_status status[BATCH_KEYS];
    core_writer writer;
    uint8_t memory[KEY_BYTES];
} key_chunk;

static void chunk_release(key_chunk *chunk)
{
    while (chunk->count > 0)
        Py_DECREF(chunk->objects[--chunk->count]);
    core_writer_clear(&chunk->writer);
}

/* Take one more key; on -1 the chunk is as before. */
static int chunk_add(key_chunk *chunk, core_types *types, PyObject *key)
{
    Py_INCREF(key); /* before encoding, which may let others change the list */
    if (core_key_append(types, key, &chunk->writer) < 0) {
        Py_DECREF(key);
        return -1;
    }
    chunk->objects[chunk->count] = key;
    chunk->ends[chunk->count++] = core_writer_length(&chunk->writer);
    return 0;
}

/* Keys of a large set lie all over the heap: ask for both lines of a short one. */
static void prefetch_object(const PyObject *object)
{
    __builtin_prefetch(object);
    __builtin_prefetch((const char *)object + 64);
}

/* Fill the chunk from `sequence` (PySequence_Fast) from `*position` on. */
static int chunk_fill(key_chunk *chunk, core_types *types, PyObject *sequence, Py_ssize_t *position)
{
    chunk->count = 0;
    core_writer_init(&chunk->writer, chunk->memory, sizeof(chunk->memory), SIZE_MAX);
    while (chunk->count < BATCH_KEYS && *position < PySequence_Fast_GET_SIZE(sequence)) {
        if (*position + KEYS_AHEAD < PySequence_Fast_GET_SIZE(sequence))
            prefetch_object(PySequence_Fast_GET_ITEM(sequence, *position + KEYS_AHEAD));
        if (chunk_add(chunk, types, PySequence_Fast_GET_ITEM(sequence, *position)) < 0)
            return -1;
        ++*position;
    }
    const uint8_t *data = core_writer_data(&chunk->writer);
    size_t start = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        chunk->keys[i] = (forebay_key){ data + start, chunk->ends[i] - start };
        start = chunk->ends[i];
    }
    return 0;
}

/* A list or tuple of the keys.  A str or bytes is one key forgotten in the
 * singular, not an iterable of keys. */
static PyObject *sequence_of_keys(PyObject *keys, const char *function)
{
    if (PyUnicode_Check(keys) || PyBytes_Check(keys))
        return PyErr_Format(PyExc_TypeError, "%s() takes an iterable of keys, not one %.100s", function,
                            Py_TYPE(keys)->tp_name);
    return PySequence_Fast(keys, "keys must be an iterable of keys");
}

/* ---- get_many ---- */

typedef struct get_batch {
    PyObject *absent; /* what says that a key is known to have no value; NULL: such a key is left out */
    key_chunk chunk;
    batch_out out;
} get_batch;

/* The i-th value, which was found: a new reference, or NULL with an exception. */
static PyObject *take_value(cache_object *self, get_batch *batch, size_t i)
{
    const batch_value *found = &batch->out.values[i];
    if (found->kind == FOREBAY_KIND_ABSENT)
        return Py_NewRef(batch->absent);
    PyObject *value = self->ways == 0 || found->kind == FOREBAY_KIND_BYTES
                          ? batch_out_take(self->state, &batch->out, i)
                          : cache_make_value(self, found->kind, found->data, found->length);
    if (found->kind == FOREBAY_KIND_BYTES)
        value = cache_present(self, value);
    if (__builtin_expect(self->serializer.dumps != NULL, 0))
        value = serializer_load(self, batch->chunk.keys[i].data, batch->chunk.keys[i].length, found->kind, value);
    return value;
}

/* Decode what was found and put it into `result`, in the order of keys. */
static int collect(cache_object *self, get_batch *batch, PyObject *result)
{
    for (size_t i = 0; i < batch->chunk.count; i++) {
        if (batch->chunk.status[i] != FOREBAY_OK
            || (batch->out.values[i].kind == FOREBAY_KIND_ABSENT && batch->absent == NULL))
            continue;
        PyObject *value = take_value(self, batch, i);
        if (value == NULL)
            return -1;
        int outcome = PyDict_SetItem(result, batch->chunk.objects[i], value);
        Py_DECREF(value);
        if (outcome < 0)
            return -1;
    }
    return 0;
}

static int get_chunk(cache_object *self, get_batch *batch, PyObject *result)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    key_chunk *chunk = &batch->chunk;
    batch_out_init(&batch->out, chunk->count);
    forebay_sink sink = { batch_out_room, &batch->out };
    forebay_status status = forebay_get_many(cache, chunk->keys, chunk->count, &sink, chunk->status);
    int outcome = -1;
    if (status == FOREBAY_OK)
        outcome = collect(self, batch, result);
    else
        cache_raise(self, status);
    batch_out_drop(&batch->out);
    return outcome;
}

static int get_chunks(cache_object *self, PyObject *sequence, get_batch *batch, PyObject *result)
{
    Py_ssize_t position = 0;
    int outcome;
    do {
        outcome = chunk_fill(&batch->chunk, &self->state->types, sequence, &position);
        if (outcome == 0)
            outcome = get_chunk(self, batch, result);
        chunk_release(&batch->chunk);
    } while (outcome == 0 && position < PySequence_Fast_GET_SIZE(sequence));
    return outcome;
}

PyObject *cache_find_many(cache_object *self, PyObject *keys, PyObject *absent)
{
    PyObject *sequence = sequence_of_keys(keys, "get_many");
    if (sequence == NULL)
        return NULL;
    get_batch *batch = PyMem_Malloc(sizeof(*batch));
    PyObject *result = PyDict_New();
    if (batch == NULL)
        PyErr_NoMemory();
    else
        batch->absent = absent;
    if (batch == NULL || result == NULL || get_chunks(self, sequence, batch, result) < 0)
        Py_CLEAR(result);
    PyMem_Free(batch);
    Py_DECREF(sequence);
    return result;
}

PyObject *cache_get_many(PyObject *object, PyObject *keys)
{
    return cache_find_many((cache_object *)object, keys, NULL);
}

/* ---- delete_many ---- */

static int delete_chunk(cache_object *self, const key_chunk *chunk, size_t *deleted)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    size_t there;
    forebay_status status = forebay_delete_many(cache, chunk->keys, chunk->count, &there);
    *deleted += there;
    if (status == FOREBAY_OK)
        return 0;
    cache_raise(self, status);
    return -1;
}

static int delete_chunks(cache_object *self, PyObject *sequence, key_chunk *chunk, size_t *deleted)
{
    Py_ssize_t position = 0;
    int outcome;
    do {
        outcome = chunk_fill(chunk, &self->state->types, sequence, &position);
        if (outcome == 0)
            outcome = delete_chunk(self, chunk, deleted);
        chunk_release(chunk);
    } while (outcome == 0 && position < PySequence_Fast_GET_SIZE(sequence));
    return outcome;
}

PyObject *cache_delete_many(PyObject *object, PyObject *keys)
{
    PyObject *sequence = sequence_of_keys(keys, "delete_many");
    if (sequence == NULL)
        return NULL;
    size_t deleted = 0;
    int outcome = -1;
    key_chunk *chunk = PyMem_Malloc(sizeof(*chunk));
    if (chunk == NULL)
        PyErr_NoMemory();
    else
        outcome = delete_chunks((cache_object *)object, sequence, chunk, &deleted);
    PyMem_Free(chunk);
    Py_DECREF(sequence);
    return outcome < 0 ? NULL : PyLong_FromSize_t(deleted);
}
