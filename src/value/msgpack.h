/* SPDX-License-Identifier: Apache-2.0 */
/* MessagePack (github.com/msgpack/msgpack/blob/master/spec.md), a writer and a
 * reader of single tokens.  Neither allocates.  What a token costs is inline:
 * the Python extension, which does not link this layer, needs the header only.
 *
 * Threads: a writer or reader belongs to one thread at a time. */
#ifndef FB_MSGPACK_H
#define FB_MSGPACK_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Extension types of Forebay; docs/reference/encoding.md defines their payloads. */
typedef enum fb_ext {
    FB_EXT_TUPLE = 1,
    FB_EXT_BIG_INT = 2,
    FB_EXT_DATETIME = 3,
    FB_EXT_DATE = 4,
    FB_EXT_TIME = 5,
    FB_EXT_TIMEDELTA = 6,
    FB_EXT_DECIMAL = 7,
    FB_EXT_UUID = 8,
    FB_EXT_WIDE_STR = 9, /* a str with lone surrogates */
} fb_ext;

#define FB_PACK_DEPTH 200 /* containers inside each other, as Python's encoder allows */

/* Writes to [at, end).  When that is too small, `grow` is called: it must make
 * room for `need` more bytes at `at` (moving what is in [start, at) if it likes
 * and setting all three pointers) or return false and change nothing.  NULL:
 * the memory is fixed. */
typedef struct fb_pack_writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool (*grow)(struct fb_pack_writer *writer, size_t need);
} fb_pack_writer;

static inline void fb_store_be16(uint8_t *to, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(to, &value, sizeof value);
}

static inline void fb_store_be32(uint8_t *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof value);
}

static inline void fb_store_be64(uint8_t *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof value);
}

static inline uint16_t fb_load_be16(const uint8_t *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return __builtin_bswap16(value);
}

static inline uint32_t fb_load_be32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return __builtin_bswap32(value);
}

static inline uint64_t fb_load_be64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return __builtin_bswap64(value);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the swaps above assume it");

/* Take `count` bytes: their address, valid until the next call; NULL if there
 * is no room, in which case nothing changed.  The writers below return false
 * then. */
static inline uint8_t *fb_pack_room(fb_pack_writer *writer, size_t count)
{
    if (__builtin_expect((size_t)(writer->end - writer->at) < count, 0)
        && (writer->grow == NULL || !writer->grow(writer, count)))
        return NULL;
    uint8_t *at = writer->at;
    writer->at += count;
    return at;
}

static inline bool fb_pack_byte(fb_pack_writer *writer, uint8_t byte)
{
    uint8_t *to = fb_pack_room(writer, 1);
    if (to == NULL)
        return false;
    *to = byte;
    return true;
}

static inline bool fb_pack_tagged8(fb_pack_writer *writer, uint8_t tag, uint8_t value)
{
    uint8_t *to = fb_pack_room(writer, 2);
    if (to == NULL)
        return false;
    to[0] = tag;
    to[1] = value;
    return true;
}

static inline bool fb_pack_tagged16(fb_pack_writer *writer, uint8_t tag, uint16_t value)
{
    uint8_t *to = fb_pack_room(writer, 3);
    if (to == NULL)
        return false;
    to[0] = tag;
    fb_store_be16(to + 1, value);
    return true;
}

static inline bool fb_pack_tagged32(fb_pack_writer *writer, uint8_t tag, uint32_t value)
{
    uint8_t *to = fb_pack_room(writer, 5);
    if (to == NULL)
        return false;
    to[0] = tag;
    fb_store_be32(to + 1, value);
    return true;
}

static inline bool fb_pack_tagged64(fb_pack_writer *writer, uint8_t tag, uint64_t value)
{
    uint8_t *to = fb_pack_room(writer, 9);
    if (to == NULL)
        return false;
    to[0] = tag;
    fb_store_be64(to + 1, value);
    return true;
}

static inline bool fb_pack_nil(fb_pack_writer *writer)
{
    return fb_pack_byte(writer, 0xc0);
}

static inline bool fb_pack_bool(fb_pack_writer *writer, bool value)
{
    return fb_pack_byte(writer, value ? 0xc3 : 0xc2);
}

