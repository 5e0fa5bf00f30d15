/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_JSON_PACK_H
#define FOREBAY_CLI_JSON_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "pack_writer.h"

/* Read one JSON text (RFC 8259) and append the value to `out` as MessagePack: the
 * opposite of fb_payload_write_json(), whose objects {"$bytes": ...} and so on it
 * knows.  Integers may have any number of digits up to 9,800; a name with another
 * dollar is a name.  It is a reader of our own because those at hand keep neither
 * large integers nor lone surrogates.
 *
 * The text is not trusted.  false: `*reason_out` says what is wrong at byte
 * `*at_out`, counted from 0, a static text; what was appended is void. */
bool fb_json_to_pack(const char *text, size_t length, fb_packer *out, const char **reason_out, size_t *at_out);

#endif
