/* SPDX-License-Identifier: Apache-2.0 */
/* Making a file an arena, and an arena of another boot usable. */
#ifndef FB_ARENA_CREATE_H
#define FB_ARENA_CREATE_H

#include "arena/arena_state.h"

/* Format the file `arena->fd`, whatever it holds, as an arena of `size` bytes;
 * map it and take a row.  The creation lock must be held.  On failure the file
 * is left half-made, and the caller takes it away. */
forebay_status fb_arena_format(forebay_arena *arena, uint64_t size, forebay_error *error);

/* If the mapped arena was last used in another boot: rebase its clock, free its
 * rows, have its entries checked.  Waits up to timeout_ms for a process that is
 * doing so. */
forebay_status fb_arena_enter_boot(forebay_arena *arena, uint32_t timeout_ms, forebay_error *error);

/* How an arena is called in messages. */
static inline const char *fb_arena_name(const forebay_arena *arena)
{
    return arena->path[0] != '\0' ? arena->path : "the anonymous arena";
}

#endif
