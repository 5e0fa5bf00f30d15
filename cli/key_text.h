/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_KEY_TEXT_H
#define FOREBAY_CLI_KEY_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <forebay/forebay.h>

/* How a key is typed.  All but RAW stand for a Python key, in the encoding of
 * docs/reference/encoding.md. */
typedef enum fb_key_type {
    FB_KEY_STR,
    FB_KEY_INT,   /* decimal digits, any number of them */
    FB_KEY_BYTES, /* hexadecimal digits */
    FB_KEY_UUID,  /* 32 hexadecimal digits, hyphens allowed */
    FB_KEY_DATE,  /* 2026-01-31 */
    FB_KEY_BOOL,  /* true or false */
    FB_KEY_RAW,   /* the stored bytes in hexadecimal digits: keys of C programs, tuples */
} fb_key_type;

/* "str", "int", ... as above in lower case.  false: none of them. */
bool fb_parse_key_type(const char *text, fb_key_type *type_out);

/* Write the bytes of the key that was typed as `text`.  NULL: done; else what
 * is wrong with it, a static text. */
const char *fb_encode_key(fb_key_type type, const char *text, unsigned char key[FOREBAY_KEY_MAX],
                          size_t *length_out);

#endif
