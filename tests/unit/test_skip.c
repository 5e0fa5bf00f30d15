/* SPDX-License-Identifier: Apache-2.0 */
/* Going over MessagePack without decoding it: skip.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "value/skip.h"

/* The exact bytes as a block of the heap, so that a sanitizer sees any read past them. */
static uint8_t *exact_copy(const void *data, size_t length)
{
    uint8_t *copy = malloc(length != 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, data, length);
    return copy;
}

/* Skip `count` values of the bytes; how many bytes that took. */
static size_t skip_values(const void *data, size_t length, uint64_t count, fb_pack_error expected)
{
    uint8_t *copy = exact_copy(data, length);
    fb_pack_reader reader;
    fb_pack_reader_init(&reader, copy, length);
    assert_int_equal(fb_pack_skip(&reader, count), expected);
    size_t used = (size_t)(reader.at - copy);
    assert_true(used <= length);
    free(copy);
    return used;
}

#define SKIPS(text, count) assert_int_equal(skip_values(text, sizeof(text) - 1, count, FB_PACK_OK), sizeof(text) - 1)

static void a_value_of_every_form_is_skipped_whole(void **state)
{
    (void)state;
    SKIPS("\x00\x7f\xe0\xff\xc0\xc2\xc3", 7);
    SKIPS("\xcc\x01\xcd\x01\x02\xce\x01\x02\x03\x04\xcf\x01\x02\x03\x04\x05\x06\x07\x08", 4);
    SKIPS("\xd0\x01\xd1\x01\x02\xd2\x01\x02\x03\x04\xd3\x01\x02\x03\x04\x05\x06\x07\x08", 4);
    SKIPS("\xca\x01\x02\x03\x04\xcb\x01\x02\x03\x04\x05\x06\x07\x08", 2);
    SKIPS("\xa0\xa3" "abc\xd9\x02" "ab\xda\x00\x01" "a\xdb\x00\x00\x00\x01" "a", 5);
    SKIPS("\xbf" "0123456789012345678901234567890", 1);
    SKIPS("\xc4\x01" "a\xc5\x00\x01" "a\xc6\x00\x00\x00\x01" "a", 3);
    SKIPS("\xd4\x05" "1\xd5\x05" "12\xd6\x05" "1234\xd7\x05" "12345678\xd8\x05" "1234567812345678", 5);
    SKIPS("\xc7\x00\x05\xc8\x00\x01\x05" "1\xc9\x00\x00\x00\x01\x05" "1", 3);
    SKIPS("\x80\x90\xdc\x00\x00\xdd\x00\x00\x00\x00\xde\x00\x00\xdf\x00\x00\x00\x00", 6);
    SKIPS("\x93\x01\x92\x02\x03\x81\xa1" "a\x91\xc0", 1);
    SKIPS("", 0);
}

static void what_every_first_byte_claims_stays_inside_the_bytes(void **state)
{
    (void)state;
    uint8_t bytes[20];
    for (unsigned first = 0; first < 256; first++)
        for (size_t length = 1; length <= sizeof bytes; length++) {
            memset(bytes, 0xff, sizeof bytes);
            bytes[0] = (uint8_t)first;
            uint8_t *copy = exact_copy(bytes, length);
            fb_pack_reader reader, one;
            fb_pack_token token;
            fb_pack_reader_init(&reader, copy, length);
            fb_pack_reader_init(&one, copy, length);
            fb_pack_error error = fb_pack_skip(&reader, 1), wanted = fb_pack_next(&one, &token);
            if (wanted != FB_PACK_OK || one.owed == 0) {
                assert_int_equal(error, wanted);
                assert_ptr_equal(reader.at, one.at);
            }
            free(copy);
        }
}

static void an_error_is_where_the_bad_token_begins(void **state)
{
    (void)state;
    assert_int_equal(skip_values("\x01\x92\x01\xc1", 4, 2, FB_PACK_RESERVED), 3);
    assert_int_equal(skip_values("\x01\xa3" "ab", 4, 2, FB_PACK_TRUNCATED), 1);
    assert_int_equal(skip_values("\x01", 1, 2, FB_PACK_TRUNCATED), 1);
    assert_int_equal(skip_values("\x01\xdf\xff\xff\xff\xff\x01", 7, 2, FB_PACK_TOO_MANY), 1);
}

