/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "value/msgpack.h"

#define ROOM 400u

/* A fixed writer on a buffer, and what it should have written. */
typedef struct scratch {
    uint8_t bytes[ROOM];
    fb_pack_writer writer;
} scratch;

static void scratch_init(scratch *pad, size_t capacity)
{
    pad->writer = (fb_pack_writer){ .start = pad->bytes, .at = pad->bytes, .end = pad->bytes + capacity };
}

static size_t scratch_length(const scratch *pad)
{
    return (size_t)(pad->writer.at - pad->writer.start);
}

static void assert_written(const scratch *pad, const char *expected, size_t length)
{
    assert_int_equal(scratch_length(pad), length);
    assert_memory_equal(pad->bytes, expected, length);
}

/* The exact bytes as a block of the heap, so that a sanitizer or valgrind sees
 * any read past them. */
static uint8_t *exact_copy(const void *data, size_t length)
{
    uint8_t *copy = malloc(length != 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, data, length);
    return copy;
}

static fb_pack_error read_one(const void *data, size_t length, fb_pack_token *token)
{
    uint8_t *copy = exact_copy(data, length);
    fb_pack_reader reader;
    fb_pack_reader_init(&reader, copy, length);
    fb_pack_error error = fb_pack_next(&reader, token);
    if (error == FB_PACK_OK)
        assert_int_equal(fb_pack_left(&reader), 0);
    else
        assert_ptr_equal(reader.at, copy);
    free(copy);
    return error;
}

typedef struct int_row {
    int64_t value;
    const char *bytes;
    size_t length;
} int_row;

