/* SPDX-License-Identifier: Apache-2.0 */
/* What a shell asks when Tab is pressed, for the scripts of cli/completions/. */
#ifndef FOREBAY_CLI_COMPLETE_H
#define FOREBAY_CLI_COMPLETE_H

#include <stddef.h>

#include "cli.h"

/* `words` are those after "forebay", the last one being typed, "" if it was not begun.
 * Prints what it may become, one a line, a tab and an explanation behind it where there
 * is one; ":files" alone where names of files belong.  Whoever asks picks by the prefix. */
void fb_complete(const fb_command *const *commands, size_t count, int word_count, char **words);

#endif
