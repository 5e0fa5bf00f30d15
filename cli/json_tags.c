/* SPDX-License-Identifier: Apache-2.0 */
#include "json_tags.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hex.h"
#include "key_text.h"

static bool fail(fb_json_reader *in, const char *reason)
{
    in->reason = reason;
    return false;
}

/* The string that comes next, ended by '\0': at the end of `out`, from where the caller
 * takes it away.  NULL: it is none. */
static char *take_text(fb_json_reader *in, size_t *length_out)
{
    size_t start = in->out->length;
    bool wide;
    if (!fb_json_string_content(in, &wide))
        return NULL;
    *length_out = in->out->length - start;
    fb_pack_verbatim(in->out, "", 1);
    if (in->out->failed) {
        fail(in, "there is no memory for it");
        return NULL;
    }
    in->out->length = start;
    return (char *)in->out->data + start;
}

/* The text of a tag, which no NUL cuts short. */
static char *take_plain_text(fb_json_reader *in, const char *reason)
{
    size_t length;
    char *text = take_text(in, &length);
    if (text != NULL && strlen(text) == length)
        return text;
    if (text != NULL)
        fail(in, reason);
    return NULL;
}

/* A string of hexadecimal digits: its bytes are appended without a header. */
static bool append_hex(fb_json_reader *in)
{
    size_t digits;
    char *text = take_text(in, &digits);
    if (text == NULL)
        return false;
    for (size_t i = 0; i < digits; i += 2) {
        int byte = fb_hex_byte(text + i); /* '\0' after the last is no digit */
        if (byte < 0)
            return fail(in, "bytes are written in pairs of hexadecimal digits");
        text[i / 2] = (char)byte;
    }
    in->out->length += digits / 2;
    return true;
}

static bool end_tag(fb_json_reader *in)
{
    return fb_json_expect(in, '}', "this object has one name only");
}

static bool read_bytes(fb_json_reader *in)
{
    size_t start = in->out->length;
    if (!append_hex(in))
        return false;
    fb_pack_wrap(in->out, start, FB_BIN, 0);
    return end_tag(in);
}

/* A type whose payload is what follows the first byte of a key. */
static bool read_like_key(fb_json_reader *in, fb_key_type type, int8_t ext, const char *reason)
{
    unsigned char key[FOREBAY_KEY_MAX];
    size_t length;
    const char *text = take_plain_text(in, reason);
    if (text == NULL)
        return false;
    if (fb_encode_key(type, text, key, &length) != NULL)
        return fail(in, reason);
    fb_pack_ext(in->out, ext, key + 1, length - 1);
    return end_tag(in);
}

static bool read_uuid(fb_json_reader *in)
{
    return read_like_key(in, FB_KEY_UUID, FB_EXT_UUID, "a UUID has 32 hexadecimal digits");
}

static bool read_date(fb_json_reader *in)
{
    return read_like_key(in, FB_KEY_DATE, FB_EXT_DATE, "a date is written as 2026-01-31");
}

static size_t span_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* As str() of a Decimal: -12.50, 1E+7, Infinity, NaN123, sNaN. */
static bool is_decimal(const char *text)
{
    text += *text == '-';
    if (strcmp(text, "Infinity") == 0)
        return true;
    text += strncmp(text, "sNaN", 4) == 0;
    if (strncmp(text, "NaN", 3) == 0)
        return text[3 + span_digits(text + 3)] == '\0';
    size_t whole = span_digits(text), fraction = 0;
    text += whole;
    if (*text == '.') {
        fraction = span_digits(text + 1);
        text += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*text == 'E' || *text == 'e') {
        text += 1 + (text[1] == '-' || text[1] == '+');
        if (span_digits(text) == 0)
            return false;
        text += span_digits(text);
    }
    return *text == '\0';
}

static bool read_decimal(fb_json_reader *in)
{
    static const char reason[] = "a decimal is written as -12.50, 1E+7, Infinity or NaN";
    size_t start = in->out->length;
    const char *text = take_plain_text(in, reason);
    if (text == NULL)
        return false;
    if (!is_decimal(text))
        return fail(in, reason);
    in->out->length += strlen(text);
    fb_pack_wrap_ext(in->out, start, FB_EXT_DECIMAL);
    return end_tag(in);
}

static bool read_float(fb_json_reader *in)
{
    static const char reason[] = "a float in words is nan, inf or -inf";
    const char *text = take_plain_text(in, reason);
    if (text == NULL)
        return false;
    double number = strcmp(text, "inf") == 0 ? INFINITY : strcmp(text, "-inf") == 0 ? -INFINITY : NAN;
    if (isnan(number) && strcmp(text, "nan") != 0)
        return fail(in, reason);
    fb_pack_float(in->out, number);
    return end_tag(in);
}

