/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: what tiers need.  Values as they are stored, for a store that other machines
 * read too, and whether what is there is to be believed. */
#include "cache_methods.h"
#include "channel_object.h"
#include "encode.h"
#include "keys.h"
#include "leased_store.h"
#include "serializer.h"
#include "value_out.h"

static PyObject *payload_of(cache_object *self, PyObject *plain)
{
    core_writer writer;
    core_encoded encoded;
    core_writer_init(&writer, NULL, 0, SIZE_MAX);
    PyObject *payload = NULL;
    if (core_encode_value(&self->state->types, self->encode_hook, plain, &writer, &encoded) == 0)
        payload = Py_BuildValue("(iy#)", (int)encoded.kind, (const char *)encoded.data, (Py_ssize_t)encoded.length);
    core_writer_clear(&writer);
    return payload;
}

PyObject *cache_payload(PyObject *object, PyObject *value)
{
    cache_object *self = (cache_object *)object;
    if (value == self->state->absent)
        return Py_BuildValue("(iy#)", (int)FOREBAY_KIND_ABSENT, "", (Py_ssize_t)0);
    PyObject *plain = self->serializer.dumps != NULL ? serializer_dump(self, value) : Py_NewRef(value);
    PyObject *payload = plain == NULL ? NULL : payload_of(self, plain);
    Py_XDECREF(plain);
    return payload;
}

/* A kind that a value has; -1 with ValueError. */
static int check_payload(int kind, Py_ssize_t length)
{
    bool good = kind == FOREBAY_KIND_BYTES || kind == FOREBAY_KIND_MSGPACK || (kind == FOREBAY_KIND_INT && length == 8)
                || (kind == FOREBAY_KIND_ABSENT && length == 0);
    if (good)
        return 0;
    PyErr_Format(PyExc_ValueError, "a payload of %zd bytes has no kind %d", length, kind);
    return -1;
}

PyObject *cache_from_payload(PyObject *object, PyObject *arguments)
{
    cache_object *self = (cache_object *)object;
    PyObject *key, *bytes;
    int kind;
    core_key encoded;
    if (!PyArg_ParseTuple(arguments, "OiS:_from_payload", &key, &kind, &bytes) || check_payload(kind, PyBytes_GET_SIZE(bytes)) < 0)
        return NULL;
    if (kind == FOREBAY_KIND_ABSENT)
        return Py_NewRef(self->state->absent);
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return NULL;
    PyObject *value = kind == FOREBAY_KIND_BYTES ? Py_NewRef(bytes)
                                                 : value_decode(self->state, (forebay_kind)kind, PyBytes_AS_STRING(bytes),
                                                                (size_t)PyBytes_GET_SIZE(bytes));
    if (self->serializer.dumps != NULL)
        value = serializer_load(self, encoded.data, encoded.length, (forebay_kind)kind, value);
    else if (value != NULL && (self->ways & CACHE_LAZY) && kind != FOREBAY_KIND_BYTES) /* it could be decoded */
        Py_SETREF(value, cache_make_value(self, (forebay_kind)kind, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)));
    else if (value != NULL && (self->ways & CACHE_DECODE_HOOK))
        value = cache_present(self, value);
    core_key_clear(&encoded);
    return value;
}

int leased_store_payload(const leased_store *s, PyObject *payload)
{
    int kind;
    PyObject *bytes;
    int stored = -1;
    if (PyArg_ParseTuple(payload, "iS", &kind, &bytes) && check_payload(kind, PyBytes_GET_SIZE(bytes)) == 0)
        stored = leased_store_bytes(s, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes), (forebay_kind)kind);
    if (stored < 0)
        leased_store_failed(s);
    return stored;
}

