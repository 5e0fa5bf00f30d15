/* SPDX-License-Identifier: Apache-2.0 */
#include "decode.h"

#include <datetime.h>

#define CACHED_TEXT_MAX 32u /* bytes of a dict key that is worth remembering */

/* One call of core_decode(). */
typedef struct decoding {
    core_types *types;
    const uint8_t *start; /* of the whole input, to tell offsets */
    int depth;            /* containers open */
} decoding;

/* Raise ValueError for what begins at `at`; returns NULL. */
static PyObject *damaged(const decoding *run, const uint8_t *at, const char *what)
{
    return PyErr_Format(PyExc_ValueError, "damaged value at byte %zd: %s", (Py_ssize_t)(at - run->start),
                        what);
}

/* Say of what another module raised where it comes from.  What is not about
 * the value (MemoryError, KeyboardInterrupt) passes.  Returns NULL. */
static PyObject *damaged_because(const decoding *run, const uint8_t *at, const char *what)
{
    PyObject *kinds[] = { PyExc_ValueError, PyExc_ArithmeticError, PyExc_TypeError, PyExc_LookupError,
                          PyExc_OSError };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (PyErr_ExceptionMatches(kinds[i]))
            return damaged(run, at, what);
    }
    return NULL;
}

static PyObject *decode_any(decoding *run, fb_pack_reader *reader);

/* ---- text ----------------------------------------------------------------- */

static PyObject *decode_text(const decoding *run, const fb_pack_token *token, const char *errors)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)token->data, (Py_ssize_t)token->length, errors);
    return text != NULL ? text : damaged_because(run, token->data, "a str is not valid UTF-8");
}

#ifndef Py_GIL_DISABLED
/* Where a short text may be in the cache.  Only its ends are mixed in when it
 * is long: a clash costs one string, no more. */
static size_t text_cache_index(const uint8_t *data, size_t length)
{
    uint64_t head = 0, tail = 0;
    if (length >= 8) {
        memcpy(&head, data, 8);
        memcpy(&tail, data + length - 8, 8);
    } else if (length >= 4) {
        memcpy(&head, data, 4);
        memcpy(&tail, data + length - 4, 4);
    } else if (length != 0) {
        head = data[0];
        tail = (uint64_t)data[length / 2] << 8 | data[length - 1];
    }
    uint64_t mixed = (head ^ length) * 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 29 ^ tail) * 0xbf58476d1ce4e5b9u;
    return (size_t)(mixed >> 56) & (CORE_TEXT_CACHE - 1);
}

/* The keys of records repeat in every record: one str each saves making it and
 * computing its hash. */
__attribute__((always_inline)) static inline PyObject *decode_short_text(const decoding *run, const fb_pack_token *token)
{
    PyObject **place = &run->types->text_cache[text_cache_index(token->data, token->length)];
    PyObject *known = *place;
    if (known != NULL && PyUnicode_GET_LENGTH(known) == (Py_ssize_t)token->length
        && memcmp(PyUnicode_1BYTE_DATA(known), token->data, token->length) == 0)
        return Py_NewRef(known);
    PyObject *text = decode_text(run, token, NULL);
    if (text != NULL && PyUnicode_IS_ASCII(text))
        Py_XSETREF(*place, Py_NewRef(text));
    return text;
}
#else
static PyObject *decode_short_text(const decoding *run, const fb_pack_token *token)
{
    return decode_text(run, token, NULL); /* the cache would need a lock */
}
#endif

/* ---- containers ------------------------------------------------------------
 * Always inlined, into decode_any(): a call for each key and pair costs a record 4%
 * of its instructions, and compilers change their minds with the number of callers. */

static bool enter(decoding *run, const uint8_t *at)
{
    if (++run->depth <= CORE_VALUE_DEPTH)
        return true;
    damaged(run, at, fb_pack_error_text(FB_PACK_TOO_DEEP));
    return false;
}

/* Memory for all elements may be taken at once: see fb_pack_open(). */
__attribute__((always_inline)) static inline PyObject *decode_list(decoding *run, fb_pack_reader *reader, Py_ssize_t count)
{
    if (!enter(run, reader->at))
        return NULL;
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = decode_any(run, reader);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, item);
    }
    run->depth--;
    return list;
}

