/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: loading what is missing.  Hits of fetch() are here, and what
 * forebay._loading needs: leases.  Looks: cache_looks.c. */
#include "cache_methods.h"
#include "keys.h"
#include "leased_store.h"
#include "serializer.h"
#include "store_options.h"

#define LOADING "forebay._loading"

PyObject *cache_ttl_left(PyObject *object, PyObject *argument)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    uint64_t ms = 0;
    if (core_key_encode(&self->state->types, argument, &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_ttl_left(cache, key.data, key.length, &ms);
    core_key_clear(&key);
    if (status == FOREBAY_OK && ms == FOREBAY_TTL_FOREVER)
        Py_RETURN_NONE;
    if (status == FOREBAY_OK)
        return PyLong_FromUnsignedLongLong(ms);
    return status == FOREBAY_MISS ? PyLong_FromLong(-1) : cache_raise(self, status);
}

PyObject *cache_key_bytes(PyObject *object, PyObject *argument)
{
    core_key key;
    if (core_key_encode(&((cache_object *)object)->state->types, argument, &key) < 0)
        return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)key.data, (Py_ssize_t)key.length);
    core_key_clear(&key);
    return bytes;
}

/* ---- leases: as Python has them, bytes ---- */

int lease_from_object(PyObject *object, lease_bytes *out, size_t *marks)
{
    size_t size = PyBytes_CheckExact(object) ? (size_t)PyBytes_GET_SIZE(object) : 0;
    if (size < sizeof(out->lease) || size > sizeof(*out) || (size - sizeof(out->lease)) % sizeof(uint64_t) != 0) {
        PyErr_SetString(PyExc_TypeError, "a lease is what _lease_take() gave");
        return -1;
    }
    memcpy(out, PyBytes_AS_STRING(object), size);
    *marks = (size - sizeof(out->lease)) / sizeof(uint64_t);
    return 0;
}

PyObject *lease_to_object(const lease_bytes *lease, size_t marks)
{
    return PyBytes_FromStringAndSize((const char *)lease, (Py_ssize_t)(sizeof(lease->lease) + marks * sizeof(uint64_t)));
}

forebay_status lease_take(cache_object *self, const core_key *key, uint64_t timeout_ms, store_options *options, lease_bytes *taken)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return FOREBAY_CLOSED;
    store_options_mark(options, cache); /* before the lease, and so before the load */
    memcpy(taken->marks, options->marks, options->library.tag_count * sizeof(uint64_t));
    forebay_status status = forebay_lease_take(cache, key->data, key->length, timeout_ms, &taken->lease);
    if (status != FOREBAY_OK && status != FOREBAY_EXISTS && status != FOREBAY_FULL)
        cache_raise(self, status);
    return status;
}

static PyObject *take_lease(cache_object *self, PyObject *key, uint64_t timeout_ms, store_options *options)
{
    core_key encoded;
    lease_bytes taken;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return NULL;
    forebay_status status = lease_take(self, &encoded, timeout_ms, options, &taken);
    core_key_clear(&encoded);
    if (PyErr_Occurred())
        return NULL;
    return Py_BuildValue("(iN)", status == FOREBAY_OK ? 1 : status == FOREBAY_EXISTS ? 0 : -1,
                         lease_to_object(&taken, options->library.tag_count));
}

PyObject *cache_lease_take(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *const names[] = { "", "", "tags", NULL };
    cache_object *self = (cache_object *)object;
    PyObject *key, *tags = NULL;
    unsigned long long timeout_ms;
    store_options options;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OK|$O:_lease_take", (char **)names, &key, &timeout_ms, &tags)
        || store_options_init(&options, self->state, NULL, tags, FOREBAY_SET) < 0)
        return NULL;
    PyObject *result = take_lease(self, key, timeout_ms, &options);
    store_options_clear(&options);
    return result;
}

#define WAIT_SLICE_MS 100u /* then a look at the arena: another thread may have closed it */

static forebay_status wait_slice(cache_object *self, const forebay_lease *lease, uint32_t ms)
{
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return FOREBAY_CLOSED;
    if (ms == 0)
        return forebay_lease_wait(cache, lease, 0);
    forebay_status status;
    arena_enter(self->arena);
    Py_BEGIN_ALLOW_THREADS status = forebay_lease_wait(cache, lease, ms);
    Py_END_ALLOW_THREADS arena_leave(self->arena);
    return status;
}

PyObject *cache_lease_wait(PyObject *object, PyObject *arguments)
{
    cache_object *self = (cache_object *)object;
    lease_bytes lease;
    size_t marks;
    PyObject *bytes;
    unsigned int timeout_ms;
    if (!PyArg_ParseTuple(arguments, "OI:_lease_wait", &bytes, &timeout_ms) || lease_from_object(bytes, &lease, &marks) < 0)
        return NULL;
    forebay_status status;
    do {
        uint32_t slice = timeout_ms < WAIT_SLICE_MS ? timeout_ms : WAIT_SLICE_MS;
        status = wait_slice(self, &lease.lease, slice);
        timeout_ms -= slice;
        if (PyErr_Occurred() || PyErr_CheckSignals() < 0)
            return NULL;
    } while ((status == FOREBAY_TIMEOUT && timeout_ms != 0) || status == FOREBAY_INTERRUPTED);
    if (status == FOREBAY_OK || status == FOREBAY_TIMEOUT)
        return PyBool_FromLong(status == FOREBAY_OK);
    return cache_raise(self, status);
}

