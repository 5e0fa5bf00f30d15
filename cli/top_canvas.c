/* SPDX-License-Identifier: Apache-2.0 */
#include "top_canvas.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "utf8.h"

#define LINE_BYTES 1024

bool fb_canvas_make(top_canvas *canvas, int width, int height, bool ascii)
{
    fb_canvas_free(canvas);
    size_t count = (size_t)width * (size_t)height;
    top_cell *cells = calloc(count, sizeof(*cells));
    if (cells == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        cells[i].character = ' ';
    *canvas = (top_canvas){ .width = width, .height = height, .ascii = ascii, .cells = cells };
    return true;
}

void fb_canvas_free(top_canvas *canvas)
{
    free(canvas->cells);
    *canvas = (top_canvas){ 0 };
}

static top_cell *cell_at(const top_canvas *canvas, int x, int y)
{
    if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height)
        return NULL;
    return &canvas->cells[(size_t)y * (size_t)canvas->width + (size_t)x];
}

void fb_canvas_put(top_canvas *canvas, int x, int y, top_style style, uint32_t character)
{
    top_cell *cell = cell_at(canvas, x, y);
    if (cell != NULL)
        *cell = (top_cell){ .character = character, .style = style };
}

/* A name in an arena must not drive the terminal, nor shift what stands after it. */
static uint32_t shown_as(const top_canvas *canvas, uint32_t character)
{
    if (character < 0x80)
        return character >= 0x20 && character != 0x7f ? character : '?';
    return !canvas->ascii && wcwidth((wchar_t)character) == 1 ? character : '?';
}

int fb_canvas_text(top_canvas *canvas, int x, int y, int width, top_style style, const char *text)
{
    size_t left = strlen(text);
    int column = 0;
    while (left > 0 && column < width) {
        uint32_t character;
        size_t length = fb_decode_utf8((const unsigned char *)text, left, &character);
        uint32_t shown = length != 0 ? shown_as(canvas, character) : '?';
        fb_canvas_put(canvas, x + column++, y, style, shown);
        length += length == 0;
        text += length;
        left -= length;
    }
    return column;
}

int fb_canvas_format(top_canvas *canvas, int x, int y, top_style style, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    return x + fb_canvas_text(canvas, x, y, canvas->width - x, style, line);
}

void fb_canvas_right(top_canvas *canvas, int end, int y, top_style style, const char *text)
{
    int width = (int)strlen(text); /* of numbers and words of ours */
    fb_canvas_text(canvas, end - width, y, width, style, text);
}

void fb_canvas_style(top_canvas *canvas, top_area area, top_style style)
{
    for (int y = area.y; y < area.y + area.height; y++)
        for (int x = area.x; x < area.x + area.width; x++) {
            top_cell *cell = cell_at(canvas, x, y);
            if (cell != NULL)
                cell->style = style;
        }
}

static void print_character(uint32_t c, FILE *out)
{
    if (c < 0x80) {
        fputc((int)c, out);
    } else if (c < 0x800) {
        fprintf(out, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        fprintf(out, "%c%c%c", (int)(0xe0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3f)),
                (int)(0x80 | (c & 0x3f)));
    } else {
        fprintf(out, "%c%c%c%c", (int)(0xf0 | c >> 18), (int)(0x80 | (c >> 12 & 0x3f)),
                (int)(0x80 | (c >> 6 & 0x3f)), (int)(0x80 | (c & 0x3f)));
    }
}

void fb_canvas_print(const top_canvas *canvas, FILE *out)
{
    for (int y = 0; y < canvas->height; y++) {
        const top_cell *row = &canvas->cells[(size_t)y * (size_t)canvas->width];
        int width = canvas->width;
        while (width > 0 && row[width - 1].character == ' ')
            width--;
        for (int x = 0; x < width; x++)
            print_character(row[x].character, out);
        fputc('\n', out);
    }
}
