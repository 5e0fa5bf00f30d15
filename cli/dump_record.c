/* SPDX-License-Identifier: Apache-2.0 */
#include "dump_record.h"

#include <string.h>
#include <time.h>

#include "key_pack.h"

bool fb_parse_dump_format(const char *text, fb_dump_format *format_out)
{
    *format_out = strcmp(text, "jsonl") == 0     ? FB_DUMP_JSONL
                  : strcmp(text, "msgpack") == 0 ? FB_DUMP_MSGPACK
                                                 : FB_DUMP_UNKNOWN;
    return *format_out != FB_DUMP_UNKNOWN;
}

uint64_t fb_unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- writing ---- */

/* A map whose members are counted while they are written. */
typedef struct members {
    fb_packer *out;
    uint64_t count;
} members;

static void name(members *to, const char *text)
{
    fb_pack_str(to->out, text, strlen(text));
    to->count++;
}

static void number(members *to, const char *text, uint64_t value)
{
    name(to, text);
    fb_pack_unsigned(to->out, value);
}

static void number_if_any(members *to, const char *text, uint64_t value)
{
    if (value != 0)
        number(to, text, value);
}

static void write_cache(members *to, const fb_record *record)
{
    name(to, "cache");
    fb_pack_str(to->out, record->name, strlen(record->name));
    number_if_any(to, "ttl_ms", record->ttl_ms);
    number_if_any(to, "share", record->share);
    number_if_any(to, "limit", record->limit);
    if (record->codec[0] != '\0') {
        name(to, "codec");
        fb_pack_str(to->out, record->codec, strlen(record->codec));
    }
}

/* What a value in MessagePack is stored as, judged by its first token: read_value() is
 * the other side. */
static forebay_kind kind_of(const fb_token *token)
{
    if (token->type == FB_BIN)
        return FOREBAY_KIND_BYTES;
    bool is_int = token->type == FB_SIGNED || (token->type == FB_UNSIGNED && token->count <= INT64_MAX);
    return is_int ? FOREBAY_KIND_INT : FOREBAY_KIND_MSGPACK;
}

/* One value, nothing behind it, that is not taken for another kind? */
static bool is_plain_msgpack(const void *data, size_t length)
{
    fb_reader in = { .at = data, .end = (const unsigned char *)data + length }, again = in;
    fb_token first;
    return fb_read_token(&in, &first) && kind_of(&first) == FOREBAY_KIND_MSGPACK && fb_skip_value(&again)
           && fb_reader_left(&again) == 0;
}

static void write_raw_value(members *to, const fb_record *record)
{
    name(to, "raw_value");
    fb_pack_bin(to->out, record->value, record->value_length);
    number(to, "kind", (uint64_t)record->kind);
}

static void write_value(members *to, const fb_record *record, bool raw)
{
    int64_t integer;
    if (record->kind == FOREBAY_KIND_ABSENT) {
        name(to, "absent");
        fb_pack_bool(to->out, true);
    } else if (!raw && record->kind == FOREBAY_KIND_BYTES) {
        name(to, "value");
        fb_pack_bin(to->out, record->value, record->value_length);
    } else if (!raw && record->kind == FOREBAY_KIND_INT && record->value_length == sizeof(integer)) {
        memcpy(&integer, record->value, sizeof(integer)); /* little-endian, as the machines Forebay runs on */
        name(to, "value");
        fb_pack_signed(to->out, integer);
    } else if (!raw && record->kind == FOREBAY_KIND_MSGPACK && is_plain_msgpack(record->value, record->value_length)) {
        name(to, "value");
        fb_pack_verbatim(to->out, record->value, record->value_length);
    } else {
        write_raw_value(to, record);
    }
}

static void write_key(members *to, const fb_record *record, bool raw)
{
    size_t start = to->out->length;
    if (!raw) {
        fb_pack_str(to->out, "key", 3);
        if (fb_key_to_pack(record->key, record->key_length, to->out)) {
            to->count++;
            return;
        }
        to->out->length = start;
    }
    name(to, "raw_key");
    fb_pack_bin(to->out, record->key, record->key_length);
}

static void write_entry(members *to, const fb_record *record, fb_record_form form)
{
    write_key(to, record, form == FB_FORM_RAW_KEY_AND_VALUE);
    write_value(to, record, form != FB_FORM_PLAIN);
    number_if_any(to, "expires_ms", record->expires_ms);
    number_if_any(to, "version", record->version);
    number_if_any(to, "tags", record->tag_count);
}

