/* SPDX-License-Identifier: Apache-2.0 */
#include "payload_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack_reader.h"

#define DEPTH_MAX 500     /* levels of JSON; 200 tuples inside each other, Python's limit, take 400 */
#define BIG_INT_MAX 2048u /* bytes shown as a decimal number; longer ones as {"$ext": ...} */

static bool write_value(fb_reader *in, fb_json *json);

static void tag(fb_json *json, const char *name)
{
    fb_json_begin_object(json);
    fb_json_name(json, name);
}

static void write_tagged(fb_json *json, const char *name, const char *text)
{
    tag(json, name);
    fb_json_string(json, text);
    fb_json_end_object(json);
}

static void write_bytes(fb_json *json, const unsigned char *data, size_t length)
{
    tag(json, "$bytes");
    fb_json_hex(json, data, length);
    fb_json_end_object(json);
}

static void write_float(fb_json *json, double real)
{
    if (isfinite(real))
        fb_json_double(json, real);
    else
        write_tagged(json, "$float", isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
}

static bool enter(fb_reader *in)
{
    return ++in->depth <= DEPTH_MAX || fb_reader_fail(in, "it is nested too deeply");
}

static bool write_array(fb_reader *in, fb_json *json, uint64_t count)
{
    if (!enter(in))
        return false;
    fb_json_begin_array(json);
    for (uint64_t i = 0; i < count; i++)
        if (!write_value(in, json))
            return false;
    fb_json_end_array(json);
    in->depth--;
    return true;
}

/* Whether the keys of the map that begins here are all strings. */
static bool has_string_keys(fb_reader in, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        fb_token key;
        if (!fb_read_token(&in, &key) || key.type != FB_STR || !fb_skip_value(&in))
            return false;
    }
    return true;
}

static bool write_pairs(fb_reader *in, fb_json *json, uint64_t count)
{
    tag(json, "$map");
    fb_json_begin_array(json);
    for (uint64_t i = 0; i < count; i++) {
        fb_json_begin_array(json);
        if (!write_value(in, json) || !write_value(in, json))
            return false;
        fb_json_end_array(json);
    }
    fb_json_end_array(json);
    fb_json_end_object(json);
    return true;
}

static bool write_object(fb_reader *in, fb_json *json, uint64_t count)
{
    fb_json_begin_object(json);
    for (uint64_t i = 0; i < count; i++) {
        fb_token key;
        if (!fb_read_token(in, &key))
            return false;
        fb_json_name_bytes(json, (const char *)key.data, key.length);
        if (!write_value(in, json))
            return false;
    }
    fb_json_end_object(json);
    return true;
}

static bool write_map(fb_reader *in, fb_json *json, uint64_t count)
{
    if (!enter(in))
        return false;
    bool done = has_string_keys(*in, count) ? write_object(in, json, count) : write_pairs(in, json, count);
    in->depth--;
    return done;
}

/* Divide the number in `limbs`, highest first, by 10^9; the remainder. */
static uint32_t divide(uint32_t *limbs, size_t count)
{
    uint64_t rest = 0;
    for (size_t i = 0; i < count; i++) {
        rest = rest << 32 | limbs[i];
        limbs[i] = (uint32_t)(rest / 1000000000);
        rest %= 1000000000;
    }
    return (uint32_t)rest;
}

/* Big-endian two's complement to limbs of its absolute value; true: negative. */
static bool load_magnitude(const unsigned char *data, size_t length, uint32_t *limbs, size_t count)
{
    bool negative = data[0] >= 0x80;
    unsigned carry = negative;
    memset(limbs, 0, count * sizeof(*limbs));
    for (size_t i = 0; i < length; i++) {
        unsigned byte = data[length - 1 - i];
        if (negative) {
            byte = (byte ^ 0xff) + carry;
            carry = byte >> 8;
            byte &= 0xff;
        }
        limbs[count - 1 - i / 4] |= (uint32_t)byte << (8 * (i % 4));
    }
    return negative; /* a carry out of the last byte cannot be: -2^(8n-1) has the magnitude 2^(8n-1) */
}

static void write_big_int(fb_json *json, const unsigned char *data, size_t length)
{
    uint32_t limbs[BIG_INT_MAX / 4 + 1];
    char digits[BIG_INT_MAX * 3], chunk[10]; /* 2.41 digits a byte */
    size_t count = length / 4 + 1, at = sizeof(digits);
    bool negative = load_magnitude(data, length, limbs, count);
    size_t first = 0;
    while (first < count) {
        snprintf(chunk, sizeof(chunk), "%09u", divide(limbs + first, count - first));
        at -= 9;
        memcpy(digits + at, chunk, 9);
        while (first < count && limbs[first] == 0)
            first++;
    }
    while (at < sizeof(digits) - 1 && digits[at] == '0')
        at++;
    if (negative)
        digits[--at] = '-';
    fb_json_verbatim(json, digits + at, sizeof(digits) - at);
}

