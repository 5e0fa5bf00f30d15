/* SPDX-License-Identifier: Apache-2.0 */
#include "top_pages.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "top_columns.h"
#include "top_gauges.h"
#include "top_panels.h"

#define CURVE_LINES_MIN 3
#define CURVE_LINES_MAX 20
#define MEMORY_LINES 2
#define CACHE_PAGE_LINES 15 /* of the page of a cache, but for its curves */

static int lesser(int a, int b)
{
    return a < b ? a : b;
}

static int greater(int a, int b)
{
    return a > b ? a : b;
}

/* Side by side where it is wide, else one below the other, a third of the lines for the ratio.  Returns the line
 * after them. */
static int draw_curves(top_canvas *canvas, int y, int lines, const char *label, const top_history *rates,
                       const top_history *ratios)
{
    int width = canvas->width - 2, half = (width - 3) / 2;
    if (canvas->width >= TOP_WIDE) {
        fb_gauge_rate(canvas, (top_area){ 1, y, half, lines }, label, rates);
        fb_gauge_ratio(canvas, (top_area){ width - half + 1, y, half, lines }, "hit ratio", ratios);
    } else {
        fb_gauge_rate(canvas, (top_area){ 1, y, width, lines - lines / 3 }, label, rates);
        fb_gauge_ratio(canvas, (top_area){ 1, y + lines - lines / 3, width, lines / 3 }, "hit ratio", ratios);
    }
    return y + lines;
}

/* Lines for each of those who want some: one each in turn, until all are given. */
static void share_lines(int lines, const int *wanted, int *given, int count)
{
    for (int before = -1; lines > 0 && lines != before;) {
        before = lines;
        for (int i = 0; i < count && lines > 0; i++)
            if (given[i] < wanted[i]) {
                given[i]++;
                lines--;
            }
    }
}

/* Processes at the left; limits, channels and tiers one below the other at the right. */
static void draw_bottom(top_canvas *canvas, top_area area, const top_model *model)
{
    int left = area.width / 2 - 1, right_x = area.x + left + 2, right = area.width - left - 2;
    int wanted[] = { fb_panel_limits_lines(model), fb_panel_channels_lines(model), fb_panel_tiers_lines(model) };
    int given[] = { 0, 0, 0 }, y = area.y;
    share_lines(area.height, wanted, given, 3);
    fb_panel_processes(canvas, (top_area){ area.x, area.y, left, area.height }, model);
    fb_panel_limits(canvas, (top_area){ right_x, y, right, given[0] }, model);
    y += given[0];
    fb_panel_channels(canvas, (top_area){ right_x, y, right, given[1] }, model);
    y += given[1];
    fb_panel_tiers(canvas, (top_area){ right_x, y, right, given[2] }, model);
}

static int bottom_lines(const top_model *model)
{
    return greater(fb_panel_processes_lines(model),
                   fb_panel_limits_lines(model) + fb_panel_channels_lines(model) + fb_panel_tiers_lines(model));
}

/* Caches get what the lists below do not need, and half of the lines at least. */
static void draw_lists(top_canvas *canvas, top_area area, const top_model *model, const top_view *view)
{
    int below = bottom_lines(model);
    int caches = lesser(fb_panel_caches_lines(model), greater(area.height - below, area.height / 2));
    fb_panel_caches(canvas, (top_area){ area.x, area.y, area.width, caches }, model, view);
    draw_bottom(canvas,
                (top_area){ area.x, area.y + caches, area.width, lesser(below, area.height - caches) },
                model);
}

/* The curves get what the lists do not need. */
static void draw_arena(top_canvas *canvas, const top_model *model, const top_view *view)
{
    int body = canvas->height - 3, lists = fb_panel_caches_lines(model) + bottom_lines(model);
    int lines = lesser(greater(body - MEMORY_LINES - lists, CURVE_LINES_MIN), CURVE_LINES_MAX);
    int y = draw_curves(canvas, 2, lines, "ops/s", &model->operations, &model->hit_ratio);
    fb_gauge_memory(canvas, y, &model->memory);
    y += MEMORY_LINES;
    draw_lists(canvas, (top_area){ 1, y, canvas->width - 2, canvas->height - 1 - y }, model, view);
}

