/* SPDX-License-Identifier: Apache-2.0 */
#include "top_panels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "top_columns.h"
#include "top_gauges.h"

#define NAME_LEAST 14
#define COLUMN_WIDTH 8 /* with the blank before it */
#define BAR_LEAST 8
#define CURVE_LEAST 10
#define TIER_USERS_WIDTH 11 /* "12, 10 read" */
#define TIER_HIT_WIDTH 8 /* with a blank before it and two after it */

/* One line for "none", so that an empty list is seen to be one. */
static int lines_of(uint32_t count)
{
    return 1 + (int)(count != 0 ? count : 1);
}

int fb_panel_caches_lines(const top_model *model)
{
    return lines_of(model->cache_count);
}

int fb_panel_processes_lines(const top_model *model)
{
    return lines_of(model->process_count);
}

int fb_panel_limits_lines(const top_model *model)
{
    return lines_of(model->look.facts.limits.count);
}

int fb_panel_channels_lines(const top_model *model)
{
    return lines_of(model->look.facts.channels.count);
}

int fb_panel_tiers_lines(const top_model *model)
{
    return model->look.facts.tiers.count != 0 ? lines_of(model->look.facts.tiers.count) : 0;
}

static void heading(top_canvas *canvas, top_area area, const char *text)
{
    if (area.height == 0)
        return;
    fb_canvas_style(canvas, (top_area){ area.x, area.y, area.width, 1 }, TOP_HEADING);
    fb_canvas_text(canvas, area.x, area.y, area.width, TOP_HEADING, text);
}

/* How many of `count` lines have room below the heading, a line being kept for "... more" if not all have;
 * writes that line, and "none". */
static uint32_t lines_shown(top_canvas *canvas, top_area area, uint32_t count)
{
    char text[32];
    uint32_t room = area.height > 1 ? (uint32_t)area.height - 1 : 0;
    if (count == 0 && room > 0)
        fb_canvas_text(canvas, area.x + 2, area.y + 1, area.width - 2, TOP_DIM, "none");
    if (count <= room)
        return count;
    uint32_t shown = room > 0 ? room - 1 : 0;
    snprintf(text, sizeof(text), "... %u more", count - shown);
    if (room > 0)
        fb_canvas_text(canvas, area.x + 2, area.y + area.height - 1, area.width - 2, TOP_DIM, text);
    return shown;
}

/* Where the parts of a line of the list of caches stand. */
typedef struct cache_lines {
    int name_width;
    int numbers_x;
    int column_width;
    int bar_x, bar_width; /* 0: there is no room for it */
    int curve_x, curve_width;
    bool has_column[TOP_COLUMN_COUNT];
} cache_lines;

/* Columns as long as they leave room for a name.  Returns how wide they are together. */
static int choose_columns(const top_canvas *canvas, top_area area, cache_lines *lines)
{
    bool is_wide = canvas->width >= TOP_WIDE;
    int width = 0;
    lines->column_width = is_wide ? COLUMN_WIDTH + 1 : COLUMN_WIDTH;
    for (int i = 1; i < TOP_COLUMN_COUNT; i++) {
        bool fits = 2 + NAME_LEAST + width + lines->column_width <= area.width;
        lines->has_column[i] = fits && (is_wide || !fb_top_columns[i].wide_only);
        width += lines->has_column[i] ? lines->column_width : 0;
    }
    return width;
}

static cache_lines lay_out_caches(const top_canvas *canvas, top_area area)
{
    cache_lines lines = { 0 };
    int numbers = choose_columns(canvas, area, &lines), left = area.width - 2 - numbers;
    lines.name_width = left / 3 > NAME_LEAST ? left / 3 : NAME_LEAST;
    lines.numbers_x = area.x + 2 + lines.name_width;
    lines.bar_x = lines.numbers_x + numbers + 2;
    left -= lines.name_width + 2;
    if (left >= BAR_LEAST + 2 + CURVE_LEAST)
        lines.curve_width = left / 2 - 1;
    if (left >= BAR_LEAST)
        lines.bar_width = left - (lines.curve_width != 0 ? lines.curve_width + 2 : 0);
    lines.curve_x = lines.bar_x + lines.bar_width + 2;
    return lines;
}

static void draw_caches_heading(top_canvas *canvas, top_area area, const cache_lines *lines,
                                const top_view *view)
{
    char text[TOP_TEXT];
    int end = lines->numbers_x;
    heading(canvas, area, view->column == 0 ? "  CACHE*" : "  CACHE");
    for (int i = 1; i < TOP_COLUMN_COUNT; i++) {
        if (!lines->has_column[i])
            continue;
        end += lines->column_width;
        snprintf(text, sizeof(text), "%s%s", fb_top_columns[i].title, i == view->column ? "*" : "");
        fb_canvas_right(canvas, end, area.y, TOP_HEADING, text);
    }
    fb_canvas_text(canvas, lines->bar_x, area.y, lines->bar_width, TOP_HEADING, "MEMORY");
    fb_canvas_text(canvas, lines->curve_x, area.y, lines->curve_width, TOP_HEADING, "GETS/s");
}

