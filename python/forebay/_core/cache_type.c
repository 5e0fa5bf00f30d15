/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_methods.h"
#include "arguments.h"
#include "cache_methods.h"
#include "keys.h"
#include "serializer.h"
#include "value_out.h"

#include <stddef.h>
#include <time.h>
#include <structmember.h> /* T_OBJECT_EX: 3.11 has no Py_ names for them */

#define FIRST_GUESS 512u /* bytes; see cache_store.c */

static void link_to_arena(cache_object *self, arena_object *arena)
{
    self->arena = (arena_object *)Py_NewRef((PyObject *)arena);
    self->previous = NULL;
    self->next = arena->caches;
    if (self->next != NULL)
        self->next->previous = self;
    arena->caches = self;
}

static void unlink_from_arena(cache_object *self)
{
    if (self->previous != NULL)
        self->previous->next = self->next;
    else
        self->arena->caches = self->next;
    if (self->next != NULL)
        self->next->previous = self->previous;
}

PyObject *cache_new(arena_object *arena, PyTypeObject *type, forebay_cache *cache, value_serializer *serializer)
{
    PyObject *name = PyUnicode_FromString(forebay_cache_name(cache));
    cache_object *self = name == NULL ? NULL : PyObject_GC_New(cache_object, type);
    if (self == NULL) {
        Py_XDECREF(name);
        serializer_clear(serializer);
        forebay_cache_close(cache);
        return NULL;
    }
    self->state = arena->state;
    self->cache = cache;
    self->parked = NULL;
    self->value_guess = FIRST_GUESS;
    self->packs = forebay_cache_packs(cache);
    self->ways = 0;
    self->encode_hook = self->decode_hook = NULL;
    self->loading = NULL;
    self->refreshes = false;
    self->memo = (memo){ .limit = MEMO_DEFAULT };
    self->name = name;
    self->serializer = *serializer;
    *serializer = (value_serializer){ NULL, NULL, NULL };
    self->weakrefs = NULL;
    link_to_arena(self, arena);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* No tp_clear: a cycle through functions is broken at these. */
static int cache_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    cache_object *self = (cache_object *)object;
    Py_VISIT((PyObject *)self->arena);
    Py_VISIT(self->serializer.named);
    Py_VISIT(self->serializer.dumps);
    Py_VISIT(self->serializer.loads);
    Py_VISIT(self->encode_hook);
    Py_VISIT(self->decode_hook);
    Py_VISIT(self->loading);
    return 0;
}

/* Hooks and loaders may lead back to the cache. */
static int cache_drop_hooks(PyObject *object)
{
    cache_object *self = (cache_object *)object;
    self->ways &= ~(unsigned)CACHE_DECODE_HOOK;
    Py_CLEAR(self->encode_hook);
    Py_CLEAR(self->decode_hook);
    Py_CLEAR(self->loading);
    return 0;
}

