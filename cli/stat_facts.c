/* SPDX-License-Identifier: Apache-2.0 */
#include "stat_facts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static forebay_status gather_cache(forebay_arena *arena, cache_facts *facts)
{
    forebay_cache *cache;
    forebay_status status = forebay_cache_open(arena, facts->name, NULL, &cache, NULL);
    if (status != FOREBAY_OK)
        return status;
    facts->ttl_ms = forebay_cache_ttl_ms(cache);
    if (facts->ttl_ms == FOREBAY_TTL_FOREVER)
        facts->ttl_ms = 0;
    status = forebay_cache_get_stats(cache, &facts->stats);
    forebay_cache_close(cache);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const cache_facts *)a)->name, ((const cache_facts *)b)->name);
}

/* Names first: opening a cache must not happen between two of them. */
static void gather_caches(forebay_arena *arena, arena_facts *facts)
{
    uint32_t named = 0;
    while (named < facts->info.cache_count && forebay_cache_name_at(arena, named, facts->caches[named].name))
        named++;
    for (uint32_t i = 0; i < named; i++) {
        cache_facts *cache = &facts->caches[i];
        if (fb_has_cache(arena, cache->name) && gather_cache(arena, cache) == FOREBAY_OK)
            facts->caches[facts->cache_count++] = *cache;
    }
    qsort(facts->caches, facts->cache_count, sizeof(cache_facts), compare_names);
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

forebay_status fb_arena_facts_gather(forebay_arena *arena, arena_facts *facts)
{
    forebay_status status = forebay_arena_get_info(arena, &facts->info);
    if (status != FOREBAY_OK)
        return status;
    facts->rows = calloc(facts->info.row_count + 1, sizeof(*facts->rows));
    facts->caches = calloc(facts->info.cache_count + 1, sizeof(*facts->caches));
    if (facts->rows == NULL || facts->caches == NULL)
        return FOREBAY_NOMEM;
    gather_rows(arena, facts);
    gather_caches(arena, facts);
    fb_channels_gather(arena, &facts->channels);
    return fb_limits_gather(arena, &facts->info, &facts->limits);
}

void fb_arena_facts_free(arena_facts *facts)
{
    free(facts->rows);
    free(facts->caches);
    fb_limits_free(&facts->limits);
}

uint32_t fb_segments_with_entries(const forebay_arena_info *info)
{
    return info->segment_count - info->segments_free - info->segments_index;
}
