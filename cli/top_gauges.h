/* SPDX-License-Identifier: Apache-2.0 */
/* What stands above the lists of `forebay top`: lines, curves and bars of the whole arena or of one cache. */
#ifndef FOREBAY_CLI_TOP_GAUGES_H
#define FOREBAY_CLI_TOP_GAUGES_H

#include "top_canvas.h"
#include "top_view.h"

#define TOP_WIDE 110       /* columns of a screen that has room for more */
#define TOP_LABEL_WIDTH 18 /* before curves and bars */

/* The first line of the screen: `clock` is the time of day. */
void fb_gauge_title(top_canvas *canvas, const top_model *model, const top_view *view, const char *clock);
/* One line: the arena's size and what is taken of its tables; or what is wrong with it. */
void fb_gauge_summary(top_canvas *canvas, int y, const top_model *model, const top_view *view);
/* A curve of figures per second, with the last one and the largest of those shown. */
void fb_gauge_rate(top_canvas *canvas, top_area area, const char *label, const top_history *history);
/* A curve from 0 to all. */
void fb_gauge_ratio(top_canvas *canvas, top_area area, const char *label, const top_history *history);
/* Two lines: a bar of the whole arena, and what its parts are. */
void fb_gauge_memory(top_canvas *canvas, int y, const top_memory *memory);
/* A bar of a cache's entries, `most` being its whole width. */
void fb_gauge_room(top_canvas *canvas, int x, int y, int width, const top_room *room, double most);

#endif
