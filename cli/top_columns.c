/* SPDX-License-Identifier: Apache-2.0 */
#include "top_columns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double entries(const top_cache *cache)
{
    return (double)cache->info.stats.entries;
}

static double gets(const top_cache *cache)
{
    return fb_rates_gets(&cache->rates);
}

static double hit_ratio(const top_cache *cache)
{
    return fb_rates_hit_ratio(&cache->rates);
}

static double sets(const top_cache *cache)
{
    return cache->rates.sets;
}

static double deletes(const top_cache *cache)
{
    return cache->rates.deletes;
}

static double evictions(const top_cache *cache)
{
    return cache->rates.evictions;
}

static double expirations(const top_cache *cache)
{
    return cache->rates.expirations;
}

static double size(const top_cache *cache)
{
    return cache->room.raw + cache->room.packed;
}

/* Of what is packed: how many times it fits. */
static double packing(const top_cache *cache)
{
    return cache->room.packed > 0 ? cache->room.unpacked / cache->room.packed : NAN;
}

static const char *times_text(double value, char text[TOP_TEXT])
{
    if (isnan(value))
        return strcpy(text, "-");
    snprintf(text, TOP_TEXT, "%.1fx", value);
    return text;
}

const top_column fb_top_columns[TOP_COLUMN_COUNT] = {
    { "name", "CACHE", "the cache's name", false, NULL, NULL },
    { "entries", "ENTRIES", "entries; expired ones count until their room is needed", false, entries,
      fb_top_count },
    { "gets", "GETS/s", "keys asked for per second", false, gets, fb_top_count },
    { "hit", "HIT", "of these, found", false, hit_ratio, fb_top_percent },
    { "sets", "SETS/s", "values stored per second", false, sets, fb_top_count },
    { "deletes", "DEL/s", "entries deleted per second", true, deletes, fb_top_count },
    { "evictions", "EVIC/s", "live entries dropped for room per second", false, evictions, fb_top_count },
    { "expirations", "EXPIR/s", "expired entries whose room was taken back per second", true, expirations,
      fb_top_count },
    { "size", "SIZE", "bytes that the entries take, from a sample", false, size, fb_top_bytes },
    { "packed", "PACKED", "how many times the packed entries fit, from a sample", true, packing, times_text },
};

int fb_column_find(const char *name)
{
    for (int i = 0; i < TOP_COLUMN_COUNT; i++)
        if (strcmp(fb_top_columns[i].name, name) == 0)
            return i;
    return -1;
}

/* Does `a` come before `b`, `b` being before it by name? */
static bool goes_before(const top_column *column, bool reverse, const top_cache *a, const top_cache *b)
{
    if (column->value == NULL)
        return reverse;
    double left = column->value(a), right = column->value(b);
    if (isnan(left) || isnan(right))
        return !isnan(left) && isnan(right);
    return reverse ? left < right : left > right;
}

/* By insertion: there are 128 caches at most, and what is equal stays in the order of names. */
void fb_columns_order(const top_model *model, int column, bool reverse, uint32_t *order)
{
    for (uint32_t i = 0; i < model->cache_count; i++) {
        uint32_t at = i;
        while (at > 0
               && goes_before(&fb_top_columns[column], reverse, &model->caches[i],
                              &model->caches[order[at - 1]])) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}
