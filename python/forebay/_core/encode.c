/* SPDX-License-Identifier: Apache-2.0 */
#include "encode.h"

#include <datetime.h>

#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* Room beyond the limit for the headers of tuples that are still open: each
 * may shrink from 6 bytes to 2 when it ends. */
#define OPEN_HEADERS (CORE_VALUE_DEPTH * FB_PACK_EXT_HEADER_MAX)
#define FIRST_HEAP 512u /* bytes */

static bool grow_on_heap(fb_pack_writer *pack, size_t need)
{
    core_writer *writer = (core_writer *)pack;
    size_t used = core_writer_length(writer);
    size_t most = writer->limit > SIZE_MAX - OPEN_HEADERS ? SIZE_MAX : writer->limit + OPEN_HEADERS;
    if (used > most || need > most - used) {
        writer->too_big = true;
        return false;
    }
    size_t capacity = used + need;
    capacity = capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity * 2;
    capacity = capacity < FIRST_HEAP ? FIRST_HEAP : capacity;
    capacity = capacity > most ? most : capacity;
    uint8_t *heap = PyMem_Realloc(writer->heap, capacity);
    if (heap == NULL) {
        PyErr_NoMemory();
        return false;
    }
    if (writer->heap == NULL && used != 0)
        memcpy(heap, pack->start, used);
    writer->heap = heap;
    pack->start = heap;
    pack->at = heap + used;
    pack->end = heap + capacity;
    return true;
}

void core_writer_init(core_writer *writer, void *memory, size_t capacity, size_t limit)
{
    uint8_t *start = memory;
    *writer = (core_writer){
        .pack = { .start = start, .at = start, .end = start, .grow = grow_on_heap },
        .limit = limit,
    };
    if (memory != NULL)
        writer->pack.end += capacity;
}

void core_writer_clear(core_writer *writer)
{
    PyMem_Free(writer->heap);
    writer->heap = NULL;
    writer->pack.start = writer->pack.at = writer->pack.end = NULL;
}

/* ---- refusals ------------------------------------------------------------ */

/* One call of core_encode().  A function that returns false has set an
 * exception, or `refused`, or the writer's `too_big`. */
typedef struct encoding {
    core_types *types;
    core_writer *writer;
    PyObject *hook;        /* borrowed; NULL, or what replaces values of other types */
    int depth;             /* containers open, and replacements made */
    PyTypeObject *refused; /* owned; why encoding stops, told once the path is known */
    bool is_tzinfo;        /* `refused` is the type of a datetime's or time's tzinfo */
    bool is_key;           /* it is (in) a dict key */
    PyObject *path;        /* owned; from the outermost container known so far; NULL: empty */
} encoding;

static bool refuse(encoding *run, PyObject *value)
{
    run->refused = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(value));
    return false;
}

/* Put a step (stolen; NULL: an exception is set) before the path. */
static void add_step(encoding *run, PyObject *step)
{
    if (step != NULL && run->path != NULL)
        Py_SETREF(step, PyUnicode_Concat(step, run->path));
    Py_XSETREF(run->path, step);
    if (step == NULL)
        Py_CLEAR(run->refused);
}

static void failed_at_index(encoding *run, Py_ssize_t index)
{
    if (run->refused != NULL)
        add_step(run, PyUnicode_FromFormat("[%zd]", index));
}

static void failed_at_item(encoding *run, PyObject *key)
{
    if (run->refused != NULL)
        add_step(run, PyUnicode_FromFormat("[%.80R]", key));
}

/* The path becomes list(value...)[index]..., an expression that gives the key. */
static void failed_at_key(encoding *run, Py_ssize_t index)
{
    if (run->refused == NULL)
        return;
    run->is_key = true;
    add_step(run, PyUnicode_FromFormat(")[%zd]", index));
}

static const char *advice(const encoding *run)
{
    return run->is_tzinfo
               ? "use datetime.timezone or zoneinfo.ZoneInfo with a key, or convert the value with "
                 "astimezone(datetime.timezone.utc)"
               : core_type_advice(run->types, run->refused);
}

static void raise_refusal(encoding *run)
{
    PyObject *name = core_type_name(run->refused);
    PyObject *path = run->path != NULL ? Py_NewRef(run->path) : PyUnicode_FromString("");
    if (name != NULL && path != NULL)
        PyErr_Format(PyExc_TypeError, "cannot store %svalue%U: %s %U, which would not come back as it is; %s",
                     run->is_key ? "list(" : "", path,
                     run->is_tzinfo ? "its tzinfo is of type" : "it is of type", name, advice(run));
    Py_XDECREF(name);
    Py_XDECREF(path);
}