static void cache_dealloc(PyObject *object)
{
    cache_object *self = (cache_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    unlink_from_arena(self);
    memo_clear(&self->memo);
    (void)cache_drop_hooks(object);
    forebay_cache *handle = self->cache != NULL ? self->cache : self->parked;
    if (handle != NULL)
        forebay_cache_close(handle);
    Py_DECREF(self->arena); /* after the handle: it may be what keeps the arena open */
    Py_DECREF(self->name);
    serializer_clear(&self->serializer);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *cache_refuse_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyErr_SetString(PyExc_TypeError, "Arena.cache() makes caches; Cache cannot be called");
    return NULL;
}

PyObject *cache_raise(cache_object *self, forebay_status status)
{
    forebay_error error = { 0 };
    if (status == FOREBAY_CLOSED)
        PyOS_snprintf(error.message, sizeof(error.message),
                      "the cache %.*s was dropped; Arena.cache() makes it again", (int)FOREBAY_NAME_MAX,
                      PyUnicode_AsUTF8(self->name));
    return core_raise(self->state, status, &error, self->arena->path);
}

static forebay_status fetch(forebay_cache *cache, const void *key, size_t key_length, value_out *out)
{
    forebay_sink sink = { value_out_room, out };
    forebay_status status = forebay_get(cache, key, key_length, &sink);
    value_out_after_get(out);
    return status;
}

/* The second try of a large value that changed its size while the GIL was released. */
static forebay_status fetch_again(cache_object *self, const void *key, size_t key_length, value_out *out)
{
    forebay_cache *cache = cache_handle(self);
    return cache == NULL ? FOREBAY_CLOSED : fetch(cache, key, key_length, out);
}

/* Inlined: the call would cost a get 3% more instructions. */
__attribute__((always_inline)) static inline int look_up_bytes(cache_object *self, const void *key, size_t key_length,
                                                               PyObject **value)
{
    value_out out;
    *value = NULL;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    value_out_init(&out, self->arena);
    forebay_status status = fetch(cache, key, key_length, &out);
    if (__builtin_expect(out.keep_gil, 0))
        status = fetch_again(self, key, key_length, &out);
    if (__builtin_expect(status == FOREBAY_OK && out.kind != FOREBAY_KIND_ABSENT, 1)) {
        *value = value_out_take(self->state, &out);
        if (__builtin_expect(self->serializer.dumps != NULL, 0))
            *value = serializer_load(self, key, key_length, out.kind, *value);
        return *value == NULL ? -1 : 0;
    }
    value_out_drop(&out);
    if (status == FOREBAY_MISS || status == FOREBAY_OK)
        return 0;
    cache_raise(self, status);
    return -1;
}

int cache_look_up_plain(cache_object *self, const void *key, size_t key_length, PyObject **value)
{
    return look_up_bytes(self, key, key_length, value);
}

int cache_look_up_bytes(cache_object *self, const void *key, size_t key_length, PyObject **value)
{
    if (self->ways & CACHE_LAZY)
        return lazy_look_up_bytes(self, key, key_length, value);
    if (look_up_bytes(self, key, key_length, value) < 0)
        return -1;
    if (__builtin_expect(self->ways == 0 || *value == NULL, 1))
        return 0;
    *value = cache_present(self, *value);
    return *value == NULL ? -1 : 0;
}

/* With hooks, or lazy. */
__attribute__((noinline)) static int look_up_specially(cache_object *self, PyObject *key, PyObject **value)
{
    core_key encoded;
    if (self->ways & CACHE_LAZY)
        return lazy_look_up(self, key, value);
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return -1;
    int outcome = cache_look_up_bytes(self, encoded.data, encoded.length, value);
    core_key_clear(&encoded);
    return outcome;
}

int cache_look_up(cache_object *self, PyObject *key, PyObject **value)
{
    core_key encoded;
    if (__builtin_expect(self->ways != 0, 0))
        return look_up_specially(self, key, value);
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return -1;
    int outcome = look_up_bytes(self, encoded.data, encoded.length, value);
    core_key_clear(&encoded);
    return outcome;
}

PyDoc_STRVAR(cache_get_doc, "get($self, key, /, default=None)\n--\n\n"
                            "The value of a key, a fresh object each time; default on a miss.\n\n"
                            "None is a value like others: pass a default of your own to tell a stored\n"
                            "None from a miss.  Never waits for another process and does no I/O.");

int cache_parse_get(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *function,
                    PyObject **fallback)
{
    if (check_positional(function, count, 1, 2) < 0)
        return -1;
    if (names != NULL && keyword_from_vector(arguments, count, names, function, "default", fallback) < 0)
        return -1;
    if (count == 2 && names != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument 'default'", function);
        return -1;
    }
    if (count == 2)
        *fallback = arguments[1];
    return 0;
}

static PyObject *cache_get(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *fallback = Py_None;
    if (__builtin_expect(count != 1 || names != NULL, 0)
        && cache_parse_get(arguments, count, names, "get", &fallback) < 0)
        return NULL;
    PyObject *value;
    if (cache_look_up((cache_object *)object, arguments[0], &value) < 0)
        return NULL;
    return value != NULL ? value : Py_NewRef(fallback);
}

static PyObject *cache_subscript(PyObject *object, PyObject *key)
{
    PyObject *value;
    if (cache_look_up((cache_object *)object, key, &value) < 0)
        return NULL;
    return value != NULL ? value : core_raise_miss(((cache_object *)object)->state, key);
}

/* As cache_find_kind() for a key's bytes. */
static int find_kind_bytes(cache_object *self, const void *key, size_t key_length, forebay_kind *kind)
{
    forebay_cache *cache = cache_handle(self);
    forebay_status status = FOREBAY_CLOSED;
    size_t length;
    if (cache != NULL)
        status = forebay_get_into(cache, key, key_length, NULL, 0, &length, kind);
    if (status == FOREBAY_OK || status == FOREBAY_TOOBIG) /* TOOBIG: there, but longer than 0 bytes */
        return 1;
    if (status == FOREBAY_MISS)
        return 0;
    cache_raise(self, status);
    return -1;
}

int cache_find_kind(cache_object *self, PyObject *key, forebay_kind *kind)
{
    core_key encoded;
    if (core_key_encode(&self->state->types, key, &encoded) < 0)
        return -1;
    int found = find_kind_bytes(self, encoded.data, encoded.length, kind);
    core_key_clear(&encoded);
    return found;
}

static int cache_contains(PyObject *object, PyObject *key)
{
    forebay_kind kind;
    int found = cache_find_kind((cache_object *)object, key, &kind);
    return found == 1 && kind == FOREBAY_KIND_ABSENT ? 0 : found;
}

static Py_ssize_t cache_length(PyObject *object)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return -1;
    forebay_cache_stats stats;
    forebay_status status = forebay_cache_get_stats(cache, &stats);
    if (status == FOREBAY_OK)
        return (Py_ssize_t)stats.entries;
    cache_raise(self, status);
    return -1;
}

