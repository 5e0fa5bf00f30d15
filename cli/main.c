/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "complete.h"
#include "help.h"
#include "manual.h"

static const fb_command *const commands[] = {
    &fb_cmd_create, &fb_cmd_stat, &fb_cmd_top, &fb_cmd_verify, &fb_cmd_get, &fb_cmd_drop, &fb_cmd_dump,
    &fb_cmd_load, &fb_cmd_bench, &fb_cmd_demo,
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const fb_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *typed)
{
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i]->name;
    const char *nearest = fb_nearest(typed, names, COMMAND_COUNT);
    if (nearest != NULL)
        return fb_usage("unknown command '%s'; did you mean '%s'?", typed, nearest);
    return fb_usage("unknown command '%s'", typed);
}

static int run_command(const fb_command *command, int argc, char **argv)
{
    fb_set_command_name(command->name);
    if (command->run_raw != NULL)
        return command->run_raw(argc, argv);
    fb_arguments arguments;
    if (!fb_parse_arguments(command, argc, argv, &arguments))
        return FB_EXIT_USAGE;
    if (arguments.help) {
        fb_print_command_help(command);
        return FB_EXIT_OK;
    }
    return command->run(&arguments);
}

/* "forebay help [COMMAND]", "forebay help --man [COMMAND]" */
static int run_help(int argc, char **argv)
{
    bool as_manual = argc > 0 && strcmp(argv[0], "--man") == 0;
    const char *name = argc > as_manual ? argv[as_manual] : NULL;
    const fb_command *command = name != NULL ? find_command(name) : NULL;
    if (name != NULL && command == NULL)
        return unknown_command(name);
    if (command != NULL && as_manual)
        fb_print_command_manual(command);
    else if (command != NULL)
        fb_print_command_help(command);
    else if (as_manual)
        fb_print_tool_manual(commands, COMMAND_COUNT);
    else
        fb_print_tool_help(stdout, commands, COMMAND_COUNT);
    return FB_EXIT_OK;
}

static int run_tool(int argc, char **argv)
{
    if (argc < 2) {
        fb_print_tool_help(stderr, commands, COMMAND_COUNT);
        return FB_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return run_help(argc - 2, argv + 2);
    if (strcmp(word, "--version") == 0) {
        printf("forebay %s\n", forebay_version());
        return FB_EXIT_OK;
    }
    if (strcmp(word, "__complete") == 0 && argc > 2) { /* for scripts; not in the help */
        fb_complete(commands, COMMAND_COUNT, argc - 2, argv + 2);
        return FB_EXIT_OK;
    }
    const fb_command *command = find_command(word);
    if (command != NULL)
        return run_command(command, argc - 2, argv + 2);
    if (word[0] == '-') {
        static const char *const options[] = { "--help", "--version" };
        const char *nearest = fb_nearest(word, options, 2);
        return nearest != NULL ? fb_usage("unknown option '%s'; did you mean '%s'?", word, nearest)
                               : fb_usage("unknown option '%s'", word);
    }
    return unknown_command(word);
}

/* Fill closed standard descriptors: else the arena could become descriptor 1
 * and be printed over. */
static void open_standard_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = dup(fd);
    if (fd < 0)
        _exit(FB_EXIT_ERROR);
    close(fd);
}

int main(int argc, char **argv)
{
    open_standard_descriptors();
    signal(SIGPIPE, SIG_IGN); /* "| head" ends in EPIPE, see fb_finish_output() */
    return fb_finish_output(run_tool(argc, argv));
}
