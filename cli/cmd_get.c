/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "key_text.h"
#include "payload_json.h"

enum { TYPE, RAW, TRUST, JSON, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [TYPE] = { "--type", "TYPE", "of the key: str (unless given), int, bytes, uuid, date, bool, raw" },
    [RAW] = { "--raw", NULL, "print the stored bytes as they are, without a newline" },
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [JSON] = { "--json", NULL, "print key, kind, length and value as one JSON object" },
};

typedef struct question {
    const char *path, *cache, *key_text, *type_text;
    fb_key_type type;
    unsigned char key[FOREBAY_KEY_MAX];
    size_t key_length;
    bool raw, trust, json;
} question;

typedef struct payload {
    unsigned char *data; /* owned */
    size_t length;
    forebay_kind kind;
} payload;

static void *payload_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    payload *value = context;
    (void)item;
    free(value->data);
    *value = (payload){ .data = malloc(length + 1), .length = length, .kind = kind };
    return value->data;
}

static const char *kind_name(forebay_kind kind)
{
    switch (kind) {
    case FOREBAY_KIND_BYTES:
        return "bytes";
    case FOREBAY_KIND_MSGPACK:
        return "msgpack";
    case FOREBAY_KIND_INT:
        return "int";
    case FOREBAY_KIND_ABSENT:
        return "absent";
    }
    return "unknown";
}

/* The value as JSON text, so that a malformed one prints nothing.  The caller
 * frees it; NULL: the reason was printed. */
static char *render(const question *asked, const payload *value)
{
    char *text = NULL;
    size_t length;
    FILE *memory = open_memstream(&text, &length);
    if (memory == NULL) {
        fb_fail("out of memory");
        return NULL;
    }
    fb_json json = { .out = memory };
    const char *reason = "";
    bool done = fb_payload_write_json(&json, value->kind, value->data, value->length, &reason);
    if (fclose(memory) != 0 && done) {
        done = false;
        reason = "there is no memory to show it";
    }
    if (done)
        return text;
    fb_fail("the value of '%s' cannot be shown: %s; print its bytes with --raw", asked->key_text, reason);
    free(text);
    return NULL;
}

static int print_payload(const question *asked, const payload *value)
{
    if (asked->raw) {
        fwrite(value->data, 1, value->length, stdout);
        return FB_EXIT_OK;
    }
    char *text = render(asked, value);
    if (text == NULL)
        return FB_EXIT_ERROR;
    if (!asked->json) {
        puts(text);
        free(text);
        return FB_EXIT_OK;
    }
    fb_json json = { .out = stdout };
    fb_json_begin_object(&json);
    fb_json_name(&json, "cache");
    fb_json_string(&json, asked->cache);
    fb_json_name(&json, "key");
    fb_json_string(&json, asked->key_text);
    fb_json_name(&json, "type");
    fb_json_string(&json, asked->type_text);
    fb_json_name(&json, "kind");
    fb_json_string(&json, kind_name(value->kind));
    fb_json_name(&json, "length");
    fb_json_unsigned(&json, value->length);
    fb_json_name(&json, "value");
    fb_json_verbatim(&json, text, strlen(text));
    fb_json_end_object(&json);
    fb_json_end(&json);
    free(text);
    return FB_EXIT_OK;
}

static int get_and_print(const question *asked, forebay_cache *cache)
{
    payload value = { 0 };
    forebay_sink sink = { payload_room, &value };
    forebay_status status = forebay_get(cache, asked->key, asked->key_length, &sink);
    int code;
    if (status == FOREBAY_OK)
        code = print_payload(asked, &value);
    else if (status == FOREBAY_MISS)
        code = fb_not_found("the cache '%s' has no entry for the key '%s' of type %s", asked->cache,
                            asked->key_text, asked->type_text);
    else
        code = fb_fail_status(asked->path, status, NULL);
    free(value.data);
    return code;
}

static bool read_question(const fb_arguments *arguments, question *asked)
{
    const char *const *value = arguments->value;
    asked->path = arguments->positional[0];
    asked->cache = arguments->positional[1];
    asked->key_text = arguments->positional[2];
    asked->type_text = value[TYPE] != NULL ? value[TYPE] : "str";
    asked->raw = value[RAW] != NULL;
    asked->trust = value[TRUST] != NULL;
    asked->json = value[JSON] != NULL;
    if (asked->raw && asked->json) {
        fb_usage("--raw and --json exclude each other");
        return false;
    }
    if (!fb_parse_key_type(asked->type_text, &asked->type)) {
        fb_usage("'%s' is no type of a key; give str, int, bytes, uuid, date, bool or raw", asked->type_text);
        return false;
    }
    const char *wrong = fb_encode_key(asked->type, asked->key_text, asked->key, &asked->key_length);
    if (wrong != NULL)
        fb_usage("'%.60s' is no key of type %s: %s", asked->key_text, asked->type_text, wrong);
    return wrong == NULL;
}

static int run(const fb_arguments *arguments)
{
    question asked;
    if (!read_question(arguments, &asked))
        return FB_EXIT_USAGE;
    forebay_arena *arena;
    int code = fb_open_sound(asked.path, asked.trust, &arena);
    if (code != FB_EXIT_OK)
        return code;
    forebay_cache *cache;
    forebay_error error = { 0 };
    forebay_status status = FOREBAY_OK;
    if (!fb_has_cache(arena, asked.cache)) {
        code = fb_not_found("%s has no cache '%s'; list them with: forebay stat", asked.path, asked.cache);
    } else if ((status = forebay_cache_open(arena, asked.cache, NULL, &cache, &error)) != FOREBAY_OK) {
        code = fb_fail_status(asked.path, status, &error);
    } else {
        code = get_and_print(&asked, cache);
        forebay_cache_close(cache);
    }
    forebay_arena_close(arena);
    return code;
}

const fb_command fb_cmd_get = {
    .name = "get",
    .synopsis = "PATH CACHE KEY [--type TYPE] [--raw | --json] [--trust]",
    .summary = "print the value of one key",
    .details = "Print the value of KEY in the cache CACHE of the arena PATH as JSON. What JSON has no\n"
               "word for becomes an object: {\"$bytes\": \"00ff\"}, {\"$tuple\": [...]}, {\"$uuid\": ...},\n"
               "{\"$datetime\": ...}, {\"$decimal\": ...}, {\"$map\": [[key, value], ...]}.\n"
               "A key of type bytes is typed in hexadecimal digits, one of type raw too: the stored\n"
               "bytes, for keys of C programs and tuples. A KEY that begins with a hyphen and is no\n"
               "number goes after --. This is a get like any other: it counts in the statistics.\n"
               "Exit code 1: no such cache or key.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 3,
    .arguments_max = 3,
    .run = run,
};