PyDoc_STRVAR(cache_clear_doc,
             "clear($self, /)\n--\n\nDrop all entries, for all processes, in constant time.");

static PyObject *cache_clear(PyObject *object, PyObject *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return NULL;
    forebay_status status;
    arena_enter(self->arena);
    Py_BEGIN_ALLOW_THREADS status = forebay_clear(cache);
    Py_END_ALLOW_THREADS arena_leave(self->arena);
    if (status != FOREBAY_OK)
        return cache_raise(self, status);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cache_stats_doc, "stats($self, /)\n--\n\n"
                              "Figures of this cache over all processes since it was created, as a dict:\n"
                              "hits, misses, sets (stored: set, add, replace, incr, touch, cas), deletes (that found an\n"
                              "entry), evictions (live entries dropped for room), expirations (expired ones\n"
                              "whose space was reclaimed), entries (as len()); share, limit and bytes (of the\n"
                              "segments it has), None without quotas; codec, None where nothing is packed;\n"
                              "packed_hits (of the hits: unpacked), value_bytes (of values that could be\n"
                              "packed, as they were set), stored_bytes (what those took), ratio (of the\n"
                              "two, None before the first), warmed (entries stored unpacked because they\n"
                              "were hit often), dictionary (a number, another one each time; None: none)\n"
                              "and dictionary_age in seconds.");

static PyObject *cache_stats(PyObject *object, PyObject *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return NULL;
    forebay_cache_stats stats = { 0 };
    forebay_status status = forebay_cache_get_stats(cache, &stats);
    if (status != FOREBAY_OK)
        return cache_raise(self, status);
    cache_note_set(self);
    return dict_of_stats(stats);
}

PyDoc_STRVAR(cache_train_doc, "train($self, /)\n--\n\n"
                              "Train a dictionary from what is in the cache now, and pack new values with it.\n\n"
                              "That happens by itself in the background while values are set; call this to\n"
                              "have it done now: after filling a cache, before a measurement.  Takes up to a\n"
                              "second, without the GIL; where another thread or process is at it, waits until\n"
                              "it is done.  True if there is a new dictionary, False if there are too few\n"
                              "values or it would pack no better than what there is.  TimeoutError: somebody\n"
                              "has been at it for 30 seconds.  ValueError: the cache's codec takes none.");

#define TRAIN_LOOK_NS 2000000L /* while another is at it */
#define TRAIN_LOOKS 15000

static forebay_status train_once(cache_object *self, forebay_cache *cache, uint32_t *dictionary)
{
    forebay_cache_stats stats = { 0 };
    forebay_status status;
    arena_enter(self->arena);
    Py_BEGIN_ALLOW_THREADS status = forebay_cache_train(cache);
    if (status == FOREBAY_BUSY)
        nanosleep(&(struct timespec){ .tv_nsec = TRAIN_LOOK_NS }, NULL);
    (void)forebay_cache_get_stats(cache, &stats);
    Py_END_ALLOW_THREADS arena_leave(self->arena);
    *dictionary = stats.dictionary;
    return status;
}

