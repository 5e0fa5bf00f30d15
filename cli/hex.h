/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from pairs of hexadecimal digits, of either case. */
#ifndef FOREBAY_CLI_HEX_H
#define FOREBAY_CLI_HEX_H

/* The byte that two digits make, -1 if they are none.  The second is not looked at
 * where the first is none: it may be the end of the text. */
int fb_hex_byte(const char *digits);

#endif
