/* SPDX-License-Identifier: Apache-2.0 */
/* Contents of every kind, blocks of exactly their size, and dictionaries for tests of codecs. */
#ifndef CODEC_FIXTURE_H
#define CODEC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/packing.h"

#define MOST ((size_t)400000) /* longest test value */
#define CODECS 5

/* A record as caches hold them: words in common with others, some of its own. */
static inline size_t write_record(char *to, size_t room, unsigned number)
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

static inline uint32_t noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 24;
}

static inline void fill(char *to, size_t length, content kind)
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
static inline void *exact(size_t length)
{
    void *block = malloc(length != 0 ? length : 1);
    assert_non_null(block);
    return block;
}

static inline void *exact_copy(const void *data, size_t length)
{
    void *copy = exact(length);
    memcpy(copy, data, length);
    return copy;
}

static inline size_t train_on_records(void *to, size_t capacity)
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

static inline forebay_codec_dictionary *dictionary_of(int codec, int level, const void *bytes, size_t length)
{
    forebay_codec_dictionary *made;
    assert_int_equal(forebay_codec_dictionary_new(codec, level, bytes, length, &made, NULL), FOREBAY_OK);
    return made;
}

static inline forebay_codec_dictionary *trained(int codec)
{
    char bytes[8192];
    size_t length = train_on_records(bytes, sizeof bytes);
    return dictionary_of(codec, FOREBAY_CODEC_USUAL_LEVEL, bytes, length);
}

/* NULL first, then one if the codec takes any. */
static inline size_t dictionaries_of(int codec, forebay_codec_dictionary *both[2])
{
    both[0] = NULL;
    both[1] = forebay_codec_get(codec)->dictionaries ? trained(codec) : NULL;
    return both[1] != NULL ? 2 : 1;
}

#endif
