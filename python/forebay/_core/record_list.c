/* SPDX-License-Identifier: Apache-2.0 */
/* RecordList and RecordTuple: read-only sequences over an encoded array. */
#include "record.h"

static bool is_tuple(PyObject *object)
{
    return Py_IS_TYPE(object, ((record_object *)object)->state->record_tuple_type);
}

/* Note where every RECORD_STEP-th element begins. */
static int make_marks(record_object *self)
{
    fb_pack_reader reader = record_reader(self, self->first);
    size_t count = self->count / RECORD_STEP + 1; /* each takes a byte at least: fb_pack_open() saw to that */
    size_t *marks = PyMem_Malloc(count * sizeof(*marks));
    if (marks == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        marks[i] = (size_t)(reader.at - self->first);
        fb_pack_error error = i + 1 < count ? fb_pack_skip(&reader, RECORD_STEP) : FB_PACK_OK;
        if (error != FB_PACK_OK) {
            PyMem_Free(marks);
            record_raise(self, reader.at, error);
            return -1;
        }
    }
    self->marks = marks;
    return 0;
}

/* Put the reader where an element begins; the first lookup far inside goes there
 * straight, the second makes marks. */
static int seek(record_object *self, Py_ssize_t index, fb_pack_reader *reader)
{
    size_t skipped = (size_t)index;
    const uint8_t *from = self->first;
    if (self->marks == NULL && skipped >= RECORD_STEP && self->looks++ != 0 && make_marks(self) < 0)
        return -1;
    if (self->marks != NULL) {
        from += self->marks[skipped / RECORD_STEP];
        skipped %= RECORD_STEP;
    }
    *reader = record_reader(self, from);
    fb_pack_error error = fb_pack_skip(reader, skipped);
    if (error == FB_PACK_OK)
        return 0;
    record_raise(self, reader->at, error);
    return -1;
}

static PyObject *list_item(PyObject *object, Py_ssize_t index)
{
    record_object *self = (record_object *)object;
    fb_pack_reader reader;
    if (index < 0 || index >= (Py_ssize_t)self->count)
        return PyErr_Format(PyExc_IndexError, "%s index out of range", is_tuple(object) ? "tuple" : "list");
    if (seek(self, index, &reader) < 0)
        return NULL;
    return record_value(self->state, self->owner, self->start, &reader);
}

/* Elements of a slice; a tuple, or a list. */
static PyObject *slice_of(record_object *self, Py_ssize_t start, Py_ssize_t step, Py_ssize_t count, bool as_tuple)
{
    PyObject *result = as_tuple ? PyTuple_New(count) : PyList_New(count);
    fb_pack_reader reader = { 0 };
    for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
        PyObject *value = NULL;
        if ((i != 0 && step == 1) || seek(self, start + i * step, &reader) == 0)
            value = record_next(self, &reader);
        if (value == NULL)
            Py_CLEAR(result);
        else if (as_tuple)
            PyTuple_SET_ITEM(result, i, value);
        else
            PyList_SET_ITEM(result, i, value);
    }
    return result;
}

