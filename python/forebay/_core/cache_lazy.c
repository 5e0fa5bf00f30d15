/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: reads that do not give plain fresh values.  lazy() gives records, those
 * of hot entries from the memo; decode_hook makes of a value what users want.
 *
 * A value is copied once, into the bytes object that its records keep.  One that is
 * longer than RECORD_COPY_MOST is read where it lies: then they keep a View, which,
 * where the entry is packed, has the value unpacked. */
#include "cache_methods.h"
#include "keys.h"
#include "record.h"
#include "value_out.h"

#define RECORD_COPY_MOST ((size_t)16 << 10) /* bytes: above, a pin costs less than the copy (bench records) */

/* A value on its way out. */
typedef struct lazy_out {
    PyObject *bytes; /* owned; NULL: not asked for yet */
    forebay_kind kind;
    bool too_long;   /* it is to be looked at in place */
} lazy_out;

static void *lazy_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    lazy_out *out = context;
    out->kind = kind;
    out->too_long = length > RECORD_COPY_MOST;
    if (out->too_long)
        return NULL;
    if (out->bytes == NULL || (size_t)PyBytes_GET_SIZE(out->bytes) != length) {
        Py_XDECREF(out->bytes);
        out->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    }
    return out->bytes == NULL ? NULL : PyBytes_AS_STRING(out->bytes);
}

/* The value that the bytes hold, which are taken over. */
static PyObject *value_of_bytes(core_state *state, forebay_kind kind, PyObject *bytes)
{
    if (kind == FOREBAY_KIND_BYTES || bytes == NULL)
        return bytes;
    const char *data = PyBytes_AS_STRING(bytes);
    size_t length = (size_t)PyBytes_GET_SIZE(bytes);
    PyObject *value = kind == FOREBAY_KIND_MSGPACK ? record_of(state, bytes, data, length)
                                                   : value_decode(state, kind, data, length);
    Py_DECREF(bytes);
    return value;
}

static int raise_unless_miss(cache_object *self, forebay_status status)
{
    if (status == FOREBAY_MISS || (status == FOREBAY_OK && !PyErr_Occurred()))
        return 0;
    if (!PyErr_Occurred())
        cache_raise(self, status);
    return -1;
}

/* A long value, in place. */
static int look_in_place(cache_object *self, const void *key, size_t key_length, PyObject **value)
{
    forebay_status status;
    PyObject *view = view_of_key(self, key, key_length, &status);
    if (view == NULL)
        return raise_unless_miss(self, status);
    const forebay_view *seen = view_contents(view);
    if (seen->kind == FOREBAY_KIND_MSGPACK)
        *value = record_of(self->state, view, seen->data, seen->length);
    else
        *value = value_decode(self->state, seen->kind, seen->data, seen->length);
    Py_DECREF(view);
    return *value == NULL ? -1 : 0;
}

/* Get a value, and, where `place` is not NULL, its place.  Inlined: see look_up_bytes(). */
__attribute__((always_inline)) static inline int fetch_lazily(cache_object *self, const void *key, size_t key_length, PyObject **value, forebay_place *place)
{
    forebay_cache *cache = cache_handle(self);
    *value = NULL;
    if (cache == NULL)
        return -1;
    lazy_out out = { .bytes = NULL };
    forebay_sink sink = { lazy_room, &out };
    forebay_status status = place != NULL ? forebay_get_placed(cache, key, key_length, &sink, place)
                                          : forebay_get(cache, key, key_length, &sink);
    if (status == FOREBAY_OK && out.kind != FOREBAY_KIND_ABSENT) {
        *value = value_of_bytes(self->state, out.kind, out.bytes);
        return *value == NULL ? -1 : 0;
    }
    Py_XDECREF(out.bytes);
    if (status != FOREBAY_NOMEM || !out.too_long)
        return raise_unless_miss(self, status);
    if (place != NULL)
        place->slot = NULL; /* what is pinned is not kept: it would stay pinned */
    if (out.kind == FOREBAY_KIND_BYTES)
        return cache_look_up_plain(self, key, key_length, value);
    return look_in_place(self, key, key_length, value);
}

int lazy_look_up_bytes(cache_object *self, const void *key, size_t key_length, PyObject **value)
{
    return fetch_lazily(self, key, key_length, value, NULL);
}

/* Bytes that a value takes, or may come to take: a Record may make an index. */
static size_t value_bytes(const core_state *state, PyObject *value)
{
    if (!record_check(state, value))
        return 128 + (PyUnicode_Check(value)  ? 4 * (size_t)PyUnicode_GET_LENGTH(value)
                      : PyBytes_Check(value) ? (size_t)PyBytes_GET_SIZE(value)
                                             : 0);
    const record_object *record = (const record_object *)value;
    size_t index = Py_IS_TYPE(value, state->record_type) ? 64 + 96 * (size_t)record->count : record->count / 2;
    return sizeof(*record) + 64 + (size_t)PyBytes_GET_SIZE(record->owner) + index;
}

typedef enum recalled { RECALLED, FETCH, FETCH_FOR_MEMO } recalled;

