/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_UTF8_H
#define FOREBAY_CLI_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Decode one character of at most `left` bytes: its length, or 0 if the first
 * byte does not begin one.  Encoded surrogates (as Python's surrogatepass
 * writes them) count as characters; overlong forms do not. */
size_t fb_decode_utf8(const unsigned char *p, size_t left, uint32_t *character_out);

#endif
