/* SPDX-License-Identifier: Apache-2.0 */
#include <lzma.h>
#include <stdlib.h>

#include "codec/codec_table.h"

/* liblzma sizes its tables and buffers by the dictionary (its word for the
 * window): one no longer than the input compresses the same and costs less. */
#define WINDOW_LEAST LZMA_DICT_SIZE_MIN
#define WINDOW_MOST (UINT32_C(64) << 20)    /* level 9's */
#define READER_MEMORY (UINT64_C(128) << 20) /* bytes besides what may come out: level 9 needs 65 MiB */

static uint32_t window_for(size_t length, uint32_t most)
{
    return length < WINDOW_LEAST ? WINDOW_LEAST : length < most ? (uint32_t)length : most;
}

static bool set_writing(lzma_options_lzma *options, int level, size_t length)
{
    if (lzma_lzma_preset(options, (uint32_t)level))
        return false;
    options->dict_size = window_for(length, options->dict_size);
    return true;
}

static size_t pack(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                   const void *from, size_t length)
{
    (void)dictionary;
    lzma_options_lzma options;
    const lzma_filter chain[] = { { LZMA_FILTER_LZMA2, &options }, { LZMA_VLI_UNKNOWN, NULL } };
    size_t made = 0;
    if (!set_writing(&options, level, length)
        || lzma_raw_buffer_encode(chain, NULL, from, length, to, &made, capacity) != LZMA_OK)
        return 0;
    return made;
}

static bool unpack(forebay_codec_dictionary *dictionary, void *to, size_t raw_length, const void *from,
                   size_t length)
{
    (void)dictionary;
    lzma_options_lzma options = { .dict_size = window_for(raw_length, WINDOW_MOST) };
    const lzma_filter chain[] = { { LZMA_FILTER_LZMA2, &options }, { LZMA_VLI_UNKNOWN, NULL } };
    size_t used = 0, made = 0;
    return lzma_raw_buffer_decode(chain, NULL, from, &used, length, to, &made, raw_length) == LZMA_OK
           && used == length && made == raw_length;
}

static size_t bound(size_t length)
{
    return length > PTRDIFF_MAX / 2 ? 0 : lzma_stream_buffer_bound(length);
}

static size_t compress(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                       const void *from, size_t length)
{
    (void)dictionary;
    lzma_options_lzma options;
    lzma_filter chain[] = { { LZMA_FILTER_LZMA2, &options }, { LZMA_VLI_UNKNOWN, NULL } };
    size_t made = 0;
    if (!set_writing(&options, level, length)
        || lzma_stream_buffer_encode(chain, LZMA_CHECK_CRC64, NULL, from, length, to, &made, capacity)
               != LZMA_OK)
        return 0;
    return made;
}

static void *reader_begin(forebay_codec_dictionary *dictionary, size_t max_size)
{
    (void)dictionary;
    uint64_t memory = max_size < UINT64_MAX - READER_MEMORY ? max_size + READER_MEMORY : UINT64_MAX;
    lzma_stream *stream = malloc(sizeof *stream);
    if (stream == NULL)
        return NULL;
    *stream = (lzma_stream)LZMA_STREAM_INIT;
    if (lzma_stream_decoder(stream, memory, LZMA_CONCATENATED) == LZMA_OK)
        return stream;
    free(stream);
    return NULL;
}

/* liblzma goes on from one stream to the next by itself, padding included. */
static fb_step reader_step(void *reader, forebay_codec_dictionary *dictionary, fb_codec_flow *flow)
{
    (void)dictionary;
    lzma_stream *stream = reader;
    stream->next_in = flow->from;
    stream->avail_in = flow->left;
    stream->next_out = flow->to;
    stream->avail_out = flow->room;
    lzma_ret outcome = lzma_code(stream, LZMA_FINISH);
    flow->from = stream->next_in;
    flow->left = stream->avail_in;
    flow->to = stream->next_out;
    flow->room = stream->avail_out;
    switch (outcome) {
    case LZMA_OK:
    case LZMA_BUF_ERROR: /* nothing left, or no room */
        return FB_STEP_MORE;
    case LZMA_STREAM_END:
        return FB_STEP_MEMBER;
    case LZMA_MEM_ERROR:
        return FB_STEP_NOMEM;
    case LZMA_MEMLIMIT_ERROR:
        return FB_STEP_WINDOW;
    default:
        return FB_STEP_DAMAGED;
    }
}

static void reader_end(void *reader)
{
    lzma_end(reader);
    free(reader);
}

const fb_codec fb_codec_lzma = {
    .info = { .name = "lzma", .least_level = 0, .most_level = 9, .usual_level = 6 },
    .magic = "\xfd"
             "7zXZ\0",
    .magic_length = 6,
    .pack = pack,
    .unpack = unpack,
    .bound = bound,
    .compress = compress,
    .reader_begin = reader_begin,
    .reader_step = reader_step,
    .reader_end = reader_end,
};
