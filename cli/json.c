/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static void separate(fb_json *json)
{
    if (json->comma)
        putc(',', json->out);
    json->comma = true;
}

static void begin(fb_json *json, char bracket)
{
    separate(json);
    putc(bracket, json->out);
    json->comma = false;
}

static void end(fb_json *json, char bracket)
{
    putc(bracket, json->out);
    json->comma = true;
}

void fb_json_begin_object(fb_json *json)
{
    begin(json, '{');
}

void fb_json_end_object(fb_json *json)
{
    end(json, '}');
}

void fb_json_begin_array(fb_json *json)
{
    begin(json, '[');
}

void fb_json_end_array(fb_json *json)
{
    end(json, ']');
}

/* How many bytes from here on stand for themselves in a string. */
static size_t plain_length(const unsigned char *bytes, size_t length)
{
    size_t i = 0;
    while (i < length && bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\')
        i++;
    return i;
}

/* One that does not. */
static void write_escaped(FILE *out, uint32_t character)
{
    static const char named[] = "\b\f\n\r\t";
    if (character == '"' || character == '\\')
        fprintf(out, "\\%c", (char)character);
    else if (character != 0 && character < 0x20 && strchr(named, (char)character) != NULL)
        fprintf(out, "\\%c", "bfnrt"[strchr(named, (char)character) - named]);
    else if (character < 0x10000)
        fprintf(out, "\\u%04x", character);
    else
        fprintf(out, "\\u%04x\\u%04x", 0xd800 + ((character - 0x10000) >> 10),
                0xdc00 + ((character - 0x10000) & 0x3ff));
}

static void write_string(FILE *out, const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    putc('"', out);
    for (size_t i = 0; i < length;) {
        size_t plain = plain_length(bytes + i, length - i);
        fwrite(bytes + i, 1, plain, out);
        i += plain;
        if (i == length)
            break;
        uint32_t character;
        size_t taken = fb_decode_utf8(bytes + i, length - i, &character);
        if (taken == 0) {
            character = 0xdc00u + bytes[i];
            taken = 1;
        }
        write_escaped(out, character);
        i += taken;
    }
    putc('"', out);
}

void fb_json_name_bytes(fb_json *json, const char *name, size_t length)
{
    separate(json);
    write_string(json->out, name, length);
    putc(':', json->out);
    json->comma = false;
}

void fb_json_name(fb_json *json, const char *name)
{
    fb_json_name_bytes(json, name, strlen(name));
}

void fb_json_string_bytes(fb_json *json, const char *text, size_t length)
{
    separate(json);
    write_string(json->out, text, length);
}

void fb_json_string(fb_json *json, const char *text)
{
    fb_json_string_bytes(json, text, strlen(text));
}

void fb_json_hex(fb_json *json, const unsigned char *bytes, size_t length)
{
    separate(json);
    putc('"', json->out);
    for (size_t i = 0; i < length; i++) {
        putc("0123456789abcdef"[bytes[i] >> 4], json -> out);
        putc("0123456789abcdef"[bytes[i] & 15], json -> out);
    }
    putc('"', json->out);
}

void fb_json_unsigned(fb_json *json, uint64_t number)
{
    separate(json);
    fprintf(json->out, "%" PRIu64, number);
}

void fb_json_signed(fb_json *json, int64_t number)
{
    separate(json);
    fprintf(json->out, "%" PRId64, number);
}

void fb_json_double(fb_json *json, double number)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    separate(json);
    fputs(text, json->out);
    if (strpbrk(text, ".e") == NULL)
        fputs(".0", json->out); /* a float stays one for whoever reads it */
}

void fb_json_bool(fb_json *json, bool value)
{
    separate(json);
    fputs(value ? "true" : "false", json->out);
}

void fb_json_null(fb_json *json)
{
    separate(json);
    fputs("null", json->out);
}

void fb_json_verbatim(fb_json *json, const char *text, size_t length)
{
    separate(json);
    fwrite(text, 1, length, json->out);
}

void fb_json_end(fb_json *json)
{
    putc('\n', json->out);
    json->comma = false;
}
