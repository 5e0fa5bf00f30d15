/* SPDX-License-Identifier: Apache-2.0 */
#include "help.h"

const char *fb_exit_meaning(int code)
{
    static const char *const meanings[] = {
        [FB_EXIT_OK] = "success",
        [FB_EXIT_NOT_FOUND] = "no such cache or key, or (verify) the arena is damaged",
        [FB_EXIT_USAGE] = "wrong usage",
        [FB_EXIT_ERROR] = "the operating system or the arena refused",
    };
    return (size_t)code < sizeof(meanings) / sizeof(meanings[0]) ? meanings[code] : NULL;
}

void fb_print_tool_help(FILE *out, const fb_command *const *commands, size_t count)
{
    fputs("usage: forebay COMMAND ...\n\n"
          "Look at and look after Forebay arenas: caches in memory shared by processes.\n\n",
          out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n'forebay COMMAND --help' explains one command, 'forebay help --man COMMAND | man -l -' is its\n"
          "manual page; 'forebay --version' prints the version.\n\n"
          "exit codes:\n",
          out);
    for (int code = 0; fb_exit_meaning(code) != NULL; code++)
        fprintf(out, "  %d  %s\n", code, fb_exit_meaning(code));
}

void fb_print_command_help(const fb_command *command)
{
    printf("usage: forebay %s %s\n\n%s\n", command->name, command->synopsis, command->details);
    fputs("options:\n", stdout);
    for (size_t i = 0; i < command->option_count; i++) {
        const fb_option *option = &command->options[i];
        char left[40];
        snprintf(left, sizeof(left), "%s%s%s", option->name, option->value != NULL ? " " : "",
                 option->value != NULL ? option->value : "");
        printf("  %-20s %s\n", left, option->help);
    }
    printf("  %-20s %s\n", "--help", "print this");
}
