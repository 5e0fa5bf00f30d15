/* SPDX-License-Identifier: Apache-2.0 */
#include "top_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A unit is left for the next before its number would take four digits. */
#define DIGITS_END 999.5

/* Divide by `step` until there are three digits at most; `units`: a letter for each division, the first for none
 * (' ': no letter). */
static const char *scaled(double value, double step, const char *units, char text[TOP_TEXT])
{
    const char *unit = units;
    for (; value >= DIGITS_END && unit[1] != '\0'; unit++)
        value /= step;
    bool whole = value >= 99.95 || (unit == units && value == floor(value));
    int letters = *unit == ' ' ? 0 : 1;
    snprintf(text, TOP_TEXT, "%.*f%.*s", whole ? 0 : 1, value, letters, unit);
    return text;
}

const char *fb_top_count(double value, char text[TOP_TEXT])
{
    if (isnan(value))
        return strcpy(text, "-");
    return scaled(value, 1000, " kMGTP", text);
}

const char *fb_top_bytes(double bytes, char text[TOP_TEXT])
{
    return scaled(bytes, 1024, "BKMGT", text);
}

const char *fb_top_percent(double ratio, char text[TOP_TEXT])
{
    if (isnan(ratio))
        return strcpy(text, "-");
    if (ratio >= 1)
        return strcpy(text, "100%");
    snprintf(text, TOP_TEXT, "%.1f%%", floor(ratio * 1000) / 10); /* down: nearly all is not all */
    return text;
}

const char *fb_top_age(uint64_t ms, char text[TOP_TEXT])
{
    double seconds = (double)ms / 1000;
    if (ms == UINT64_MAX)
        return strcpy(text, "never");
    if (seconds < 10)
        snprintf(text, TOP_TEXT, "%.1fs", floor(seconds * 10) / 10);
    else if (seconds < 120)
        snprintf(text, TOP_TEXT, "%.0fs", floor(seconds));
    else if (seconds < 7200)
        snprintf(text, TOP_TEXT, "%.0fm", floor(seconds / 60));
    else if (seconds < 172800)
        snprintf(text, TOP_TEXT, "%.0fh", floor(seconds / 3600));
    else
        snprintf(text, TOP_TEXT, "%.0fd", floor(seconds / 86400));
    return text;
}
