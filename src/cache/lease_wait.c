/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for the end of a lease, and what its owner tells those who wait. */
#include <limits.h>

#include "base/copy.h"
#include "base/futex.h"
#include "base/hash.h"
#include "cache/leases.h"

/* Nobody wakes those who wait for a dead owner: they look by themselves.  The
 * kernel is asked at most once in 5 ms (rows.h): at the second look it was. */
#define LOOK_EVERY_NS 4000000

/* The low half of a little-endian word: it has the state, so it changes when the lease ends. */
static const _Atomic uint32_t *futex_of(const forebay_arena *arena, uint32_t slot)
{
    return (const _Atomic uint32_t *)(const void *)&arena->lease_words[slot];
}

void fb_lease_wake(forebay_arena *arena, uint32_t slot)
{
    if (atomic_load(&arena->leases[slot].waiters) != 0)
        fb_futex_wake(futex_of(arena, slot), INT_MAX, FUTEX_OF_MACHINE);
}

/* Sleep until the word changes, at most so long; false: interrupted. */
static bool sleep_on(forebay_arena *arena, const lease_ref *ref, int64_t ns)
{
    _Atomic uint32_t *waiters = &arena->leases[ref->slot].waiters;
    atomic_fetch_add(waiters, 1); /* before the kernel looks at the word: pairs with the look in fb_lease_wake() */
    bool undisturbed = fb_futex_wait(futex_of(arena, ref->slot), (uint32_t)ref->word, ns, FUTEX_OF_MACHINE);
    atomic_fetch_sub(waiters, 1);
    return undisturbed;
}

forebay_status fb_lease_wait(forebay_arena *arena, const lease_ref *ref, uint32_t timeout_ms)
{
    int64_t end = fb_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    while (!fb_lease_settle(arena, ref)) {
        int64_t left = end - fb_monotonic_ns();
        if (left <= 0)
            return FOREBAY_TIMEOUT;
        if (!sleep_on(arena, ref, left < LOOK_EVERY_NS ? left : LOOK_EVERY_NS))
            return FOREBAY_INTERRUPTED;
    }
    return FOREBAY_OK;
}

/* ---- notes ---- */

static uint64_t checksum_of(uint64_t token, const void *text, size_t length)
{
    return fb_hash(text, length, token + length * UINT64_C(0x9e3779b97f4a7c15));
}

void fb_lease_note(forebay_arena *arena, uint64_t token, const void *text, size_t length)
{
    uint32_t at = atomic_fetch_add(&arena->super->lease_notes, 1) & (arena->geometry.lease_note_count - 1);
    arena_lease_note *note = &arena->lease_notes[at];
    if (length > LEASE_NOTE_MAX)
        length = LEASE_NOTE_MAX;
    atomic_store(&note->token, 0);
    fb_copy_in(note->text, text, length);
    atomic_store_explicit(&note->length, (uint32_t)length, memory_order_relaxed);
    /* two who write to one note at once leave a mixture, which has no such sum */
    atomic_store_explicit(&note->checksum, checksum_of(token, text, length), memory_order_relaxed);
    atomic_store(&note->token, token); /* seq_cst: before the lease ends; pairs with the look in fb_lease_noted() */
}

bool fb_lease_noted(const forebay_arena *arena, uint64_t token, void *text, size_t *length)
{
    for (uint32_t i = 0; i < arena->geometry.lease_note_count; i++) {
        const arena_lease_note *note = &arena->lease_notes[i];
        if (token == 0 || atomic_load(&note->token) != token)
            continue;
        uint32_t there = atomic_load_explicit(&note->length, memory_order_relaxed);
        uint64_t checksum = atomic_load_explicit(&note->checksum, memory_order_relaxed);
        if (there > LEASE_NOTE_MAX)
            return false;
        fb_copy_out(text, note->text, there);
        *length = there;
        return checksum_of(token, text, there) == checksum;
    }
    return false;
}