static const int_row int_rows[] = {
    { 0, "\x00", 1 },
    { 1, "\x01", 1 },
    { 127, "\x7f", 1 },
    { 128, "\xcc\x80", 2 },
    { 255, "\xcc\xff", 2 },
    { 256, "\xcd\x01\x00", 3 },
    { 65535, "\xcd\xff\xff", 3 },
    { 65536, "\xce\x00\x01\x00\x00", 5 },
    { UINT32_MAX, "\xce\xff\xff\xff\xff", 5 },
    { (int64_t)UINT32_MAX + 1, "\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 9 },
    { INT64_MAX, "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 9 },
    { -1, "\xff", 1 },
    { -32, "\xe0", 1 },
    { -33, "\xd0\xdf", 2 },
    { -128, "\xd0\x80", 2 },
    { -129, "\xd1\xff\x7f", 3 },
    { -32768, "\xd1\x80\x00", 3 },
    { -32769, "\xd2\xff\xff\x7f\xff", 5 },
    { INT32_MIN, "\xd2\x80\x00\x00\x00", 5 },
    { (int64_t)INT32_MIN - 1, "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff", 9 },
    { INT64_MIN, "\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9 },
};

static void integers_take_the_shortest_form_and_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof int_rows / sizeof int_rows[0]; i++) {
        scratch pad;
        fb_pack_token token;
        scratch_init(&pad, ROOM);
        assert_true(fb_pack_int(&pad.writer, int_rows[i].value));
        assert_written(&pad, int_rows[i].bytes, int_rows[i].length);
        assert_int_equal(read_one(pad.bytes, scratch_length(&pad), &token), FB_PACK_OK);
        assert_int_equal(token.type, FB_PACK_INT);
        assert_true(token.integer == int_rows[i].value);
    }
}

static void integers_above_int64_are_read_as_natural(void **state)
{
    (void)state;
    scratch pad;
    fb_pack_token token;
    scratch_init(&pad, ROOM);
    assert_true(fb_pack_uint(&pad.writer, UINT64_MAX));
    assert_written(&pad, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_int_equal(read_one(pad.bytes, 9, &token), FB_PACK_OK);
    assert_int_equal(token.type, FB_PACK_UINT);
    assert_true(token.natural == UINT64_MAX);
}

static void integers_in_longer_forms_are_read_alike(void **state)
{
    (void)state;
    static const int_row rows[] = {
        { 5, "\xcc\x05", 2 },
        { 5, "\xcd\x00\x05", 3 },
        { 5, "\xce\x00\x00\x00\x05", 5 },
        { 5, "\xcf\x00\x00\x00\x00\x00\x00\x00\x05", 9 },
        { -5, "\xd0\xfb", 2 },
        { -5, "\xd1\xff\xfb", 3 },
        { -5, "\xd2\xff\xff\xff\xfb", 5 },
        { -5, "\xd3\xff\xff\xff\xff\xff\xff\xff\xfb", 9 },
        { 5, "\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 9 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fb_pack_token token;
        assert_int_equal(read_one(rows[i].bytes, rows[i].length, &token), FB_PACK_OK);
        assert_int_equal(token.type, FB_PACK_INT);
        assert_true(token.integer == rows[i].value);
    }
}

static void nil_and_booleans_take_one_byte(void **state)
{
    (void)state;
    scratch pad;
    fb_pack_token token;
    scratch_init(&pad, ROOM);
    assert_true(fb_pack_nil(&pad.writer) && fb_pack_bool(&pad.writer, false)
                && fb_pack_bool(&pad.writer, true));
    assert_written(&pad, "\xc0\xc2\xc3", 3);
    assert_int_equal(read_one("\xc0", 1, &token), FB_PACK_OK);
    assert_int_equal(token.type, FB_PACK_NIL);
    assert_int_equal(read_one("\xc2", 1, &token), FB_PACK_OK);
    assert_true(token.type == FB_PACK_BOOL && !token.boolean);
    assert_int_equal(read_one("\xc3", 1, &token), FB_PACK_OK);
    assert_true(token.type == FB_PACK_BOOL && token.boolean);
}

static void doubles_keep_all_64_bits(void **state)
{
    (void)state;
    static const uint64_t patterns[] = {
        0x0000000000000000u, 0x8000000000000000u /* -0.0 */,     0x3ff0000000000000u,
        0x7ff0000000000000u, 0x7ff8000000000000u /* quiet */,    0xfff80000deadbeefu /* with a payload */,
        0x7fefffffffffffffu, 0x0000000000000001u /* smallest */, 0x7ff0000000000001u /* signalling */,
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        scratch pad;
        fb_pack_token token;
        double value;
        uint64_t bits;
        memcpy(&value, &patterns[i], sizeof value);
        scratch_init(&pad, ROOM);
        assert_true(fb_pack_double(&pad.writer, value));
        assert_int_equal(scratch_length(&pad), 9);
        assert_int_equal(read_one(pad.bytes, 9, &token), FB_PACK_OK);
        assert_int_equal(token.type, FB_PACK_DOUBLE);
        memcpy(&bits, &token.number, sizeof bits);
        assert_true(bits == patterns[i]);
    }
}

static void floats_of_32_bits_are_read_as_doubles(void **state)
{
    (void)state;
    fb_pack_token token;
    assert_int_equal(read_one("\xca\xbf\xc0\x00\x00", 5, &token), FB_PACK_OK);
    assert_int_equal(token.type, FB_PACK_DOUBLE);
    assert_true(token.number == -1.5);
}

typedef bool header_writer(fb_pack_writer *writer, uint32_t length);

typedef struct header_row {
    header_writer *write;
    uint32_t length;
    const char *bytes;
    size_t header;
} header_row;

static bool ext5_header(fb_pack_writer *writer, uint32_t length)
{
    return fb_pack_ext_header(writer, 5, length);
}

static const header_row header_rows[] = {
    { fb_pack_str_header, 0, "\xa0", 1 },
    { fb_pack_str_header, 31, "\xbf", 1 },
    { fb_pack_str_header, 32, "\xd9\x20", 2 },
    { fb_pack_str_header, 255, "\xd9\xff", 2 },
    { fb_pack_str_header, 256, "\xda\x01\x00", 3 },
    { fb_pack_str_header, 65535, "\xda\xff\xff", 3 },
    { fb_pack_str_header, 65536, "\xdb\x00\x01\x00\x00", 5 },
    { fb_pack_bin_header, 0, "\xc4\x00", 2 },
    { fb_pack_bin_header, 255, "\xc4\xff", 2 },
    { fb_pack_bin_header, 256, "\xc5\x01\x00", 3 },
    { fb_pack_bin_header, 65535, "\xc5\xff\xff", 3 },
    { fb_pack_bin_header, 65536, "\xc6\x00\x01\x00\x00", 5 },
    { fb_pack_array_header, 0, "\x90", 1 },
    { fb_pack_array_header, 15, "\x9f", 1 },
    { fb_pack_array_header, 16, "\xdc\x00\x10", 3 },
    { fb_pack_array_header, 65535, "\xdc\xff\xff", 3 },
    { fb_pack_array_header, 65536, "\xdd\x00\x01\x00\x00", 5 },
    { fb_pack_map_header, 0, "\x80", 1 },
    { fb_pack_map_header, 15, "\x8f", 1 },
    { fb_pack_map_header, 16, "\xde\x00\x10", 3 },
    { fb_pack_map_header, 65535, "\xde\xff\xff", 3 },
    { fb_pack_map_header, 65536, "\xdf\x00\x01\x00\x00", 5 },
    { ext5_header, 0, "\xc7\x00\x05", 3 },
    { ext5_header, 1, "\xd4\x05", 2 },
    { ext5_header, 2, "\xd5\x05", 2 },
    { ext5_header, 3, "\xc7\x03\x05", 3 },
    { ext5_header, 4, "\xd6\x05", 2 },
    { ext5_header, 8, "\xd7\x05", 2 },
    { ext5_header, 16, "\xd8\x05", 2 },
    { ext5_header, 17, "\xc7\x11\x05", 3 },
    { ext5_header, 32, "\xc7\x20\x05", 3 },
    { ext5_header, 255, "\xc7\xff\x05", 3 },
    { ext5_header, 256, "\xc8\x01\x00\x05", 4 },
    { ext5_header, 65535, "\xc8\xff\xff\x05", 4 },
    { ext5_header, 65536, "\xc9\x00\x01\x00\x00\x05", 6 },
};

/* How many bytes follow a header of the row: map and array values take one. */
static size_t body_length(const header_row *row)
{
    return row->write == fb_pack_map_header ? (size_t)row->length * 2 : row->length;
}

static fb_pack_type row_type(const header_row *row)
{
    return row->write == fb_pack_str_header     ? FB_PACK_STR
           : row->write == fb_pack_bin_header   ? FB_PACK_BIN
           : row->write == fb_pack_array_header ? FB_PACK_ARRAY
           : row->write == fb_pack_map_header   ? FB_PACK_MAP
                                                : FB_PACK_EXT;
}

static void headers_take_the_shortest_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof header_rows / sizeof header_rows[0]; i++) {
        scratch pad;
        scratch_init(&pad, ROOM);
        assert_true(header_rows[i].write(&pad.writer, header_rows[i].length));
        assert_written(&pad, header_rows[i].bytes, header_rows[i].header);
    }
}

static void headers_come_back_with_their_length_and_data(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof header_rows / sizeof header_rows[0]; i++) {
        const header_row *row = &header_rows[i];
        size_t total = row->header + body_length(row);
        uint8_t *data = calloc(1, total);
        assert_non_null(data);
        memcpy(data, row->bytes, row->header);
        fb_pack_reader reader;
        fb_pack_token token = { .type = FB_PACK_NIL };
        fb_pack_reader_init(&reader, data, total);
        assert_int_equal(fb_pack_next(&reader, &token), FB_PACK_OK);
        assert_int_equal(token.type, row_type(row));
        assert_int_equal(token.length, row->length);
        if (token.type == FB_PACK_EXT)
            assert_int_equal(token.ext, 5);
        if (token.type == FB_PACK_ARRAY || token.type == FB_PACK_MAP)
            assert_int_equal(reader.owed, body_length(row));
        else
            assert_ptr_equal(token.data, data + row->header);
        assert_int_equal(fb_pack_check(data, total, FB_PACK_DEPTH, NULL), FB_PACK_OK);
        free(data);
    }
}

