/* SPDX-License-Identifier: Apache-2.0 */
/* The objects that stand for what JSON has no word for, as payload_json.h lists them. */
#ifndef FOREBAY_CLI_JSON_TAGS_H
#define FOREBAY_CLI_JSON_TAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "pack_writer.h"

/* A JSON text being read into `out`.  The functions return false once something is
 * wrong: `reason` says what, a static text, and `at` is where. */
typedef struct fb_json_reader {
    const char *at, *end;
    fb_packer *out;
    const char *reason;
    int depth;
} fb_json_reader;

/* Read the rest of the object whose { and space were read, if it is one of ours;
 * else nothing. */
bool fb_json_tagged(fb_json_reader *in, bool *is_tagged);

/* Parts of the reader, json_pack.c: any value, an array. */
bool fb_json_value(fb_json_reader *in);
bool fb_json_array(fb_json_reader *in);
/* An array by its items; how many there were. */
bool fb_json_items(fb_json_reader *in, bool (*item)(fb_json_reader *in), uint64_t *count_out);
/* A string: its UTF-8 is appended without a header; whether there are surrogates in it. */
bool fb_json_string_content(fb_json_reader *in, bool *wide);
/* Step over this character, and space before it: false if another is there; the
 * second notes the reason. */
bool fb_json_take(fb_json_reader *in, char wanted);
bool fb_json_expect(fb_json_reader *in, char wanted, const char *reason);

#endif