static bool read_number_token(fb_reader *in, int64_t *number_out)
{
    fb_token token;
    if (!fb_read_token(in, &token))
        return false;
    if (token.type == FB_SIGNED)
        *number_out = token.number;
    else if (token.type == FB_UNSIGNED && token.count <= INT64_MAX)
        *number_out = (int64_t)token.count;
    else
        return fb_reader_fail(in, "it has something else where a number belongs");
    return true;
}

#define MOMENT_TEXT 400 /* bytes; a longer zone name is cut */

static size_t append_date(char *text, uint32_t bits)
{
    return (size_t)snprintf(text, MOMENT_TEXT, "%04u-%02u-%02u", bits >> 9, bits >> 5 & 15, bits & 31);
}

static size_t append_time(char *text, size_t room, uint64_t bits)
{
    return (size_t)snprintf(text, room, "%02u:%02u:%02u.%06u", (unsigned)(bits >> 33 & 31),
                            (unsigned)(bits >> 27 & 63), (unsigned)(bits >> 21 & 63),
                            (unsigned)(bits >> 1 & 0xfffff));
}

/* "+01:00", with seconds and microseconds where there are some. */
static void append_offset(char *text, size_t room, int64_t seconds, int64_t microseconds)
{
    int64_t total = seconds * 1000000 + microseconds;
    uint64_t size = (uint64_t)(total < 0 ? -total : total), whole = size / 1000000;
    unsigned hours = (unsigned)(whole / 3600), minutes = (unsigned)(whole / 60 % 60);
    int used = snprintf(text, room, "%c%02u:%02u", total < 0 ? '-' : '+', hours, minutes);
    if (size % 60000000 != 0)
        used += snprintf(text + used, room - (size_t)used, ":%02u", (unsigned)(whole % 60));
    if (size % 1000000 != 0)
        snprintf(text + used, room - (size_t)used, ".%06u", (unsigned)(size % 1000000));
}

/* The time zone after a moment: an offset, or "[Europe/Berlin]". */
static bool append_zone(fb_reader *in, char *text, size_t room)
{
    fb_reader start = *in;
    fb_token zone;
    if (!fb_read_token(in, &zone))
        return false;
    if (zone.type == FB_STR) {
        snprintf(text, room, "[%.*s]", (int)(zone.length < 300 ? zone.length : 300), (const char *)zone.data);
        return true;
    }
    *in = start;
    int64_t seconds, microseconds = 0;
    if (!read_number_token(in, &seconds))
        return false;
    if (seconds < -86400 || seconds >= 86400)
        return fb_reader_fail(in, "it has a time zone of more than a day");
    bool is_number = fb_reader_left(in) > 0 && !(*in->at >= 0xa0 && *in->at < 0xc0) && *in->at < 0xd9;
    if (is_number && !read_number_token(in, &microseconds))
        return false;
    if (microseconds < 0 || microseconds > 999999)
        return fb_reader_fail(in, "it has a time zone that is none");
    append_offset(text, room, seconds, microseconds);
    return true;
}

static bool write_moment(fb_reader *in, fb_json *json, bool has_date)
{
    uint64_t bits;
    char text[MOMENT_TEXT + 400];
    size_t used = 0;
    if (!fb_read_number(in, 8, &bits))
        return false;
    if (has_date) {
        used = append_date(text, (uint32_t)(bits >> 38));
        text[used++] = 'T';
    }
    used += append_time(text + used, sizeof(text) - used, bits);
    if (fb_reader_left(in) > 0 && !append_zone(in, text + used, sizeof(text) - used))
        return false;
    tag(json, has_date ? "$datetime" : "$time");
    fb_json_string(json, text);
    if (bits & 1) {
        fb_json_name(json, "fold");
        fb_json_unsigned(json, 1);
    }
    fb_json_end_object(json);
    return true;
}

static bool write_date(fb_reader *in, fb_json *json)
{
    uint64_t bits;
    char text[MOMENT_TEXT];
    if (!fb_read_number(in, 4, &bits))
        return false;
    append_date(text, (uint32_t)bits);
    write_tagged(json, "$date", text);
    return true;
}

static bool write_timedelta(fb_reader *in, fb_json *json)
{
    tag(json, "$timedelta");
    fb_json_begin_array(json);
    for (int i = 0; i < 3; i++) {
        int64_t number;
        if (!read_number_token(in, &number))
            return false;
        fb_json_signed(json, number);
    }
    fb_json_end_array(json);
    fb_json_end_object(json);
    return true;
}

