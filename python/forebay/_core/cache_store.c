/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: what changes one key. */
#include "arguments.h"
#include "cache_methods.h"
#include "keys.h"
#include "serializer.h"
#include "store_options.h"
#include "value_out.h"

#define GUESS_LEAST 64u
#define GUESS_MOST                                                                                           \
    4096u /* longer values are encoded on the heap: room that stays unused is lost at a segment's end */

/* Follow the sizes of values, up faster than down: about 4 in 5 then fit the
 * room that is asked for. */
static void note_length(cache_object *self, size_t length)
{
    size_t wanted = length + GUESS_LEAST;
    size_t guess = self->value_guess;
    guess = wanted > guess ? guess + (wanted - guess + 3) / 4 : guess - (guess - wanted) / 16;
    self->value_guess = guess < GUESS_MOST ? guess : GUESS_MOST;
}

/* A value on its way into the cache. */
typedef struct store_request {
    cache_object *self;
    forebay_cache *cache; /* valid until arena_leave() */
    const core_key *key;
    PyObject *value;
    const forebay_set_options *options;
    size_t limit; /* most bytes of the encoded value */
} store_request;

/* Store bytes that lie outside the arena; large ones without the GIL. */
static forebay_status store_bytes(const store_request *request, const void *data, size_t length,
                                  forebay_kind kind)
{
    forebay_status status;
    PyThreadState *released = length > VALUE_LARGE ? PyEval_SaveThread() : NULL;
    status = forebay_set_with(request->cache, request->key->data, request->key->length, data, length, kind,
                              request->options);
    if (released != NULL)
        PyEval_RestoreThread(released);
    return status;
}

/* The value cannot be stored at all: no stale one may stay in its place. */
static forebay_status refuse_too_big(const store_request *request)
{
    if (request->options->mode == FOREBAY_SET)
        (void)forebay_delete(request->cache, request->key->data, request->key->length);
    return FOREBAY_TOOBIG;
}

/* Encode outside of the arena, then store: for long values, for those that are to
 * be packed, and where no room was found. */
static int store_by_heap(const store_request *request, forebay_status *status)
{
    core_writer writer;
    uint8_t buffer[GUESS_MOST];
    size_t room = request->limit < sizeof(buffer) ? request->limit : sizeof(buffer);
    core_writer_init(&writer, buffer, room, request->limit);
    int outcome = core_encode_with(&request->self->state->types, request->self->encode_hook, request->value, &writer);
    if (outcome == 0) {
        size_t length = core_writer_length(&writer);
        *status = store_bytes(request, core_writer_data(&writer), length, FOREBAY_KIND_MSGPACK);
        note_length(request->self, length);
    } else if (outcome == CORE_TOO_BIG) {
        *status = refuse_too_big(request);
    }
    core_writer_clear(&writer);
    return outcome < 0 ? -1 : 0;
}

/* End a put whose value was encoded into its room, or beyond it on the heap. */
static forebay_status finish_put(const store_request *request, forebay_put *put, const core_writer *writer)
{
    size_t length = core_writer_length(writer);
    note_length(request->self, length);
    if (writer->heap == NULL)
        return forebay_put_commit(request->cache, put, length, FOREBAY_KIND_MSGPACK, request->options->mode);
    forebay_put_abort(request->cache, put);
    return store_bytes(request, writer->heap, length, FOREBAY_KIND_MSGPACK);
}

/* Encode a value straight into the arena. */
static int store_encoded(const store_request *request, forebay_status *status)
{
    forebay_put put;
    size_t guess = request->self->value_guess;
    if (guess >= GUESS_MOST || request->self->packs)
        return store_by_heap(request, status);
    *status = forebay_put_begin(request->cache, request->key->data, request->key->length, guess,
                                request->options, &put);
    if (*status == FOREBAY_FULL || *status == FOREBAY_TOOBIG)
        return store_by_heap(request, status); /* less than the guess may fit */
    if (*status != FOREBAY_OK)
        return 0;
    core_writer writer;
    size_t capacity = put.capacity < request->limit ? put.capacity : request->limit;
    core_writer_init(&writer, put.data, capacity, request->limit);
    int outcome = core_encode_with(&request->self->state->types, request->self->encode_hook, request->value, &writer);
    if (outcome == 0)
        *status = finish_put(request, &put, &writer);
    else
        forebay_put_abort(request->cache, &put);
    if (outcome == CORE_TOO_BIG)
        *status = refuse_too_big(request);
    core_writer_clear(&writer);
    return outcome < 0 ? -1 : 0;
}