static PyObject *decode_tuple_items(decoding *run, fb_pack_reader *reader, Py_ssize_t count)
{
    if (!enter(run, reader->at))
        return NULL;
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *item = decode_any(run, reader);
        if (item == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, item);
    }
    run->depth--;
    return tuple;
}

static PyObject *decode_tuple(decoding *run, const fb_pack_token *token)
{
    fb_pack_reader inner;
    fb_pack_token array;
    fb_pack_reader_init(&inner, token->data, token->length);
    fb_pack_error error = fb_pack_next(&inner, &array);
    if (error == FB_PACK_OK && array.type != FB_PACK_ARRAY)
        error = FB_PACK_BAD_TUPLE;
    if (error != FB_PACK_OK)
        return damaged(run, token->data, fb_pack_error_text(error));
    PyObject *tuple = decode_tuple_items(run, &inner, (Py_ssize_t)array.length);
    if (tuple != NULL && fb_pack_left(&inner) != 0) {
        Py_DECREF(tuple);
        return damaged(run, inner.at, fb_pack_error_text(FB_PACK_TRAILING));
    }
    return tuple;
}

__attribute__((always_inline)) static inline PyObject *decode_key(decoding *run, fb_pack_reader *reader)
{
    fb_pack_reader saved = *reader;
    fb_pack_token token;
    if (fb_pack_next(reader, &token) == FB_PACK_OK && token.type == FB_PACK_STR
        && token.length <= CACHED_TEXT_MAX)
        return decode_short_text(run, &token);
    *reader = saved;
    return decode_any(run, reader);
}

__attribute__((always_inline)) static inline bool decode_pair(decoding *run, fb_pack_reader *reader, PyObject *dict)
{
    const uint8_t *at = reader->at;
    PyObject *key = decode_key(run, reader);
    if (key == NULL)
        return false;
    PyObject *item = decode_any(run, reader);
    bool done = item != NULL;
    if (done && PyDict_SetItem(dict, key, item) < 0) {
        damaged_because(run, at, "a map key of a type that is not hashable");
        done = false;
    }
    Py_XDECREF(item);
    Py_DECREF(key);
    return done;
}

__attribute__((always_inline)) static inline PyObject *decode_dict(decoding *run, fb_pack_reader *reader, uint32_t count)
{
    if (!enter(run, reader->at))
        return NULL;
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && i < count; i++) {
        if (!decode_pair(run, reader, dict))
            Py_CLEAR(dict);
    }
    run->depth--;
    return dict;
}

/* ---- extensions ------------------------------------------------------------ */

PyObject *core_int_from_bytes(core_types *types, const uint8_t *data, size_t length)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length);
    if (bytes == NULL)
        return NULL;
    PyObject *args[] = { (PyObject *)&PyLong_Type, bytes, types->str_big, Py_True };
    PyObject *value = PyObject_VectorcallMethod(types->str_from_bytes, args, 3, types->names_signed);
    Py_DECREF(bytes);
    return value;
}

/* The number of a UUID, unsigned: a byte 0 before it makes it so. */
static PyObject *uuid_number(core_types *types, const uint8_t data[16])
{
    uint8_t padded[17] = { 0 };
    memcpy(padded + 1, data, 16);
    return core_int_from_bytes(types, padded, sizeof padded);
}

PyObject *core_uuid_from_bytes(core_types *types, const uint8_t data[16], PyObject *safety)
{
    PyObject *number = uuid_number(types, data);
    if (number == NULL)
        return NULL;
    PyObject *args[] = { number, safety != NULL ? safety : types->uuid_unknown };
    PyObject *uuid = PyObject_Vectorcall((PyObject *)types->uuid, args, 0, types->names_uuid);
    Py_DECREF(number);
    return uuid;
}

PyObject *core_date_from_bits(core_types *types, uint32_t bits)
{
    const PyDateTime_CAPI *api = types->datetime_api;
    return api->Date_FromDate((int)(bits >> 9), (int)(bits >> 5 & 0xf), (int)(bits & 0x1f), api->DateType);
}

