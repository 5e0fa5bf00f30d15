/* SPDX-License-Identifier: Apache-2.0 */
/* The 8 bytes of an entry in the index: see arena_layout.h for the picture. */
#ifndef FB_SLOT_H
#define FB_SLOT_H

#include "arena/arena_state.h"

#define SLOT_LOCATION_BITS 34
#define SLOT_LOCATION_MASK ((UINT64_C(1) << SLOT_LOCATION_BITS) - 1)
#define SLOT_PLACE_MASK ((UINT64_C(1) << 44) - 1) /* location and incarnation: which entry */
#define SLOT_INCARNATIONS 1024u
#define SLOT_TAG_SHIFT 44
#define SLOT_TAG_MASK (UINT64_C(0x7fff) << SLOT_TAG_SHIFT)
#define SLOT_FREQUENCY_SHIFT 60
#define SLOT_FREQUENCY_MASK (UINT64_C(7) << SLOT_FREQUENCY_SHIFT)
#define SLOT_FREQUENCY_MAX 7u
#define SLOT_TENTATIVE (UINT64_C(1) << 63)
#define SLOT_MOVING (UINT64_C(1) << 59 | SLOT_TENTATIVE) /* between two buckets: docs/internals/concurrency.md's M */
#define SLOT_UNUSED SLOT_TENTATIVE /* never used, in a bucket beyond the index: docs/internals/concurrency.md's U */

static inline uint64_t fb_slot_tag(uint64_t hash)
{
    return (hash >> 49) << SLOT_TAG_SHIFT;
}
static inline uint64_t fb_slot_make(uint64_t offset, uint64_t generation, uint64_t hash)
{
    return offset / ARENA_ALIGN | (generation % SLOT_INCARNATIONS) << SLOT_LOCATION_BITS | fb_slot_tag(hash);
}
static inline uint64_t fb_slot_offset(uint64_t slot) { return (slot & SLOT_LOCATION_MASK) * ARENA_ALIGN; }
static inline uint32_t fb_slot_incarnation(uint64_t slot)
{
    return (uint32_t)(slot >> SLOT_LOCATION_BITS) % SLOT_INCARNATIONS;
}
static inline uint32_t fb_slot_frequency(uint64_t slot) { return (uint32_t)(slot >> SLOT_FREQUENCY_SHIFT) & 7; }
static inline uint64_t fb_slot_with_frequency(uint64_t slot, uint32_t frequency)
{
    return (slot & ~SLOT_FREQUENCY_MASK) | (uint64_t)frequency << SLOT_FREQUENCY_SHIFT;
}
/* The same entry, hits aside? */
static inline bool fb_slot_same(uint64_t a, uint64_t b) { return ((a ^ b) & ~SLOT_FREQUENCY_MASK) == 0; }
/* A readable slot with this tag? */
static inline bool fb_slot_matches(uint64_t slot, uint64_t tag)
{
    return ((slot ^ tag) & (SLOT_TAG_MASK | SLOT_TENTATIVE)) == 0 && slot != 0;
}
static inline bool fb_slot_moving(uint64_t slot) { return (slot & SLOT_MOVING) == SLOT_MOVING; }
static inline bool fb_slot_tentative(uint64_t slot) { return (slot & SLOT_TENTATIVE) != 0; }

#endif
