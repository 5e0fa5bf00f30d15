/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_methods.h"
#include "arguments.h"
#include "cache_methods.h"
#include "serializer.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h> /* T_OBJECT_EX: 3.11 has no Py_ names for them */

PyObject *arena_new(core_state *state, forebay_arena *arena, PyObject *path)
{
    arena_object *self = PyObject_GC_New(arena_object, state->arena_type);
    if (self == NULL) {
        forebay_arena_close(arena);
        return NULL;
    }
    self->state = state;
    self->path = Py_NewRef(path);
    self->trust = self->guard = false;
    self->arena = arena;
    self->parked = NULL;
    self->caches = NULL;
    self->inside = 0;
    self->weakrefs = NULL;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *arena_raise_closed(arena_object *self)
{
    forebay_error error = { .message = "the arena is closed; forebay.open() opens it again" };
    return core_raise(self->state, FOREBAY_CLOSED, &error, NULL);
}

/* End the handles of a closed arena; no call is inside. */
void arena_end_parked(arena_object *self)
{
    forebay_arena *arena = self->parked;
    self->parked = NULL;
    for (cache_object *cache = self->caches; cache != NULL; cache = cache->next) {
        if (cache->parked != NULL)
            forebay_cache_close(cache->parked);
        cache->parked = NULL;
    }
    Py_BEGIN_ALLOW_THREADS /* unmapping takes long if the arena is large */
        forebay_arena_close(arena);
    Py_END_ALLOW_THREADS
}

/* Take the handles from all later calls. */
static int arena_shut(arena_object *self)
{
    if (self->arena == NULL)
        return 0;
    uint32_t views = forebay_arena_views(self->arena);
    if (views != 0) {
        PyErr_Format(self->state->errors[CORE_VIEW_ERROR],
                     "the arena cannot be closed: %u %s open; release them first (with cache.view(key) as view: ...), and drop "
                     "records of large values", views,
                     views == 1 ? "view is" : "views are");
        return -1;
    }
    for (cache_object *cache = self->caches; cache != NULL; cache = cache->next) {
        memo_clear(&cache->memo);
        cache->parked = cache->cache;
        cache->cache = NULL;
    }
    self->parked = self->arena;
    self->arena = NULL;
    if (self->inside == 0)
        arena_end_parked(self);
    return 0;
}

static int arena_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((arena_object *)object)->path);
    return 0;
}

static void arena_dealloc(PyObject *object)
{
    arena_object *self = (arena_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    forebay_arena_close(self->arena); /* each cache holds the arena: none is left */
    Py_XDECREF(self->path);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *arena_refuse_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyErr_SetString(PyExc_TypeError, "forebay.open() makes arenas; Arena cannot be called");
    return NULL;
}

/* "256 MiB" where that is exact, else bytes. */
static PyObject *size_text(uint64_t size)
{
    if (size % (1 << 20) == 0)
        return PyUnicode_FromFormat("%llu MiB", (unsigned long long)(size >> 20));
    return PyUnicode_FromFormat("%llu bytes", (unsigned long long)size);
}

static PyObject *arena_repr(PyObject *object)
{
    arena_object *self = (arena_object *)object;
    PyObject *path = self->path == Py_None ? PyUnicode_FromString("anonymous") : PyObject_Repr(self->path);
    PyObject *state =
        self->arena == NULL ? PyUnicode_FromString("closed") : size_text(forebay_arena_size(self->arena));
    PyObject *text = NULL;
    if (path != NULL && state != NULL)
        text = PyUnicode_FromFormat("<forebay.Arena %U %U>", path, state);
    Py_XDECREF(path);
    Py_XDECREF(state);
    return text;
}

/* The name of a cache as the library wants it: borrowed from `name`. */
static const char *name_text(PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "a cache's name must be a str, not %.100s", Py_TYPE(name)->tp_name);
        return NULL;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    if (text == NULL)
        return NULL;
    if (length < 1 || length > (Py_ssize_t)FOREBAY_NAME_MAX || strlen(text) != (size_t)length) {
        PyErr_Format(PyExc_ValueError, "a cache's name must take 1 to %u bytes of UTF-8 without zeros: %R",
                     FOREBAY_NAME_MAX, name);
        return NULL;
    }
    return text;
}

