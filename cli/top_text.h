/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as `forebay top` shows them: at most six columns wide. */
#ifndef FOREBAY_CLI_TOP_TEXT_H
#define FOREBAY_CLI_TOP_TEXT_H

#include <stdint.h>

#define TOP_TEXT 16

/* Each writes to `text` and returns it. */

/* 0, 0.3, 12, 1.2k, 123k, 4.5M (k = 1000); what is not known (NAN): "-". */
const char *fb_top_count(double value, char text[TOP_TEXT]);
/* 512B, 1.5K, 123K, 4.5M (K = 1024). */
const char *fb_top_bytes(double bytes, char text[TOP_TEXT]);
/* 0..1 as 95.1%; 100% only if it is all; NAN: "-". */
const char *fb_top_percent(double ratio, char text[TOP_TEXT]);
/* 0.3s, 12s, 3m, 5h, 2d; UINT64_MAX: "never". */
const char *fb_top_age(uint64_t ms, char text[TOP_TEXT]);

#endif