/* A value that is still good, new; or what to do about it. */
static inline recalled recall(memo *memo, forebay_cache *cache, PyObject *key, Py_hash_t hash, PyObject **value)
{
    memo_entry *entry = memo_find(memo, key, hash);
    if (entry == NULL)
        return memo_wants(memo, hash) ? FETCH_FOR_MEMO : FETCH;
    if (entry->value == NULL || !forebay_place_holds(cache, &entry->place))
        return FETCH_FOR_MEMO;
    *value = Py_NewRef(entry->value);
    return RECALLED;
}

/* Get a value and remember it. */
static int fetch_for_memo(cache_object *self, memo *memo, PyObject *memo_key, Py_hash_t hash, const void *key,
                          size_t key_length, PyObject **value)
{
    forebay_place place = { .slot = NULL };
    if (fetch_lazily(self, key, key_length, value, &place) < 0)
        return -1;
    if (*value != NULL && place.slot != NULL && self->cache != NULL)
        memo_put(memo, memo_key, hash, *value, value_bytes(self->state, *value), &place);
    return 0;
}

/* The hash of a key of exact str, int or bytes; -1 if the cache is closed, or for want of memory. */
static inline Py_hash_t hash_of(cache_object *self, PyObject *key)
{
    return cache_handle(self) == NULL ? -1 : PyObject_Hash(key);
}

int lazy_look_up_with(cache_object *self, memo *memo, PyObject *memo_key, const void *key, size_t key_length,
                      PyObject **value)
{
    Py_hash_t hash = hash_of(self, memo_key);
    if (hash == -1)
        return -1;
    recalled outcome = recall(memo, self->cache, memo_key, hash, value);
    if (outcome == RECALLED)
        return 0;
    return outcome == FETCH ? fetch_lazily(self, key, key_length, value, NULL)
                            : fetch_for_memo(self, memo, memo_key, hash, key, key_length, value);
}

int lazy_look_up(cache_object *self, PyObject *key, PyObject **value)
{
    core_key encoded;
    recalled outcome = FETCH;
    Py_hash_t hash = 0;
    if (__builtin_expect(memo_takes(&self->memo, key), 1)) {
        hash = hash_of(self, key);
        if (hash == -1)
            return -1;
        outcome = recall(&self->memo, self->cache, key, hash, value);
        if (__builtin_expect(outcome == RECALLED, 1))
            return 0;
    }
    if (__builtin_expect(self->serializer.dumps != NULL, 0)) /* which leaves no memo either */
        return cache_look_up(self, key, value);
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return -1;
    int done = outcome == FETCH ? fetch_lazily(self, encoded.data, encoded.length, value, NULL)
                                : fetch_for_memo(self, &self->memo, key, hash, encoded.data, encoded.length, value);
    core_key_clear(&encoded);
    return done;
}

PyObject *cache_lazy(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *value, *fallback = Py_None;
    if (__builtin_expect(count != 1 || names != NULL, 0)
        && cache_parse_get(arguments, count, names, "lazy", &fallback) < 0)
        return NULL;
    if (lazy_look_up((cache_object *)object, arguments[0], &value) < 0)
        return NULL;
    return value != NULL ? value : Py_NewRef(fallback);
}

/* ---- what reads of a handle with options give ---- */

PyObject *cache_present(cache_object *self, PyObject *plain)
{
    if (self->decode_hook == NULL || plain == NULL)
        return plain;
    PyObject *hook = Py_NewRef(self->decode_hook);
    PyObject *value = PyObject_CallOneArg(hook, plain);
    Py_DECREF(hook);
    Py_DECREF(plain);
    return value;
}

PyObject *cache_as_read(cache_object *self, PyObject *made)
{
    core_state *state = self->state;
    if (!(self->ways & CACHE_LAZY) || record_check(state, made))
        return made;
    core_writer writer;
    core_writer_init(&writer, NULL, 0, SIZE_MAX);
    PyObject *bytes = NULL;
    if (core_encode_with(&state->types, self->encode_hook, made, &writer) == 0)
        bytes = PyBytes_FromStringAndSize((const char *)core_writer_data(&writer), (Py_ssize_t)core_writer_length(&writer));
    core_writer_clear(&writer);
    PyObject *value = value_of_bytes(state, FOREBAY_KIND_MSGPACK, bytes);
    if (value == NULL && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        Py_DECREF(made);
        return NULL;
    }
    PyErr_Clear(); /* it cannot be stored, and was not */
    if (value == NULL)
        return made;
    Py_DECREF(made);
    return value;
}

PyObject *cache_make_value(cache_object *self, forebay_kind kind, const void *data, size_t length)
{
    if (!(self->ways & CACHE_LAZY) || kind != FOREBAY_KIND_MSGPACK || length == 0 || !fb_pack_may_be_box(*(const uint8_t *)data))
        return cache_present(self, value_decode(self->state, kind, data, length));
    return value_of_bytes(self->state, kind, PyBytes_FromStringAndSize(data, (Py_ssize_t)length));
}

PyObject *cache_take(cache_object *self, value_out *out)
{
    if (self->ways == 0 || out->kind == FOREBAY_KIND_BYTES)
        return cache_present(self, value_out_take(self->state, out));
    PyObject *value = cache_make_value(self, out->kind, value_out_data(out), out->length);
    value_out_drop(out);
    return value;
}
