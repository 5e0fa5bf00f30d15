/* SPDX-License-Identifier: Apache-2.0 */
/* What the record types share, and the iterator over them. */
#include "record.h"

#include "batch_objects.h"
#include "decode.h"
#include "value_out.h"

PyObject *record_raise(record_object *self, const uint8_t *at, fb_pack_error error)
{
    core_decode_raise(self->start, at, fb_pack_error_text(error));
    return value_raise_damaged(self->state);
}

static PyObject *record_new(core_state *state, PyObject *owner, const uint8_t *start, const uint8_t *at,
                            const fb_pack_box *box)
{
    PyTypeObject *type = box->type == FB_PACK_MAP ? state->record_type
                         : box->is_tuple          ? state->record_tuple_type
                                                  : state->record_list_type;
    record_object *self = PyObject_New(record_object, type);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->owner = Py_NewRef(owner);
    self->start = start;
    self->at = at;
    self->first = box->first;
    self->end = box->end;
    self->count = box->count;
    self->looks = 0;
    self->index = NULL;
    self->marks = NULL;
    return (PyObject *)self;
}

PyObject *record_value(core_state *state, PyObject *owner, const uint8_t *start, fb_pack_reader *reader)
{
    if (fb_pack_left(reader) != 0 && fb_pack_may_be_box(*reader->at)) {
        fb_pack_box box;
        bool is_box;
        fb_pack_error error = fb_pack_open_box(reader, &box, &is_box);
        if (error != FB_PACK_OK) {
            core_decode_raise(start, reader->at, fb_pack_error_text(error));
            return value_raise_damaged(state);
        }
        if (is_box)
            return record_new(state, owner, start, reader->at, &box);
    }
    PyObject *value = core_decode_next(&state->types, start, reader);
    return value != NULL ? value : value_raise_damaged(state);
}

PyObject *record_of(core_state *state, PyObject *owner, const void *data, size_t length)
{
    fb_pack_reader reader;
    fb_pack_reader_init(&reader, data, length);
    PyObject *value = record_value(state, owner, data, &reader);
    if (value != NULL && reader.at != data && fb_pack_left(&reader) != 0) { /* a record finds out when it is gone through */
        Py_DECREF(value);
        core_decode_raise(data, reader.at, fb_pack_error_text(FB_PACK_TRAILING));
        return value_raise_damaged(state);
    }
    return value;
}

bool record_check(const core_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->record_type) || Py_IS_TYPE(object, state->record_list_type)
           || Py_IS_TYPE(object, state->record_tuple_type);
}

PyObject *record_next(record_object *self, fb_pack_reader *reader)
{
    const uint8_t *at = reader->at;
    PyObject *value = record_value(self->state, self->owner, self->start, reader);
    if (value == NULL || reader->at != at)
        return value;
    fb_pack_error error = fb_pack_skip(reader, 1);
    if (error == FB_PACK_OK)
        return value;
    Py_DECREF(value);
    return record_raise(self, reader->at, error);
}