/* ---- values -------------------------------------------------------------- */

static bool encode_any(encoding *run, PyObject *value);

static bool refuse_length(encoding *run)
{
    run->writer->too_big = true; /* MessagePack's lengths have 32 bits */
    return false;
}

static bool encode_int(encoding *run, PyObject *value)
{
    fb_pack_writer *pack = &run->writer->pack;
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0)
        return fb_pack_int(pack, small);
    if (overflow > 0) {
        unsigned long long large = PyLong_AsUnsignedLongLong(value);
        if (large != (unsigned long long)-1 || !PyErr_Occurred())
            return fb_pack_uint(pack, large);
        PyErr_Clear();
    }
    PyObject *bytes = core_int_bytes(run->types, value);
    if (bytes == NULL)
        return false;
    size_t length = (size_t)PyBytes_GET_SIZE(bytes);
    bool done = length <= UINT32_MAX ? fb_pack_ext_header(pack, FB_EXT_BIG_INT, (uint32_t)length)
                                           && fb_pack_raw(pack, PyBytes_AS_STRING(bytes), length)
                                     : refuse_length(run);
    Py_DECREF(bytes);
    return done;
}

#define SHORT_TEXT UINT16_MAX

/* ASCII is its own UTF-8. */
static bool encode_short_text(fb_pack_writer *pack, PyObject *text)
{
    size_t length = (size_t)PyUnicode_GET_LENGTH(text);
    return fb_pack_str_header(pack, (uint32_t)length)
           && fb_pack_raw(pack, PyUnicode_1BYTE_DATA(text), length);
}

static bool encode_str(encoding *run, PyObject *text)
{
    fb_pack_writer *pack = &run->writer->pack;
    bool has_surrogates;
    if (PyUnicode_IS_COMPACT_ASCII(text) && PyUnicode_GET_LENGTH(text) <= SHORT_TEXT)
        return encode_short_text(pack, text);
    if (!core_text_ready(text))
        return false;
    size_t length = core_utf8_length(text, &has_surrogates);
    if (length > UINT32_MAX)
        return refuse_length(run);
    if (has_surrogates ? !fb_pack_ext_header(pack, FB_EXT_WIDE_STR, (uint32_t)length)
                       : !fb_pack_str_header(pack, (uint32_t)length))
        return false;
    uint8_t *to = fb_pack_room(pack, length);
    if (to == NULL)
        return false;
    core_utf8_write(text, to);
    return true;
}

static bool encode_bytes(encoding *run, PyObject *bytes)
{
    fb_pack_writer *pack = &run->writer->pack;
    size_t length = (size_t)PyBytes_GET_SIZE(bytes);
    if (length > UINT32_MAX)
        return refuse_length(run);
    return fb_pack_bin_header(pack, (uint32_t)length) && fb_pack_raw(pack, PyBytes_AS_STRING(bytes), length);
}

static bool enter(encoding *run, Py_ssize_t count)
{
    if ((size_t)count > UINT32_MAX)
        return refuse_length(run);
    if (++run->depth <= CORE_VALUE_DEPTH)
        return true;
    PyErr_Format(PyExc_ValueError,
                 "cannot store value: it is nested more than %d levels deep, or contains itself",
                 CORE_VALUE_DEPTH);
    return false;
}

static bool changed_meanwhile(const char *what)
{
    PyErr_Format(PyExc_RuntimeError, "a %s changed size while it was being stored", what);
    return false;
}

/* The i-th element, owned, or NULL if the list has become shorter. */
static PyObject *list_item(PyObject *list, Py_ssize_t index)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *item = PyList_GetItemRef(list, index);
    if (item == NULL)
        PyErr_Clear();
    return item;
#else
    return index < PyList_GET_SIZE(list) ? Py_NewRef(PyList_GET_ITEM(list, index)) : NULL;
#endif
}

/* What encodes an element may let other threads run: the list may change. */
static bool encode_list(encoding *run, PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (!enter(run, count) || !fb_pack_array_header(&run->writer->pack, (uint32_t)count))
        return false;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = list_item(list, i);
        if (item == NULL)
            return changed_meanwhile("list");
        bool done = encode_any(run, item);
        Py_DECREF(item);
        if (!done) {
            failed_at_index(run, i);
            return false;
        }
    }
    run->depth--;
    return PyList_GET_SIZE(list) == count || changed_meanwhile("list");
}