static inline bool fb_pack_uint(fb_pack_writer *writer, uint64_t value)
{
    if (value <= 0x7f)
        return fb_pack_byte(writer, (uint8_t)value);
    if (value <= UINT8_MAX)
        return fb_pack_tagged8(writer, 0xcc, (uint8_t)value);
    if (value <= UINT16_MAX)
        return fb_pack_tagged16(writer, 0xcd, (uint16_t)value);
    if (value <= UINT32_MAX)
        return fb_pack_tagged32(writer, 0xce, (uint32_t)value);
    return fb_pack_tagged64(writer, 0xcf, value);
}

static inline bool fb_pack_int(fb_pack_writer *writer, int64_t value)
{
    if (value >= 0)
        return fb_pack_uint(writer, (uint64_t)value);
    if (value >= -32)
        return fb_pack_byte(writer, (uint8_t)value);
    if (value >= INT8_MIN)
        return fb_pack_tagged8(writer, 0xd0, (uint8_t)value);
    if (value >= INT16_MIN)
        return fb_pack_tagged16(writer, 0xd1, (uint16_t)value);
    if (value >= INT32_MIN)
        return fb_pack_tagged32(writer, 0xd2, (uint32_t)value);
    return fb_pack_tagged64(writer, 0xd3, (uint64_t)value);
}

/* All 64 bits are kept: NaN payloads, the sign of zero. */
static inline bool fb_pack_double(fb_pack_writer *writer, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return fb_pack_tagged64(writer, 0xcb, bits);
}

/* The header of `length` bytes of UTF-8, which the caller writes next. */
static inline bool fb_pack_str_header(fb_pack_writer *writer, uint32_t length)
{
    if (length <= 31)
        return fb_pack_byte(writer, (uint8_t)(0xa0 | length));
    if (length <= UINT8_MAX)
        return fb_pack_tagged8(writer, 0xd9, (uint8_t)length);
    if (length <= UINT16_MAX)
        return fb_pack_tagged16(writer, 0xda, (uint16_t)length);
    return fb_pack_tagged32(writer, 0xdb, length);
}

static inline bool fb_pack_bin_header(fb_pack_writer *writer, uint32_t length)
{
    if (length <= UINT8_MAX)
        return fb_pack_tagged8(writer, 0xc4, (uint8_t)length);
    if (length <= UINT16_MAX)
        return fb_pack_tagged16(writer, 0xc5, (uint16_t)length);
    return fb_pack_tagged32(writer, 0xc6, length);
}

/* The header of `count` values, which the caller writes next. */
static inline bool fb_pack_array_header(fb_pack_writer *writer, uint32_t count)
{
    if (count <= 15)
        return fb_pack_byte(writer, (uint8_t)(0x90 | count));
    if (count <= UINT16_MAX)
        return fb_pack_tagged16(writer, 0xdc, (uint16_t)count);
    return fb_pack_tagged32(writer, 0xdd, count);
}

/* The header of `count` pairs of key and value. */
static inline bool fb_pack_map_header(fb_pack_writer *writer, uint32_t count)
{
    if (count <= 15)
        return fb_pack_byte(writer, (uint8_t)(0x80 | count));
    if (count <= UINT16_MAX)
        return fb_pack_tagged16(writer, 0xde, (uint16_t)count);
    return fb_pack_tagged32(writer, 0xdf, count);
}

#define FB_PACK_EXT_HEADER_MAX 6u /* bytes */
/* Write the shortest header of an extension into `to`; its length in bytes. */
static inline size_t fb_pack_ext_header_at(uint8_t to[FB_PACK_EXT_HEADER_MAX], int8_t type, uint32_t length)
{
    size_t used = 1;
    if (length != 0 && length <= 16 && (length & (length - 1)) == 0) {
        to[0] = (uint8_t)(0xd4 + __builtin_ctz(length));
    } else if (length <= UINT8_MAX) {
        to[0] = 0xc7;
        to[1] = (uint8_t)length;
        used = 2;
    } else if (length <= UINT16_MAX) {
        to[0] = 0xc8;
        fb_store_be16(to + 1, (uint16_t)length);
        used = 3;
    } else {
        to[0] = 0xc9;
        fb_store_be32(to + 1, length);
        used = 5;
    }
    to[used] = (uint8_t)type;
    return used + 1;
}

