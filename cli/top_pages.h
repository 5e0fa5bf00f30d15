/* SPDX-License-Identifier: Apache-2.0 */
/* Whole screens of `forebay top`: which part stands where. */
#ifndef FOREBAY_CLI_TOP_PAGES_H
#define FOREBAY_CLI_TOP_PAGES_H

#include "top_canvas.h"
#include "top_view.h"

#define TOP_WIDTH_MIN 60
#define TOP_HEIGHT_MIN 18

/* Draw the page that was chosen on a blank canvas; a smaller one than that gets a line that says so.
 * `clock`: the time of day, as it is shown. */
void fb_page_draw(top_canvas *canvas, const top_model *model, const top_view *view, const char *clock);

#endif