static bool encode_tuple(encoding *run, PyObject *tuple)
{
    fb_pack_writer *pack = &run->writer->pack;
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    size_t mark;
    if (!enter(run, count) || !fb_pack_ext_begin(pack, &mark) || !fb_pack_array_header(pack, (uint32_t)count))
        return false;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!encode_any(run, PyTuple_GET_ITEM(tuple, i))) {
            failed_at_index(run, i);
            return false;
        }
    }
    run->depth--;
    return fb_pack_ext_end(pack, mark, FB_EXT_TUPLE) || refuse_length(run);
}

static bool encode_pair(encoding *run, PyObject *key, PyObject *item, Py_ssize_t index)
{
    if (!encode_any(run, key)) {
        failed_at_key(run, index);
        return false;
    }
    if (!encode_any(run, item)) {
        failed_at_item(run, key);
        return false;
    }
    return true;
}

static bool encode_pairs(encoding *run, PyObject *dict, Py_ssize_t count)
{
    Py_ssize_t position = 0, index = 0;
    PyObject *key, *item;
    while (PyDict_Next(dict, &position, &key, &item)) {
        if (index == count)
            return changed_meanwhile("dict");
        Py_INCREF(key);
        Py_INCREF(item);
        bool done = encode_pair(run, key, item, index++);
        Py_DECREF(item);
        Py_DECREF(key);
        if (!done)
            return false;
    }
    return (index == count && PyDict_GET_SIZE(dict) == count) || changed_meanwhile("dict");
}

static bool encode_dict(encoding *run, PyObject *dict)
{
    bool done = false;
    Py_BEGIN_CRITICAL_SECTION(dict); /* on free-threaded builds PyDict_Next() needs it */
    Py_ssize_t count = PyDict_GET_SIZE(dict);
    if (enter(run, count) && fb_pack_map_header(&run->writer->pack, (uint32_t)count))
        done = encode_pairs(run, dict, count);
    Py_END_CRITICAL_SECTION();
    run->depth--;
    return done;
}

/* Seconds east of UTC, then microseconds if there are any, then the name if it
 * was given one. */
static bool encode_fixed_offset(encoding *run, PyObject *zone)
{
    PyObject *args = PyObject_CallMethodNoArgs(zone, run->types->str_getinitargs);
    if (args == NULL)
        return false;
    bool done = false;
    if (!PyTuple_CheckExact(args) || PyTuple_GET_SIZE(args) < 1 || PyTuple_GET_SIZE(args) > 2
        || Py_TYPE(PyTuple_GET_ITEM(args, 0)) != run->types->timedelta) {
        PyErr_SetString(PyExc_TypeError, "timezone.__getinitargs__() gave something unexpected");
        goto out;
    }
    PyObject *offset = PyTuple_GET_ITEM(args, 0);
    int64_t seconds =
        (int64_t)PyDateTime_DELTA_GET_DAYS(offset) * 86400 + PyDateTime_DELTA_GET_SECONDS(offset);
    int microseconds = PyDateTime_DELTA_GET_MICROSECONDS(offset);
    fb_pack_writer *pack = &run->writer->pack;
    done = fb_pack_int(pack, seconds) && (microseconds == 0 || fb_pack_int(pack, microseconds));
    if (done && PyTuple_GET_SIZE(args) == 2)
        done = encode_any(run, PyTuple_GET_ITEM(args, 1));
out:
    Py_DECREF(args);
    return done;
}

static bool refuse_tzinfo(encoding *run, PyObject *tzinfo)
{
    run->is_tzinfo = true;
    return refuse(run, tzinfo);
}

static bool encode_tzinfo(encoding *run, PyObject *tzinfo)
{
    if (tzinfo == run->types->utc)
        return fb_pack_int(&run->writer->pack, 0);
    if (Py_TYPE(tzinfo) == run->types->timezone)
        return encode_fixed_offset(run, tzinfo);
    PyTypeObject *zoneinfo = core_zoneinfo(run->types);
    if (zoneinfo == NULL)
        return false;
    if (Py_TYPE(tzinfo) != zoneinfo)
        return refuse_tzinfo(run, tzinfo);
    PyObject *key = PyObject_GetAttr(tzinfo, run->types->str_key);
    if (key == NULL)
        return false;
    bool done = PyUnicode_CheckExact(key) ? encode_str(run, key) : refuse_tzinfo(run, tzinfo);
    Py_DECREF(key);
    return done;
}

