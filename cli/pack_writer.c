/* SPDX-License-Identifier: Apache-2.0 */
#include "pack_writer.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_MAX 9 /* bytes */

typedef struct head {
    unsigned char bytes[HEAD_MAX];
    size_t length;
} head;

void fb_packer_free(fb_packer *out)
{
    free(out->data);
    *out = (fb_packer){ 0 };
}

void fb_packer_clear(fb_packer *out)
{
    out->length = 0;
    out->failed = false;
}

/* Room for `more` bytes at the end. */
static bool reserve(fb_packer *out, size_t more)
{
    if (!out->failed && more <= out->room - out->length)
        return true;
    size_t room = out->room * 2 > out->length + more ? out->room * 2 : out->length + more + 256;
    unsigned char *data = out->failed ? NULL : realloc(out->data, room);
    out->failed = data == NULL;
    if (out->failed)
        return false;
    out->data = data;
    out->room = room;
    return true;
}

void fb_pack_verbatim(fb_packer *out, const void *data, size_t length)
{
    if (length == 0 || !reserve(out, length))
        return;
    memcpy(out->data + out->length, data, length);
    out->length += length;
}

/* A first byte and a big-endian number of 0, 1, 2, 4 or 8 bytes. */
static head make_head(unsigned first, uint64_t number, unsigned bytes)
{
    head made = { .bytes = { (unsigned char)first }, .length = 1 + bytes };
    for (unsigned i = 0; i < bytes; i++)
        made.bytes[1 + i] = (unsigned char)(number >> (8 * (bytes - 1 - i)));
    return made;
}

static unsigned bytes_of(uint64_t number)
{
    return number <= 0xff ? 1 : number <= 0xffff ? 2 : number <= 0xffffffff ? 4 : 8;
}

/* What stands before a length or count of 32 bits at most. */
static head length_head(fb_token_type type, uint64_t length)
{
    unsigned bytes = bytes_of(length);
    switch (type) {
    case FB_STR:
        return length < 32 ? make_head(0xa0 | (unsigned)length, 0, 0)
                           : make_head(bytes == 1 ? 0xd9 : bytes == 2 ? 0xda : 0xdb, length, bytes);
    case FB_BIN:
        return make_head(bytes == 1 ? 0xc4 : bytes == 2 ? 0xc5 : 0xc6, length, bytes);
    case FB_ARRAY:
        return length < 16 ? make_head(0x90 | (unsigned)length, 0, 0)
                           : make_head(bytes <= 2 ? 0xdc : 0xdd, length, bytes <= 2 ? 2 : 4);
    default: /* FB_MAP */
        return length < 16 ? make_head(0x80 | (unsigned)length, 0, 0)
                           : make_head(bytes <= 2 ? 0xde : 0xdf, length, bytes <= 2 ? 2 : 4);
    }
}

static head ext_head(int8_t ext, uint64_t length)
{
    bool is_nested = ext == FB_EXT_TUPLE || ext == FB_EXT_DATETIME || ext == FB_EXT_TIME || ext == FB_EXT_TIMEDELTA;
    unsigned bytes = bytes_of(length);
    head made;
    if (length == 1 || length == 2 || length == 4 || length == 8 || length == 16)
        made = make_head(length == 16 ? 0xd8 : length == 8 ? 0xd7 : length == 4 ? 0xd6 : length == 2 ? 0xd5 : 0xd4, 0, 0);
    else if (bytes == 1)
        made = make_head(0xc7, length, 1);
    else if (bytes == 2 && !is_nested) /* docs/reference/encoding.md, what a writer must do */
        made = make_head(0xc8, length, 2);
    else
        made = make_head(0xc9, length, 4);
    made.bytes[made.length++] = (unsigned char)ext;
    return made;
}

static void put_head(fb_packer *out, head made)
{
    fb_pack_verbatim(out, made.bytes, made.length);
}

void fb_pack_nil(fb_packer *out)
{
    put_head(out, make_head(0xc0, 0, 0));
}

void fb_pack_bool(fb_packer *out, bool value)
{
    put_head(out, make_head(0xc2u + value, 0, 0));
}

void fb_pack_unsigned(fb_packer *out, uint64_t number)
{
    unsigned bytes = bytes_of(number);
    if (number < 0x80)
        put_head(out, make_head((unsigned)number, 0, 0));
    else
        put_head(out, make_head(bytes == 1 ? 0xcc : bytes == 2 ? 0xcd : bytes == 4 ? 0xce : 0xcf, number, bytes));
}

void fb_pack_signed(fb_packer *out, int64_t number)
{
    if (number >= 0)
        fb_pack_unsigned(out, (uint64_t)number);
    else if (number >= -32)
        put_head(out, make_head((unsigned char)number, 0, 0));
    else if (number >= INT8_MIN)
        put_head(out, make_head(0xd0, (uint64_t)number, 1));
    else if (number >= INT16_MIN)
        put_head(out, make_head(0xd1, (uint64_t)number, 2));
    else if (number >= INT32_MIN)
        put_head(out, make_head(0xd2, (uint64_t)number, 4));
    else
        put_head(out, make_head(0xd3, (uint64_t)number, 8));
}

void fb_pack_float(fb_packer *out, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    put_head(out, make_head(0xcb, bits, 8));
}

void fb_pack_str(fb_packer *out, const char *text, size_t length)
{
    put_head(out, length_head(FB_STR, length));
    fb_pack_verbatim(out, text, length);
}

void fb_pack_bin(fb_packer *out, const void *data, size_t length)
{
    put_head(out, length_head(FB_BIN, length));
    fb_pack_verbatim(out, data, length);
}

void fb_pack_ext(fb_packer *out, int8_t ext, const void *data, size_t length)
{
    put_head(out, ext_head(ext, length));
    fb_pack_verbatim(out, data, length);
}

static void insert_head(fb_packer *out, size_t start, head made)
{
    if (!reserve(out, made.length))
        return;
    memmove(out->data + start + made.length, out->data + start, out->length - start);
    memcpy(out->data + start, made.bytes, made.length);
    out->length += made.length;
}

void fb_pack_wrap(fb_packer *out, size_t start, fb_token_type type, uint64_t count)
{
    bool has_content = type == FB_STR || type == FB_BIN;
    insert_head(out, start, length_head(type, has_content ? out->length - start : count));
}

void fb_pack_wrap_ext(fb_packer *out, size_t start, int8_t ext)
{
    insert_head(out, start, ext_head(ext, out->length - start));
}
