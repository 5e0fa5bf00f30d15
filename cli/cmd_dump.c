/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "dump_record.h"
#include "interrupt.h"
#include "json_pack.h"
#include "output_file.h"
#include "payload_json.h"

#define BUCKETS_AT_ONCE 256

enum { CACHE, FORMAT, OUTPUT, TRUST, JSON, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [CACHE] = { "--cache", "CACHE", "this cache only" },
    [FORMAT] = { "--format", "jsonl|msgpack", "JSON lines (unless given) or a MessagePack stream" },
    [OUTPUT] = { "-o", "FILE", "write to FILE, which is replaced once all is written; -: standard output" },
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [JSON] = { "--json", NULL, "print what was done as JSON; with -o FILE only" },
};

typedef struct dump {
    const char *path; /* of the arena */
    fb_dump_format format;
    fb_output output;
    fb_packer packed, again; /* the record at hand; the same, read back from JSON */
    fb_record record;
    uint64_t caches, entries, tagged;
    bool out_of_memory;
    int write_error; /* errno of a write that failed */
    bool ended; /* before all was written */
} dump;

/* The packed record as a line.  NULL: it would not come back the same, or no memory. */
static char *render_line(dump *d, size_t *length_out)
{
    char *text = NULL;
    FILE *memory = open_memstream(&text, length_out);
    if (memory == NULL)
        return NULL;
    fb_json json = { .out = memory };
    const char *reason;
    size_t at;
    bool done = fb_payload_write_json(&json, FOREBAY_KIND_MSGPACK, d->packed.data, d->packed.length, &reason);
    fb_json_end(&json);
    done &= fclose(memory) == 0;
    fb_packer_clear(&d->again);
    if (done && fb_json_to_pack(text, *length_out, &d->again, &reason, &at) && d->again.length == d->packed.length
        && memcmp(d->again.data, d->packed.data, d->packed.length) == 0)
        return text;
    free(text);
    return NULL;
}

static bool pack_record(dump *d, fb_record_form form)
{
    fb_packer_clear(&d->packed);
    fb_record_to_pack(&d->record, form, &d->packed);
    return !d->packed.failed;
}

static bool put(dump *d, const void *data, size_t length)
{
    errno = 0;
    bool done = fwrite(data, 1, length, d->output.out) == length;
    d->write_error = errno;
    return done;
}

/* In the first form that JSON gives back as it was; of raw bytes it does. */
static bool write_line(dump *d)
{
    size_t length = 0;
    char *line = NULL;
    for (fb_record_form form = FB_FORM_PLAIN; line == NULL && form < FB_FORM_COUNT && pack_record(d, form); form++)
        line = render_line(d, &length);
    d->out_of_memory = line == NULL;
    bool done = line != NULL && put(d, line, length);
    free(line);
    return done;
}

/* Write d->record.  false: no memory, or the output took it not. */
static bool write_record(dump *d)
{
    if (d->format == FB_DUMP_JSONL)
        return write_line(d);
    d->out_of_memory = !pack_record(d, FB_FORM_PLAIN);
    return !d->out_of_memory && put(d, d->packed.data, d->packed.length);
}

static bool write_entry(void *context, const forebay_entry *entry)
{
    dump *d = context;
    fb_record *record = &d->record;
    record->type = FB_RECORD_ENTRY;
    memcpy(record->key, entry->key, entry->key_length);
    record->key_length = entry->key_length;
    record->value = entry->value;
    record->value_length = entry->value_length;
    record->kind = entry->kind;
    record->expires_ms = entry->ttl_ms == FOREBAY_TTL_FOREVER ? 0 : fb_unix_ms() + entry->ttl_ms;
    record->version = entry->version;
    record->tag_count = entry->tag_count;
    d->entries++;
    d->tagged += entry->tag_count != 0;
    return write_record(d) && !fb_interrupted();
}

