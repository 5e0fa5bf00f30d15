/* SPDX-License-Identifier: Apache-2.0 */
#include "stat_facts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const forebay_cache_info *)a)->name, ((const forebay_cache_info *)b)->name);
}

static void gather_caches(forebay_arena *arena, arena_facts *facts)
{
    while (facts->cache_count < facts->info.cache_count
           && forebay_cache_at(arena, facts->cache_count, &facts->caches[facts->cache_count]))
        facts->cache_count++;
    qsort(facts->caches, facts->cache_count, sizeof(*facts->caches), compare_names);
}

static void gather_rows(forebay_arena *arena, arena_facts *facts)
{
    uint32_t used = forebay_arena_rows(arena, facts->rows, facts->info.row_count);
    facts->row_count = used < facts->info.row_count ? used : facts->info.row_count;
    facts->own_row = facts->row_count;
    for (uint32_t i = facts->row_count; i-- > 0;)
        if (facts->rows[i].alive && facts->rows[i].pid == getpid())
            facts->own_row = i;
}

forebay_status fb_arena_facts_gather(forebay_arena *arena, bool brief, arena_facts *facts)
{
    forebay_status status =
        brief ? forebay_arena_get_brief_info(arena, &facts->info) : forebay_arena_get_info(arena, &facts->info);
    if (status != FOREBAY_OK)
        return status;
    facts->rows = calloc(facts->info.row_count + 1, sizeof(*facts->rows));
    facts->caches = calloc(facts->info.cache_count + 1, sizeof(*facts->caches));
    if (facts->rows == NULL || facts->caches == NULL)
        return FOREBAY_NOMEM;
    gather_rows(arena, facts);
    gather_caches(arena, facts);
    fb_channels_gather(arena, &facts->channels);
    status = fb_limits_gather(arena, &facts->info, &facts->limits);
    return status != FOREBAY_OK ? status : fb_tiers_gather(arena, &facts->info, &facts->tiers);
}

void fb_arena_facts_free(arena_facts *facts)
{
    free(facts->rows);
    free(facts->caches);
    fb_limits_free(&facts->limits);
    fb_tiers_free(&facts->tiers);
}

uint32_t fb_segments_with_entries(const forebay_arena_info *info)
{
    return info->segment_count - info->segments_free - info->segments_index;
}
