/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: what views keep from reuse.  A pin in a row is a hazard that lasts: it
 * names a run of segments, and several views of the process share it.  Pins go
 * with their row when its process dies; at a fork the child gets copies. */
#ifndef FB_PINS_H
#define FB_PINS_H

#include "arena/rows.h"

#define PIN_NONE UINT32_MAX
/* At most a fourth of the segments is pinned, by all processes together. */
#define PINNED_PART 4u

static inline uint64_t fb_pin_word(uint32_t first, uint32_t count) { return (uint64_t)count << 32 | (first + 1); }
static inline bool fb_pin_overlaps(uint64_t pin, uint32_t first, uint32_t count)
{
    uint64_t begin = (pin & UINT32_MAX) - 1, end = begin + (pin >> 32);
    return pin != 0 && begin < (uint64_t)first + count && first < end;
}
/* Pins of the row to be looked at. */
static inline uint32_t fb_row_pins_used(const arena_row *row)
{
    uint32_t used = atomic_load(&row->pins_used); /* seq_cst; pairs with fb_pin() */
    return used < ROW_PINS ? used : ROW_PINS;
}

/* Keep [first, first + count) from reuse until fb_unpin() of what is returned;
 * sequentially consistent: look again at what made you choose it.  PIN_NONE: this
 * row has no pin free, or too much of the arena is pinned.  The handle has a row. */
uint32_t fb_pin(forebay_arena *arena, uint32_t first, uint32_t count);
void fb_unpin(forebay_arena *arena, uint32_t pin);

/* For fork and for a new row (rows.c). */
void fb_pins_lock(forebay_arena *arena);
void fb_pins_unlock(forebay_arena *arena);
bool fb_pins_any(const forebay_arena *arena);
void fb_pins_copy(forebay_arena *arena, uint32_t row);
void fb_pins_publish(forebay_arena *arena);

#endif