static bool read_tuple(fb_json_reader *in)
{
    size_t start = in->out->length;
    if (!fb_json_array(in))
        return false;
    fb_pack_wrap_ext(in->out, start, FB_EXT_TUPLE);
    return end_tag(in);
}

static bool read_pair(fb_json_reader *in)
{
    static const char reason[] = "$map has pairs: [key, value]";
    return fb_json_expect(in, '[', reason) && fb_json_value(in) && fb_json_expect(in, ',', reason) && fb_json_value(in)
           && fb_json_expect(in, ']', reason);
}

static bool read_map(fb_json_reader *in)
{
    size_t start = in->out->length;
    uint64_t count;
    if (!fb_json_items(in, read_pair, &count))
        return false;
    fb_pack_wrap(in->out, start, FB_MAP, count);
    return end_tag(in);
}

/* An integer without a sign or fraction being left out: it must lie in this range. */
static bool read_small(fb_json_reader *in, int64_t least, int64_t most, const char *reason, int64_t *number_out)
{
    size_t start = in->out->length;
    if (!fb_json_value(in))
        return false;
    if (in->out->failed)
        return fail(in, "there is no memory for it");
    fb_reader packed = { .at = in->out->data + start, .end = in->out->data + in->out->length };
    fb_token token;
    bool is_small = fb_read_token(&packed, &token) && (token.type == FB_SIGNED || token.type == FB_UNSIGNED);
    int64_t number = !is_small ? 0 : token.type == FB_SIGNED ? token.number : (int64_t)token.count;
    in->out->length = start;
    if (!is_small || (token.type == FB_UNSIGNED && token.count > INT64_MAX) || number < least || number > most)
        return fail(in, reason);
    *number_out = number;
    return true;
}

static bool read_timedelta(fb_json_reader *in)
{
    static const char reason[] = "a timedelta is [days, seconds of a day, microseconds]";
    size_t start = in->out->length;
    int64_t days, seconds, microseconds;
    if (!fb_json_expect(in, '[', reason) || !read_small(in, -999999999, 999999999, reason, &days)
        || !fb_json_expect(in, ',', reason) || !read_small(in, 0, 86399, reason, &seconds)
        || !fb_json_expect(in, ',', reason) || !read_small(in, 0, 999999, reason, &microseconds)
        || !fb_json_expect(in, ']', reason))
        return false;
    fb_pack_signed(in->out, days);
    fb_pack_signed(in->out, seconds);
    fb_pack_signed(in->out, microseconds);
    fb_pack_wrap_ext(in->out, start, FB_EXT_TIMEDELTA);
    return end_tag(in);
}

static bool read_ext(fb_json_reader *in)
{
    static const char reason[] = "$ext is [number from -128 to 127, hexadecimal digits]";
    size_t start = in->out->length;
    int64_t ext;
    if (!fb_json_expect(in, '[', reason) || !read_small(in, INT8_MIN, INT8_MAX, reason, &ext)
        || !fb_json_expect(in, ',', reason) || !append_hex(in) || !fb_json_expect(in, ']', reason))
        return false;
    fb_pack_wrap_ext(in->out, start, (int8_t)ext);
    return end_tag(in);
}

/* ---- moments ---- */

/* "hh:mm:ss.uuuuuu" or a part of it; bytes that were read, 0 if it is none. */
static int scan_clock(const char *text, unsigned parts[4], bool seconds_may_be_left_out)
{
    int minutes = 0, seconds = 0, all = 0;
    parts[2] = parts[3] = 0;
    int found = sscanf(text, "%2u:%2u%n:%2u%n.%6u%n", &parts[0], &parts[1], &minutes, &parts[2], &seconds, &parts[3], &all);
    int length = found == 4 ? all : found == 3 ? seconds : found == 2 && seconds_may_be_left_out ? minutes : 0;
    bool is_full = length == 15 || length == 8 || (length == 5 && seconds_may_be_left_out);
    bool is_plain = is_full && strspn(text, "0123456789:.") >= (size_t)length;
    return is_plain && parts[0] < 24 && parts[1] < 60 && parts[2] < 60 ? length : 0;
}

