/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_STATUS_H
#define FOREBAY_STATUS_H

#include <forebay/export.h>

/* Every outcome of a call, in one table: the enum, the texts and the Python
 * exceptions are made from it.  Values are part of the ABI. */
#define FOREBAY_STATUS_TABLE(ROW)                                              \
    ROW(OK, 0, "success")                                                      \
    ROW(MISS, 1, "no such entry")                                              \
    ROW(EXISTS, 2, "the key already has an entry")                             \
    ROW(INVALID, -1, "invalid argument")                                       \
    ROW(NOMEM, -2, "out of memory")                                            \
    ROW(IO, -3, "operating system error")                                      \
    ROW(NOSPACE, -4, "not enough space to reserve the arena")                  \
    ROW(FULL, -5, "no space left in the arena: nothing could be evicted")      \
    ROW(TOOBIG, -6, "key or value too large for this arena")                   \
    ROW(CORRUPT, -7, "the file is damaged or is not an arena")                 \
    ROW(VERSION, -8, "the arena has another format version")                   \
    ROW(DENIED, -9, "the file is not trusted: owner or permissions")           \
    ROW(BUSY, -10, "too many processes have this arena open")                  \
    ROW(TYPE, -11, "the entry holds another type of value")                    \
    ROW(OVERFLOW, -12, "the number does not fit 64 bits")                      \
    ROW(CLOSED, -13, "the arena is closed")                                    \
    ROW(CONFLICT, -14, "the cache exists with other options")                  \
    ROW(TIMEOUT, -15, "another process did not finish in time")                \
    ROW(INTERRUPTED, -16, "interrupted by a signal")

typedef enum forebay_status {
#define FOREBAY_STATUS_ENUM(name, value, text) FOREBAY_##name = value,
    FOREBAY_STATUS_TABLE(FOREBAY_STATUS_ENUM)
#undef FOREBAY_STATUS_ENUM
} forebay_status;

/* The text of `status`; never NULL, static, for any value. */
FOREBAY_API const char *forebay_status_text(forebay_status status);

/* What went wrong, owned by the caller.  Filled only on a negative status; may
 * be NULL wherever it is asked for. */
typedef struct forebay_error {
    int os_error;      /* errno, or 0 */
    char message[400]; /* one sentence that says what to do, no newline */
} forebay_error;

#endif
