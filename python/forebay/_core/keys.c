/* SPDX-License-Identifier: Apache-2.0 */
#include "keys.h"

#include <assert.h>
#include <datetime.h>

#include "decode.h"

/* The first byte of a key, and of each element of a tuple.  Part of the format
 * (docs/reference/encoding.md). */
enum {
    TAG_STR = 's',
    TAG_BYTES = 'b',
    TAG_INT = 'i',
    TAG_TRUE = 'T',
    TAG_FALSE = 'F',
    TAG_UUID = 'u',
    TAG_DATE = 'd',
    TAG_TUPLE = 't',
};

/* Elements have their length before them: below 128 one byte, else two with the
 * top bit set.  That is enough for FOREBAY_KEY_MAX. */
#define SHORT_ELEMENT 128u
static_assert(FOREBAY_KEY_MAX < 1u << 15, "an element's length has 15 bits");

/* ---- to bytes -------------------------------------------------------------- */

/* One call of core_key_append(). */
typedef struct keying {
    core_types *types;
    core_writer *writer;
    size_t start;                  /* of this key in what the writer holds */
    int depth;                     /* tuples open */
    Py_ssize_t at[CORE_KEY_DEPTH]; /* the element of each that is being encoded */
} keying;

static bool key_too_long(size_t length)
{
    PyErr_Format(PyExc_ValueError, "the key takes %zu bytes; at most %u are allowed", length,
                 FOREBAY_KEY_MAX);
    return false;
}

static bool append_tagged(keying *run, uint8_t tag, const void *data, size_t length)
{
    fb_pack_writer *pack = &run->writer->pack;
    return fb_pack_byte(pack, tag) && fb_pack_raw(pack, data, length);
}

static bool append_str(keying *run, PyObject *text)
{
    bool has_surrogates; /* they make UTF-8 that is invalid, so that it can be told apart */
    if (!core_text_ready(text))
        return false;
    size_t length = core_utf8_length(text, &has_surrogates);
    if (length >= FOREBAY_KEY_MAX)
        return key_too_long(length + 1);
    uint8_t *to = fb_pack_room(&run->writer->pack, length + 1);
    if (to == NULL)
        return false;
    *to = TAG_STR;
    core_utf8_write(text, to + 1);
    return true;
}

static bool append_bytes(keying *run, PyObject *bytes)
{
    size_t length = (size_t)PyBytes_GET_SIZE(bytes);
    if (length >= FOREBAY_KEY_MAX)
        return key_too_long(length + 1);
    return append_tagged(run, TAG_BYTES, PyBytes_AS_STRING(bytes), length);
}

/* Bytes of the shortest two's complement. */
static size_t int64_length(int64_t value)
{
    uint64_t magnitude = (uint64_t)(value < 0 ? ~value : value);
    unsigned bits = magnitude == 0 ? 0 : 64 - (unsigned)__builtin_clzll(magnitude);
    return bits / 8 + 1;
}

static bool append_int(keying *run, PyObject *number)
{
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow == 0) {
        uint8_t all[8];
        size_t length = int64_length(small);
        fb_store_be64(all, (uint64_t)small);
        return append_tagged(run, TAG_INT, all + 8 - length, length);
    }
    PyObject *bytes = core_int_bytes(run->types, number);
    if (bytes == NULL)
        return false;
    size_t length = (size_t)PyBytes_GET_SIZE(bytes);
    bool done = length < FOREBAY_KEY_MAX ? append_tagged(run, TAG_INT, PyBytes_AS_STRING(bytes), length)
                                         : key_too_long(length + 1);
    Py_DECREF(bytes);
    return done;
}

static bool append_uuid(keying *run, PyObject *uuid)
{
    PyObject *bytes = core_uuid_bytes(run->types, uuid);
    if (bytes == NULL)
        return false;
    bool done = append_tagged(run, TAG_UUID, PyBytes_AS_STRING(bytes), 16);
    Py_DECREF(bytes);
    return done;
}

static bool append_date(keying *run, PyObject *date)
{
    uint8_t payload[4];
    fb_store_be32(payload, core_date_bits(PyDateTime_GET_YEAR(date), PyDateTime_GET_MONTH(date),
                                          PyDateTime_GET_DAY(date)));
    return append_tagged(run, TAG_DATE, payload, sizeof payload);
}

