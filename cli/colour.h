/* SPDX-License-Identifier: Apache-2.0 */
/* Colours of what is printed to standard output, where a terminal shows them. */
#ifndef FOREBAY_CLI_COLOUR_H
#define FOREBAY_CLI_COLOUR_H

#include <stdbool.h>

typedef enum fb_colour { FB_HEADING, FB_GOOD, FB_WARNING, FB_BAD } fb_colour;

/* The option of commands that have colours. */
#define FB_COLOUR_OPTION \
    { "--color", "auto|always|never", "colours; unless given on a terminal only, and not if $NO_COLOR is set" }

/* Decide by what was given with --color; NULL: nothing.  false: it was no such word,
 * which was printed.  Until then nothing has a colour. */
bool fb_colours_choose(const char *when);

/* Whether there are any. */
bool fb_has_colours(void);

/* printf() in this colour, if there are any. */
void fb_print_coloured(fb_colour colour, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What begins a line: `name` as a heading, 12 columns wide. */
void fb_print_label(const char *name);

#endif