/* `most`: bytes that fill the bar. */
static void draw_cache(top_canvas *canvas, int x, int y, const cache_lines *lines, const top_cache *cache,
                       double most)
{
    char text[TOP_TEXT];
    int end = lines->numbers_x;
    fb_canvas_text(canvas, x + 2, y, lines->name_width, TOP_PLAIN, cache->info.name);
    for (int i = 1; i < TOP_COLUMN_COUNT; i++) {
        const top_column *column = &fb_top_columns[i];
        if (!lines->has_column[i])
            continue;
        end += lines->column_width;
        fb_canvas_right(canvas, end, y, TOP_PLAIN, column->text(column->value(cache), text));
    }
    fb_gauge_room(canvas, lines->bar_x, y, lines->bar_width, &cache->room, most);
    fb_chart_history(canvas, (top_area){ lines->curve_x, y, lines->curve_width, 1 }, TOP_GOOD, &cache->gets,
                     fb_history_most(&cache->gets, lines->curve_width));
}

static double largest_room(const top_model *model)
{
    double most = 0;
    for (uint32_t i = 0; i < model->cache_count; i++)
        most = fmax(most, model->caches[i].room.raw + model->caches[i].room.packed);
    return most;
}

static void draw_caches(top_canvas *canvas, top_area area, const top_model *model, const top_view *view,
                        const uint32_t *order)
{
    cache_lines lines = lay_out_caches(canvas, area);
    draw_caches_heading(canvas, area, &lines, view);
    double most = largest_room(model);
    uint32_t shown = lines_shown(canvas, area, model->cache_count);
    int chosen = fb_view_position(view, model, order);
    uint32_t first = chosen >= 0 && (uint32_t)chosen >= shown ? (uint32_t)chosen - shown + 1 : 0;
    for (uint32_t i = 0; i < shown; i++) {
        int y = area.y + 1 + (int)i;
        draw_cache(canvas, area.x, y, &lines, &model->caches[order[first + i]], most);
        if ((int)(first + i) == chosen) {
            fb_canvas_put(canvas, area.x, y, TOP_CHOSEN, '>');
            fb_canvas_style(canvas, (top_area){ area.x, y, lines.bar_x - area.x, 1 }, TOP_CHOSEN);
        }
    }
}

void fb_panel_caches(top_canvas *canvas, top_area area, const top_model *model, const top_view *view)
{
    uint32_t *order = calloc(model->cache_count + 1, sizeof(*order));
    if (order == NULL)
        return;
    fb_columns_order(model, view->column, view->reverse, order);
    draw_caches(canvas, area, model, view, order);
    free(order);
}

/* What there is to say of a process beside its numbers; what may be cut off comes last. */
static void describe_process(const top_process *process, char *text, size_t size)
{
    char dead[24] = "", tiers[32] = "";
    if (process->dead_rows != 0)
        snprintf(dead, sizeof(dead), "  %u dead", process->dead_rows);
    if (process->tiers_left_out != 0)
        snprintf(tiers, sizeof(tiers), "  %u tier%s out", process->tiers_left_out, process->tiers_left_out == 1 ? "" : "s");
    snprintf(text, size, "%s%s%s%s", dead, tiers, process->listens ? "  listens" : "",
             process->is_self ? "  this one" : "");
}

void fb_panel_processes(top_canvas *canvas, top_area area, const top_model *model)
{
    heading(canvas, area, "  PROCESS ROWS HOLDS WAITS");
    uint32_t shown = lines_shown(canvas, area, model->process_count);
    for (uint32_t i = 0; i < shown; i++) {
        const top_process *process = &model->processes[i];
        char text[64], line[128];
        describe_process(process, text, sizeof(text));
        snprintf(line, sizeof(line), "%9d %4u %5u %5u%s", (int)process->pid,
                 process->rows + process->dead_rows, process->held, process->waiting, text);
        fb_canvas_text(canvas, area.x, area.y + 1 + (int)i, area.width,
                       process->rows == 0 ? TOP_WARNING : TOP_PLAIN, line);
    }
}

static void draw_limit(top_canvas *canvas, top_area line, const forebay_limit_info *limit)
{
    char text[48];
    int name = line.width / 3, bar = line.width / 4;
    const top_part parts[] = { { TOP_RAW, limit->held }, { TOP_FREE, (double)limit->most - limit->held } };
    fb_canvas_text(canvas, line.x + 2, line.y, name, TOP_PLAIN, limit->name);
    fb_chart_bar(canvas, line.x + name + 3, line.y, bar, parts, 2, limit->most);
    snprintf(text, sizeof(text), " %u/%u%s", limit->held, limit->most, limit->waiting != 0 ? ", " : "");
    int x = line.x + name + 3 + bar;
    x += fb_canvas_text(canvas, x, line.y, line.x + line.width - x, TOP_PLAIN, text);
    snprintf(text, sizeof(text), "%u wait", limit->waiting);
    if (limit->waiting != 0)
        fb_canvas_text(canvas, x, line.y, line.x + line.width - x, TOP_WARNING, text);
}

