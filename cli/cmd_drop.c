/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"

enum { LIMIT, CHANNEL, FORCE, TRUST, JSON, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [LIMIT] = { "--limit", "NAME", "remove this limit, of which nobody may hold permits" },
    [CHANNEL] = { "--channel", "NAME", "remove this channel, which nobody may listen to" },
    [FORCE] = { "--force", NULL, "remove the file though processes have it open" },
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [JSON] = { "--json", NULL, "print the result as JSON" },
};

/* `what` of the name was dropped; without a name, the file. */
static void print_dropped(const char *path, const char *what, const char *name, bool as_json)
{
    if (as_json) {
        fb_json json = { .out = stdout };
        fb_json_begin_object(&json);
        fb_json_name(&json, "path");
        fb_json_string(&json, path);
        fb_json_name(&json, what);
        if (name != NULL)
            fb_json_string(&json, name);
        else
            fb_json_null(&json);
        fb_json_name(&json, "dropped");
        fb_json_bool(&json, true);
        fb_json_end_object(&json);
        fb_json_end(&json);
        return;
    }
    fb_print_text(path);
    if (name != NULL) {
        printf(": dropped the %s '", what);
        fb_print_text(name);
        puts("'");
    } else {
        puts(": removed");
    }
}

static int drop_cache(forebay_arena *arena, const char *path, const char *cache, bool as_json)
{
    forebay_status status = forebay_cache_drop(arena, cache);
    if (status == FOREBAY_MISS || !*cache || strlen(cache) > FOREBAY_NAME_MAX)
        return fb_not_found("%s has no cache '%s'; list them with: forebay stat", path, cache);
    if (status != FOREBAY_OK)
        return fb_fail_status(path, status, NULL);
    print_dropped(path, "cache", cache, as_json);
    return FB_EXIT_OK;
}

static int refuse_limit_in_use(forebay_arena *arena, const char *path, const char *limit)
{
    forebay_limit_share share = { 0 };
    uint32_t users = forebay_limit_shares(arena, limit, &share, 1);
    if (users == 0)
        return fb_fail("%s: the limit '%s' was in use just now; try again", path, limit);
    return fb_fail("%s: the limit '%s' is in use: process %d holds %u permits and waits for %u%s; close its pools first", path,
                   limit, (int)share.pid, share.held, share.waiting, users > 1 ? ", and there are others" : "");
}

static int drop_limit(forebay_arena *arena, const char *path, const char *limit, bool as_json)
{
    forebay_status status = forebay_limit_drop(arena, limit);
    if (status == FOREBAY_MISS || !*limit || strlen(limit) > FOREBAY_NAME_MAX)
        return fb_not_found("%s has no limit '%s'; list them with: forebay stat", path, limit);
    if (status == FOREBAY_BUSY)
        return refuse_limit_in_use(arena, path, limit);
    if (status != FOREBAY_OK)
        return fb_fail_status(path, status, NULL);
    print_dropped(path, "limit", limit, as_json);
    return FB_EXIT_OK;
}

static int refuse_channel_in_use(forebay_arena *arena, const char *path, const char *channel)
{
    forebay_channel_info info;
    for (uint32_t i = 0; forebay_channel_at(arena, i, &info); i++) {
        int32_t pid = info.pids[0] != 0 ? info.pids[0] : info.pids[1];
        if (strcmp(info.name, channel) == 0 && pid != 0)
            return fb_fail("%s: process %d listens to the channel '%s'; stop it first", path, (int)pid, channel);
    }
    return fb_fail("%s: somebody listened to the channel '%s' just now; try again", path, channel);
}

static int drop_channel(forebay_arena *arena, const char *path, const char *channel, bool as_json)
{
    forebay_status status = forebay_channel_drop(arena, channel);
    if (status == FOREBAY_MISS || !*channel || strlen(channel) > FOREBAY_NAME_MAX)
        return fb_not_found("%s has no channel '%s'; list them with: forebay stat", path, channel);
    if (status == FOREBAY_BUSY)
        return refuse_channel_in_use(arena, path, channel);
    if (status != FOREBAY_OK)
        return fb_fail_status(path, status, NULL);
    print_dropped(path, "channel", channel, as_json);
    return FB_EXIT_OK;
}

