/* SPDX-License-Identifier: Apache-2.0 */
/* The handle's memory: the mapping, and what this process keeps beside it. */
#ifndef FB_ARENA_MAP_H
#define FB_ARENA_MAP_H

#include "arena/arena_state.h"

/* A handle with nothing open: fb_arena_free() undoes any prefix of what follows.
 * NULL: out of memory. */
forebay_arena *fb_arena_new(const char *path);
/* Unmap, close, free.  The row must have been given up. */
void fb_arena_free(forebay_arena *arena);

/* Map `arena->fd`, which must be at least geometry.size bytes long, set every
 * field that depends on the geometry, which must have been checked, and enter
 * the handle in the registry. */
forebay_status fb_arena_map(forebay_arena *arena, const arena_geometry *geometry, forebay_error *error);

#endif