/* Put the length of what was written after `mark` into the byte at `mark`,
 * making room for a second one if it takes two. */
static bool close_element(keying *run, size_t mark)
{
    fb_pack_writer *pack = &run->writer->pack;
    size_t length = core_writer_length(run->writer) - mark - 1;
    if (length >= FOREBAY_KEY_MAX)
        return key_too_long(core_writer_length(run->writer) - run->start);
    if (length < SHORT_ELEMENT) {
        pack->start[mark] = (uint8_t)length;
        return true;
    }
    if (fb_pack_room(pack, 1) == NULL)
        return false;
    uint8_t *element = pack->start + mark;
    memmove(element + 2, element + 1, length);
    fb_store_be16(element, (uint16_t)(0x8000 | length));
    return true;
}

static bool append_any(keying *run, PyObject *key);

static bool append_tuple(keying *run, PyObject *tuple)
{
    if (run->depth == CORE_KEY_DEPTH) {
        PyErr_Format(PyExc_ValueError, "the key has tuples nested more than %d levels deep", CORE_KEY_DEPTH);
        return false;
    }
    if (!fb_pack_byte(&run->writer->pack, TAG_TUPLE))
        return false;
    Py_ssize_t *at = &run->at[run->depth++];
    for (*at = 0; *at < PyTuple_GET_SIZE(tuple); ++*at) {
        size_t mark = core_writer_length(run->writer);
        if (!fb_pack_byte(&run->writer->pack, 0) || !append_any(run, PyTuple_GET_ITEM(tuple, *at))
            || !close_element(run, mark))
            return false;
    }
    run->depth--;
    return true;
}

/* "key", "key[1]", "key[1][0]": the element being encoded. */
static PyObject *key_path(const keying *run)
{
    PyObject *path = PyUnicode_FromString("key");
    for (int i = 0; path != NULL && i < run->depth; i++)
        Py_SETREF(path, PyUnicode_FromFormat("%U[%zd]", path, run->at[i]));
    return path;
}

static const char *key_advice(const core_types *types, PyTypeObject *type)
{
    if (PyType_IsSubtype(type, types->datetime))
        return "use its isoformat(), or its date() if that is what you mean";
    if (type == &PyFloat_Type || type == types->decimal)
        return "use its str()";
    if (type == &PyList_Type)
        return "use a tuple()";
    if (type == Py_TYPE(Py_None) || type == &PyDict_Type)
        return "make a str or a tuple that identifies it";
    return core_type_advice(types, type);
}

static bool refuse_key(const keying *run, PyObject *key)
{
    PyObject *path = key_path(run);
    PyObject *name = core_type_name(Py_TYPE(key));
    if (path != NULL && name != NULL)
        PyErr_Format(
            PyExc_TypeError,
            "%U is of type %U; a key is a str, bytes, int, bool, uuid.UUID, datetime.date or a tuple "
            "of these, not of a subclass: %s",
            path, name, key_advice(run->types, Py_TYPE(key)));
    Py_XDECREF(path);
    Py_XDECREF(name);
    return false;
}

static bool append_any(keying *run, PyObject *key)
{
    const PyTypeObject *type = Py_TYPE(key);
    if (type == &PyUnicode_Type)
        return append_str(run, key);
    if (type == &PyLong_Type)
        return append_int(run, key);
    if (type == &PyBytes_Type)
        return append_bytes(run, key);
    if (type == &PyTuple_Type)
        return append_tuple(run, key);
    if (type == &PyBool_Type)
        return fb_pack_byte(&run->writer->pack, key == Py_True ? TAG_TRUE : TAG_FALSE);
    if (type == run->types->uuid)
        return append_uuid(run, key);
    if (type == run->types->date)
        return append_date(run, key);
    return refuse_key(run, key);
}

int core_key_append(core_types *types, PyObject *key, core_writer *writer)
{
    keying run;
    run.types = types; /* field by field: `at` needs no value, and is large */
    run.writer = writer;
    run.start = core_writer_length(writer);
    run.depth = 0;
    bool done = append_any(&run, key);
    size_t length = core_writer_length(writer) - run.start;
    if (done && length > FOREBAY_KEY_MAX)
        done = key_too_long(length);
    if (done)
        return 0;
    if (!PyErr_Occurred())
        PyErr_NoMemory(); /* the writer's limit */
    writer->pack.at -= length;
    return -1;
}

