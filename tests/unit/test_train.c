/* SPDX-License-Identifier: Apache-2.0 */
/* Tests train.c. */
#include "codec_fixture.h"

static forebay_status train_on_equal(size_t count, size_t length, content kind, bool alike,
                                     forebay_error *error)
{
    char *samples = exact(count * length);
    size_t *lengths = exact(count * sizeof *lengths);
    fill(samples, count * length, kind);
    for (size_t i = 0; i < count; i++) {
        lengths[i] = length;
        if (alike && length != 0)
            memmove(samples + i * length, samples, length);
    }
    char to[4096];
    size_t made = 99;
    forebay_status status = forebay_codec_train(to, sizeof to, &made, samples, lengths, count, error);
    assert_true((status == FOREBAY_OK) == (made != 0));
    assert_true(made <= sizeof to);
    if (status == FOREBAY_OK) { /* it must be one, then */
        forebay_codec_dictionary *made_of_it = dictionary_of(FOREBAY_CODEC_ZSTD, 3, to, made);
        forebay_codec_dictionary_free(made_of_it);
    }
    free(lengths);
    free(samples);
    return status;
}

static void samples_too_few_or_too_short_are_refused(void **state)
{
    (void)state;
    forebay_error error = { 0 };
    assert_int_equal(train_on_equal(0, 100, TEXT, false, &error), FOREBAY_INVALID);
    assert_int_equal(train_on_equal(15, 100, TEXT, false, &error), FOREBAY_INVALID);
    assert_string_equal(error.message,
                        "training a dictionary takes at least 16 samples of 8 bytes or more, not 15");
    assert_int_equal(train_on_equal(1000, 7, TEXT, false, &error), FOREBAY_INVALID);
    assert_int_equal(train_on_equal(1000, 0, TEXT, false, &error), FOREBAY_INVALID);
}

static void degenerate_samples_never_crash(void **state)
{
    (void)state;
    static const size_t counts[] = { 16, 17, 100, 1000 }, lengths[] = { 8, 9, 10, 16, 100, 1000 };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            for (int kind = 0; kind < CONTENT_COUNT; kind++) {
                for (int alike = 0; alike < 2; alike++) {
                    forebay_error error = { 0 };
                    forebay_status status = train_on_equal(counts[i], lengths[n], kind, alike, &error);
                    assert_true(status == FOREBAY_OK
                                || (status == FOREBAY_INVALID && error.message[0] != '\0'));
                }
            }
        }
    }
}

static void short_samples_are_left_out(void **state)
{
    (void)state;
    enum { COUNT = 1200 };
    static char samples[COUNT * 512], without[COUNT * 512];
    size_t lengths[COUNT], lengths_without[COUNT / 2], total = 0, total_without = 0, made, made_without;
    for (unsigned i = 0; i < COUNT; i++) {
        lengths[i] = i % 2 == 0 ? i % 8 : write_record(samples + total, 512, i);
        if (i % 2 != 0) {
            memcpy(without + total_without, samples + total, lengths[i]);
            lengths_without[i / 2] = lengths[i];
            total_without += lengths[i];
        }
        total += lengths[i];
    }
    char to[4096], to_without[4096];
    assert_int_equal(forebay_codec_train(to, sizeof to, &made, samples, lengths, COUNT, NULL), FOREBAY_OK);
    assert_int_equal(
        forebay_codec_train(to_without, sizeof to, &made_without, without, lengths_without, COUNT / 2, NULL),
        FOREBAY_OK);
    assert_int_equal(made, made_without);
    assert_memory_equal(to, to_without, made);
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    char to[1];
    size_t lengths[20], made = 1;
    for (int i = 0; i < 20; i++)
        lengths[i] = 10;
    forebay_error error;
    assert_int_equal(forebay_codec_train(to, FOREBAY_DICTIONARY_MIN_SIZE - 1, &made, "", lengths, 20, &error),
                     FOREBAY_INVALID);
    assert_int_equal(made, 0);
    assert_string_equal(error.message, "a dictionary has 1024 to 1048576 bytes, not 1023");
    assert_int_equal(forebay_codec_train(to, FOREBAY_DICTIONARY_MAX_SIZE + 1, &made, "", lengths, 20, &error),
                     FOREBAY_INVALID);
}

static void training_twice_gives_the_same(void **state)
{
    (void)state;
    char one[8192], two[8192];
    size_t length = train_on_records(one, sizeof one);
    assert_int_equal(train_on_records(two, sizeof two), length);
    assert_memory_equal(one, two, length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_too_few_or_too_short_are_refused),
        cmocka_unit_test(degenerate_samples_never_crash),
        cmocka_unit_test(short_samples_are_left_out),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(training_twice_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