/* Open a cache with the GIL released: its creator takes a lock on the file. */
static PyObject *open_cache(arena_object *self, PyTypeObject *type, const char *name, const forebay_cache_options *options,
                            value_serializer *serializer)
{
    forebay_arena *arena = self->arena;
    forebay_cache *cache = NULL;
    forebay_error error = { 0 };
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_cache_open(arena, name, options, &cache, &error);
    Py_END_ALLOW_THREADS PyObject *object;
    if (status != FOREBAY_OK) {
        object = core_raise(self->state, status, &error, self->path);
    } else if (self->arena == NULL) { /* closed meanwhile */
        forebay_cache_close(cache);
        object = arena_raise_closed(self);
    } else {
        object = cache_new(self, type, cache, serializer);
    }
    arena_leave(self);
    return object;
}

PyDoc_STRVAR(arena_cache_doc, "cache($self, name, /, *, ttl=..., share=..., limit=..., codec=...,\n"
                              "      version=0, update=False, serializer='msgpack', lazy=False,\n"
                              "      memo=..., encode_hook=None, decode_hook=None, load=None,\n"
                              "      load_many=None, absent_ttl=None, stale=None, early=None,\n"
                              "      jitter=0.0, max_batch=100, max_wait=0.0, load_timeout=10.0,\n"
                              "      tier=None, bus=None)\n--\n\n"
                              "Open the cache of this name, creating it if needed.\n\n"
                              "ttl is the time to live of entries that are set without one: seconds, a\n"
                              "timedelta, or None for entries that never expire.  It belongs to whoever\n"
                              "creates the cache: omitted, the stored one is taken (None for a new cache);\n"
                              "another one than the stored raises ConflictError, or, with update=True, is\n"
                              "stored for those who open the cache from now on.\n\n"
                              "share and limit are bytes of the arena, as the size of forebay.open(), and\n"
                              "belong to the cache as its ttl does; None: none.  Others never evict a cache\n"
                              "below its share; what it does not use is lent to them.  A cache that has\n"
                              "reached its limit makes room from itself alone, and takes no entry larger\n"
                              "than half of it.  All shares together are at most 3/4 of the arena, and a\n"
                              "limit at least 8 of its segments (info()): else ValueError.\n\n"
                              "codec says how values are stored, and belongs to the cache as well: None, as\n"
                              "they are; a name of forebay.codec.codecs(), alone or with a level, as\n"
                              "'zstd:9'; or 'auto', which a new cache has: zstd, small values only once a\n"
                              "dictionary was trained from the cache's own.  What packing does not make at\n"
                              "least an eighth smaller is stored as it is, and what is hit often is kept\n"
                              "unpacked within a part of the arena.\n\n"
                              "version, an int up to 2**32 - 1, is of this object alone: entries carry the\n"
                              "version of the object that wrote them and are misses for those of another,\n"
                              "so that an old and a new release can run side by side.\n\n"
                              "serializer, of this object alone too, is what makes bytes of values: \"msgpack\",\n"
                              "Forebay's own; \"bytes\" takes bytes-like values only; \"json\"; \"pickle\", which\n"
                              "runs code when it loads (a PickleWarning says so once); or a pair of\n"
                              "functions (dumps, loads) to bytes and from bytes.  Use the same for all of a\n"
                              "cache: to another object the entry is the bytes, and loads gets whatever bytes\n"
                              "others stored.  Other values (of \"msgpack\", ints of incr) are read as they are.\n\n"
                              "Of this object alone are also, with the serializer \"msgpack\" only: lazy: all\n"
                              "reads give what Cache.lazy() gives.  memo: bytes that may be spent on keeping\n"
                              "what lazy() gave (1 MiB; None: none).  encode_hook: a function that is called\n"
                              "with a value, or a part of one, of a type that cannot be stored; what it returns\n"
                              "is stored instead.  decode_hook: a function of a plain value; reads give what it\n"
                              "returns.\n\n"
                              "Of this object alone is what loads, too.  load: a function of a key; load_many: of a\n"
                              "list of keys, which returns a mapping, or a list in the same order; either may\n"
                              "be a coroutine function.  fetch() and its relatives call them for what is\n"
                              "missing, once on this machine.  forebay.ABSENT in place of a value, or a key that\n"
                              "the mapping lacks: there is no such thing, which is remembered for absent_ttl.\n"
                              "stale: seconds for which an entry is served beyond its ttl, while one caller\n"
                              "loads it anew in the background.  early: 1.0 or so: entries are loaded anew by\n"
                              "chance shortly before they expire (XFetch's beta).  jitter: ttls of loads are\n"
                              "shortened by up to this part of them.  max_batch: keys in one call of\n"
                              "load_many; max_wait: seconds to wait for more.  load_timeout: seconds until\n"
                              "another caller may load what one has been loading.\n\n"
                              "tier: one of forebay.tiers, which machines share: it is asked for what is missing\n"
                              "before load or load_many is, and filled with what they give.  bus: one of\n"
                              "forebay.buses, over which machines tell each other what they changed; a tier on\n"
                              "Redis needs none.  With either the cache is a forebay.SharedCache.\n\n"
                              "FullError: the arena has no room for one more cache.");

