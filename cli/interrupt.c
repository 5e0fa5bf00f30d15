/* SPDX-License-Identifier: Apache-2.0 */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t came; /* the last signal; 0: none */

static void on_signal(int number)
{
    came = number;
}

void fb_catch_interrupts(void)
{
    struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART: waits must end */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool fb_interrupted(void)
{
    return came != 0;
}

int fb_end_interrupted(int code)
{
    int number = came;
    if (number == 0)
        return code;
    signal(number, SIG_DFL);
    raise(number);
    return code;
}
