/* SPDX-License-Identifier: Apache-2.0 */
/* Cache.set_many(): everything is encoded before anything is stored. */
#include "arguments.h"
#include "cache_methods.h"
#include "keys.h"
#include "serializer.h"
#include "store_options.h"
#include "value_out.h"

#define RELEASE_COUNT 1024 /* items whose storing lets other threads run */

/* An encoded pair.  Offsets, for the writers' memory moves while they grow. */
typedef struct staged_item {
    size_t key_start, key_length;
    size_t value_start; /* FOREBAY_KIND_MSGPACK */
    const void *plain;  /* FOREBAY_KIND_BYTES: inside an object that `pairs` holds */
    uint8_t integer[8]; /* FOREBAY_KIND_INT */
    size_t value_length;
    forebay_kind kind;
} staged_item;

typedef struct set_batch {
    PyObject *pairs; /* owned list of exact 2-tuples that nobody else has */
    size_t count;
    size_t most;  /* bytes of the largest key and value together */
    size_t bytes; /* of all values */
    core_writer keys, values;
    staged_item *staged; /* owned, as the next two */
    forebay_item *items;
    forebay_status *status;
} set_batch;

static void batch_clear(set_batch *batch)
{
    core_writer_clear(&batch->keys);
    core_writer_clear(&batch->values);
    PyMem_Free(batch->staged);
    PyMem_Free(batch->items);
    PyMem_Free(batch->status);
    Py_CLEAR(batch->pairs);
}

/* Make `*pair` an exact tuple of two. */
static PyObject *pair_of(PyObject *object)
{
    PyObject *pair = PySequence_Tuple(object);
    if (pair == NULL || PyTuple_GET_SIZE(pair) == 2)
        return pair;
    PyErr_Format(PyExc_ValueError, "set_many() takes (key, value) pairs; one has %zd items",
                 PyTuple_GET_SIZE(pair));
    Py_DECREF(pair);
    return NULL;
}

