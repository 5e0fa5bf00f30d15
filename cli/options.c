/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

#define NAME_LONGEST 31 /* longer words are no misspelling of ours */

static int smallest(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits (insert, remove, change, swap of neighbours) from `a` to `b`. */
static int edit_distance(const char *a, const char *b)
{
    int rows[3][NAME_LONGEST + 2];
    size_t length_a = strlen(a), length_b = strlen(b);
    if (length_a > NAME_LONGEST || length_b > NAME_LONGEST)
        return NAME_LONGEST;
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= length_b; j++)
        last[j] = (int)j;
    for (size_t i = 1; i <= length_a; i++) {
        now[0] = (int)i;
        for (size_t j = 1; j <= length_b; j++) {
            int change = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = smallest(last[j] + 1, now[j - 1] + 1, change);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        int *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[length_b];
}

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

const char *fb_nearest(const char *typed, const char *const *names, size_t count)
{
    const char *best = NULL;
    const char *letters = typed + strspn(typed, "-");
    int limit = strlen(letters) <= 3 ? 1 : 2;
    for (size_t i = 0; i < count; i++) {
        int distance = edit_distance(typed, names[i]);
        if (distance <= limit) {
            best = names[i];
            limit = distance - 1; /* only a nearer one from here on */
        }
    }
    for (size_t i = 0; best == NULL && strlen(letters) >= 2 && i < count; i++)
        if (begins_with(names[i], typed))
            best = names[i];
    return best;
}

static bool unknown_option(const fb_command *command, const char *typed)
{
    const char *names[FB_OPTIONS_MAX + 1];
    size_t count = 0;
    for (; count < command->option_count; count++)
        names[count] = command->options[count].name;
    names[count++] = "--help";
    char name[NAME_LONGEST + 1];
    size_t length = strcspn(typed, "=");
    const char *nearest = NULL;
    if (length < sizeof(name)) {
        memcpy(name, typed, length);
        name[length] = '\0';
        nearest = fb_nearest(name, names, count);
    }
    if (nearest != NULL)
        fb_usage("unknown option '%.*s'; did you mean '%s'?", (int)length, typed, nearest);
    else
        fb_usage("unknown option '%.*s'", (int)length, typed);
    return false;
}

/* Take argv[*i], an option, and its value; moves *i past them. */
static bool take_option(const fb_command *command, int argc, char **argv, int *i, fb_arguments *arguments)
{
    const char *typed = argv[*i];
    size_t length = strcspn(typed, "=");
    size_t k = 0;
    while (k < command->option_count
           && !(strlen(command->options[k].name) == length
                && memcmp(command->options[k].name, typed, length) == 0))
        k++;
    if (k == command->option_count)
        return unknown_option(command, typed);
    const fb_option *option = &command->options[k];
    const char *value = typed[length] == '=' ? typed + length + 1 : NULL;
    if (option->value == NULL && value != NULL) {
        fb_usage("the option '%s' takes no value", option->name);
        return false;
    }
    if (option->value == NULL) {
        value = "";
    } else if (value == NULL) {
        if (++*i >= argc) {
            fb_usage("the option '%s' needs a value: %s %s", option->name, option->name, option->value);
            return false;
        }
        value = argv[*i];
    }
    arguments->value[k] = value;
    ++*i;
    return true;
}

static bool looks_like_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0' && !isdigit((unsigned char)text[1]);
}

static bool take_positional(const fb_command *command, const char *text, fb_arguments *arguments)
{
    if (arguments->positional_count == command->arguments_max) {
        fb_usage("'%s' is one argument too many", text);
        return false;
    }
    arguments->positional[arguments->positional_count++] = text;
    return true;
}

bool fb_parse_arguments(const fb_command *command, int argc, char **argv, fb_arguments *arguments)
{
    *arguments = (fb_arguments){ 0 };
    bool options_end = false;
    for (int i = 0; i < argc;) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
            i++;
        } else if (!options_end && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            arguments->help = true;
            return true;
        } else if (!options_end && looks_like_option(argv[i])) {
            if (!take_option(command, argc, argv, &i, arguments))
                return false;
        } else if (!take_positional(command, argv[i++], arguments)) {
            return false;
        }
    }
    if (arguments->positional_count < command->arguments_min) {
        fb_usage("an argument is missing: forebay %s %s", command->name, command->synopsis);
        return false;
    }
    return true;
}

/* Bytes of one `unit`, 0 if it is none.  The same units as in Python. */
static uint64_t unit_bytes(const char *unit)
{
    static const char letters[] = "kmgt";
    if (unit[0] == '\0' || strcasecmp(unit, "b") == 0)
        return 1;
    const char *letter = strchr(letters, tolower((unsigned char)unit[0]));
    bool thousands = strcasecmp(unit + 1, "b") == 0;
    if (letter == NULL || (!thousands && strcasecmp(unit + 1, "ib") != 0))
        return 0;
    uint64_t bytes = 1;
    for (const char *p = letters; p <= letter; p++)
        bytes *= thousands ? 1000 : 1024;
    return bytes;
}

static bool parse_fractional_size(const char *text, uint64_t *bytes_out)
{
    char *end;
    double number = strtod(text, &end);
    uint64_t unit = unit_bytes(end + strspn(end, " "));
    double bytes = number * (double)unit;
    if (unit <= 1 || bytes >= 0x1p63)
        return false;
    *bytes_out = (uint64_t)bytes;
    return true;
}

bool fb_parse_size(const char *text, uint64_t *bytes_out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0)
        return false;
    if (text[digits] == '.') {
        size_t fraction = strspn(text + digits + 1, "0123456789");
        return fraction != 0 && parse_fractional_size(text, bytes_out);
    }
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    uint64_t unit = unit_bytes(text + digits + strspn(text + digits, " "));
    if (errno != 0 || unit == 0 || number > UINT64_MAX / unit)
        return false;
    *bytes_out = number * unit;
    return true;
}

bool fb_parse_count(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *count_out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] != '\0')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (errno != 0 || number < minimum || number > maximum)
        return false;
    *count_out = number;
    return true;
}

bool fb_parse_seconds(const char *text, double maximum, double *seconds_out)
{
    size_t length = strspn(text, "0123456789.");
    char *end;
    double seconds = strtod(text, &end);
    if (length == 0 || text[length] != '\0' || *end != '\0' || end == text)
        return false;
    if (!(seconds > 0) || seconds > maximum)
        return false;
    *seconds_out = seconds;
    return true;
}

bool fb_parse_mode(const char *text, mode_t *mode_out)
{
    size_t digits = strspn(text, "01234567");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    unsigned long mode = strtoul(text, NULL, 8);
    if ((mode & ~0777ul) != 0 || (mode & 0600) != 0600)
        return false;
    *mode_out = (mode_t)mode;
    return true;
}