PyObject *cache_lease_holds(PyObject *object, PyObject *bytes)
{
    cache_object *self = (cache_object *)object;
    lease_bytes lease;
    size_t marks;
    forebay_cache *cache = lease_from_object(bytes, &lease, &marks) < 0 ? NULL : cache_handle(self);
    return cache == NULL ? NULL : PyBool_FromLong(forebay_lease_holds(cache, &lease.lease));
}

PyObject *cache_lease_end(PyObject *object, PyObject *bytes)
{
    cache_object *self = (cache_object *)object;
    lease_bytes lease;
    size_t marks;
    if (lease_from_object(bytes, &lease, &marks) < 0)
        return NULL;
    if (self->cache != NULL) /* a closed arena has no leases of ours */
        forebay_lease_end(self->cache, &lease.lease);
    Py_RETURN_NONE;
}

PyObject *cache_lease_fail(PyObject *object, PyObject *arguments)
{
    cache_object *self = (cache_object *)object;
    lease_bytes lease;
    size_t marks;
    PyObject *bytes;
    const char *reason;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(arguments, "Oy#:_lease_fail", &bytes, &reason, &length)
        || lease_from_object(bytes, &lease, &marks) < 0)
        return NULL;
    if (self->cache != NULL)
        forebay_lease_fail(self->cache, &lease.lease, reason, (size_t)length);
    Py_RETURN_NONE;
}

PyObject *cache_lease_reason(PyObject *object, PyObject *bytes)
{
    cache_object *self = (cache_object *)object;
    lease_bytes lease;
    size_t marks, length;
    char reason[FOREBAY_LEASE_REASON_MAX];
    forebay_cache *cache = lease_from_object(bytes, &lease, &marks) < 0 ? NULL : cache_handle(self);
    if (cache == NULL)
        return NULL;
    forebay_status status = forebay_lease_reason(cache, &lease.lease, reason, &length);
    if (status == FOREBAY_OK)
        return PyBytes_FromStringAndSize(reason, (Py_ssize_t)length);
    if (status != FOREBAY_MISS)
        return cache_raise(self, status);
    Py_RETURN_NONE;
}

PyObject *cache_lease_break(PyObject *object, PyObject *argument)
{
    cache_object *self = (cache_object *)object;
    core_key key;
    if (core_key_encode(&self->state->types, argument, &key) < 0)
        return NULL;
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_lease_break(cache, key.data, key.length);
    core_key_clear(&key);
    return status == FOREBAY_OK || status == FOREBAY_MISS ? PyBool_FromLong(status == FOREBAY_OK) : cache_raise(self, status);
}

/* ---- storing under a lease ---- */

int leased_store_bytes(const leased_store *s, const void *data, size_t length, forebay_kind kind)
{
    core_key key;
    if (core_key_encode(&s->self->state->types, s->key, &key) < 0)
        return -1;
    forebay_cache *cache = cache_handle(s->self);
    forebay_status status = FOREBAY_CLOSED;
    if (cache != NULL)
        status = forebay_lease_store(cache, s->lease, key.data, key.length, data, length, kind, s->options);
    core_key_clear(&key);
    if (status == FOREBAY_OK)
        cache_note_set(s->self);
    if (status == FOREBAY_OK || status == FOREBAY_MISS)
        return status == FOREBAY_OK;
    cache_raise_not_stored(s->self, status);
    return -1;
}

static int store_plain(const leased_store *s, PyObject *value)
{
    core_writer writer;
    core_encoded encoded;
    core_writer_init(&writer, NULL, 0, (size_t)forebay_arena_max_entry(s->self->arena->arena));
    int outcome = core_encode_value(&s->self->state->types, s->self->encode_hook, value, &writer, &encoded);
    if (outcome == 0)
        outcome = leased_store_bytes(s, encoded.data, encoded.length, encoded.kind);
    else if (outcome == CORE_TOO_BIG)
        cache_raise_not_stored(s->self, FOREBAY_TOOBIG);
    core_writer_clear(&writer);
    return PyErr_Occurred() ? -1 : outcome;
}

static int store_value(const leased_store *s, PyObject *value)
{
    if (cache_handle(s->self) == NULL)
        return -1;
    if (value == s->self->state->absent)
        return leased_store_bytes(s, NULL, 0, FOREBAY_KIND_ABSENT);
    arena_enter(s->self->arena); /* encoding may run Python code, which may close the arena */
    PyObject *plain = s->self->serializer.dumps != NULL ? serializer_dump(s->self, value) : Py_NewRef(value);
    int stored = plain == NULL ? -1 : store_plain(s, plain);
    arena_leave(s->self->arena);
    Py_XDECREF(plain);
    return stored;
}

