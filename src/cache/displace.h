/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FB_DISPLACE_H
#define FB_DISPLACE_H

#include "cache/index.h"

/* Both candidate buckets of an insert are full: move one of their entries to its
 * other bucket, as cuckoo hashing does (Pagh, Rodler: Cuckoo hashing, 2004).  A
 * copy of the entry is appended to `owned`, a segment the caller writes to, so
 * that no word is used twice.  Those of other caches with a quota stay, as what
 * is left of them is charged to that, unless `any` may be moved.  False: none
 * could be moved.  Uses hazards 0 and 1 of the lane. */
bool fb_displace(forebay_arena *arena, uint32_t lane, const index_look *look, uint32_t owned, bool any);

/* Step (2) of an insert whose tentative slot is `mine`: abort all other inserts
 * of this tag.  False if one of them may have been committed. */
bool fb_abort_others(forebay_arena *arena, uint64_t hash, const index_look *look, const _Atomic uint64_t *mine);

#endif
