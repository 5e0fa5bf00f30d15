/* SPDX-License-Identifier: Apache-2.0 */
/* Tests codec_table.c, packing.c, dictionary.c, context_pool.c, standard_formats.c,
 * train.c and the codecs: codec_zstd.c, codec_lz4.c, codec_gzip.c, codec_bz2.c,
 * codec_lzma.c. */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "codec/packing.h"

#define MOST ((size_t)400000) /* longest test value */
#define CODECS 5

/* A record as caches hold them: words in common with others, some of its own. */
static size_t write_record(char *to, size_t room, unsigned number)
{
    int length =
        snprintf(to, room,
                 "{\"id\": %u, \"name\": \"customer %u\", \"address\": {\"street\": \"Main Street %u\", "
                 "\"city\": \"Springfield\", \"country\": \"United States\"}, \"email\": "
                 "\"customer-%u@example.com\", \"balance\": %u.%02u, \"tags\": [\"retail\", \"active\"]}",
                 number, number * 7919u, number % 211u, number, number * 31u, number % 100u);
    assert_true(length > 0 && (size_t)length < room);
    return (size_t)length;
}

typedef enum content { TEXT, NOISE, ZEROS, CONTENT_COUNT } content;

static uint32_t noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 24;
}

static void fill(char *to, size_t length, content kind)
{
    uint32_t seed = 1;
    char record[512];
    memset(to, 0, length);
    for (size_t i = 0; kind == NOISE && i < length; i++)
        to[i] = (char)noise(&seed);
    for (size_t at = 0, n = 0; kind == TEXT && at < length; n++) {
        size_t some = write_record(record, sizeof record, (unsigned)n);
        memcpy(to + at, record, some < length - at ? some : length - at);
        at += some;
    }
}

/* Blocks of exactly their size, so that a sanitizer sees every step outside. */
static void *exact(size_t length)
{
    void *block = malloc(length != 0 ? length : 1);
    assert_non_null(block);
    return block;
}

static void *exact_copy(const void *data, size_t length)
{
    void *copy = exact(length);
    memcpy(copy, data, length);
    return copy;
}

static size_t train_on_records(void *to, size_t capacity)
{
    enum { COUNT = 600 };
    static char samples[COUNT * 512];
    size_t lengths[COUNT], total = 0, made;
    for (unsigned i = 0; i < COUNT; i++) {
        lengths[i] = write_record(samples + total, 512, i);
        total += lengths[i];
    }
    assert_int_equal(forebay_codec_train(to, capacity, &made, samples, lengths, COUNT, NULL), FOREBAY_OK);
    return made;
}

static forebay_codec_dictionary *dictionary_of(int codec, int level, const void *bytes, size_t length)
{
    forebay_codec_dictionary *made;
    assert_int_equal(forebay_codec_dictionary_new(codec, level, bytes, length, &made, NULL), FOREBAY_OK);
    return made;
}

static forebay_codec_dictionary *trained(int codec)
{
    char bytes[8192];
    size_t length = train_on_records(bytes, sizeof bytes);
    return dictionary_of(codec, FOREBAY_CODEC_USUAL_LEVEL, bytes, length);
}

/* NULL first, then one if the codec takes any. */
static size_t dictionaries_of(int codec, forebay_codec_dictionary *both[2])
{
    both[0] = NULL;
    both[1] = forebay_codec_get(codec)->dictionaries ? trained(codec) : NULL;
    return both[1] != NULL ? 2 : 1;
}

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

/* -------------------------------------------------- threads, forks, the pool */

#define THREADS 12 /* more than there are slots */

typedef struct worker {
    pthread_t thread;
    int codec;
    forebay_codec_dictionary *dictionary; /* everybody's, unused before */
    unsigned rounds;
    bool good;
} worker;

static void *pack_and_unpack(void *argument)
{
    worker *self = argument;
    char raw[512], block[2048], to[512];
    self->good = true;
    for (unsigned i = 0; i < self->rounds; i++) {
        size_t length = write_record(raw, sizeof raw, i);
        size_t packed = fb_codec_pack(self->codec, FOREBAY_CODEC_USUAL_LEVEL, self->dictionary, block,
                                      sizeof block, raw, length);
        self->good &= packed != 0 && fb_codec_unpack(self->codec, self->dictionary, to, length, block, packed)
                      && memcmp(raw, to, length) == 0;
    }
    return NULL;
}

static void start(worker workers[], int codec, forebay_codec_dictionary *dictionary, unsigned rounds)
{
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .codec = codec, .dictionary = dictionary, .rounds = rounds };
        assert_int_equal(pthread_create(&workers[i].thread, NULL, pack_and_unpack, &workers[i]), 0);
    }
}

static void finish(worker workers[])
{
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_true(workers[i].good);
    }
}

static void threads_share_codecs_and_dictionaries(void **state)
{
    (void)state;
    worker workers[THREADS];
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (size_t i = 0; i < count; i++) {
            start(workers, codec, both[i], codec >= FOREBAY_CODEC_BZ2 ? 8 : 60);
            finish(workers);
        }
        forebay_codec_dictionary_free(both[1]);
    }
}

/* Threads hold contexts at the moment of the fork; the child has none of those
 * threads, and must do without what they had taken. */
static void a_child_goes_on_wherever_the_parents_threads_were(void **state)
{
    (void)state;
    worker workers[THREADS];
    for (int codec = FOREBAY_CODEC_ZSTD; codec <= FOREBAY_CODEC_GZIP; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        start(workers, codec, both[count - 1], 200);
        for (int n = 0; n < 3; n++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                worker own = { .codec = codec, .dictionary = both[count - 1], .rounds = 20 };
                pack_and_unpack(&own);
                kill(getpid(),
                     own.good ? SIGKILL : SIGABRT); /* a sanitizer would miss the threads at an exit */
            }
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
        finish(workers);
        forebay_codec_dictionary_free(both[1]);
    }
}

static void idle_contexts_can_be_ended_at_any_time(void **state)
{
    (void)state;
    worker workers[THREADS];
    start(workers, FOREBAY_CODEC_ZSTD, NULL, 100);
    for (int i = 0; i < 100; i++)
        fb_codec_trim();
    finish(workers);
    fb_codec_trim();
    fb_codec_trim();
}

/* --------------------------------------------------------- standard formats */

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

/* ------------------------------------------------------------------- training */

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
        cmocka_unit_test(threads_share_codecs_and_dictionaries),
        cmocka_unit_test(a_child_goes_on_wherever_the_parents_threads_were),
        cmocka_unit_test(idle_contexts_can_be_ended_at_any_time),
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
        cmocka_unit_test(samples_too_few_or_too_short_are_refused),
        cmocka_unit_test(degenerate_samples_never_crash),
        cmocka_unit_test(short_samples_are_left_out),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(training_twice_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