static PyObject *decode_big_int(const decoding *run, const fb_pack_token *token)
{
    if (token->length == 0)
        return damaged(run, token->data, "a big int has no bytes");
    return core_int_from_bytes(run->types, token->data, token->length);
}

static PyObject *decode_date(const decoding *run, const fb_pack_token *token)
{
    if (token->length != 4)
        return damaged(run, token->data, "a date does not have 4 bytes");
    PyObject *date = core_date_from_bits(run->types, fb_load_be32(token->data));
    return date != NULL ? date : damaged_because(run, token->data, "no such date");
}

/* datetime.timezone of an offset and a name (may be NULL). */
static PyObject *fixed_offset(const decoding *run, const uint8_t *at, int64_t seconds, int64_t microseconds,
                              PyObject *name)
{
    const PyDateTime_CAPI *api = run->types->datetime_api;
    if (seconds < -86400 || seconds > 86400 || microseconds < 0 || microseconds > 999999)
        return damaged(run, at, "a time zone's offset is out of range");
    PyObject *offset = api->Delta_FromDelta(0, (int)seconds, (int)microseconds, 1, api->DeltaType);
    if (offset == NULL)
        return NULL;
    PyObject *zone = api->TimeZone_FromTimeZone(offset, name);
    Py_DECREF(offset);
    return zone != NULL ? zone : damaged_because(run, at, "a time zone's offset is out of range");
}

static PyObject *named_zone(const decoding *run, const uint8_t *at, PyObject *key)
{
    PyTypeObject *zoneinfo = core_zoneinfo(run->types);
    if (zoneinfo == NULL)
        return NULL;
    PyObject *zone = PyObject_CallOneArg((PyObject *)zoneinfo, key);
    return zone != NULL ? zone : damaged_because(run, at, "a time zone that this machine does not know");
}

static bool is_int(const fb_pack_token *token)
{
    return token->type == FB_PACK_INT;
}

/* The text of a str in either form; NULL with an exception if it is none. */
static PyObject *decode_any_text(const decoding *run, const uint8_t *at, const fb_pack_token *token)
{
    if (token->type == FB_PACK_STR)
        return decode_text(run, token, NULL);
    if (token->type == FB_PACK_EXT && token->ext == FB_EXT_WIDE_STR)
        return decode_text(run, token, "surrogatepass");
    return damaged(run, at, "a time zone is neither an offset nor a name");
}

/* What is left of `reader`: key | seconds [microseconds] [name]. */
static PyObject *decode_tzinfo(const decoding *run, fb_pack_reader *reader)
{
    const uint8_t *at = reader->at;
    fb_pack_token tokens[3];
    int count = 0;
    for (; count < 3 && fb_pack_left(reader) != 0; count++) {
        fb_pack_error error = fb_pack_next(reader, &tokens[count]);
        if (error != FB_PACK_OK)
            return damaged(run, reader->at, fb_pack_error_text(error));
    }
    if (fb_pack_left(reader) != 0)
        return damaged(run, reader->at, fb_pack_error_text(FB_PACK_TRAILING));
    int ints = 0;
    while (ints < count && ints < 2 && is_int(&tokens[ints]))
        ints++;
    if (count - ints > 1)
        return damaged(run, at, fb_pack_error_text(FB_PACK_TRAILING));
    PyObject *text = NULL;
    if (ints < count && (text = decode_any_text(run, at, &tokens[ints])) == NULL)
        return NULL;
    PyObject *zone = ints == 0
                         ? named_zone(run, at, text)
                         : fixed_offset(run, at, tokens[0].integer, ints == 2 ? tokens[1].integer : 0, text);
    Py_XDECREF(text);
    return zone;
}

/* The fields of a date and time, 64 bits (docs/reference/encoding.md). */
static PyObject *build_datetime(const decoding *run, uint64_t bits, PyObject *tzinfo)
{
    const PyDateTime_CAPI *api = run->types->datetime_api;
    return api->DateTime_FromDateAndTimeAndFold(
        (int)(bits >> 47), (int)(bits >> 43 & 0xf), (int)(bits >> 38 & 0x1f), (int)(bits >> 33 & 0x1f),
        (int)(bits >> 27 & 0x3f), (int)(bits >> 21 & 0x3f), (int)(bits >> 1 & 0xfffff), tzinfo,
        (int)(bits & 1), api->DateTimeType);
}

