/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "colour.h"
#include "json.h"
#include "stat_facts.h"
#include "stat_prometheus.h"

enum { TRUST, JSON, PROMETHEUS, COLOR, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [JSON] = { "--json", NULL, "print it as JSON" },
    [PROMETHEUS] = { "--prometheus", NULL, "print its figures as metrics, for node_exporter's textfile collector" },
    [COLOR] = FB_COLOUR_OPTION,
};

/* NULL if huge pages are in effect, else how to get them. */
static const char *huge_page_advice(const forebay_arena_info *info)
{
    if (info->huge_pages)
        return NULL;
    if (info->on_disk)
        return "put the arena on a tmpfs (/dev/shm): files on a disk get none";
    if (info->size < (uint64_t)2 << 20)
        return "the arena is smaller than one of them (2 MiB)";
    return "as root: mount -o remount,huge=within_size /dev/shm (or the tmpfs that holds it), "
           "then create the arena anew; see docs/deploy.md";
}

static void number(fb_json *json, const char *name, uint64_t value)
{
    fb_json_name(json, name);
    fb_json_unsigned(json, value);
}

static void truth(fb_json *json, const char *name, bool value)
{
    fb_json_name(json, name);
    fb_json_bool(json, value);
}

static void write_arena(fb_json *json, const arena_facts *facts)
{
    const forebay_arena_info *info = &facts->info;
    fb_json_name(json, "path");
    fb_json_string(json, facts->path);
    number(json, "size", info->size);
    number(json, "format_version", info->format_version);
    number(json, "segment_size", info->segment_size);
    number(json, "segments", info->segment_count);
    number(json, "segments_free", info->segments_free);
    number(json, "segments_index", info->segments_index);
    number(json, "segments_entries", fb_segments_with_entries(info));
    number(json, "index_buckets", info->index_buckets);
    number(json, "index_slots_used", info->index_slots_used);
    number(json, "metadata_bytes", info->metadata_bytes);
    number(json, "entry_bytes", info->entry_bytes);
    number(json, "leases", info->leases);
    number(json, "leases_held", info->leases_held);
    number(json, "now_ms", info->now_ms);
    truth(json, "replaced", info->replaced);
    truth(json, "on_disk", info->on_disk);
    truth(json, "huge_pages", info->huge_pages);
    fb_json_name(json, "huge_pages_advice");
    if (huge_page_advice(info) != NULL)
        fb_json_string(json, huge_page_advice(info));
    else
        fb_json_null(json);
}

static void write_rows(fb_json *json, const arena_facts *facts)
{
    number(json, "row_count", facts->info.row_count);
    fb_json_name(json, "rows");
    fb_json_begin_array(json);
    for (uint32_t i = 0; i < facts->row_count; i++) {
        fb_json_begin_object(json);
        number(json, "row", facts->rows[i].row);
        number(json, "generation", facts->rows[i].generation);
        fb_json_name(json, "pid");
        fb_json_signed(json, facts->rows[i].pid);
        truth(json, "alive", facts->rows[i].alive);
        truth(json, "self", i == facts->own_row);
        fb_json_end_object(json);
    }
    fb_json_end_array(json);
}

/* Hits per get, or -1 without any. */
static double hit_ratio(const forebay_cache_stats *stats)
{
    double gets = (double)stats->hits + (double)stats->misses;
    return gets > 0 ? (double)stats->hits / gets : -1;
}

/* null if `there` is 0. */
static void number_or_null(fb_json *json, const char *name, uint64_t value, uint64_t there)
{
    fb_json_name(json, name);
    if (there != 0)
        fb_json_unsigned(json, value);
    else
        fb_json_null(json);
}

/* Values as they were set / what they took; 0 before the first. */
static double packing_ratio(const forebay_cache_stats *stats)
{
    return stats->stored_bytes != 0 ? (double)stats->value_bytes / (double)stats->stored_bytes : 0;
}

static void write_packing(fb_json *json, const forebay_cache_stats *stats)
{
    fb_json_name(json, "codec");
    fb_json_string(json, stats->codec);
    number(json, "packed_hits", stats->packed_hits);
    number(json, "value_bytes", stats->value_bytes);
    number(json, "stored_bytes", stats->stored_bytes);
    fb_json_name(json, "ratio");
    if (stats->stored_bytes != 0)
        fb_json_double(json, packing_ratio(stats));
    else
        fb_json_null(json);
    number(json, "warmed", stats->warmed);
    number_or_null(json, "dictionary", stats->dictionary, stats->dictionary);
    number_or_null(json, "dictionary_ratio_thousandths", stats->dictionary_ratio, stats->dictionary);
    number_or_null(json, "dictionary_age_ms", stats->dictionary_age_ms, stats->dictionary);
}