static bool write_header(dump *d)
{
    d->record = (fb_record){ .type = FB_RECORD_HEADER, .number = FB_DUMP_VERSION, .time_ms = fb_unix_ms() };
    return write_record(d);
}

static bool write_cache_record(dump *d, const forebay_cache *cache, const forebay_cache_stats *stats)
{
    uint64_t ttl_ms = forebay_cache_ttl_ms(cache);
    d->record = (fb_record){
        .type = FB_RECORD_CACHE,
        .ttl_ms = ttl_ms == FOREBAY_TTL_FOREVER ? 0 : ttl_ms,
        .share = stats->share,
        .limit = stats->limit,
    };
    snprintf(d->record.name, sizeof(d->record.name), "%s", forebay_cache_name(cache));
    snprintf(d->record.codec, sizeof(d->record.codec), "%s", stats->codec);
    d->caches++;
    return write_record(d);
}

/* Why writing ended early, in words unless the reader went away or a signal came. */
static int explain_end(dump *d)
{
    d->ended = true;
    if (fb_interrupted())
        return FB_EXIT_ERROR;
    if (d->out_of_memory)
        return fb_fail("out of memory");
    if (d->output.path != NULL)
        return fb_fail("cannot write %s: %s", d->output.path, strerror(d->write_error));
    if (d->write_error != EPIPE)
        return FB_EXIT_ERROR; /* said by fb_finish_output() */
    clearerr(stdout);
    return FB_EXIT_OK;
}

static int dump_cache(dump *d, forebay_arena *arena, const char *name)
{
    forebay_cache_stats stats;
    forebay_cache *cache;
    forebay_error error = { 0 };
    forebay_status status = forebay_cache_open(arena, name, NULL, &cache, &error);
    if (status != FOREBAY_OK)
        return fb_fail_status(d->path, status, &error);
    status = forebay_cache_get_stats(cache, &stats);
    if (status == FOREBAY_OK && !write_cache_record(d, cache, &stats))
        status = FOREBAY_INTERRUPTED;
    uint64_t cursor = 0;
    do
        status = status == FOREBAY_OK ? forebay_export(cache, &cursor, BUCKETS_AT_ONCE, write_entry, d) : status;
    while (status == FOREBAY_OK && cursor != 0);
    int code = FB_EXIT_OK;
    if (status == FOREBAY_INTERRUPTED)
        code = explain_end(d);
    else if (status != FOREBAY_OK && status != FOREBAY_CLOSED) /* dropped meanwhile: it has no more */
        code = fb_fail_status(d->path, status, NULL);
    forebay_cache_close(cache);
    return code;
}

/* All caches, or the one. */
static int dump_caches(dump *d, forebay_arena *arena, const char *only)
{
    char name[FOREBAY_NAME_MAX + 1];
    if (only != NULL)
        return dump_cache(d, arena, only);
    int code = FB_EXIT_OK;
    for (uint32_t i = 0; code == FB_EXIT_OK && !d->ended && forebay_cache_name_at(arena, i, name); i++)
        code = dump_cache(d, arena, name);
    return code;
}

static int write_dump(dump *d, forebay_arena *arena, const char *only)
{
    if (!write_header(d))
        return explain_end(d);
    int code = dump_caches(d, arena, only);
    if (code != FB_EXIT_OK || d->ended)
        return code;
    d->record = (fb_record){ .type = FB_RECORD_END, .number = d->entries };
    return write_record(d) ? FB_EXIT_OK : explain_end(d);
}

static void print_done(const dump *d, const char *file, bool as_json)
{
    if (as_json) {
        fb_json json = { .out = stdout };
        fb_json_begin_object(&json);
        fb_json_name(&json, "file");
        fb_json_string(&json, file);
        fb_json_name(&json, "caches");
        fb_json_unsigned(&json, d->caches);
        fb_json_name(&json, "entries");
        fb_json_unsigned(&json, d->entries);
        fb_json_name(&json, "tagged");
        fb_json_unsigned(&json, d->tagged);
        fb_json_end_object(&json);
        fb_json_end(&json);
        return;
    }
    fb_print_text(file);
    printf(": %" PRIu64 " entries of %" PRIu64 " caches\n", d->entries, d->caches);
}

