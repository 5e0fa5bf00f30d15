/* SPDX-License-Identifier: Apache-2.0 */
#include "pack_reader.h"

#include <string.h>

bool fb_reader_fail(fb_reader *in, const char *reason)
{
    in->reason = reason;
    return false;
}

size_t fb_reader_left(const fb_reader *in)
{
    return (size_t)(in->end - in->at);
}

bool fb_read_number(fb_reader *in, unsigned bytes, uint64_t *number_out)
{
    if (fb_reader_left(in) < bytes)
        return fb_reader_fail(in, "it ends too early");
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | *in->at++;
    *number_out = number;
    return true;
}

static bool read_data(fb_reader *in, fb_token *out, fb_token_type type, uint64_t length)
{
    if (fb_reader_left(in) < length)
        return fb_reader_fail(in, "it ends too early");
    *out = (fb_token){ .type = type, .data = in->at, .length = (size_t)length };
    in->at += length;
    return true;
}

static bool read_ext(fb_reader *in, fb_token *out, uint64_t length)
{
    uint64_t ext;
    if (!fb_read_number(in, 1, &ext) || !read_data(in, out, FB_EXT, length))
        return false;
    out->ext = (int8_t)ext;
    return true;
}

static bool read_container(fb_reader *in, fb_token *out, fb_token_type type, uint64_t count)
{
    uint64_t least = type == FB_MAP ? 2 * count : count; /* bytes that many items take at least */
    if (fb_reader_left(in) < least)
        return fb_reader_fail(in, "it ends too early");
    *out = (fb_token){ .type = type, .count = count };
    return true;
}

static bool read_float(fb_reader *in, fb_token *out, unsigned bytes)
{
    uint64_t bits;
    if (!fb_read_number(in, bytes, &bits))
        return false;
    *out = (fb_token){ .type = FB_FLOAT };
    if (bytes == 4) {
        float narrow;
        uint32_t narrow_bits = (uint32_t)bits;
        memcpy(&narrow, &narrow_bits, sizeof(narrow));
        out->real = (double)narrow;
    } else {
        memcpy(&out->real, &bits, sizeof(out->real));
    }
    return true;
}

static bool read_integer(fb_reader *in, fb_token *out, unsigned bytes, bool is_signed)
{
    uint64_t bits;
    if (!fb_read_number(in, bytes, &bits))
        return false;
    unsigned unused = 64 - 8 * bytes; /* shifted out and back to extend the sign */
    if (is_signed)
        *out = (fb_token){ .type = FB_SIGNED, .number = (int64_t)(bits << unused) >> unused };
    else
        *out = (fb_token){ .type = FB_UNSIGNED, .count = bits };
    return true;
}

/* Tokens of one byte, and short strings and containers. */
static bool read_short(fb_reader *in, fb_token *out, unsigned head)
{
    if (head < 0x80 || head >= 0xe0)
        *out = (fb_token){ .type = FB_SIGNED, .number = (int8_t)head };
    else if (head < 0x90)
        return read_container(in, out, FB_MAP, head & 15);
    else if (head < 0xa0)
        return read_container(in, out, FB_ARRAY, head & 15);
    else if (head < 0xc0)
        return read_data(in, out, FB_STR, head & 31);
    else if (head == 0xc0)
        *out = (fb_token){ .type = FB_NIL };
    else if (head == 0xc1)
        return fb_reader_fail(in, "it has a byte that begins no value");
    else
        *out = (fb_token){ .type = FB_BOOL, .number = head & 1 };
    return true;
}

/* Tokens whose head is followed by a length of 1, 2 or 4 bytes. */
static bool read_long(fb_reader *in, fb_token *out, fb_token_type type, unsigned bytes)
{
    uint64_t length;
    if (!fb_read_number(in, bytes, &length))
        return false;
    if (type == FB_ARRAY || type == FB_MAP)
        return read_container(in, out, type, length);
    return type == FB_EXT ? read_ext(in, out, length) : read_data(in, out, type, length);
}

bool fb_read_token(fb_reader *in, fb_token *out)
{
    uint64_t head;
    if (!fb_read_number(in, 1, &head))
        return false;
    if (head < 0xc4 || head >= 0xe0)
        return read_short(in, out, (unsigned)head);
    if (head <= 0xc6)
        return read_long(in, out, FB_BIN, 1u << (head - 0xc4));
    if (head <= 0xc9)
        return read_long(in, out, FB_EXT, 1u << (head - 0xc7));
    if (head <= 0xcb)
        return read_float(in, out, head == 0xca ? 4 : 8);
    if (head <= 0xcf)
        return read_integer(in, out, 1u << (head - 0xcc), false);
    if (head <= 0xd3)
        return read_integer(in, out, 1u << (head - 0xd0), true);
    if (head <= 0xd8)
        return read_ext(in, out, 1u << (head - 0xd4));
    if (head <= 0xdb)
        return read_long(in, out, FB_STR, 1u << (head - 0xd9));
    return read_long(in, out, head < 0xde ? FB_ARRAY : FB_MAP, head % 2 == 0 ? 2 : 4);
}

bool fb_skip_value(fb_reader *in)
{
    for (uint64_t wanted = 1; wanted > 0; wanted--) {
        fb_token token;
        if (!fb_read_token(in, &token))
            return false;
        if (token.type == FB_ARRAY)
            wanted += token.count;
        else if (token.type == FB_MAP)
            wanted += 2 * token.count;
        if (wanted > fb_reader_left(in) + 1)
            return fb_reader_fail(in, "it ends too early");
    }
    return true;
}
