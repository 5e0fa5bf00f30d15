/* SPDX-License-Identifier: Apache-2.0 */
/* Everything of the codec layer with the n-th allocation failing, for every n, in
 * the compression libraries too: each time a failure or the right result, nothing
 * kept; and the next try, without failures, works. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/packing.h"

#define MOST_CALLS 500
/* zstd does not look whether it got all of what it asked for when it trains and when
 * it digests a dictionary; the layer asks for as much before.  So many calls come
 * until then. */
#define OWN_TRAINING_CALLS 2
#define ZSTD_OWN_CALLS 4 /* the dictionary, its digest to read, a context, the question */
#define SAMPLES 200u
#define SAMPLE_LENGTH 60u

static long calls_left = -1; /* until the one that fails; -1: none does */
static bool has_failed;
static long live; /* blocks */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *block);

static bool fails(void)
{
    if (calls_left < 0 || calls_left-- != 0)
        return false;
    has_failed = true;
    errno = ENOMEM;
    return true;
}

static void *counted(void *block)
{
    live += block != NULL;
    return block;
}

/* In the program itself, so that the libraries' calls come here too. */
void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (fails())
        return NULL;
    return old == NULL ? counted(__libc_realloc(old, size)) : __libc_realloc(old, size);
}

void free(void *block)
{
    live -= block != NULL;
    __libc_free(block);
}

static char samples[SAMPLES * SAMPLE_LENGTH];
static size_t lengths[SAMPLES];

static void fill_samples(void)
{
    for (unsigned i = 0; i < SAMPLES; i++) {
        int length = snprintf(samples + i * SAMPLE_LENGTH, SAMPLE_LENGTH,
                              "{\"id\": %010u, \"name\": \"customer %010u\"", i, i * 7919u);
        memset(samples + i * SAMPLE_LENGTH + length, '}', SAMPLE_LENGTH - (unsigned)length);
        lengths[i] = SAMPLE_LENGTH;
    }
}

typedef enum outcome { GOOD, FAILED, WRONG } outcome;

static outcome pack_and_unpack(int codec, forebay_codec_dictionary *dictionary)
{
    static char block[2 * sizeof samples], out[sizeof samples];
    size_t packed = fb_codec_pack(codec, FOREBAY_CODEC_USUAL_LEVEL, dictionary, block, sizeof block, samples,
                                  sizeof samples);
    if (packed == 0 || !fb_codec_unpack(codec, dictionary, out, sizeof out, block, packed))
        return FAILED;
    return memcmp(out, samples, sizeof out) == 0 ? GOOD : WRONG;
}

static outcome compress_and_decompress(int codec, forebay_codec_dictionary *dictionary)
{
    static char data[2 * sizeof samples];
    size_t made, length;
    void *out;
    forebay_status status = forebay_codec_compress(codec, FOREBAY_CODEC_USUAL_LEVEL, dictionary, data,
                                                   sizeof data, &made, samples, sizeof samples, NULL);
    if (status == FOREBAY_OK)
        status = forebay_codec_decompress(codec, dictionary, data, made, sizeof samples, &out, &length, NULL);
    if (status != FOREBAY_OK)
        return status == FOREBAY_NOMEM ? FAILED : WRONG;
    bool same = length == sizeof samples && memcmp(out, samples, length) == 0;
    free(out);
    return same ? GOOD : WRONG;
}

typedef outcome scenario(int codec, forebay_codec_dictionary *dictionary);

static outcome without_dictionary(scenario *run, int codec)
{
    return run(codec, NULL);
}

static char bytes[4096]; /* of a dictionary */
static size_t bytes_length;

static outcome train(int codec, forebay_codec_dictionary *dictionary)
{
    (void)codec;
    (void)dictionary;
    switch (forebay_codec_train(bytes, sizeof bytes, &bytes_length, samples, lengths, SAMPLES, NULL)) {
    case FOREBAY_OK:
        return GOOD;
    case FOREBAY_NOMEM:
        return FAILED;
    default:
        return WRONG;
    }
}

static outcome with_dictionary(scenario *run, int codec)
{
    long when = calls_left;
    forebay_codec_dictionary *dictionary;
    forebay_status status = forebay_codec_dictionary_new(codec, FOREBAY_CODEC_USUAL_LEVEL, bytes,
                                                         bytes_length, &dictionary, NULL);
    if (status != FOREBAY_OK)
        return status == FOREBAY_NOMEM ? FAILED : WRONG;
    if (codec == FOREBAY_CODEC_ZSTD && when >= ZSTD_OWN_CALLS) {
        calls_left = -1;
        (void)run(codec, dictionary); /* digests it */
        fb_codec_trim();
        calls_left = when - ZSTD_OWN_CALLS;
    }
    outcome found = run(codec, dictionary);
    forebay_codec_dictionary_free(dictionary);
    return found;
}

typedef outcome frame(scenario *run, int codec);

/* With the n-th call failing, and then with none; NULL, or what went wrong. */
static const char *once(frame *around, scenario *run, int codec, long n)
{
    fb_codec_trim();
    long before = live;
    has_failed = false;
    calls_left = n;
    outcome found = around(run, codec);
    calls_left = -1;
    if (found == WRONG)
        return "a wrong outcome";
    if (found == FAILED && !has_failed)
        return "failed by itself";
    if (around(run, codec) != GOOD)
        return "the next try does not work";
    fb_codec_trim();
    return live == before ? NULL : "memory was left";
}

static bool torture(const char *name, frame *around, scenario *run, int codec, long most)
{
    const char *wrong = NULL;
    long n = 0;
    do
        wrong = once(around, run, codec, n);
    while (wrong == NULL && has_failed && ++n < most);
    printf("%s %s, %s: %ld allocations failed one by one%s%s\n", wrong == NULL ? "ok  " : "FAIL",
           forebay_codec_get(codec)->name, name, n, wrong != NULL ? ": " : "", wrong != NULL ? wrong : "");
    return wrong == NULL && n < MOST_CALLS;
}

int main(void)
{
    bool good = true;
    fill_samples();
    good &= torture("training", without_dictionary, train, FOREBAY_CODEC_ZSTD, OWN_TRAINING_CALLS);
    for (int codec = 1; forebay_codec_get(codec) != NULL; codec++) {
        good &= torture("blocks", without_dictionary, pack_and_unpack, codec, MOST_CALLS);
        good &= torture("standard format", without_dictionary, compress_and_decompress, codec, MOST_CALLS);
        if (!forebay_codec_get(codec)->dictionaries)
            continue;
        good &= torture("blocks with a dictionary", with_dictionary, pack_and_unpack, codec, MOST_CALLS);
        good &= torture("standard format with a dictionary", with_dictionary, compress_and_decompress, codec,
                        MOST_CALLS);
    }
    return good ? 0 : 1;
}
