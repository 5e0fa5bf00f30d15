/* SPDX-License-Identifier: Apache-2.0 */
/* The callable that memoize() makes of a function: a hit is one vectorcall, a
 * key encoded on the stack and a get.  All else is Python: forebay._memoize. */
#include "cache_methods.h"
#include "keys.h"
#include "memoize.h"
#include "value_out.h"

#include <stddef.h>
#include <structmember.h> /* T_OBJECT_EX: 3.11 has no Py_ names for them */

#define ARGUMENT_BYTES 512u /* of encoded arguments that take no heap block */
#define LONG_ARGUMENTS 1024u /* more are replaced by their digest */
#define KEYWORDS_FOLLOW 0xc1 /* a byte that MessagePack does not use */
#define PREFIX_MOST 512u     /* bytes of a function's name */

typedef struct memoized_object {
    PyObject_HEAD vectorcallfunc vectorcall;
    core_state *state;
    PyObject *function;  /* owned, as all that follow: what is memoized */
    PyObject *resolve;   /* () -> Cache, at the first call */
    PyObject *miss;      /* (key, arguments, keywords): the result, of this call or of another's at the moment */
    PyObject *digest;    /* bytes -> bytes */
    PyObject *key;       /* NULL, or what makes the key of the arguments */
    PyObject *name;      /* str, the first part of all keys */
    PyObject *dict;
    PyObject *weakrefs;
    cache_object *cache; /* NULL until the first call */
    memo memo;           /* of a lazy cache's results, by the bytes of keys */
    bool typed;
    uint64_t hits, misses;
    size_t prefix_length;
    uint8_t prefix[PREFIX_MOST]; /* of encoded keys: a tuple, its first element */
} memoized_object;

/* ---- keys: the tuple (name, bytes of the arguments) ---- */

/* 1, 1.0 and True are one argument unless `typed`. */
static PyObject *untyped(PyObject *argument)
{
    if (PyBool_Check(argument))
        return PyLong_FromLong(argument == Py_True);
    if (PyFloat_CheckExact(argument)) {
        double number = PyFloat_AS_DOUBLE(argument);
        if (number > -9e15 && number < 9e15 && number == (double)(int64_t)number)
            return PyLong_FromDouble(number);
    }
    return Py_NewRef(argument);
}

static int append_argument(memoized_object *self, PyObject *argument, core_writer *writer)
{
    if (PyUnicode_CheckExact(argument) || PyLong_CheckExact(argument)) /* most arguments are */
        return core_encode(&self->state->types, argument, writer) == 0 ? 0 : -1;
    PyObject *plain = self->typed ? Py_NewRef(argument) : untyped(argument);
    if (plain == NULL)
        return -1;
    int outcome = core_encode(&self->state->types, plain, writer);
    Py_DECREF(plain);
    if (outcome < 0 && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_TypeError, "%U() has an argument that cannot be part of a key: its type is %.100s; leave it out "
                     "with memoize(ignore=...), or make the key yourself with memoize(key=...)",
                     self->name, Py_TYPE(argument)->tp_name);
    }
    return outcome == 0 ? 0 : -1;
}

/* Names in alphabetical order, so that the order in the call does not matter. */
static int append_keywords(memoized_object *self, PyObject *const *values, PyObject *names, core_writer *writer)
{
    PyObject *sorted = PySequence_List(names);
    int outcome = sorted == NULL ? -1 : PyList_Sort(sorted);
    if (outcome == 0 && !fb_pack_byte(&writer->pack, KEYWORDS_FOLLOW)) {
        PyErr_NoMemory();
        outcome = -1;
    }
    for (Py_ssize_t i = 0; outcome == 0 && i < PyList_GET_SIZE(sorted); i++) {
        PyObject *name = PyList_GET_ITEM(sorted, i);
        Py_ssize_t at = PySequence_Index(names, name);
        outcome = at < 0 || core_encode(&self->state->types, name, writer) != 0 ? -1 : append_argument(self, values[at], writer);
    }
    Py_XDECREF(sorted);
    return outcome;
}

