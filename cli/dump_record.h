/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay dump` writes and `forebay load` reads: a stream of records, each a
 * map with string keys.  In MessagePack it is that; in JSON lines each is a line,
 * as fb_payload_write_json() shows a map.  docs/reference/commands.md describes them to users.
 *
 *   {"forebay_dump": 1, "time_ms": ...}                                     the first one
 *   {"cache": name, "ttl_ms": ..., "share": ..., "limit": ..., "codec": ...}
 *   {"key": ..., "value": ..., "expires_ms": ..., "version": ..., "tags": ...}
 *   {"end": entries}                                                        the last one
 *
 * An entry belongs to the cache named last.  "raw_key" has the stored bytes of a key that
 * is none of Python's; "raw_value", with "kind", those of a value that would not come
 * back the same; "absent": true stands for the value of a negative entry.  Times are
 * Unix time in milliseconds.  What is 0 or does not apply is left out. */
#ifndef FOREBAY_CLI_DUMP_RECORD_H
#define FOREBAY_CLI_DUMP_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/forebay.h>

#include "pack_writer.h"

#define FB_DUMP_VERSION 1

typedef enum fb_dump_format { FB_DUMP_JSONL, FB_DUMP_MSGPACK, FB_DUMP_UNKNOWN } fb_dump_format;

typedef enum fb_record_type { FB_RECORD_HEADER, FB_RECORD_CACHE, FB_RECORD_ENTRY, FB_RECORD_END } fb_record_type;

/* A record; pointers lead into the bytes that it was read from, or belong to the writer. */
typedef struct fb_record {
    fb_record_type type;
    uint64_t number;  /* HEADER: version of the format; END: entries */
    uint64_t time_ms; /* HEADER */

    char name[FOREBAY_NAME_MAX + 1]; /* CACHE; so are these: */
    uint64_t ttl_ms, share, limit;   /* 0: for ever, none */
    char codec[FOREBAY_CODEC_TEXT];  /* "": not said */

    unsigned char key[FOREBAY_KEY_MAX]; /* ENTRY; so is all below */
    size_t key_length;
    const void *value; /* as the arena stores it */
    size_t value_length;
    forebay_kind kind;
    unsigned char integer[8]; /* where `value` leads of FOREBAY_KIND_INT */
    uint64_t expires_ms;      /* 0: never */
    uint32_t version, tag_count;
} fb_record;

/* "jsonl" or "msgpack"; false: neither. */
bool fb_parse_dump_format(const char *text, fb_dump_format *format_out);

/* The time of a dump's records, now. */
uint64_t fb_unix_ms(void);

/* What of an entry is written as its stored bytes, whatever they are. */
typedef enum fb_record_form { FB_FORM_PLAIN, FB_FORM_RAW_VALUE, FB_FORM_RAW_KEY_AND_VALUE, FB_FORM_COUNT } fb_record_form;

/* The record as one MessagePack map; what has no plain form is raw in any case. */
void fb_record_to_pack(const fb_record *record, fb_record_form form, fb_packer *out);

/* The opposite.  The bytes are not trusted.  false: `*reason_out`, a static text. */
bool fb_record_from_pack(const void *data, size_t length, fb_record *record, const char **reason_out);

#endif
