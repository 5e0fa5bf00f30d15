/* SPDX-License-Identifier: Apache-2.0 */
#include "key_pack.h"

#include <string.h>

#define NESTING_MAX 32 /* tuples inside each other */

static const char too_long[] = "a key is too long, it takes at most 4095 bytes";

/* ---- to MessagePack ---- */

/* Does UTF-8 have a surrogate in it, ED A0..BF xx? */
static bool has_surrogate(const unsigned char *text, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++)
        if (text[i] == 0xed && text[i + 1] >= 0xa0)
            return true;
    return false;
}

/* Two's complement of at most 9 bytes as the number it is, others as an extension. */
static void integer_to_pack(const unsigned char *bytes, size_t length, fb_packer *out)
{
    bool negative = bytes[0] >= 0x80;
    if (length > 9 || (length == 9 && bytes[0] != 0)) {
        fb_pack_ext(out, FB_EXT_BIG_INT, bytes, length);
        return;
    }
    uint64_t number = negative ? UINT64_MAX : 0;
    for (size_t i = 0; i < length; i++)
        number = number << 8 | bytes[i];
    if (negative)
        fb_pack_signed(out, (int64_t)number);
    else
        fb_pack_unsigned(out, number);
}

static bool one_key(const unsigned char *key, size_t length, fb_packer *out, int depth);

static bool tuple_to_pack(const unsigned char *at, const unsigned char *end, fb_packer *out, int depth)
{
    size_t start = out->length;
    uint64_t count = 0;
    if (depth == NESTING_MAX)
        return false;
    for (; at < end; count++) {
        size_t size = *at++;
        if (size >= 0x80) {
            if (at == end)
                return false;
            size = (size - 0x80) << 8 | *at++;
        }
        if ((size_t)(end - at) < size || !one_key(at, size, out, depth + 1))
            return false;
        at += size;
    }
    fb_pack_wrap(out, start, FB_ARRAY, count);
    fb_pack_wrap_ext(out, start, FB_EXT_TUPLE);
    return true;
}

static bool one_key(const unsigned char *key, size_t length, fb_packer *out, int depth)
{
    if (length == 0)
        return false;
    const unsigned char *content = key + 1;
    size_t size = length - 1;
    switch (key[0]) {
    case 's':
        if (has_surrogate(content, size))
            fb_pack_ext(out, FB_EXT_WIDE_STR, content, size);
        else
            fb_pack_str(out, (const char *)content, size);
        return true;
    case 'b':
        fb_pack_bin(out, content, size);
        return true;
    case 'i':
        if (size != 0)
            integer_to_pack(content, size, out);
        return size != 0;
    case 'T':
    case 'F':
        fb_pack_bool(out, key[0] == 'T');
        return size == 0;
    case 'u':
        fb_pack_ext(out, FB_EXT_UUID, content, size);
        return size == 16;
    case 'd':
        fb_pack_ext(out, FB_EXT_DATE, content, size);
        return size == 4;
    case 't':
        return tuple_to_pack(content, key + length, out, depth);
    default:
        return false;
    }
}

bool fb_key_to_pack(const void *key, size_t length, fb_packer *out)
{
    unsigned char again[FOREBAY_KEY_MAX];
    size_t start = out->length, again_length;
    if (!one_key(key, length, out, 0) || out->failed)
        return false;
    fb_reader in = { .at = out->data + start, .end = out->data + out->length };
    return fb_key_from_pack(&in, again, &again_length) && again_length == length && memcmp(again, key, length) == 0;
}

/* ---- from MessagePack ---- */

/* A key being put together in `bytes`. */
typedef struct key_buffer {
    unsigned char *bytes;
    size_t length;
} key_buffer;

static bool append(fb_reader *in, key_buffer *key, const void *data, size_t length)
{
    if (length > FOREBAY_KEY_MAX - key->length)
        return fb_reader_fail(in, too_long);
    if (length != 0)
        memcpy(key->bytes + key->length, data, length);
    key->length += length;
    return true;
}

static bool append_typed(fb_reader *in, key_buffer *key, char type, const void *data, size_t length)
{
    return append(in, key, &type, 1) && append(in, key, data, length);
}

