/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: looks for forebay._loading, which wants to know of absence, too.  The first
 * look of a call counts as a get; what looks again after a load, or under a lease,
 * peeks: one fetch is one hit or one miss, and a value that was just loaded has not
 * been used twice. */
#include "cache_methods.h"
#include "keys.h"
#include "serializer.h"
#include "value_out.h"

PyObject *cache_look(PyObject *object, PyObject *key)
{
    cache_object *self = (cache_object *)object;
    core_key encoded;
    PyObject *value = NULL;
    if (cache_look_up(self, key, &value) < 0 || value != NULL)
        return value;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return NULL;
    forebay_kind kind;
    int found = cache_peek_kind(self, encoded.data, encoded.length, &kind);
    core_key_clear(&encoded);
    if (found < 0)
        return NULL;
    return Py_NewRef(found == 1 && kind == FOREBAY_KIND_ABSENT ? self->state->absent : self->state->missing);
}

PyObject *cache_look_many(PyObject *object, PyObject *keys)
{
    if (!PyList_CheckExact(keys))
        return PyErr_Format(PyExc_TypeError, "_look_many() takes a list of keys");
    cache_object *self = (cache_object *)object;
    return cache_find_many(self, keys, self->state->absent);
}

/* ---- peeks ---- */

typedef struct noted_kind {
    forebay_kind kind;
    bool is_there;
} noted_kind;

/* A sink that takes no value. */
static void *note_kind(void *context, size_t item, size_t length, forebay_kind kind)
{
    (void)item, (void)length;
    *(noted_kind *)context = (noted_kind){ kind, true };
    return NULL;
}

int cache_peek_kind(cache_object *self, const void *key, size_t key_length, forebay_kind *kind)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    noted_kind noted = { .is_there = false };
    forebay_sink sink = { note_kind, &noted };
    forebay_status status = forebay_peek(cache, key, key_length, &sink);
    *kind = noted.kind;
    if (status == FOREBAY_MISS)
        return 0;
    if (status == FOREBAY_NOMEM && noted.is_there)
        return 1;
    cache_raise(self, status);
    return -1;
}

static forebay_status peek_once(cache_object *self, const core_key *key, value_out *out)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return FOREBAY_CLOSED;
    forebay_sink sink = { value_out_room, out };
    forebay_status status = forebay_peek(cache, key->data, key->length, &sink);
    value_out_after_get(out);
    return status;
}

/* What get() would give, or ABSENT, or MISSING. */
static PyObject *peek(cache_object *self, const core_key *key)
{
    value_out out;
    if (cache_handle(self) == NULL)
        return NULL;
    value_out_init(&out, self->arena);
    forebay_status status = peek_once(self, key, &out);
    if (out.keep_gil) /* a large value changed its size while the GIL was released */
        status = peek_once(self, key, &out);
    if (status == FOREBAY_OK && out.kind != FOREBAY_KIND_ABSENT) {
        forebay_kind kind = out.kind;
        PyObject *value = cache_take(self, &out);
        return self->serializer.dumps == NULL ? value : serializer_load(self, key->data, key->length, kind, value);
    }
    value_out_drop(&out);
    if (status == FOREBAY_OK)
        return Py_NewRef(self->state->absent);
    return status == FOREBAY_MISS ? Py_NewRef(self->state->missing) : cache_raise(self, status);
}

PyObject *cache_peek(PyObject *object, PyObject *key)
{
    cache_object *self = (cache_object *)object;
    core_key encoded;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return NULL;
    PyObject *value = peek(self, &encoded);
    core_key_clear(&encoded);
    return value;
}
