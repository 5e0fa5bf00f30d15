/* SPDX-License-Identifier: Apache-2.0 */
#include "stat_prometheus.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define GAUGE "gauge"
#define COUNTER "counter"

static void begin_family(const char *name, const char *kind, const char *help)
{
    printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* Escaped.  Control characters, and bytes that are not UTF-8, become \xNN: the
 * format has no escape for them, and a name must not drive the terminal. */
static void print_value_of_label(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t left = strlen(text), taken; left > 0; p += taken, left -= taken) {
        uint32_t character = 0;
        taken = fb_decode_utf8(p, left, &character);
        bool is_text = taken != 0 && (character < 0xd800 || character > 0xdfff);
        if (!is_text)
            taken = 1;
        if (is_text && character == '\n')
            fputs("\\n", stdout);
        else if (is_text && (character == '\\' || character == '"'))
            printf("\\%c", (char)character);
        else if (!is_text || character < 0x20 || character == 0x7f)
            printf("\\\\x%02x", *p);
        else
            fwrite(p, 1, taken, stdout);
    }
}

static void print_label(const char *before, const char *name, const char *value)
{
    printf("%s%s=\"", before, name);
    print_value_of_label(value);
    putchar('"');
}

/* The name and the labels of a sample; with `label` NULL only the arena's. */
static void begin_sample(const char *name, const char *arena, const char *label, const char *value)
{
    fputs(name, stdout);
    print_label("{", "arena", arena);
    if (label != NULL)
        print_label(",", label, value);
    fputs("} ", stdout);
}

static void print_sample(const char *name, const char *arena, const char *label, const char *value, uint64_t figure)
{
    begin_sample(name, arena, label, value);
    printf("%" PRIu64 "\n", figure);
}

static void print_seconds(const char *name, const char *arena, const char *label, const char *value, uint64_t ms)
{
    begin_sample(name, arena, label, value);
    printf("%" PRIu64 ".%03u\n", ms / 1000, (unsigned)(ms % 1000));
}

/* ---- the arena ---- */

static void print_segments(const char *arena, const forebay_arena_info *info)
{
    const char *name = "forebay_arena_segments";
    begin_family(name, GAUGE, "Segments, by what is in them.");
    print_sample(name, arena, "state", "entries", fb_segments_with_entries(info));
    print_sample(name, arena, "state", "index", info->segments_index);
    print_sample(name, arena, "state", "free", info->segments_free);
}

static void print_rows(const char *arena, const arena_facts *facts)
{
    const char *name = "forebay_arena_rows";
    uint32_t alive = 0, dead = 0;
    for (uint32_t i = 0; i < facts->row_count; i++) {
        if (facts->rows[i].alive)
            alive += i != facts->own_row;
        else
            dead++;
    }
    begin_family(name, GAUGE, "Handles of the arena, one or more of each process that has it open.");
    print_sample(name, arena, "state", "alive", alive);
    print_sample(name, arena, "state", "dead", dead);
    print_sample(name, arena, "state", "free", facts->info.row_count - alive - dead);
}

static void print_arena(const char *arena, const arena_facts *facts)
{
    const forebay_arena_info *info = &facts->info;
    const struct {
        const char *name, *help;
        uint64_t figure;
    } gauges[] = {
        { "forebay_arena_size_bytes", "Size of the arena.", info->size },
        { "forebay_arena_metadata_bytes", "All of the arena but the segments that hold entries.", info->metadata_bytes },
        { "forebay_arena_entry_bytes", "Appended to the segments in use, dead entries included.", info->entry_bytes },
        { "forebay_arena_segment_size_bytes", "Size of a segment.", info->segment_size },
        { "forebay_arena_index_slots", "Slots of the index: entries that it can hold as it is.", info->index_buckets * 8 },
        { "forebay_arena_index_slots_used", "Slots of the index in use.", info->index_slots_used },
        { "forebay_arena_caches", "Caches in the arena.", facts->cache_count },
        { "forebay_arena_caches_max", "Most caches that the arena can hold.", info->cache_count },
        { "forebay_arena_limits", "Limits in the arena.", facts->limits.count },
        { "forebay_arena_limits_max", "Most limits that the arena can hold.", facts->limits.most },
        { "forebay_arena_channels", "Channels in the arena.", facts->channels.count },
        { "forebay_arena_tiers", "Tiers that the arena keeps account of.", facts->tiers.count },
        { "forebay_arena_leases_held", "Keys that are being loaded.", info->leases_held },
        { "forebay_arena_leases_max", "Most keys that can be loaded at once, about.", info->leases },
        { "forebay_arena_format_version", "Version of the format of the file.", info->format_version },
        { "forebay_arena_replaced", "1: the path leads to another file than the one that is open.", info->replaced },
        { "forebay_arena_huge_pages", "1: huge pages are in effect.", info->huge_pages },
        { "forebay_arena_on_disk", "1: the file outlives a reboot.", info->on_disk },
    };
    for (size_t i = 0; i < COUNT_OF(gauges); i++) {
        begin_family(gauges[i].name, GAUGE, gauges[i].help);
        print_sample(gauges[i].name, arena, NULL, NULL, gauges[i].figure);
    }
    print_segments(arena, info);
    print_rows(arena, facts);
}

