/* SPDX-License-Identifier: Apache-2.0 */
#include "manual.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "help.h"

/* ---- text ---- */

/* Characters that typesetters replace by finer ones are written as what they are. */
static void put_character(char c)
{
    static const char plain[] = "\\-'`^~";
    static const char *const escaped[] = { "\\e", "\\-", "\\(aq", "\\(ga", "\\(ha", "\\(ti" };
    const char *found = strchr(plain, c);
    if (found != NULL)
        fputs(escaped[found - plain], stdout);
    else
        putchar(c);
}

static void put_span(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        put_character(text[i]);
}

static void put_styled(char style, const char *text, size_t length)
{
    printf("\\f%c", style);
    put_span(text, length);
    fputs("\\fR", stdout);
}

/* Length of the word that is typed as it is ("--size") or stands for one ("SIZE") and
 * begins here; 0: none does.  `before` is the character before it. */
static size_t typed_length(const char *text, char before)
{
    size_t hyphens = strspn(text, "-");
    bool begins = !isalnum((unsigned char)before) && before != '-' && before != '$' && before != '_';
    if (!begins || hyphens == 0 || hyphens > 2 || !islower((unsigned char)text[hyphens]))
        return 0;
    return hyphens + strspn(text + hyphens, "abcdefghijklmnopqrstuvwxyz-");
}

static size_t placeholder_length(const char *text, char before)
{
    size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    bool is_word = length >= 2 && !isalnum((unsigned char)before) && before != '$' && before != '_'
                   && !isalnum((unsigned char)text[length]) && text[length] != '_';
    return is_word ? length : 0;
}

static bool has_word(const char *text, const char *word, size_t length)
{
    for (char before = ' '; *text != '\0'; before = *text++)
        if (placeholder_length(text, before) == length && memcmp(text, word, length) == 0)
            return true;
    return false;
}

/* Text of one line: options are bold, and italic what stands for something in `synopsis`. */
static void put_text(const char *text, size_t length, const char *synopsis)
{
    const char *end = text + length;
    char before = ' ';
    if (length > 0 && text[0] == '.')
        fputs("\\&", stdout); /* no request */
    while (text < end) {
        size_t typed = typed_length(text, before), meant = placeholder_length(text, before);
        size_t taken = typed + meant != 0 ? typed + meant : 1;
        if (typed != 0)
            put_styled('B', text, typed);
        else if (meant != 0 && has_word(synopsis, text, meant))
            put_styled('I', text, meant);
        else
            put_span(text, taken);
        text += taken;
        before = text[-1];
    }
}

/* Paragraphs with an empty line between; what is indented is shown as it stands. */
static void put_paragraphs(const char *text, const char *synopsis)
{
    bool is_example = false;
    for (size_t length; *text != '\0'; text += length + (text[length] == '\n')) {
        length = strcspn(text, "\n");
        bool indented = strncmp(text, "  ", 2) == 0;
        if (indented != is_example)
            puts(indented ? ".EX" : ".EE");
        is_example = indented;
        if (length == 0) {
            puts(".PP");
            continue;
        }
        put_text(text, length, indented ? "" : synopsis);
        putchar('\n');
    }
    if (is_example)
        puts(".EE");
}

/* ---- pages ---- */

static void put_head(const char *name, const char *summary)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    time_t moment = epoch != NULL ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
    struct tm day;
    char date[32];
    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&moment, &day));
    fputs(".TH ", stdout);
    for (const char *p = name; *p != '\0'; p++)
        put_character((char)toupper((unsigned char)*p));
    printf(" 1 \"%s\" \"forebay %s\" \"Forebay\"\n.SH NAME\n", date, forebay_version());
    put_span(name, strlen(name));
    fputs(" \\- ", stdout);
    put_span(summary, strlen(summary));
    puts("\n.SH SYNOPSIS");
}

static void put_option(const char *name, const char *value, const char *help)
{
    puts(".TP");
    put_styled('B', name, strlen(name));
    for (const char *p = value; p != NULL && *p != '\0'; p++) {
        size_t word = placeholder_length(p, p == value ? ' ' : p[-1]);
        if (p == value)
            putchar(' ');
        if (word != 0)
            put_styled('I', p, word), p += word - 1;
        else
            put_character(*p);
    }
    putchar('\n');
    put_text(help, strlen(help), value != NULL ? value : "");
    putchar('\n');
}

static void put_exit_codes(void)
{
    puts(".SH EXIT STATUS");
    for (int code = 0; fb_exit_meaning(code) != NULL; code++)
        printf(".TP\n%d\n%s\n", code, fb_exit_meaning(code));
}

void fb_print_tool_manual(const fb_command *const *commands, size_t count)
{
    put_head("forebay", "look at and look after arenas, caches in memory shared by processes");
    puts("\\fBforebay\\fR \\fICOMMAND\\fR ...\n.SH DESCRIPTION\n"
         "An arena is one memory-mapped file per machine that all worker processes read and write\n"
         "directly. \\fBforebay\\fR opens it as any process does: nothing has to be stopped, and what\n"
         "runs does not wait for it. Each command has a manual page.\n.SH COMMANDS");
    for (size_t i = 0; i < count; i++)
        printf(".TP\n\\fBforebay\\-%s\\fR(1)\n%s\n", commands[i]->name, commands[i]->summary);
    puts(".SH OPTIONS");
    put_option("--help", NULL, "list the commands; after a command: explain that");
    put_option("--version", NULL, "print the version");
    put_exit_codes();
}

void fb_print_command_manual(const fb_command *command)
{
    char name[64];
    snprintf(name, sizeof(name), "forebay-%s", command->name);
    put_head(name, command->summary);
    printf("\\fBforebay %s\\fR ", command->name);
    put_text(command->synopsis, strlen(command->synopsis), command->synopsis);
    puts("\n.SH DESCRIPTION");
    put_paragraphs(command->details, command->synopsis);
    puts(".SH OPTIONS");
    for (size_t i = 0; i < command->option_count; i++)
        put_option(command->options[i].name, command->options[i].value, command->options[i].help);
    put_option("--help", NULL, "explain the command");
    put_exit_codes();
    puts(".SH SEE ALSO\n\\fBforebay\\fR(1)");
}