PyObject *cache_follow(PyObject *object, PyObject *arguments)
{
    cache_object *self = (cache_object *)object;
    PyObject *channel, *most_behind;
    unsigned long long ms = UINT64_MAX;
    if (!PyArg_ParseTuple(arguments, "O!O:_follow", self->state->channel_type, &channel, &most_behind))
        return NULL;
    if (most_behind != Py_None && (ms = PyLong_AsUnsignedLongLong(most_behind)) == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    forebay_cache *cache = cache_handle(self);
    const forebay_channel *handle = cache == NULL ? NULL : channel_handle(channel);
    if (handle == NULL)
        return NULL;
    forebay_status status = forebay_cache_follow(cache, handle, ms);
    if (status == FOREBAY_OK)
        Py_RETURN_NONE;
    if (status != FOREBAY_CONFLICT)
        return cache_raise(self, status);
    forebay_error error = { 0 };
    (void)snprintf(error.message, sizeof error.message, "the cache '%s' follows another tier or bus, which processes listen to now: "
                   "all are to open it with the same", forebay_cache_name(cache));
    return core_raise(self->state, status, &error, self->arena->path);
}

static void *room_for_payload(void *context, size_t item, size_t length, forebay_kind kind)
{
    PyObject **bytes = context;
    Py_XSETREF(bytes[0], PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length));
    Py_XSETREF(bytes[1], PyLong_FromLong(kind));
    return bytes[0] == NULL || bytes[1] == NULL ? NULL : PyBytes_AS_STRING(bytes[0]);
}

PyObject *cache_stored(PyObject *object, PyObject *argument)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    PyObject *bytes[2] = { NULL, NULL }; /* and the kind */
    uint64_t left_ms = FOREBAY_TTL_FOREVER;
    if (core_key_encode(&self->state->types, argument, &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_get(cache, key.data, key.length, &(forebay_sink){ room_for_payload, bytes });
    if (status == FOREBAY_OK)
        status = forebay_ttl_left(cache, key.data, key.length, &left_ms);
    core_key_clear(&key);
    PyObject *stored = NULL;
    if (PyErr_Occurred())
        stored = NULL;
    else if (status == FOREBAY_MISS)
        stored = Py_NewRef(Py_None);
    else if (status != FOREBAY_OK)
        stored = cache_raise(self, status);
    else if (left_ms == FOREBAY_TTL_FOREVER)
        stored = Py_BuildValue("(OOO)", bytes[1], bytes[0], Py_None);
    else
        stored = Py_BuildValue("(OOd)", bytes[1], bytes[0], (double)left_ms / 1000);
    Py_XDECREF(bytes[0]);
    Py_XDECREF(bytes[1]);
    return stored;
}

PyObject *cache_expel(PyObject *object, PyObject *argument)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    if (core_key_encode(&self->state->types, argument, &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_expel(cache, key.data, key.length);
    core_key_clear(&key);
    return status == FOREBAY_OK || status == FOREBAY_MISS ? PyBool_FromLong(status == FOREBAY_OK) : cache_raise(self, status);
}

PyObject *cache_lease_token(PyObject *object, PyObject *argument)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    forebay_lease lease;
    if (core_key_encode(&self->state->types, argument, &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_lease_look(cache, key.data, key.length, &lease);
    core_key_clear(&key);
    if (status == FOREBAY_OK)
        return PyLong_FromUnsignedLongLong(lease.token);
    return status == FOREBAY_MISS ? Py_NewRef(Py_None) : cache_raise(self, status);
}

PyObject *cache_dictionary_id(PyObject *object, PyObject *unused)
{
    forebay_cache *cache = cache_handle((cache_object *)object);
    return cache == NULL ? NULL : PyLong_FromUnsignedLong(forebay_cache_dictionary_id(cache));
}

PyObject *cache_dictionary(PyObject *object, PyObject *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    void *bytes;
    size_t length;
    const char *codec;
    uint32_t id;
    if (cache == NULL)
        return NULL;
    forebay_status status = forebay_cache_dictionary(cache, &bytes, &length, &codec, &id);
    if (status == FOREBAY_MISS)
        Py_RETURN_NONE;
    if (status != FOREBAY_OK)
        return cache_raise(self, status);
    PyObject *dictionary = Py_BuildValue("(ksy#)", (unsigned long)id, codec, (const char *)bytes, (Py_ssize_t)length);
    free(bytes);
    return dictionary;
}
