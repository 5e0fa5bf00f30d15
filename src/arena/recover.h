/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FB_RECOVER_H
#define FB_RECOVER_H

#include "arena/arena_state.h"

/* After a reboot: keep the entries that are whole, drop the others, and leave
 * every segment in a state that nobody owns.  Called with the creation lock
 * held, the rows reset, the clock rebased, and no other process using the arena;
 * may be called again after it was killed halfway. */
forebay_status fb_arena_recover(forebay_arena *arena);

#endif
