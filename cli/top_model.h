/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay top` shows: the last look at an arena, and what changed since the one before. */
#ifndef FOREBAY_CLI_TOP_MODEL_H
#define FOREBAY_CLI_TOP_MODEL_H

#include "top_chart.h"
#include "top_look.h"

/* Per second, between two looks; NAN before the second look. */
typedef struct top_rates {
    double hits, misses, sets, deletes, evictions, expirations;
} top_rates;

/* Bytes that entries take, from the sample. */
typedef struct top_room {
    double raw;      /* those stored as they were set */
    double packed;   /* those whose values are packed */
    double unpacked; /* what the packed ones would take if they were not */
} top_room;

typedef struct top_cache {
    forebay_cache_info info;
    top_rates rates;
    top_room room;
    top_history gets; /* per second */
    top_history hit_ratio;
} top_cache;

/* All handles that a process has of the arena. */
typedef struct top_process {
    int32_t pid;
    uint32_t rows, dead_rows;
    uint32_t held, waiting; /* permits of all limits */
    bool listens;           /* to a channel */
    uint32_t tiers_left_out;
    bool is_self;
} top_process;

/* Bytes: where the arena's size is. */
typedef struct top_memory {
    double raw, packed; /* entries that a get would find */
    double unpacked;    /* what the packed ones would take */
    double old;         /* replaced, deleted and expired entries, in segments that are to be emptied */
    double tables;      /* index and all other tables */
    double free;
} top_memory;

/* Of a tier: keys asked for per second, and those of them that it had. */
typedef struct top_tier_rates {
    double hits, misses;
} top_tier_rates;

typedef struct top_model {
    top_look look;
    double seconds;    /* between the last two looks; NAN before the second */
    top_cache *caches; /* by name */
    uint32_t cache_count;
    top_process *processes; /* by pid */
    uint32_t process_count;
    top_tier_rates tiers[FOREBAY_TIERS_MAX]; /* of those of the look */
    top_memory memory;
    top_rates total;
    top_history operations; /* gets, sets and deletes of all caches, per second */
    top_history hit_ratio;
} top_model;

/* Add a look, which is the model's from then on, also if this fails (false: no memory).  `continues`: changes
 * since the look before are to be shown; not after a pause.  Begin with a zeroed model. */
bool fb_model_add(top_model *model, const top_look *look, bool continues);
void fb_model_free(top_model *model);

double fb_rates_gets(const top_rates *rates);
/* Hits of gets; NAN without any. */
double fb_rates_hit_ratio(const top_rates *rates);
double fb_rates_operations(const top_rates *rates);

#endif
