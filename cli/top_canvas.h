/* SPDX-License-Identifier: Apache-2.0 */
/* A screen of `forebay top` as cells: what the terminal shows, and what --once prints. */
#ifndef FOREBAY_CLI_TOP_CANVAS_H
#define FOREBAY_CLI_TOP_CANVAS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* How a cell looks where there are colours; each is readable without. */
typedef enum top_style {
    TOP_PLAIN,
    TOP_DIM,
    TOP_BOLD,
    TOP_BAR, /* title and footer */
    TOP_HEADING,
    TOP_CHOSEN,
    TOP_GOOD,
    TOP_WARNING,
    TOP_BAD,
    TOP_RAW,
    TOP_PACKED,
    TOP_OLD,
    TOP_TABLES,
    TOP_FREE,
    TOP_STYLE_COUNT,
} top_style;

typedef struct top_cell {
    uint32_t character; /* one column wide */
    top_style style;
} top_cell;

typedef struct top_canvas {
    int width, height;
    bool ascii; /* no other characters */
    top_cell *cells;
} top_canvas;

/* A part of a canvas. */
typedef struct top_area {
    int x, y, width, height;
} top_area;

/* All blank; what was there before is given up (a zeroed one: nothing).  The caller ends it with
 * fb_canvas_free().  false: no memory, and it is empty. */
bool fb_canvas_make(top_canvas *canvas, int width, int height, bool ascii);
void fb_canvas_free(top_canvas *canvas);

/* What lies outside is left out. */
void fb_canvas_put(top_canvas *canvas, int x, int y, top_style style, uint32_t character);
/* At most `width` columns of UTF-8; what does not take one column, or cannot be shown, becomes '?'.
 * Returns how many columns it took. */
int fb_canvas_text(top_canvas *canvas, int x, int y, int width, top_style style, const char *text);
/* As printf(), to the end of the line; returns the column after it. */
int fb_canvas_format(top_canvas *canvas, int x, int y, top_style style, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The text ends before column `end`. */
void fb_canvas_right(top_canvas *canvas, int end, int y, top_style style, const char *text);
/* Give cells that are there another look. */
void fb_canvas_style(top_canvas *canvas, top_area area, top_style style);

/* As lines of text, without blanks at their ends. */
void fb_canvas_print(const top_canvas *canvas, FILE *out);

#endif