static void write_cache(fb_json *json, const forebay_cache_info *cache)
{
    fb_json_begin_object(json);
    fb_json_name(json, "name");
    fb_json_string(json, cache->name);
    number(json, "entries", cache->stats.entries);
    number(json, "hits", cache->stats.hits);
    number(json, "misses", cache->stats.misses);
    fb_json_name(json, "hit_ratio");
    if (hit_ratio(&cache->stats) >= 0)
        fb_json_double(json, hit_ratio(&cache->stats));
    else
        fb_json_null(json);
    number(json, "sets", cache->stats.sets);
    number(json, "deletes", cache->stats.deletes);
    number(json, "evictions", cache->stats.evictions);
    number(json, "expirations", cache->stats.expirations);
    number_or_null(json, "ttl_ms", cache->ttl_ms, cache->ttl_ms);
    number_or_null(json, "share", cache->stats.share, cache->stats.share);
    number_or_null(json, "limit", cache->stats.limit, cache->stats.limit);
    number_or_null(json, "bytes", cache->stats.bytes, cache->stats.share | cache->stats.limit);
    write_packing(json, &cache->stats);
    fb_json_end_object(json);
}

static void print_json(const arena_facts *facts)
{
    fb_json json = { .out = stdout };
    fb_json_begin_object(&json);
    write_arena(&json, facts);
    write_rows(&json, facts);
    number(&json, "cache_count", facts->info.cache_count);
    fb_json_name(&json, "caches");
    fb_json_begin_array(&json);
    for (uint32_t i = 0; i < facts->cache_count; i++)
        write_cache(&json, &facts->caches[i]);
    fb_json_end_array(&json);
    fb_limits_write(&json, &facts->limits);
    fb_channels_write(&json, &facts->channels);
    fb_tiers_write(&json, &facts->tiers);
    fb_json_end_object(&json);
    fb_json_end(&json);
}

static void print_arena(const arena_facts *facts)
{
    const forebay_arena_info *info = &facts->info;
    char a[FB_SIZE_TEXT], b[FB_SIZE_TEXT];
    fb_print_label("arena");
    fb_print_text(facts->path);
    putchar('\n');
    fb_print_label("size");
    printf("%s (%" PRIu64 " bytes), format %u, %s\n", fb_size_text(info->size, a), info->size,
           info->format_version, info->on_disk ? "on a disk" : "in memory: gone after a reboot");
    fb_print_label("segments");
    printf("%u of %s: %u with entries, %u index, %u free\n", info->segment_count,
           fb_size_text(info->segment_size, b), fb_segments_with_entries(info), info->segments_index,
           info->segments_free);
    fb_print_label("entries");
    printf("%s appended, %" PRIu64 " index slots used of %" PRIu64 "\n",
           fb_size_text(info->entry_bytes, a), info->index_slots_used, info->index_buckets * 8);
    fb_print_label("metadata");
    printf("%s (%.1f%% of the arena)\n", fb_size_text(info->metadata_bytes, a),
           100.0 * (double)info->metadata_bytes / (double)info->size);
    fb_print_label("leases");
    printf("%u of %u held\n", info->leases_held, info->leases);
    const char *advice = huge_page_advice(info);
    fb_print_label("huge pages");
    printf("%s%s\n", advice == NULL ? "in effect" : "not in effect: ", advice == NULL ? "" : advice);
    if (!info->replaced)
        return;
    fb_print_label("file");
    fb_print_coloured(FB_BAD, "REPLACED");
    puts(": the path leads to another file now; processes that opened it\n"
         "            before go on with the old one until they are restarted");
}

static void print_rows(const arena_facts *facts)
{
    fb_print_label("rows");
    printf("%u of %u\n", facts->row_count, facts->info.row_count);
    for (uint32_t i = 0; i < facts->row_count; i++) {
        printf("  pid %-8d ", (int)facts->rows[i].pid);
        if (facts->rows[i].alive)
            fputs(i == facts->own_row ? "alive (this command)" : "alive", stdout);
        else
            fb_print_coloured(FB_WARNING, "dead, to be swept by the next process that needs it");
        putchar('\n');
    }
}

static void print_duration(uint64_t ms)
{
    if (ms == 0)
        fputs("for ever", stdout);
    else
        printf("%.12g s", (double)ms / 1000);
}

