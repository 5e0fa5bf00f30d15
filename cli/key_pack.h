/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_KEY_PACK_H
#define FOREBAY_CLI_KEY_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include <forebay/forebay.h>

#include "pack_writer.h"

/* Keys as MessagePack: the Python key that the stored bytes stand for, in the
 * encoding of docs/reference/encoding.md on both sides. */

/* Append the key.  false: these bytes are no Python key (a C program's), or not in
 * the one form that it has; what was appended is void. */
bool fb_key_to_pack(const void *key, size_t length, fb_packer *out);

/* The bytes of the key that comes next.  false: in->reason says why it is none. */
bool fb_key_from_pack(fb_reader *in, unsigned char key[FOREBAY_KEY_MAX], size_t *length_out);

#endif
