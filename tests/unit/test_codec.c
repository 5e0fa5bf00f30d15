/* SPDX-License-Identifier: Apache-2.0 */
/* Tests codec_table.c, packing.c, dictionary.c and the codecs: codec_zstd.c, codec_lz4.c,
 * codec_gzip.c, codec_bz2.c, codec_lzma.c. */
#include <limits.h>
#include <sys/mman.h>

#include "codec_fixture.h"

/* A packed record, exactly long. */
static char *pack_record(int codec, forebay_codec_dictionary *dictionary, unsigned number, size_t *packed,
                         char raw[512], size_t *raw_length)
{
    char block[2048];
    *raw_length = write_record(raw, 512, number);
    *packed =
        fb_codec_pack(codec, FOREBAY_CODEC_USUAL_LEVEL, dictionary, block, sizeof block, raw, *raw_length);
    assert_int_not_equal(*packed, 0);
    return exact_copy(block, *packed);
}

static bool unpacks_to(int codec, forebay_codec_dictionary *dictionary, const void *block, size_t packed,
                       const void *raw, size_t raw_length)
{
    char *to = exact(raw_length);
    bool same =
        fb_codec_unpack(codec, dictionary, to, raw_length, block, packed) && memcmp(to, raw, raw_length) == 0;
    free(to);
    return same;
}

/* ------------------------------------------------------------------ the table */

static void numbers_and_names_stay_as_they_are(void **state)
{
    (void)state;
    static const char *const names[] = { NULL, "zstd", "lz4", "gzip", "bz2", "lzma" };
    for (int number = 1; number <= CODECS; number++) {
        assert_string_equal(forebay_codec_get(number)->name, names[number]);
        assert_int_equal(forebay_codec_find(names[number]), number);
    }
    assert_null(forebay_codec_get(0));
    assert_null(forebay_codec_get(-1));
    assert_null(forebay_codec_get(CODECS + 1));
    assert_int_equal(forebay_codec_find("zst"), -1);
    assert_int_equal(forebay_codec_find(""), -1);
}

static void levels_outside_of_the_range_do_not_fit(void **state)
{
    (void)state;
    for (int codec = 1; codec <= CODECS; codec++) {
        const forebay_codec_info *info = forebay_codec_get(codec);
        assert_true(fb_codec_level_fits(codec, info->least_level));
        assert_true(fb_codec_level_fits(codec, info->most_level));
        assert_true(fb_codec_level_fits(codec, FOREBAY_CODEC_USUAL_LEVEL));
        assert_false(fb_codec_level_fits(codec, info->least_level - 1));
        assert_false(fb_codec_level_fits(codec, info->most_level + 1));
        char to[64];
        assert_int_equal(fb_codec_pack(codec, info->most_level + 1, NULL, to, sizeof to, "aaaaaaaa", 8), 0);
    }
    assert_false(fb_codec_level_fits(0, 1));
    assert_false(fb_codec_level_fits(CODECS + 1, 1));
}

/* ---------------------------------------------------------------- bare blocks */

static void values_of_all_lengths_come_back(void **state)
{
    (void)state;
    static const size_t lengths[] = { 1,   2,    3,     7,     8,     15,     100, 299,
                                      900, 4096, 65535, 65536, 65537, 131073, MOST };
    char *raw = exact(MOST), *block = exact(2 * MOST);
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (int kind = 0; kind < CONTENT_COUNT; kind++) {
            fill(raw, MOST, kind);
            for (size_t i = 0; i < count * (sizeof lengths / sizeof lengths[0]); i++) {
                size_t length = lengths[i / count];
                size_t packed = fb_codec_pack(codec, FOREBAY_CODEC_USUAL_LEVEL, both[i % count], block,
                                              2 * MOST, raw, length);
                assert_int_not_equal(packed, 0);
                char *copy = exact_copy(block, packed);
                assert_true(unpacks_to(codec, both[i % count], copy, packed, raw, length));
                free(copy);
            }
        }
        forebay_codec_dictionary_free(both[1]);
    }
    free(block);
    free(raw);
}

static void every_kind_of_level_comes_back(void **state)
{
    (void)state;
    char raw[3000], block[6000];
    fill(raw, sizeof raw, TEXT);
    for (int codec = 1; codec <= CODECS; codec++) {
        const forebay_codec_info *info = forebay_codec_get(codec);
        for (int level = info->least_level < -9 ? -9 : info->least_level; level <= info->most_level;
             level++) {
            size_t packed = fb_codec_pack(codec, level, NULL, block, sizeof block, raw, sizeof raw);
            assert_true(unpacks_to(codec, NULL, block, packed, raw, sizeof raw));
            if (!info->dictionaries)
                continue;
            forebay_codec_dictionary *d = dictionary_of(codec, level, raw + 1000, 2000);
            packed = fb_codec_pack(codec, 0, d, block, sizeof block, raw, sizeof raw);
            assert_true(unpacks_to(codec, d, block, packed, raw, sizeof raw));
            forebay_codec_dictionary_free(d);
        }
        size_t packed = fb_codec_pack(codec, info->least_level, NULL, block, sizeof block, raw, sizeof raw);
        assert_true(unpacks_to(codec, NULL, block, packed, raw, sizeof raw));
    }
}