/* The shortest two's complement of these big-endian bytes. */
static bool append_integer(fb_reader *in, key_buffer *key, const unsigned char *bytes, size_t length)
{
    if (length == 0)
        return fb_reader_fail(in, "a key is an integer without bytes");
    while (length > 1 && ((bytes[0] == 0 && bytes[1] < 0x80) || (bytes[0] == 0xff && bytes[1] >= 0x80)))
        bytes++, length--;
    return append_typed(in, key, 'i', bytes, length);
}

static bool append_number(fb_reader *in, key_buffer *key, uint64_t number, bool negative)
{
    unsigned char bytes[9] = { negative ? 0xff : 0 };
    for (int i = 8; i > 0; i--, number >>= 8)
        bytes[i] = (unsigned char)number;
    return append_integer(in, key, bytes, sizeof(bytes));
}

static bool append_next(fb_reader *in, key_buffer *key, int depth);

/* A length of one byte, or of two; the element was written behind two bytes of room. */
static void close_element(key_buffer *key, size_t start)
{
    size_t size = key->length - start - 2;
    if (size < 0x80) {
        key->bytes[start] = (unsigned char)size;
        memmove(key->bytes + start + 1, key->bytes + start + 2, size);
        key->length--;
    } else {
        key->bytes[start] = (unsigned char)(0x80 | size >> 8);
        key->bytes[start + 1] = (unsigned char)size;
    }
}

static bool append_tuple(fb_reader *outer, key_buffer *key, const fb_token *tuple, int depth)
{
    fb_reader in = { .at = tuple->data, .end = tuple->data + tuple->length };
    fb_token array;
    if (depth == NESTING_MAX)
        return fb_reader_fail(outer, "a key has tuples more than 32 deep");
    bool done = append(&in, key, "t", 1) && fb_read_token(&in, &array)
                && (array.type == FB_ARRAY || fb_reader_fail(&in, "a tuple holds an array"));
    for (uint64_t i = 0; done && i < array.count; i++) {
        size_t start = key->length;
        done = append(&in, key, "\0", 2) && append_next(&in, key, depth + 1);
        if (done)
            close_element(key, start);
    }
    if (done && fb_reader_left(&in) != 0)
        done = fb_reader_fail(&in, "bytes follow the end of a tuple");
    return done || fb_reader_fail(outer, in.reason);
}

static bool append_ext(fb_reader *in, key_buffer *key, const fb_token *token, int depth)
{
    switch (token->ext) {
    case FB_EXT_WIDE_STR:
        return append_typed(in, key, 's', token->data, token->length);
    case FB_EXT_BIG_INT:
        return append_integer(in, key, token->data, token->length);
    case FB_EXT_UUID:
        if (token->length == 16)
            return append_typed(in, key, 'u', token->data, token->length);
        break;
    case FB_EXT_DATE:
        if (token->length == 4)
            return append_typed(in, key, 'd', token->data, token->length);
        break;
    case FB_EXT_TUPLE:
        return append_tuple(in, key, token, depth);
    default:
        break;
    }
    return fb_reader_fail(in, "a key is a str, bytes, int, bool, UUID, date or a tuple of these");
}

static bool append_next(fb_reader *in, key_buffer *key, int depth)
{
    fb_token token;
    if (!fb_read_token(in, &token))
        return false;
    switch (token.type) {
    case FB_STR:
        return append_typed(in, key, 's', token.data, token.length);
    case FB_BIN:
        return append_typed(in, key, 'b', token.data, token.length);
    case FB_SIGNED:
        return append_number(in, key, (uint64_t)token.number, token.number < 0);
    case FB_UNSIGNED:
        return append_number(in, key, token.count, false);
    case FB_BOOL:
        return append(in, key, token.number != 0 ? "T" : "F", 1);
    case FB_EXT:
        return append_ext(in, key, &token, depth);
    default:
        return fb_reader_fail(in, "a key is a str, bytes, int, bool, UUID, date or a tuple of these");
    }
}

bool fb_key_from_pack(fb_reader *in, unsigned char key[FOREBAY_KEY_MAX], size_t *length_out)
{
    key_buffer made = { .bytes = key };
    if (!append_next(in, &made, 0))
        return false;
    *length_out = made.length;
    return true;
}