static void negative_ext_types_keep_their_sign(void **state)
{
    (void)state;
    fb_pack_token token;
    assert_int_equal(read_one("\xd4\xff\x00", 3, &token), FB_PACK_OK);
    assert_int_equal(token.ext, -1);
}

static void a_body_one_byte_short_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof header_rows / sizeof header_rows[0]; i++) {
        const header_row *row = &header_rows[i];
        if (row->length == 0)
            continue;
        size_t total = row->header + body_length(row) - 1;
        uint8_t *data = calloc(1, total);
        assert_non_null(data);
        memcpy(data, row->bytes, row->header);
        fb_pack_reader reader;
        fb_pack_token token;
        fb_pack_reader_init(&reader, data, total);
        fb_pack_error error = fb_pack_next(&reader, &token);
        bool counts = row_type(row) == FB_PACK_ARRAY || row_type(row) == FB_PACK_MAP;
        assert_int_equal(error, counts ? FB_PACK_TOO_MANY : FB_PACK_TRUNCATED);
        assert_ptr_equal(reader.at, data);
        assert_int_equal(reader.owed, 0);
        free(data);
    }
}

/* One of everything, tuples and containers inside containers. */
static size_t write_everything(fb_pack_writer *writer)
{
    size_t outer, inner;
    bool done =
        fb_pack_map_header(writer, 3) && fb_pack_str_header(writer, 1) && fb_pack_raw(writer, "a", 1)
        && fb_pack_array_header(writer, 7) && fb_pack_nil(writer) && fb_pack_bool(writer, true)
        && fb_pack_int(writer, -70000) && fb_pack_uint(writer, UINT64_MAX) && fb_pack_double(writer, 0.1)
        && fb_pack_bin_header(writer, 4) && fb_pack_raw(writer, "\0\1\2\3", 4)
        && fb_pack_ext_header(writer, 42, 3) && fb_pack_raw(writer, "xyz", 3) && fb_pack_int(writer, 300)
        && fb_pack_ext_begin(writer, &outer) && fb_pack_array_header(writer, 2) && fb_pack_int(writer, 1)
        && fb_pack_ext_begin(writer, &inner) && fb_pack_array_header(writer, 1) && fb_pack_nil(writer)
        && fb_pack_ext_end(writer, inner, FB_EXT_TUPLE) && fb_pack_ext_end(writer, outer, FB_EXT_TUPLE)
        && fb_pack_int(writer, -1) && fb_pack_map_header(writer, 0);
    assert_true(done);
    return (size_t)(writer->at - writer->start);
}

