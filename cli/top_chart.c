/* SPDX-License-Identifier: Apache-2.0 */
#include "top_chart.h"

#include <math.h>

#define STEPS 8 /* of a character */

void fb_history_add(top_history *history, double value)
{
    history->values[history->count++ % TOP_HISTORY] = value;
}

double fb_history_at(const top_history *history, int back)
{
    if (back >= TOP_HISTORY || (uint64_t)back >= history->count)
        return NAN;
    return history->values[(history->count - 1 - (uint64_t)back) % TOP_HISTORY];
}

double fb_history_most(const top_history *history, int count)
{
    double most = 0;
    for (int back = 0; back < count; back++)
        most = fmax(most, fb_history_at(history, back)); /* of a number and NAN: the number */
    return most;
}

static uint32_t step_character(const top_canvas *canvas, int steps)
{
    return canvas->ascii ? (uint32_t)"_.-:=+*#"[steps - 1]
                         : 0x2580u + (uint32_t)steps; /* lower eighths of a block */
}

static void draw_column(top_canvas *canvas, int x, top_area area, top_style style, double part)
{
    int bottom = area.y + area.height - 1;
    int steps = (int)ceil(fmin(part, 1) * area.height * STEPS);
    if (part <= 0)
        fb_canvas_put(canvas, x, bottom, TOP_DIM, '_');
    for (int y = bottom; y >= area.y && steps > 0; y--, steps -= STEPS)
        fb_canvas_put(canvas, x, y, style, step_character(canvas, steps < STEPS ? steps : STEPS));
}

void fb_chart_history(top_canvas *canvas, top_area area, top_style style, const top_history *history,
                      double most)
{
    for (int back = 0; back < area.width; back++) {
        double value = fb_history_at(history, back);
        if (!isnan(value))
            draw_column(canvas, area.x + area.width - 1 - back, area, style, most > 0 ? value / most : 0);
    }
}

uint32_t fb_chart_character(const top_canvas *canvas, top_style kind)
{
    switch (kind) {
    case TOP_RAW:
        return canvas->ascii ? '#' : 0x2588; /* full block, and three shades of it */
    case TOP_PACKED:
        return canvas->ascii ? '=' : 0x2593;
    case TOP_OLD:
        return canvas->ascii ? '-' : 0x2592;
    case TOP_TABLES:
        return canvas->ascii ? ':' : 0x2591;
    default:
        return canvas->ascii ? '.' : 0xb7;
    }
}

void fb_chart_bar(top_canvas *canvas, int x, int y, int width, const top_part *parts, int count, double whole)
{
    double sum = 0;
    int from = 0;
    for (int i = 0; i < count && whole > 0; i++) {
        sum += parts[i].amount;
        int to = (int)lround(fmin(sum / whole, 1) * width);
        for (; from < to; from++)
            fb_canvas_put(canvas, x + from, y, parts[i].kind, fb_chart_character(canvas, parts[i].kind));
    }
}