static int append_arguments(memoized_object *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names, core_writer *writer)
{
    if (self->key != NULL) {
        PyObject *key = PyObject_Vectorcall(self->key, arguments, (size_t)count, names);
        int outcome = key == NULL ? -1 : append_argument(self, key, writer);
        Py_XDECREF(key);
        return outcome;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (append_argument(self, arguments[i], writer) < 0)
            return -1;
    return names == NULL || PyTuple_GET_SIZE(names) == 0 ? 0 : append_keywords(self, arguments + count, names, writer);
}

/* An encoded key: `small`, never more. */
typedef struct memo_key {
    size_t length;
    size_t arguments_length;   /* the last bytes of it */
    uint8_t small[PREFIX_MOST + 3 + LONG_ARGUMENTS];
} memo_key;

static void finish_key(const memoized_object *self, const void *data, size_t length, memo_key *key)
{
    uint8_t *at = key->small;
    memcpy(at, self->prefix, self->prefix_length);
    at += self->prefix_length;
    if (length + 1 >= 128)
        *at++ = (uint8_t)((length + 1) >> 8 | 0x80);
    *at++ = (uint8_t)(length + 1);
    *at++ = 'b';
    memcpy(at, data, length);
    key->length = (size_t)(at - key->small) + length;
    key->arguments_length = length;
}

static int make_key(memoized_object *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names, memo_key *key)
{
    core_writer writer;
    uint8_t memory[ARGUMENT_BYTES];
    core_writer_init(&writer, memory, sizeof(memory), SIZE_MAX);
    int outcome = append_arguments(self, arguments, count, names, &writer);
    size_t length = core_writer_length(&writer);
    if (outcome == 0 && length <= LONG_ARGUMENTS) {
        finish_key(self, core_writer_data(&writer), length, key);
    } else if (outcome == 0) {
        PyObject *digest = PyObject_CallFunction(self->digest, "y#", core_writer_data(&writer), (Py_ssize_t)length);
        outcome = digest != NULL && PyBytes_Check(digest) && PyBytes_GET_SIZE(digest) <= 64 ? 0 : -1;
        if (outcome == 0)
            finish_key(self, PyBytes_AS_STRING(digest), (size_t)PyBytes_GET_SIZE(digest), key);
        Py_XDECREF(digest);
    }
    core_writer_clear(&writer);
    return outcome;
}

static PyObject *key_object(const memoized_object *self, const memo_key *key)
{
    return Py_BuildValue("(Oy#)", self->name, key->small + key->length - key->arguments_length,
                         (Py_ssize_t)key->arguments_length);
}

/* ---- calls ---- */

static cache_object *cache_of(memoized_object *self)
{
    if (__builtin_expect(self->cache != NULL, 1))
        return self->cache;
    PyObject *cache = PyObject_CallNoArgs(self->resolve);
    if (cache == NULL)
        return NULL;
    if (!PyObject_TypeCheck(cache, self->state->cache_type)) {
        PyErr_Format(PyExc_TypeError, "memoize() needs a Cache, not %.100s", Py_TYPE(cache)->tp_name);
        Py_DECREF(cache);
        return NULL;
    }
    if (self->cache == NULL)
        self->cache = (cache_object *)cache;
    else
        Py_DECREF(cache); /* another thread was first */
    return self->cache;
}

static int find_lazily(memoized_object *self, const memo_key *key, PyObject **value)
{
    self->memo.limit = self->cache->memo.limit;
    if (self->memo.limit == 0)
        return lazy_look_up_bytes(self->cache, key->small, key->length, value);
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)key->small, (Py_ssize_t)key->length);
    if (bytes == NULL)
        return -1;
    int outcome = lazy_look_up_with(self->cache, &self->memo, bytes, key->small, key->length, value);
    Py_DECREF(bytes);
    return outcome;
}

static int find(memoized_object *self, const memo_key *key, PyObject **value)
{
    cache_object *cache = cache_of(self);
    if (cache == NULL)
        return -1;
    int outcome = cache->ways & CACHE_LAZY ? find_lazily(self, key, value)
                                           : cache_look_up_bytes(cache, key->small, key->length, value);
    if (outcome < 0)
        return -1;
    if (*value != NULL)
        self->hits++;
    else
        self->misses++;
    return 0;
}

static PyObject *positional_arguments(PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(arguments[i]));
    return tuple;
}

/* Of those that follow the positional ones. */
static PyObject *keyword_arguments(PyObject *const *values, PyObject *names)
{
    PyObject *keywords = PyDict_New();
    for (Py_ssize_t i = 0; keywords != NULL && names != NULL && i < PyTuple_GET_SIZE(names); i++)
        if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), values[i]) < 0)
            Py_CLEAR(keywords);
    return keywords;
}

