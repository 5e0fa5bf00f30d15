/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli.h"
#include "colour.h"
#include "json.h"

enum { TRUST, JSON, COLOR, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [JSON] = { "--json", NULL, "print the result as JSON" },
    [COLOR] = FB_COLOUR_OPTION,
};

typedef struct findings {
    fb_json json;
    bool as_json;
    unsigned count;
} findings;

static void report(void *context, const char *message)
{
    findings *found = context;
    found->count++;
    if (found->as_json) {
        fb_json_string(&found->json, message);
        return;
    }
    fb_print_text(message);
    putchar('\n');
}

static void begin_report(findings *found, const char *path)
{
    if (!found->as_json)
        return;
    fb_json_begin_object(&found->json);
    fb_json_name(&found->json, "path");
    fb_json_string(&found->json, path);
    fb_json_name(&found->json, "violations");
    fb_json_begin_array(&found->json);
}

static int end_report(findings *found, const char *path)
{
    if (found->as_json) {
        fb_json_end_array(&found->json);
        fb_json_name(&found->json, "sound");
        fb_json_bool(&found->json, found->count == 0);
        fb_json_end_object(&found->json);
        fb_json_end(&found->json);
    } else {
        fb_print_text(path);
        fputs(": ", stdout);
        if (found->count == 0)
            fb_print_coloured(FB_GOOD, "sound");
        else
            fb_print_coloured(FB_BAD, "damaged, %u violation%s", found->count, found->count == 1 ? "" : "s");
        putchar('\n');
    }
    return found->count == 0 ? FB_EXIT_OK : FB_EXIT_NOT_FOUND;
}

static int run(const fb_arguments *arguments)
{
    const char *path = arguments->positional[0];
    findings found = { .json = { .out = stdout }, .as_json = arguments->value[JSON] != NULL };
    forebay_arena *arena = NULL;
    forebay_error error;
    if (!fb_colours_choose(arguments->value[COLOR]))
        return FB_EXIT_USAGE;
    int code = fb_open_existing(path, arguments->value[TRUST] != NULL, &arena, &error);
    if (code == FB_EXIT_ERROR)
        return code;
    begin_report(&found, path);
    if (code == FB_EXIT_NOT_FOUND) {
        report(&found, error.message[0] != '\0' ? error.message : forebay_status_text(FOREBAY_CORRUPT));
        return end_report(&found, path);
    }
    forebay_status status = forebay_arena_verify(arena, report, &found);
    if (status == FOREBAY_CORRUPT && found.count == 0)
        report(&found, forebay_status_text(status));
    code = end_report(&found, path);
    forebay_arena_close(arena);
    if (status != FOREBAY_OK && status != FOREBAY_CORRUPT)
        return fb_fail_status(path, status, NULL);
    return code;
}

const fb_command fb_cmd_verify = {
    .name = "verify",
    .synopsis = "PATH [--trust] [--json] [--color WHEN]",
    .summary = "check every invariant of an arena, in use or not",
    .details = "Check the arena PATH against its format and print each violation, at most 100.\n"
               "Processes may go on using it meanwhile. Exit code 0: sound; 1: damaged, or not\n"
               "an arena at all.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