void fb_record_to_pack(const fb_record *record, fb_record_form form, fb_packer *out)
{
    members to = { .out = out };
    size_t start = out->length;
    switch (record->type) {
    case FB_RECORD_HEADER:
        number(&to, "forebay_dump", record->number);
        number(&to, "time_ms", record->time_ms);
        break;
    case FB_RECORD_CACHE:
        write_cache(&to, record);
        break;
    case FB_RECORD_ENTRY:
        write_entry(&to, record, form);
        break;
    case FB_RECORD_END:
        number(&to, "end", record->number);
        break;
    }
    fb_pack_wrap(out, start, FB_MAP, to.count);
}

/* ---- reading ---- */

/* Which names a record has. */
enum { HAS_HEADER = 1, HAS_CACHE = 2, HAS_KEY = 4, HAS_VALUE = 8, HAS_RAW_VALUE = 16, HAS_KIND = 32, HAS_END = 64 };

typedef struct parsing {
    fb_reader in;
    fb_record *record;
    unsigned has;
} parsing;

static bool read_unsigned(parsing *p, uint64_t most, uint64_t *number_out)
{
    fb_token token;
    if (!fb_read_token(&p->in, &token))
        return false;
    bool is_number = (token.type == FB_SIGNED && token.number >= 0) || token.type == FB_UNSIGNED;
    uint64_t value = token.type == FB_SIGNED ? (uint64_t)token.number : token.count;
    if (!is_number || value > most)
        return fb_reader_fail(&p->in, "a number of a record is none, or out of its range");
    *number_out = value;
    return true;
}

static bool read_32_bits(parsing *p, uint32_t *number_out)
{
    uint64_t value;
    if (!read_unsigned(p, UINT32_MAX, &value))
        return false;
    *number_out = (uint32_t)value;
    return true;
}

static bool read_name(parsing *p, char *text, size_t room, const char *reason)
{
    fb_token token;
    if (!fb_read_token(&p->in, &token))
        return false;
    if (token.type != FB_STR || token.length == 0 || token.length >= room || memchr(token.data, '\0', token.length) != NULL)
        return fb_reader_fail(&p->in, reason);
    memcpy(text, token.data, token.length);
    text[token.length] = '\0';
    return true;
}

static bool read_raw_key(parsing *p)
{
    fb_token token;
    if (!fb_read_token(&p->in, &token))
        return false;
    if (token.type != FB_BIN || token.length == 0 || token.length > FOREBAY_KEY_MAX)
        return fb_reader_fail(&p->in, "raw_key is 1 to 4095 bytes");
    memcpy(p->record->key, token.data, token.length);
    p->record->key_length = token.length;
    return true;
}

static bool read_value(parsing *p)
{
    fb_record *record = p->record;
    fb_reader token_reader = p->in;
    const unsigned char *start = p->in.at;
    fb_token token;
    if (!fb_skip_value(&p->in) || !fb_read_token(&token_reader, &token))
        return false;
    record->kind = kind_of(&token);
    record->value = record->kind == FOREBAY_KIND_BYTES ? token.data : start;
    record->value_length = record->kind == FOREBAY_KIND_BYTES ? token.length : (size_t)(p->in.at - start);
    if (record->kind == FOREBAY_KIND_INT) {
        int64_t integer = token.type == FB_SIGNED ? token.number : (int64_t)token.count;
        memcpy(record->integer, &integer, sizeof(integer));
        record->value = record->integer;
        record->value_length = sizeof(integer);
    }
    return true;
}

static bool read_raw_value(parsing *p)
{
    fb_token token;
    if (!fb_read_token(&p->in, &token))
        return false;
    p->record->value = token.data;
    p->record->value_length = token.length;
    return token.type == FB_BIN || fb_reader_fail(&p->in, "raw_value is bytes");
}

static bool read_kind(parsing *p)
{
    uint64_t kind;
    if (!read_unsigned(p, FOREBAY_KIND_INT, &kind))
        return false;
    p->record->kind = (forebay_kind)kind;
    return true;
}

static bool read_absent(parsing *p)
{
    fb_token token;
    if (!fb_read_token(&p->in, &token))
        return false;
    p->record->kind = FOREBAY_KIND_ABSENT;
    return (token.type == FB_BOOL && token.number != 0) || fb_reader_fail(&p->in, "absent can only be true");
}

