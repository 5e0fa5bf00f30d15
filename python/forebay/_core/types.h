/* SPDX-License-Identifier: Apache-2.0 */
/* What encoding and decoding share: the types of other modules, and the parts
 * that values and keys are made of.
 *
 * Every function here needs the GIL (or an attached thread state). */
#ifndef CORE_TYPES_H
#define CORE_TYPES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_TEXT_CACHE 256u /* short dict keys remembered while decoding; a power of two */

/* What encoding and decoding need from other modules; one in each module
 * state.  Private to types.c, encode.c, decode.c and keys.c. */
typedef struct core_types {
    PyTypeObject *datetime, *date, *time, *timedelta, *timezone;
    PyTypeObject *decimal, *uuid;
    PyTypeObject *zoneinfo;    /* NULL until a time zone is met: zoneinfo is slow to import */
    PyObject *utc;             /* datetime.timezone.utc */
    PyObject *decimal_context; /* traps InvalidOperation, whatever the thread's context does */
    PyObject *safe_uuid;       /* uuid.SafeUUID */
    PyObject *uuid_unknown;    /* uuid.SafeUUID.unknown */
    PyObject *str_int, *str_is_safe, *str_value, *str_key, *str_to_bytes, *str_from_bytes;
    PyObject *str_bit_length, *str_big, *str_getinitargs;
    PyObject *names_signed;                /* ("signed",): keyword names for vectorcalls */
    PyObject *names_uuid;                  /* ("int", "is_safe") */
    const void *datetime_api;              /* PyDateTime_CAPI of this interpreter; borrowed */
    PyObject *text_cache[CORE_TEXT_CACHE]; /* short ASCII str or NULL; under the GIL */
} core_types;

/* Fill a zeroed struct.  0, or -1 with an exception set; in both cases
 * core_types_clear() undoes it. */
int core_types_init(core_types *types);
/* For the module's m_traverse and m_clear; both accept a zeroed struct. */
int core_types_traverse(core_types *types, visitproc visit, void *arg);
void core_types_clear(core_types *types);

/* Strings made by a C API that ended with 3.11 may not be ready to be read.
 * False with an exception. */
static inline bool core_text_ready(PyObject *text)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyUnicode_READY(text) == 0;
#else
    (void)text;
    return true;
#endif
}

/* Length of a str in UTF-8, lone surrogates taking 3 bytes each.
 * `*has_surrogates` says whether there is one, that is, whether the result is
 * not valid UTF-8. */
size_t core_utf8_length(PyObject *text, bool *has_surrogates);
/* Write exactly core_utf8_length() bytes. */
void core_utf8_write(PyObject *text, uint8_t *to);

/* The shortest big-endian two's complement of an int of any size, as a new
 * bytes object; NULL with an exception. */
PyObject *core_int_bytes(core_types *types, PyObject *value);
/* The 16 bytes of a UUID as a new bytes object; NULL with an exception. */
PyObject *core_uuid_bytes(core_types *types, PyObject *uuid);
/* zoneinfo.ZoneInfo, imported at the first call; borrowed; NULL with an exception. */
PyTypeObject *core_zoneinfo(core_types *types);
/* What to do with a value of a type that is not stored: a static text. */
const char *core_type_advice(const core_types *types, PyTypeObject *type);
/* The full name of a type for messages ("collections.OrderedDict"), new. */
PyObject *core_type_name(PyTypeObject *type);

/* A date in 23 bits and a time in 38: docs/reference/encoding.md. */
static inline uint32_t core_date_bits(int year, int month, int day)
{
    return (uint32_t)year << 9 | (uint32_t)month << 5 | (uint32_t)day;
}
static inline uint64_t core_time_bits(int hour, int minute, int second, int microsecond, int fold)
{
    return (uint64_t)hour << 33 | (uint64_t)minute << 27 | (uint64_t)second << 21 | (uint64_t)microsecond << 1
           | (uint64_t)fold;
}
#define CORE_TIME_BITS 38

#endif
