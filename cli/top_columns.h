/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of the list of caches, which it can be sorted by. */
#ifndef FOREBAY_CLI_TOP_COLUMNS_H
#define FOREBAY_CLI_TOP_COLUMNS_H

#include "top_model.h"
#include "top_text.h"

typedef struct top_column {
    const char *name;  /* for --sort */
    const char *title; /* as shown */
    const char *meaning;
    bool wide_only;
    double (*value)(const top_cache *cache); /* NULL: the cache's name */
    const char *(*text)(double value, char text[TOP_TEXT]);
} top_column;

#define TOP_COLUMN_COUNT 10
extern const top_column fb_top_columns[TOP_COLUMN_COUNT];

/* The column of this name; -1: there is none. */
int fb_column_find(const char *name);

/* Indexes of all caches in the order of a column, `order` having room for them: largest first, and what is not
 * known last; names from A.  `reverse`: the other way round. */
void fb_columns_order(const top_model *model, int column, bool reverse, uint32_t *order);

#endif
