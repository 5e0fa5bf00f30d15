/* SPDX-License-Identifier: Apache-2.0 */
#include "complete.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* What was typed of a command before the word at hand. */
typedef struct typed_words {
    const fb_command *command;
    const char *arena;               /* the first argument; NULL: none yet */
    int arguments;                   /* positional ones */
    const fb_option *open;           /* the option whose value comes next */
    bool options_end;                /* "--" came */
    bool given[FB_OPTIONS_MAX];
} typed_words;

static void put(const char *prefix, const char *word, size_t length, const char *explanation)
{
    printf("%s%.*s", prefix, (int)length, word);
    if (explanation != NULL)
        printf("\t%s", explanation);
    putchar('\n');
}

static void put_commands(const fb_command *const *commands, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put("", commands[i]->name, strlen(commands[i]->name), commands[i]->summary);
    put("", "help", 4, "explain a command");
}

/* The option named by the first `length` bytes of `word`; NULL: none is. */
static const fb_option *find_option(const fb_command *command, const char *word, size_t length)
{
    for (size_t i = 0; i < command->option_count; i++)
        if (strlen(command->options[i].name) == length && memcmp(command->options[i].name, word, length) == 0)
            return &command->options[i];
    return NULL;
}

static void read_word(typed_words *typed, const char *word)
{
    const fb_option *option = find_option(typed->command, word, strcspn(word, "="));
    if (typed->open != NULL) {
        typed->open = NULL;
    } else if (!typed->options_end && strcmp(word, "--") == 0) {
        typed->options_end = true;
    } else if (!typed->options_end && option != NULL) {
        typed->given[option - typed->command->options] = true;
        typed->open = option->value != NULL && strchr(word, '=') == NULL ? option : NULL;
    } else if (typed->arguments++ == 0) {
        typed->arena = word;
    }
}

/* A name that a terminal, or a shell's list of lines, would take for something else. */
static bool is_printable(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (iscntrl((unsigned char)*p))
            return false;
    return true;
}

static void put_caches(const typed_words *typed, const char *prefix)
{
    forebay_arena *arena;
    forebay_error error;
    char name[FOREBAY_NAME_MAX + 1];
    if (typed->arena == NULL || forebay_arena_open(typed->arena, NULL, &arena, &error) != FOREBAY_OK)
        return;
    for (uint32_t i = 0; forebay_cache_name_at(arena, i, name); i++)
        if (is_printable(name))
            put(prefix, name, strlen(name), NULL);
    forebay_arena_close(arena);
}

/* What belongs where the help says `meaning`: "PATH", "CACHE", "jsonl|msgpack". */
static void put_values(const typed_words *typed, const char *prefix, const char *meaning, size_t length)
{
    const char *end = meaning + length;
    if (length == 5 && memcmp(meaning, "CACHE", 5) == 0)
        put_caches(typed, prefix);
    else if (length == 4 && (memcmp(meaning, "PATH", 4) == 0 || memcmp(meaning, "FILE", 4) == 0))
        puts(":files");
    else if (memchr(meaning, '|', length) != NULL)
        for (const char *next; meaning < end; meaning = next + 1) {
            next = memchr(meaning, '|', (size_t)(end - meaning));
            next = next != NULL ? next : end;
            put(prefix, meaning, (size_t)(next - meaning), NULL);
        }
}

/* The next argument, as the synopsis names it: "PATH [CACHE] [--force]". */
static void put_argument(const typed_words *typed)
{
    const char *word = typed->command->synopsis;
    for (int i = 0; *word != '\0' && word[strspn(word, "[")] != '-'; i++) {
        size_t length = strcspn(word, " ");
        size_t brackets = word[0] == '[' ? 1 : 0;
        if (i == typed->arguments)
            put_values(typed, "", word + brackets, length - 2 * brackets);
        word += length + (word[length] == ' ');
    }
}

static void put_options(const typed_words *typed)
{
    for (size_t i = 0; i < typed->command->option_count; i++)
        if (!typed->given[i])
            put("", typed->command->options[i].name, strlen(typed->command->options[i].name), typed->command->options[i].help);
    put("", "--help", 6, "explain the command");
}

static void complete_word(const typed_words *typed, const char *word)
{
    size_t name_length = strcspn(word, "=");
    char prefix[64];
    const fb_option *option = word[name_length] == '=' ? find_option(typed->command, word, name_length) : NULL;
    if (typed->open != NULL) {
        put_values(typed, "", typed->open->value, strlen(typed->open->value));
    } else if (!typed->options_end && option != NULL && option->value != NULL) {
        snprintf(prefix, sizeof(prefix), "%s=", option->name);
        put_values(typed, prefix, option->value, strlen(option->value));
    } else if (!typed->options_end && word[0] == '-') {
        put_options(typed);
    } else {
        put_argument(typed);
    }
}

void fb_complete(const fb_command *const *commands, size_t count, int word_count, char **words)
{
    typed_words typed = { 0 };
    bool names_command = word_count == 1 || (word_count == 2 && strcmp(words[0], "help") == 0);
    if (names_command && words[word_count - 1][0] != '-')
        put_commands(commands, count);
    else if (word_count == 1)
        puts("--help\tlist the commands\n--version\tprint the version");
    for (size_t i = 0; i < count && word_count > 1; i++)
        if (strcmp(commands[i]->name, words[0]) == 0 && commands[i]->run != NULL)
            typed.command = commands[i];
    if (typed.command == NULL)
        return;
    for (int i = 1; i < word_count - 1; i++)
        read_word(&typed, words[i]);
    complete_word(&typed, words[word_count - 1]);
}