static void a_bare_block_is_smaller_than_the_standard_format(void **state)
{
    (void)state;
    static const size_t less[] = { 0, 4 + 1 - 1 + 4, 4 + 3 + 8 + 4 + 4 + 4, 18, 0, 30 };
    char raw[512], frame[2048];
    for (int codec = 1; codec <= CODECS; codec++) {
        size_t packed, length, framed;
        char *block = pack_record(codec, NULL, 5, &packed, raw, &length);
        assert_int_equal(forebay_codec_compress(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, frame, sizeof frame,
                                                &framed, raw, length, NULL),
                         FOREBAY_OK);
        assert_true(packed + less[codec] <= framed);
        free(block);
    }
}

static void a_dictionary_makes_records_smaller(void **state)
{
    (void)state;
    for (int codec = FOREBAY_CODEC_ZSTD; codec <= FOREBAY_CODEC_LZ4; codec++) {
        forebay_codec_dictionary *dictionary = trained(codec);
        char raw[512];
        size_t with, without, length;
        free(pack_record(codec, dictionary, 9999, &with, raw, &length));
        free(pack_record(codec, NULL, 9999, &without, raw, &length));
        assert_true(2 * with < without);
        forebay_codec_dictionary_free(dictionary);
    }
}

static void what_does_not_fit_is_not_packed_and_nothing_outside_is_written(void **state)
{
    (void)state;
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (size_t i = 0; i < count; i++) {
            char raw[512];
            size_t packed, length;
            free(pack_record(codec, both[i], 3, &packed, raw, &length));
            for (size_t capacity = 0; capacity < packed; capacity++) {
                char *to = exact(capacity);
                assert_int_equal(
                    fb_codec_pack(codec, FOREBAY_CODEC_USUAL_LEVEL, both[i], to, capacity, raw, length), 0);
                free(to);
            }
            char *block =
                pack_record(codec, both[i], 4, &packed, raw, &length); /* the context is as good as new */
            assert_true(unpacks_to(codec, both[i], block, packed, raw, length));
            free(block);
        }
        forebay_codec_dictionary_free(both[1]);
    }
}

static void noise_does_not_fit_into_less_than_its_length(void **state)
{
    (void)state;
    char raw[900], to[900];
    fill(raw, sizeof raw, NOISE);
    for (int codec = 1; codec <= CODECS; codec++)
        assert_int_equal(
            fb_codec_pack(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, to, sizeof to - 1, raw, sizeof raw), 0);
}

static void nothing_is_packed_to_nothing(void **state)
{
    (void)state;
    char to[100], from[1] = { 0 };
    for (int codec = 0; codec <= CODECS + 1; codec++) {
        assert_int_equal(fb_codec_pack(codec, FOREBAY_CODEC_USUAL_LEVEL, NULL, to, sizeof to, from, 0), 0);
        assert_false(fb_codec_unpack(codec, NULL, to, 0, from, 0));
        assert_false(fb_codec_unpack(codec, NULL, to, 0, from, 1));
        assert_false(fb_codec_unpack(codec, NULL, to, 1, from, 0));
    }
}

static void codec_0_is_bytes_as_they_are(void **state)
{
    (void)state;
    char to[8];
    assert_int_equal(fb_codec_pack(FOREBAY_CODEC_NONE, 0, NULL, to, sizeof to, "aaaa", 4), 0);
    assert_true(unpacks_to(FOREBAY_CODEC_NONE, NULL, "aaaa", 4, "aaaa", 4));
    assert_false(fb_codec_unpack(FOREBAY_CODEC_NONE, NULL, to, 3, "aaaa", 4));
    assert_false(fb_codec_unpack(FOREBAY_CODEC_NONE, NULL, to, 5, "aaaa", 4));
}

static void a_wrong_raw_length_is_found(void **state)
{
    (void)state;
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (size_t i = 0; i < count; i++) {
            char raw[512];
            size_t packed, length;
            char *block = pack_record(codec, both[i], 3, &packed, raw, &length);
            static const long long off[] = { -300, -100, -2, -1, 1, 2, 100, 65536, 1 << 20 };
            for (size_t n = 0; n < sizeof off / sizeof off[0]; n++) {
                size_t claimed = (long long)length + off[n] > 0 ? (size_t)((long long)length + off[n]) : 1;
                char *to = exact(claimed);
                assert_false(fb_codec_unpack(codec, both[i], to, claimed, block, packed));
                free(to);
            }
            free(block);
        }
        forebay_codec_dictionary_free(both[1]);
    }
}