static PyObject *cache_train(PyObject *object, PyObject *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return NULL;
    forebay_cache_stats before = { 0 };
    uint32_t dictionary = 0;
    forebay_status status = forebay_cache_get_stats(cache, &before);
    for (int look = 0; status == FOREBAY_OK && (status = train_once(self, cache, &dictionary)) == FOREBAY_BUSY; status = FOREBAY_OK) {
        cache = cache_handle(self); /* another thread may have closed it */
        if (cache == NULL || PyErr_CheckSignals() < 0)
            return NULL;
        if (look++ == TRAIN_LOOKS)
            return cache_raise(self, FOREBAY_TIMEOUT);
    }
    if (status == FOREBAY_OK || status == FOREBAY_MISS)
        cache_note_set(self);
    if (status == FOREBAY_OK || status == FOREBAY_MISS)
        return PyBool_FromLong(status == FOREBAY_OK || (dictionary != 0 && dictionary != before.dictionary));
    if (status != FOREBAY_INVALID)
        return cache_raise(self, status);
    return PyErr_Format(PyExc_ValueError, "the cache %R takes no dictionary: its codec must be auto, zstd or lz4", self->name);
}

PyDoc_STRVAR(cache_reduce_doc, "__reduce__($self, /)\n--\n\n"
                               "Pickled as its arena's path, its name and its own options, and opened again by them.");

/* The options of what loads, as they were given; None: nothing does. */
static PyObject *loading_as_given(const cache_object *self)
{
    return self->loading == NULL ? Py_NewRef(Py_None) : PyObject_GetAttrString(self->loading, "given");
}

static PyObject *cache_reduce(PyObject *object, PyObject *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    if (cache == NULL)
        return NULL;
    PyObject *module = PyImport_ImportModule("forebay._open");
    PyObject *reopen = module == NULL ? NULL : PyObject_GetAttrString(module, "reopen_cache");
    PyObject *loading = reopen == NULL ? NULL : loading_as_given(self);
    Py_XDECREF(module);
    if (loading == NULL) {
        Py_XDECREF(reopen);
        return NULL;
    }
    return Py_BuildValue("N(OOkOOnOON)", reopen, (PyObject *)self->arena, self->name,
                         (unsigned long)forebay_cache_version(cache), self->serializer.named,
                         self->ways & CACHE_LAZY ? Py_True : Py_False, (Py_ssize_t)self->memo.limit,
                         self->encode_hook != NULL ? self->encode_hook : Py_None,
                         self->decode_hook != NULL ? self->decode_hook : Py_None, loading);
}

static PyObject *cache_get_ttl(PyObject *object, void *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    return cache == NULL ? NULL : ttl_to_object(forebay_cache_ttl_ms(cache));
}

static PyObject *cache_get_version(PyObject *object, void *unused)
{
    cache_object *self = (cache_object *)object;
    forebay_cache *cache = cache_handle(self);
    return cache == NULL ? NULL : PyLong_FromUnsignedLong(forebay_cache_version(cache));
}

static PyObject *cache_repr(PyObject *object)
{
    cache_object *self = (cache_object *)object;
    if (self->cache == NULL)
        return PyUnicode_FromFormat("<forebay.Cache %R of a closed arena>", self->name);
    PyObject *ttl = ttl_to_object(forebay_cache_ttl_ms(self->cache));
    if (ttl == NULL)
        return NULL;
    PyObject *path = self->arena->path;
    PyObject *text =
        path == Py_None
            ? PyUnicode_FromFormat("<forebay.Cache %R ttl=%R in an anonymous arena>", self->name, ttl)
            : PyUnicode_FromFormat("<forebay.Cache %R ttl=%R in %R>", self->name, ttl, path);
    Py_DECREF(ttl);
    return text;
}