/* ---- caches ---- */

typedef struct cache_family {
    const char *name, *kind, *help;
    size_t figure; /* where it is in forebay_cache_stats */
    enum presence { ALWAYS, IF_NOT_ZERO, IF_QUOTA } presence;
} cache_family;

#define FIGURE(field) offsetof(forebay_cache_stats, field)

static const cache_family cache_families[] = {
    { "forebay_cache_entries", GAUGE, "Entries; expired ones until their space is reclaimed.", FIGURE(entries), ALWAYS },
    { "forebay_cache_hits_total", COUNTER, "Gets that found an entry, key by key.", FIGURE(hits), ALWAYS },
    { "forebay_cache_misses_total", COUNTER, "Gets that found none, key by key.", FIGURE(misses), ALWAYS },
    { "forebay_cache_sets_total", COUNTER, "Values stored.", FIGURE(sets), ALWAYS },
    { "forebay_cache_deletes_total", COUNTER, "Deletes that found an entry.", FIGURE(deletes), ALWAYS },
    { "forebay_cache_evictions_total", COUNTER, "Live entries dropped for room.", FIGURE(evictions), ALWAYS },
    { "forebay_cache_expirations_total", COUNTER, "Expired entries whose space was reclaimed.", FIGURE(expirations), ALWAYS },
    { "forebay_cache_packed_hits_total", COUNTER, "Hits that had to be unpacked.", FIGURE(packed_hits), ALWAYS },
    { "forebay_cache_warmed_total", COUNTER, "Entries stored again unpacked because they were hit often.", FIGURE(warmed),
      ALWAYS },
    { "forebay_cache_value_bytes_total", COUNTER, "Bytes of values set that could have been packed, as they were.",
      FIGURE(value_bytes), ALWAYS },
    { "forebay_cache_stored_bytes_total", COUNTER, "What those values took, packed or not.", FIGURE(stored_bytes), ALWAYS },
    { "forebay_cache_bytes", GAUGE, "Bytes of the segments of a cache with a share or a limit.", FIGURE(bytes), IF_QUOTA },
    { "forebay_cache_share_bytes", GAUGE, "Share that the cache is sure of.", FIGURE(share), IF_NOT_ZERO },
    { "forebay_cache_limit_bytes", GAUGE, "Limit that the cache stays below.", FIGURE(limit), IF_NOT_ZERO },
};

static uint64_t figure_of(const cache_family *family, const forebay_cache_stats *stats)
{
    return *(const uint64_t *)((const char *)stats + family->figure);
}

static bool has_sample(const cache_family *family, const forebay_cache_stats *stats)
{
    if (family->presence == IF_QUOTA)
        return (stats->share | stats->limit) != 0;
    return family->presence == ALWAYS || figure_of(family, stats) != 0;
}

static void print_dictionaries(const char *arena, const arena_facts *facts)
{
    const char *name = "forebay_cache_dictionary_age_seconds";
    begin_family(name, GAUGE, "Time since the dictionary was trained that new values are packed with.");
    for (uint32_t i = 0; i < facts->cache_count; i++) {
        const forebay_cache_info *cache = &facts->caches[i];
        if (cache->stats.dictionary != 0)
            print_seconds(name, arena, "cache", cache->name, cache->stats.dictionary_age_ms);
    }
}

static void print_caches(const char *arena, const arena_facts *facts)
{
    for (size_t f = 0; f < COUNT_OF(cache_families); f++) {
        const cache_family *family = &cache_families[f];
        begin_family(family->name, family->kind, family->help);
        for (uint32_t i = 0; i < facts->cache_count; i++) {
            const forebay_cache_info *cache = &facts->caches[i];
            if (has_sample(family, &cache->stats))
                print_sample(family->name, arena, "cache", cache->name, figure_of(family, &cache->stats));
        }
    }
    print_dictionaries(arena, facts);
}