static PyObject *list_subscript(PyObject *object, PyObject *key)
{
    record_object *self = (record_object *)object;
    Py_ssize_t start, stop, step, count = (Py_ssize_t)self->count;
    if (PyIndex_Check(key)) {
        Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (index == -1 && PyErr_Occurred())
            return NULL;
        return list_item(object, index < 0 ? index + count : index);
    }
    if (!PySlice_Check(key))
        return PyErr_Format(PyExc_TypeError, "indices must be integers or slices, not %.100s", Py_TYPE(key)->tp_name);
    if (PySlice_Unpack(key, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t length = PySlice_AdjustIndices(count, &start, &stop, step);
    return slice_of(self, start, step, length, is_tuple(object));
}

static Py_ssize_t list_length(PyObject *object)
{
    return (Py_ssize_t)((record_object *)object)->count;
}

static PyObject *list_iter(PyObject *object)
{
    return record_iterate((record_object *)object, RECORD_ELEMENTS);
}

/* As the list or tuple it stands for. */
static PyObject *list_compare(PyObject *object, PyObject *other, int operation)
{
    const core_state *state = ((record_object *)object)->state;
    bool same_kind = Py_IS_TYPE(other, Py_TYPE(object)) || (is_tuple(object) ? PyTuple_Check(other) : PyList_Check(other));
    if (!same_kind)
        Py_RETURN_NOTIMPLEMENTED;
    if (object == other && (operation == Py_EQ || operation == Py_NE))
        return PyBool_FromLong(operation == Py_EQ);
    PyObject *ours = record_materialize(object, NULL);
    PyObject *theirs = ours == NULL ? NULL : record_plain_of(state, other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(ours, theirs, operation);
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return result;
}

static Py_hash_t list_hash(PyObject *object)
{
    PyErr_SetString(PyExc_TypeError, "unhashable type: 'forebay.RecordList', as a list is; make a key of what materialize() gives");
    return -1;
}

static Py_hash_t tuple_hash(PyObject *object)
{
    PyObject *plain = record_materialize(object, NULL);
    Py_hash_t hash = plain == NULL ? -1 : PyObject_Hash(plain);
    Py_XDECREF(plain);
    return hash;
}

/* A method of the plain value. */
static PyObject *of_plain(PyObject *object, const char *name, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *plain = record_materialize(object, NULL);
    PyObject *method = plain == NULL ? NULL : PyObject_GetAttrString(plain, name);
    PyObject *result = method == NULL ? NULL : PyObject_Vectorcall(method, arguments, (size_t)count, NULL);
    Py_XDECREF(method);
    Py_XDECREF(plain);
    return result;
}

static PyObject *list_index(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return of_plain(object, "index", arguments, count);
}

static PyObject *list_count(PyObject *object, PyObject *value)
{
    return of_plain(object, "count", &value, 1);
}

#define SEQUENCE_METHODS(name)                                                                               \
    static PyMethodDef name[] = {                                                                            \
        { "index", (PyCFunction)(void (*)(void))list_index, METH_FASTCALL,                                   \
          "index($self, value, start=0, stop=..., /)\n--\n\nWhere the value is first; ValueError if nowhere." }, \
        { "count", list_count, METH_O, "count($self, value, /)\n--\n\nHow often the value occurs." },        \
        { "materialize", record_materialize, METH_NOARGS, RECORD_MATERIALIZE_DOC },                          \
        { "__reduce__", record_reduce, METH_NOARGS, RECORD_REDUCE_DOC },                                     \
        { "__copy__", record_itself, METH_NOARGS, RECORD_COPY_DOC },                                         \
        { "__deepcopy__", record_itself, METH_O, RECORD_DEEPCOPY_DOC },                                      \
        { "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,                                         \
          "__class_getitem__($type, item, /)\n--\n\nWith the type of its elements, for annotations." },      \
        { NULL, NULL, 0, NULL },                                                                             \
    }
SEQUENCE_METHODS(list_methods);
SEQUENCE_METHODS(tuple_methods);

#define SEQUENCE_SLOTS(name, doc, hash, methods)                                                             \
    static PyType_Slot name[] = {                                                                            \
        { Py_tp_doc, (void *)(doc) },                                                                        \
        { Py_tp_dealloc, record_dealloc },                                                                   \
        { Py_tp_repr, record_repr },                                                                         \
        { Py_tp_hash, hash },                                                                                \
        { Py_tp_richcompare, list_compare },                                                                 \
        { Py_tp_iter, list_iter },                                                                           \
        { Py_tp_methods, methods },                                                                          \
        { Py_sq_item, list_item },                                                                           \
        { Py_sq_length, list_length },                                                                       \
        { Py_mp_length, list_length },                                                                       \
        { Py_mp_subscript, list_subscript },                                                                 \
        { Py_nb_bool, record_bool },                                                                         \
        { 0, NULL },                                                                                         \
    }

PyDoc_STRVAR(list_doc, "A list as it is stored: a read-only sequence that decodes what is looked at.\n\n"
                       "Cache.lazy() makes it; see Record.  A slice is a list.");
PyDoc_STRVAR(tuple_doc, "A tuple as it is stored: a read-only sequence that decodes what is looked at.\n\n"
                        "Cache.lazy() makes it; see Record.  A slice is a tuple.");
SEQUENCE_SLOTS(list_slots, list_doc, list_hash, list_methods);
SEQUENCE_SLOTS(tuple_slots, tuple_doc, tuple_hash, tuple_methods);

#define SEQUENCE_FLAGS                                                                                       \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_SEQUENCE)

PyType_Spec record_list_spec = {
    .name = "forebay.RecordList",
    .basicsize = sizeof(record_object),
    .flags = SEQUENCE_FLAGS,
    .slots = list_slots,
};

PyType_Spec record_tuple_spec = {
    .name = "forebay.RecordTuple",
    .basicsize = sizeof(record_object),
    .flags = SEQUENCE_FLAGS,
    .slots = tuple_slots,
};