static PyObject *compute(memoized_object *self, const memo_key *key, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *key_for_miss = key_object(self, key), *positional = positional_arguments(arguments, count);
    PyObject *keywords = keyword_arguments(arguments + count, names), *result = NULL;
    if (key_for_miss != NULL && positional != NULL && keywords != NULL)
        result = PyObject_CallFunctionObjArgs(self->miss, key_for_miss, positional, keywords, NULL);
    Py_XDECREF(key_for_miss);
    Py_XDECREF(positional);
    Py_XDECREF(keywords);
    return result != NULL && self->cache != NULL ? cache_as_read(self->cache, result) : result;
}

static PyObject *memoized_call(PyObject *object, PyObject *const *arguments, size_t nargsf, PyObject *names)
{
    memoized_object *self = (memoized_object *)object;
    memo_key key;
    PyObject *value = NULL;
    if (make_key(self, arguments, PyVectorcall_NARGS(nargsf), names, &key) < 0 || find(self, &key, &value) < 0)
        return NULL;
    return value != NULL ? value : compute(self, &key, arguments, PyVectorcall_NARGS(nargsf), names);
}

PyDoc_STRVAR(memoized_cache_key_doc, "cache_key($self, /, *args, **kwargs)\n--\n\n"
                                     "The key in the cache of a call with these arguments.");

static PyObject *memoized_cache_key(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    memo_key key;
    return make_key((memoized_object *)object, arguments, count, names, &key) < 0 ? NULL
                                                                                  : key_object((memoized_object *)object, &key);
}

PyDoc_STRVAR(memoized_find_doc, "_find($self, /, *args, **kwargs)\n--\n\n"
                                "(True, value) of a call that is in the cache, (False, key) of one that is not.");

static PyObject *memoized_find(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    memoized_object *self = (memoized_object *)object;
    memo_key key;
    PyObject *value = NULL;
    if (make_key(self, arguments, count, names, &key) < 0 || find(self, &key, &value) < 0)
        return NULL;
    return value != NULL ? Py_BuildValue("(ON)", Py_True, value) : Py_BuildValue("(ON)", Py_False, key_object(self, &key));
}

PyDoc_STRVAR(memoized_as_found_doc, "_as_found($self, result, /)\n--\n\nWhat a call that finds this result returns.");

static PyObject *memoized_as_found(PyObject *object, PyObject *result)
{
    cache_object *cache = ((memoized_object *)object)->cache;
    return cache != NULL ? cache_as_read(cache, Py_NewRef(result)) : Py_NewRef(result);
}

static PyObject *memoized_get_hits(PyObject *object, void *unused)
{
    return PyLong_FromUnsignedLongLong(((memoized_object *)object)->hits);
}

static PyObject *memoized_get_misses(PyObject *object, void *unused)
{
    return PyLong_FromUnsignedLongLong(((memoized_object *)object)->misses);
}

static PyObject *memoized_get_cache(PyObject *object, void *unused)
{
    return Py_XNewRef((PyObject *)cache_of((memoized_object *)object));
}

/* As a function in a class: bound to the instance. */
static PyObject *memoized_bind(PyObject *self, PyObject *instance, PyObject *unused)
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

/* ---- life ---- */

/* The encoded beginning of all keys of this name. */
static int make_prefix(memoized_object *self)
{
    core_key name;
    if (core_key_encode(&self->state->types, self->name, &name) < 0)
        return -1;
    bool fits = name.length + 3 <= sizeof(self->prefix);
    if (fits) {
        uint8_t *at = self->prefix;
        *at++ = 't';
        if (name.length >= 128)
            *at++ = (uint8_t)(name.length >> 8 | 0x80);
        *at++ = (uint8_t)name.length;
        memcpy(at, name.data, name.length);
        self->prefix_length = (size_t)(at - self->prefix) + name.length;
    } else {
        PyErr_Format(PyExc_ValueError, "the name of a memoized function takes at most %u bytes: %R", PREFIX_MOST - 4, self->name);
    }
    core_key_clear(&name);
    return fits ? 0 : -1;
}