/* Bytes and ints are stored as they are. */
static int store_plain(const store_request *request, forebay_status *status)
{
    core_writer unused;
    core_encoded encoded;
    core_writer_init(&unused, NULL, 0, request->limit);
    int outcome = core_encode_value(&request->self->state->types, request->self->encode_hook, request->value, &unused, &encoded);
    if (outcome == 0)
        *status = store_bytes(request, encoded.data, encoded.length, encoded.kind);
    else if (outcome == CORE_TOO_BIG)
        *status = refuse_too_big(request);
    return outcome < 0 ? -1 : 0;
}

static int store_with_key(cache_object *self, const core_key *key, PyObject *value,
                          const forebay_set_options *options, forebay_status *status)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    uint64_t most = forebay_arena_max_entry(self->arena->arena);
    store_request request = {
        self, cache, key, value, options, most > key->length ? most - key->length : 0
    };
    arena_enter(self->arena); /* encoding may run Python code, which may close the arena */
    int outcome = core_value_kind(value) == FOREBAY_KIND_MSGPACK ? store_encoded(&request, status)
                                                                 : store_plain(&request, status);
    arena_leave(self->arena);
    return outcome;
}

void cache_raise_not_stored(cache_object *self, forebay_status status)
{
    forebay_error error = { 0 };
    if (status == FOREBAY_TOOBIG && self->arena->arena != NULL)
        PyOS_snprintf(error.message, sizeof(error.message),
                      "key and value take more than the %llu bytes that an entry of this arena may have; "
                      "a larger arena takes larger entries",
                      (unsigned long long)forebay_arena_max_entry(self->arena->arena));
    if (error.message[0] != '\0')
        core_raise(self->state, status, &error, NULL);
    else
        cache_raise(self, status);
}

void cache_log_trained(cache_object *self)
{
    forebay_trained trained;
    if (self->arena->arena == NULL || self->cache == NULL || !forebay_cache_trained(self->cache, &trained))
        return;
    PyObject *module = PyImport_ImportModule("forebay._log");
    PyObject *done = module == NULL ? NULL
                                    : PyObject_CallMethod(module, "dictionary_trained", "OII", self->name,
                                                          trained.dictionary, trained.ratio);
    if (done == NULL)
        PyErr_WriteUnraisable((PyObject *)self); /* what was set is set */
    Py_XDECREF(done);
    Py_XDECREF(module);
}

static int store_value(cache_object *self, PyObject *key, PyObject *value, const forebay_set_options *options)
{
    core_key encoded;
    forebay_status status = FOREBAY_OK;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return -1;
    int outcome = store_with_key(self, &encoded, value, options, &status);
    core_key_clear(&encoded);
    if (outcome < 0)
        return -1;
    if (__builtin_expect(status == FOREBAY_OK, 1)) {
        cache_note_set(self);
        return 1;
    }
    if (status == FOREBAY_EXISTS || status == FOREBAY_MISS)
        return 0;
    cache_raise_not_stored(self, status);
    return -1;
}

int cache_store(cache_object *self, PyObject *key, PyObject *value, const forebay_set_options *options)
{
    if (__builtin_expect(self->serializer.dumps == NULL, 1))
        return store_value(self, key, value, options);
    PyObject *bytes = serializer_dump(self, value);
    if (bytes == NULL)
        return -1;
    int stored = store_value(self, key, bytes, options);
    Py_DECREF(bytes);
    return stored;
}

