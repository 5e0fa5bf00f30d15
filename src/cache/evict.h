/* SPDX-License-Identifier: Apache-2.0 */
/* Making room: segments are emptied oldest first; what the policy keeps is
 * copied forward and published by one compare-and-swap of its slot. */
#ifndef FB_EVICT_H
#define FB_EVICT_H

#include "cache/index.h"

/* Before `units` are appended for a group: evict a proportional amount if free
 * segments run low, or those that its limit leaves it.  Bounded work; may do nothing. */
void fb_evict_ahead(forebay_arena *arena, uint32_t lane, uint32_t group, uint64_t units);
/* No segment was to be had: empty one now.  False: nothing can be evicted. */
bool fb_evict_one(forebay_arena *arena, uint32_t lane);
/* Make sure that the group's limit, if it has one, leaves it `count` segments
 * more.  False: nothing of it can be evicted. */
bool fb_evict_within(forebay_arena *arena, uint32_t lane, uint32_t group, uint32_t count);

/* Claim this very segment (TAKEN), whatever lies in it; survivors are copied
 * forward if `keep`, else dropped.  False: it is claimed or held by others, or
 * belongs to the index.  Frees the whole run it is part of. */
bool fb_evict_take(forebay_arena *arena, uint32_t lane, uint32_t segment, bool keep);

#endif
