/* SPDX-License-Identifier: Apache-2.0 */
/* Going over encoded MessagePack without decoding it: past values, to the value
 * of a key.  As msgpack.h: inline, no allocation, any bytes.  Nothing recurses;
 * what is skipped costs its tokens, tuples and other extensions one each, for
 * they are not looked into.
 *
 * Threads: a reader belongs to one thread at a time. */
#ifndef FB_SKIP_H
#define FB_SKIP_H

#include "value/msgpack.h"

/* All bytes of a value that begins with this one; 0: containers, lengths that
 * follow, and 0xc1. */
static const uint8_t fb_pack_whole[256] = {
    [0x00 ... 0x7f] = 1, [0x80] = 1, [0x90] = 1,
    [0xa0] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    [0xb0] = 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
    [0xc0] = 1, [0xc2] = 1, 1, [0xca] = 5, 9, 2, 3, 5, 9, 2, 3, 5, 9,
    [0xd4] = 3, 4, 6, 10, 18, [0xe0 ... 0xff] = 1,
};

/* Go past `count` values with all that is in them.  What they claim to hold is
 * bounded by the bytes left, the reader's `owed` is not looked at and stays.  On
 * an error the reader is where the bad token begins. */
static inline fb_pack_error fb_pack_skip(fb_pack_reader *reader, uint64_t count)
{
    const uint8_t *at = reader->at, *end = reader->end;
    fb_pack_error error = FB_PACK_OK;
    for (; count != 0; count--) {
        size_t left = (size_t)(end - at);
        size_t whole = left != 0 ? fb_pack_whole[*at] : 1;
        if (__builtin_expect(whole == 0, 0)) {
            fb_pack_reader one = { .at = at, .end = end };
            fb_pack_token token;
            error = fb_pack_next(&one, &token);
            if (error == FB_PACK_OK && one.owed + count - 1 > fb_pack_left(&one))
                error = FB_PACK_TOO_MANY;
            if (error != FB_PACK_OK)
                break;
            count += one.owed;
            at = one.at;
        } else if (__builtin_expect(left < whole, 0)) {
            error = FB_PACK_TRUNCATED;
            break;
        } else {
            at += whole;
        }
    }
    reader->at = at;
    return error;
}

/* A str that may be a map's key. */
typedef struct fb_pack_text {
    const uint8_t *data; /* UTF-8, without surrogates */
    size_t length;
} fb_pack_text;

static inline bool fb_pack_is_text(const fb_pack_token *token, const fb_pack_text *text)
{
    return (token->type == FB_PACK_STR || (token->type == FB_PACK_EXT && token->ext == FB_EXT_WIDE_STR))
           && token->length == text->length && memcmp(token->data, text->data, text->length) == 0;
}

/* Go past a key; is it this text? */
static inline fb_pack_error fb_pack_skip_key(fb_pack_reader *reader, const fb_pack_text *text, bool *same)
{
    size_t left = fb_pack_left(reader);
    uint8_t byte = left != 0 ? *reader->at : 0;
    size_t length = byte & 0x1f;
    if (__builtin_expect((byte & 0xe0) == 0xa0 && length < left, 1)) {
        *same = length == text->length && memcmp(reader->at + 1, text->data, length) == 0;
        reader->at += 1 + length;
        return FB_PACK_OK;
    }
    fb_pack_reader one = { .at = reader->at, .end = reader->end };
    fb_pack_token token;
    fb_pack_error error = fb_pack_next(&one, &token);
    if (error != FB_PACK_OK)
        return error;
    *same = fb_pack_is_text(&token, text);
    uint64_t inside = one.owed;
    reader->at = one.at;
    return inside == 0 ? FB_PACK_OK : fb_pack_skip(reader, inside);
}

/* Look for `text` among the keys of a map whose `pairs` pairs begin here.
 * `*value_out` is where the value of the last such key begins, for the last one
 * counts; NULL: there is none.  Goes past all pairs; on an error the reader is
 * where the bad token begins. */
static inline fb_pack_error fb_pack_find_text(fb_pack_reader *reader, uint32_t pairs, const fb_pack_text *text,
                                              const uint8_t **value_out)
{
    *value_out = NULL;
    for (; pairs != 0; pairs--) {
        bool same = false;
        fb_pack_error error = fb_pack_skip_key(reader, text, &same);
        if (error != FB_PACK_OK)
            return error;
        if (same)
            *value_out = reader->at;
        error = fb_pack_skip(reader, 1);
        if (error != FB_PACK_OK)
            return error;
    }
    return FB_PACK_OK;
}

/* A container opened: an array, a map or a tuple. */
typedef struct fb_pack_box {
    fb_pack_type type;   /* FB_PACK_ARRAY or FB_PACK_MAP */
    bool is_tuple;       /* then FB_PACK_ARRAY */
    uint32_t count;      /* values, or pairs */
    const uint8_t *first;
    const uint8_t *end;  /* nothing of it lies beyond; of a tuple its last byte's end, of others the reader's */
} fb_pack_box;

/* Does a container begin with this byte?  Extensions may be tuples. */
static inline bool fb_pack_may_be_box(uint8_t byte)
{
    return (byte >= 0x80 && byte <= 0x9f) || (byte >= 0xc7 && byte <= 0xc9) || (byte >= 0xd4 && byte <= 0xd8)
           || (byte >= 0xdc && byte <= 0xdf);
}

/* Open the container that begins here.  `*is_box` false: it is none, and the
 * reader stays.  A container's elements begin at `box->first`, wherever the
 * reader is then. */
static inline fb_pack_error fb_pack_open_box(fb_pack_reader *reader, fb_pack_box *box, bool *is_box)
{
    fb_pack_reader inner = { .at = reader->at, .end = reader->end };
    fb_pack_token token;
    *is_box = false;
    fb_pack_error error = fb_pack_next(&inner, &token);
    if (error != FB_PACK_OK)
        return error;
    box->is_tuple = token.type == FB_PACK_EXT && token.ext == FB_EXT_TUPLE;
    if (box->is_tuple) {
        fb_pack_reader_init(&inner, token.data, token.length);
        error = fb_pack_next(&inner, &token);
        if (error == FB_PACK_OK && token.type != FB_PACK_ARRAY)
            error = FB_PACK_BAD_TUPLE;
        if (error != FB_PACK_OK)
            return error;
    }
    *is_box = token.type == FB_PACK_ARRAY || token.type == FB_PACK_MAP;
    if (*is_box)
        *box = (fb_pack_box){ token.type, box->is_tuple, token.length, inner.at, inner.end };
    return FB_PACK_OK;
}

#endif
