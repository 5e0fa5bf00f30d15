/* SPDX-License-Identifier: Apache-2.0 */
/* Figures as pictures of characters: values over time, parts of a whole. */
#ifndef FOREBAY_CLI_TOP_CHART_H
#define FOREBAY_CLI_TOP_CHART_H

#include <stdint.h>

#include "top_canvas.h"

#define TOP_HISTORY 512 /* values that are kept: more than columns of a wide screen */

/* The last values of something; zeroed, it is empty. */
typedef struct top_history {
    double values[TOP_HISTORY];
    uint64_t count; /* that were ever added */
} top_history;

/* NAN: it was not known. */
void fb_history_add(top_history *history, double value);
/* The value added `back` values ago, 0 the last; NAN if there is none any more. */
double fb_history_at(const top_history *history, int back);
/* The largest of the last `count`; 0 if there is none. */
double fb_history_most(const top_history *history, int count);

/* A column for each of the last values, the newest at the right; `most` fills the height, each row has
 * eight steps.  0 is the line at the bottom, what is above 0 never; NAN is blank. */
void fb_chart_history(top_canvas *canvas, top_area area, top_style style, const top_history *history,
                      double most);

/* A part of a bar: of a kind that has a character and a style of its own. */
typedef struct top_part {
    top_style kind; /* TOP_RAW to TOP_FREE */
    double amount;
} top_part;
/* The parts, side by side, each rounded so that all end where they should; `whole` fills the width. */
void fb_chart_bar(top_canvas *canvas, int x, int y, int width, const top_part *parts, int count,
                  double whole);
/* The character of a kind, for legends. */
uint32_t fb_chart_character(const top_canvas *canvas, top_style kind);

#endif
