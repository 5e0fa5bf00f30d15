/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_H
#define FOREBAY_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/forebay.h>

#include "options.h"

/* What the command ends with; `forebay --help` lists the same. */
enum {
    FB_EXIT_OK = 0,
    FB_EXIT_NOT_FOUND = 1, /* no such cache or key; for verify: the arena is damaged */
    FB_EXIT_USAGE = 2,
    FB_EXIT_ERROR = 3, /* the operating system or the arena said no */
};

/* One subcommand: a constant in its own file, listed in main.c. */
typedef struct fb_command {
    const char *name;
    const char *synopsis; /* its positional arguments, as in the help */
    const char *summary;  /* one line, for the list of commands */
    const char *details;  /* for its own --help; ends with a newline */
    const fb_option *options;
    size_t option_count; /* at most FB_OPTIONS_MAX */
    int arguments_min;   /* positional arguments */
    int arguments_max;
    int (*run)(const fb_arguments *arguments); /* returns an exit code */
    int (*run_raw)(int argc, char **argv);     /* instead of `run`: takes what follows the name, unparsed */
} fb_command;

extern const fb_command fb_cmd_create;
extern const fb_command fb_cmd_stat;
extern const fb_command fb_cmd_top;
extern const fb_command fb_cmd_verify;
extern const fb_command fb_cmd_get;
extern const fb_command fb_cmd_drop;
extern const fb_command fb_cmd_dump;
extern const fb_command fb_cmd_load;
extern const fb_command fb_cmd_bench;
extern const fb_command fb_cmd_demo;

/* Print "forebay NAME: ..." and a newline on stderr, NAME being the command
 * that runs; fb_usage() adds how to get help.  Each returns its exit code. */
int fb_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int fb_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
int fb_not_found(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Say why a call about the arena at `path` failed; returns FB_EXIT_ERROR. */
int fb_fail_status(const char *path, forebay_status status, const forebay_error *error);

/* Name the running command in messages; "" outside any. */
void fb_set_command_name(const char *name);
const char *fb_command_name(void);

/* Open the arena that exists at `path`; never creates one.  FB_EXIT_OK: the
 * caller closes `*arena_out`.  Otherwise the reason was printed, unless it is
 * FB_EXIT_NOT_FOUND: the file is damaged, and `error` says how. */
int fb_open_existing(const char *path, bool trust, forebay_arena **arena_out, forebay_error *error);

/* The same, but a damaged file is printed too and is FB_EXIT_ERROR. */
int fb_open_sound(const char *path, bool trust, forebay_arena **arena_out);

/* Whether the arena has a cache of this name.  Ask before forebay_cache_open()
 * in commands that only look: that call creates what is absent. */
bool fb_has_cache(forebay_arena *arena, const char *name);

/* Write `text` to stdout with control characters as \xNN: a name in an arena
 * must not drive the terminal.  Returns how many columns that took. */
int fb_print_text(const char *text);

/* 1536 -> "1.5 KiB", into `text` and returned. */
#define FB_SIZE_TEXT 32
const char *fb_size_text(uint64_t bytes, char text[FB_SIZE_TEXT]);

/* Flush stdout.  A reader that went away (| head) is no error; a full disk is.
 * Returns `code`, or FB_EXIT_ERROR after saying so. */
int fb_finish_output(int code);

#endif
