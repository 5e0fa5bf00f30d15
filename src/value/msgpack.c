/* SPDX-License-Identifier: Apache-2.0 */
#include "value/msgpack.h"

static fb_pack_error check_value(fb_pack_reader *reader, int depth);

static bool begins_array(const fb_pack_token *ext)
{
    if (ext->length == 0)
        return false;
    uint8_t byte = ext->data[0];
    return (byte & 0xf0) == 0x90 || byte == 0xdc || byte == 0xdd;
}

/* Without the array inside, tuples in tuples would cost no depth.  On an error
 * the outer reader is put where the inner one stopped. */
static fb_pack_error check_tuple(fb_pack_reader *reader, const fb_pack_token *tuple, int depth)
{
    fb_pack_reader inner;
    fb_pack_reader_init(&inner, tuple->data, tuple->length);
    fb_pack_error error = begins_array(tuple) ? check_value(&inner, depth) : FB_PACK_BAD_TUPLE;
    if (error == FB_PACK_OK && fb_pack_left(&inner) != 0)
        error = FB_PACK_TRAILING;
    if (error != FB_PACK_OK)
        reader->at = inner.at;
    return error;
}

/* Recursion is bounded by `depth`, the containers that may still be opened. */
static fb_pack_error check_value(fb_pack_reader *reader, int depth)
{
    const uint8_t *start = reader->at;
    fb_pack_token token;
    fb_pack_error error = fb_pack_next(reader, &token);
    if (error != FB_PACK_OK)
        return error;
    if (token.type == FB_PACK_EXT && token.ext == FB_EXT_TUPLE)
        return check_tuple(reader, &token, depth);
    if (token.type != FB_PACK_ARRAY && token.type != FB_PACK_MAP)
        return FB_PACK_OK;
    if (depth <= 0) {
        reader->at = start;
        return FB_PACK_TOO_DEEP;
    }
    uint64_t values = token.type == FB_PACK_MAP ? (uint64_t)token.length * 2 : token.length;
    for (; values != 0 && error == FB_PACK_OK; values--)
        error = check_value(reader, depth - 1);
    return error;
}

fb_pack_error fb_pack_check(const void *data, size_t length, int depth, size_t *offset_out)
{
    fb_pack_reader reader;
    fb_pack_reader_init(&reader, data, length);
    fb_pack_error error = check_value(&reader, depth);
    if (error == FB_PACK_OK && fb_pack_left(&reader) != 0)
        error = FB_PACK_TRAILING;
    if (error != FB_PACK_OK && offset_out != NULL)
        *offset_out = (size_t)(reader.at - (const uint8_t *)data);
    return error;
}