/* ---- limits ---- */

static void print_limits(const char *arena, const limits_facts *facts)
{
    const char *most = "forebay_limit_permits_max", *held = "forebay_limit_permits_held", *waiting = "forebay_limit_waiting";
    begin_family(most, GAUGE, "Permits that the machine has of a limit.");
    for (uint32_t i = 0; i < facts->count; i++)
        print_sample(most, arena, "limit", facts->limits[i].info.name, facts->limits[i].info.most);
    begin_family(held, GAUGE, "Permits of a limit in use.");
    for (uint32_t i = 0; i < facts->count; i++)
        print_sample(held, arena, "limit", facts->limits[i].info.name, facts->limits[i].info.held);
    begin_family(waiting, GAUGE, "Pools that wait for a permit of a limit.");
    for (uint32_t i = 0; i < facts->count; i++)
        print_sample(waiting, arena, "limit", facts->limits[i].info.name, facts->limits[i].info.waiting);
}

/* ---- channels ---- */

static void print_channels(const char *arena, const channels_facts *facts)
{
    const char *age = "forebay_channel_age_seconds", *listeners = "forebay_channel_listeners";
    begin_family(age, GAUGE, "Time since the moment up to which everything was heard over a channel.");
    for (uint32_t i = 0; i < facts->count; i++)
        if (facts->channels[i].age_ms != UINT64_MAX)
            print_seconds(age, arena, "channel", facts->channels[i].name, facts->channels[i].age_ms);
    begin_family(listeners, GAUGE, "Processes that listen to a channel.");
    for (uint32_t i = 0; i < facts->count; i++)
        print_sample(listeners, arena, "channel", facts->channels[i].name, fb_channel_listeners(&facts->channels[i]));
}

/* ---- tiers ---- */

static void print_tiers(const char *arena, const tiers_facts *facts)
{
    static const struct {
        const char *name, *kind, *help;
        size_t figure; /* where it is in forebay_tier_info */
        bool is_wide;  /* 64 bits, not 32 */
    } families[] = {
#define COUNT(count) offsetof(forebay_tier_info, counts) + (count) * sizeof(uint64_t), true
        { "forebay_shared_tier_hits_total", COUNTER, "Keys that a tier had, of all processes.", COUNT(FOREBAY_TIER_HITS) },
        { "forebay_shared_tier_misses_total", COUNTER, "Keys that a tier did not have, of all processes.",
          COUNT(FOREBAY_TIER_MISSES) },
        { "forebay_shared_tier_stored_total", COUNTER, "Values stored in a tier, of all processes.", COUNT(FOREBAY_TIER_STORED) },
        { "forebay_shared_tier_errors_total", COUNTER, "Calls of a tier that failed, of all processes.",
          COUNT(FOREBAY_TIER_ERRORS) },
        { "forebay_shared_tier_skipped_total", COUNTER, "Calls that were not made, as a tier was left alone.",
          COUNT(FOREBAY_TIER_SKIPPED) },
        { "forebay_shared_tier_opened_total", COUNTER, "How often a process began to leave a tier alone.",
          COUNT(FOREBAY_TIER_OPENED) },
#undef COUNT
        { "forebay_shared_tier_users", GAUGE, "Handles of the arena, of living processes, that use a tier.",
          offsetof(forebay_tier_info, users), false },
        { "forebay_shared_tier_left_out", GAUGE, "Of them, those that leave it alone.", offsetof(forebay_tier_info, left_out), false },
        { "forebay_shared_tier_not_stored", GAUGE, "Of them, those that ask it and store nothing in it.",
          offsetof(forebay_tier_info, not_stored), false },
    };
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        begin_family(families[f].name, families[f].kind, families[f].help);
        for (uint32_t i = 0; i < facts->count; i++) {
            const char *figure = (const char *)&facts->tiers[i].info + families[f].figure;
            print_sample(families[f].name, arena, "tier", facts->tiers[i].info.name,
                         families[f].is_wide ? *(const uint64_t *)(const void *)figure : *(const uint32_t *)(const void *)figure);
        }
    }
}

void fb_prometheus_print(const arena_facts *facts)
{
    char *real = realpath(facts->path, NULL); /* NULL: it is gone since */
    const char *arena = real != NULL ? real : facts->path;
    print_arena(arena, facts);
    print_caches(arena, facts);
    print_limits(arena, &facts->limits);
    print_channels(arena, &facts->channels);
    print_tiers(arena, &facts->tiers);
    free(real);
}
