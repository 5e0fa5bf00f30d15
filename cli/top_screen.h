/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal of `forebay top`.  There is one; the other file of the two that implement this is for builds
 * without ncurses. */
#ifndef FOREBAY_CLI_TOP_SCREEN_H
#define FOREBAY_CLI_TOP_SCREEN_H

#include <signal.h>

#include "top_canvas.h"

/* What happened while waiting. */
typedef enum top_event {
    TOP_EVENT_TIME, /* nothing, until it was over */
    TOP_EVENT_KEY,
    TOP_EVENT_RESIZE,
    TOP_EVENT_END, /* a signal asks to end, or the terminal went away */
} top_event;

/* Take the terminal over; signals that are `held` (blocked) end fb_screen_wait(); `colours`: if it has them.
 * On FB_EXIT_OK the caller ends it with fb_screen_close(), which leaves the terminal as it was; else the
 * reason was printed. */
int fb_screen_open(const sigset_t *held, bool colours);
void fb_screen_close(void);

void fb_screen_size(int *width, int *height);
void fb_screen_show(const top_canvas *canvas);
/* Wait at most `ms`; a key is a character or one of the TOP_KEY_ ones of top_view.h. */
top_event fb_screen_wait(int ms, uint32_t *key);

#endif
