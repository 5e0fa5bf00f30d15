/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to train a dictionary: how long each takes and how small bare zstd blocks
 * get with what comes out; and how long packing and unpacking take, by codec.
 * Trained on every other record, or fewer, measured on the others.
 *
 * usage: codec_run RECORDS   prints JSON */
#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>

#include "bench_file.h"
#include "codec/packing.h"

#define LEVEL 3

typedef struct sample_set {
    char *bytes;
    size_t *lengths;
    unsigned count;
    size_t total;
} sample_set;

/* Every `stride`-th record from the second on. */
static sample_set take_samples(const bench_record *records, size_t count, size_t stride, size_t most)
{
    sample_set set = { 0 };
    set.bytes = bench_allocate(most + 1);
    set.lengths = bench_allocate(count * sizeof *set.lengths);
    for (size_t i = 1; i < count && set.total + records[i].value_length <= most; i += stride) {
        memcpy(set.bytes + set.total, records[i].value, records[i].value_length);
        set.total += records[i].value_length;
        set.lengths[set.count++] = records[i].value_length;
    }
    return set;
}

/* The records that no sample was taken of, raw bytes per packed byte. */
static double ratio_with(forebay_codec_dictionary *dictionary, const bench_record *records, size_t count)
{
    size_t raw = 0, packed = 0;
    char *to = bench_allocate(1 << 20);
    for (size_t i = 0; i < count; i += 2) {
        size_t made = fb_codec_pack(FOREBAY_CODEC_ZSTD, LEVEL, dictionary, to, 1 << 20, records[i].value,
                                    records[i].value_length);
        raw += records[i].value_length;
        packed += made != 0 && made < records[i].value_length ? made : records[i].value_length;
    }
    free(to);
    return (double)raw / (double)packed;
}

static void show(const char *way, const sample_set *set, size_t size, double seconds, double ratio)
{
    static int before;
    printf("%s{\"way\": \"%s\", \"samples\": %u, \"sample_bytes\": %zu, \"size\": %zu, \"seconds\": %.4f, "
           "\"ratio\": %.4f}",
           before++ ? ",\n" : "", way, set->count, set->total, size, seconds, ratio);
    fflush(stdout);
}

typedef enum training { LIBRARY, ZDICT_USUAL, SEARCH, FIXED } training;

static size_t run_training(training how, void *to, size_t size, const sample_set *set, unsigned k, unsigned d,
                           unsigned f, unsigned accel)
{
    ZDICT_fastCover_params_t fixed = { .k = k, .d = d, .f = f, .accel = accel, .splitPoint = 1.0 };
    ZDICT_fastCover_params_t search = { .d = d, .steps = 40, .f = f, .accel = accel };
    size_t made = 0;
    switch (how) {
    case LIBRARY:
        bench_check("train",
                    forebay_codec_train(to, size, &made, set->bytes, set->lengths, set->count, NULL));
        return made;
    case ZDICT_USUAL:
        return ZDICT_trainFromBuffer(to, size, set->bytes, set->lengths, set->count);
    case SEARCH:
        return ZDICT_optimizeTrainFromBuffer_fastCover(to, size, set->bytes, set->lengths, set->count,
                                                       &search);
    default:
        return ZDICT_trainFromBuffer_fastCover(to, size, set->bytes, set->lengths, set->count, fixed);
    }
}

static void measure(training how, const char *way, size_t size, const sample_set *set, unsigned k, unsigned d,
                    unsigned f, unsigned accel, const bench_record *records, size_t count)
{
    char *to = bench_allocate(size);
    double begun = bench_seconds();
    size_t made = run_training(how, to, size, set, k, d, f, accel);
    double seconds = bench_seconds() - begun;
    if (ZDICT_isError(made))
        bench_fail(way, ZDICT_getErrorName(made));
    forebay_codec_dictionary *dictionary;
    bench_check("dictionary",
                forebay_codec_dictionary_new(FOREBAY_CODEC_ZSTD, LEVEL, to, made, &dictionary, NULL));
    show(way, set, made, seconds, ratio_with(dictionary, records, count));
    forebay_codec_dictionary_free(dictionary);
    free(to);
}

static void measure_fixed(size_t size, const sample_set *set, const bench_record *records, size_t count)
{
    static const unsigned parts[] = { 64, 128, 256, 512, 1024, 2048 };
    char way[64];
    for (unsigned d = 6; d <= 8; d += 2) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            (void)snprintf(way, sizeof way, "fixed: k=%u d=%u", parts[i], d);
            measure(FIXED, way, size, set, parts[i], d, 20, 1, records, count);
        }
    }
}

