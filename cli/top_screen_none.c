/* SPDX-License-Identifier: Apache-2.0 */
/* Of builds without ncurses: nothing but fb_screen_open() is ever called. */
#include "cli.h"
#include "top_screen.h"

int fb_screen_open(const sigset_t *held, bool colours)
{
    (void)held, (void)colours;
    return fb_fail(
        "this forebay was built without ncurses (libncurses-dev) and has no live screen; use --once or --batch");
}

void fb_screen_close(void)
{
}

void fb_screen_size(int *width, int *height)
{
    *width = *height = 0;
}

void fb_screen_show(const top_canvas *canvas)
{
    (void)canvas;
}

top_event fb_screen_wait(int ms, uint32_t *key)
{
    (void)ms, (void)key;
    return TOP_EVENT_END;
}