static void a_raw_length_of_gigabytes_takes_no_memory_of_its_own(void **state)
{
    (void)state;
    size_t claimed = (size_t)3 << 30; /* more than an int holds */
    char *to =
        mmap(NULL, claimed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(to, MAP_FAILED);
    for (int codec = 1; codec <= CODECS; codec++) {
        char raw[512];
        size_t packed, length;
        char *block = pack_record(codec, NULL, 3, &packed, raw, &length);
        assert_false(fb_codec_unpack(codec, NULL, to, claimed, block, packed));
        free(block);
    }
    munmap(to, claimed);
}

static void every_cut_and_every_addition_is_found(void **state)
{
    (void)state;
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (size_t i = 0; i < count; i++) {
            char raw[512];
            size_t packed, length;
            char *block = pack_record(codec, both[i], 3, &packed, raw, &length);
            for (size_t cut = 0; cut < packed; cut++) {
                char *part = exact_copy(block, cut);
                assert_false(unpacks_to(codec, both[i], part, cut, raw, length));
                free(part);
            }
            char *longer = exact(packed + 9);
            memcpy(longer, block, packed);
            memset(longer + packed, 'x', 9);
            for (size_t more = 1; more <= 9; more++)
                assert_false(unpacks_to(codec, both[i], longer, packed + more, raw, length));
            free(longer);
            free(block);
        }
        forebay_codec_dictionary_free(both[1]);
    }
}

static void a_changed_byte_stays_inside(void **state)
{
    (void)state;
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (size_t i = 0; i < count; i++) {
            char raw[512];
            size_t packed, length;
            char *block = pack_record(codec, both[i], 3, &packed, raw, &length);
            char *to = exact(length);
            for (size_t at = 0; at < packed; at++) {
                for (int flip = 1; flip < 256; flip = 2 * flip + 1) {
                    block[at] ^= (char)flip;
                    (void)fb_codec_unpack(codec, both[i], to, length, block, packed);
                    block[at] ^= (char)flip;
                }
            }
            assert_true(
                unpacks_to(codec, both[i], block, packed, raw, length)); /* the context has survived */
            free(to);
            free(block);
        }
        forebay_codec_dictionary_free(both[1]);
    }
}

static void unknown_codecs_are_refused(void **state)
{
    (void)state;
    char to[8];
    static const int numbers[] = { -1, CODECS + 1, INT_MAX, INT_MIN };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_int_equal(fb_codec_pack(numbers[i], 1, NULL, to, sizeof to, "aaaa", 4), 0);
        assert_false(fb_codec_unpack(numbers[i], NULL, to, 4, "aaaa", 4));
        assert_int_equal(forebay_codec_bound(numbers[i], 1), 0);
    }
}

/* --------------------------------------------------------------- dictionaries */

static void another_dictionary_does_not_give_the_value(void **state)
{
    (void)state;
    char other_bytes[4096];
    fill(other_bytes, sizeof other_bytes, NOISE);
    for (int codec = FOREBAY_CODEC_ZSTD; codec <= FOREBAY_CODEC_LZ4; codec++) {
        forebay_codec_dictionary *right = trained(codec);
        forebay_codec_dictionary *wrong = dictionary_of(codec, 1, other_bytes, sizeof other_bytes);
        char raw[512];
        size_t packed, length;
        char *block = pack_record(codec, right, 77, &packed, raw, &length);
        assert_false(unpacks_to(codec, wrong, block, packed, raw, length));
        assert_false(unpacks_to(codec, NULL, block, packed, raw, length));
        assert_true(unpacks_to(codec, right, block, packed, raw, length));
        free(block);
        forebay_codec_dictionary_free(right);
        forebay_codec_dictionary_free(wrong);
    }
}

static void a_dictionary_of_another_codec_is_refused(void **state)
{
    (void)state;
    forebay_codec_dictionary *dictionary = trained(FOREBAY_CODEC_LZ4);
    char raw[512], to[2048];
    size_t length = write_record(raw, sizeof raw, 1), made;
    void *out;
    assert_int_equal(fb_codec_pack(FOREBAY_CODEC_ZSTD, 3, dictionary, to, sizeof to, raw, length), 0);
    assert_int_equal(fb_codec_pack(FOREBAY_CODEC_GZIP, 3, dictionary, to, sizeof to, raw, length), 0);
    assert_false(fb_codec_unpack(FOREBAY_CODEC_ZSTD, dictionary, to, 10, raw, length));
    forebay_error error;
    assert_int_equal(
        forebay_codec_compress(FOREBAY_CODEC_ZSTD, 3, dictionary, to, sizeof to, &made, raw, length, &error),
        FOREBAY_INVALID);
    assert_string_equal(error.message, "the dictionary was made for lz4, not for zstd");
    assert_int_equal(
        forebay_codec_decompress(FOREBAY_CODEC_GZIP, dictionary, raw, length, 100, &out, &made, &error),
        FOREBAY_INVALID);
    forebay_codec_dictionary_free(dictionary);
}

