/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: writes that depend on what is there, and what is not. */
#include "cache_methods.h"
#include "keys.h"
#include "serializer.h"
#include "store_options.h"
#include "value_out.h"

/* ---- touch ---- */

PyObject *cache_touch(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    cache_object *self = (cache_object *)object;
    PyObject *ttl = NULL;
    uint64_t ttl_ms;
    core_key key;
    if (check_positional("touch", count, 1, 1) < 0
        || keywords_from_vector(arguments, count, names, "touch", &(keyword){ "ttl", &ttl }, 1) < 0
        || ttl_from_object(self->state, ttl, &ttl_ms) < 0
        || core_key_encode(&self->state->types, arguments[0], &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_touch(cache, key.data, key.length, ttl_ms);
    core_key_clear(&key);
    if (status == FOREBAY_OK || status == FOREBAY_MISS)
        return PyBool_FromLong(status == FOREBAY_OK);
    return cache_raise(self, status);
}

/* ---- pop ---- */

/* Large values are popped with the GIL: the entry is gone when it is copied, so
 * there is no second try. */
static int pop_key(cache_object *self, const core_key *key, PyObject **value)
{
    value_out out;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    value_out_init(&out, self->arena);
    out.keep_gil = true;
    forebay_sink sink = { value_out_room, &out };
    forebay_status status = forebay_pop(cache, key->data, key->length, &sink);
    if (status == FOREBAY_OK) {
        *value = cache_take(self, &out);
        if (self->serializer.dumps != NULL)
            *value = serializer_load(self, key->data, key->length, out.kind, *value);
        return *value == NULL ? -1 : 0;
    }
    value_out_drop(&out);
    if (status == FOREBAY_MISS)
        return 0;
    cache_raise(self, status);
    return -1;
}

PyObject *cache_pop(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    PyObject *value = NULL;
    if (check_positional("pop", count, 1, 2) < 0 || core_key_encode(&self->state->types, arguments[0], &key) < 0)
        return NULL;
    int outcome = pop_key(self, &key, &value);
    core_key_clear(&key);
    if (outcome < 0 || value != NULL)
        return value;
    return count == 2 ? Py_NewRef(arguments[1]) : core_raise_miss(self->state, arguments[0]);
}

/* ---- gets and cas ---- */

PyObject *cache_gets(PyObject *object, PyObject *argument)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    value_out out;
    if (core_key_encode(&self->state->types, argument, &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL) {
        core_key_clear(&key);
        return NULL;
    }
    value_out_init(&out, self->arena);
    out.keep_gil = true; /* the token is made of what was copied */
    forebay_sink sink = { value_out_room, &out };
    forebay_status status = forebay_get(cache, key.data, key.length, &sink);
    if (status != FOREBAY_OK || out.kind == FOREBAY_KIND_ABSENT) {
        core_key_clear(&key);
        value_out_drop(&out);
        if (status == FOREBAY_OK || status == FOREBAY_MISS)
            return core_raise_miss(self->state, argument);
        return cache_raise(self, status);
    }
    uint64_t token = forebay_token(cache, value_out_data(&out), out.length, out.kind);
    PyObject *value = cache_take(self, &out);
    if (self->serializer.dumps != NULL)
        value = serializer_load(self, key.data, key.length, out.kind, value);
    core_key_clear(&key);
    return value == NULL ? NULL : Py_BuildValue("(NK)", value, (unsigned long long)token);
}

/* Store `value` over the entry with this token: 1, 0 if it is another, -1. */
static int store_over(cache_object *self, const core_key *key, PyObject *value, uint64_t token,
                      const forebay_set_options *options)
{
    core_writer writer;
    core_encoded encoded;
    forebay_status status = FOREBAY_TOOBIG;
    core_writer_init(&writer, NULL, 0, SIZE_MAX);
    int outcome = core_encode_value(&self->state->types, self->encode_hook, value, &writer, &encoded);
    forebay_cache *cache = outcome < 0 ? NULL : cache_handle(self);
    if (cache != NULL && outcome == 0)
        status = forebay_cas(cache, key->data, key->length, token, encoded.data, encoded.length, encoded.kind, options);
    core_writer_clear(&writer);
    if (cache == NULL)
        return -1;
    if (status == FOREBAY_OK)
        cache_note_set(self);
    if (status == FOREBAY_OK || status == FOREBAY_EXISTS || status == FOREBAY_MISS)
        return status == FOREBAY_OK;
    cache_raise_not_stored(self, status);
    return -1;
}

static int serialize_and_store_over(cache_object *self, const core_key *key, PyObject *value, uint64_t token,
                                    const forebay_set_options *options)
{
    if (self->serializer.dumps == NULL)
        return store_over(self, key, value, token, options);
    PyObject *bytes = serializer_dump(self, value);
    if (bytes == NULL)
        return -1;
    int stored = store_over(self, key, bytes, token, options);
    Py_DECREF(bytes);
    return stored;
}

static int token_from_object(PyObject *object, uint64_t *token)
{
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "token must be what gets() gave, an int, not %.100s", Py_TYPE(object)->tp_name);
        return -1;
    }
    *token = PyLong_AsUnsignedLongLong(object);
    return *token == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

PyObject *cache_cas(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    cache_object *self = (cache_object *)object;
    PyObject *ttl = NULL, *tags = NULL;
    const keyword keywords[] = { { "ttl", &ttl }, { "tags", &tags } };
    store_options options;
    core_key key;
    uint64_t token;
    if (check_positional("cas", count, 3, 3) < 0
        || keywords_from_vector(arguments, count, names, "cas", keywords, 2) < 0
        || token_from_object(arguments[2], &token) < 0
        || store_options_init(&options, self->state, ttl, tags, FOREBAY_SET) < 0)
        return NULL;
    int stored = core_key_encode(&self->state->types, arguments[0], &key);
    if (stored == 0) {
        stored = serialize_and_store_over(self, &key, arguments[1], token, &options.library);
        core_key_clear(&key);
    }
    store_options_clear(&options);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

/* ---- get_or_set ---- */

/* Store what `make` is or makes, if nobody did meanwhile; the value that is there then. */
static PyObject *make_and_add(cache_object *self, PyObject *key, PyObject *make, store_options *options)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return NULL;
    store_options_mark(options, cache);
    PyObject *made = PyCallable_Check(make) ? PyObject_CallNoArgs(make) : Py_NewRef(make);
    if (made == NULL)
        return NULL;
    int stored = cache_store(self, key, made, &options->library);
    PyObject *value = NULL;
    if (stored == 0 && (cache_look_up(self, key, &value) < 0 || value != NULL)) {
        Py_DECREF(made);
        return value;
    }
    if (stored < 0)
        Py_CLEAR(made);
    return made == NULL ? NULL : cache_as_read(self, made); /* stored, or others' value has gone again */
}

PyObject *cache_get_or_set(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    cache_object *self = (cache_object *)object;
    PyObject *ttl = NULL, *tags = NULL, *value;
    const keyword keywords[] = { { "ttl", &ttl }, { "tags", &tags } };
    store_options options;
    if (check_positional("get_or_set", count, 2, 2) < 0
        || keywords_from_vector(arguments, count, names, "get_or_set", keywords, 2) < 0
        || cache_look_up(self, arguments[0], &value) < 0)
        return NULL;
    if (value != NULL)
        return value;
    if (store_options_init(&options, self->state, ttl, tags, FOREBAY_ADD) < 0)
        return NULL;
    value = make_and_add(self, arguments[0], arguments[1], &options);
    store_options_clear(&options);
    return value;
}

/* ---- absence ---- */

PyObject *cache_set_absent(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    cache_object *self = (cache_object *)object;
    PyObject *ttl = NULL, *tags = NULL;
    const keyword keywords[] = { { "ttl", &ttl }, { "tags", &tags } };
    store_options options;
    core_key key;
    if (check_positional("set_absent", count, 1, 1) < 0
        || keywords_from_vector(arguments, count, names, "set_absent", keywords, 2) < 0
        || store_options_init(&options, self->state, ttl, tags, FOREBAY_SET) < 0)
        return NULL;
    forebay_status status = FOREBAY_CLOSED;
    int outcome = core_key_encode(&self->state->types, arguments[0], &key);
    if (outcome == 0) {
        forebay_cache *cache = cache_handle(self);
        if (cache != NULL)
            status = forebay_set_with(cache, key.data, key.length, NULL, 0, FOREBAY_KIND_ABSENT, &options.library);
        core_key_clear(&key);
    }
    store_options_clear(&options);
    if (outcome < 0 || PyErr_Occurred())
        return NULL;
    if (status != FOREBAY_OK)
        return cache_raise(self, status);
    Py_RETURN_NONE;
}

PyObject *cache_is_absent(PyObject *object, PyObject *key)
{
    forebay_kind kind;
    int found = cache_find_kind((cache_object *)object, key, &kind);
    return found < 0 ? NULL : PyBool_FromLong(found == 1 && kind == FOREBAY_KIND_ABSENT);
}

/* ---- tags ---- */

PyObject *cache_invalidate_tag(PyObject *object, PyObject *tag)
{
    cache_object *self = (cache_object *)object;
    core_key encoded;
    if (core_key_encode(&self->state->types, tag, &encoded) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_invalidate_tag(cache, encoded.data, encoded.length);
    core_key_clear(&encoded);
    if (status != FOREBAY_OK)
        return cache_raise(self, status);
    Py_RETURN_NONE;
}