static void measure_training(const bench_record *records, size_t count)
{
    static const size_t sizes[] = { 16 << 10, 64 << 10, 110 << 10 };
    sample_set half = take_samples(records, count, 2, (size_t)64 << 20);
    show("no dictionary", &(sample_set){ 0 }, 0, 0, ratio_with(NULL, records, count));
    measure(ZDICT_USUAL, "ZDICT_trainFromBuffer", sizes[2], &half, 0, 0, 0, 0, records, count);
    measure(SEARCH, "search over 40 k, d=8", sizes[2], &half, 0, 8, 20, 1, records, count);
    measure_fixed(sizes[2], &half, records, count);
    for (size_t stride = 2; stride <= 128; stride *= 4) {
        sample_set some = take_samples(records, count, stride, (size_t)64 << 20);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            measure(LIBRARY, "forebay_codec_train", sizes[i], &some, 0, 0, 0, 0, records, count);
    }
}

/* Packed one after another, so that unpacking reads memory as it comes. */
static void measure_blocks(int codec, int level, forebay_codec_dictionary *dictionary,
                           const bench_record *records, size_t count)
{
    static int before;
    size_t raw = 0, packed = 0;
    size_t *lengths = bench_allocate(count * sizeof *lengths);
    for (size_t i = 0; i < count; i++)
        raw += records[i].value_length;
    char *to = bench_allocate(2 * raw + (1 << 20)), *value = bench_allocate(1 << 20);
    double begun = bench_seconds();
    for (size_t i = 0; i < count; i++) {
        lengths[i] = fb_codec_pack(codec, level, dictionary, to + packed, 1 << 20, records[i].value,
                                   records[i].value_length);
        packed += lengths[i];
    }
    double packing = bench_seconds() - begun;
    begun = bench_seconds();
    size_t at = 0;
    for (size_t i = 0; i < count; at += lengths[i++]) {
        if (!fb_codec_unpack(codec, dictionary, value, records[i].value_length, to + at, lengths[i]))
            bench_fail("unpack", forebay_codec_get(codec)->name);
    }
    double unpacking = bench_seconds() - begun;
    printf("%s{\"codec\": \"%s\", \"level\": %d, \"dictionary\": %s, \"ratio\": %.4f, \"pack_us\": %.3f, "
           "\"unpack_us\": %.3f}",
           before++ ? ",\n" : "", forebay_codec_get(codec)->name, level,
           dictionary != NULL ? "true" : "false", (double)raw / (double)packed, packing / (double)count * 1e6,
           unpacking / (double)count * 1e6);
    fflush(stdout);
    free(lengths);
    free(to);
    free(value);
}

static void measure_with_dictionary(int codec, int level, const char *bytes, size_t length,
                                    const bench_record *records, size_t count)
{
    forebay_codec_dictionary *dictionary;
    bench_check("dictionary", forebay_codec_dictionary_new(codec, level, bytes, length, &dictionary, NULL));
    measure_blocks(codec, level, dictionary, records, count);
    forebay_codec_dictionary_free(dictionary);
}

static void measure_codecs(const bench_record *records, size_t count)
{
    size_t made, some = count < 20000 ? count : 20000;
    char *bytes = bench_allocate(FOREBAY_DICTIONARY_USUAL_SIZE);
    sample_set samples = take_samples(records, count, 8, (size_t)64 << 20);
    bench_check("train", forebay_codec_train(bytes, FOREBAY_DICTIONARY_USUAL_SIZE, &made, samples.bytes,
                                             samples.lengths, samples.count, NULL));
    for (int codec = 1; forebay_codec_get(codec) != NULL; codec++) {
        int level = forebay_codec_get(codec)->usual_level;
        measure_blocks(codec, level, NULL, records, some);
        if (forebay_codec_get(codec)->dictionaries)
            measure_with_dictionary(codec, level, bytes, made, records, some);
    }
    measure_with_dictionary(FOREBAY_CODEC_ZSTD, 1, bytes, made, records, some);
    measure_with_dictionary(FOREBAY_CODEC_ZSTD, 9, bytes, made, records, some);
    measure_with_dictionary(FOREBAY_CODEC_LZ4, 9, bytes, made, records, some);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        bench_fail("usage", "codec_run RECORDS");
    size_t count;
    const bench_record *records = bench_records(argv[1], &count);
    puts("{\"blocks\": [");
    measure_codecs(records, count);
    puts("],\n\"training\": [");
    measure_training(records, count);
    puts("]}");
    return 0;
}
