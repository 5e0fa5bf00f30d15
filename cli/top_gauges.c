/* SPDX-License-Identifier: Apache-2.0 */
#include "top_gauges.h"

#include <math.h>
#include <stdio.h>

#include "cli.h"
#include "top_text.h"

void fb_gauge_title(top_canvas *canvas, const top_model *model, const top_view *view, const char *clock)
{
    char right[64];
    int length = snprintf(right, sizeof(right), "%severy %gs  %s ", view->is_paused ? "PAUSED  " : "",
                          view->interval, clock);
    fb_canvas_style(canvas, (top_area){ 0, 0, canvas->width, 1 }, TOP_BAR);
    int x = fb_canvas_format(canvas, 1, 0, TOP_BAR, "forebay top  ");
    fb_canvas_text(canvas, x, 0, canvas->width - length - 1 - x, TOP_BAR, model->look.facts.path);
    fb_canvas_right(canvas, canvas->width, 0, TOP_BAR, right);
}

static void draw_trouble(top_canvas *canvas, int y, top_file file, const char *open_failure)
{
    if (file == TOP_FILE_REMOVED)
        fb_canvas_format(canvas, 1, y, TOP_BAD,
                         "REMOVED: the file is gone; those who have it open go on with it");
    else if (open_failure == NULL)
        fb_canvas_format(canvas, 1, y, TOP_BAD,
                         "REPLACED: the path leads to another file by now; o opens that");
    else
        fb_canvas_format(canvas, 1, y, TOP_BAD, "REPLACED; the new file cannot be opened: %s", open_failure);
}

/* Part of the index's slots that entries take; NAN: there is no index. */
static double index_fullness(const top_model *model)
{
    double entries = 0, slots = (double)model->look.facts.info.index_buckets * 8;
    for (uint32_t i = 0; i < model->cache_count; i++)
        entries += (double)model->caches[i].info.stats.entries;
    return slots > 0 ? entries / slots : NAN;
}

void fb_gauge_summary(top_canvas *canvas, int y, const top_model *model, const top_view *view)
{
    const forebay_arena_info *info = &model->look.facts.info;
    char size[FB_SIZE_TEXT], percent[TOP_TEXT];
    if (model->look.file != TOP_FILE_SAME) {
        draw_trouble(canvas, y, model->look.file, view->open_failure);
        return;
    }
    int x =
        fb_canvas_format(canvas, 1, y, TOP_PLAIN, "%s %s  caches %u/%u  rows %u/%u  leases %u/%u  index %s",
                         fb_size_text(info->size, size), info->on_disk ? "on disk" : "in memory",
                         model->cache_count, info->cache_count, model->look.facts.row_count, info->row_count,
                         info->leases_held, info->leases, fb_top_percent(index_fullness(model), percent));
    if (canvas->width >= TOP_WIDE)
        fb_canvas_format(canvas, x, y, TOP_PLAIN, " full  format %u", info->format_version);
}

void fb_gauge_rate(top_canvas *canvas, top_area area, const char *label, const top_history *history)
{
    char text[TOP_TEXT];
    top_area curve = { area.x + TOP_LABEL_WIDTH, area.y, area.width - TOP_LABEL_WIDTH, area.height };
    double most = fb_history_most(history, curve.width);
    int end = area.x + TOP_LABEL_WIDTH - 1;
    fb_canvas_text(canvas, area.x, area.y, TOP_LABEL_WIDTH, TOP_BOLD, label);
    fb_canvas_right(canvas, end, area.y, TOP_BOLD, fb_top_count(fb_history_at(history, 0), text));
    if (area.height > 1) {
        fb_canvas_text(canvas, area.x, area.y + 1, TOP_LABEL_WIDTH, TOP_DIM, "most");
        fb_canvas_right(canvas, end, area.y + 1, TOP_DIM, fb_top_count(most > 0 ? most : NAN, text));
    }
    fb_chart_history(canvas, curve, TOP_GOOD, history, most);
}

void fb_gauge_ratio(top_canvas *canvas, top_area area, const char *label, const top_history *history)
{
    char text[TOP_TEXT];
    fb_canvas_text(canvas, area.x, area.y, TOP_LABEL_WIDTH, TOP_BOLD, label);
    fb_canvas_right(canvas, area.x + TOP_LABEL_WIDTH - 1, area.y, TOP_BOLD,
                    fb_top_percent(fb_history_at(history, 0), text));
    top_area curve = { area.x + TOP_LABEL_WIDTH, area.y, area.width - TOP_LABEL_WIDTH, area.height };
    fb_chart_history(canvas, curve, TOP_PACKED, history, 1);
}

/* "# raw 4.5M  " */
static int legend(top_canvas *canvas, int x, int y, top_style kind, const char *name, double bytes)
{
    char text[TOP_TEXT];
    fb_canvas_put(canvas, x, y, kind, fb_chart_character(canvas, kind));
    return fb_canvas_format(canvas, x + 2, y, TOP_PLAIN, "%s %s", name, fb_top_bytes(bytes, text)) + 2;
}

void fb_gauge_memory(top_canvas *canvas, int y, const top_memory *memory)
{
    const top_part parts[] = {
        { TOP_RAW, memory->raw },       { TOP_PACKED, memory->packed }, { TOP_OLD, memory->old },
        { TOP_TABLES, memory->tables }, { TOP_FREE, memory->free },
    };
    char text[TOP_TEXT];
    double whole = 0;
    for (int i = 0; i < 5; i++)
        whole += parts[i].amount;
    fb_canvas_text(canvas, 1, y, TOP_LABEL_WIDTH, TOP_BOLD, "memory used");
    fb_canvas_right(canvas, TOP_LABEL_WIDTH, y, TOP_BOLD,
                    fb_top_percent(whole > 0 ? 1 - memory->free / whole : NAN, text));
    fb_chart_bar(canvas, 1 + TOP_LABEL_WIDTH, y, canvas->width - 2 - TOP_LABEL_WIDTH, parts, 5, whole);
    int x = legend(canvas, 1, y + 1, TOP_RAW, "raw", memory->raw);
    x = legend(canvas, x, y + 1, TOP_PACKED, "packed", memory->packed);
    x = legend(canvas, x, y + 1, TOP_OLD, "old", memory->old);
    x = legend(canvas, x, y + 1, TOP_TABLES, "tables", memory->tables);
    legend(canvas, x, y + 1, TOP_FREE, "free", memory->free);
}

void fb_gauge_room(top_canvas *canvas, int x, int y, int width, const top_room *room, double most)
{
    const top_part parts[] = { { TOP_RAW, room->raw }, { TOP_PACKED, room->packed } };
    fb_chart_bar(canvas, x, y, width, parts, 2, most);
}
