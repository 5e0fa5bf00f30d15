/* SPDX-License-Identifier: Apache-2.0 */
#include "key_text.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "hex.h"

static const char too_long[] = "it is too long, a key takes at most 4095 bytes";
static_assert(FOREBAY_KEY_MAX == 4095, "the text above says so");

bool fb_parse_key_type(const char *text, fb_key_type *type_out)
{
    static const char *const names[] = {
        [FB_KEY_STR] = "str",   [FB_KEY_INT] = "int",   [FB_KEY_BYTES] = "bytes", [FB_KEY_UUID] = "uuid",
        [FB_KEY_DATE] = "date", [FB_KEY_BOOL] = "bool", [FB_KEY_RAW] = "raw",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *type_out = (fb_key_type)i;
            return true;
        }
    }
    return false;
}

static const char *encode_str(const char *text, unsigned char *key, size_t *length_out)
{
    size_t length = strlen(text);
    if (length >= FOREBAY_KEY_MAX)
        return too_long;
    key[0] = 's';
    memcpy(key + 1, text, length);
    *length_out = length + 1;
    return NULL;
}

/* Pairs of hexadecimal digits after the first *length_out bytes of `key`. */
static const char *append_hex(const char *text, unsigned char *key, size_t *length_out)
{
    size_t digits = strlen(text), length = *length_out;
    if (digits % 2 != 0)
        return "a byte takes two hexadecimal digits, as in 00ff";
    if (digits / 2 > FOREBAY_KEY_MAX - length)
        return too_long;
    for (size_t i = 0; i < digits; i += 2) {
        int byte = fb_hex_byte(text + i);
        if (byte < 0)
            return "write it in hexadecimal digits, as in 00ff";
        key[length++] = (unsigned char)byte;
    }
    *length_out = length;
    return NULL;
}

static const char *encode_bytes(const char *text, unsigned char *key, size_t *length_out)
{
    key[0] = 'b';
    *length_out = 1;
    return append_hex(text, key, length_out);
}

static const char *encode_raw(const char *text, unsigned char *key, size_t *length_out)
{
    *length_out = 0;
    return text[0] == '\0' ? "it is empty" : append_hex(text, key, length_out);
}

static const char *encode_uuid(const char *text, unsigned char *key, size_t *length_out)
{
    char digits[33];
    size_t count = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '-')
            continue;
        if (count == 32)
            return "a UUID has 32 hexadecimal digits";
        digits[count++] = *p;
    }
    if (count != 32)
        return "a UUID has 32 hexadecimal digits";
    digits[count] = '\0';
    key[0] = 'u';
    *length_out = 1;
    return append_hex(digits, key, length_out);
}

/* Decimal digits to a big-endian number that ends with `last`; its first byte. */
static unsigned char *parse_magnitude(const char *digits, unsigned char *first_allowed, unsigned char *last)
{
    unsigned char *first = last;
    *last = 0;
    for (; *digits != '\0'; digits++) {
        unsigned carry = (unsigned)(*digits - '0');
        for (unsigned char *p = last; p >= first; p--) {
            carry += *p * 10u;
            *p = (unsigned char)carry;
            carry >>= 8;
        }
        if (carry == 0)
            continue;
        if (first == first_allowed)
            return NULL;
        *--first = (unsigned char)carry;
    }
    return first;
}

static void negate(unsigned char *first, unsigned char *last)
{
    unsigned carry = 1;
    for (unsigned char *p = last; p >= first; p--) {
        carry += (unsigned)(unsigned char)~*p;
        *p = (unsigned char)carry;
        carry >>= 8;
    }
}

/* The shortest big-endian two's complement. */
static const char *encode_int(const char *text, unsigned char *key, size_t *length_out)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    if (digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
        return "write it in decimal digits";
    unsigned char number[FOREBAY_KEY_MAX + 1], *last = number + sizeof(number) - 1;
    digits += strspn(digits, "0"); /* "" is zero */
    unsigned char *first = parse_magnitude(digits, number + 1, last);
    if (first == NULL)
        return too_long;
    *--first = 0; /* room for the sign */
    if (text[0] == '-')
        negate(first, last);
    while (first < last && ((first[0] == 0 && first[1] < 0x80) || (first[0] == 0xff && first[1] >= 0x80)))
        first++;
    size_t length = (size_t)(last - first) + 1;
    if (length >= FOREBAY_KEY_MAX)
        return too_long;
    key[0] = 'i';
    memcpy(key + 1, first, length);
    *length_out = length + 1;
    return NULL;
}

static const char *encode_date(const char *text, unsigned char *key, size_t *length_out)
{
    static const unsigned char month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    static const char wrong[] = "write a date as 2026-01-31";
    unsigned year, month, day;
    int used = 0;
    if (strspn(text, "0123456789-") != 10 || sscanf(text, "%4u-%2u-%2u%n", &year, &month, &day, &used) != 3
        || used != 10 || text[10] != '\0')
        return wrong;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1]
        || (month == 2 && day == 29 && !leap))
        return "there is no such day";
    uint32_t bits = year << 9 | month << 5 | day;
    key[0] = 'd';
    for (int i = 0; i < 4; i++)
        key[1 + i] = (unsigned char)(bits >> (24 - 8 * i));
    *length_out = 5;
    return NULL;
}

static const char *encode_bool(const char *text, unsigned char *key, size_t *length_out)
{
    bool value = strcmp(text, "true") == 0;
    if (!value && strcmp(text, "false") != 0)
        return "write true or false";
    key[0] = value ? 'T' : 'F';
    *length_out = 1;
    return NULL;
}

const char *fb_encode_key(fb_key_type type, const char *text, unsigned char key[FOREBAY_KEY_MAX],
                          size_t *length_out)
{
    static const char *(*const encoders[])(const char *, unsigned char *, size_t *) = {
        [FB_KEY_STR] = encode_str,   [FB_KEY_INT] = encode_int,   [FB_KEY_BYTES] = encode_bytes,
        [FB_KEY_UUID] = encode_uuid, [FB_KEY_DATE] = encode_date, [FB_KEY_BOOL] = encode_bool,
        [FB_KEY_RAW] = encode_raw,
    };
    return encoders[type](text, key, length_out);
}