/* A date and time or a time alone: 64 bits, then the tzinfo if there is one. */
static bool encode_moment(encoding *run, int8_t ext, uint64_t bits, PyObject *tzinfo)
{
    fb_pack_writer *pack = &run->writer->pack;
    uint8_t payload[8];
    fb_store_be64(payload, bits);
    if (tzinfo == Py_None)
        return fb_pack_ext_header(pack, ext, sizeof payload) && fb_pack_raw(pack, payload, sizeof payload);
    size_t mark;
    return fb_pack_ext_begin(pack, &mark) && fb_pack_raw(pack, payload, sizeof payload)
           && encode_tzinfo(run, tzinfo) && fb_pack_ext_end(pack, mark, ext);
}

static bool encode_datetime(encoding *run, PyObject *value)
{
    uint64_t date =
        core_date_bits(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    uint64_t time = core_time_bits(PyDateTime_DATE_GET_HOUR(value), PyDateTime_DATE_GET_MINUTE(value),
                                   PyDateTime_DATE_GET_SECOND(value), PyDateTime_DATE_GET_MICROSECOND(value),
                                   PyDateTime_DATE_GET_FOLD(value));
    return encode_moment(run, FB_EXT_DATETIME, date << CORE_TIME_BITS | time,
                         PyDateTime_DATE_GET_TZINFO(value));
}

static bool encode_time(encoding *run, PyObject *value)
{
    uint64_t time = core_time_bits(PyDateTime_TIME_GET_HOUR(value), PyDateTime_TIME_GET_MINUTE(value),
                                   PyDateTime_TIME_GET_SECOND(value), PyDateTime_TIME_GET_MICROSECOND(value),
                                   PyDateTime_TIME_GET_FOLD(value));
    return encode_moment(run, FB_EXT_TIME, time, PyDateTime_TIME_GET_TZINFO(value));
}

static bool encode_date(encoding *run, PyObject *value)
{
    uint8_t payload[4];
    fb_store_be32(payload, core_date_bits(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                                          PyDateTime_GET_DAY(value)));
    return fb_pack_ext_header(&run->writer->pack, FB_EXT_DATE, sizeof payload)
           && fb_pack_raw(&run->writer->pack, payload, sizeof payload);
}

static bool encode_timedelta(encoding *run, PyObject *value)
{
    fb_pack_writer *pack = &run->writer->pack;
    size_t mark;
    return fb_pack_ext_begin(pack, &mark) && fb_pack_int(pack, PyDateTime_DELTA_GET_DAYS(value))
           && fb_pack_int(pack, PyDateTime_DELTA_GET_SECONDS(value))
           && fb_pack_int(pack, PyDateTime_DELTA_GET_MICROSECONDS(value))
           && fb_pack_ext_end(pack, mark, FB_EXT_TIMEDELTA);
}

/* str() of a Decimal is exact: all digits, the exponent, NaN payloads. */
static bool encode_decimal(encoding *run, PyObject *value)
{
    PyObject *text = PyObject_Str(value);
    if (text == NULL)
        return false;
    size_t length = (size_t)PyUnicode_GET_LENGTH(text);
    bool done = length <= UINT32_MAX && PyUnicode_IS_ASCII(text)
                    ? fb_pack_ext_header(&run->writer->pack, FB_EXT_DECIMAL, (uint32_t)length)
                          && fb_pack_raw(&run->writer->pack, PyUnicode_DATA(text), length)
                    : refuse_length(run);
    Py_DECREF(text);
    return done;
}

/* uuid.SafeUUID has the members safe (0), unsafe (-1) and unknown (None). */
static bool encode_uuid_safety(encoding *run, PyObject *safety)
{
    PyObject *value = PyObject_GetAttr(safety, run->types->str_value);
    if (value == NULL)
        return false;
    long number = PyLong_AsLong(value);
    Py_DECREF(value);
    if (number == -1 && PyErr_Occurred())
        return false;
    return fb_pack_byte(&run->writer->pack, (uint8_t)number);
}

static bool encode_uuid(encoding *run, PyObject *value)
{
    fb_pack_writer *pack = &run->writer->pack;
    PyObject *bytes = core_uuid_bytes(run->types, value);
    PyObject *safety = bytes != NULL ? PyObject_GetAttr(value, run->types->str_is_safe) : NULL;
    bool done = false;
    if (safety != NULL) {
        bool known = safety != run->types->uuid_unknown;
        done = fb_pack_ext_header(pack, FB_EXT_UUID, 16 + known)
               && fb_pack_raw(pack, PyBytes_AS_STRING(bytes), 16)
               && (!known || encode_uuid_safety(run, safety));
    }
    Py_XDECREF(bytes);
    Py_XDECREF(safety);
    return done;
}

/* A replacement counts as a container, so that one for ever replaced by others ends. */
static bool encode_replacement(encoding *run, PyObject *value)
{
    if (run->hook == NULL)
        return refuse(run, value);
    if (!enter(run, 0))
        return false;
    PyObject *replacement = PyObject_CallOneArg(run->hook, value);
    bool done = replacement != NULL && encode_any(run, replacement);
    Py_XDECREF(replacement);
    run->depth--;
    return done;
}

static bool encode_imported(encoding *run, PyObject *value)
{
    const core_types *types = run->types;
    const PyTypeObject *type = Py_TYPE(value);
    if (type == types->datetime)
        return encode_datetime(run, value);
    if (type == types->date)
        return encode_date(run, value);
    if (type == types->time)
        return encode_time(run, value);
    if (type == types->timedelta)
        return encode_timedelta(run, value);
    if (type == types->decimal)
        return encode_decimal(run, value);
    if (type == types->uuid)
        return encode_uuid(run, value);
    return encode_replacement(run, value);
}

static bool encode_any(encoding *run, PyObject *value)
{
    const PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type)
        return encode_str(run, value);
    if (type == &PyLong_Type)
        return encode_int(run, value);
    if (value == Py_None)
        return fb_pack_nil(&run->writer->pack);
    if (type == &PyFloat_Type)
        return fb_pack_double(&run->writer->pack, PyFloat_AS_DOUBLE(value));
    if (type == &PyBool_Type)
        return fb_pack_bool(&run->writer->pack, value == Py_True);
    if (type == &PyDict_Type)
        return encode_dict(run, value);
    if (type == &PyList_Type)
        return encode_list(run, value);
    if (type == &PyTuple_Type)
        return encode_tuple(run, value);
    if (type == &PyBytes_Type)
        return encode_bytes(run, value);
    return encode_imported(run, value);
}

