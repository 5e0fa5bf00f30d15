/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_JSON_H
#define FOREBAY_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A writer of JSON text (RFC 8259), compact, ASCII only.  The caller nests
 * begin and end properly; the writer puts the commas. */
typedef struct fb_json {
    FILE *out;
    bool comma; /* the next item is preceded by one */
} fb_json;

void fb_json_begin_object(fb_json *json);
void fb_json_end_object(fb_json *json);
void fb_json_begin_array(fb_json *json);
void fb_json_end_array(fb_json *json);

/* The name of the next value; inside an object only. */
void fb_json_name(fb_json *json, const char *name);
void fb_json_name_bytes(fb_json *json, const char *name, size_t length);

/* Bytes that are not UTF-8 become lone surrogates U+DC80..U+DCFF, and encoded
 * surrogates stay what they are: Python's os.fsencode() gets the bytes of a
 * path back. */
void fb_json_string(fb_json *json, const char *text);
void fb_json_string_bytes(fb_json *json, const char *text, size_t length);
void fb_json_hex(fb_json *json, const unsigned char *bytes, size_t length);

void fb_json_unsigned(fb_json *json, uint64_t number);
void fb_json_signed(fb_json *json, int64_t number);
/* The shortest text that reads back as the same double; it must be finite. */
void fb_json_double(fb_json *json, double number);
void fb_json_bool(fb_json *json, bool value);
void fb_json_null(fb_json *json);
/* A number, or anything else that is JSON already. */
void fb_json_verbatim(fb_json *json, const char *text, size_t length);

/* End the document with a newline. */
void fb_json_end(fb_json *json);

#endif
