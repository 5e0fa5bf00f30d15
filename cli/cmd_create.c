/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/stat.h>

#include "cli.h"
#include "json.h"

enum { SIZE, MODE, JSON, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [SIZE] = { "--size", "SIZE", "bytes of the whole arena: 64MiB, 2GiB; required" },
    [MODE] = { "--mode", "MODE", "permissions in octal; 0600 unless given" },
    [JSON] = { "--json", NULL, "print the result as JSON" },
};

static void print_created(forebay_arena *arena, bool as_json)
{
    struct stat facts = { 0 };
    (void)fstat(forebay_arena_fd(arena), &facts);
    uint64_t size = forebay_arena_size(arena);
    if (as_json) {
        fb_json json = { .out = stdout };
        fb_json_begin_object(&json);
        fb_json_name(&json, "path");
        fb_json_string(&json, forebay_arena_path(arena));
        fb_json_name(&json, "size");
        fb_json_unsigned(&json, size);
        fb_json_name(&json, "blocks_bytes");
        fb_json_unsigned(&json, (uint64_t)facts.st_blocks * 512);
        fb_json_name(&json, "max_entry");
        fb_json_unsigned(&json, forebay_arena_max_entry(arena));
        fb_json_end_object(&json);
        fb_json_end(&json);
        return;
    }
    char text[FB_SIZE_TEXT], entry[FB_SIZE_TEXT];
    fb_print_text(forebay_arena_path(arena));
    printf(": an arena of %s; the largest key plus value is %s\n", fb_size_text(size, text),
           fb_size_text(forebay_arena_max_entry(arena), entry));
}

static bool read_options(const fb_arguments *arguments, forebay_arena_options *wanted)
{
    const char *size = arguments->value[SIZE], *mode = arguments->value[MODE];
    if (size == NULL) {
        fb_usage("the option --size is missing; give the bytes of the arena, such as --size 256MiB");
        return false;
    }
    if (!fb_parse_size(size, &wanted->size)) {
        fb_usage("'%s' is no size; write it like 64MiB or 2GiB", size);
        return false;
    }
    if (wanted->size < FOREBAY_ARENA_MIN_SIZE || wanted->size > FOREBAY_ARENA_MAX_SIZE) {
        fb_usage("an arena takes 1MiB to 128GiB, not '%s'", size);
        return false;
    }
    if (mode != NULL && !fb_parse_mode(mode, &wanted->mode)) {
        fb_usage("'%s' is no mode; write octal permissions with which the owner can read and "
                 "write, like 0600 or 0660",
                 mode);
        return false;
    }
    return true;
}

static int run(const fb_arguments *arguments)
{
    const char *path = arguments->positional[0];
    forebay_arena_options wanted = { .create_only = true };
    if (!read_options(arguments, &wanted))
        return FB_EXIT_USAGE;
    forebay_arena *arena = NULL;
    forebay_error error = { 0 };
    forebay_status status = forebay_arena_open(path, &wanted, &arena, &error);
    if (status == FOREBAY_EXISTS)
        return fb_fail("%s is an arena already; look at it with: forebay stat, or remove it with: "
                       "forebay drop",
                       path);
    if (status != FOREBAY_OK)
        return fb_fail_status(path, status, &error);
    print_created(arena, arguments->value[JSON] != NULL);
    forebay_arena_close(arena);
    return FB_EXIT_OK;
}

const fb_command fb_cmd_create = {
    .name = "create",
    .synopsis = "PATH --size SIZE [--mode MODE] [--json]",
    .summary = "make an arena",
    .details = "Make the arena PATH and reserve all its space. A file that is an arena already is\n"
               "left as it is, and an error. On tmpfs (/dev/shm) an arena is memory; on a disk it\n"
               "also survives a reboot.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
