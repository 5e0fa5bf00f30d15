/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT, SIGTERM and SIGHUP for commands that have something to put away first. */
#ifndef FOREBAY_CLI_INTERRUPT_H
#define FOREBAY_CLI_INTERRUPT_H

#include <stdbool.h>

/* From now on the signals only make fb_interrupted() true, and end waits in system calls. */
void fb_catch_interrupts(void);
bool fb_interrupted(void);
/* After the putting away: end the process by the signal that came, as whoever sent it
 * expects.  Returns `code` if none came. */
int fb_end_interrupted(int code);

#endif
