/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay stat` knows of an arena before it prints anything. */
#ifndef FOREBAY_CLI_STAT_FACTS_H
#define FOREBAY_CLI_STAT_FACTS_H

#include <stdint.h>

#include <forebay/forebay.h>

#include "stat_channels.h"
#include "stat_limits.h"
#include "stat_tiers.h"

/* All that is printed, gathered first. */
typedef struct arena_facts {
    const char *path;
    forebay_arena_info info;
    forebay_row_info *rows;
    uint32_t row_count;
    uint32_t own_row; /* index in `rows`; row_count if not found */
    forebay_cache_info *caches;
    uint32_t cache_count;
    limits_facts limits;
    channels_facts channels;
    tiers_facts tiers;
} arena_facts;

/* Gather all but the path; `brief`: the arena's info is that of forebay_arena_get_brief_info().
 * Also on failure the caller ends it with fb_arena_facts_free(). */
forebay_status fb_arena_facts_gather(forebay_arena *arena, bool brief, arena_facts *facts);
void fb_arena_facts_free(arena_facts *facts);

uint32_t fb_segments_with_entries(const forebay_arena_info *info);

#endif
