/* SPDX-License-Identifier: Apache-2.0 */
/* Record: a read-only mapping over an encoded map. */
#include "decode.h"
#include "record.h"
#include "value_out.h"

/* Lookups of strs that go through the keys, before an index is made: of maps with
 * more pairs, one. */
#define FEW_PAIRS 16u
#define FEW_LOOKS 8u

/* The full decoder's dict, with the places of values in their stead: a key that is
 * there twice has the first's place and the last's value, here as there. */
static PyObject *dict_of_places(record_object *self)
{
    core_types *types = &self->state->types;
    fb_pack_reader reader = record_reader(self, self->first);
    PyObject *index = PyDict_New();
    for (uint32_t i = 0; index != NULL && i < self->count; i++) {
        const uint8_t *at = reader.at;
        PyObject *key = core_decode_next_key(types, self->start, &reader);
        PyObject *place = key == NULL ? NULL : PyLong_FromSize_t((size_t)(reader.at - self->first));
        fb_pack_error error = FB_PACK_OK;
        int outcome = place == NULL ? -1 : PyDict_SetItem(index, key, place);
        if (outcome < 0 && place != NULL && PyErr_ExceptionMatches(PyExc_TypeError))
            core_decode_raise(self->start, at, "a map key of a type that is not hashable");
        if (outcome == 0 && (error = fb_pack_skip(&reader, 1)) != FB_PACK_OK)
            core_decode_raise(self->start, reader.at, fb_pack_error_text(error));
        Py_XDECREF(key);
        Py_XDECREF(place);
        if (outcome < 0 || error != FB_PACK_OK)
            Py_CLEAR(index);
    }
    if (index == NULL)
        value_raise_damaged(self->state);
    return index;
}

int record_make_index(record_object *self)
{
    if (self->index != NULL)
        return 0;
    PyObject *index = dict_of_places(self); /* hashing a key may run Python code, which may get here as well */
    if (index == NULL)
        return -1;
    if (self->index == NULL)
        self->index = index;
    else
        Py_DECREF(index);
    return 0;
}

/* Is this a key to be looked for among the encoded ones?  Another type may be equal
 * to keys that are encoded in another way. */
static bool text_of(record_object *self, PyObject *key, fb_pack_text *text)
{
    if (!PyUnicode_CheckExact(key) || self->looks >= (self->count <= FEW_PAIRS ? FEW_LOOKS : 1))
        return false;
    if (PyUnicode_IS_COMPACT_ASCII(key)) {
        *text = (fb_pack_text){ PyUnicode_1BYTE_DATA(key), (size_t)PyUnicode_GET_LENGTH(key) };
        return true;
    }
    Py_ssize_t length;
    const char *data = PyUnicode_AsUTF8AndSize(key, &length);
    if (data == NULL)
        PyErr_Clear(); /* surrogates */
    *text = (fb_pack_text){ (const uint8_t *)data, (size_t)length };
    return data != NULL;
}

/* 1: the key's value begins at `*value`; 0: no such key; -1. */
static int find(record_object *self, PyObject *key, const uint8_t **value)
{
    fb_pack_text text;
    if (self->index == NULL && text_of(self, key, &text)) {
        fb_pack_reader reader = record_reader(self, self->first);
        fb_pack_error error = fb_pack_find_text(&reader, self->count, &text, value);
        self->looks++;
        if (error != FB_PACK_OK)
            record_raise(self, reader.at, error);
        return error != FB_PACK_OK ? -1 : *value != NULL;
    }
    if (record_make_index(self) < 0)
        return -1;
    PyObject *place = PyDict_GetItemWithError(self->index, key);
    if (place == NULL)
        return PyErr_Occurred() ? -1 : 0;
    *value = self->first + PyLong_AsSize_t(place);
    return 1;
}

static PyObject *map_subscript(PyObject *object, PyObject *key)
{
    const uint8_t *value;
    int found = find((record_object *)object, key, &value);
    if (found == 1)
        return record_value_at((record_object *)object, value);
    if (found == 0) {
        PyObject *arguments = PyTuple_Pack(1, key); /* a tuple must not become the arguments */
        if (arguments != NULL)
            PyErr_SetObject(PyExc_KeyError, arguments);
        Py_XDECREF(arguments);
    }
    return NULL;
}

PyDoc_STRVAR(map_get_doc, "get($self, key, default=None, /)\n--\n\nThe value of a key; default if there is none.");

static PyObject *map_get(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "get() takes 1 to 2 positional arguments, %zd given", count);
    const uint8_t *value;
    int found = find((record_object *)object, arguments[0], &value);
    if (found == 1)
        return record_value_at((record_object *)object, value);
    return found < 0 ? NULL : Py_NewRef(count == 2 ? arguments[1] : Py_None);
}

static int map_contains(PyObject *object, PyObject *key)
{
    const uint8_t *value;
    return find((record_object *)object, key, &value);
}

static Py_ssize_t map_length(PyObject *object)
{
    record_object *self = (record_object *)object;
    return record_make_index(self) < 0 ? -1 : PyDict_GET_SIZE(self->index);
}

static PyObject *map_iter(PyObject *object)
{
    record_object *self = (record_object *)object;
    return record_make_index(self) < 0 ? NULL : PyObject_GetIter(self->index);
}

/* A method of the dict of places that has to do with keys alone. */
static PyObject *of_keys(PyObject *object, const char *method)
{
    record_object *self = (record_object *)object;
    return record_make_index(self) < 0 ? NULL : PyObject_CallMethod(self->index, method, NULL);
}

