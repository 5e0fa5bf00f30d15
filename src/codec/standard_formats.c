/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/error.h"
#include "codec/codec_table.h"

size_t forebay_codec_bound(int number, size_t length)
{
    const fb_codec *codec = fb_codec_at(number);
    return codec != NULL ? codec->bound(length) : 0;
}

static forebay_status check_dictionary(const fb_codec *codec, const forebay_codec_dictionary *dictionary,
                                       forebay_error *error)
{
    if (dictionary == NULL || dictionary->codec == codec)
        return FOREBAY_OK;
    return fb_error(error, FOREBAY_INVALID, 0, "the dictionary was made for %s, not for %s",
                    dictionary->codec->info.name, codec->info.name);
}

forebay_status forebay_codec_compress(int number, int level, forebay_codec_dictionary *dictionary, void *to,
                                      size_t capacity, size_t *to_length, const void *from, size_t length,
                                      forebay_error *error)
{
    *to_length = 0;
    forebay_status status = fb_codec_check(number, level, error);
    if (status != FOREBAY_OK)
        return status;
    const fb_codec *codec = fb_codec_at(number);
    status = check_dictionary(codec, dictionary, error);
    if (status != FOREBAY_OK)
        return status;
    size_t bound = codec->bound(length);
    if (bound == 0 || capacity < bound)
        return fb_error(error, FOREBAY_INVALID, 0, "%zu bytes of room for %s of %zu bytes are too few",
                        capacity, codec->info.name, length);
    if (dictionary != NULL)
        level = dictionary->level;
    *to_length = codec->compress(fb_codec_level(codec, level), dictionary, to, capacity,
                                 length != 0 ? from : "", length);
    return *to_length != 0 ? FOREBAY_OK : FOREBAY_NOMEM;
}

/* What has come out so far.  It may grow to one byte more than allowed: that
 * byte shows that there is too much. */
typedef struct output {
    uint8_t *data; /* owned; NULL at first */
    size_t length;
    size_t capacity;
    size_t most; /* max_size + 1 */
} output;

static bool output_grow(output *out, size_t capacity)
{
    if (capacity > out->most)
        capacity = out->most;
    uint8_t *moved = realloc(out->data, capacity);
    if (moved == NULL)
        return false;
    out->data = moved;
    out->capacity = capacity;
    return true;
}

/* Compressed bytes come out as four times as many, if nobody knows better. */
static bool output_begin(output *out, const fb_codec *codec, const void *from, size_t length)
{
    uint64_t claimed = codec->claimed_size != NULL ? codec->claimed_size(from, length) : 0;
    if (claimed != 0)
        return output_grow(out,
                           claimed < out->most ? (size_t)claimed + 1 : out->most); /* + 1: never just full */
    return output_grow(out, length < SIZE_MAX / 8 ? 4 * length + 64 : SIZE_MAX);
}

/* Why it went no further, with the place.  `between`: where the next stream would
 * begin. */
static forebay_status step_error(const fb_codec *codec, fb_step step, size_t at, bool between,
                                 forebay_error *error)
{
    const char *name = codec->info.name;
    if (between && (step == FB_STEP_DAMAGED || step == FB_STEP_MORE))
        return fb_error(error, FOREBAY_CORRUPT, 0,
                        "the %s data ends, but other bytes follow, before byte %zu", name, at);
    switch (step) {
    case FB_STEP_NOMEM:
        return FOREBAY_NOMEM;
    case FB_STEP_DICTIONARY:
        return fb_error(error, FOREBAY_CORRUPT, 0, "the %s data was compressed with another dictionary",
                        name);
    case FB_STEP_WINDOW:
        return fb_error(error, FOREBAY_CORRUPT, 0,
                        "the %s data asks for more memory to decompress than is allowed", name);
    case FB_STEP_MORE:
        return fb_error(error, FOREBAY_CORRUPT, 0, "the %s data ends too early, after %zu bytes", name, at);
    default:
        return fb_error(error, FOREBAY_CORRUPT, 0, "this is no %s data, or it is damaged, before byte %zu",
                        name, at);
    }
}

/* Step by step to the end of the input. */
static forebay_status read_all(const fb_codec *codec, forebay_codec_dictionary *dictionary, void *reader,
                               const uint8_t *from, size_t length, output *out, forebay_error *error)
{
    fb_codec_flow flow = { .from = from, .left = length };
    bool ended = false;      /* a whole stream was read, */
    size_t ended_length = 0; /* and so much had come out */
    for (;;) {
        if (out->length == out->capacity && !output_grow(out, 2 * out->capacity))
            return FOREBAY_NOMEM;
        flow.to = out->data + out->length;
        flow.room = out->capacity - out->length;
        size_t before = flow.left + flow.room;
        fb_step step = codec->reader_step(reader, dictionary, &flow);
        out->length = out->capacity - flow.room;
        if (out->length == out->most)
            return fb_error(error, FOREBAY_TOOBIG, 0, "more than %zu bytes would come out of the %s data",
                            out->most - 1, codec->info.name);
        if (step == FB_STEP_MEMBER && flow.left == 0)
            return FOREBAY_OK;
        bool moved = flow.left + flow.room != before;
        if (step == FB_STEP_MEMBER) {
            ended = true;
            ended_length = out->length;
        } else if (step != FB_STEP_MORE || !moved) {
            return step_error(codec, step, length - flow.left, ended && out->length == ended_length, error);
        }
    }
}

forebay_status forebay_codec_decompress(int number, forebay_codec_dictionary *dictionary, const void *from,
                                        size_t length, size_t max_size, void **to_out, size_t *to_length,
                                        forebay_error *error)
{
    *to_out = NULL;
    *to_length = 0;
    forebay_status status = fb_codec_check(number, FOREBAY_CODEC_USUAL_LEVEL, error);
    if (status != FOREBAY_OK)
        return status;
    const fb_codec *codec = fb_codec_at(number);
    status = check_dictionary(codec, dictionary, error);
    if (status != FOREBAY_OK)
        return status;
    if (length == 0)
        return fb_error(error, FOREBAY_CORRUPT, 0, "there is no %s data: it is empty", codec->info.name);
    output out = { .most = max_size < PTRDIFF_MAX ? max_size + 1 : PTRDIFF_MAX };
    void *reader = codec->reader_begin(dictionary, max_size);
    status = FOREBAY_NOMEM;
    if (reader != NULL && output_begin(&out, codec, from, length))
        status = read_all(codec, dictionary, reader, from, length, &out, error);
    if (reader != NULL)
        codec->reader_end(reader);
    if (status == FOREBAY_OK) {
        *to_out = out.data;
        *to_length = out.length;
    } else {
        free(out.data);
    }
    return status;
}
