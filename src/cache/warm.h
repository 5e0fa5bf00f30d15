/* SPDX-License-Identifier: Apache-2.0 */
/* Packing by temperature: entries that are hit often are kept unpacked, within a
 * share of the arena, so that most hits are a plain copy while most bytes are
 * packed.  A reader stores what it unpacked when the entry is hot; the evictor
 * packs again what it moves and is not. */
#ifndef FB_WARM_H
#define FB_WARM_H

#include "cache/reading.h"

/* After a hit on a packed entry, whose value was unpacked to `value`. */
void fb_warm_after_hit(forebay_cache *cache, const index_key *key, const read_match *match, const void *value, size_t length,
                       uint64_t now);

/* May one more entry of `units` be kept unpacked? */
bool fb_warm_has_room(const forebay_arena *arena, uint64_t units);
/* By the owner of the segment: an entry of `units` there is kept unpacked. */
void fb_warm_note(forebay_arena *arena, uint32_t segment, uint64_t units);

#endif
