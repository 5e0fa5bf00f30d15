/* SPDX-License-Identifier: Apache-2.0 */
#include "record_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"

#define READ_AT_ONCE ((size_t)64 << 10)

typedef enum fill_result { FILLED, AT_END, FAILED, INTERRUPTED } fill_result;

/* Make room for READ_AT_ONCE more bytes. */
static bool make_room(fb_record_stream *stream)
{
    if (stream->begin > 0) {
        memmove(stream->buffer, stream->buffer + stream->begin, stream->end - stream->begin);
        stream->end -= stream->begin;
        stream->begin = 0;
    }
    if (stream->room - stream->end >= READ_AT_ONCE)
        return true;
    size_t room = stream->room * 2 + READ_AT_ONCE;
    unsigned char *buffer = realloc(stream->buffer, room);
    if (buffer == NULL)
        return false;
    stream->buffer = buffer;
    stream->room = room;
    return true;
}

/* Read more behind what is there. */
static fill_result fill(fb_record_stream *stream)
{
    if (stream->at_end)
        return AT_END;
    if (!make_room(stream)) {
        errno = ENOMEM;
        return FAILED;
    }
    ssize_t count = -1;
    while (!fb_interrupted() && (count = read(stream->fd, stream->buffer + stream->end, READ_AT_ONCE)) < 0 && errno == EINTR)
        continue;
    if (fb_interrupted())
        return INTERRUPTED;
    if (count < 0)
        return FAILED;
    stream->end += (size_t)count;
    stream->at_end = count == 0;
    return count == 0 ? AT_END : FILLED;
}

static size_t available(const fb_record_stream *stream)
{
    return stream->end - stream->begin;
}

static void consume(fb_record_stream *stream, size_t length)
{
    stream->begin += length;
    stream->consumed += length;
}

static fb_next next_of(fill_result result)
{
    return result == INTERRUPTED ? FB_NEXT_INTERRUPTED : FB_NEXT_FAILED;
}

/* ---- lines ---- */

/* The length of the line that begins the buffer; `*ended`: a newline follows it.  Of a
 * line that is too long what was read so far is thrown away, again and again. */
static fb_next find_line(fb_record_stream *stream, size_t *length_out, bool *ended)
{
    size_t searched = 0;
    bool too_long = false;
    for (;;) {
        const unsigned char *start = stream->buffer + stream->begin;
        const unsigned char *newline = available(stream) > searched ? memchr(start + searched, '\n', available(stream) - searched) : NULL;
        *ended = newline != NULL;
        *length_out = newline != NULL ? (size_t)(newline - start) : available(stream);
        too_long |= *length_out > stream->longest;
        if (newline != NULL)
            return too_long ? FB_NEXT_TOO_LONG : FB_NEXT_RECORD;
        searched = available(stream);
        if (too_long) {
            consume(stream, searched);
            searched = 0;
        }
        fill_result result = fill(stream);
        if (result == AT_END) {
            *length_out = available(stream);
            return too_long ? FB_NEXT_TOO_LONG : *length_out == 0 ? FB_NEXT_END : FB_NEXT_RECORD;
        }
        if (result != FILLED)
            return next_of(result);
    }
}

static bool is_blank(const unsigned char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (strchr(" \t\r", line[i]) == NULL || line[i] == '\0')
            return false;
    return true;
}

static fb_next next_line(fb_record_stream *stream, const unsigned char **data_out, size_t *length_out)
{
    for (;;) {
        bool ended = false;
        stream->offset = stream->consumed;
        fb_next found = find_line(stream, length_out, &ended);
        if (found != FB_NEXT_RECORD && found != FB_NEXT_TOO_LONG)
            return found;
        stream->number++;
        *data_out = stream->buffer + stream->begin;
        consume(stream, *length_out + ended);
        if (found == FB_NEXT_TOO_LONG || !is_blank(*data_out, *length_out))
            return found;
    }
}

/* ---- MessagePack ---- */

/* A value being measured: it ends `length` bytes from the buffer's begin on when
 * `wanted` values more were found. */
typedef struct measure {
    uint64_t length; /* of what was measured, thrown away or not */
    uint64_t dropped; /* of that: no more in the buffer */
    uint64_t wanted;
} measure;

/* Have bytes [measure->length, + count) in the buffer. */
static fill_result reach(fb_record_stream *stream, measure *m, uint64_t count)
{
    for (;;) {
        uint64_t have = available(stream) + m->dropped;
        if (have >= m->length + count)
            return FILLED;
        if (m->length > stream->longest) {
            uint64_t drop = m->length < have ? m->length - m->dropped : available(stream);
            consume(stream, (size_t)drop);
            m->dropped += drop;
        }
        fill_result result = fill(stream);
        if (result != FILLED)
            return result;
    }
}