static void claims_together_are_bounded_by_the_bytes_left(void **state)
{
    (void)state;
    /* each alone would fit, both do not */
    assert_int_equal(skip_values("\x92\x92\x01\x01", 4, 1, FB_PACK_TOO_MANY), 1);
    assert_int_equal(skip_values("\x01\x01", 2, UINT32_MAX, FB_PACK_TRUNCATED), 2);
}

static void nesting_of_any_depth_takes_no_stack(void **state)
{
    (void)state;
    size_t length = 1 << 20;
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    memset(bytes, 0x91, length);
    bytes[length - 1] = 0;
    assert_int_equal(skip_values(bytes, length, 1, FB_PACK_OK), length);
    assert_int_equal(skip_values(bytes, length - 1, 1, FB_PACK_TOO_MANY), length - 2);
    free(bytes);
}

/* Where the value of `key` is in the map of `length` bytes, without its header; -1: nowhere. */
static long find_in(const void *data, size_t length, uint32_t pairs, const char *key, size_t key_length)
{
    uint8_t *copy = exact_copy(data, length);
    fb_pack_reader reader;
    fb_pack_text text = { (const uint8_t *)key, key_length };
    const uint8_t *value;
    fb_pack_reader_init(&reader, copy, length);
    assert_int_equal(fb_pack_find_text(&reader, pairs, &text, &value), FB_PACK_OK);
    assert_int_equal(fb_pack_left(&reader), 0);
    long at = value == NULL ? -1 : value - copy;
    free(copy);
    return at;
}

#define FIND(text, pairs, key) find_in(text, sizeof(text) - 1, pairs, key, sizeof(key) - 1)

static void a_key_is_found_in_every_form_it_may_have(void **state)
{
    (void)state;
    assert_int_equal(FIND("\xa1" "a\x01\xa1" "b\x02", 2, "b"), 5);
    assert_int_equal(FIND("\xd9\x01" "a\x01", 1, "a"), 3);
    assert_int_equal(FIND("\xda\x00\x01" "a\x01", 1, "a"), 4);
    assert_int_equal(FIND("\xdb\x00\x00\x00\x01" "a\x01", 1, "a"), 6);
    assert_int_equal(FIND("\xd4\x09" "a\x01", 1, "a"), 3); /* a str with surrogates that has none */
    assert_int_equal(FIND("\xa0\x01", 1, ""), 1);
    assert_int_equal(FIND("\xa1" "a\x01", 1, "ab"), -1);
    assert_int_equal(FIND("\xc4\x01" "a\x01", 1, "a"), -1); /* bytes */
    assert_int_equal(FIND("\x92\xa1" "a\xa1" "a\x01\xa1" "a\x02", 2, "a"), 8); /* in a key */
    assert_int_equal(FIND("\xa1" "x\x81\xa1" "a\x01", 1, "a"), -1);           /* further down */
}

static void of_a_key_that_is_there_twice_the_last_counts(void **state)
{
    (void)state;
    assert_int_equal(FIND("\xa1" "a\x01\xa1" "b\x02\xa1" "a\x03", 3, "a"), 8);
    assert_int_equal(FIND("\xa1" "a\x01\xd9\x01" "a\x03", 2, "a"), 6);
}

static void a_damaged_map_is_an_error_not_a_miss(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t length; fb_pack_error error; } rows[] = {
        { "\xa1" "a", 2, FB_PACK_TRUNCATED },
        { "", 0, FB_PACK_TRUNCATED },
        { "\xa5" "a", 2, FB_PACK_TRUNCATED },
        { "\xa1" "a\xc1", 3, FB_PACK_RESERVED },
        { "\xdc\xff\xff\x01", 4, FB_PACK_TOO_MANY },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t *copy = exact_copy(rows[i].bytes, rows[i].length);
        fb_pack_reader reader;
        const uint8_t *value;
        fb_pack_reader_init(&reader, copy, rows[i].length);
        assert_int_equal(fb_pack_find_text(&reader, 1, &(fb_pack_text){ (const uint8_t *)"z", 1 }, &value),
                         rows[i].error);
        free(copy);
    }
}

