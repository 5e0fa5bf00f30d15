/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes and what they hold: see rows.h. */
#include <sched.h>

#include "arena/pins.h"

static_assert(ROW_LANES < 32, "a bit each");

uint32_t fb_lane_enter(forebay_arena *arena)
{
    uint32_t taken = atomic_load_explicit(&arena->lanes, memory_order_relaxed);
    for (;;) {
        uint32_t lane = (uint32_t)__builtin_ctz(~taken);
        if (lane >= ROW_LANES) {
            sched_yield();
            taken = atomic_load_explicit(&arena->lanes, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&arena->lanes, &taken, taken | UINT32_C(1) << lane,
                                                         memory_order_acquire, memory_order_relaxed)) {
            return lane; /* acquire; pairs with the release in fb_lane_leave() */
        }
    }
}

void fb_lane_leave(forebay_arena *arena, uint32_t lane)
{
    for (uint32_t which = 0; which < LANE_HAZARDS; which++)
        fb_lane_release(arena, lane, which);
    atomic_fetch_and_explicit(&arena->lanes, ~(UINT32_C(1) << lane), memory_order_release);
}

/* Hazards before pins: an operation that pins what it holds lets go of it only
 * after that. */
static bool row_holds(const arena_row *row, uint32_t first, uint32_t count)
{
    for (uint32_t lane = 0; lane < ROW_LANES; lane++) {
        for (uint32_t which = 0; which < LANE_HAZARDS; which++) {
            uint32_t held = atomic_load(&row->hazards[lane][which]); /* seq_cst; pairs with fb_lane_hold() */
            if (held != 0 && held - 1 - first < count)
                return true;
        }
    }
    for (uint32_t i = 0, used = fb_row_pins_used(row); i < used; i++)
        if (fb_pin_overlaps(atomic_load(&row->pins[i]), first, count)) /* seq_cst; pairs with fb_pin() */
            return true;
    return false;
}

bool fb_segment_held(forebay_arena *arena, uint32_t first, uint32_t count)
{
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0, rows = fb_rows_used(arena); i < rows; i++) {
        const arena_row *row = &arena->rows[i];
        if (!row_holds(row, first, count))
            continue;
        /* after the hazard: its owner published the word before it */
        uint64_t word = atomic_load(&row->word);
        row_owner owner = (row_owner)i | (row_owner)(uint32_t)(word >> 1) << 12;
        if ((word & 1) != 0 && !fb_row_is_dead(arena, owner))
            return true;
    }
    return false;
}