int core_encode_with(core_types *types, PyObject *hook, PyObject *value, core_writer *writer)
{
    encoding run = { .types = types, .writer = writer, .hook = hook };
    bool done = encode_any(&run, value);
    if (run.refused != NULL)
        raise_refusal(&run);
    Py_XDECREF((PyObject *)run.refused);
    Py_XDECREF(run.path);
    if (done)
        return core_writer_length(writer) <= writer->limit ? 0 : CORE_TOO_BIG;
    return PyErr_Occurred() ? -1 : CORE_TOO_BIG;
}

/* ---- kinds --------------------------------------------------------------- */

static bool fits_int64(PyObject *value, int64_t *out)
{
    int overflow;
    *out = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0;
}

forebay_kind core_value_kind(PyObject *value)
{
    int64_t ignored;
    if (PyBytes_CheckExact(value))
        return FOREBAY_KIND_BYTES;
    if (PyLong_CheckExact(value) && fits_int64(value, &ignored))
        return FOREBAY_KIND_INT;
    return FOREBAY_KIND_MSGPACK;
}

int core_encode_value(core_types *types, PyObject *hook, PyObject *value, core_writer *writer, core_encoded *out)
{
    int64_t number;
    if (PyBytes_CheckExact(value)) {
        out->kind = FOREBAY_KIND_BYTES;
        out->data = PyBytes_AS_STRING(value);
        out->length = (size_t)PyBytes_GET_SIZE(value);
        return out->length <= writer->limit ? 0 : CORE_TOO_BIG;
    }
    if (PyLong_CheckExact(value) && fits_int64(value, &number)) {
        out->kind = FOREBAY_KIND_INT;
        memcpy(out->integer, &number, sizeof out->integer); /* little-endian machines only */
        out->data = out->integer;
        out->length = sizeof out->integer;
        return out->length <= writer->limit ? 0 : CORE_TOO_BIG;
    }
    int result = core_encode_with(types, hook, value, writer);
    out->kind = FOREBAY_KIND_MSGPACK;
    out->data = core_writer_data(writer);
    out->length = core_writer_length(writer);
    return result;
}