static PyMethodDef cache_methods[] = {
    { "get", (PyCFunction)(void (*)(void))cache_get, METH_FASTCALL | METH_KEYWORDS, cache_get_doc },
    { "lazy", (PyCFunction)(void (*)(void))cache_lazy, METH_FASTCALL | METH_KEYWORDS, CACHE_LAZY_DOC },
    { "set", (PyCFunction)(void (*)(void))cache_set, METH_FASTCALL | METH_KEYWORDS, CACHE_SET_DOC },
    { "add", (PyCFunction)(void (*)(void))cache_add, METH_FASTCALL | METH_KEYWORDS, CACHE_ADD_DOC },
    { "replace", (PyCFunction)(void (*)(void))cache_replace, METH_FASTCALL | METH_KEYWORDS,
      CACHE_REPLACE_DOC },
    { "delete", cache_delete, METH_O, CACHE_DELETE_DOC },
    { "incr", (PyCFunction)(void (*)(void))cache_incr, METH_VARARGS | METH_KEYWORDS, CACHE_INCR_DOC },
    { "decr", (PyCFunction)(void (*)(void))cache_decr, METH_VARARGS | METH_KEYWORDS, CACHE_DECR_DOC },
    { "get_many", cache_get_many, METH_O, CACHE_GET_MANY_DOC },
    { "set_many", (PyCFunction)(void (*)(void))cache_set_many, METH_FASTCALL | METH_KEYWORDS,
      CACHE_SET_MANY_DOC },
    { "delete_many", cache_delete_many, METH_O, CACHE_DELETE_MANY_DOC },
    { "view", cache_view, METH_O, CACHE_VIEW_DOC },
    { "train", cache_train, METH_NOARGS, cache_train_doc },
    { "touch", (PyCFunction)(void (*)(void))cache_touch, METH_FASTCALL | METH_KEYWORDS, CACHE_TOUCH_DOC },
    { "pop", (PyCFunction)(void (*)(void))cache_pop, METH_FASTCALL, CACHE_POP_DOC },
    { "gets", cache_gets, METH_O, CACHE_GETS_DOC },
    { "cas", (PyCFunction)(void (*)(void))cache_cas, METH_FASTCALL | METH_KEYWORDS, CACHE_CAS_DOC },
    { "get_or_set", (PyCFunction)(void (*)(void))cache_get_or_set, METH_FASTCALL | METH_KEYWORDS,
      CACHE_GET_OR_SET_DOC },
    { "set_absent", (PyCFunction)(void (*)(void))cache_set_absent, METH_FASTCALL | METH_KEYWORDS,
      CACHE_SET_ABSENT_DOC },
    { "is_absent", cache_is_absent, METH_O, CACHE_IS_ABSENT_DOC },
    { "invalidate_tag", cache_invalidate_tag, METH_O, CACHE_INVALIDATE_TAG_DOC },
    { "keys", cache_keys, METH_NOARGS, CACHE_KEYS_DOC },
    { "values", cache_values, METH_NOARGS, CACHE_VALUES_DOC },
    { "items", cache_items, METH_NOARGS, CACHE_ITEMS_DOC },
    { "popitem", cache_popitem, METH_NOARGS, CACHE_POPITEM_DOC },
    { "setdefault", cache_setdefault, METH_VARARGS, CACHE_SETDEFAULT_DOC },
    { "update", (PyCFunction)(void (*)(void))cache_update, METH_VARARGS | METH_KEYWORDS, CACHE_UPDATE_DOC },
    { "namespace", cache_namespace, METH_O, CACHE_NAMESPACE_DOC },
    { "memoize", (PyCFunction)(void (*)(void))cache_memoize, METH_VARARGS | METH_KEYWORDS, CACHE_MEMOIZE_DOC },
#define VECTOR(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS
    { "fetch", VECTOR(cache_fetch), CACHE_FETCH_DOC },
    { "fetch_many", VECTOR(cache_fetch_many), CACHE_FETCH_MANY_DOC },
    { "afetch", VECTOR(cache_afetch), CACHE_AFETCH_DOC },
    { "afetch_many", VECTOR(cache_afetch_many), CACHE_AFETCH_MANY_DOC },
    { "refresh", VECTOR(cache_refresh), CACHE_REFRESH_DOC },
    { "arefresh", VECTOR(cache_arefresh), CACHE_AREFRESH_DOC },
    { "prime", VECTOR(cache_prime), CACHE_PRIME_DOC },
    { "invalidate", VECTOR(cache_invalidate), CACHE_INVALIDATE_DOC },
    { "_look", cache_look, METH_O, CACHE_LOOK_DOC },
    { "_look_many", cache_look_many, METH_O, CACHE_LOOK_MANY_DOC },
    { "_peek", cache_peek, METH_O, CACHE_PEEK_DOC },
    { "_ttl_left", cache_ttl_left, METH_O, CACHE_TTL_LEFT_DOC },
    { "_key", cache_key_bytes, METH_O, CACHE_KEY_DOC },
    { "_lease_take", (PyCFunction)(void (*)(void))cache_lease_take, METH_VARARGS | METH_KEYWORDS, CACHE_LEASE_TAKE_DOC },
    { "_lease_wait", cache_lease_wait, METH_VARARGS, CACHE_LEASE_WAIT_DOC },
    { "_lease_holds", cache_lease_holds, METH_O, CACHE_LEASE_HOLDS_DOC },
    { "_lease_store", (PyCFunction)(void (*)(void))cache_lease_store, METH_VARARGS | METH_KEYWORDS, CACHE_LEASE_STORE_DOC },
    { "_lease_end", cache_lease_end, METH_O, CACHE_LEASE_END_DOC },
    { "_lease_fail", cache_lease_fail, METH_VARARGS, CACHE_LEASE_FAIL_DOC },
    { "_lease_reason", cache_lease_reason, METH_O, CACHE_LEASE_REASON_DOC },
    { "_lease_break", cache_lease_break, METH_O, CACHE_LEASE_BREAK_DOC },
    { "_leases_take", cache_leases_take, METH_VARARGS, CACHE_LEASES_TAKE_DOC },
    { "_leases_store", cache_leases_store, METH_VARARGS, CACHE_LEASES_STORE_DOC },
    { "_leases_store_payloads", cache_leases_store_payloads, METH_VARARGS, CACHE_LEASES_STORE_PAYLOADS_DOC },
    { "_payload", cache_payload, METH_O, CACHE_PAYLOAD_DOC },
    { "_from_payload", cache_from_payload, METH_VARARGS, CACHE_FROM_PAYLOAD_DOC },
    { "_follow", cache_follow, METH_VARARGS, CACHE_FOLLOW_DOC },
    { "_lease_token", cache_lease_token, METH_O, CACHE_LEASE_TOKEN_DOC },
    { "_expel", cache_expel, METH_O, CACHE_EXPEL_DOC },
    { "_stored", cache_stored, METH_O, CACHE_STORED_DOC },
    { "_dictionary", cache_dictionary, METH_NOARGS, CACHE_DICTIONARY_DOC },
    { "_dictionary_id", cache_dictionary_id, METH_NOARGS, CACHE_DICTIONARY_ID_DOC },
    { "clear", cache_clear, METH_NOARGS, cache_clear_doc },
    { "stats", cache_stats, METH_NOARGS, cache_stats_doc },
    { "__reduce__", cache_reduce, METH_NOARGS, cache_reduce_doc },
    { "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
      "__class_getitem__($type, item, /)\n--\n\nCache[K, V], for annotations." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef cache_properties[] = {
    { "ttl", cache_get_ttl, NULL, "Seconds that entries set without a ttl live; None: for ever.", NULL },
    { "version", cache_get_version, NULL, "Of the entries that this object writes and reads; 0: none.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef cache_members[] = {
    { "name", T_OBJECT_EX, offsetof(cache_object, name), READONLY, "The cache's name in its arena." },
    { "serializer", T_OBJECT_EX, offsetof(cache_object, serializer.named), READONLY,
      "What makes bytes of values: a name, or the pair (dumps, loads)." },
    { "_loading", T_OBJECT, offsetof(cache_object, loading), READONLY, "Who loads what is missing, or None." },
    { "arena", T_OBJECT_EX, offsetof(cache_object, arena), READONLY, "The Arena it was opened from." },
    { "__weaklistoffset__", T_PYSSIZET, offsetof(cache_object, weakrefs), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(cache_doc, "A named set of entries in an arena, shared by all processes: Cache[K, V].\n\n"
                        "Keys are str, bytes, int, bool, UUID, date, and tuples of these; 1, '1', b'1'\n"
                        "and True are four keys.  Values are None, bool, int, float, str, bytes, list,\n"
                        "tuple, dict, datetime, date, time, timedelta, Decimal and UUID; others raise\n"
                        "TypeError.  A get returns exactly a value that was set for the key, or misses.\n\n"
                        "No call waits for another process.  Any thread may use it, and the child\n"
                        "after os.fork().  It is pickled by path and name.  An empty cache is false, as an\n"
                        "empty dict is: compare with None where that matters.");

static PyType_Slot cache_slots[] = {
    { Py_tp_doc, (void *)cache_doc },
    { Py_tp_new, cache_refuse_new },
    { Py_tp_dealloc, cache_dealloc },
    { Py_tp_traverse, cache_traverse },
    { Py_tp_clear, cache_drop_hooks },
    { Py_tp_repr, cache_repr },
    { Py_tp_methods, cache_methods },
    { Py_tp_getset, cache_properties },
    { Py_tp_members, cache_members },
    { Py_mp_subscript, cache_subscript },
    { Py_mp_ass_subscript, cache_assign },
    { Py_mp_length, cache_length },
    { Py_sq_contains, cache_contains },
    { Py_tp_iter, cache_iter },
    { 0, NULL },
};

PyType_Spec cache_type_spec = {
    .name = "forebay.Cache",
    .basicsize = sizeof(cache_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = cache_slots,
};