static void every_truncation_is_an_error_at_the_token_it_cuts(void **state)
{
    (void)state;
    scratch pad;
    scratch_init(&pad, ROOM);
    size_t length = write_everything(&pad.writer);
    assert_int_equal(fb_pack_check(pad.bytes, length, FB_PACK_DEPTH, NULL), FB_PACK_OK);
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *copy = exact_copy(pad.bytes, cut);
        size_t offset = SIZE_MAX;
        fb_pack_error error = fb_pack_check(copy, cut, FB_PACK_DEPTH, &offset);
        assert_true(error == FB_PACK_TRUNCATED || error == FB_PACK_TOO_MANY);
        assert_true(offset <= cut);
        free(copy);
    }
}

static void every_changed_byte_gives_an_error_or_another_value_and_stays_inside(void **state)
{
    (void)state;
    scratch pad;
    scratch_init(&pad, ROOM);
    size_t length = write_everything(&pad.writer), errors = 0;
    for (size_t i = 0; i < length; i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t *copy = exact_copy(pad.bytes, length);
            size_t offset = 0;
            copy[i] = (uint8_t)byte;
            if (fb_pack_check(copy, length, FB_PACK_DEPTH, &offset) != FB_PACK_OK) {
                assert_true(offset <= length);
                errors++;
            }
            free(copy);
        }
    }
    assert_true(errors > length); /* most changes of headers are noticed */
}

static void bytes_after_the_value_are_an_error(void **state)
{
    (void)state;
    size_t offset = 0;
    assert_int_equal(fb_pack_check("\x01\x02", 2, FB_PACK_DEPTH, &offset), FB_PACK_TRAILING);
    assert_int_equal(offset, 1);
}

static void the_reserved_byte_is_an_error(void **state)
{
    (void)state;
    fb_pack_token token;
    size_t offset = 0;
    assert_int_equal(read_one("\xc1", 1, &token), FB_PACK_RESERVED);
    assert_int_equal(fb_pack_check("\x92\x01\xc1", 3, FB_PACK_DEPTH, &offset), FB_PACK_RESERVED);
    assert_int_equal(offset, 2);
}