/* What a cache with a share or a limit has of it. */
static void print_quota(const forebay_cache_stats *stats)
{
    char a[FB_SIZE_TEXT];
    if ((stats->share | stats->limit) == 0)
        return;
    printf("; has %s", fb_size_text(stats->bytes, a));
    if (stats->share != 0)
        printf(", share %s", fb_size_text(stats->share, a));
    if (stats->limit != 0)
        printf(", limit %s", fb_size_text(stats->limit, a));
}

/* How a cache packs, and what that comes to: if it was asked for, or anything was packed. */
static void print_packing(const forebay_cache_stats *stats)
{
    bool is_usual = strcmp(stats->codec, "auto") == 0 && stats->stored_bytes == stats->value_bytes;
    if (is_usual || strcmp(stats->codec, "none") == 0)
        return;
    printf("; %s", stats->codec);
    if (stats->stored_bytes != 0)
        printf(" %.2fx", packing_ratio(stats));
    if (stats->hits != 0)
        printf(", %.0f%% of hits unpacked", 100.0 * (double)stats->packed_hits / (double)stats->hits);
    if (stats->dictionary != 0)
        printf(", dictionary %u of %" PRIu64 " s ago", stats->dictionary, stats->dictionary_age_ms / 1000);
}

static void print_caches(const arena_facts *facts)
{
    fb_print_label("caches");
    printf("%u of %u\n", facts->cache_count, facts->info.cache_count);
    if (facts->cache_count == 0)
        return;
    fb_print_coloured(FB_HEADING, "  %-20s %10s %12s %12s %7s %12s %12s  %s", "name", "entries", "hits", "misses", "ratio",
                      "sets", "evictions", "ttl");
    putchar('\n');
    for (uint32_t i = 0; i < facts->cache_count; i++) {
        const forebay_cache_stats *stats = &facts->caches[i].stats;
        char ratio[16] = "-";
        if (hit_ratio(stats) >= 0)
            snprintf(ratio, sizeof(ratio), "%.1f%%", 100 * hit_ratio(stats));
        fputs("  ", stdout);
        int columns = fb_print_text(facts->caches[i].name);
        printf("%*s %10" PRIu64 " %12" PRIu64 " %12" PRIu64 " %7s %12" PRIu64 " %12" PRIu64 "  ",
               columns < 20 ? 20 - columns : 0, "", stats->entries, stats->hits, stats->misses, ratio,
               stats->sets, stats->evictions);
        print_duration(facts->caches[i].ttl_ms);
        print_quota(stats);
        print_packing(stats);
        putchar('\n');
    }
}

static void print_text(const arena_facts *facts)
{
    print_arena(facts);
    print_rows(facts);
    print_caches(facts);
    fb_limits_print(&facts->limits);
    fb_channels_print(&facts->channels);
    fb_tiers_print(&facts->tiers);
}

static int run(const fb_arguments *arguments)
{
    arena_facts facts = { .path = arguments->positional[0] };
    forebay_arena *arena;
    if (arguments->value[JSON] != NULL && arguments->value[PROMETHEUS] != NULL)
        return fb_usage("--json and --prometheus exclude each other");
    if (!fb_colours_choose(arguments->value[COLOR]))
        return FB_EXIT_USAGE;
    int code = fb_open_sound(facts.path, arguments->value[TRUST] != NULL, &arena);
    if (code != FB_EXIT_OK)
        return code;
    forebay_status status = fb_arena_facts_gather(arena, false, &facts);
    if (status != FOREBAY_OK)
        code = fb_fail_status(facts.path, status, NULL);
    else if (arguments->value[JSON] != NULL)
        print_json(&facts);
    else if (arguments->value[PROMETHEUS] != NULL)
        fb_prometheus_print(&facts);
    else
        print_text(&facts);
    fb_arena_facts_free(&facts);
    forebay_arena_close(arena);
    return code;
}

const fb_command fb_cmd_stat = {
    .name = "stat",
    .synopsis = "PATH [--trust] [--json | --prometheus] [--color WHEN]",
    .summary = "show an arena: its processes, caches, hit ratios, limits, tiers, memory",
    .details = "Show the arena PATH: size, segments, metadata, huge pages, the processes that have it\n"
               "open (this command among them), its caches, its limits with who holds permits of them\n"
               "and who waits, its channels with who listens, its tiers with who leaves them out.\n"
               "Counters are since the arena was made.\n\n"
               "With --prometheus the figures are printed in the text format 0.0.4 of Prometheus, as\n"
               "docs/metrics.md lists them; this command is not counted then. Counters begin at 0\n"
               "again when the arena is made anew, or a cache is dropped and made again: a reset.\n"
               "Write them to a new file and rename that, so that nobody reads half of it:\n\n"
               "  forebay stat PATH --prometheus >metrics.new && mv metrics.new metrics.prom\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
