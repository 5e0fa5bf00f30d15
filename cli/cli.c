/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands share: messages, opening an arena, plain text. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *command_name = ""; /* set once, before any thread */

void fb_set_command_name(const char *name)
{
    command_name = name;
}

const char *fb_command_name(void)
{
    return command_name;
}

/* One write for the whole line, so that lines of two processes do not mix. */
static void complain(const char *tail, const char *format, va_list list)
{
    char sentence[1024];
    vsnprintf(sentence, sizeof(sentence), format, list);
    for (char *p = sentence; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?'; /* what was typed or stored must not drive the terminal */
    const char *space = command_name[0] != '\0' ? " " : "";
    fprintf(stderr, "forebay%s%s: %s%s\n", space, command_name, sentence, tail);
}

int fb_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    complain("", format, list);
    va_end(list);
    return FB_EXIT_ERROR;
}

int fb_not_found(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    complain("", format, list);
    va_end(list);
    return FB_EXIT_NOT_FOUND;
}

int fb_usage(const char *format, ...)
{
    char tail[80];
    const char *space = command_name[0] != '\0' ? " " : "";
    snprintf(tail, sizeof(tail), " (see forebay%s%s --help)", space, command_name);
    va_list list;
    va_start(list, format);
    complain(tail, format, list);
    va_end(list);
    return FB_EXIT_USAGE;
}

int fb_fail_status(const char *path, forebay_status status, const forebay_error *error)
{
    bool explained = status < 0 && error != NULL && error->message[0] != '\0';
    if (!explained)
        return fb_fail("%s: %s", path, forebay_status_text(status));
    if (strstr(error->message, path) != NULL)
        return fb_fail("%s", error->message);
    return fb_fail("%s: %s", path, error->message);
}

int fb_open_existing(const char *path, bool trust, forebay_arena **arena_out, forebay_error *error)
{
    forebay_arena_options options = { .trust = trust, .guard = true };
    *error = (forebay_error){ 0 };
    forebay_status status = forebay_arena_open(path, &options, arena_out, error);
    if (status == FOREBAY_OK)
        return FB_EXIT_OK;
    if (status == FOREBAY_CORRUPT)
        return FB_EXIT_NOT_FOUND;
    if (status == FOREBAY_DENIED)
        return fb_fail("%s: %s; add --trust if you trust whoever can write it", path,
                       forebay_status_text(status));
    if (error->os_error == ENOENT || status == FOREBAY_MISS)
        return fb_fail("%s: there is no such file; make an arena with: forebay create", path);
    return fb_fail_status(path, status, error);
}

int fb_open_sound(const char *path, bool trust, forebay_arena **arena_out)
{
    forebay_error error;
    int code = fb_open_existing(path, trust, arena_out, &error);
    return code == FB_EXIT_NOT_FOUND ? fb_fail_status(path, FOREBAY_CORRUPT, &error) : code;
}

bool fb_has_cache(forebay_arena *arena, const char *name)
{
    char found[FOREBAY_NAME_MAX + 1];
    for (uint32_t i = 0; forebay_cache_name_at(arena, i, found); i++)
        if (strcmp(found, name) == 0)
            return true;
    return false;
}

int fb_print_text(const char *text)
{
    int columns = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            columns += printf("\\x%02x", *p);
        } else {
            putchar(*p);
            columns += (*p & 0xc0) != 0x80; /* bytes after a character's first take no column */
        }
    }
    return columns;
}

const char *fb_size_text(uint64_t bytes, char text[FB_SIZE_TEXT])
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
    if (bytes < 1024) {
        snprintf(text, FB_SIZE_TEXT, "%u B", (unsigned)bytes);
        return text;
    }
    double amount = (double)bytes / 1024;
    size_t unit = 0;
    for (; amount >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        amount /= 1024;
    bool whole = amount == (double)(uint64_t)amount;
    snprintf(text, FB_SIZE_TEXT, "%.*f %s", whole ? 0 : 1, amount, units[unit]);
    return text;
}

int fb_finish_output(int code)
{
    errno = 0;
    bool failed = fflush(stdout) != 0;
    int reason = errno;
    if ((!failed && !ferror(stdout)) || reason == EPIPE)
        return code;
    /* An earlier write that failed left no errno; a full disk fails again here. */
    return fb_fail("cannot write the output: %s", reason != 0 ? strerror(reason) : "write error");
}
