/* SPDX-License-Identifier: Apache-2.0 */
#include "types.h"

#include <datetime.h>

static bool import_type(const char *module_name, const char *name, PyTypeObject **type_out)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return false;
    PyObject *type = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (type == NULL)
        return false;
    if (!PyType_Check(type)) {
        PyErr_Format(PyExc_TypeError, "%s.%s is not a type", module_name, name);
        Py_DECREF(type);
        return false;
    }
    *type_out = (PyTypeObject *)type;
    return true;
}

static PyTypeObject *own_type(PyTypeObject *type)
{
    return (PyTypeObject *)Py_NewRef((PyObject *)type);
}

static bool init_datetime(core_types *types)
{
    /* PyDateTime_IMPORT would keep this in a C global, which sub-interpreters share. */
    const PyDateTime_CAPI *api = PyCapsule_Import(PyDateTime_CAPSULE_NAME, 0);
    if (api == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) /* the datetime written in Python */
            PyErr_SetString(PyExc_ImportError,
                            "forebay needs the datetime module in C, which CPython 3.12 does not have in "
                            "sub-interpreters with a GIL of their own: share the GIL or use 3.13");
        return false;
    }
    types->datetime_api = api;
    types->datetime = own_type(api->DateTimeType);
    types->date = own_type(api->DateType);
    types->time = own_type(api->TimeType);
    types->timedelta = own_type(api->DeltaType);
    types->utc = Py_NewRef(api->TimeZone_UTC);
    types->timezone = own_type(Py_TYPE(api->TimeZone_UTC));
    return true;
}

/* A context of our own: with the thread's context, whether malformed digits
 * raise would depend on the traps that the caller has set. */
static bool init_decimal(core_types *types)
{
    PyTypeObject *context_type = NULL, *signal = NULL;
    PyObject *names = NULL, *traps = NULL;
    if (import_type("decimal", "Decimal", &types->decimal) && import_type("decimal", "Context", &context_type)
        && import_type("decimal", "InvalidOperation", &signal)) {
        names = Py_BuildValue("(s)", "traps");
        traps = Py_BuildValue("[O]", signal);
        if (names != NULL && traps != NULL)
            types->decimal_context = PyObject_Vectorcall((PyObject *)context_type, &traps, 0, names);
    }
    Py_XDECREF(names);
    Py_XDECREF(traps);
    Py_XDECREF((PyObject *)context_type);
    Py_XDECREF((PyObject *)signal);
    return types->decimal_context != NULL;
}

static bool init_uuid(core_types *types)
{
    PyTypeObject *safe = NULL;
    if (!import_type("uuid", "UUID", &types->uuid) || !import_type("uuid", "SafeUUID", &safe))
        return false;
    types->safe_uuid = (PyObject *)safe;
    types->uuid_unknown = PyObject_GetAttrString(types->safe_uuid, "unknown");
    return types->uuid_unknown != NULL;
}

static bool init_names(core_types *types)
{
    return (types->str_int = PyUnicode_InternFromString("int")) != NULL
           && (types->str_is_safe = PyUnicode_InternFromString("is_safe")) != NULL
           && (types->str_value = PyUnicode_InternFromString("value")) != NULL
           && (types->str_key = PyUnicode_InternFromString("key")) != NULL
           && (types->str_to_bytes = PyUnicode_InternFromString("to_bytes")) != NULL
           && (types->str_from_bytes = PyUnicode_InternFromString("from_bytes")) != NULL
           && (types->str_bit_length = PyUnicode_InternFromString("bit_length")) != NULL
           && (types->str_big = PyUnicode_InternFromString("big")) != NULL
           && (types->str_getinitargs = PyUnicode_InternFromString("__getinitargs__")) != NULL
           && (types->names_signed = Py_BuildValue("(s)", "signed")) != NULL
           && (types->names_uuid = Py_BuildValue("(OO)", types->str_int, types->str_is_safe)) != NULL;
}

int core_types_init(core_types *types)
{
    bool ready = init_datetime(types) && init_decimal(types) && init_uuid(types) && init_names(types);
    return ready ? 0 : -1;
}

