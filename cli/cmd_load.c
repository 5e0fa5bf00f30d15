/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "dump_record.h"
#include "interrupt.h"
#include "json.h"
#include "json_pack.h"
#include "record_stream.h"

/* Bytes of JSON for one of MessagePack, at most: an empty $bytes in an array has 2 bytes. */
#define JSON_PER_BYTE 8
#define RECORD_ROOM ((size_t)64 << 10) /* besides the value: the key, as hexadecimal digits perhaps, and names */
#define COMPLAINTS_MAX 10              /* with --skip-bad; more are only counted */

enum { CACHE, FORMAT, NO_REPLACE, SKIP_BAD, TRUST, JSON, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [CACHE] = { "--cache", "CACHE", "of the dump this cache only; where it names none, into this one" },
    [FORMAT] = { "--format", "jsonl|msgpack", "of the dump; its first byte tells, unless given" },
    [NO_REPLACE] = { "--no-replace", NULL, "leave entries that are there as they are" },
    [SKIP_BAD] = { "--skip-bad", NULL, "go on after what cannot be loaded, and count it" },
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [JSON] = { "--json", NULL, "print what was done as JSON" },
};

typedef struct load {
    const char *path; /* of the arena */
    const char *only; /* the cache that is wanted; NULL: all */
    bool no_replace, skip_bad;
    forebay_arena *arena;
    fb_record_stream stream;
    fb_packer packed;  /* a line of JSON as MessagePack */
    fb_record record;
    fb_record options; /* the cache record that counts now; no name: none came */
    bool wanted;       /* its entries are to be loaded */
    forebay_cache *cache; /* NULL: to be opened, with this version: */
    uint32_t version;
    bool has_header, has_end;
    uint64_t seen;     /* entries since the header, bad ones too */
    uint64_t loaded, kept, expired, bad, tagged, passed_over;
    int code;          /* FB_EXIT_OK: go on */
} load;

/* A record cannot be loaded: say where and why, and end unless that is to be skipped. */
static void refuse(load *l, const char *reason, size_t at)
{
    l->bad++;
    if (!l->skip_bad)
        l->code = FB_EXIT_ERROR;
    else if (l->bad > COMPLAINTS_MAX)
        return;
    if (l->stream.format == FB_DUMP_MSGPACK)
        fb_fail("record %" PRIu64 " (byte %" PRIu64 "): %s", l->stream.number, l->stream.offset, reason);
    else if (at != 0)
        fb_fail("line %" PRIu64 ", column %zu: %s", l->stream.number, at, reason);
    else
        fb_fail("line %" PRIu64 ": %s", l->stream.number, reason);
}

/* ---- caches ---- */

static void close_cache(load *l)
{
    if (l->cache != NULL)
        forebay_cache_close(l->cache);
    l->cache = NULL;
}

static forebay_status open_as_it_is(load *l, forebay_error *error)
{
    forebay_cache_options stored = { .ttl_ms = FOREBAY_TTL_STORED, .version = l->version };
    return forebay_cache_open(l->arena, l->options.name, &stored, &l->cache, error);
}

/* As the dump says; without its quotas where the arena cannot keep those. */
static forebay_status create_cache(load *l, forebay_error *error)
{
    const fb_record *wanted = &l->options;
    forebay_cache_options made = {
        .ttl_ms = wanted->ttl_ms != 0 ? wanted->ttl_ms : FOREBAY_TTL_FOREVER,
        .version = l->version,
        .share = wanted->share != 0 ? wanted->share : FOREBAY_QUOTA_NONE,
        .limit = wanted->limit != 0 ? wanted->limit : FOREBAY_QUOTA_NONE,
        .codec = wanted->codec[0] != '\0' ? wanted->codec : NULL,
    };
    forebay_status status = forebay_cache_open(l->arena, wanted->name, &made, &l->cache, error);
    if (status != FOREBAY_INVALID || (wanted->share | wanted->limit) == 0)
        return status;
    made.share = made.limit = FOREBAY_QUOTA_NONE;
    status = forebay_cache_open(l->arena, wanted->name, &made, &l->cache, error);
    if (status == FOREBAY_OK)
        fb_fail("the cache '%s' is made without its share and limit, which this arena cannot keep", wanted->name);
    return status;
}

