/* SPDX-License-Identifier: Apache-2.0 */
/* Where everything lies in an arena of a given size: a pure function, so that a
 * file's own geometry can be checked by computing it again. */
#ifndef FB_GEOMETRY_H
#define FB_GEOMETRY_H

#include "arena/arena_layout.h"

/* Lay out an arena of `size` bytes, rounded down to a multiple of 4096.  False
 * if that is outside FOREBAY_ARENA_MIN_SIZE .. FOREBAY_ARENA_MAX_SIZE. */
bool fb_geometry_compute(uint64_t size, arena_geometry *geometry_out);

/* Is this untrusted geometry exactly the one that a file of its size has? */
bool fb_geometry_check(const arena_geometry *geometry);

/* Bytes that an arena of this geometry can at most give to one entry's key and
 * value: an eighth of the arena, less room for its header. */
uint64_t fb_geometry_max_entry(const arena_geometry *geometry);

#endif