/* Once only; members that exclude each other share a bit. */
static bool note(parsing *p, unsigned what)
{
    if ((p->has & what) != 0)
        return fb_reader_fail(&p->in, "a record says the same thing twice");
    p->has |= what;
    return true;
}

static bool is(const fb_token *token, const char *text)
{
    return token->length == strlen(text) && memcmp(token->data, text, token->length) == 0;
}

static bool read_entry_member(parsing *p, const fb_token *member)
{
    fb_record *record = p->record;
    if (is(member, "key"))
        return note(p, HAS_KEY) && fb_key_from_pack(&p->in, record->key, &record->key_length);
    if (is(member, "raw_key"))
        return note(p, HAS_KEY) && read_raw_key(p);
    if (is(member, "value"))
        return note(p, HAS_VALUE) && read_value(p);
    if (is(member, "raw_value"))
        return note(p, HAS_VALUE) && note(p, HAS_RAW_VALUE) && read_raw_value(p);
    if (is(member, "kind"))
        return note(p, HAS_KIND) && read_kind(p);
    if (is(member, "absent"))
        return note(p, HAS_VALUE) && read_absent(p);
    if (is(member, "expires_ms"))
        return read_unsigned(p, INT64_MAX, &record->expires_ms)
               && (record->expires_ms != 0 || fb_reader_fail(&p->in, "expires_ms is above 0; leave it out for ever"));
    if (is(member, "version"))
        return read_32_bits(p, &record->version);
    if (is(member, "tags"))
        return read_32_bits(p, &record->tag_count);
    return fb_reader_fail(&p->in, "a record has a name that this version of Forebay does not know");
}

static bool read_member(parsing *p)
{
    fb_record *record = p->record;
    fb_token member;
    if (!fb_read_token(&p->in, &member))
        return false;
    if (member.type != FB_STR)
        return fb_reader_fail(&p->in, "a name of a record is no string");
    if (is(&member, "forebay_dump"))
        return note(p, HAS_HEADER) && read_unsigned(p, UINT32_MAX, &record->number);
    if (is(&member, "time_ms"))
        return read_unsigned(p, INT64_MAX, &record->time_ms);
    if (is(&member, "end"))
        return note(p, HAS_END) && read_unsigned(p, INT64_MAX, &record->number);
    if (is(&member, "cache"))
        return note(p, HAS_CACHE)
               && read_name(p, record->name, sizeof(record->name), "a cache's name is a string of 1 to 47 bytes");
    if (is(&member, "ttl_ms"))
        return read_unsigned(p, INT64_MAX, &record->ttl_ms);
    if (is(&member, "share"))
        return read_unsigned(p, INT64_MAX, &record->share);
    if (is(&member, "limit"))
        return read_unsigned(p, INT64_MAX, &record->limit);
    if (is(&member, "codec"))
        return read_name(p, record->codec, sizeof(record->codec), "codec is a string of 1 to 31 bytes");
    return read_entry_member(p, &member);
}

/* What the names together make of it. */
static bool judge(parsing *p)
{
    fb_record *record = p->record;
    bool is_raw = (p->has & HAS_RAW_VALUE) != 0;
    if (((p->has & HAS_KIND) != 0) != is_raw)
        return fb_reader_fail(&p->in, "raw_value and kind come together");
    unsigned content = p->has & ~(unsigned)(HAS_RAW_VALUE | HAS_KIND);
    if (content == HAS_HEADER)
        record->type = FB_RECORD_HEADER;
    else if (content == HAS_CACHE)
        record->type = FB_RECORD_CACHE;
    else if (content == HAS_END)
        record->type = FB_RECORD_END;
    else if (content == (HAS_KEY | HAS_VALUE))
        record->type = FB_RECORD_ENTRY;
    else
        return fb_reader_fail(&p->in, "a record has a key and a value, or a cache");
    return true;
}

bool fb_record_from_pack(const void *data, size_t length, fb_record *record, const char **reason_out)
{
    static const char no_map[] = "a record is a map, of names and values";
    *record = (fb_record){ 0 };
    parsing p = { .in = { .at = data, .end = (const unsigned char *)data + length }, .record = record };
    fb_token map;
    bool done = fb_read_token(&p.in, &map) && (map.type == FB_MAP || fb_reader_fail(&p.in, no_map));
    for (uint64_t i = 0; done && i < map.count; i++)
        done = read_member(&p);
    done = done && (fb_reader_left(&p.in) == 0 || fb_reader_fail(&p.in, "bytes follow the end of a record")) && judge(&p);
    *reason_out = p.in.reason;
    return done;
}