/* Open the cache that counts now for entries of this version, making it if need be. */
static bool open_cache(load *l, uint32_t version)
{
    if (l->cache != NULL && l->version == version)
        return true;
    close_cache(l);
    l->version = version;
    forebay_error error = { 0 };
    bool is_there = fb_has_cache(l->arena, l->options.name);
    forebay_status status = is_there ? open_as_it_is(l, &error) : create_cache(l, &error);
    if (status == FOREBAY_CONFLICT) /* another process made it just now */
        status = open_as_it_is(l, &error);
    if (status != FOREBAY_OK)
        l->code = fb_fail_status(l->path, status, &error);
    return status == FOREBAY_OK;
}

/* ---- records ---- */

static void take_header(load *l)
{
    if (l->record.number != FB_DUMP_VERSION)
        l->code = fb_fail("the dump has version %" PRIu64 ", this command reads %d", l->record.number, FB_DUMP_VERSION);
    l->has_header = true;
    l->has_end = false;
    l->seen = 0;
}

static void take_cache(load *l)
{
    close_cache(l);
    l->options = l->record;
    l->wanted = l->only == NULL || strcmp(l->only, l->record.name) == 0;
    if (l->wanted)
        (void)open_cache(l, 0);
}

static void store(load *l, uint64_t ttl_ms)
{
    const fb_record *record = &l->record;
    forebay_set_options how = { .ttl_ms = ttl_ms, .mode = l->no_replace ? FOREBAY_ADD : FOREBAY_SET };
    forebay_status status = forebay_set_with(l->cache, record->key, record->key_length, record->value,
                                             record->value_length, record->kind, &how);
    switch (status) {
    case FOREBAY_OK:
        l->loaded++;
        l->tagged += record->tag_count != 0;
        break;
    case FOREBAY_EXISTS:
        l->kept++;
        break;
    case FOREBAY_TOOBIG:
    case FOREBAY_FULL:
        refuse(l, forebay_status_text(status), 0);
        break;
    default:
        l->code = fb_fail_status(l->path, status, NULL);
    }
}

static void take_entry(load *l)
{
    l->seen++;
    uint64_t expires_ms = l->record.expires_ms, now_ms = fb_unix_ms();
    if (l->options.name[0] == '\0')
        refuse(l, "no cache was named before this entry; give --cache CACHE", 0);
    else if (!l->wanted)
        l->passed_over++;
    else if (expires_ms != 0 && expires_ms <= now_ms)
        l->expired++;
    else if (open_cache(l, l->record.version))
        store(l, expires_ms != 0 ? expires_ms - now_ms : FOREBAY_TTL_FOREVER);
}

static void take_end(load *l)
{
    l->has_end = true;
    if (l->seen != l->record.number && !l->skip_bad)
        l->code = fb_fail("the dump says it has %" PRIu64 " entries, but there are %" PRIu64 "; it was changed or damaged",
                          l->record.number, l->seen);
}

static void take_record(load *l, const unsigned char *data, size_t length)
{
    const char *reason;
    size_t at = 0;
    bool is_json = l->stream.format == FB_DUMP_JSONL;
    fb_packer_clear(&l->packed);
    bool good = !is_json || fb_json_to_pack((const char *)data, length, &l->packed, &reason, &at);
    at = good ? 0 : at + 1;
    if (good && is_json)
        good = fb_record_from_pack(l->packed.data, l->packed.length, &l->record, &reason);
    else if (good)
        good = fb_record_from_pack(data, length, &l->record, &reason);
    if (!good) {
        l->seen++;
        refuse(l, reason, at);
        return;
    }
    switch (l->record.type) {
    case FB_RECORD_HEADER:
        take_header(l);
        break;
    case FB_RECORD_CACHE:
        take_cache(l);
        break;
    case FB_RECORD_ENTRY:
        take_entry(l);
        break;
    case FB_RECORD_END:
        take_end(l);
        break;
    }
}

/* Take the next record; false: there is none, or not to be. */
static bool take_next(load *l)
{
    const unsigned char *data;
    const char *reason = NULL;
    size_t length;
    switch (fb_record_next(&l->stream, &data, &length, &reason)) {
    case FB_NEXT_RECORD:
        take_record(l, data, length);
        break;
    case FB_NEXT_TOO_LONG:
        l->seen++;
        refuse(l, "it is longer than any entry that this arena takes", 0);
        break;
    case FB_NEXT_BROKEN:
        l->skip_bad = false; /* nothing can be found behind it */
        refuse(l, reason, 0);
        break;
    case FB_NEXT_FAILED:
        l->code = fb_fail("cannot read the dump: %s", strerror(errno));
        break;
    case FB_NEXT_INTERRUPTED:
        l->code = FB_EXIT_ERROR;
        break;
    case FB_NEXT_END:
        if (l->has_header && !l->has_end)
            l->code = fb_fail("the dump ends too early: its last record is missing");
        return false;
    }
    return l->code == FB_EXIT_OK;
}

