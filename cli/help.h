/* SPDX-License-Identifier: Apache-2.0 */
/* What the command says of itself, made from the tables of its subcommands. */
#ifndef FOREBAY_CLI_HELP_H
#define FOREBAY_CLI_HELP_H

#include <stddef.h>
#include <stdio.h>

#include "cli.h"

/* What an exit code means, in a few words; NULL: there is no such code. */
const char *fb_exit_meaning(int code);

/* "forebay --help", "forebay COMMAND --help". */
void fb_print_tool_help(FILE *out, const fb_command *const *commands, size_t count);
void fb_print_command_help(const fb_command *command);

#endif
