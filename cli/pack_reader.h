/* SPDX-License-Identifier: Apache-2.0 */
/* Reads MessagePack token by token, from bytes that are not trusted. */
#ifndef FOREBAY_CLI_PACK_READER_H
#define FOREBAY_CLI_PACK_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Extension types of docs/reference/encoding.md. */
enum {
    FB_EXT_TUPLE = 1,
    FB_EXT_BIG_INT = 2,
    FB_EXT_DATETIME = 3,
    FB_EXT_DATE = 4,
    FB_EXT_TIME = 5,
    FB_EXT_TIMEDELTA = 6,
    FB_EXT_DECIMAL = 7,
    FB_EXT_UUID = 8,
    FB_EXT_WIDE_STR = 9,
};

typedef enum fb_token_type {
    FB_NIL,
    FB_BOOL,
    FB_SIGNED,
    FB_UNSIGNED,
    FB_FLOAT,
    FB_STR,
    FB_BIN,
    FB_EXT,
    FB_ARRAY,
    FB_MAP,
} fb_token_type;

/* One token; `data` lies in what is read. */
typedef struct fb_token {
    fb_token_type type;
    int8_t ext;
    int64_t number; /* SIGNED; BOOL: 0 or 1 */
    uint64_t count; /* UNSIGNED: the number; ARRAY, MAP: items or pairs that follow */
    double real;
    const unsigned char *data; /* STR, BIN, EXT */
    size_t length;
} fb_token;

/* Begin with { .at = first byte, .end = past the last }. */
typedef struct fb_reader {
    const unsigned char *at, *end;
    const char *reason; /* why it failed, in a few words: a static text */
    int depth;          /* for whoever descends: levels that are open */
} fb_reader;

/* Note why; false. */
bool fb_reader_fail(fb_reader *in, const char *reason);
/* Bytes that were not read yet. */
size_t fb_reader_left(const fb_reader *in);
/* A big-endian number of 1, 2, 4 or 8 bytes. */
bool fb_read_number(fb_reader *in, unsigned bytes, uint64_t *number_out);
/* The next token; of an array or a map the header alone.  A length that the bytes
 * left cannot hold fails. */
bool fb_read_token(fb_reader *in, fb_token *out);
/* Step over one value; needs no stack however it is nested. */
bool fb_skip_value(fb_reader *in);

#endif