/* set, add and replace differ in mode and result only. */
static int store_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names,
                      const char *function, forebay_set_mode mode)
{
    cache_object *self = (cache_object *)object;
    if (check_positional(function, count, 2, 2) < 0)
        return -1;
    if (names == NULL)
        return cache_store(self, arguments[0], arguments[1], &(forebay_set_options){ .mode = mode });
    PyObject *ttl = NULL, *tags = NULL;
    store_options options;
    const keyword keywords[] = { { "ttl", &ttl }, { "tags", &tags } };
    if (keywords_from_vector(arguments, count, names, function, keywords, 2) < 0
        || store_options_init(&options, self->state, ttl, tags, mode) < 0)
        return -1;
    int stored = cache_store(self, arguments[0], arguments[1], &options.library);
    store_options_clear(&options);
    return stored;
}

PyObject *cache_set(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    if (store_call(self, arguments, count, names, "set", FOREBAY_SET) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *cache_add(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    int stored = store_call(self, arguments, count, names, "add", FOREBAY_ADD);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

PyObject *cache_replace(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    int stored = store_call(self, arguments, count, names, "replace", FOREBAY_REPLACE);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

/* 1: there was one; 0: none; -1: exception. */
static int delete_key(cache_object *self, PyObject *key)
{
    core_key encoded;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return -1;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_delete(cache, encoded.data, encoded.length);
    core_key_clear(&encoded);
    if (status == FOREBAY_OK || status == FOREBAY_MISS)
        return status == FOREBAY_OK;
    cache_raise(self, status);
    return -1;
}

PyObject *cache_delete(PyObject *self, PyObject *key)
{
    int found = delete_key((cache_object *)self, key);
    return found < 0 ? NULL : PyBool_FromLong(found);
}

int cache_assign(PyObject *object, PyObject *key, PyObject *value)
{
    cache_object *self = (cache_object *)object;
    if (value != NULL)
        return cache_store(self, key, value, &(forebay_set_options){ .mode = FOREBAY_SET }) < 0 ? -1 : 0;
    int found = delete_key(self, key);
    if (found == 0)
        core_raise_miss(self->state, key);
    return found == 1 ? 0 : -1;
}

/* An int argument of 64 bits. */
static int take_int64(PyObject *object, const char *what, int64_t *value)
{
    if (object == NULL)
        return 0;
    PyObject *integer = PyNumber_Index(object);
    if (integer == NULL)
        return -1;
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(integer, &overflow);
    Py_DECREF(integer);
    if (overflow == 0)
        return 0;
    PyErr_Format(PyExc_OverflowError, "%s does not fit 64 bits", what);
    return -1;
}

typedef struct incr_request {
    int64_t delta, initial;
    uint64_t ttl_ms;
} incr_request;

static PyObject *incr_key(cache_object *self, PyObject *key, const incr_request *request)
{
    core_key encoded;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    int64_t result = 0;
    if (cache != NULL)
        status = forebay_incr(cache, encoded.data, encoded.length, request->delta, request->initial,
                              request->ttl_ms, &result);
    core_key_clear(&encoded);
    return status == FOREBAY_OK ? PyLong_FromLongLong(result) : cache_raise(self, status);
}

static int parse_incr(cache_object *self, PyObject *arguments, PyObject *keywords, const char *format,
                      PyObject **key, incr_request *request)
{
    static char *const names[] = { "", "", "initial", "ttl", NULL };
    PyObject *delta = NULL, *initial = NULL, *ttl = NULL;
    *request = (incr_request){ .delta = 1 };
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, format, (char **)names, key, &delta, &initial,
                                     &ttl))
        return -1;
    if (take_int64(delta, "delta", &request->delta) < 0
        || take_int64(initial, "initial", &request->initial) < 0)
        return -1;
    return ttl_from_object(self->state, ttl, &request->ttl_ms);
}

PyObject *cache_incr(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    cache_object *self = (cache_object *)object;
    PyObject *key;
    incr_request request;
    if (parse_incr(self, arguments, keywords, "O|O$OO:incr", &key, &request) < 0)
        return NULL;
    return incr_key(self, key, &request);
}

PyObject *cache_decr(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    cache_object *self = (cache_object *)object;
    PyObject *key;
    incr_request request;
    if (parse_incr(self, arguments, keywords, "O|O$OO:decr", &key, &request) < 0)
        return NULL;
    if (request.delta == INT64_MIN) {
        PyErr_SetString(PyExc_OverflowError, "delta does not fit 64 bits");
        return NULL;
    }
    request.delta = -request.delta;
    return incr_key(self, key, &request);
}