/* Most keys: no writer, one copy. */
static bool encode_short_text(PyObject *key, core_key *out)
{
    if (!PyUnicode_CheckExact(key) || !PyUnicode_IS_COMPACT_ASCII(key))
        return false;
    size_t length = (size_t)PyUnicode_GET_LENGTH(key);
    if (length >= CORE_KEY_SMALL)
        return false;
    out->small[0] = TAG_STR;
    memcpy(out->small + 1, PyUnicode_1BYTE_DATA(key), length);
    out->data = out->small;
    out->length = length + 1;
    out->heap = NULL;
    return true;
}

int core_key_encode(core_types *types, PyObject *key, core_key *out)
{
    if (encode_short_text(key, out))
        return 0;
    core_writer writer;
    core_writer_init(&writer, out->small, sizeof out->small, SIZE_MAX);
    if (core_key_append(types, key, &writer) < 0) {
        core_writer_clear(&writer);
        return -1;
    }
    out->data = core_writer_data(&writer);
    out->length = core_writer_length(&writer);
    out->heap = writer.heap;
    return 0;
}

/* ---- from bytes ------------------------------------------------------------ */

static PyObject *bad_key(void)
{
    PyErr_SetString(PyExc_ValueError, "damaged key");
    return NULL;
}

static PyObject *decode_int_key(core_types *types, const uint8_t *data, size_t length)
{
    if (length == 0
        || (length > 1 && ((data[0] == 0 && data[1] < 0x80) || (data[0] == 0xff && data[1] >= 0x80))))
        return bad_key(); /* not the shortest form: two keys for one int */
    return core_int_from_bytes(types, data, length);
}

static PyObject *decode_date_key(core_types *types, const uint8_t *data, size_t length)
{
    PyObject *date = length == 4 ? core_date_from_bits(types, fb_load_be32(data)) : NULL;
    if (date != NULL || (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_ValueError)))
        return date;
    return bad_key();
}

static PyObject *decode_str_key(const uint8_t *data, size_t length)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)length, "surrogatepass");
    if (text == NULL && PyErr_ExceptionMatches(PyExc_ValueError))
        return bad_key();
    return text;
}

/* Take the element at `*data`: false if its length is not written as it must be. */
static bool next_element(const uint8_t **data, size_t *left, const uint8_t **element, size_t *length)
{
    size_t header = 1;
    *length = (*data)[0];
    if (*length >= SHORT_ELEMENT) {
        if (*left < 2)
            return false;
        *length = fb_load_be16(*data) & 0x7fffu;
        if (*length < SHORT_ELEMENT)
            return false;
        header = 2;
    }
    if (*left - header < *length)
        return false;
    *element = *data + header;
    *data += header + *length;
    *left -= header + *length;
    return true;
}

static PyObject *decode_any_key(core_types *types, const uint8_t *data, size_t length, int depth);

static PyObject *decode_tuple_key(core_types *types, const uint8_t *data, size_t length, int depth)
{
    if (depth == CORE_KEY_DEPTH)
        return bad_key();
    PyObject *list = PyList_New(0);
    while (list != NULL && length != 0) {
        const uint8_t *element;
        size_t element_length;
        PyObject *item = next_element(&data, &length, &element, &element_length)
                             ? decode_any_key(types, element, element_length, depth + 1)
                             : bad_key();
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    PyObject *tuple = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

static PyObject *decode_any_key(core_types *types, const uint8_t *data, size_t length, int depth)
{
    if (length == 0)
        return bad_key();
    uint8_t tag = *data++;
    length--;
    switch (tag) {
    case TAG_STR:
        return decode_str_key(data, length);
    case TAG_BYTES:
        return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length);
    case TAG_INT:
        return decode_int_key(types, data, length);
    case TAG_TRUE:
    case TAG_FALSE:
        return length == 0 ? PyBool_FromLong(tag == TAG_TRUE) : bad_key();
    case TAG_UUID:
        return length == 16 ? core_uuid_from_bytes(types, data, NULL) : bad_key();
    case TAG_DATE:
        return decode_date_key(types, data, length);
    case TAG_TUPLE:
        return decode_tuple_key(types, data, length, depth);
    default:
        return bad_key();
    }
}

PyObject *core_key_decode(core_types *types, const uint8_t *data, size_t length)
{
    return length <= FOREBAY_KEY_MAX ? decode_any_key(types, data, length, 0) : bad_key();
}
