/* SPDX-License-Identifier: Apache-2.0 */
/* The lists of `forebay top`.  Each stays within its area, and says how many lines it has left out. */
#ifndef FOREBAY_CLI_TOP_PANELS_H
#define FOREBAY_CLI_TOP_PANELS_H

#include "top_canvas.h"
#include "top_view.h"

/* The lines that each takes, its heading included, if there is room for all. */
int fb_panel_caches_lines(const top_model *model);
int fb_panel_processes_lines(const top_model *model);
int fb_panel_limits_lines(const top_model *model);
int fb_panel_channels_lines(const top_model *model);
int fb_panel_tiers_lines(const top_model *model); /* 0: there are none */

/* The chosen cache is always among those shown. */
void fb_panel_caches(top_canvas *canvas, top_area area, const top_model *model, const top_view *view);
void fb_panel_processes(top_canvas *canvas, top_area area, const top_model *model);
void fb_panel_limits(top_canvas *canvas, top_area area, const top_model *model);
void fb_panel_channels(top_canvas *canvas, top_area area, const top_model *model);
void fb_panel_tiers(top_canvas *canvas, top_area area, const top_model *model);

#endif