void record_dealloc(PyObject *object)
{
    record_object *self = (record_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->index);
    PyMem_Free(self->marks);
    Py_DECREF(self->owner);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- plain values ---- */

PyObject *record_materialize(PyObject *object, PyObject *unused)
{
    record_object *self = (record_object *)object;
    core_types *types = &self->state->types;
    PyObject *value;
    if (self->at == self->start) { /* all that the owner has: nothing may follow it */
        Py_ssize_t length = PyObject_Size(self->owner);
        value = length < 0 ? NULL : core_decode(types, self->start, (size_t)length);
    } else {
        fb_pack_reader reader = record_reader(self, self->at);
        value = core_decode_next(types, self->start, &reader);
    }
    return value != NULL ? value : value_raise_damaged(self->state);
}

PyObject *record_plain_of(const core_state *state, PyObject *object)
{
    return record_check(state, object) ? record_materialize(object, NULL) : Py_NewRef(object);
}

PyObject *core_plain(PyObject *module, PyObject *object)
{
    if (Py_IS_TYPE(object, core_state_of(module)->batch_row_type))
        return batch_row_to_dict(object);
    if (!record_check(core_state_of(module), object))
        return PyErr_Format(PyExc_TypeError, "plain() takes a Record, RecordList, RecordTuple or BatchRow, not %.100s",
                            Py_TYPE(object)->tp_name);
    return record_materialize(object, NULL);
}

PyObject *record_repr(PyObject *object)
{
    PyObject *plain = record_materialize(object, NULL);
    if (plain == NULL)
        return NULL;
    PyObject *text = PyUnicode_FromFormat("%s(%R)", strrchr(Py_TYPE(object)->tp_name, '.') + 1, plain);
    Py_DECREF(plain);
    return text;
}

int record_bool(PyObject *object)
{
    return ((record_object *)object)->count != 0;
}

/* ---- copies ---- */

PyObject *record_itself(PyObject *object, PyObject *unused)
{
    return Py_NewRef(object);
}

PyObject *core_record_from_bytes(PyObject *module, PyObject *data)
{
    if (!PyBytes_CheckExact(data))
        return PyErr_Format(PyExc_TypeError, "bytes expected, not %.100s", Py_TYPE(data)->tp_name);
    return record_of(core_state_of(module), data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
}

PyObject *record_reduce(PyObject *object, PyObject *unused)
{
    record_object *self = (record_object *)object;
    fb_pack_reader reader = record_reader(self, self->at);
    fb_pack_error error = fb_pack_skip(&reader, 1);
    if (error != FB_PACK_OK)
        return record_raise(self, reader.at, error);
    PyObject *module = PyImport_ImportModule("forebay._core");
    PyObject *make = module == NULL ? NULL : PyObject_GetAttrString(module, "_record");
    Py_XDECREF(module);
    return make == NULL ? NULL
                        : Py_BuildValue("N(y#)", make, (const char *)self->at, (Py_ssize_t)(reader.at - self->at));
}

/* ---- iteration ---- */

typedef struct record_iterator {
    PyObject_HEAD record_object *record; /* owned; NULL once it is exhausted */
    record_walk walk;
    uint32_t left;
    const uint8_t *at;                   /* RECORD_ELEMENTS: the next one */
    Py_ssize_t position;                 /* else: in the index */
} record_iterator;

PyObject *record_iterate(record_object *self, record_walk walk)
{
    if (walk != RECORD_ELEMENTS && record_make_index(self) < 0)
        return NULL;
    record_iterator *iterator = PyObject_New(record_iterator, self->state->record_iterator_type);
    if (iterator == NULL)
        return NULL;
    iterator->record = (record_object *)Py_NewRef((PyObject *)self);
    iterator->walk = walk;
    iterator->left = walk == RECORD_ELEMENTS ? self->count : (uint32_t)PyDict_GET_SIZE(self->index);
    iterator->at = self->first;
    iterator->position = 0;
    return (PyObject *)iterator;
}

static PyObject *next_element(record_iterator *self)
{
    fb_pack_reader reader = record_reader(self->record, self->at);
    PyObject *value = record_next(self->record, &reader);
    self->at = reader.at;
    return value;
}

static PyObject *next_of_index(record_iterator *self)
{
    PyObject *key, *offset;
    if (!PyDict_Next(self->record->index, &self->position, &key, &offset))
        return NULL;
    PyObject *value = record_value_at(self->record, self->record->first + PyLong_AsSize_t(offset));
    if (value == NULL || self->walk == RECORD_VALUES)
        return value;
    PyObject *pair = PyTuple_Pack(2, key, value);
    Py_DECREF(value);
    return pair;
}

static PyObject *iterator_next(PyObject *object)
{
    record_iterator *self = (record_iterator *)object;
    if (self->record == NULL)
        return NULL;
    PyObject *value = NULL;
    if (self->left != 0) {
        self->left--;
        value = self->walk == RECORD_ELEMENTS ? next_element(self) : next_of_index(self);
    }
    if (value == NULL)
        Py_CLEAR(self->record);
    return value;
}

static PyObject *iterator_length_hint(PyObject *object, PyObject *unused)
{
    return PyLong_FromUnsignedLong(((record_iterator *)object)->left);
}

static void iterator_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF((PyObject *)((record_iterator *)object)->record);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef iterator_methods[] = {
    { "__length_hint__", iterator_length_hint, METH_NOARGS, "__length_hint__($self, /)\n--\n\nHow many are left." },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot iterator_slots[] = {
    { Py_tp_doc, (void *)"Iterator over a record." },
    { Py_tp_dealloc, iterator_dealloc },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, iterator_next },
    { Py_tp_methods, iterator_methods },
    { 0, NULL },
};

PyType_Spec record_iterator_spec = {
    .name = "forebay._core.RecordIterator",
    .basicsize = sizeof(record_iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};