static int version_from_object(PyObject *object, uint32_t *version)
{
    if (object == NULL)
        return 0;
    if (!PyLong_Check(object) || PyBool_Check(object)) {
        PyErr_Format(PyExc_TypeError, "version must be an int, not %.100s", Py_TYPE(object)->tp_name);
        return -1;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0 || number < 0 || number > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "version must be between 0 and 4294967295, not %R", object);
        return -1;
    }
    *version = (uint32_t)number;
    return 0;
}

/* Ellipsis or nothing: what is stored. */
static int quota_from_object(PyObject *object, const char *what, uint64_t *quota)
{
    if (object == NULL || object == Py_Ellipsis)
        return 0;
    if (object == Py_None) {
        *quota = FOREBAY_QUOTA_NONE;
        return 0;
    }
    return size_from_object(object, what, quota);
}

/* How this handle reads and encodes: what was given, NULL where omitted; then what it comes to. */
typedef struct reading_options {
    PyObject *serializer, *lazy, *memo, *encode_hook, *decode_hook; /* borrowed */
    bool is_lazy;
    uint64_t memo_bytes;
} reading_options;

static int hook_from_object(PyObject **hook, const char *what)
{
    if (*hook == Py_None)
        *hook = NULL;
    if (*hook == NULL || PyCallable_Check(*hook))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s must be a function or None, not %.100s", what, Py_TYPE(*hook)->tp_name);
    return -1;
}

/* Bytes as quotas; None, 0: no memo. */
static int memo_from_object(PyObject *object, uint64_t *bytes)
{
    *bytes = object == NULL ? MEMO_DEFAULT : 0;
    if (object == NULL || object == Py_None || (PyLong_CheckExact(object) && PyObject_Not(object)))
        return 0;
    return quota_from_object(object, "memo", bytes);
}

static int check_reading_options(reading_options *options)
{
    int lazy = options->lazy == NULL ? 0 : PyObject_IsTrue(options->lazy);
    if (lazy < 0 || memo_from_object(options->memo, &options->memo_bytes) < 0
        || hook_from_object(&options->encode_hook, "encode_hook") < 0
        || hook_from_object(&options->decode_hook, "decode_hook") < 0)
        return -1;
    options->is_lazy = lazy != 0;
    const char *conflict = NULL;
    if (options->is_lazy && options->decode_hook != NULL)
        conflict = "a cache is lazy or has a decode_hook, which gets decoded values, not both";
    if (serializer_is_usual(options->serializer)) {
        if (conflict == NULL)
            return 0;
    } else if (options->is_lazy) {
        conflict = "a cache is lazy or has a serializer other than 'msgpack', not both: records are of Forebay's own encoding";
    } else if (options->encode_hook != NULL || options->decode_hook != NULL) {
        conflict = "a cache has hooks or a serializer other than 'msgpack', not both: let the serializer do what the hooks are for";
    } else {
        options->memo_bytes = 0; /* what others' functions load may be changed by whoever gets it */
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, conflict);
    return -1;
}

static void set_reading_options(cache_object *cache, const reading_options *options)
{
    cache->ways = (options->is_lazy ? CACHE_LAZY : 0) | (options->decode_hook != NULL ? CACHE_DECODE_HOOK : 0);
    cache->memo.limit = options->memo_bytes;
    cache->encode_hook = Py_XNewRef(options->encode_hook);
    cache->decode_hook = Py_XNewRef(options->decode_hook);
}

/* Ellipsis or nothing: what is stored.  The text is borrowed. */
static int codec_from_object(PyObject *object, const char **codec)
{
    if (object == NULL || object == Py_Ellipsis)
        return 0;
    if (object == Py_None) {
        *codec = "none";
        return 0;
    }
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "codec must be a str or None, not %.100s", Py_TYPE(object)->tp_name);
        return -1;
    }
    Py_ssize_t length;
    *codec = PyUnicode_AsUTF8AndSize(object, &length);
    if (*codec != NULL && strlen(*codec) != (size_t)length)
        *codec = ""; /* a zero in it: there is no such codec either */
    return *codec == NULL ? -1 : 0;
}

