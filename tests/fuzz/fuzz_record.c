/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes gone over without decoding, as records do, compared with reading
 * every token: values end where the full reader says, elements and keys are where
 * it meets them, and what it refuses is never found by going on past it. */
#include <stdlib.h>

#include "value/skip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checked in release builds too. */
#define require(condition) ((condition) ? (void)0 : abort())

#define DEPTH 60

/* Past one value, a token at a time. */
static fb_pack_error read_value(fb_pack_reader *reader, int depth)
{
    fb_pack_token token;
    fb_pack_error error = fb_pack_next(reader, &token);
    if (error != FB_PACK_OK || (token.type != FB_PACK_ARRAY && token.type != FB_PACK_MAP))
        return error;
    if (depth == 0)
        return FB_PACK_TOO_DEEP;
    uint64_t inside = token.type == FB_PACK_MAP ? 2 * (uint64_t)token.length : token.length;
    for (; inside != 0 && error == FB_PACK_OK; inside--)
        error = read_value(reader, depth - 1);
    return error;
}

/* The text of a key, if it is one. */
static bool text_of(const uint8_t *at, const uint8_t *end, fb_pack_text *text)
{
    fb_pack_reader reader = { .at = at, .end = end };
    fb_pack_token token;
    if (fb_pack_next(&reader, &token) != FB_PACK_OK)
        return false;
    bool is_text = token.type == FB_PACK_STR || (token.type == FB_PACK_EXT && token.ext == FB_EXT_WIDE_STR);
    if (is_text)
        *text = (fb_pack_text){ token.data, token.length };
    return is_text;
}

/* Of a map that is whole: each key leads to the last value that it has. */
static void look_up_all(const fb_pack_box *box)
{
    if (box->count > 64)
        return;
    fb_pack_reader keys = { .at = box->first, .end = box->end };
    for (uint32_t i = 0; i < box->count; i++) {
        fb_pack_text text, other;
        bool is_text = text_of(keys.at, keys.end, &text);
        require(fb_pack_skip(&keys, 2) == FB_PACK_OK);
        if (!is_text)
            continue;
        const uint8_t *found, *expected = NULL;
        fb_pack_reader reader = { .at = box->first, .end = box->end };
        require(fb_pack_find_text(&reader, box->count, &text, &found) == FB_PACK_OK);
        fb_pack_reader pairs = { .at = box->first, .end = box->end };
        for (uint32_t k = 0; k < box->count; k++) {
            bool same = text_of(pairs.at, pairs.end, &other) && other.length == text.length
                        && memcmp(other.data, text.data, text.length) == 0;
            require(fb_pack_skip(&pairs, 1) == FB_PACK_OK);
            if (same)
                expected = pairs.at;
            require(fb_pack_skip(&pairs, 1) == FB_PACK_OK);
        }
        require(found != NULL && found == expected);
    }
}

/* Go through a value as records do; true if all of it, tuples too, is whole. */
static bool walk(fb_pack_reader *reader, int depth)
{
    fb_pack_box box;
    bool is_box;
    if (depth == 0 || fb_pack_open_box(reader, &box, &is_box) != FB_PACK_OK)
        return false;
    if (!is_box)
        return fb_pack_skip(reader, 1) == FB_PACK_OK;
    require(fb_pack_may_be_box(*reader->at));
    fb_pack_reader inner = { .at = box.first, .end = box.end };
    uint64_t values = box.type == FB_PACK_MAP ? 2 * (uint64_t)box.count : box.count;
    for (uint64_t i = 0; i < values; i++)
        if (!walk(&inner, depth - 1))
            return false;
    if (box.is_tuple && fb_pack_left(&inner) != 0)
        return false;
    if (box.type == FB_PACK_MAP)
        look_up_all(&box);
    if (fb_pack_skip(reader, 1) != FB_PACK_OK)
        return false;
    require(reader->at == inner.at);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fb_pack_reader whole, skipped, walked;
    fb_pack_reader_init(&whole, data, size);
    fb_pack_reader_init(&skipped, data, size);
    fb_pack_reader_init(&walked, data, size);
    fb_pack_error read = read_value(&whole, DEPTH), skip = fb_pack_skip(&skipped, 1);
    require(skipped.at >= data && skipped.at <= data + size);
    if (read != FB_PACK_TOO_DEEP) {
        require((read == FB_PACK_OK) == (skip == FB_PACK_OK));
        require(read != FB_PACK_OK || whole.at == skipped.at);
    }
    bool good = walk(&walked, DEPTH);
    if (fb_pack_check(data, size, DEPTH - 1, NULL) == FB_PACK_OK)
        require(good && walked.at == data + size);
    /* a damaged map: an error or an answer, nothing outside is read */
    if (size > 2) {
        fb_pack_text text = { data + 1, data[0] % (size - 1) };
        const uint8_t *value;
        fb_pack_reader map;
        fb_pack_reader_init(&map, data + 1, size - 1);
        if (fb_pack_find_text(&map, data[0], &text, &value) == FB_PACK_OK)
            require(value == NULL || (value > data && value < data + size));
    }
    return 0;
}
