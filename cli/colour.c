/* SPDX-License-Identifier: Apache-2.0 */
#include "colour.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static bool coloured; /* set once, before anything is printed */

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

/* https://no-color.org; a terminal without a name, or one that is "dumb", shows escapes as text. */
static bool terminal_shows_colours(void)
{
    return isatty(STDOUT_FILENO) && !is_set("NO_COLOR") && is_set("TERM") && strcmp(getenv("TERM"), "dumb") != 0;
}

bool fb_colours_choose(const char *when)
{
    bool is_auto = when == NULL || strcmp(when, "auto") == 0;
    bool is_always = !is_auto && strcmp(when, "always") == 0;
    bool is_known = is_auto || is_always || strcmp(when, "never") == 0;
    coloured = is_always || (is_auto && terminal_shows_colours());
    if (!is_known)
        fb_usage("'%s' says not when to use colours; give auto, always or never", when);
    return is_known;
}

bool fb_has_colours(void)
{
    return coloured;
}

void fb_print_coloured(fb_colour colour, const char *format, ...)
{
    static const char *const begins[] = {
        [FB_HEADING] = "\033[1m", [FB_GOOD] = "\033[32m", [FB_WARNING] = "\033[33m", [FB_BAD] = "\033[1;31m",
    };
    va_list list;
    va_start(list, format);
    if (coloured)
        fputs(begins[colour], stdout);
    vprintf(format, list);
    if (coloured)
        fputs("\033[0m", stdout);
    va_end(list);
}

void fb_print_label(const char *name)
{
    fb_print_coloured(FB_HEADING, "%-12s", name);
}
