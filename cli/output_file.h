/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is there whole or not at all. */
#ifndef FOREBAY_CLI_OUTPUT_FILE_H
#define FOREBAY_CLI_OUTPUT_FILE_H

#include <stdio.h>

/* What is written goes to a new file beside the target, readable by its owner only,
 * which fb_output_commit() gives the target's name.  A target that is no regular file
 * (a pipe, a device), and standard output, are written to directly. */
typedef struct fb_output {
    FILE *out;
    const char *path; /* as it was typed; NULL: standard output */
    char *target;     /* owned; the file to be replaced; NULL: written directly */
    char *temporary;  /* owned; NULL: written directly */
} fb_output;

/* `path` NULL or "-": standard output.  Returns an exit code; unless it is
 * FB_EXIT_OK the reason was printed and nothing is open. */
int fb_output_open(fb_output *output, const char *path);
/* All is written: put it in place.  The same. */
int fb_output_commit(fb_output *output);
/* Leave the target as it was. */
void fb_output_abandon(fb_output *output);

#endif