static void dictionaries_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const char damaged[] = "\x37\xa4\x30\xec"
                                  "no entropy tables come after the magic number of zstd's dictionaries";
    const struct {
        int codec, level;
        const char *bytes;
        size_t length;
        const char *message;
    } rows[] = {
        { 0, 1, "x", 1, "there is no codec number 0" },
        { 9, 1, "x", 1, "there is no codec number 9" },
        { FOREBAY_CODEC_GZIP, 1, "x", 1, "gzip takes no dictionary" },
        { FOREBAY_CODEC_ZSTD, 23, "x", 1, "zstd has the levels -131072 to 22, not 23" },
        { FOREBAY_CODEC_ZSTD, 1, "", 0, "the dictionary is empty" },
        { FOREBAY_CODEC_ZSTD, 1, damaged, sizeof damaged, "the zstd dictionary is damaged" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        forebay_codec_dictionary *made;
        forebay_error error;
        assert_int_equal(forebay_codec_dictionary_new(rows[i].codec, rows[i].level, rows[i].bytes,
                                                      rows[i].length, &made, &error),
                         FOREBAY_INVALID);
        assert_null(made);
        assert_string_equal(error.message, rows[i].message);
    }
    forebay_codec_dictionary_free(NULL);
}

static void the_shortest_dictionaries_work(void **state)
{
    (void)state;
    for (int codec = FOREBAY_CODEC_ZSTD; codec <= FOREBAY_CODEC_LZ4; codec++) {
        for (size_t size = 1; size <= 20; size++) {
            char *bytes = exact_copy("{\"id\": 3, \"name\": \"c", size);
            forebay_codec_dictionary *dictionary = dictionary_of(codec, 3, bytes, size);
            free(bytes); /* it has its own */
            char raw[512];
            size_t packed, length;
            char *block = pack_record(codec, dictionary, 3, &packed, raw, &length);
            assert_true(unpacks_to(codec, dictionary, block, packed, raw, length));
            free(block);
            forebay_codec_dictionary_free(dictionary);
        }
    }
}

static void a_dictionary_takes_more_memory_once_it_packs(void **state)
{
    (void)state;
    static const int levels[] = { 1, 3, 9 };
    char bytes[8192];
    size_t size = train_on_records(bytes, sizeof bytes);
    for (int codec = FOREBAY_CODEC_ZSTD; codec <= FOREBAY_CODEC_LZ4; codec++) {
        for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
            forebay_codec_dictionary *dictionary = dictionary_of(codec, levels[i], bytes, size);
            size_t before = fb_codec_dictionary_memory(dictionary), packed, length;
            assert_true(before >= size && before < size + 65536);
            char raw[512];
            free(pack_record(codec, dictionary, 3, &packed, raw, &length));
            assert_true(fb_codec_dictionary_memory(dictionary) > before + 8192);
            forebay_codec_dictionary_free(dictionary);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_names_stay_as_they_are),
        cmocka_unit_test(levels_outside_of_the_range_do_not_fit),
        cmocka_unit_test(values_of_all_lengths_come_back),
        cmocka_unit_test(every_kind_of_level_comes_back),
        cmocka_unit_test(a_bare_block_is_smaller_than_the_standard_format),
        cmocka_unit_test(a_dictionary_makes_records_smaller),
        cmocka_unit_test(what_does_not_fit_is_not_packed_and_nothing_outside_is_written),
        cmocka_unit_test(noise_does_not_fit_into_less_than_its_length),
        cmocka_unit_test(nothing_is_packed_to_nothing),
        cmocka_unit_test(codec_0_is_bytes_as_they_are),
        cmocka_unit_test(a_wrong_raw_length_is_found),
        cmocka_unit_test(a_raw_length_of_gigabytes_takes_no_memory_of_its_own),
        cmocka_unit_test(every_cut_and_every_addition_is_found),
        cmocka_unit_test(a_changed_byte_stays_inside),
        cmocka_unit_test(unknown_codecs_are_refused),
        cmocka_unit_test(another_dictionary_does_not_give_the_value),
        cmocka_unit_test(a_dictionary_of_another_codec_is_refused),
        cmocka_unit_test(dictionaries_that_cannot_be_are_refused),
        cmocka_unit_test(the_shortest_dictionaries_work),
        cmocka_unit_test(a_dictionary_takes_more_memory_once_it_packs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
