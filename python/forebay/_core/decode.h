/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes back to Python values.  The format is docs/reference/encoding.md.
 *
 * The input is never trusted: any bytes give a value or an exception, nothing
 * outside of them is read, and what is allocated is bounded by a small multiple
 * of their number.  They must not change meanwhile: pass private copies. */
#ifndef CORE_DECODE_H
#define CORE_DECODE_H

#include "encode.h"

/* The value encoded in exactly these bytes: a new reference, or NULL with
 * ValueError (says at which byte) or MemoryError. */
PyObject *core_decode(core_types *types, const uint8_t *data, size_t length);

/* The value, or map key, that begins at the reader, which goes past it; `start` is
 * byte 0 of messages.  Returns as core_decode(). */
PyObject *core_decode_next(core_types *types, const uint8_t *start, fb_pack_reader *reader);
PyObject *core_decode_next_key(core_types *types, const uint8_t *start, fb_pack_reader *reader);
/* Raise the ValueError of a value that is damaged at `at`; returns NULL. */
PyObject *core_decode_raise(const uint8_t *start, const uint8_t *at, const char *what);

/* The same for an entry of the given kind, as core_encode_value() makes them. */
PyObject *core_decode_value(core_types *types, forebay_kind kind, const void *data, size_t length);

/* Parts that keys share.  Each a new reference, or NULL with an exception. */
/* Big-endian two's complement of any length but 0. */
PyObject *core_int_from_bytes(core_types *types, const uint8_t *data, size_t length);
/* `safety`: a member of uuid.SafeUUID; NULL: unknown. */
PyObject *core_uuid_from_bytes(core_types *types, const uint8_t data[16], PyObject *safety);
PyObject *core_date_from_bits(core_types *types, uint32_t bits);

#endif
