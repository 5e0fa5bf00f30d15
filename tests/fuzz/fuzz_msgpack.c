/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes through the MessagePack reader, as a token stream and as one value.
 * What is read is written again: the shortest forms, which must not be longer
 * than the input and must give the same tokens. */
#include <stdlib.h>

#include "value/msgpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checked in release builds too. */
#define require(condition) ((condition) ? (void)0 : abort())

static bool write_token(fb_pack_writer *writer, const fb_pack_token *token)
{
    switch (token->type) {
    case FB_PACK_NIL:
        return fb_pack_nil(writer);
    case FB_PACK_BOOL:
        return fb_pack_bool(writer, token->boolean);
    case FB_PACK_INT:
        return fb_pack_int(writer, token->integer);
    case FB_PACK_UINT:
        return fb_pack_uint(writer, token->natural);
    case FB_PACK_DOUBLE:
        return fb_pack_double(writer, token->number);
    case FB_PACK_STR:
        return fb_pack_str_header(writer, token->length) && fb_pack_raw(writer, token->data, token->length);
    case FB_PACK_BIN:
        return fb_pack_bin_header(writer, token->length) && fb_pack_raw(writer, token->data, token->length);
    case FB_PACK_ARRAY:
        return fb_pack_array_header(writer, token->length);
    case FB_PACK_MAP:
        return fb_pack_map_header(writer, token->length);
    case FB_PACK_EXT:
        return fb_pack_ext_header(writer, token->ext, token->length)
               && fb_pack_raw(writer, token->data, token->length);
    }
    return false;
}

static bool has_data(fb_pack_type type)
{
    return type == FB_PACK_STR || type == FB_PACK_BIN || type == FB_PACK_EXT;
}

static bool same_number(const fb_pack_token *a, const fb_pack_token *b)
{
    switch (a->type) {
    case FB_PACK_BOOL:
        return a->boolean == b->boolean;
    case FB_PACK_INT:
        return a->integer == b->integer;
    case FB_PACK_UINT:
        return a->natural == b->natural;
    case FB_PACK_DOUBLE:
        return memcmp(&a->number, &b->number, sizeof a->number) == 0;
    default:
        return true;
    }
}

static void assert_same_token(const fb_pack_token *a, const fb_pack_token *b)
{
    require(a->type == b->type);
    require(same_number(a, b));
    if (has_data(a->type) || a->type == FB_PACK_ARRAY || a->type == FB_PACK_MAP)
        require(a->length == b->length);
    if (has_data(a->type))
        require(memcmp(a->data, b->data, a->length) == 0);
    if (a->type == FB_PACK_EXT)
        require(a->ext == b->ext);
}

/* Floats of 32 bits grow to 64, so room for 9 bytes in place of 5 suffices. */
static size_t rewrite(const uint8_t *data, size_t size, uint8_t *to)
{
    fb_pack_writer writer = { .start = to, .at = to, .end = to + 2 * size };
    fb_pack_reader reader;
    fb_pack_token token;
    size_t floats = 0;
    fb_pack_reader_init(&reader, data, size);
    while (fb_pack_left(&reader) != 0) {
        floats += *reader.at == 0xca;
        const uint8_t *before = reader.at;
        if (fb_pack_next(&reader, &token) != FB_PACK_OK) {
            require(reader.at == before);
            break;
        }
        require(reader.at > before && reader.at <= reader.end);
        require(write_token(&writer, &token));
    }
    size_t length = (size_t)(writer.at - writer.start);
    require(length <= (size_t)(reader.at - data) + 4 * floats);
    return length;
}

/* A header that claims what its bytes can just hold may be refused in the
 * shorter form, never the other way round: stop there. */
static void compare(const uint8_t *data, size_t size, const uint8_t *again, size_t again_size)
{
    fb_pack_reader left, right;
    fb_pack_token a, b;
    fb_pack_reader_init(&left, data, size);
    fb_pack_reader_init(&right, again, again_size);
    while (fb_pack_left(&right) != 0) {
        require(fb_pack_next(&left, &a) == FB_PACK_OK);
        if (fb_pack_next(&right, &b) == FB_PACK_TOO_MANY)
            return;
        assert_same_token(&a, &b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t offset = 0;
    uint8_t *again = malloc(2 * size + 1);
    if (again == NULL)
        return 0;
    size_t length = rewrite(data, size, again);
    compare(data, size, again, length);
    if (fb_pack_check(data, size, FB_PACK_DEPTH, &offset) != FB_PACK_OK)
        require(offset <= size);
    else
        require(fb_pack_check(again, length, FB_PACK_DEPTH, NULL) == FB_PACK_OK);
    free(again);
    return 0;
}
