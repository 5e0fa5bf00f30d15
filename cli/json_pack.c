/* SPDX-License-Identifier: Apache-2.0 */
#include "json_pack.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json_tags.h"
#include "key_text.h"
#include "utf8.h"

#define DEPTH_MAX 500     /* levels of JSON, as fb_payload_write_json() writes them */
#define NUMBER_TEXT 10000 /* bytes of a number, its end included */

static const char no_memory[] = "there is no memory for it";

static bool fail(fb_json_reader *in, const char *reason)
{
    in->reason = reason;
    return false;
}

static void skip_space(fb_json_reader *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\r' || *in->at == '\n'))
        in->at++;
}

bool fb_json_take(fb_json_reader *in, char wanted)
{
    skip_space(in);
    if (in->at == in->end || *in->at != wanted)
        return false;
    in->at++;
    return true;
}

bool fb_json_expect(fb_json_reader *in, char wanted, const char *reason)
{
    return fb_json_take(in, wanted) || fail(in, reason);
}

static bool take_word(fb_json_reader *in, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0)
        return false;
    in->at += length;
    return true;
}

/* ---- strings ---- */

static bool read_hex4(fb_json_reader *in, uint32_t *unit_out)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++, in->at++) {
        char c = in->at < in->end ? *in->at : '\0';
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return fail(in, "\\u is followed by four hexadecimal digits");
        unit = unit << 4 | (uint32_t)digit;
    }
    *unit_out = unit;
    return true;
}

/* As UTF-8, surrogates with the three bytes that their number would give. */
static void append_character(fb_json_reader *in, uint32_t c)
{
    unsigned char bytes[4];
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        bytes[i] = (unsigned char)(0x80 | (c & 0x3f));
    bytes[0] = (unsigned char)(first[length] | c);
    fb_pack_verbatim(in->out, bytes, length);
}

static bool is_surrogate(uint32_t c)
{
    return c >= 0xd800 && c < 0xe000;
}

/* What follows \u: one character, of two such units if they are a pair. */
static bool read_unicode_escape(fb_json_reader *in, bool *wide)
{
    uint32_t unit, low;
    if (!read_hex4(in, &unit))
        return false;
    if (unit >= 0xd800 && unit < 0xdc00 && in->end - in->at >= 2 && in->at[0] == '\\' && in->at[1] == 'u') {
        const char *before = in->at;
        in->at += 2;
        if (!read_hex4(in, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        else
            in->at = before;
    }
    *wide |= is_surrogate(unit);
    append_character(in, unit);
    return true;
}

static bool read_escape(fb_json_reader *in, bool *wide)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (in->at == in->end)
        return fail(in, "a string has no end");
    char letter = *in->at++;
    if (letter == 'u')
        return read_unicode_escape(in, wide);
    const char *found = letter != '\0' ? strchr(letters, letter) : NULL;
    if (found == NULL)
        return fail(in, "there is no such escape as after this backslash");
    fb_pack_verbatim(in->out, &meant[found - letters], 1);
    return true;
}

/* Append the ASCII that comes next and stands for itself. */
static void read_plain(fb_json_reader *in)
{
    const char *start = in->at;
    while (in->at < in->end && *in->at >= ' ' && *in->at <= '~' && *in->at != '"' && *in->at != '\\')
        in->at++;
    fb_pack_verbatim(in->out, start, (size_t)(in->at - start));
}

bool fb_json_string_content(fb_json_reader *in, bool *wide)
{
    *wide = false;
    if (!fb_json_expect(in, '"', "a string belongs here"))
        return false;
    for (read_plain(in); in->at < in->end && *in->at != '"'; read_plain(in)) {
        uint32_t character;
        size_t taken = fb_decode_utf8((const unsigned char *)in->at, (size_t)(in->end - in->at), &character);
        if (taken == 0)
            return fail(in, "it is no UTF-8");
        if (character < 0x20)
            return fail(in, "a control character in a string is written as an escape");
        if (character == '\\') {
            in->at++;
            if (!read_escape(in, wide))
                return false;
            continue;
        }
        *wide |= is_surrogate(character);
        fb_pack_verbatim(in->out, in->at, taken);
        in->at += taken;
    }
    return fb_json_expect(in, '"', "a string has no end");
}

static bool read_string(fb_json_reader *in)
{
    size_t start = in->out->length;
    bool wide;
    if (!fb_json_string_content(in, &wide))
        return false;
    if (wide)
        fb_pack_wrap_ext(in->out, start, FB_EXT_WIDE_STR);
    else
        fb_pack_wrap(in->out, start, FB_STR, 0);
    return true;
}

/* ---- numbers ---- */

static size_t span_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* An integer beyond 64 bits. */
static const char *pack_big_integer(fb_packer *out, const char *text)
{
    unsigned char key[FOREBAY_KEY_MAX]; /* 'i', then what an extension takes too */
    size_t length;
    const char *wrong = fb_encode_key(FB_KEY_INT, text, key, &length);
    if (wrong == NULL)
        fb_pack_ext(out, FB_EXT_BIG_INT, key + 1, length - 1);
    return wrong == NULL ? NULL : "an integer has too many digits";
}

static const char *pack_integer(fb_packer *out, const char *text)
{
    const char *digits = text + (text[0] == '-');
    errno = 0;
    unsigned long long size = strtoull(digits, NULL, 10);
    bool fits = errno == 0 && (text[0] != '-' || size <= (unsigned long long)INT64_MAX + 1);
    if (!fits)
        return pack_big_integer(out, text);
    if (text[0] != '-')
        fb_pack_unsigned(out, size);
    else
        fb_pack_signed(out, (int64_t)(0 - size));
    return NULL;
}

static const char *pack_float(fb_packer *out, const char *text)
{
    double number = strtod(text, NULL);
    fb_pack_float(out, number);
    return isfinite(number) ? NULL : "a number is too large for a float";
}

/* Length of the number that begins here, 0 if none does; whether it is an integer. */
static size_t measure_number(const char *text, bool *is_integer)
{
    const char *p = text + (text[0] == '-');
    size_t digits = span_digits(p);
    if (digits == 0 || (digits > 1 && p[0] == '0'))
        return 0;
    p += digits;
    const char *whole = p;
    if (*p == '.') {
        digits = span_digits(p + 1);
        if (digits == 0)
            return 0;
        p += 1 + digits;
    }
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '-' || p[1] == '+');
        digits = span_digits(p);
        if (digits == 0)
            return 0;
        p += digits;
    }
    *is_integer = p == whole;
    return (size_t)(p - text);
}