/* The end of a dump to a file, which is said, or to standard output, where only what
 * is lost is. */
static int finish(dump *d, const char *file, bool as_json)
{
    bool is_file = d->output.path != NULL;
    int code = fb_output_commit(&d->output);
    if (code != FB_EXIT_OK)
        return code;
    if (is_file)
        print_done(d, file, as_json);
    if (d->tagged != 0 && !(is_file && as_json))
        fprintf(stderr, "forebay dump: %" PRIu64 " entries have tags, which a dump cannot keep: loaded, they have none\n",
                d->tagged);
    return FB_EXIT_OK;
}

static int dump_arena(dump *d, forebay_arena *arena, const fb_arguments *arguments)
{
    const char *only = arguments->value[CACHE], *file = arguments->value[OUTPUT];
    if (only != NULL && !fb_has_cache(arena, only))
        return fb_not_found("%s has no cache '%s'; list them with: forebay stat", d->path, only);
    int code = fb_output_open(&d->output, file);
    if (code != FB_EXIT_OK)
        return code;
    fb_catch_interrupts();
    code = write_dump(d, arena, only);
    if (code == FB_EXIT_OK && !d->ended)
        return finish(d, file, arguments->value[JSON] != NULL);
    fb_output_abandon(&d->output);
    return code;
}

static bool read_format(const fb_arguments *arguments, fb_dump_format *format)
{
    const char *text = arguments->value[FORMAT], *file = arguments->value[OUTPUT];
    bool to_stdout = file == NULL || strcmp(file, "-") == 0;
    if (!fb_parse_dump_format(text != NULL ? text : "jsonl", format))
        fb_usage("'%s' is no format of a dump; give jsonl or msgpack", text);
    else if (to_stdout && *format == FB_DUMP_MSGPACK && isatty(STDOUT_FILENO))
        fb_usage("MessagePack is nothing for a terminal; give -o FILE");
    else if (to_stdout && arguments->value[JSON] != NULL)
        fb_usage("--json tells of what -o FILE was written; give a FILE");
    else
        return true;
    return false;
}

static int run(const fb_arguments *arguments)
{
    dump d = { .path = arguments->positional[0] };
    if (!read_format(arguments, &d.format))
        return FB_EXIT_USAGE;
    forebay_arena *arena;
    int code = fb_open_sound(d.path, arguments->value[TRUST] != NULL, &arena);
    if (code != FB_EXIT_OK)
        return code;
    code = dump_arena(&d, arena, arguments);
    fb_packer_free(&d.packed);
    fb_packer_free(&d.again);
    forebay_arena_close(arena);
    return fb_end_interrupted(code);
}

const fb_command fb_cmd_dump = {
    .name = "dump",
    .synopsis = "PATH [--cache CACHE] [--format FORMAT] [-o FILE] [--trust] [--json]",
    .summary = "write the entries of an arena, to be loaded elsewhere",
    .details = "Write all entries of the arena PATH, or of one cache, as JSON lines or MessagePack:\n"
               "keys, values, when they expire, negative entries, versions, and the options of each\n"
               "cache. What forebay load makes of it is equal, whatever the arena's size. Tags are\n"
               "not kept; the arena has none of their names.\n\n"
               "Processes may go on reading and writing meanwhile: each entry is one that was there,\n"
               "but all of them are no snapshot, and an entry that is moved just then may be missing\n"
               "or come twice. This counts in no statistics and not as a use of the entries.\n\n"
               "A FILE is put in place once it is whole, and only its owner may read it. A dump\n"
               "ends with a record that says how many entries there are, so that half of one is\n"
               "known to be that. Exit code 1: no such cache.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