/* ---- the command ---- */

static void print_done(const load *l, bool as_json)
{
    const struct {
        const char *name, *words;
        uint64_t count;
    } others[] = {
        { "kept", "were there already", l->kept },
        { "expired", "have expired", l->expired },
        { "passed_over", "of other caches", l->passed_over },
        { "bad", "could not be loaded", l->bad },
        { "tagged", "had tags, and have none now", l->tagged },
    };
    fb_json json = { .out = stdout };
    if (!as_json)
        printf("%" PRIu64 " entries loaded", l->loaded);
    else
        fb_json_begin_object(&json), fb_json_name(&json, "loaded"), fb_json_unsigned(&json, l->loaded);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (as_json)
            fb_json_name(&json, others[i].name), fb_json_unsigned(&json, others[i].count);
        else if (others[i].count != 0)
            printf("; %" PRIu64 " %s", others[i].count, others[i].words);
    }
    if (as_json)
        fb_json_end_object(&json);
    fb_json_end(&json);
}

static bool read_options(const fb_arguments *arguments, load *l)
{
    const char *format = arguments->value[FORMAT], *only = arguments->value[CACHE];
    l->stream.format = FB_DUMP_UNKNOWN;
    if (format != NULL && !fb_parse_dump_format(format, &l->stream.format)) {
        fb_usage("'%s' is no format of a dump; give jsonl or msgpack", format);
        return false;
    }
    l->no_replace = arguments->value[NO_REPLACE] != NULL;
    l->skip_bad = arguments->value[SKIP_BAD] != NULL;
    l->only = only;
    l->wanted = true;
    if (only == NULL)
        return true;
    if (only[0] == '\0' || strlen(only) > FOREBAY_NAME_MAX) {
        fb_usage("'%s' is no name of a cache; give 1 to 47 bytes", only);
        return false;
    }
    strcpy(l->options.name, only);
    return true;
}

static void load_from(load *l, const char *file)
{
    bool is_stdin = file == NULL || strcmp(file, "-") == 0;
    l->stream.fd = is_stdin ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    if (l->stream.fd < 0) {
        l->code = fb_fail("cannot read %s: %s", file, strerror(errno));
        return;
    }
    fb_catch_interrupts();
    while (take_next(l))
        continue;
    if (!is_stdin)
        close(l->stream.fd);
}

static int run(const fb_arguments *arguments)
{
    load l = { .path = arguments->positional[0] };
    if (!read_options(arguments, &l))
        return FB_EXIT_USAGE;
    int code = fb_open_sound(l.path, arguments->value[TRUST] != NULL, &l.arena);
    if (code != FB_EXIT_OK)
        return code;
    l.stream.longest = (size_t)forebay_arena_max_entry(l.arena) * JSON_PER_BYTE + RECORD_ROOM;
    load_from(&l, arguments->positional[1]);
    close_cache(&l);
    if (l.stream.number != 0 || l.code == FB_EXIT_OK) /* a file that cannot be read is said, and that is all */
        print_done(&l, arguments->value[JSON] != NULL);
    fb_record_stream_free(&l.stream);
    fb_packer_free(&l.packed);
    forebay_arena_close(l.arena);
    if (fb_interrupted())
        fflush(stdout);
    return fb_end_interrupted(l.code);
}

const fb_command fb_cmd_load = {
    .name = "load",
    .synopsis = "PATH [FILE] [--cache CACHE] [--format FORMAT] [options]",
    .summary = "put the entries of a dump into an arena",
    .details = "Put what forebay dump wrote into the arena PATH, from FILE or standard input. Entries\n"
               "that are there are replaced; those that have expired since are left out. A cache that\n"
               "is not there is made with the options of the dump; one that is there keeps its own.\n"
               "An arena that is smaller evicts what does not fit, as always.\n\n"
               "What is loaded is as old as the dump: load before the service starts, or give entries\n"
               "a ttl. Lines may be written by hand: {\"key\": \"a\", \"value\": 1} with --cache CACHE.\n\n"
               "A record that is malformed, or too large, ends it with its line and the reason, and\n"
               "exit code 3, unless --skip-bad is given; so does a dump that ends too early. What was\n"
               "loaded before stays.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 2,
    .run = run,
};