/* Not inlined: read_value() calls itself up to DEPTH_MAX times. */
static __attribute__((noinline)) bool read_number(fb_json_reader *in)
{
    char text[NUMBER_TEXT];
    size_t length = 0;
    bool is_integer = false;
    for (; in->at + length < in->end && strchr("+-.0123456789eE", in->at[length]) != NULL && in->at[length] != '\0'; length++) {
        if (length + 1 == sizeof(text))
            return fail(in, "a number has too many digits");
        text[length] = in->at[length];
    }
    text[length] = '\0';
    if (length == 0 || measure_number(text, &is_integer) != length)
        return fail(in, length == 0 ? "a value belongs here" : "a number is not written as JSON has it");
    const char *wrong = is_integer ? pack_integer(in->out, text) : pack_float(in->out, text);
    if (wrong != NULL)
        return fail(in, wrong);
    in->at += length;
    return true;
}

/* ---- containers ---- */

bool fb_json_items(fb_json_reader *in, bool (*item)(fb_json_reader *in), uint64_t *count_out)
{
    *count_out = 0;
    if (!fb_json_expect(in, '[', "an array belongs here"))
        return false;
    if (fb_json_take(in, ']'))
        return true;
    do {
        if (!item(in))
            return false;
        ++*count_out;
    } while (fb_json_take(in, ','));
    return fb_json_expect(in, ']', "an array goes on with a comma or ends with ]");
}

bool fb_json_array(fb_json_reader *in)
{
    size_t start = in->out->length;
    uint64_t count;
    if (!fb_json_items(in, fb_json_value, &count))
        return false;
    fb_pack_wrap(in->out, start, FB_ARRAY, count);
    return true;
}

/* What follows { of an object that is no tag. */
static bool read_members(fb_json_reader *in)
{
    size_t start = in->out->length;
    uint64_t count = 0;
    if (!fb_json_take(in, '}')) {
        do {
            if (!read_string(in) || !fb_json_expect(in, ':', "a name is followed by a colon") || !fb_json_value(in))
                return false;
            count++;
        } while (fb_json_take(in, ','));
        if (!fb_json_expect(in, '}', "an object goes on with a comma or ends with }"))
            return false;
    }
    fb_pack_wrap(in->out, start, FB_MAP, count);
    return true;
}

static bool read_object(fb_json_reader *in)
{
    in->at++;
    skip_space(in);
    bool is_tagged;
    return fb_json_tagged(in, &is_tagged) && (is_tagged || read_members(in));
}

bool fb_json_value(fb_json_reader *in)
{
    skip_space(in);
    char first = in->at < in->end ? *in->at : '\0';
    if (first == '"')
        return read_string(in);
    if (first == '{' || first == '[') {
        if (++in->depth > DEPTH_MAX)
            return fail(in, "it is nested too deeply");
        bool done = first == '{' ? read_object(in) : fb_json_array(in);
        in->depth--;
        return done;
    }
    if (take_word(in, "null"))
        fb_pack_nil(in->out);
    else if (take_word(in, "true"))
        fb_pack_bool(in->out, true);
    else if (take_word(in, "false"))
        fb_pack_bool(in->out, false);
    else
        return read_number(in);
    return true;
}

bool fb_json_to_pack(const char *text, size_t length, fb_packer *out, const char **reason_out, size_t *at_out)
{
    fb_json_reader in = { .at = text, .end = text + length, .out = out };
    bool done = fb_json_value(&in);
    skip_space(&in);
    if (done && in.at != in.end)
        done = fail(&in, "something follows the end of the value");
    if (done && out->failed)
        done = fail(&in, no_memory);
    *reason_out = in.reason;
    *at_out = (size_t)(in.at - text);
    return done;
}