/* A list of our own, of exact pairs. */
static PyObject *list_of_pairs(PyObject *items)
{
    PyObject *list = PyDict_Check(items) || PyObject_HasAttrString(items, "keys") ? PyMapping_Items(items)
                                                                                  : PySequence_List(items);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *pair = pair_of(PyList_GET_ITEM(list, i));
        if (pair == NULL || PyList_SetItem(list, i, pair) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static int batch_init(set_batch *batch, PyObject *items)
{
    *batch = (set_batch){ 0 };
    core_writer_init(&batch->keys, NULL, 0, SIZE_MAX);
    core_writer_init(&batch->values, NULL, 0, SIZE_MAX);
    batch->pairs = list_of_pairs(items);
    if (batch->pairs == NULL)
        return -1;
    batch->count = (size_t)PyList_GET_SIZE(batch->pairs);
    batch->staged = PyMem_Calloc(batch->count, sizeof(*batch->staged));
    batch->items = PyMem_Calloc(batch->count, sizeof(*batch->items));
    batch->status = PyMem_Calloc(batch->count, sizeof(*batch->status));
    if (batch->staged != NULL && batch->items != NULL && batch->status != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static int stage_value(cache_object *self, set_batch *batch, staged_item *staged, PyObject *value)
{
    core_types *types = &self->state->types;
    staged->kind = core_value_kind(value);
    if (staged->kind == FOREBAY_KIND_MSGPACK) {
        staged->value_start = core_writer_length(&batch->values);
        int outcome = core_encode_with(types, self->encode_hook, value, &batch->values);
        staged->value_length = core_writer_length(&batch->values) - staged->value_start;
        return outcome;
    }
    core_writer unused;
    core_encoded encoded;
    core_writer_init(&unused, NULL, 0, SIZE_MAX);
    if (core_encode_value(types, NULL, value, &unused, &encoded) != 0)
        return -1;
    staged->value_length = encoded.length;
    if (staged->kind == FOREBAY_KIND_INT)
        memcpy(staged->integer, encoded.data, sizeof(staged->integer));
    else
        staged->plain = encoded.data;
    return 0;
}

static int refuse_item(cache_object *self, const set_batch *batch)
{
    forebay_error error = { 0 };
    PyOS_snprintf(error.message, sizeof(error.message),
                  "nothing was stored: one key and value take more than the %zu bytes that an entry of this "
                  "arena may have; a larger arena takes larger entries",
                  batch->most);
    core_raise(self->state, FOREBAY_TOOBIG, &error, NULL);
    return -1;
}

static int stage_item(cache_object *self, set_batch *batch, size_t i)
{
    core_types *types = &self->state->types;
    staged_item *staged = &batch->staged[i];
    PyObject *pair = PyList_GET_ITEM(batch->pairs, (Py_ssize_t)i);
    staged->key_start = core_writer_length(&batch->keys);
    if (core_key_append(types, PyTuple_GET_ITEM(pair, 0), &batch->keys) < 0)
        return -1;
    staged->key_length = core_writer_length(&batch->keys) - staged->key_start;
    int outcome = stage_value(self, batch, staged, PyTuple_GET_ITEM(pair, 1));
    if (outcome < 0)
        return -1;
    batch->bytes += staged->value_length;
    if (outcome == CORE_TOO_BIG || staged->key_length + staged->value_length > batch->most)
        return refuse_item(self, batch);
    return 0;
}

/* When the writers' memory no longer moves: addresses for the library. */
static void address_items(set_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const staged_item *staged = &batch->staged[i];
        const void *value = staged->kind == FOREBAY_KIND_BYTES ? staged->plain
                            : staged->kind == FOREBAY_KIND_INT
                                ? (const void *)staged->integer
                                : core_writer_data(&batch->values) + staged->value_start;
        batch->items[i] = (forebay_item){
            .key = { core_writer_data(&batch->keys) + staged->key_start, staged->key_length },
            .value = value,
            .value_length = staged->value_length,
            .kind = staged->kind,
        };
    }
}

/* Attach the keys that were not stored to the exception that is set. */
static void attach_failed_keys(const set_batch *batch)
{
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    PyObject *failed = PyList_New(0);
    for (size_t i = 0; failed != NULL && i < batch->count; i++) {
        if (batch->status[i] == FOREBAY_OK)
            continue;
        if (PyList_Append(failed, PyTuple_GET_ITEM(PyList_GET_ITEM(batch->pairs, (Py_ssize_t)i), 0)) < 0)
            Py_CLEAR(failed);
    }
    if (failed == NULL || PyObject_SetAttrString(exception, "failed_keys", failed) < 0)
        PyErr_Clear(); /* the exception itself matters more */
    Py_XDECREF(failed);
    PyErr_Restore(type, exception, traceback);
}

static PyObject *raise_partly_stored(cache_object *self, const set_batch *batch, forebay_status status)
{
    if (status == FOREBAY_CLOSED)
        return cache_raise(self, status);
    size_t failed = 0;
    for (size_t i = 0; i < batch->count; i++)
        failed += batch->status[i] != FOREBAY_OK;
    forebay_error error = { 0 };
    PyOS_snprintf(error.message, sizeof(error.message), "%zu of %zu values were not stored: %s", failed,
                  batch->count, forebay_status_text(status));
    core_raise(self->state, status, &error, NULL);
    attach_failed_keys(batch);
    return NULL;
}

static PyObject *store_batch(cache_object *self, set_batch *batch, const forebay_set_options *options)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return NULL;
    address_items(batch);
    forebay_status status;
    arena_enter(self->arena);
    bool release = batch->bytes > VALUE_LARGE || batch->count > RELEASE_COUNT;
    PyThreadState *released = release ? PyEval_SaveThread() : NULL;
    status = forebay_set_many(cache, batch->items, batch->count, options, batch->status);
    if (released != NULL)
        PyEval_RestoreThread(released);
    arena_leave(self->arena);
    if (status != FOREBAY_OK)
        return raise_partly_stored(self, batch, status);
    cache_note_set(self);
    Py_RETURN_NONE;
}

/* Put bytes in the place of the pair's value. */
static int serialize_item(cache_object *self, set_batch *batch, size_t i)
{
    PyObject *pair = PyList_GET_ITEM(batch->pairs, (Py_ssize_t)i);
    PyObject *bytes = serializer_dump(self, PyTuple_GET_ITEM(pair, 1));
    PyObject *made = bytes == NULL ? NULL : PyTuple_Pack(2, PyTuple_GET_ITEM(pair, 0), bytes);
    Py_XDECREF(bytes);
    return made == NULL ? -1 : PyList_SetItem(batch->pairs, (Py_ssize_t)i, made);
}

/* Encode all, then store all. */
static PyObject *run_batch(cache_object *self, set_batch *batch, const forebay_set_options *options)
{
    forebay_arena *arena = self->arena->arena;
    if (arena == NULL)
        return arena_raise_closed(self->arena);
    batch->most = (size_t)forebay_arena_max_entry(arena);
    for (size_t i = 0; i < batch->count; i++) {
        if (self->serializer.dumps != NULL && serialize_item(self, batch, i) < 0)
            return NULL;
        if (stage_item(self, batch, i) < 0)
            return NULL;
    }
    return store_batch(self, batch, options);
}

PyObject *cache_set_many(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    cache_object *self = (cache_object *)object;
    PyObject *ttl = NULL, *tags = NULL;
    store_options options;
    const keyword keywords[] = { { "ttl", &ttl }, { "tags", &tags } };
    if (check_positional("set_many", count, 1, 1) < 0
        || keywords_from_vector(arguments, count, names, "set_many", keywords, 2) < 0
        || store_options_init(&options, self->state, ttl, tags, FOREBAY_SET) < 0)
        return NULL;
    set_batch batch;
    PyObject *result = NULL;
    if (batch_init(&batch, arguments[0]) == 0)
        result = run_batch(self, &batch, &options.library);
    batch_clear(&batch);
    store_options_clear(&options);
    return result;
}