/* The header of an extension of `length` bytes, which the caller writes next. */
static inline bool fb_pack_ext_header(fb_pack_writer *writer, int8_t type, uint32_t length)
{
    uint8_t header[FB_PACK_EXT_HEADER_MAX];
    size_t used = fb_pack_ext_header_at(header, type, length);
    uint8_t *to = fb_pack_room(writer, used);
    if (to == NULL)
        return false;
    memcpy(to, header, used);
    return true;
}

static inline bool fb_pack_raw(fb_pack_writer *writer, const void *data, size_t length)
{
    uint8_t *to = fb_pack_room(writer, length);
    if (to == NULL)
        return false;
    if (length != 0)
        memcpy(to, data, length);
    return true;
}

/* An extension whose length is known only once its payload is written: begin,
 * write the payload, end.  The mark is an offset, because the writer may move. */
static inline bool fb_pack_ext_begin(fb_pack_writer *writer, size_t *mark_out)
{
    *mark_out = (size_t)(writer->at - writer->start);
    return fb_pack_room(writer, FB_PACK_EXT_HEADER_MAX) != NULL;
}

/* Payloads up to 255 bytes move up to the shortest header; a longer one stays
 * behind a 32-bit length, so that ending costs the same at any length.  False
 * if the payload has 2^32 bytes or more. */
static inline bool fb_pack_ext_end(fb_pack_writer *writer, size_t mark, int8_t type)
{
    uint8_t *header = writer->start + mark;
    uint8_t *payload = header + FB_PACK_EXT_HEADER_MAX;
    size_t length = (size_t)(writer->at - payload);
    if (length > UINT32_MAX)
        return false;
    if (length > UINT8_MAX) {
        header[0] = 0xc9;
        fb_store_be32(header + 1, (uint32_t)length);
        header[5] = (uint8_t)type;
        return true;
    }
    size_t used = fb_pack_ext_header_at(header, type, (uint32_t)length);
    memmove(header + used, payload, length);
    writer->at = header + used + length;
    return true;
}

typedef enum fb_pack_type {
    FB_PACK_NIL,
    FB_PACK_BOOL,
    FB_PACK_INT,    /* fits int64_t, however it was written */
    FB_PACK_UINT,   /* above INT64_MAX */
    FB_PACK_DOUBLE, /* 32-bit floats too */
    FB_PACK_STR,    /* meant to be UTF-8; not checked */
    FB_PACK_BIN,
    FB_PACK_ARRAY,
    FB_PACK_MAP,
    FB_PACK_EXT,
} fb_pack_type;

typedef struct fb_pack_token {
    fb_pack_type type;
    uint32_t length; /* STR, BIN, EXT: bytes at `data`; ARRAY: values to come; MAP: pairs to come */
    int8_t ext;      /* EXT: its type */
    union {
        bool boolean;
        int64_t integer;
        uint64_t natural;
        double number;
        const uint8_t *data; /* into the input */
    };
} fb_pack_token;

#define FB_PACK_ERROR_TABLE(ROW)                                                                             \
    ROW(OK, "success")                                                                                       \
    ROW(TRUNCATED, "the data ends inside a value")                                                           \
    ROW(RESERVED, "the byte 0xc1 begins no value")                                                           \
    ROW(TOO_MANY, "an array or map claims more values than there are bytes left")                            \
    ROW(TOO_DEEP, "containers are nested too deeply")                                                        \
    ROW(BAD_TUPLE, "the payload of a tuple is not an array")                                                 \
    ROW(TRAILING, "bytes follow the value")

typedef enum fb_pack_error {
#define FB_PACK_ERROR_ENUM(name, text) FB_PACK_##name,
    FB_PACK_ERROR_TABLE(FB_PACK_ERROR_ENUM)
#undef FB_PACK_ERROR_ENUM
} fb_pack_error;

/* A static text for any value; no capital, no full stop. */
static inline const char *fb_pack_error_text(fb_pack_error error)
{
    switch (error) {
#define FB_PACK_ERROR_CASE(name, text)                                                                       \
    case FB_PACK_##name:                                                                                     \
        return text;
        FB_PACK_ERROR_TABLE(FB_PACK_ERROR_CASE)
#undef FB_PACK_ERROR_CASE
    }
    return "unknown error";
}

