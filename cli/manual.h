/* SPDX-License-Identifier: Apache-2.0 */
/* Manual pages, in the language of man(7), made from the tables of the subcommands. */
#ifndef FOREBAY_CLI_MANUAL_H
#define FOREBAY_CLI_MANUAL_H

#include <stddef.h>

#include "cli.h"

/* Print the page forebay(1), or forebay-COMMAND(1).  Its date is $SOURCE_DATE_EPOCH,
 * so that a build can be repeated, else today. */
void fb_print_tool_manual(const fb_command *const *commands, size_t count);
void fb_print_command_manual(const fb_command *command);

#endif