/* Whatever failed: it may not have come to the store. */
void leased_store_failed(const leased_store *s)
{
    if (s->self->cache == NULL) /* a closed arena has no leases of ours */
        return;
    if (PyErr_ExceptionMatches(s->self->state->errors[CORE_TOO_BIG_ERROR]))
        forebay_lease_fail(s->self->cache, s->lease, "", 0);
    else
        forebay_lease_end(s->self->cache, s->lease);
}

int leased_store_value(const leased_store *s, PyObject *value)
{
    int stored = store_value(s, value);
    if (stored < 0)
        leased_store_failed(s);
    return stored;
}

PyObject *cache_lease_store(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *const names[] = { "", "", "", "ttl", "tags", NULL };
    cache_object *self = (cache_object *)object;
    PyObject *key, *value, *bytes, *ttl = NULL, *tags = NULL;
    lease_bytes lease;
    size_t marks;
    store_options options;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOO|$OO:_lease_store", (char **)names, &key, &value, &bytes, &ttl, &tags)
        || lease_from_object(bytes, &lease, &marks) < 0)
        return NULL;
    leased_store s = { self, key, &lease.lease, &options.library };
    if (store_options_init(&options, self->state, ttl, tags, FOREBAY_SET) < 0) {
        leased_store_failed(&s);
        return NULL;
    }
    if (marks != 0 && marks == options.library.tag_count)
        options.library.tag_marks = lease.marks;
    int stored = leased_store_value(&s, value);
    store_options_clear(&options);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

/* ---- what is Python ---- */

/* LOADING.NAME(self, ...), for a vectorcall's arguments. */
static PyObject *call_loading(PyObject *self, const char *name, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t all = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    PyObject *module = PyImport_ImportModule(LOADING);
    PyObject *function = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    PyObject **with_self = function == NULL ? NULL : PyMem_New(PyObject *, (size_t)all + 1);
    PyObject *result = NULL;
    if (with_self != NULL) {
        with_self[0] = self;
        memcpy(with_self + 1, arguments, (size_t)all * sizeof(PyObject *));
        result = PyObject_Vectorcall(function, with_self, (size_t)count + 1, names);
    } else if (function != NULL) {
        PyErr_NoMemory();
    }
    PyMem_Free(with_self);
    Py_XDECREF(function);
    Py_XDECREF(module);
    return result;
}

PyObject *cache_fetch(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    cache_object *self = (cache_object *)object;
    PyObject *value = NULL;
    /* a hit needs no loader, unless that may want to load before its time */
    if (self->loading != NULL && !self->refreshes && count >= 1 && cache_look_up(self, arguments[0], &value) < 0)
        return NULL;
    return value != NULL ? value : call_loading(object, "fetch", arguments, count, names);
}

#define PYTHON_METHOD(method)                                                                                          \
    PyObject *cache_##method(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)            \
    {                                                                                                                  \
        return call_loading(self, #method, arguments, count, names);                                                   \
    }
PYTHON_METHOD(fetch_many)
PYTHON_METHOD(afetch)
PYTHON_METHOD(afetch_many)
PYTHON_METHOD(refresh)
PYTHON_METHOD(arefresh)
PYTHON_METHOD(prime)
PYTHON_METHOD(invalidate)

PyObject *loading_from_options(PyObject *options)
{
    PyObject *module = PyImport_ImportModule(LOADING);
    PyObject *make = module == NULL ? NULL : PyObject_GetAttrString(module, "make");
    PyObject *none = PyTuple_New(0);
    PyObject *loading = make == NULL || none == NULL ? NULL : PyObject_Call(make, none, options);
    Py_XDECREF(none);
    Py_XDECREF(make);
    Py_XDECREF(module);
    return loading;
}

PyTypeObject *loading_cache_type(core_state *state, PyObject *loading)
{
    if (loading == NULL)
        return state->cache_type;
    PyObject *type = PyObject_GetAttrString(loading, "cache_type"); /* the module has it, too */
    Py_XDECREF(type);
    if (type == NULL || type == Py_None)
        return type == NULL ? NULL : state->cache_type;
    if (PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, state->cache_type))
        return (PyTypeObject *)type;
    PyErr_SetString(PyExc_TypeError, "a cache's type must be made of Cache");
    return NULL;
}

int cache_set_loading(cache_object *self, PyObject *loading)
{
    PyObject *refreshes = PyObject_GetAttrString(loading, "refreshes");
    int is_so = refreshes == NULL ? -1 : PyObject_IsTrue(refreshes);
    Py_XDECREF(refreshes);
    if (is_so < 0)
        return -1;
    self->refreshes = is_so != 0;
    Py_XSETREF(self->loading, Py_NewRef(loading));
    PyObject *attached = PyObject_CallMethod(loading, "attach", "O", (PyObject *)self);
    Py_XDECREF(attached);
    return attached == NULL ? -1 : 0;
}