/* Reads [at, end), which must not change meanwhile. */
typedef struct fb_pack_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t owed; /* values that open arrays and maps still owe */
} fb_pack_reader;

static inline void fb_pack_reader_init(fb_pack_reader *reader, const void *data, size_t length)
{
    const uint8_t *at = (const uint8_t *)data;
    *reader = (fb_pack_reader){ .at = at, .end = length != 0 ? at + length : at, .owed = 0 };
}

static inline size_t fb_pack_left(const fb_pack_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* Finish a token of `header` bytes that is followed by `length` bytes of data. */
static inline fb_pack_error fb_pack_take(fb_pack_reader *reader, fb_pack_token *token, fb_pack_type type,
                                         size_t header, uint32_t length)
{
    if (fb_pack_left(reader) - header < length)
        return FB_PACK_TRUNCATED;
    token->type = type;
    token->length = length;
    token->data = reader->at + header;
    reader->at += header + length;
    return FB_PACK_OK;
}

/* Finish an extension: its type is the last byte of the header. */
static inline fb_pack_error fb_pack_take_ext(fb_pack_reader *reader, fb_pack_token *token, size_t header,
                                             uint32_t length)
{
    token->ext = (int8_t)reader->at[header - 1];
    return fb_pack_take(reader, token, FB_PACK_EXT, header, length);
}

/* Open an array or map.  Every value to come takes a byte at least, so that
 * all that open containers owe is bounded by the bytes left: memory for `count`
 * elements may be taken at once. */
static inline fb_pack_error fb_pack_open(fb_pack_reader *reader, fb_pack_token *token, fb_pack_type type,
                                         size_t header, uint32_t count)
{
    uint64_t values = type == FB_PACK_MAP ? (uint64_t)count * 2 : count;
    if (values + reader->owed > fb_pack_left(reader) - header)
        return FB_PACK_TOO_MANY;
    token->type = type;
    token->length = count;
    reader->owed += values;
    reader->at += header;
    return FB_PACK_OK;
}

static inline fb_pack_error fb_pack_take_int(fb_pack_reader *reader, fb_pack_token *token, size_t header,
                                             int64_t value)
{
    token->type = FB_PACK_INT;
    token->integer = value;
    reader->at += header;
    return FB_PACK_OK;
}

/* The formats 0xc0 to 0xdf, `header` bytes of which are known to be there.  `byte`
 * is the first of them, read once: what is read in place may change meanwhile, if
 * others than Forebay write it. */
static inline fb_pack_error fb_pack_next_tagged(fb_pack_reader *reader, fb_pack_token *token, uint8_t byte,
                                                size_t header)
{
    const uint8_t *at = reader->at;
    switch (byte) {
    case 0xc0:
        token->type = FB_PACK_NIL;
        break;
    case 0xc2:
    case 0xc3:
        token->type = FB_PACK_BOOL;
        token->boolean = byte == 0xc3;
        break;
    case 0xc4:
        return fb_pack_take(reader, token, FB_PACK_BIN, header, at[1]);
    case 0xc5:
        return fb_pack_take(reader, token, FB_PACK_BIN, header, fb_load_be16(at + 1));
    case 0xc6:
        return fb_pack_take(reader, token, FB_PACK_BIN, header, fb_load_be32(at + 1));
    case 0xc7:
        return fb_pack_take_ext(reader, token, header, at[1]);
    case 0xc8:
        return fb_pack_take_ext(reader, token, header, fb_load_be16(at + 1));
    case 0xc9:
        return fb_pack_take_ext(reader, token, header, fb_load_be32(at + 1));
    case 0xca: {
        uint32_t bits = fb_load_be32(at + 1);
        float value;
        memcpy(&value, &bits, sizeof value);
        token->type = FB_PACK_DOUBLE;
        token->number = value;
        break;
    }
    case 0xcb: {
        uint64_t bits = fb_load_be64(at + 1);
        token->type = FB_PACK_DOUBLE;
        memcpy(&token->number, &bits, sizeof token->number);
        break;
    }
    case 0xcc:
        return fb_pack_take_int(reader, token, header, at[1]);
    case 0xcd:
        return fb_pack_take_int(reader, token, header, fb_load_be16(at + 1));
    case 0xce:
        return fb_pack_take_int(reader, token, header, fb_load_be32(at + 1));
    case 0xcf: {
        uint64_t value = fb_load_be64(at + 1);
        if (value <= INT64_MAX)
            return fb_pack_take_int(reader, token, header, (int64_t)value);
        token->type = FB_PACK_UINT;
        token->natural = value;
        break;
    }
    case 0xd0:
        return fb_pack_take_int(reader, token, header, (int8_t)at[1]);
    case 0xd1:
        return fb_pack_take_int(reader, token, header, (int16_t)fb_load_be16(at + 1));
    case 0xd2:
        return fb_pack_take_int(reader, token, header, (int32_t)fb_load_be32(at + 1));
    case 0xd3:
        return fb_pack_take_int(reader, token, header, (int64_t)fb_load_be64(at + 1));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return fb_pack_take_ext(reader, token, header, 1u << (byte - 0xd4));
    case 0xd9:
        return fb_pack_take(reader, token, FB_PACK_STR, header, at[1]);
    case 0xda:
        return fb_pack_take(reader, token, FB_PACK_STR, header, fb_load_be16(at + 1));
    case 0xdb:
        return fb_pack_take(reader, token, FB_PACK_STR, header, fb_load_be32(at + 1));
    case 0xdc:
        return fb_pack_open(reader, token, FB_PACK_ARRAY, header, fb_load_be16(at + 1));
    case 0xdd:
        return fb_pack_open(reader, token, FB_PACK_ARRAY, header, fb_load_be32(at + 1));
    case 0xde:
        return fb_pack_open(reader, token, FB_PACK_MAP, header, fb_load_be16(at + 1));
    case 0xdf:
        return fb_pack_open(reader, token, FB_PACK_MAP, header, fb_load_be32(at + 1));
    default: /* 0xc1 */
        return FB_PACK_RESERVED;
    }
    reader->at += header;
    return FB_PACK_OK;
}

/* Bytes of the header of the formats 0xc0 to 0xdf; of a number, all its bytes. */
static const uint8_t fb_pack_header_length[32] = {
    1, 1, 1, 1, 2, 3, 5, 3, 4, 6, 5, 9, 2, 3, 5, 9, /* nil to uint 64 */
    2, 3, 5, 9, 2, 2, 2, 2, 2, 2, 3, 5, 3, 5, 3, 5, /* int 8 to map 32 */
};

/* Read the next token, the bytes of a str, bin or ext included.  On an error
 * the reader stays where the token begins, and nothing outside its bytes was
 * read. */
static inline fb_pack_error fb_pack_next(fb_pack_reader *reader, fb_pack_token *token)
{
    if (reader->at == reader->end)
        return FB_PACK_TRUNCATED;
    uint8_t byte = *reader->at;
    uint64_t owed = reader->owed;
    reader->owed -= owed != 0;
    fb_pack_error error;
    if (byte >= 0xa0 && byte <= 0xbf)
        error = fb_pack_take(reader, token, FB_PACK_STR, 1, byte & 0x1f);
    else if (byte <= 0x7f || byte >= 0xe0)
        error = fb_pack_take_int(reader, token, 1, (int8_t)byte);
    else if (byte <= 0x8f)
        error = fb_pack_open(reader, token, FB_PACK_MAP, 1, byte & 0x0f);
    else if (byte <= 0x9f)
        error = fb_pack_open(reader, token, FB_PACK_ARRAY, 1, byte & 0x0f);
    else if (fb_pack_left(reader) < fb_pack_header_length[byte - 0xc0])
        error = FB_PACK_TRUNCATED;
    else
        error = fb_pack_next_tagged(reader, token, byte, fb_pack_header_length[byte - 0xc0]);
    if (__builtin_expect(error != FB_PACK_OK, 0))
        reader->owed = owed;
    return error;
}

/* Is [data, data + length) exactly one value, with the containers in it no
 * deeper than `depth`?  Tuples count as containers and are looked into; of the
 * other extensions only the length is checked, of str not even UTF-8.  On an
 * error `*offset_out` (may be NULL) is the byte where the bad token begins. */
fb_pack_error fb_pack_check(const void *data, size_t length, int depth, size_t *offset_out);

#endif
