/* SPDX-License-Identifier: Apache-2.0 */
#include <bzlib.h>
#include <stdlib.h>

#include "codec/codec_table.h"

/* There is no resetting a bz_stream, so none is kept.  A level is the size of a
 * block in 100,000 bytes; one that holds the input gives the same blocks and
 * takes less memory on both sides. */
#define BLOCK 100000u

static int level_for(int level, size_t length)
{
    size_t enough = length / BLOCK + 1;
    return enough < (size_t)level ? (int)enough : level;
}

static unsigned part_of(size_t length)
{
    return length > UINT_MAX ? UINT_MAX : (unsigned)length; /* bzlib counts in 32 bits */
}

static size_t compress_all(bz_stream *stream, char *to, size_t capacity, const char *from, size_t length)
{
    const char *end = from + length;
    char *at = to, *limit = to + capacity;
    int outcome;
    do {
        unsigned give = part_of((size_t)(end - from)), room = part_of((size_t)(limit - at));
        stream->next_in = (char *)from; /* read only, whatever its type says */
        stream->avail_in = give;
        stream->next_out = at;
        stream->avail_out = room;
        outcome = BZ2_bzCompress(stream, give == (size_t)(end - from) ? BZ_FINISH : BZ_RUN);
        from += give - stream->avail_in;
        at += room - stream->avail_out;
    } while ((outcome == BZ_RUN_OK || outcome == BZ_FINISH_OK) && at < limit);
    return outcome == BZ_STREAM_END ? (size_t)(at - to) : 0;
}

static size_t pack(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                   const void *from, size_t length)
{
    (void)dictionary;
    bz_stream stream = { 0 };
    if (BZ2_bzCompressInit(&stream, level_for(level, length), 0, 0) != BZ_OK)
        return 0;
    size_t made = compress_all(&stream, to, capacity, from, length);
    BZ2_bzCompressEnd(&stream);
    return made;
}

static size_t bound(size_t length)
{
    return length > PTRDIFF_MAX / 2 ? 0 : length + length / 100 + 600; /* bzip2's manual, 3.5.1 */
}

/* A reader that is between members has no stream: bzlib has the state made anew. */
typedef struct bz2_reader {
    bz_stream stream;
    bool open;
} bz2_reader;

static void *reader_begin(forebay_codec_dictionary *dictionary, size_t max_size)
{
    (void)dictionary;
    (void)max_size;
    return calloc(1, sizeof(bz2_reader));
}

static void close_reader(bz2_reader *reader)
{
    if (reader->open)
        BZ2_bzDecompressEnd(&reader->stream);
    *reader = (bz2_reader){ 0 };
}

static void reader_end(void *reader)
{
    close_reader(reader);
    free(reader);
}

static int decompress_some(bz_stream *stream, fb_codec_flow *flow)
{
    unsigned give = part_of(flow->left), room = part_of(flow->room);
    stream->next_in = (char *)flow->from; /* read only, whatever its type says */
    stream->avail_in = give;
    stream->next_out = (char *)flow->to;
    stream->avail_out = room;
    int outcome = BZ2_bzDecompress(stream);
    flow->from += give - stream->avail_in;
    flow->left -= give - stream->avail_in;
    flow->to += room - stream->avail_out;
    flow->room -= room - stream->avail_out;
    return outcome;
}

static fb_step step(bz2_reader *reader, fb_codec_flow *flow)
{
    if (!reader->open && BZ2_bzDecompressInit(&reader->stream, 0, 0) != BZ_OK)
        return FB_STEP_NOMEM;
    reader->open = true;
    switch (decompress_some(&reader->stream, flow)) {
    case BZ_OK:
        return FB_STEP_MORE;
    case BZ_STREAM_END:
        close_reader(reader);
        return FB_STEP_MEMBER;
    case BZ_MEM_ERROR:
        return FB_STEP_NOMEM;
    default:
        return FB_STEP_DAMAGED;
    }
}

static fb_step reader_step(void *reader, forebay_codec_dictionary *dictionary, fb_codec_flow *flow)
{
    (void)dictionary;
    return step(reader, flow);
}

static bool unpack(forebay_codec_dictionary *dictionary, void *to, size_t raw_length, const void *from,
                   size_t length)
{
    (void)dictionary;
    bz2_reader reader = { 0 };
    fb_codec_flow flow = { .from = from, .left = length, .to = to, .room = raw_length };
    fb_step last;
    size_t before;
    do {
        before = flow.left + flow.room;
        last = step(&reader, &flow);
    } while (last == FB_STEP_MORE && flow.left + flow.room != before);
    close_reader(&reader);
    return last == FB_STEP_MEMBER && flow.left == 0 && flow.room == 0;
}

static size_t compress_bz2(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                           const void *from, size_t length)
{
    return pack(level, dictionary, to, capacity, from, length);
}

const fb_codec fb_codec_bz2 = {
    .info = { .name = "bz2", .least_level = 1, .most_level = 9, .usual_level = 9 },
    .magic = "BZh",
    .magic_length = 3,
    .pack = pack,
    .unpack = unpack,
    .bound = bound,
    .compress = compress_bz2,
    .reader_begin = reader_begin,
    .reader_step = reader_step,
    .reader_end = reader_end,
};
