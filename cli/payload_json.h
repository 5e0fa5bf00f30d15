/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_PAYLOAD_JSON_H
#define FOREBAY_CLI_PAYLOAD_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <forebay/forebay.h>

#include "json.h"

/* Write an entry's value, in the encoding of docs/reference/encoding.md, as one JSON
 * value.  What JSON has no word for becomes an object with one name:
 *
 *   {"$bytes": "00ff"}  {"$tuple": [1, 2]}  {"$uuid": "..."}  {"$decimal": "1.10"}
 *   {"$datetime": "2026-01-02T03:04:05.000000+01:00"}  {"$date": ...}  {"$time": ...}
 *   {"$timedelta": [days, seconds, microseconds]}  {"$float": "nan"}
 *   {"$map": [[key, value], ...]}   a dict with keys other than str
 *   {"$ext": [type, "hex"]}         an extension that Forebay does not define
 *
 * The bytes are not trusted.  false: malformed, and `*reason_out` says how in a
 * few words; what was written by then is void. */
bool fb_payload_write_json(fb_json *json, forebay_kind kind, const void *data, size_t length,
                           const char **reason_out);

#endif
