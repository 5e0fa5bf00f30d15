/* SPDX-License-Identifier: Apache-2.0 */
/* Writes MessagePack into memory that grows, always the forms that docs/reference/encoding.md
 * asks of a writer. */
#ifndef FOREBAY_CLI_PACK_WRITER_H
#define FOREBAY_CLI_PACK_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pack_reader.h"

/* Begin with { 0 }, end with fb_packer_free().  Once memory was refused nothing more
 * is written, and `failed` stays set: ask once, at the end. */
typedef struct fb_packer {
    unsigned char *data; /* owned */
    size_t length, room;
    bool failed;
} fb_packer;

void fb_packer_free(fb_packer *out);
/* Forget what was written, not the memory. */
void fb_packer_clear(fb_packer *out);

/* Bytes that are MessagePack already, or become it by fb_pack_wrap(). */
void fb_pack_verbatim(fb_packer *out, const void *data, size_t length);

void fb_pack_nil(fb_packer *out);
void fb_pack_bool(fb_packer *out, bool value);
void fb_pack_signed(fb_packer *out, int64_t number);
void fb_pack_unsigned(fb_packer *out, uint64_t number);
void fb_pack_float(fb_packer *out, double number);
void fb_pack_str(fb_packer *out, const char *text, size_t length);
void fb_pack_bin(fb_packer *out, const void *data, size_t length);
void fb_pack_ext(fb_packer *out, int8_t ext, const void *data, size_t length);

/* Put a header in front of what was written from `start` on: of a FB_STR or FB_BIN
 * those bytes are the content, of a FB_ARRAY or FB_MAP they are `count` items or pairs. */
void fb_pack_wrap(fb_packer *out, size_t start, fb_token_type type, uint64_t count);
/* The same, of an extension. */
void fb_pack_wrap_ext(fb_packer *out, size_t start, int8_t ext);

#endif