static PyObject *build_time(const decoding *run, uint64_t bits, PyObject *tzinfo)
{
    const PyDateTime_CAPI *api = run->types->datetime_api;
    if (bits >> CORE_TIME_BITS != 0) {
        PyErr_SetString(PyExc_ValueError, "a time has no date");
        return NULL;
    }
    return api->Time_FromTimeAndFold((int)(bits >> 33), (int)(bits >> 27 & 0x3f), (int)(bits >> 21 & 0x3f),
                                     (int)(bits >> 1 & 0xfffff), tzinfo, (int)(bits & 1), api->TimeType);
}

static PyObject *decode_moment(const decoding *run, const fb_pack_token *token)
{
    if (token->length < 8)
        return damaged(run, token->data, "a date and time has less than 8 bytes");
    uint64_t bits = fb_load_be64(token->data);
    PyObject *tzinfo = Py_NewRef(Py_None);
    if (token->length > 8) {
        fb_pack_reader inner;
        fb_pack_reader_init(&inner, token->data + 8, token->length - 8);
        Py_SETREF(tzinfo, decode_tzinfo(run, &inner));
    }
    if (tzinfo == NULL)
        return NULL;
    PyObject *moment =
        token->ext == FB_EXT_TIME ? build_time(run, bits, tzinfo) : build_datetime(run, bits, tzinfo);
    Py_DECREF(tzinfo);
    return moment != NULL ? moment : damaged_because(run, token->data, "no such date and time");
}

static PyObject *decode_timedelta(const decoding *run, const fb_pack_token *token)
{
    const PyDateTime_CAPI *api = run->types->datetime_api;
    fb_pack_reader inner;
    int64_t parts[3];
    fb_pack_reader_init(&inner, token->data, token->length);
    for (int i = 0; i < 3; i++) {
        fb_pack_token part;
        if (fb_pack_next(&inner, &part) != FB_PACK_OK || !is_int(&part))
            return damaged(run, token->data, "a timedelta is not three ints");
        parts[i] = part.integer;
    }
    if (fb_pack_left(&inner) != 0 || parts[0] < -999999999 || parts[0] > 999999999 || parts[1] < 0
        || parts[1] >= 86400 || parts[2] < 0 || parts[2] > 999999)
        return damaged(run, token->data, "a timedelta is out of range");
    return api->Delta_FromDelta((int)parts[0], (int)parts[1], (int)parts[2], 0, api->DeltaType);
}

static PyObject *decode_decimal(const decoding *run, const fb_pack_token *token)
{
    PyObject *text = PyUnicode_DecodeASCII((const char *)token->data, (Py_ssize_t)token->length, NULL);
    PyObject *value = NULL;
    if (text != NULL) {
        PyObject *args[] = { text, run->types->decimal_context };
        value = PyObject_Vectorcall((PyObject *)run->types->decimal, args, 2, NULL);
        Py_DECREF(text);
    }
    return value != NULL ? value : damaged_because(run, token->data, "not the digits of a Decimal");
}

static PyObject *decode_uuid(const decoding *run, const fb_pack_token *token)
{
    if (token->length == 16)
        return core_uuid_from_bytes(run->types, token->data, NULL);
    if (token->length != 17)
        return damaged(run, token->data, "a UUID does not have 16 or 17 bytes");
    PyObject *number = PyLong_FromLong((int8_t)token->data[16]);
    PyObject *safety = number != NULL ? PyObject_CallOneArg(run->types->safe_uuid, number) : NULL;
    Py_XDECREF(number);
    if (safety == NULL)
        return damaged_because(run, token->data, "a UUID with an unknown safety");
    PyObject *uuid = core_uuid_from_bytes(run->types, token->data, safety);
    Py_DECREF(safety);
    return uuid;
}

