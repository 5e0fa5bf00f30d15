/* SPDX-License-Identifier: Apache-2.0 */
/* What the person at `forebay top` has chosen, and what keys make of it. */
#ifndef FOREBAY_CLI_TOP_VIEW_H
#define FOREBAY_CLI_TOP_VIEW_H

#include "top_model.h"

#define TOP_INTERVAL_MIN 0.1 /* seconds */
#define TOP_INTERVAL_MAX 3600.0

/* Keys that are no characters. */
enum {
    TOP_KEY_UP = 0x110000,
    TOP_KEY_DOWN,
    TOP_KEY_FIRST,
    TOP_KEY_LAST,
    TOP_KEY_ENTER,
    TOP_KEY_BACK,
};

typedef enum top_page {
    TOP_PAGE_ARENA,
    TOP_PAGE_CACHE,
    TOP_PAGE_HELP,
} top_page;

typedef struct top_view {
    top_page page;
    top_page page_before;              /* of the help */
    char chosen[FOREBAY_NAME_MAX + 1]; /* a cache; "": none yet */
    int column;                        /* the caches are sorted by */
    bool reverse;
    double interval; /* seconds between looks */
    bool is_paused;
    bool wants_quit;
    bool wants_open;          /* the arena that the path leads to by now */
    const char *open_failure; /* of the last try to; NULL: none */
} top_view;

void fb_view_key(top_view *view, const top_model *model, uint32_t key);

/* Where the chosen cache is among the caches in this order; -1: it is not there. */
int fb_view_position(const top_view *view, const top_model *model, const uint32_t *order);
/* The chosen cache; NULL: none, or it is gone. */
const top_cache *fb_view_cache(const top_view *view, const top_model *model);

#endif
