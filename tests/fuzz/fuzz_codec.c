/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes through every way out of a codec, with a dictionary and without: as
 * they are, or as what the codec made of them with some bytes changed, which gets
 * further inside.  Nothing outside of the blocks may be touched, and what was not
 * changed must come back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/packing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checked in release builds too. */
#define require(condition) ((condition) ? (void)0 : abort())

#define CODECS 5u
#define MOST ((size_t)1 << 17) /* bytes that may come out of the standard formats */

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static unsigned take_byte(input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static size_t take_number(input *in)
{
    size_t low = take_byte(in);
    return low | (size_t)take_byte(in) << 8;
}

/* Blocks of exactly their size, so that every step outside is seen. */
static void *exact(size_t length)
{
    void *block = malloc(length != 0 ? length : 1);
    require(block != NULL);
    return block;
}

static void *exact_copy(const void *data, size_t length)
{
    void *copy = exact(length);
    memcpy(copy, data, length);
    return copy;
}

static const char words[] =
    "{\"id\": 17, \"name\": \"customer\", \"city\": \"Springfield\", \"country\": \"United States\"}";

/* For zstd one with entropy tables, made once; for lz4 the words. */
static forebay_codec_dictionary *dictionary_of(int codec)
{
    static forebay_codec_dictionary *made[CODECS + 1];
    static char samples[64 * sizeof words], trained[4096];
    size_t lengths[64], length = 0;
    if (made[codec] != NULL || !forebay_codec_get(codec)->dictionaries)
        return made[codec];
    for (unsigned i = 0; i < 64; i++) {
        lengths[i] = sizeof words;
        memcpy(samples + i * sizeof words, words, sizeof words);
        samples[i * sizeof words + i] = (char)('a' + i % 26);
    }
    if (codec != FOREBAY_CODEC_ZSTD
        || forebay_codec_train(trained, sizeof trained, &length, samples, lengths, 64, NULL) != FOREBAY_OK)
        memcpy(trained, words, length = sizeof words);
    require(forebay_codec_dictionary_new(codec, 1, trained, length, &made[codec], NULL) == FOREBAY_OK);
    return made[codec];
}

/* Up to 15 changes; how many. */
static unsigned damage(input *in, uint8_t *block, size_t length)
{
    unsigned changes = take_byte(in) % 16, done = 0;
    for (unsigned i = 0; i < changes; i++) {
        size_t place = take_number(in);
        uint8_t flip = (uint8_t)take_byte(in);
        if (length != 0 && flip != 0) {
            block[place % length] ^= flip;
            done++;
        }
    }
    return done;
}

static void unpack(int codec, forebay_codec_dictionary *dictionary, const uint8_t *block, size_t length,
                   size_t raw_length, const uint8_t *raw)
{
    uint8_t *from = exact_copy(block, length), *to = exact(raw_length);
    bool good = fb_codec_unpack(codec, dictionary, to, raw_length, from, length);
    if (raw != NULL)
        require(good && memcmp(to, raw, raw_length) == 0);
    free(from);
    free(to);
}

static void decompress(int codec, forebay_codec_dictionary *dictionary, const uint8_t *data, size_t length,
                       const uint8_t *raw, size_t raw_length)
{
    uint8_t *from = exact_copy(data, length);
    void *to;
    size_t made;
    forebay_error error = { 0 };
    forebay_status status =
        forebay_codec_decompress(codec, dictionary, from, length, MOST, &to, &made, &error);
    require((status == FOREBAY_OK) == (to != NULL) && made <= MOST);
    require(status == FOREBAY_OK || status == FOREBAY_NOMEM || error.message[0] != '\0');
    if (raw != NULL)
        require(status == FOREBAY_OK && made == raw_length && memcmp(to, raw, made) == 0);
    free(to);
    free(from);
}

static void pack_damage_unpack(int codec, forebay_codec_dictionary *dictionary, int level, input *in)
{
    input changes = *in;
    size_t capacity = 2 * in->left + 1024;
    uint8_t *block = exact(capacity);
    size_t packed = fb_codec_pack(codec, level, dictionary, block, capacity, in->at, in->left);
    require((packed != 0) == (in->left != 0));
    bool changed = damage(&changes, block, packed) != 0;
    unpack(codec, dictionary, block, packed, in->left, changed || packed == 0 ? NULL : in->at);
    free(block);
}

static void compress_damage_decompress(int codec, forebay_codec_dictionary *dictionary, int level, input *in)
{
    input changes = *in;
    size_t capacity = forebay_codec_bound(codec, in->left), made;
    uint8_t *data = exact(capacity);
    require(forebay_codec_compress(codec, level, dictionary, data, capacity, &made, in->at, in->left, NULL)
            == FOREBAY_OK);
    require(forebay_codec_recognise(data, made) == codec);
    bool changed = damage(&changes, data, made) != 0;
    decompress(codec, dictionary, data, made, changed ? NULL : in->at, in->left);
    free(data);
}

static void train(input *in)
{
    size_t lengths[256], count = 0, total = 0, made;
    char to[FOREBAY_DICTIONARY_MIN_SIZE];
    while (count < 256 && in->left > 1) {
        lengths[count] = take_byte(in);
        total += lengths[count++];
    }
    if (total == 0 || in->left == 0)
        return;
    uint8_t *samples = exact(total);
    for (size_t i = 0; i < total; i++)
        samples[i] = in->at[i % in->left];
    if (forebay_codec_train(to, sizeof to, &made, samples, lengths, count, NULL) == FOREBAY_OK) {
        forebay_codec_dictionary *dictionary;
        require(forebay_codec_dictionary_new(FOREBAY_CODEC_ZSTD, 3, to, made, &dictionary, NULL)
                == FOREBAY_OK);
        uint8_t block[1024];
        size_t packed =
            fb_codec_pack(FOREBAY_CODEC_ZSTD, 3, dictionary, block, sizeof block, words, sizeof words);
        require(packed != 0);
        unpack(FOREBAY_CODEC_ZSTD, dictionary, block, packed, sizeof words, (const uint8_t *)words);
        forebay_codec_dictionary_free(dictionary);
    }
    free(samples);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = { data, size };
    unsigned way = take_byte(&in);
    int codec = (int)(way % CODECS) + 1;
    forebay_codec_dictionary *dictionary = (way / CODECS) % 2 != 0 ? dictionary_of(codec) : NULL;
    const forebay_codec_info *info = forebay_codec_get(codec);
    int level = info->least_level < 1 ? 1 : info->least_level; /* quick: libFuzzer counts runs */
    switch (way / CODECS / 2 % 5) {
    case 0: {
        size_t raw_length = take_number(&in);
        unpack(codec, dictionary, in.at, in.left, raw_length, NULL);
        break;
    }
    case 1:
        decompress(codec, dictionary, in.at, in.left, NULL, 0);
        break;
    case 2:
        pack_damage_unpack(codec, dictionary, level, &in);
        break;
    case 3:
        compress_damage_decompress(codec, dictionary, level, &in);
        break;
    default:
        train(&in);
    }
    return 0;
}