static PyObject *map_keys(PyObject *object, PyObject *unused) { return of_keys(object, "keys"); }
static PyObject *map_reversed(PyObject *object, PyObject *unused) { return of_keys(object, "__reversed__"); }
static PyObject *map_iter_values(PyObject *object, PyObject *unused)
{
    return record_iterate((record_object *)object, RECORD_VALUES);
}
static PyObject *map_iter_items(PyObject *object, PyObject *unused)
{
    return record_iterate((record_object *)object, RECORD_ITEMS);
}

static PyObject *view_of(PyObject *object, const char *type)
{
    PyObject *module = PyImport_ImportModule("forebay._records");
    PyObject *view = module == NULL ? NULL : PyObject_CallMethod(module, type, "O", object);
    Py_XDECREF(module);
    return view;
}

static PyObject *map_values(PyObject *object, PyObject *unused) { return view_of(object, "RecordValues"); }
static PyObject *map_items(PyObject *object, PyObject *unused) { return view_of(object, "RecordItems"); }

/* `object` as a dict that may be compared or merged; NULL without an exception: it is no mapping. */
static PyObject *dict_of(const core_state *state, PyObject *object)
{
    if (Py_IS_TYPE(object, state->record_type))
        return record_materialize(object, NULL);
    if (PyDict_Check(object))
        return Py_NewRef(object);
    if (!PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_MAPPING))
        return NULL;
    return PyObject_CallOneArg((PyObject *)&PyDict_Type, object);
}

static PyObject *map_compare(PyObject *object, PyObject *other, int operation)
{
    record_object *self = (record_object *)object;
    if (operation != Py_EQ && operation != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    if (object == other)
        return PyBool_FromLong(operation == Py_EQ);
    PyObject *theirs = dict_of(self->state, other);
    if (theirs == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *ours = record_materialize(object, NULL);
    PyObject *result = ours == NULL ? NULL : PyObject_RichCompare(ours, theirs, operation);
    Py_XDECREF(ours);
    Py_DECREF(theirs);
    return result;
}

/* Either side may be the record: a new dict in each case. */
static PyObject *map_or(PyObject *left, PyObject *right)
{
    record_object *self = (record_object *)(Py_TYPE(left)->tp_dealloc == record_dealloc ? left : right);
    PyObject *added = dict_of(self->state, right);
    PyObject *base = added == NULL ? NULL : dict_of(self->state, left);
    PyObject *result = base == NULL ? NULL : PyDict_Copy(base);
    if (result != NULL && PyDict_Update(result, added) < 0)
        Py_CLEAR(result);
    Py_XDECREF(base);
    Py_XDECREF(added);
    if (result == NULL && !PyErr_Occurred())
        Py_RETURN_NOTIMPLEMENTED;
    return result;
}

static Py_hash_t map_hash(PyObject *object)
{
    PyErr_SetString(PyExc_TypeError, "unhashable type: 'forebay.Record', as a dict is; make a key of what materialize() gives");
    return -1;
}

static PyMethodDef map_methods[] = {
    { "get", (PyCFunction)(void (*)(void))map_get, METH_FASTCALL, map_get_doc },
    { "keys", map_keys, METH_NOARGS, "keys($self, /)\n--\n\nThe keys, as a set-like view." },
    { "values", map_values, METH_NOARGS, "values($self, /)\n--\n\nThe values, as a view; each is decoded when it is reached." },
    { "items", map_items, METH_NOARGS, "items($self, /)\n--\n\nPairs of key and value, as a set-like view; see values()." },
    { "materialize", record_materialize, METH_NOARGS, RECORD_MATERIALIZE_DOC },
    { "_iter_values", map_iter_values, METH_NOARGS, "_iter_values($self, /)\n--\n\nFor RecordValues." },
    { "_iter_items", map_iter_items, METH_NOARGS, "_iter_items($self, /)\n--\n\nFor RecordItems." },
    { "__reversed__", map_reversed, METH_NOARGS, "__reversed__($self, /)\n--\n\nThe keys, from the last to the first." },
    { "__reduce__", record_reduce, METH_NOARGS, RECORD_REDUCE_DOC },
    { "__copy__", record_itself, METH_NOARGS, RECORD_COPY_DOC },
    { "__deepcopy__", record_itself, METH_O, RECORD_DEEPCOPY_DOC },
    { "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
      "__class_getitem__($type, item, /)\n--\n\nRecord[K, V], for annotations." },
    { NULL, NULL, 0, NULL },
};

PyDoc_STRVAR(map_doc, "A dict as it is stored: a read-only mapping that decodes what is looked at.\n\n"
                      "Cache.lazy() makes it.  Dicts, lists and tuples in it are records, too, on the\n"
                      "same bytes; other values come decoded, fresh each time.  It is equal to the\n"
                      "dict it stands for, and materialize() gives that.  What is wrong with damaged\n"
                      "bytes shows when they are reached, as CorruptError.");

static PyType_Slot map_slots[] = {
    { Py_tp_doc, (void *)map_doc },
    { Py_tp_dealloc, record_dealloc },
    { Py_tp_repr, record_repr },
    { Py_tp_hash, map_hash },
    { Py_tp_richcompare, map_compare },
    { Py_tp_iter, map_iter },
    { Py_tp_methods, map_methods },
    { Py_mp_subscript, map_subscript },
    { Py_mp_length, map_length },
    { Py_sq_contains, map_contains },
    { Py_nb_or, map_or },
    { Py_nb_bool, record_bool },
    { 0, NULL },
};

PyType_Spec record_map_spec = {
    .name = "forebay.Record",
    .basicsize = sizeof(record_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_MAPPING,
    .slots = map_slots,
};