static fb_pack_error open_box(const void *data, size_t length, fb_pack_box *box, bool *is_box)
{
    uint8_t *copy = exact_copy(data, length);
    fb_pack_reader reader;
    fb_pack_reader_init(&reader, copy, length);
    fb_pack_error error = fb_pack_open_box(&reader, box, is_box);
    assert_ptr_equal(reader.at, copy);
    if (error == FB_PACK_OK && *is_box) {
        assert_true(box->first >= copy && box->first <= box->end && box->end <= copy + length);
        box->first = (const uint8_t *)(box->first - copy); /* an offset, for who looks at it */
        box->end = (const uint8_t *)(box->end - copy);
    }
    free(copy);
    return error;
}

static void containers_are_opened_and_tuples_end_where_their_payload_does(void **state)
{
    (void)state;
    fb_pack_box box;
    bool is_box;
    assert_int_equal(open_box("\x92\x01\x02\x05", 4, &box, &is_box), FB_PACK_OK);
    assert_true(is_box && box.type == FB_PACK_ARRAY && !box.is_tuple && box.count == 2 && (uintptr_t)box.first == 1);
    assert_int_equal(open_box("\x81\x01\x02", 3, &box, &is_box), FB_PACK_OK);
    assert_true(is_box && box.type == FB_PACK_MAP && box.count == 1);
    assert_int_equal(open_box("\xd5\x01\x91\x01\x05", 5, &box, &is_box), FB_PACK_OK);
    assert_true(is_box && box.is_tuple && box.count == 1 && (uintptr_t)box.first == 3 && (uintptr_t)box.end == 4);
    assert_int_equal(open_box("\x05", 1, &box, &is_box), FB_PACK_OK);
    assert_false(is_box);
    assert_int_equal(open_box("\xd4\x02\x91", 3, &box, &is_box), FB_PACK_OK); /* a big int */
    assert_false(is_box);
    assert_int_equal(open_box("\xd4\x01\x01", 3, &box, &is_box), FB_PACK_BAD_TUPLE);
    assert_int_equal(open_box("\xc7\x00\x01", 3, &box, &is_box), FB_PACK_TRUNCATED);
    assert_int_equal(open_box("\xd4\x01\x92\x01\x02", 5, &box, &is_box), FB_PACK_TOO_MANY);
    assert_int_equal(open_box("", 0, &box, &is_box), FB_PACK_TRUNCATED);
}

static void what_may_be_a_container_is_told_by_its_first_byte(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[24] = { (uint8_t)first, 0, 0 };
        fb_pack_box box;
        bool is_box = false;
        if (open_box(bytes, sizeof bytes, &box, &is_box) == FB_PACK_OK && is_box)
            assert_true(fb_pack_may_be_box((uint8_t)first));
    }
    assert_false(fb_pack_may_be_box(0x7f) || fb_pack_may_be_box(0xa0) || fb_pack_may_be_box(0xcb));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_of_every_form_is_skipped_whole),
        cmocka_unit_test(what_every_first_byte_claims_stays_inside_the_bytes),
        cmocka_unit_test(an_error_is_where_the_bad_token_begins),
        cmocka_unit_test(claims_together_are_bounded_by_the_bytes_left),
        cmocka_unit_test(nesting_of_any_depth_takes_no_stack),
        cmocka_unit_test(a_key_is_found_in_every_form_it_may_have),
        cmocka_unit_test(of_a_key_that_is_there_twice_the_last_counts),
        cmocka_unit_test(a_damaged_map_is_an_error_not_a_miss),
        cmocka_unit_test(containers_are_opened_and_tuples_end_where_their_payload_does),
        cmocka_unit_test(what_may_be_a_container_is_told_by_its_first_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