void fb_panel_limits(top_canvas *canvas, top_area area, const top_model *model)
{
    const limits_facts *limits = &model->look.facts.limits;
    heading(canvas, area, "  LIMIT OF POOLS");
    uint32_t shown = lines_shown(canvas, area, limits->count);
    for (uint32_t i = 0; i < shown; i++)
        draw_limit(canvas, (top_area){ area.x, area.y + 1 + (int)i, area.width, 1 }, &limits->limits[i].info);
}

/* "heard 0.2s ago by 1". */
static void describe_channel(const forebay_channel_info *channel, char *text, size_t size)
{
    char age[TOP_TEXT];
    uint32_t listeners = fb_channel_listeners(channel);
    const char *ago = channel->age_ms != UINT64_MAX ? " ago" : "";
    fb_top_age(channel->age_ms, age);
    if (listeners == 0)
        snprintf(text, size, "nobody, heard %s%s", age, ago);
    else
        snprintf(text, size, "heard %s%s by %u", age, ago, listeners);
}

void fb_panel_channels(top_canvas *canvas, top_area area, const top_model *model)
{
    const channels_facts *channels = &model->look.facts.channels;
    heading(canvas, area, "  CHANNEL");
    uint32_t shown = lines_shown(canvas, area, channels->count);
    for (uint32_t i = 0; i < shown; i++) {
        const forebay_channel_info *channel = &channels->channels[i];
        char text[64];
        int y = area.y + 1 + (int)i, name = area.width / 3;
        describe_channel(channel, text, sizeof(text));
        fb_canvas_text(canvas, area.x + 2, y, name, TOP_PLAIN, channel->name);
        fb_canvas_text(canvas, area.x + name + 3, y, area.width - name - 3,
                       fb_channel_listeners(channel) == 0 ? TOP_BAD : TOP_PLAIN, text);
    }
}

/* Without the scheme of a URL, which says less than the room it takes. */
static const char *short_name(const char *name)
{
    const char *after = strstr(name, "://");
    return after != NULL && after[3] != '\0' ? after + 3 : name;
}

static top_style style_of_tier(const forebay_tier_info *tier)
{
    if (tier->users == 0)
        return TOP_DIM;
    if (tier->left_out != 0)
        return TOP_BAD;
    return tier->not_stored != 0 ? TOP_WARNING : TOP_PLAIN;
}

/* "4, 1 out" */
static void describe_users(const forebay_tier_info *tier, char *text, size_t size)
{
    if (tier->users == 0)
        snprintf(text, size, "nobody");
    else if (tier->left_out != 0)
        snprintf(text, size, "%u, %u out", tier->users, tier->left_out);
    else if (tier->not_stored != 0)
        snprintf(text, size, "%u, %u read", tier->users, tier->not_stored);
    else
        snprintf(text, size, "%u", tier->users);
}

/* Where the parts of a line of the list of tiers stand. */
typedef struct tier_lines {
    int name_width;
    int hit_end; /* 0: there is no room for it */
    int users_x;
} tier_lines;

static tier_lines lay_out_tiers(top_area area)
{
    tier_lines lines = { .users_x = area.x + area.width - TIER_USERS_WIDTH };
    lines.name_width = area.width - 2 - TIER_USERS_WIDTH - TIER_HIT_WIDTH;
    if (lines.name_width >= NAME_LEAST)
        lines.hit_end = lines.users_x - 2;
    else
        lines.name_width += TIER_HIT_WIDTH - 1;
    return lines;
}

static void draw_tier(top_canvas *canvas, int x, int y, const tier_lines *lines, const forebay_tier_info *tier,
                      const top_tier_rates *rates)
{
    char text[32], percent[TOP_TEXT];
    double asked = rates->hits + rates->misses;
    fb_canvas_text(canvas, x + 2, y, lines->name_width, TOP_PLAIN, short_name(tier->name));
    if (lines->hit_end != 0)
        fb_canvas_right(canvas, lines->hit_end, y, TOP_PLAIN, fb_top_percent(asked > 0 ? rates->hits / asked : NAN, percent));
    describe_users(tier, text, sizeof(text));
    fb_canvas_text(canvas, lines->users_x, y, TIER_USERS_WIDTH, style_of_tier(tier), text);
}

void fb_panel_tiers(top_canvas *canvas, top_area area, const top_model *model)
{
    const tiers_facts *tiers = &model->look.facts.tiers;
    if (area.height == 0)
        return;
    tier_lines lines = lay_out_tiers(area);
    heading(canvas, area, "  TIER");
    if (lines.hit_end != 0)
        fb_canvas_right(canvas, lines.hit_end, area.y, TOP_HEADING, "HIT");
    fb_canvas_text(canvas, lines.users_x, area.y, TIER_USERS_WIDTH, TOP_HEADING, "USED BY");
    uint32_t shown = lines_shown(canvas, area, tiers->count);
    for (uint32_t i = 0; i < shown; i++)
        draw_tier(canvas, area.x, area.y + 1 + (int)i, &lines, &tiers->tiers[i].info, &model->tiers[i]);
}
