/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: going through the keys.  The views and namespaces around that are
 * Python: forebay._mapping. */
#include "cache_methods.h"
#include "decode.h"
#include "keys.h"

#define BUCKETS_AT_ONCE 32

/* Iterator over the keys, some buckets of the index at a time. */
typedef struct keys_object {
    PyObject_HEAD cache_object *cache; /* owned; NULL once it is exhausted */
    uint64_t cursor;
    bool last;             /* the cursor has come round */
    PyObject *found;       /* list of keys, or NULL */
    Py_ssize_t position;   /* in it */
} keys_object;

/* Keys as bytes, behind each other, each after its length. */
typedef struct raw_keys {
    uint8_t *bytes;
    size_t length, capacity;
} raw_keys;

static bool note_key(void *context, const void *key, size_t key_length)
{
    raw_keys *raw = context;
    size_t wanted = raw->length + sizeof(key_length) + key_length;
    if (wanted > raw->capacity) {
        uint8_t *larger = PyMem_RawRealloc(raw->bytes, 2 * wanted);
        if (larger == NULL)
            return false;
        raw->bytes = larger;
        raw->capacity = 2 * wanted;
    }
    memcpy(raw->bytes + raw->length, &key_length, sizeof(key_length));
    memcpy(raw->bytes + raw->length + sizeof(key_length), key, key_length);
    raw->length = wanted;
    return true;
}

/* The keys as a list; those that this library did not encode are left out. */
static PyObject *decode_keys(core_state *state, const raw_keys *raw)
{
    PyObject *list = PyList_New(0);
    for (size_t at = 0; list != NULL && at < raw->length;) {
        size_t length;
        memcpy(&length, raw->bytes + at, sizeof(length));
        PyObject *key = core_key_decode(&state->types, raw->bytes + at + sizeof(length), length);
        at += sizeof(length) + length;
        if (key == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear(); /* a program in C may use keys of its own */
            continue;
        }
        if (key == NULL || PyList_Append(list, key) < 0)
            Py_CLEAR(list);
        Py_XDECREF(key);
    }
    return list;
}

/* Find some more keys. */
static int find_more(keys_object *self)
{
    cache_object *cache = self->cache;
    forebay_cache *handle = cache_handle(cache);
    if (handle == NULL)
        return -1;
    raw_keys raw = { 0 };
    forebay_status status = forebay_scan(handle, &self->cursor, BUCKETS_AT_ONCE, note_key, &raw);
    self->last = self->cursor == 0;
    if (status == FOREBAY_OK)
        self->found = decode_keys(cache->state, &raw);
    else
        cache_raise(cache, status);
    PyMem_RawFree(raw.bytes);
    self->position = 0;
    return self->found == NULL ? -1 : 0;
}

static PyObject *keys_next(PyObject *object)
{
    keys_object *self = (keys_object *)object;
    while (self->cache != NULL) {
        if (self->found != NULL && self->position < PyList_GET_SIZE(self->found))
            return Py_NewRef(PyList_GET_ITEM(self->found, self->position++));
        Py_CLEAR(self->found);
        if (self->last)
            Py_CLEAR(self->cache);
        else if (find_more(self) < 0)
            return NULL;
    }
    return NULL;
}

static int keys_traverse(PyObject *object, visitproc visit, void *arg)
{
    keys_object *self = (keys_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->cache);
    Py_VISIT(self->found);
    return 0;
}

static void keys_dealloc(PyObject *object)
{
    keys_object *self = (keys_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->cache);
    Py_XDECREF(self->found);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot keys_slots[] = {
    { Py_tp_doc, (void *)"Iterator over the keys of a Cache." },
    { Py_tp_dealloc, keys_dealloc },
    { Py_tp_traverse, keys_traverse },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, keys_next },
    { 0, NULL },
};

PyType_Spec keys_type_spec = {
    .name = "forebay._core.CacheKeyIterator",
    .basicsize = sizeof(keys_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = keys_slots,
};

PyObject *cache_iter(PyObject *object)
{
    cache_object *cache = (cache_object *)object;
    if (cache_handle(cache) == NULL)
        return NULL;
    keys_object *self = PyObject_GC_New(keys_object, cache->state->keys_type);
    if (self == NULL)
        return NULL;
    self->cache = (cache_object *)Py_NewRef(object);
    self->cursor = 0;
    self->last = false;
    self->found = NULL;
    self->position = 0;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *core_call_python(const char *module, const char *name, PyObject *self, PyObject *arguments, PyObject *keywords)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *function = imported == NULL ? NULL : PyObject_GetAttrString(imported, name);
    PyObject *first = PyTuple_Pack(1, self);
    PyObject *all = first == NULL ? NULL : arguments == NULL ? Py_NewRef(first) : PySequence_Concat(first, arguments);
    PyObject *result = function == NULL || all == NULL ? NULL : PyObject_Call(function, all, keywords);
    Py_XDECREF(all);
    Py_XDECREF(first);
    Py_XDECREF(function);
    Py_XDECREF(imported);
    return result;
}

#define MAPPING "forebay._mapping"

PyObject *cache_keys(PyObject *self, PyObject *unused) { return core_call_python(MAPPING, "CacheKeys", self, NULL, NULL); }
PyObject *cache_values(PyObject *self, PyObject *unused) { return core_call_python(MAPPING, "CacheValues", self, NULL, NULL); }
PyObject *cache_items(PyObject *self, PyObject *unused) { return core_call_python(MAPPING, "CacheItems", self, NULL, NULL); }

PyObject *cache_popitem(PyObject *self, PyObject *unused) { return core_call_python(MAPPING, "popitem", self, NULL, NULL); }

PyObject *cache_setdefault(PyObject *self, PyObject *arguments)
{
    return core_call_python(MAPPING, "setdefault", self, arguments, NULL);
}

PyObject *cache_update(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return core_call_python(MAPPING, "update", self, arguments, keywords);
}

PyObject *cache_namespace(PyObject *self, PyObject *prefix)
{
    PyObject *arguments = PyTuple_Pack(1, prefix);
    PyObject *result = arguments == NULL ? NULL : core_call_python(MAPPING, "Namespace", self, arguments, NULL);
    Py_XDECREF(arguments);
    return result;
}

PyObject *cache_memoize(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return core_call_python("forebay._memoize", "memoize", self, arguments, keywords);
}