static bool write_tuple(fb_reader *in, fb_json *json)
{
    if (!enter(in))
        return false;
    tag(json, "$tuple");
    if (!write_value(in, json))
        return false;
    fb_json_end_object(json);
    return fb_reader_left(in) == 0 || fb_reader_fail(in, "bytes follow the end of a tuple");
}

static bool write_uuid(fb_reader *in, fb_json *json)
{
    char text[37];
    if (fb_reader_left(in) < 16)
        return fb_reader_fail(in, "it has a UUID that is too short");
    const unsigned char *b = in->at;
    snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    write_tagged(json, "$uuid", text);
    return true;
}

static void write_unknown_ext(fb_json *json, const fb_token *token)
{
    tag(json, "$ext");
    fb_json_begin_array(json);
    fb_json_signed(json, token->ext);
    fb_json_hex(json, token->data, token->length);
    fb_json_end_array(json);
    fb_json_end_object(json);
}

static bool write_other_ext(fb_reader *in, fb_json *json, const fb_token *token)
{
    switch (token->ext) {
    case FB_EXT_DATETIME:
        return write_moment(in, json, true);
    case FB_EXT_TIME:
        return write_moment(in, json, false);
    case FB_EXT_DATE:
        return write_date(in, json);
    case FB_EXT_TIMEDELTA:
        return write_timedelta(in, json);
    case FB_EXT_UUID:
        return write_uuid(in, json);
    case FB_EXT_WIDE_STR:
        fb_json_string_bytes(json, (const char *)token->data, token->length);
        return true;
    case FB_EXT_DECIMAL:
        tag(json, "$decimal");
        fb_json_string_bytes(json, (const char *)token->data, token->length);
        fb_json_end_object(json);
        return true;
    default:
        write_unknown_ext(json, token);
        return true;
    }
}

/* All that does not nest.  Kept out of write_value(), which calls itself up to
 * DEPTH_MAX times, because of the 8 KiB of stack that a big int takes. */
static __attribute__((noinline)) bool write_flat_ext(fb_reader *in, fb_json *json, const fb_token *token)
{
    if (token->ext != FB_EXT_BIG_INT || token->length == 0 || token->length > BIG_INT_MAX)
        return write_other_ext(in, json, token);
    write_big_int(json, token->data, token->length);
    return true;
}

static bool write_ext(fb_reader *outer, fb_json *json, const fb_token *token)
{
    fb_reader in = { .at = token->data, .end = token->data + token->length, .depth = outer->depth };
    bool done = token->ext == FB_EXT_TUPLE ? write_tuple(&in, json) : write_flat_ext(&in, json, token);
    return done || fb_reader_fail(outer, in.reason);
}

static bool write_value(fb_reader *in, fb_json *json)
{
    fb_token token;
    if (!fb_read_token(in, &token))
        return false;
    switch (token.type) {
    case FB_NIL:
        fb_json_null(json);
        return true;
    case FB_BOOL:
        fb_json_bool(json, token.number != 0);
        return true;
    case FB_SIGNED:
        fb_json_signed(json, token.number);
        return true;
    case FB_UNSIGNED:
        fb_json_unsigned(json, token.count);
        return true;
    case FB_FLOAT:
        write_float(json, token.real);
        return true;
    case FB_STR:
        fb_json_string_bytes(json, (const char *)token.data, token.length);
        return true;
    case FB_BIN:
        write_bytes(json, token.data, token.length);
        return true;
    case FB_EXT:
        return write_ext(in, json, &token);
    case FB_ARRAY:
        return write_array(in, json, token.count);
    case FB_MAP:
        return write_map(in, json, token.count);
    }
    return fb_reader_fail(in, "it has a type that is none");
}

static bool write_int(fb_json *json, const void *data, size_t length, const char **reason_out)
{
    int64_t number;
    if (length != sizeof(number)) {
        *reason_out = "an integer has 8 bytes";
        return false;
    }
    memcpy(&number, data, sizeof(number)); /* little-endian, as the machines Forebay runs on */
    fb_json_signed(json, number);
    return true;
}

bool fb_payload_write_json(fb_json *json, forebay_kind kind, const void *data, size_t length,
                           const char **reason_out)
{
    fb_reader in = { .at = data, .end = (const unsigned char *)data + length };
    switch (kind) {
    case FOREBAY_KIND_BYTES:
        write_bytes(json, data, length);
        return true;
    case FOREBAY_KIND_INT:
        return write_int(json, data, length, reason_out);
    case FOREBAY_KIND_ABSENT:
        fb_json_null(json);
        return true;
    case FOREBAY_KIND_MSGPACK:
        if (write_value(&in, json) && (fb_reader_left(&in) == 0 || fb_reader_fail(&in, "bytes follow its end")))
            return true;
        *reason_out = in.reason;
        return false;
    }
    *reason_out = "a later version of Forebay wrote it";
    return false;
}