/* The zone: "", "+01:00" with seconds and microseconds perhaps, or "[Europe/Berlin]". */
static bool append_zone(fb_packer *out, const char *text)
{
    size_t length = strlen(text);
    if (length == 0)
        return true;
    if (text[0] == '[') {
        if (length < 3 || text[length - 1] != ']' || memchr(text, ']', length - 1) != NULL)
            return false;
        fb_pack_str(out, text + 1, length - 2);
        return true;
    }
    unsigned parts[4];
    if ((text[0] != '+' && text[0] != '-') || scan_clock(text + 1, parts, true) != (int)length - 1)
        return false;
    int64_t size = ((int64_t)parts[0] * 3600 + parts[1] * 60 + parts[2]) * 1000000 + parts[3];
    int64_t total = text[0] == '-' ? -size : size;
    int64_t microseconds = (total % 1000000 + 1000000) % 1000000;
    fb_pack_signed(out, (total - microseconds) / 1000000); /* rounded down */
    if (microseconds != 0)
        fb_pack_signed(out, microseconds);
    return true;
}

/* The day of "2026-01-31T...", 0 if there is none such. */
static uint64_t scan_day(const char *text)
{
    unsigned char key[FOREBAY_KEY_MAX];
    char date[11];
    size_t length;
    if (strlen(text) < 11 || text[10] != 'T')
        return 0;
    memcpy(date, text, 10);
    date[10] = '\0';
    if (fb_encode_key(FB_KEY_DATE, date, key, &length) != NULL)
        return 0;
    return (uint64_t)key[1] << 24 | (uint64_t)key[2] << 16 | (uint64_t)key[3] << 8 | key[4];
}

/* , "fold": 1 may follow; nothing else. */
static bool read_fold(fb_json_reader *in, int64_t *fold_out)
{
    static const char reason[] = "only \"fold\": 1 may follow";
    *fold_out = 0;
    if (!fb_json_take(in, ','))
        return true;
    const char *name = take_plain_text(in, reason);
    if (name == NULL)
        return false;
    if (strcmp(name, "fold") != 0)
        return fail(in, reason);
    return fb_json_expect(in, ':', reason) && read_small(in, 0, 1, reason, fold_out);
}

static bool read_moment(fb_json_reader *in, bool has_date)
{
    const char *reason = has_date ? "a datetime is written as 2026-01-31T12:00:00.000000+01:00"
                                  : "a time is written as 12:00:00.000000, its zone behind it";
    size_t start = in->out->length, length;
    char *text = take_text(in, &length), *copy = text != NULL ? strdup(text) : NULL; /* `out` grows below */
    if (copy == NULL)
        return text != NULL ? fail(in, "there is no memory for it") : false;
    uint64_t day = has_date ? scan_day(copy) : 0;
    const char *clock = has_date && day != 0 ? copy + 11 : copy;
    unsigned parts[4];
    int used = strlen(copy) == length ? scan_clock(clock, parts, false) : 0;
    fb_pack_verbatim(in->out, "\0\0\0\0\0\0\0", 8);
    bool is_moment = (day != 0 || !has_date) && used > 0 && append_zone(in->out, clock + used);
    free(copy);
    int64_t fold;
    if (!is_moment)
        return fail(in, reason);
    if (!read_fold(in, &fold))
        return false;
    uint64_t bits = day << 38 | (uint64_t)parts[0] << 33 | (uint64_t)parts[1] << 27 | (uint64_t)parts[2] << 21
                    | (uint64_t)parts[3] << 1 | (uint64_t)fold;
    for (int i = 0; i < 8 && !in->out->failed; i++)
        in->out->data[start + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
    fb_pack_wrap_ext(in->out, start, has_date ? FB_EXT_DATETIME : FB_EXT_TIME);
    return end_tag(in);
}

static bool read_datetime(fb_json_reader *in)
{
    return read_moment(in, true);
}

static bool read_time(fb_json_reader *in)
{
    return read_moment(in, false);
}

/* ---- which one it is ---- */

typedef bool (*tag_reader)(fb_json_reader *in);
static const struct {
    const char *name;
    tag_reader read; /* from the value to the } */
} tags[] = {
    { "\"$bytes\"", read_bytes },         { "\"$tuple\"", read_tuple },       { "\"$map\"", read_map },
    { "\"$uuid\"", read_uuid },           { "\"$decimal\"", read_decimal },   { "\"$datetime\"", read_datetime },
    { "\"$date\"", read_date },           { "\"$time\"", read_time },         { "\"$float\"", read_float },
    { "\"$timedelta\"", read_timedelta }, { "\"$ext\"", read_ext },
};

bool fb_json_tagged(fb_json_reader *in, bool *is_tagged)
{
    *is_tagged = true;
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        size_t length = strlen(tags[i].name);
        if ((size_t)(in->end - in->at) < length || memcmp(in->at, tags[i].name, length) != 0)
            continue;
        in->at += length;
        return fb_json_expect(in, ':', "a name is followed by a colon") && tags[i].read(in);
    }
    *is_tagged = false;
    return true;
}
