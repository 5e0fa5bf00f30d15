/* SPDX-License-Identifier: Apache-2.0 */
/* Survival of a file that is truncated while it is mapped: the fault (SIGBUS)
 * gets pages of zeros, and the arena fails every call from then on. */
#ifndef FB_GUARD_H
#define FB_GUARD_H

#include "arena/arena_state.h"

/* Guard the arena's mapping; FOREBAY_NOMEM if there are too many guarded ones
 * (64), FOREBAY_IO if the handler can't be installed.  The handler stays
 * installed; it passes on every fault that is none of ours. */
forebay_status fb_guard_add(forebay_arena *arena);
/* Before unmapping.  Ignored if the arena is not guarded. */
void fb_guard_remove(forebay_arena *arena);

#endif