int core_types_traverse(core_types *types, visitproc visit, void *arg)
{
    Py_VISIT(types->datetime);
    Py_VISIT(types->date);
    Py_VISIT(types->time);
    Py_VISIT(types->timedelta);
    Py_VISIT(types->timezone);
    Py_VISIT(types->decimal);
    Py_VISIT(types->uuid);
    Py_VISIT(types->zoneinfo);
    Py_VISIT(types->utc);
    Py_VISIT(types->decimal_context);
    Py_VISIT(types->safe_uuid);
    Py_VISIT(types->uuid_unknown);
    Py_VISIT(types->names_signed);
    Py_VISIT(types->names_uuid);
    return 0; /* the other fields are str: in no cycle */
}

void core_types_clear(core_types *types)
{
    Py_CLEAR(types->datetime);
    Py_CLEAR(types->date);
    Py_CLEAR(types->time);
    Py_CLEAR(types->timedelta);
    Py_CLEAR(types->timezone);
    Py_CLEAR(types->decimal);
    Py_CLEAR(types->uuid);
    Py_CLEAR(types->zoneinfo);
    Py_CLEAR(types->utc);
    Py_CLEAR(types->decimal_context);
    Py_CLEAR(types->safe_uuid);
    Py_CLEAR(types->uuid_unknown);
    Py_CLEAR(types->str_int);
    Py_CLEAR(types->str_is_safe);
    Py_CLEAR(types->str_value);
    Py_CLEAR(types->str_key);
    Py_CLEAR(types->str_to_bytes);
    Py_CLEAR(types->str_from_bytes);
    Py_CLEAR(types->str_bit_length);
    Py_CLEAR(types->str_big);
    Py_CLEAR(types->str_getinitargs);
    Py_CLEAR(types->names_signed);
    Py_CLEAR(types->names_uuid);
    types->datetime_api = NULL;
    for (size_t i = 0; i < CORE_TEXT_CACHE; i++)
        Py_CLEAR(types->text_cache[i]);
}