/* What loads: handed on to forebay._loading as it is given. */
static const char *const LOADING_OPTIONS[] = { "load", "load_many", "absent_ttl", "stale", "early",
                                               "jitter", "max_batch", "max_wait", "load_timeout", "tier", "bus" };
#define LOADING_COUNT (sizeof(LOADING_OPTIONS) / sizeof(*LOADING_OPTIONS))

/* `*loading`: new, or NULL if no option was given. */
static int loading_from_values(PyObject *const values[LOADING_COUNT], PyObject **loading)
{
    PyObject *options = NULL;
    *loading = NULL;
    for (size_t i = 0; i < LOADING_COUNT; i++) {
        if (values[i] == NULL)
            continue;
        if (options == NULL && (options = PyDict_New()) == NULL)
            return -1;
        if (PyDict_SetItemString(options, LOADING_OPTIONS[i], values[i]) < 0) {
            Py_DECREF(options);
            return -1;
        }
    }
    if (options == NULL)
        return 0;
    *loading = loading_from_options(options);
    Py_DECREF(options);
    return *loading == NULL ? -1 : 0;
}

static PyObject *arena_cache(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    arena_object *self = (arena_object *)object;
    PyObject *ttl = NULL, *share = NULL, *limit = NULL, *codec = NULL, *version = NULL, *update = NULL;
    reading_options reading = { 0 };
    PyObject *loads[LOADING_COUNT] = { NULL }, *loading;
    keyword keywords[11 + LOADING_COUNT] = {
        { "ttl", &ttl }, { "share", &share }, { "limit", &limit }, { "codec", &codec },
        { "version", &version }, { "update", &update }, { "serializer", &reading.serializer },
        { "lazy", &reading.lazy }, { "memo", &reading.memo },
        { "encode_hook", &reading.encode_hook }, { "decode_hook", &reading.decode_hook },
    };
    for (size_t i = 0; i < LOADING_COUNT; i++)
        keywords[11 + i] = (keyword){ LOADING_OPTIONS[i], &loads[i] };
    forebay_cache_options options = { 0 };
    if (check_positional("cache", count, 1, 1) < 0
        || keywords_from_vector(arguments, count, names, "cache", keywords, 11 + LOADING_COUNT) < 0)
        return NULL;
    const char *name = name_text(arguments[0]);
    int updates = update == NULL ? 0 : PyObject_IsTrue(update);
    if (name == NULL || updates < 0 || ttl_from_object(self->state, ttl, &options.ttl_ms) < 0
        || quota_from_object(share, "share", &options.share) < 0 || quota_from_object(limit, "limit", &options.limit) < 0
        || codec_from_object(codec, &options.codec) < 0 || version_from_object(version, &options.version) < 0)
        return NULL;
    if (options.ttl_ms == FOREBAY_TTL_DEFAULT)
        options.ttl_ms = FOREBAY_TTL_STORED;
    options.update = updates != 0;
    value_serializer serializer;
    if (check_reading_options(&reading) < 0 || serializer_from_object(reading.serializer, &serializer) < 0)
        return NULL;
    if (loading_from_values(loads, &loading) < 0) {
        serializer_clear(&serializer);
        return NULL;
    }
    PyTypeObject *type = loading_cache_type(self->state, loading);
    PyObject *cache = NULL;
    if (type != NULL)
        cache = self->arena == NULL ? arena_raise_closed(self) : open_cache(self, type, name, &options, &serializer);
    serializer_clear(&serializer);
    if (cache != NULL)
        set_reading_options((cache_object *)cache, &reading);
    if (cache != NULL && loading != NULL && cache_set_loading((cache_object *)cache, loading) < 0)
        Py_CLEAR(cache);
    Py_XDECREF(loading);
    return cache;
}

PyDoc_STRVAR(arena_memoize_doc,
             MEMOIZE_SIGNATURE
             "Decorator: keep the results of a function in the cache \"memoize\", for all processes.\n\n"
             "Functions, coroutine functions, and, with key=, methods.  Arguments and results are\n"
             "of the types that values may have; a hit gives a fresh copy of the result.\n\n"
             "ttl: as Cache.set(), or a function of the result that returns it.  key: a function\n"
             "of the arguments, its result takes their place.  typed: 1, 1.0 and True are three\n"
             "arguments.  ignore: names or positions of arguments that do not matter.  condition:\n"
             "a function of the result; false: it is not stored.  name: what tells functions\n"
             "apart in the cache; module and qualified name if omitted.  tags: as Cache.set().\n"
             "lazy: results come as Cache.lazy() gives them.\n\n"
             "The function has .cache_info(), .cache_clear(), .invalidate(*args),\n"
             ".cache_key(*args), .cache and .__wrapped__.");