/* Two figures a line: per second, and since the cache was made. */
static void draw_counts(top_canvas *canvas, int x, int y, const top_cache *cache)
{
    const forebay_cache_stats *stats = &cache->info.stats;
    const struct {
        const char *name;
        double rate, sum;
    } rows[] = {
        { "hits", cache->rates.hits, (double)stats->hits },
        { "misses", cache->rates.misses, (double)stats->misses },
        { "sets", cache->rates.sets, (double)stats->sets },
        { "deletes", cache->rates.deletes, (double)stats->deletes },
        { "evictions", cache->rates.evictions, (double)stats->evictions },
        { "expirations", cache->rates.expirations, (double)stats->expirations },
    };
    char rate[TOP_TEXT], sum[TOP_TEXT];
    fb_canvas_format(canvas, x, y, TOP_HEADING, "%-12s %8s %8s", "", "a second", "in all");
    for (int i = 0; i < (int)(sizeof(rows) / sizeof(rows[0])); i++)
        fb_canvas_format(canvas, x, y + 1 + i, TOP_PLAIN, "%-12s %8s %8s", rows[i].name,
                         fb_top_count(rows[i].rate, rate), fb_top_count(rows[i].sum, sum));
}

static const char *quota_text(uint64_t bytes, char text[FB_SIZE_TEXT])
{
    return bytes != 0 ? fb_size_text(bytes, text) : "none";
}

static void draw_options(top_canvas *canvas, int x, int y, const top_cache *cache)
{
    const forebay_cache_stats *stats = &cache->info.stats;
    char text[FB_SIZE_TEXT], number[TOP_TEXT], age[TOP_TEXT];
    fb_canvas_format(canvas, x, y, TOP_HEADING, "%-38s", "");
    fb_canvas_format(canvas, x, y + 1, TOP_PLAIN, "entries      %s",
                     fb_top_count((double)stats->entries, number));
    fb_canvas_format(canvas, x, y + 2, TOP_PLAIN, "ttl          %s",
                     cache->info.ttl_ms != 0 ? fb_top_age(cache->info.ttl_ms, age) : "for ever");
    fb_canvas_format(canvas, x, y + 3, TOP_PLAIN, "share        %s", quota_text(stats->share, text));
    int end =
        fb_canvas_format(canvas, x, y + 4, TOP_PLAIN, "limit        %s", quota_text(stats->limit, text));
    if ((stats->share | stats->limit) != 0)
        fb_canvas_format(canvas, end, y + 4, TOP_PLAIN, "  has %s", fb_size_text(stats->bytes, text));
    fb_canvas_format(canvas, x, y + 5, TOP_PLAIN, "codec        %s", stats->codec);
    if (stats->dictionary == 0)
        fb_canvas_format(canvas, x, y + 6, TOP_PLAIN, "dictionary   none");
    else
        fb_canvas_format(canvas, x, y + 6, TOP_PLAIN, "dictionary   %u, %.2fx, made %s ago",
                         stats->dictionary, stats->dictionary_ratio / 1000.0,
                         fb_top_age(stats->dictionary_age_ms, age));
}

/* A bar for the cache's entries, its width being what they would take if none was packed. */
static void draw_room(top_canvas *canvas, int y, const top_room *room)
{
    char raw[TOP_TEXT], packed[TOP_TEXT], unpacked[TOP_TEXT];
    int x = 1 + TOP_LABEL_WIDTH;
    fb_canvas_text(canvas, 1, y, TOP_LABEL_WIDTH, TOP_BOLD, "memory");
    fb_canvas_right(canvas, TOP_LABEL_WIDTH, y, TOP_BOLD, fb_top_bytes(room->raw + room->packed, raw));
    fb_gauge_room(canvas, x, y, canvas->width - 1 - x, room, room->raw + room->unpacked);
    fb_canvas_format(canvas, x, y + 1, TOP_PLAIN, "raw %s  packed %s, which would take %s",
                     fb_top_bytes(room->raw, raw), fb_top_bytes(room->packed, packed),
                     fb_top_bytes(room->unpacked, unpacked));
}

