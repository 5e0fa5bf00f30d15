/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_OPTIONS_H
#define FOREBAY_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FB_OPTIONS_MAX 12
#define FB_POSITIONAL_MAX 4

typedef struct fb_option {
    const char *name;  /* as typed: "--size" */
    const char *value; /* the word for its value in the help; NULL: a switch */
    const char *help;
} fb_option;

/* What was typed after a subcommand's name; the strings are those of argv. */
typedef struct fb_arguments {
    const char *positional[FB_POSITIONAL_MAX];
    int positional_count;
    const char *value[FB_OPTIONS_MAX]; /* by index in the options; NULL: not given; "": a switch, given */
    bool help;                         /* --help or -h was among them: nothing else counts */
} fb_arguments;

struct fb_command;

/* Sort `argv` into `arguments` after the command's table.  "--" ends the
 * options; "-5" is an argument, not an option.  false: the mistake was printed,
 * with the nearest option where there is one. */
bool fb_parse_arguments(const struct fb_command *command, int argc, char **argv, fb_arguments *arguments);

/* The name in `names` that `typed` was probably meant to be, or NULL. */
const char *fb_nearest(const char *typed, const char *const *names, size_t count);

/* "64MiB" (KiB = 1024), "64MB" (kB = 1000), "1.5 GiB", "65536"; case does not
 * matter.  false: not a size, or more than 64 bits. */
bool fb_parse_size(const char *text, uint64_t *bytes_out);

/* Decimal digits only, within minimum..maximum. */
bool fb_parse_count(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *count_out);

/* Seconds, fractions allowed, above 0 and at most `maximum`. */
bool fb_parse_seconds(const char *text, double maximum, double *seconds_out);

/* Octal permissions, "0600" or "600", that let the owner read and write. */
bool fb_parse_mode(const char *text, mode_t *mode_out);

#endif