/* Live handles but this command's own; `*pid_out` is one of theirs. */
static int other_users(forebay_arena *arena, int32_t *pid_out)
{
    forebay_arena_info info;
    if (forebay_arena_get_info(arena, &info) != FOREBAY_OK)
        return 0;
    forebay_row_info *rows = calloc(info.row_count + 1, sizeof(*rows));
    if (rows == NULL)
        return 1; /* unknown: play safe */
    uint32_t used = forebay_arena_rows(arena, rows, info.row_count);
    int others = 0;
    bool own_seen = false; /* one row only: in another PID namespace the same number is someone else */
    for (uint32_t i = 0; i < used && i < info.row_count; i++) {
        if (!rows[i].alive)
            continue;
        if (!own_seen && rows[i].pid == getpid()) {
            own_seen = true;
            continue;
        }
        others++;
        *pid_out = rows[i].pid;
    }
    free(rows);
    return others;
}

static int refuse_in_use(const char *path, int others, int32_t pid)
{
    if (others == 1)
        return fb_fail("%s is open in process %d; stop it first, or use --force (it would go on "
                       "with the removed file)",
                       path, (int)pid);
    return fb_fail("%s is open in %d other processes, %d among them; stop them first, or use "
                   "--force (they would go on with the removed file)",
                   path, others, (int)pid);
}

/* Unlink what `path` leads to, if it still is the file that was looked at. */
static int remove_file(forebay_arena *arena, const char *path)
{
    char *target = realpath(path, NULL); /* the file takes the space, not a link to it */
    if (target == NULL)
        return fb_fail("%s: %s", path, strerror(errno));
    struct stat opened, named;
    int code = FB_EXIT_OK;
    if (fstat(forebay_arena_fd(arena), &opened) != 0 || stat(target, &named) != 0)
        code = fb_fail("%s: %s", path, strerror(errno));
    else if (opened.st_dev != named.st_dev || opened.st_ino != named.st_ino)
        code = fb_fail("%s was replaced by another file just now; look again with: forebay stat", path);
    else if (unlink(target) != 0)
        code = fb_fail("cannot remove %s: %s", target, strerror(errno));
    free(target);
    return code;
}

static int run(const fb_arguments *arguments)
{
    const char *path = arguments->positional[0], *cache = arguments->positional[1], *limit = arguments->value[LIMIT];
    const char *channel = arguments->value[CHANNEL];
    bool as_json = arguments->value[JSON] != NULL;
    forebay_arena *arena;
    if ((cache != NULL) + (limit != NULL) + (channel != NULL) > 1)
        return fb_usage("drop a cache, a limit or a channel, one at once");
    int code = fb_open_sound(path, arguments->value[TRUST] != NULL, &arena);
    if (code != FB_EXIT_OK)
        return code;
    int32_t pid = 0;
    int others = cache == NULL && limit == NULL && channel == NULL ? other_users(arena, &pid) : 0;
    if (cache != NULL) {
        code = drop_cache(arena, path, cache, as_json);
    } else if (limit != NULL) {
        code = drop_limit(arena, path, limit, as_json);
    } else if (channel != NULL) {
        code = drop_channel(arena, path, channel, as_json);
    } else if (others > 0 && arguments->value[FORCE] == NULL) {
        code = refuse_in_use(path, others, pid);
    } else {
        code = remove_file(arena, path);
        if (code == FB_EXIT_OK)
            print_dropped(path, "cache", NULL, as_json);
    }
    forebay_arena_close(arena);
    return code;
}

const fb_command fb_cmd_drop = {
    .name = "drop",
    .synopsis = "PATH [CACHE] [--limit NAME] [--channel NAME] [--force] [--trust] [--json]",
    .summary = "remove one cache, limit or channel of an arena, or the arena",
    .details = "Remove the cache CACHE and all its entries from the arena PATH; or the limit NAME:\n"
               "only while no process holds a permit of it or waits for one; or the channel NAME: only\n"
               "while no process listens to it; caches that follow it find nothing from then on.\n"
               "Without any of them remove the file: only if it is an arena, and only while no other\n"
               "process has it open, unless --force is given. Processes that have it open go on with\n"
               "the removed file and its memory until they close it.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 2,
    .run = run,
};