static void counts_that_the_bytes_left_cannot_hold_are_refused_at_the_header(void **state)
{
    (void)state;
    fb_pack_token token;
    assert_int_equal(read_one("\xdd\xff\xff\xff\xff", 5, &token), FB_PACK_TOO_MANY);
    assert_int_equal(read_one("\xdf\xff\xff\xff\xff", 5, &token), FB_PACK_TOO_MANY);
    assert_int_equal(read_one("\xdf\x80\x00\x00\x00\xc0", 6, &token), FB_PACK_TOO_MANY);
    /* Three values are owed, four bytes are left: the inner array may have one. */
    size_t offset = 0;
    assert_int_equal(fb_pack_check("\x94\x92\x00\x00\x00\x00", 6, FB_PACK_DEPTH, &offset), FB_PACK_TOO_MANY);
    assert_int_equal(offset, 1);
    assert_int_equal(fb_pack_check("\x94\x91\x00\x00\x00\x00", 6, FB_PACK_DEPTH, &offset), FB_PACK_OK);
}

static void containers_may_nest_to_the_limit_and_no_deeper(void **state)
{
    (void)state;
    uint8_t nested[FB_PACK_DEPTH + 1];
    size_t offset = 0;
    memset(nested, 0x91, sizeof nested);
    nested[FB_PACK_DEPTH] = 0xc0;
    assert_int_equal(fb_pack_check(nested, sizeof nested, FB_PACK_DEPTH, NULL), FB_PACK_OK);
    assert_int_equal(fb_pack_check(nested, sizeof nested, FB_PACK_DEPTH - 1, &offset), FB_PACK_TOO_DEEP);
    assert_int_equal(offset, FB_PACK_DEPTH - 1);
}

static void tuples_nest_no_deeper_than_other_containers(void **state)
{
    (void)state;
    scratch pad;
    size_t marks[3];
    scratch_init(&pad, ROOM);
    for (int i = 0; i < 3; i++)
        assert_true(fb_pack_ext_begin(&pad.writer, &marks[i]) && fb_pack_array_header(&pad.writer, 1));
    assert_true(fb_pack_nil(&pad.writer));
    for (int i = 2; i >= 0; i--)
        assert_true(fb_pack_ext_end(&pad.writer, marks[i], FB_EXT_TUPLE));
    assert_int_equal(fb_pack_check(pad.bytes, scratch_length(&pad), 3, NULL), FB_PACK_OK);
    assert_int_equal(fb_pack_check(pad.bytes, scratch_length(&pad), 2, NULL), FB_PACK_TOO_DEEP);
}

static void tuples_hold_exactly_one_array(void **state)
{
    (void)state;
    assert_int_equal(fb_pack_check("\xd4\x01\x90", 3, FB_PACK_DEPTH, NULL), FB_PACK_OK);
    assert_int_equal(fb_pack_check("\xd4\x01\x05", 3, FB_PACK_DEPTH, NULL), FB_PACK_BAD_TUPLE);
    assert_int_equal(fb_pack_check("\xc7\x00\x01", 3, FB_PACK_DEPTH, NULL), FB_PACK_BAD_TUPLE);
    assert_int_equal(fb_pack_check("\xd5\x01\x90\x90", 4, FB_PACK_DEPTH, NULL), FB_PACK_TRAILING);
    assert_int_equal(fb_pack_check("\xc7\x03\x01\xd4\x01\x90", 6, FB_PACK_DEPTH, NULL), FB_PACK_BAD_TUPLE);
}

static void extensions_of_unknown_length_get_the_shortest_header_up_to_255_bytes(void **state)
{
    (void)state;
    for (uint32_t length = 0; length <= 300; length++) {
        scratch pad;
        size_t mark;
        uint8_t header[FB_PACK_EXT_HEADER_MAX];
        uint8_t payload[300];
        memset(payload, 0x5a, sizeof payload);
        scratch_init(&pad, ROOM);
        assert_true(fb_pack_nil(&pad.writer) && fb_pack_ext_begin(&pad.writer, &mark));
        assert_true(fb_pack_raw(&pad.writer, payload, length) && fb_pack_ext_end(&pad.writer, mark, 9));
        size_t used = length <= 255 ? fb_pack_ext_header_at(header, 9, length) : 6;
        assert_int_equal(scratch_length(&pad), 1 + used + length);
        fb_pack_token token;
        assert_int_equal(read_one(pad.bytes + 1, used + length, &token), FB_PACK_OK);
        assert_int_equal(token.type, FB_PACK_EXT);
        assert_int_equal(token.ext, 9);
        assert_int_equal(token.length, length);
        assert_memory_equal(pad.bytes + 1 + used, payload, length);
    }
}

