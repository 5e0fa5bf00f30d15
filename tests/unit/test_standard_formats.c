/* SPDX-License-Identifier: Apache-2.0 */
/* Tests standard_formats.c. */
#include "codec_fixture.h"

/* Compressed, exactly long. */
static char *compress_exactly(int codec, int level, forebay_codec_dictionary *dictionary, const void *raw,
                              size_t length, size_t *made)
{
    size_t room = forebay_codec_bound(codec, length);
    assert_int_not_equal(room, 0);
    char *to = exact(room);
    assert_int_equal(forebay_codec_compress(codec, level, dictionary, to, room, made, raw, length, NULL),
                     FOREBAY_OK);
    char *copy = exact_copy(to, *made);
    free(to);
    return copy;
}

static forebay_status decompress(int codec, forebay_codec_dictionary *dictionary, const void *from,
                                 size_t length, size_t max_size, forebay_error *error)
{
    void *out;
    size_t made;
    forebay_status status =
        forebay_codec_decompress(codec, dictionary, from, length, max_size, &out, &made, error);
    assert_true((status == FOREBAY_OK) == (out != NULL));
    free(out);
    return status;
}

static void assert_decompresses(int codec, forebay_codec_dictionary *dictionary, const void *from,
                                size_t length, size_t max_size, const void *raw, size_t raw_length)
{
    void *out;
    size_t made;
    assert_int_equal(forebay_codec_decompress(codec, dictionary, from, length, max_size, &out, &made, NULL),
                     FOREBAY_OK);
    assert_int_equal(made, raw_length);
    assert_memory_equal(out, raw, raw_length);
    free(out);
}

static void standard_formats_come_back_and_are_recognised(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 100, 900, 70000, MOST };
    char *raw = exact(MOST);
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (int kind = 0; kind < CONTENT_COUNT; kind++) {
            fill(raw, MOST, kind);
            for (size_t i = 0; i < count * (sizeof lengths / sizeof lengths[0]); i++) {
                size_t length = lengths[i / count], made;
                char *data =
                    compress_exactly(codec, FOREBAY_CODEC_USUAL_LEVEL, both[i % count], raw, length, &made);
                assert_int_equal(forebay_codec_recognise(data, made), codec);
                assert_decompresses(codec, both[i % count], data, made, length, raw, length);
                assert_decompresses(codec, both[i % count], data, made, SIZE_MAX, raw, length);
                if (length != 0)
                    assert_int_equal(decompress(codec, both[i % count], data, made, length - 1, NULL),
                                     FOREBAY_TOOBIG);
                free(data);
            }
        }
        forebay_codec_dictionary_free(both[1]);
    }
    assert_int_equal(forebay_codec_recognise("", 0), -1);
    assert_int_equal(forebay_codec_recognise("BZ", 2), -1);
    assert_int_equal(forebay_codec_recognise("plain text", 10), -1);
    free(raw);
}

static void every_level_of_the_standard_formats_comes_back(void **state)
{
    (void)state;
    char raw[3000];
    fill(raw, sizeof raw, TEXT);
    for (int codec = 1; codec <= CODECS; codec++) {
        const forebay_codec_info *info = forebay_codec_get(codec);
        for (int level = info->least_level < -9 ? -9 : info->least_level; level <= info->most_level;
             level++) {
            size_t made;
            char *data = compress_exactly(codec, level, NULL, raw, sizeof raw, &made);
            assert_decompresses(codec, NULL, data, made, sizeof raw, raw, sizeof raw);
            free(data);
        }
    }
}

static void streams_one_after_another_are_read_as_one(void **state)
{
    (void)state;
    char raw[6000];
    fill(raw, sizeof raw, TEXT);
    for (int codec = 1; codec <= CODECS; codec++) {
        size_t first, second;
        char *one = compress_exactly(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, raw, 1000, &first);
        char *other = compress_exactly(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, raw + 1000, 5000, &second);
        char *both = exact(first + second);
        memcpy(both, one, first);
        memcpy(both + first, other, second);
        assert_decompresses(codec, NULL, both, first + second, 6000, raw, 6000);
        assert_int_equal(decompress(codec, NULL, both, first + second, 5999, NULL), FOREBAY_TOOBIG);
        free(both);
        free(one);
        free(other);
    }
}

static void every_cut_is_reported(void **state)
{
    (void)state;
    char raw[700];
    fill(raw, sizeof raw, TEXT);
    for (int codec = 1; codec <= CODECS; codec++) {
        size_t made;
        char *data = compress_exactly(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, raw, sizeof raw, &made);
        for (size_t cut = 0; cut < made; cut++) {
            forebay_error error = { 0 };
            char *part = exact_copy(data, cut);
            assert_int_equal(decompress(codec, NULL, part, cut, 1000, &error), FOREBAY_CORRUPT);
            assert_non_null(strstr(error.message, cut == 0 ? "empty" : "ends too early"));
            free(part);
        }
        free(data);
    }
}

static void what_follows_the_end_is_reported(void **state)
{
    (void)state;
    char raw[700];
    fill(raw, sizeof raw, TEXT);
    for (int codec = 1; codec <= CODECS; codec++) {
        size_t made;
        char *data = compress_exactly(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, raw, sizeof raw, &made);
        char *longer = exact(made + 40);
        memcpy(longer, data, made);
        memset(longer + made, 'x', 40);
        for (size_t more = 1; more <= 40; more++) {
            forebay_error error = { 0 };
            assert_int_equal(decompress(codec, NULL, longer, made + more, 1000, &error), FOREBAY_CORRUPT);
            if (codec != FOREBAY_CODEC_LZMA) /* goes from stream to stream by itself */
                assert_non_null(strstr(error.message, "other bytes follow"));
        }
        free(longer);
        free(data);
    }
}