/* Free-threaded builds may get here twice at once: the second gives way. */
PyTypeObject *core_zoneinfo(core_types *types)
{
    PyTypeObject *type = __atomic_load_n(&types->zoneinfo, __ATOMIC_ACQUIRE);
    if (type != NULL || !import_type("zoneinfo", "ZoneInfo", &type))
        return type;
    PyTypeObject *none = NULL;
    if (__atomic_compare_exchange_n(&types->zoneinfo, &none, type, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return type;
    Py_DECREF((PyObject *)type);
    return none;
}

size_t core_utf8_length(PyObject *text, bool *has_surrogates)
{
    size_t units = (size_t)PyUnicode_GET_LENGTH(text), length = units;
    *has_surrogates = false;
    if (PyUnicode_IS_ASCII(text))
        return length;
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    for (size_t i = 0; i < units; i++) {
        Py_UCS4 point = PyUnicode_READ(kind, data, i);
        length += (point >= 0x80) + (point >= 0x800) + (point >= 0x10000);
        *has_surrogates |= point >= 0xd800 && point <= 0xdfff;
    }
    return length;
}

static uint8_t *utf8_point(uint8_t *to, Py_UCS4 point)
{
    if (point < 0x80) {
        *to++ = (uint8_t)point;
        return to;
    }
    if (point < 0x800) {
        *to++ = (uint8_t)(0xc0 | point >> 6);
    } else {
        if (point < 0x10000) {
            *to++ = (uint8_t)(0xe0 | point >> 12);
        } else {
            *to++ = (uint8_t)(0xf0 | point >> 18);
            *to++ = (uint8_t)(0x80 | (point >> 12 & 0x3f));
        }
        *to++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    }
    *to++ = (uint8_t)(0x80 | (point & 0x3f));
    return to;
}

void core_utf8_write(PyObject *text, uint8_t *to)
{
    size_t units = (size_t)PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    if (PyUnicode_IS_ASCII(text)) {
        memcpy(to, data, units);
        return;
    }
    for (size_t i = 0; i < units; i++)
        to = utf8_point(to, PyUnicode_READ(kind, data, i));
}

/* int.to_bytes(value, length, "big", signed=...) */
static PyObject *int_to_bytes(core_types *types, PyObject *value, size_t length, bool is_signed)
{
    PyObject *size = PyLong_FromSize_t(length);
    if (size == NULL)
        return NULL;
    PyObject *args[] = { value, size, types->str_big, is_signed ? Py_True : Py_False };
    PyObject *bytes = PyObject_VectorcallMethod(types->str_to_bytes, args, 3, types->names_signed);
    Py_DECREF(size);
    return bytes;
}

PyObject *core_int_bytes(core_types *types, PyObject *value)
{
    PyObject *bits = PyObject_CallMethodNoArgs(value, types->str_bit_length);
    if (bits == NULL)
        return NULL;
    size_t count = PyLong_AsSize_t(bits);
    Py_DECREF(bits);
    if (count == (size_t)-1 && PyErr_Occurred())
        return NULL;
    PyObject *bytes = int_to_bytes(types, value, count / 8 + 1, true);
    if (bytes == NULL || count == 0 || count % 8 != 0)
        return bytes;
    /* -2^(8n-1) has 8n bits and fits n bytes. */
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(bytes);
    if (data[0] != 0xff || data[1] < 0x80)
        return bytes;
    PyObject *shorter = PyBytes_FromStringAndSize((const char *)data + 1, PyBytes_GET_SIZE(bytes) - 1);
    Py_DECREF(bytes);
    return shorter;
}

PyObject *core_uuid_bytes(core_types *types, PyObject *uuid)
{
    PyObject *value = PyObject_GetAttr(uuid, types->str_int);
    if (value == NULL)
        return NULL;
    PyObject *bytes = NULL;
    if (PyLong_CheckExact(value))
        bytes = int_to_bytes(types, value, 16, false);
    else
        PyErr_SetString(PyExc_TypeError, "the int attribute of a UUID is not an int");
    Py_DECREF(value);
    return bytes;
}

PyObject *core_type_name(PyTypeObject *type)
{
    PyObject *name = PyType_GetQualName(type);
    PyObject *module = PyObject_GetAttrString((PyObject *)type, "__module__");
    if (module == NULL)
        PyErr_Clear();
    if (name != NULL && module != NULL && PyUnicode_Check(module)
        && PyUnicode_CompareWithASCIIString(module, "builtins") != 0)
        Py_SETREF(name, PyUnicode_FromFormat("%U.%U", module, name));
    Py_XDECREF(module);
    return name;
}

static bool has_attribute(PyTypeObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL)
        PyErr_Clear();
    Py_XDECREF(found);
    return found != NULL;
}

static const char *advice_for_subclass(const core_types *types, PyTypeObject *type)
{
    if (PyType_IsSubtype(type, &PyDict_Type))
        return "convert it with dict()";
    if (PyType_IsSubtype(type, &PyTuple_Type))
        return has_attribute(type, "_asdict") ? "convert it with tuple() or its _asdict()"
                                              : "convert it with tuple()";
    if (PyType_IsSubtype(type, &PyList_Type))
        return "convert it with list()";
    if (PyType_IsSubtype(type, &PyUnicode_Type))
        return "convert it with str()";
    if (PyType_IsSubtype(type, &PyLong_Type))
        return "convert it with int()";
    if (PyType_IsSubtype(type, &PyFloat_Type))
        return "convert it with float()";
    if (PyType_IsSubtype(type, &PyBytes_Type))
        return "convert it with bytes()";
    if (PyType_IsSubtype(type, types->datetime) || PyType_IsSubtype(type, types->date)
        || PyType_IsSubtype(type, types->time) || PyType_IsSubtype(type, types->timedelta)
        || PyType_IsSubtype(type, types->decimal) || PyType_IsSubtype(type, types->uuid))
        return "convert it to the class that it extends";
    return NULL;
}

const char *core_type_advice(const core_types *types, PyTypeObject *type)
{
    if (has_attribute(type, "__members__"))
        return "use its value attribute"; /* an enum */
    const char *text = advice_for_subclass(types, type);
    if (text != NULL)
        return text;
    if (PyType_IsSubtype(type, &PySet_Type) || PyType_IsSubtype(type, &PyFrozenSet_Type))
        return "convert it with list() or tuple()";
    if (PyType_IsSubtype(type, &PyByteArray_Type) || PyType_IsSubtype(type, &PyMemoryView_Type))
        return "convert it with bytes()";
    if (has_attribute(type, "materialize"))
        return "store what its materialize() gives"; /* a record */
    if (has_attribute(type, "__dataclass_fields__"))
        return "convert it with dataclasses.asdict()";
    return "convert it to a dict, list or other builtin, or serialise it and store the bytes";
}