static bool refuse_to_grow(fb_pack_writer *writer, size_t need)
{
    (void)writer;
    assert_true(need > 0);
    return false;
}

static void a_full_writer_writes_nothing_and_says_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof int_rows / sizeof int_rows[0]; i++) {
        scratch pad;
        scratch_init(&pad, int_rows[i].length - 1);
        pad.writer.grow = i % 2 == 0 ? NULL : refuse_to_grow;
        memset(pad.bytes, 0xee, sizeof pad.bytes);
        assert_false(fb_pack_int(&pad.writer, int_rows[i].value));
        assert_int_equal(scratch_length(&pad), 0);
        for (size_t k = 0; k < ROOM; k++)
            assert_int_equal(pad.bytes[k], 0xee);
        pad.writer.end++; /* exactly enough */
        assert_true(fb_pack_int(&pad.writer, int_rows[i].value));
    }
}

/* A writer on the heap that has never one byte more than was asked for. */
static bool grow_tightly(fb_pack_writer *writer, size_t need)
{
    size_t used = (size_t)(writer->at - writer->start);
    uint8_t *moved = malloc(used + need);
    if (moved == NULL)
        return false;
    if (used != 0)
        memcpy(moved, writer->start, used);
    free(writer->start);
    writer->start = moved;
    writer->at = moved + used;
    writer->end = moved + used + need;
    return true;
}

static void a_writer_that_moves_at_every_token_writes_the_same(void **state)
{
    (void)state;
    scratch pad;
    fb_pack_writer moving = { .grow = grow_tightly };
    scratch_init(&pad, ROOM);
    size_t length = write_everything(&pad.writer);
    assert_int_equal(write_everything(&moving), length);
    assert_memory_equal(moving.start, pad.bytes, length);
    free(moving.start);
}

static void every_error_has_a_text(void **state)
{
    (void)state;
    for (int error = FB_PACK_OK; error <= FB_PACK_TRAILING; error++)
        assert_string_not_equal(fb_pack_error_text((fb_pack_error)error), "unknown error");
    assert_string_equal(fb_pack_error_text((fb_pack_error)99), "unknown error");
}

static void an_empty_input_is_truncated(void **state)
{
    (void)state;
    fb_pack_token token;
    size_t offset = 7;
    assert_int_equal(read_one("", 0, &token), FB_PACK_TRUNCATED);
    assert_int_equal(fb_pack_check(NULL, 0, FB_PACK_DEPTH, &offset), FB_PACK_TRUNCATED);
    assert_int_equal(offset, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_take_the_shortest_form_and_come_back),
        cmocka_unit_test(integers_above_int64_are_read_as_natural),
        cmocka_unit_test(integers_in_longer_forms_are_read_alike),
        cmocka_unit_test(nil_and_booleans_take_one_byte),
        cmocka_unit_test(doubles_keep_all_64_bits),
        cmocka_unit_test(floats_of_32_bits_are_read_as_doubles),
        cmocka_unit_test(headers_take_the_shortest_form),
        cmocka_unit_test(headers_come_back_with_their_length_and_data),
        cmocka_unit_test(negative_ext_types_keep_their_sign),
        cmocka_unit_test(a_body_one_byte_short_is_refused),
        cmocka_unit_test(every_truncation_is_an_error_at_the_token_it_cuts),
        cmocka_unit_test(every_changed_byte_gives_an_error_or_another_value_and_stays_inside),
        cmocka_unit_test(bytes_after_the_value_are_an_error),
        cmocka_unit_test(the_reserved_byte_is_an_error),
        cmocka_unit_test(counts_that_the_bytes_left_cannot_hold_are_refused_at_the_header),
        cmocka_unit_test(containers_may_nest_to_the_limit_and_no_deeper),
        cmocka_unit_test(tuples_nest_no_deeper_than_other_containers),
        cmocka_unit_test(tuples_hold_exactly_one_array),
        cmocka_unit_test(extensions_of_unknown_length_get_the_shortest_header_up_to_255_bytes),
        cmocka_unit_test(a_full_writer_writes_nothing_and_says_so),
        cmocka_unit_test(a_writer_that_moves_at_every_token_writes_the_same),
        cmocka_unit_test(every_error_has_a_text),
        cmocka_unit_test(an_empty_input_is_truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