static void draw_cache_page(top_canvas *canvas, const top_model *model, const top_view *view)
{
    const top_cache *cache = fb_view_cache(view, model);
    int x = fb_canvas_format(canvas, 1, 2, TOP_BOLD, "cache ");
    fb_canvas_text(canvas, x, 2, canvas->width - x, TOP_BOLD, view->chosen);
    if (cache == NULL) {
        fb_canvas_text(canvas, 1, 4, canvas->width - 1, TOP_BAD, "It was dropped.");
        return;
    }
    int lines = lesser(greater(canvas->height - CACHE_PAGE_LINES, CURVE_LINES_MIN), CURVE_LINES_MAX);
    int y = draw_curves(canvas, 3, lines, "gets/s", &cache->gets, &cache->hit_ratio);
    draw_room(canvas, y, &cache->room);
    draw_counts(canvas, 1, y + 3, cache);
    draw_options(canvas, 37, y + 3, cache);
}

static void draw_help(top_canvas *canvas)
{
    static const char *const lines[] = {
        "up, down, k, j   choose a cache; g, G: the first, the last",
        "enter            go into it; escape, backspace, left: back",
        "s, >, <          sort by the next column, by the one before; r: turn round",
        "p, space         pause: no looks are taken; again: go on",
        "+, -             a longer, a shorter time between looks",
        "o                open the new arena, when the file was replaced",
        "q, Ctrl-C        quit",
        "",
        "MEMORY  raw: entries as they were set; packed: compressed; old: replaced,",
        "deleted and expired ones, whose room is taken back when it is needed; tables:",
        "the index and all else. Estimated from a sample but for tables and free.",
    };
    int count = sizeof(lines) / sizeof(lines[0]);
    for (int i = 0; i < count; i++)
        fb_canvas_format(canvas, 1, 2 + i, TOP_PLAIN, "%s", lines[i]);
    for (int i = 1; i < TOP_COLUMN_COUNT; i++)
        fb_canvas_format(canvas, 1, 2 + count + i, TOP_PLAIN, "%-10s %s", fb_top_columns[i].title,
                         fb_top_columns[i].meaning);
}

static void draw_footer(top_canvas *canvas, const top_view *view)
{
    int y = canvas->height - 1;
    fb_canvas_style(canvas, (top_area){ 0, y, canvas->width, 1 }, TOP_BAR);
    if (view->page == TOP_PAGE_HELP)
        fb_canvas_format(canvas, 1, y, TOP_BAR, "any key: back  q quit");
    else if (view->page == TOP_PAGE_CACHE)
        fb_canvas_format(canvas, 1, y, TOP_BAR,
                         "escape: back  up/down: other caches  p pause  +/- interval  ? help  q quit");
    else
        fb_canvas_format(canvas, 1, y, TOP_BAR,
                         "up/down  enter: open  s sort: %s  p pause  +/- interval  ? help  q quit",
                         fb_top_columns[view->column].name);
}

void fb_page_draw(top_canvas *canvas, const top_model *model, const top_view *view, const char *clock)
{
    if (canvas->width < TOP_WIDTH_MIN || canvas->height < TOP_HEIGHT_MIN) {
        fb_canvas_format(canvas, 0, 0, TOP_PLAIN, "needs %dx%d", TOP_WIDTH_MIN, TOP_HEIGHT_MIN);
        return;
    }
    fb_gauge_title(canvas, model, view, clock);
    draw_footer(canvas, view);
    if (view->page == TOP_PAGE_HELP) {
        draw_help(canvas);
        return;
    }
    fb_gauge_summary(canvas, 1, model, view);
    if (view->page == TOP_PAGE_CACHE)
        draw_cache_page(canvas, model, view);
    else
        draw_arena(canvas, model, view);
}