static void zero_bytes_after_gzip_are_padding(void **state)
{
    (void)state;
    size_t made;
    char *data = compress_exactly(FOREBAY_CODEC_GZIP, 6, NULL, "abc", 3, &made);
    char *padded = exact(2 * made + 8);
    memset(padded, 0, 2 * made + 8);
    memcpy(padded, data, made);
    assert_decompresses(FOREBAY_CODEC_GZIP, NULL, padded, made + 5, 9, "abc", 3);
    memcpy(padded + made + 5, data, made);
    assert_decompresses(FOREBAY_CODEC_GZIP, NULL, padded, 2 * made + 8, 9, "abcabc", 6);
    free(padded);
    free(data);
}

static void a_changed_byte_of_a_standard_format_is_reported_or_harmless(void **state)
{
    (void)state;
    char raw[700];
    fill(raw, sizeof raw, TEXT);
    for (int codec = 1; codec <= CODECS; codec++) {
        size_t made, reported = 0;
        char *data = compress_exactly(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, raw, sizeof raw, &made);
        for (size_t at = 0; at < made; at++) {
            data[at] ^= 0x55;
            forebay_status status = decompress(codec, NULL, data, made, 1000, NULL);
            assert_true(status == FOREBAY_OK || status == FOREBAY_CORRUPT || status == FOREBAY_TOOBIG);
            reported += status != FOREBAY_OK;
            data[at] ^= 0x55;
        }
        assert_true(reported + 8 > made); /* gzip's time and system, say, are not checked */
        free(data);
    }
}

static void data_that_wants_a_dictionary_says_so(void **state)
{
    (void)state;
    char raw[512];
    forebay_error error;
    forebay_codec_dictionary *dictionary = trained(FOREBAY_CODEC_ZSTD);
    size_t length = write_record(raw, sizeof raw, 5), made;
    char *data = compress_exactly(FOREBAY_CODEC_ZSTD, 3, dictionary, raw, length, &made);
    assert_int_equal(decompress(FOREBAY_CODEC_ZSTD, NULL, data, made, 1000, &error), FOREBAY_CORRUPT);
    assert_string_equal(error.message, "the zstd data was compressed with another dictionary");
    assert_decompresses(FOREBAY_CODEC_ZSTD, dictionary, data, made, 1000, raw, length);
    free(data);
    forebay_codec_dictionary_free(dictionary);
}

static void windows_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    /* a frame without content size, with a window of 2 GiB */
    static const char frame[] = "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    forebay_error error;
    assert_int_equal(decompress(FOREBAY_CODEC_ZSTD, NULL, frame, sizeof frame - 1, 1000, &error),
                     FOREBAY_CORRUPT);
    assert_string_equal(error.message, "the zstd data asks for more memory to decompress than is allowed");
}

static void a_claimed_size_is_not_believed(void **state)
{
    (void)state;
    /* zstd and LZ4 frames that claim 2^60 bytes and hold none */
    static const char zstd[] = "\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x10\x01\0\0";
    static const char lz4[] = "\x04\x22\x4d\x18\x68\x40\0\0\0\0\0\0\0\x10\x53\0\0\0\0";
    assert_int_equal(decompress(FOREBAY_CODEC_ZSTD, NULL, zstd, sizeof zstd - 1, 1000, NULL),
                     FOREBAY_CORRUPT);
    assert_int_equal(decompress(FOREBAY_CODEC_LZ4, NULL, lz4, sizeof lz4 - 1, 1000, NULL), FOREBAY_CORRUPT);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    char to[2000];
    size_t made = 1;
    forebay_error error;
    assert_int_equal(forebay_codec_compress(0, 1, NULL, to, sizeof to, &made, "a", 1, &error),
                     FOREBAY_INVALID);
    assert_int_equal(made, 0);
    assert_int_equal(
        forebay_codec_compress(FOREBAY_CODEC_GZIP, 10, NULL, to, sizeof to, &made, "a", 1, &error),
        FOREBAY_INVALID);
    assert_string_equal(error.message, "gzip has the levels 0 to 9, not 10");
    assert_int_equal(decompress(7, NULL, "a", 1, 10, &error), FOREBAY_INVALID);
    for (int codec = 1; codec <= CODECS; codec++) {
        size_t room = forebay_codec_bound(codec, 1) - 1;
        assert_int_equal(
            forebay_codec_compress(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, to, room, &made, "a", 1, &error),
            FOREBAY_INVALID);
        assert_int_equal(forebay_codec_bound(codec, SIZE_MAX), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standard_formats_come_back_and_are_recognised),
        cmocka_unit_test(every_level_of_the_standard_formats_comes_back),
        cmocka_unit_test(streams_one_after_another_are_read_as_one),
        cmocka_unit_test(every_cut_is_reported),
        cmocka_unit_test(what_follows_the_end_is_reported),
        cmocka_unit_test(zero_bytes_after_gzip_are_padding),
        cmocka_unit_test(a_changed_byte_of_a_standard_format_is_reported_or_harmless),
        cmocka_unit_test(data_that_wants_a_dictionary_says_so),
        cmocka_unit_test(windows_beyond_the_limit_are_refused),
        cmocka_unit_test(a_claimed_size_is_not_believed),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
