/* SPDX-License-Identifier: Apache-2.0 */
#define ZLIB_CONST
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "codec/codec_table.h"
#include "codec/context_pool.h"

/* Compression is always raw deflate; gzip's header and trailer are a few bytes
 * around it, written here (RFC 1952). */
#define RAW (-MAX_WBITS)
#define GZIP (16 + MAX_WBITS)
#define HEADER_LENGTH 10u
#define TRAILER_LENGTH 8u

static void *make_deflater(void)
{
    z_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    if (deflateInit2(stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, RAW, 8, Z_DEFAULT_STRATEGY) == Z_OK)
        return stream;
    free(stream);
    return NULL;
}

static void *make_inflater(void)
{
    z_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    if (inflateInit2(stream, RAW) == Z_OK)
        return stream;
    free(stream);
    return NULL;
}

static void end_deflater(void *stream)
{
    deflateEnd(stream);
    free(stream);
}

static void end_inflater(void *stream)
{
    inflateEnd(stream);
    free(stream);
}

static fb_context_pool deflaters = { .make = make_deflater, .end = end_deflater }; /* 256 KiB each */
static fb_context_pool inflaters = { .make = make_inflater, .end = end_inflater }; /* 40 KiB each */

static void trim(void)
{
    fb_context_pool_clear(&deflaters);
    fb_context_pool_clear(&inflaters);
}

static uInt part_of(size_t length)
{
    return length > UINT_MAX ? UINT_MAX : (uInt)length; /* zlib counts in 32 bits */
}

/* All of `from` to the end of a deflate stream: its length; 0: no room. */
static size_t deflate_all(z_stream *stream, uint8_t *to, size_t capacity, const uint8_t *from, size_t length)
{
    const uint8_t *end = from + length;
    uint8_t *at = to, *limit = to + capacity;
    int outcome;
    do {
        uInt give = part_of((size_t)(end - from)), room = part_of((size_t)(limit - at));
        stream->next_in = from;
        stream->avail_in = give;
        stream->next_out = at;
        stream->avail_out = room;
        outcome = deflate(stream, give == (size_t)(end - from) ? Z_FINISH : Z_NO_FLUSH);
        from += give - stream->avail_in;
        at += room - stream->avail_out;
    } while (outcome == Z_OK && at < limit);
    return outcome == Z_STREAM_END ? (size_t)(at - to) : 0;
}

static size_t pack(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                   const void *from, size_t length)
{
    (void)dictionary;
    z_stream *stream = fb_context_take(&deflaters);
    size_t made = 0;
    if (stream != NULL && deflateReset(stream) == Z_OK
        && deflateParams(stream, level, Z_DEFAULT_STRATEGY) == Z_OK)
        made = deflate_all(stream, to, capacity, from, length);
    fb_context_give(&deflaters, stream);
    return made;
}

/* Take one inflate() further. */
static int inflate_step(z_stream *stream, fb_codec_flow *flow)
{
    uInt give = part_of(flow->left), room = part_of(flow->room);
    stream->next_in = flow->from;
    stream->avail_in = give;
    stream->next_out = flow->to;
    stream->avail_out = room;
    int outcome = inflate(stream, Z_NO_FLUSH);
    flow->from += give - stream->avail_in;
    flow->left -= give - stream->avail_in;
    flow->to += room - stream->avail_out;
    flow->room -= room - stream->avail_out;
    return outcome;
}

static bool unpack(forebay_codec_dictionary *dictionary, void *to, size_t raw_length, const void *from,
                   size_t length)
{
    (void)dictionary;
    z_stream *stream = fb_context_take(&inflaters);
    if (stream == NULL)
        return false;
    fb_codec_flow flow = { .from = from, .left = length, .to = to, .room = raw_length };
    int outcome = inflateReset2(stream, RAW);
    while (outcome == Z_OK)
        outcome = inflate_step(stream, &flow);
    fb_context_give(&inflaters, stream);
    return outcome == Z_STREAM_END && flow.left == 0 && flow.room == 0;
}

static size_t bound(size_t length)
{
    return length > PTRDIFF_MAX / 2 ? 0 : deflateBound(NULL, length) + HEADER_LENGTH + TRAILER_LENGTH;
}

static void store_le32(uint8_t *to, uint32_t value)
{
    memcpy(to, &value, sizeof value); /* little-endian, as this machine */
}

static size_t compress_gzip(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                            const void *from, size_t length)
{
    static const uint8_t header[HEADER_LENGTH] = {
        0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 0, 0xff
    }; /* no name, no time */
    uint8_t *at = to;
    if (capacity < HEADER_LENGTH + TRAILER_LENGTH)
        return 0;
    memcpy(at, header, HEADER_LENGTH);
    at += HEADER_LENGTH;
    size_t made = pack(level, dictionary, at, capacity - HEADER_LENGTH - TRAILER_LENGTH, from, length);
    if (made == 0)
        return 0;
    at += made;
    store_le32(at, (uint32_t)crc32_z(0, from, length));
    store_le32(at + 4, (uint32_t)length); /* modulo 2^32, by the standard */
    return HEADER_LENGTH + made + TRAILER_LENGTH;
}

static void *reader_begin(forebay_codec_dictionary *dictionary, size_t max_size)
{
    (void)dictionary;
    (void)max_size;
    z_stream *stream = fb_context_take(&inflaters);
    if (stream != NULL && inflateReset2(stream, GZIP) != Z_OK) {
        fb_context_give(&inflaters, stream);
        return NULL;
    }
    return stream;
}

/* Zero bytes after a member are padding (tapes, block devices); Python's module
 * and the command skip them too. */
static void skip_padding(fb_codec_flow *flow)
{
    while (flow->left != 0 && *flow->from == 0) {
        flow->from++;
        flow->left--;
    }
}

static fb_step reader_step(void *reader, forebay_codec_dictionary *dictionary, fb_codec_flow *flow)
{
    (void)dictionary;
    switch (inflate_step(reader, flow)) {
    case Z_OK:
    case Z_BUF_ERROR: /* nothing left, or no room */
        return FB_STEP_MORE;
    case Z_STREAM_END:
        skip_padding(flow);
        return inflateReset(reader) == Z_OK ? FB_STEP_MEMBER : FB_STEP_DAMAGED;
    case Z_MEM_ERROR:
        return FB_STEP_NOMEM;
    default:
        return FB_STEP_DAMAGED;
    }
}

static void reader_end(void *reader)
{
    fb_context_give(&inflaters, reader);
}

const fb_codec fb_codec_gzip = {
    .info = { .name = "gzip", .least_level = 0, .most_level = 9, .usual_level = 6 },
    .magic = "\x1f\x8b\x08",
    .magic_length = 3,
    .pack = pack,
    .unpack = unpack,
    .bound = bound,
    .compress = compress_gzip,
    .reader_begin = reader_begin,
    .reader_step = reader_step,
    .reader_end = reader_end,
    .trim = trim,
};
