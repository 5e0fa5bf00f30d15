/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/pins.h"

#include <sched.h>

#include "arena/segments.h"

void fb_pins_lock(forebay_arena *arena)
{
    while (atomic_flag_test_and_set_explicit(&arena->pins.lock, memory_order_acquire))
        sched_yield();
}

void fb_pins_unlock(forebay_arena *arena)
{
    atomic_flag_clear_explicit(&arena->pins.lock, memory_order_release);
}

bool fb_pins_any(const forebay_arena *arena)
{
    for (uint32_t i = 0; i < ROW_PINS; i++)
        if (arena->pins.views[i] != 0)
            return true;
    return false;
}

/* The count before the pin: who misses the pin for an old count looked before
 * both, and the second look of who pinned tells it what that one did then. */
static void show_pin(arena_row *row, uint32_t pin, uint64_t word)
{
    if (atomic_load_explicit(&row->pins_used, memory_order_relaxed) <= pin)
        atomic_store(&row->pins_used, pin + 1); /* seq_cst; pairs with fb_row_pins_used() */
    atomic_store(&row->pins[pin], word);        /* seq_cst; pairs with fb_segment_held() */
}

void fb_pins_copy(forebay_arena *arena, uint32_t row)
{
    for (uint32_t i = 0; i < ROW_PINS; i++)
        if (arena->pins.views[i] != 0)
            show_pin(&arena->rows[row], i, arena->pins.words[i]);
}

void fb_pins_publish(forebay_arena *arena)
{
    fb_pins_lock(arena);
    fb_pins_copy(arena, atomic_load(&arena->row));
    fb_pins_unlock(arena);
}

/* A place for this pin: that of views on the same segments, or a free one. */
static uint32_t find_place(const arena_pins *pins, uint64_t word)
{
    uint32_t place = PIN_NONE;
    for (uint32_t i = ROW_PINS; i-- > 0;) {
        if (pins->views[i] != 0 && pins->words[i] == word)
            return i;
        if (pins->views[i] == 0)
            place = i;
    }
    return place;
}

static uint32_t add_view(forebay_arena *arena, uint64_t word)
{
    arena_pins *pins = &arena->pins;
    fb_pins_lock(arena);
    uint32_t pin = find_place(pins, word);
    if (pin != PIN_NONE && pins->views[pin]++ == 0) {
        pins->words[pin] = word;
        show_pin(&arena->rows[atomic_load(&arena->row)], pin, word);
    }
    fb_pins_unlock(arena);
    return pin;
}

static bool too_much_is_pinned(const forebay_arena *arena)
{
    held_segments pinned;
    fb_segments_pinned(arena, &pinned);
    uint32_t count = 0;
    for (uint32_t i = 0; i < sizeof pinned.bits / sizeof *pinned.bits; i++)
        count += (uint32_t)__builtin_popcountll(pinned.bits[i]);
    return count > arena->geometry.segment_count / PINNED_PART;
}

/* Have the dead let go; asks the kernel for no row twice in 5 ms. */
static void sweep_pinning_rows(forebay_arena *arena)
{
    for (uint32_t r = 0, rows = fb_rows_used(arena); r < rows; r++) {
        uint64_t word = atomic_load(&arena->rows[r].word);
        if ((word & 1) != 0 && fb_row_pins_used(&arena->rows[r]) != 0)
            (void)fb_row_is_dead(arena, (row_owner)r | (row_owner)(uint32_t)(word >> 1) << 12);
    }
}

uint32_t fb_pin(forebay_arena *arena, uint32_t first, uint32_t count)
{
    uint32_t pin = add_view(arena, fb_pin_word(first, count));
    /* after the pin was shown: of several who go too far at once, all see it */
    if (pin == PIN_NONE || !too_much_is_pinned(arena))
        return pin;
    sweep_pinning_rows(arena);
    if (!too_much_is_pinned(arena))
        return pin;
    fb_unpin(arena, pin);
    return PIN_NONE;
}

void fb_unpin(forebay_arena *arena, uint32_t pin)
{
    /* a child that has no row yet must not write to its parent's */
    bool has_row = fb_arena_enter(arena) == FOREBAY_OK;
    fb_pins_lock(arena);
    if (--arena->pins.views[pin] == 0 && has_row)
        atomic_store_explicit(&arena->rows[atomic_load(&arena->row)].pins[pin], 0, memory_order_release);
    fb_pins_unlock(arena);
}