static PyObject *arena_memoize(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return core_call_python("forebay._memoize", "memoize", self, arguments, keywords);
}

PyDoc_STRVAR(arena_advance_doc, "_advance_clock($self, milliseconds, /)\n--\n\n"
                                "Make the arena's time go ahead: forebay.testing.Clock.");

static PyObject *arena_advance(PyObject *object, PyObject *argument)
{
    arena_object *self = (arena_object *)object;
    unsigned long long ms = PyLong_AsUnsignedLongLong(argument);
    if (ms == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    forebay_status status = forebay_arena_advance_clock(self->arena, ms);
    if (status == FOREBAY_INVALID)
        return PyErr_Format(PyExc_ValueError, "an arena's time goes on for 17 years at most");
    if (status != FOREBAY_OK)
        return core_raise(self->state, status, NULL, self->path);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_caches_doc, "caches($self, /)\n--\n\nThe names of the caches in the arena, as a list.");

static PyObject *arena_caches(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    PyObject *list = PyList_New(0);
    char name[FOREBAY_NAME_MAX + 1];
    for (uint32_t i = 0; list != NULL && forebay_cache_name_at(self->arena, i, name); i++) {
        PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

PyDoc_STRVAR(arena_drop_doc, "drop($self, name, /)\n--\n\n"
                             "Remove the cache of this name with all its entries, for all processes.\n"
                             "True if there was one.  Its Cache objects raise ClosedError from then on.");

static PyObject *arena_drop(PyObject *object, PyObject *name)
{
    arena_object *self = (arena_object *)object;
    const char *text = name_text(name);
    if (text == NULL)
        return NULL;
    forebay_arena *arena = self->arena;
    if (arena == NULL)
        return arena_raise_closed(self);
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_cache_drop(arena, text);
    Py_END_ALLOW_THREADS arena_leave(self);
    if (status != FOREBAY_OK && status != FOREBAY_MISS)
        return core_raise(self->state, status, NULL, self->path);
    return PyBool_FromLong(status == FOREBAY_OK);
}

PyDoc_STRVAR(arena_close_doc, "close($self, /)\n--\n\n"
                              "Give up this process's handle.  The entries stay, for other processes and\n"
                              "for the next open(); an anonymous arena ends with its last handle.  The\n"
                              "arena's caches raise ClosedError from then on.  A call that another thread\n"
                              "is inside ends first.  Closing again does nothing.  ViewError: views are open;\n"
                              "nothing changed.");

static PyObject *arena_close(PyObject *object, PyObject *unused)
{
    if (arena_shut((arena_object *)object) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_enter_doc,
             "__enter__($self, /)\n--\n\nThe arena itself; it is closed at the end of the block.");

static PyObject *arena_with(PyObject *object, PyObject *unused)
{
    if (((arena_object *)object)->arena == NULL)
        return arena_raise_closed((arena_object *)object);
    return Py_NewRef(object);
}

PyDoc_STRVAR(arena_exit_doc, "__exit__($self, type, value, traceback, /)\n--\n\nClose the arena.");

static PyObject *arena_without(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    if (check_positional("__exit__", count, 3, 3) < 0)
        return NULL;
    if (arena_shut((arena_object *)object) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_fileno_doc, "fileno($self, /)\n--\n\n"
                               "A descriptor of the arena, to pass to another process, which calls\n"
                               "forebay.open_fd().  The arena owns it: it is closed with the arena.");

static PyObject *arena_fileno(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    return PyLong_FromLong(forebay_arena_fd(self->arena));
}

PyDoc_STRVAR(arena_reduce_doc,
             "__reduce__($self, /)\n--\n\nPickled as its path, and opened again by it; TypeError if it is anonymous.");

static PyObject *arena_reduce(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->path == Py_None) {
        PyErr_SetString(PyExc_TypeError, "an anonymous Arena cannot be pickled or copied: pass Arena.fileno() on and call "
                                         "forebay.open_fd() in the other process");
        return NULL;
    }
    if (self->arena == NULL)
        return arena_raise_closed(self);
    PyObject *module = PyImport_ImportModule("forebay._open");
    PyObject *reopen = module == NULL ? NULL : PyObject_GetAttrString(module, "reopen");
    Py_XDECREF(module);
    return reopen == NULL ? NULL
                          : Py_BuildValue("N(OOO)", reopen, self->path, self->trust ? Py_True : Py_False,
                                          self->guard ? Py_True : Py_False);
}

static PyMethodDef arena_methods[] = {
    { "cache", (PyCFunction)(void (*)(void))arena_cache, METH_FASTCALL | METH_KEYWORDS, arena_cache_doc },
    { "memoize", (PyCFunction)(void (*)(void))arena_memoize, METH_VARARGS | METH_KEYWORDS, arena_memoize_doc },
    { "caches", arena_caches, METH_NOARGS, arena_caches_doc },
    { "drop", arena_drop, METH_O, arena_drop_doc },
    { "limits", arena_limits, METH_NOARGS, ARENA_LIMITS_DOC },
    { "drop_limit", arena_drop_limit, METH_O, ARENA_DROP_LIMIT_DOC },
    { "_limit", arena_limit, METH_VARARGS, ARENA_LIMIT_DOC },
    { "channels", arena_channels, METH_NOARGS, ARENA_CHANNELS_DOC },
    { "_channel", arena_channel_open, METH_O, ARENA_CHANNEL_DOC },
    { "tiers", arena_tiers, METH_NOARGS, ARENA_TIERS_DOC },
    { "_tier", arena_tier, METH_O, ARENA_TIER_DOC },
    { "close", arena_close, METH_NOARGS, arena_close_doc },
    { "fileno", arena_fileno, METH_NOARGS, arena_fileno_doc },
    { "info", arena_info, METH_NOARGS, ARENA_INFO_DOC },
    { "rows", arena_rows, METH_NOARGS, ARENA_ROWS_DOC },
    { "stats", arena_stats, METH_NOARGS, ARENA_STATS_DOC },
    { "verify", arena_verify, METH_NOARGS, ARENA_VERIFY_DOC },
    { "__enter__", arena_with, METH_NOARGS, arena_enter_doc },
    { "__exit__", (PyCFunction)(void (*)(void))arena_without, METH_FASTCALL, arena_exit_doc },
    { "_advance_clock", arena_advance, METH_O, arena_advance_doc },
    { "__reduce__", arena_reduce, METH_NOARGS, arena_reduce_doc },
    { NULL, NULL, 0, NULL },
};

static PyObject *arena_get_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(((arena_object *)object)->arena == NULL);
}

static PyObject *arena_get_size(PyObject *object, void *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    return PyLong_FromUnsignedLongLong(forebay_arena_size(self->arena));
}

static PyObject *arena_get_max_entry(PyObject *object, void *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    return PyLong_FromUnsignedLongLong(forebay_arena_max_entry(self->arena));
}

static PyGetSetDef arena_properties[] = {
    { "closed", arena_get_closed, NULL, "True after close().", NULL },
    { "size", arena_get_size, NULL, "Bytes of the arena, all of it: keys, values, index, metadata.", NULL },
    { "max_entry", arena_get_max_entry, NULL,
      "The most bytes that an encoded key and value may take together.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef arena_members[] = {
    { "path", T_OBJECT_EX, offsetof(arena_object, path), READONLY,
      "The absolute path of the arena's file, as a str; None if it has none." },
    { "__weaklistoffset__", T_PYSSIZET, offsetof(arena_object, weakrefs), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(arena_doc, "An open arena: bounded memory that all processes of the machine share.\n\n"
                        "forebay.open() makes it; cache() gives its caches.  A context manager:\n"
                        "leaving the block closes it.  Any thread may use it.  After os.fork() the\n"
                        "child may go on using it, and the caches too.  It is pickled by its path, and\n"
                        "opened again by it in the other process.");

static PyType_Slot arena_slots[] = {
    { Py_tp_doc, (void *)arena_doc },   { Py_tp_new, arena_refuse_new },  { Py_tp_dealloc, arena_dealloc },
    { Py_tp_traverse, arena_traverse }, { Py_tp_repr, arena_repr },       { Py_tp_methods, arena_methods },
    { Py_tp_getset, arena_properties }, { Py_tp_members, arena_members }, { 0, NULL },
};

PyType_Spec arena_type_spec = {
    .name = "forebay.Arena",
    .basicsize = sizeof(arena_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = arena_slots,
};