/* What a first byte says: bytes of the number that follows, and whether that is a length. */
typedef struct shape {
    unsigned number_bytes;
    bool is_length, is_count;
    unsigned per_count;   /* values for each, of a count */
    unsigned more;        /* bytes besides */
    unsigned count;       /* values or bytes that the first byte itself tells */
} shape;

static shape shape_of(unsigned first)
{
    static const unsigned char number_bytes[] = {
        /* c0 */ 0, 0, 0, 0, 1, 2, 4, 1, 2, 4, /* ca */ 4, 8, 1, 2, 4, 8, 1, 2, 4, 8,
        /* d4 */ 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4,
    };
    if (first < 0x80 || first >= 0xe0)
        return (shape){ 0 };
    if (first < 0x90)
        return (shape){ .is_count = true, .per_count = 2, .count = first & 15 };
    if (first < 0xa0)
        return (shape){ .is_count = true, .per_count = 1, .count = first & 15 };
    if (first < 0xc0)
        return (shape){ .is_length = true, .count = first & 31 };
    unsigned bytes = number_bytes[first - 0xc0];
    if (first >= 0xdc)
        return (shape){ .number_bytes = bytes, .is_count = true, .per_count = first < 0xde ? 1 : 2 };
    bool is_length = (first >= 0xc4 && first <= 0xc9) || (first >= 0xd9 && first <= 0xdb);
    return (shape){ .number_bytes = is_length ? bytes : 0, .is_length = is_length,
                    .more = is_length ? (first >= 0xc7 && first <= 0xc9) : bytes };
}

/* Measure one token, and count the values that it holds. */
static fill_result measure_token(fb_record_stream *stream, measure *m, const char **reason)
{
    fill_result result = reach(stream, m, 1);
    if (result != FILLED)
        return result;
    const unsigned char *at = stream->buffer + stream->begin + (m->length - m->dropped);
    if (*at == 0xc1)
        *reason = "it has a byte that begins no value";
    shape found = shape_of(*at);
    result = reach(stream, m, 1 + found.number_bytes);
    if (result != FILLED)
        return result;
    at = stream->buffer + stream->begin + (m->length - m->dropped); /* it may have moved */
    uint64_t number = found.count;
    for (unsigned i = 0; i < found.number_bytes; i++)
        number = number << 8 | at[1 + i];
    m->length += 1 + found.number_bytes + found.more + (found.is_length ? number : 0);
    m->wanted += (found.is_count ? found.per_count * number : 0) - 1;
    return reach(stream, m, 0);
}

static fb_next next_value(fb_record_stream *stream, const unsigned char **data_out, size_t *length_out,
                          const char **reason_out)
{
    measure m = { .wanted = 1 };
    stream->offset = stream->consumed;
    fill_result result = available(stream) > 0 ? FILLED : fill(stream);
    if (result == AT_END)
        return FB_NEXT_END;
    stream->number++;
    *reason_out = NULL;
    while (result == FILLED && m.wanted > 0 && *reason_out == NULL)
        result = measure_token(stream, &m, reason_out);
    if (result == AT_END)
        *reason_out = "it ends in the middle of a record";
    if (*reason_out != NULL)
        return FB_NEXT_BROKEN;
    if (result != FILLED)
        return next_of(result);
    *data_out = stream->buffer + stream->begin;
    *length_out = (size_t)(m.length - m.dropped);
    consume(stream, *length_out);
    return m.length > stream->longest ? FB_NEXT_TOO_LONG : FB_NEXT_RECORD;
}

/* ---- both ---- */

/* A map begins the one, a { or space the other. */
static fb_next find_format(fb_record_stream *stream)
{
    fill_result result = available(stream) > 0 ? FILLED : fill(stream);
    if (result == AT_END)
        return FB_NEXT_END;
    if (result != FILLED)
        return next_of(result);
    unsigned first = stream->buffer[stream->begin];
    bool is_map = (first >= 0x80 && first < 0x90) || first == 0xde || first == 0xdf;
    stream->format = is_map ? FB_DUMP_MSGPACK : FB_DUMP_JSONL;
    return FB_NEXT_RECORD;
}

fb_next fb_record_next(fb_record_stream *stream, const unsigned char **data_out, size_t *length_out,
                       const char **reason_out)
{
    fb_next found = stream->format == FB_DUMP_UNKNOWN ? find_format(stream) : FB_NEXT_RECORD;
    if (found != FB_NEXT_RECORD)
        return found;
    return stream->format == FB_DUMP_JSONL ? next_line(stream, data_out, length_out)
                                           : next_value(stream, data_out, length_out, reason_out);
}

void fb_record_stream_free(fb_record_stream *stream)
{
    free(stream->buffer);
    stream->buffer = NULL;
}