/* Not inlined: its locals would be on the stack once for each level of nesting. */
__attribute__((noinline)) static PyObject *decode_ext(decoding *run, const uint8_t *at,
                                                      const fb_pack_token *token)
{
    switch ((fb_ext)token->ext) {
    case FB_EXT_TUPLE:
        break; /* a container: decode_any() */
    case FB_EXT_BIG_INT:
        return decode_big_int(run, token);
    case FB_EXT_DATETIME:
    case FB_EXT_TIME:
        return decode_moment(run, token);
    case FB_EXT_DATE:
        return decode_date(run, token);
    case FB_EXT_TIMEDELTA:
        return decode_timedelta(run, token);
    case FB_EXT_DECIMAL:
        return decode_decimal(run, token);
    case FB_EXT_UUID:
        return decode_uuid(run, token);
    case FB_EXT_WIDE_STR:
        return decode_text(run, token, "surrogatepass");
    }
    return damaged(run, at, "an extension type that is not known");
}

/* ---- values ---------------------------------------------------------------- */

static PyObject *decode_any(decoding *run, fb_pack_reader *reader)
{
    const uint8_t *at = reader->at;
    fb_pack_token token;
    fb_pack_error error = fb_pack_next(reader, &token);
    if (error != FB_PACK_OK)
        return damaged(run, at, fb_pack_error_text(error));
    switch (token.type) {
    case FB_PACK_NIL:
        return Py_NewRef(Py_None);
    case FB_PACK_BOOL:
        return PyBool_FromLong(token.boolean);
    case FB_PACK_INT:
        return PyLong_FromLongLong(token.integer);
    case FB_PACK_UINT:
        return PyLong_FromUnsignedLongLong(token.natural);
    case FB_PACK_DOUBLE:
        return PyFloat_FromDouble(token.number);
    case FB_PACK_STR:
        return decode_text(run, &token, NULL);
    case FB_PACK_BIN:
        return PyBytes_FromStringAndSize((const char *)token.data, (Py_ssize_t)token.length);
    case FB_PACK_ARRAY:
        return decode_list(run, reader, (Py_ssize_t)token.length);
    case FB_PACK_MAP:
        return decode_dict(run, reader, token.length);
    case FB_PACK_EXT:
        return token.ext == FB_EXT_TUPLE ? decode_tuple(run, &token) : decode_ext(run, at, &token);
    }
    return damaged(run, at, "unknown token");
}

PyObject *core_decode_next(core_types *types, const uint8_t *start, fb_pack_reader *reader)
{
    decoding run = { .types = types, .start = start };
    return decode_any(&run, reader);
}

PyObject *core_decode_next_key(core_types *types, const uint8_t *start, fb_pack_reader *reader)
{
    decoding run = { .types = types, .start = start };
    return decode_key(&run, reader);
}

PyObject *core_decode_raise(const uint8_t *start, const uint8_t *at, const char *what)
{
    return damaged(&(decoding){ .start = start }, at, what);
}

PyObject *core_decode(core_types *types, const uint8_t *data, size_t length)
{
    decoding run = { .types = types, .start = data };
    fb_pack_reader reader;
    fb_pack_reader_init(&reader, data, length);
    PyObject *value = decode_any(&run, &reader);
    if (value != NULL && fb_pack_left(&reader) != 0) {
        Py_DECREF(value);
        return damaged(&run, reader.at, fb_pack_error_text(FB_PACK_TRAILING));
    }
    return value;
}

static PyObject *decode_int64(const void *data, size_t length)
{
    int64_t number;
    if (length != sizeof number)
        return PyErr_Format(PyExc_ValueError, "damaged value: an int has %zu bytes instead of 8", length);
    memcpy(&number, data, sizeof number); /* little-endian machines only */
    return PyLong_FromLongLong(number);
}

PyObject *core_decode_value(core_types *types, forebay_kind kind, const void *data, size_t length)
{
    switch (kind) {
    case FOREBAY_KIND_BYTES:
        return PyBytes_FromStringAndSize(data, (Py_ssize_t)length);
    case FOREBAY_KIND_MSGPACK:
        return core_decode(types, data, length);
    case FOREBAY_KIND_INT:
        return decode_int64(data, length);
    case FOREBAY_KIND_ABSENT:
        break; /* no value: callers look at the kind first */
    }
    return PyErr_Format(PyExc_ValueError, "damaged value: unknown kind %d", (int)kind);
}