PyObject *core_memoized(PyObject *module, PyObject *arguments)
{
    core_state *state = core_state_of(module);
    PyObject *function, *name, *resolve, *miss, *digest, *key;
    int typed;
    if (!PyArg_ParseTuple(arguments, "OUOOOOp:_memoized", &function, &name, &resolve, &miss, &digest, &key, &typed))
        return NULL;
    memoized_object *self = PyObject_GC_New(memoized_object, state->memoized_type);
    if (self == NULL)
        return NULL;
    self->vectorcall = memoized_call;
    self->state = state;
    self->function = Py_NewRef(function);
    self->resolve = Py_NewRef(resolve);
    self->miss = Py_NewRef(miss);
    self->digest = Py_NewRef(digest);
    self->key = key == Py_None ? NULL : Py_NewRef(key);
    self->name = Py_NewRef(name);
    self->dict = NULL;
    self->weakrefs = NULL;
    self->cache = NULL;
    self->memo = (memo){ .limit = 0 };
    self->typed = typed != 0;
    self->hits = self->misses = 0;
    PyObject_GC_Track(self);
    if (make_prefix(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int memoized_traverse(PyObject *object, visitproc visit, void *arg)
{
    memoized_object *self = (memoized_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->function);
    Py_VISIT(self->resolve);
    Py_VISIT(self->miss);
    Py_VISIT(self->digest);
    Py_VISIT(self->key);
    Py_VISIT(self->dict);
    Py_VISIT((PyObject *)self->cache);
    return 0;
}

static int memoized_clear(PyObject *object)
{
    memoized_object *self = (memoized_object *)object;
    Py_CLEAR(self->function);
    Py_CLEAR(self->resolve);
    Py_CLEAR(self->miss);
    Py_CLEAR(self->digest);
    Py_CLEAR(self->key);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->cache);
    return 0;
}

static void memoized_dealloc(PyObject *object)
{
    memoized_object *self = (memoized_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    memoized_clear(object);
    memo_clear(&self->memo);
    Py_CLEAR(self->name);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *memoized_repr(PyObject *object)
{
    return PyUnicode_FromFormat("<forebay memoized %U>", ((memoized_object *)object)->name);
}

PyDoc_STRVAR(memoized_reduce_doc, "__reduce__($self, /)\n--\n\nPickled as functions are: by module and name.");

static PyObject *memoized_reduce(PyObject *object, PyObject *unused)
{
    return PyObject_GetAttrString(object, "__qualname__");
}

static PyMethodDef memoized_methods[] = {
    { "__reduce__", memoized_reduce, METH_NOARGS, memoized_reduce_doc },
    { "cache_key", (PyCFunction)(void (*)(void))memoized_cache_key, METH_FASTCALL | METH_KEYWORDS, memoized_cache_key_doc },
    { "_find", (PyCFunction)(void (*)(void))memoized_find, METH_FASTCALL | METH_KEYWORDS, memoized_find_doc },
    { "_as_found", memoized_as_found, METH_O, memoized_as_found_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef memoized_properties[] = {
    { "_hits", memoized_get_hits, NULL, "Calls of this process that were in the cache.", NULL },
    { "_misses", memoized_get_misses, NULL, "Calls of this process that were not.", NULL },
    { "cache", memoized_get_cache, NULL, "The Cache the results are in; opens it.", NULL },
    { "__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef memoized_members[] = {
    { "__vectorcalloffset__", T_PYSSIZET, offsetof(memoized_object, vectorcall), READONLY, NULL },
    { "__dictoffset__", T_PYSSIZET, offsetof(memoized_object, dict), READONLY, NULL },
    { "__weaklistoffset__", T_PYSSIZET, offsetof(memoized_object, weakrefs), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyType_Slot memoized_slots[] = {
    { Py_tp_doc, (void *)"A function whose results are in a Cache." },
    { Py_tp_dealloc, memoized_dealloc },
    { Py_tp_traverse, memoized_traverse },
    { Py_tp_clear, memoized_clear },
    { Py_tp_repr, memoized_repr },
    { Py_tp_call, PyVectorcall_Call },
    { Py_tp_descr_get, memoized_bind },
    { Py_tp_methods, memoized_methods },
    { Py_tp_getset, memoized_properties },
    { Py_tp_members, memoized_members },
    { 0, NULL },
};

PyType_Spec memoized_type_spec = {
    .name = "forebay._core.Memoized",
    .basicsize = sizeof(memoized_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = memoized_slots,
};
