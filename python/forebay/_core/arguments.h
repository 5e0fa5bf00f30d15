/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments that several calls take. */
#ifndef CORE_ARGUMENTS_H
#define CORE_ARGUMENTS_H

#include "core.h"

/* Longer ones are refused: an expiry is 40 bits of milliseconds since the arena
 * was made, half of that leaves arenas 17 years to live. */
#define TTL_MAX_MS (UINT64_C(1) << 39)

/* `ttl` is NULL or Ellipsis (omitted: FOREBAY_TTL_DEFAULT), None (for ever),
 * seconds as int or float, or a timedelta.  Rounded up to milliseconds. */
int ttl_from_object(core_state *state, PyObject *ttl, uint64_t *ttl_ms);

/* Bytes: an int or a str such as "64MiB"; more than 0.  `what` names the argument. */
int size_from_object(PyObject *size, const char *what, uint64_t *bytes);

/* A time to wait: seconds (int, float) or a timedelta, 0 or more, in ms rounded
 * up; None: WAIT_FOR_EVER. */
#define WAIT_FOR_EVER UINT64_MAX
int wait_from_object(core_state *state, PyObject *seconds, const char *what, uint64_t *wait_ms);

/* A ttl as Python shows it: float seconds, or None.  New reference. */
PyObject *ttl_to_object(uint64_t ttl_ms);

typedef struct keyword {
    const char *name;
    PyObject **value; /* set to it, borrowed, or left alone */
} keyword;

/* The arguments after `count` positional ones of a vectorcall may only be these
 * keywords.  `names` may be NULL. */
int keywords_from_vector(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *function,
                         const keyword *keywords, size_t keyword_count);

/* The arguments after `count` positional ones of a vectorcall may only be the
 * keyword `name`: set `*value` to it, borrowed, or leave it alone. */
int keyword_from_vector(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *function,
                        const char *name, PyObject **value);

/* The number of positional arguments must lie between the two. */
int check_positional(const char *function, Py_ssize_t count, Py_ssize_t least, Py_ssize_t most);

#endif
