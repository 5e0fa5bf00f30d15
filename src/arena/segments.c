/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/segments.h"

#include "arena/pins.h"

void fb_segment_put(forebay_arena *arena, uint32_t segment, enum segment_state state, segment_use use)
{
    /* release: what the claim guarded is seen by the next owner; pairs with the acquire of its claim */
    atomic_store_explicit(&arena->segments[segment].word, fb_segment_word(state, use, 0), memory_order_release);
}

/* What a segment was before its owner died: all that its claim guards is whole
 * at every store, so only the claim itself is undone. */
static enum segment_state state_without_owner(enum segment_state claimed, uint32_t run)
{
    switch (claimed) {
    case SEGMENT_WRITING:
        return run > 1 ? SEGMENT_RUN : SEGMENT_OPEN;
    case SEGMENT_EVICTING:
        return run > 1 ? SEGMENT_RUN : SEGMENT_SEALED;
    default:
        return SEGMENT_FREE;
    }
}

uint64_t fb_segment_settle_claimed(forebay_arena *arena, uint32_t segment, uint64_t word)
{
    arena_segment *record = &arena->segments[segment];
    if (!fb_row_is_dead(arena, fb_segment_owner(word)))
        return word;
    enum segment_state state = state_without_owner(fb_segment_state(word), fb_segment_run(arena, segment));
    uint64_t settled = fb_segment_word(state, state == SEGMENT_FREE ? 0 : fb_segment_use(word), 0);
    if (atomic_compare_exchange_strong(&record->word, &word, settled))
        return settled;
    return word;
}

bool fb_segment_body_is_covered(const forebay_arena *arena, uint32_t segment, uint64_t word)
{
    uint32_t first = (uint32_t)(fb_segment_owner(word) & 0xfff);
    if (first >= segment)
        return false;
    uint64_t owner = fb_segment_word(SEGMENT_BODY, 0, fb_body_owner(arena, first));
    enum segment_state state = fb_segment_state(fb_segment_load(arena, first));
    bool in_use = state == SEGMENT_RUN || state == SEGMENT_TAKEN || state == SEGMENT_WRITING || state == SEGMENT_EVICTING;
    return in_use && owner == word && segment - first < fb_segment_run(arena, first);
}

/* A word at a time: a damaged pin may name all segments. */
static void mark(held_segments *held, uint64_t first, uint64_t count)
{
    uint64_t end = first + count < 64 * 64 ? first + count : 64 * 64;
    for (uint64_t i = first; i < end; i = (i / 64 + 1) * 64) {
        uint64_t here = end - i < 64 - i % 64 ? end - i : 64 - i % 64;
        held->bits[i / 64] |= (here == 64 ? UINT64_MAX : (UINT64_C(1) << here) - 1) << i % 64;
    }
}

static void mark_pins(const arena_row *row, held_segments *held)
{
    for (uint32_t i = 0, used = fb_row_pins_used(row); i < used; i++) {
        uint64_t pin = atomic_load(&row->pins[i]);
        if (pin != 0)
            mark(held, (pin & UINT32_MAX) - 1, pin >> 32);
    }
}

void fb_segments_held(const forebay_arena *arena, held_segments *held)
{
    *held = (held_segments){0};
    for (uint32_t r = 0, rows = fb_rows_used(arena); r < rows; r++) {
        const arena_row *row = &arena->rows[r];
        const _Atomic uint32_t *hazards = &row->hazards[0][0];
        for (uint32_t i = 0; i < ROW_LANES * LANE_HAZARDS; i++) {
            uint32_t segment = atomic_load_explicit(&hazards[i], memory_order_relaxed);
            if (segment != 0)
                held->bits[(segment - 1) / 64 % 64] |= UINT64_C(1) << (segment - 1) % 64;
        }
        mark_pins(row, held);
    }
}

void fb_segments_pinned(const forebay_arena *arena, held_segments *pinned)
{
    *pinned = (held_segments){0};
    for (uint32_t r = 0, rows = fb_rows_used(arena); r < rows; r++)
        mark_pins(&arena->rows[r], pinned);
}

uint32_t fb_segments_sweep(forebay_arena *arena)
{
    uint32_t free_count = 0;
    held_segments held;
    fb_segments_held(arena, &held);
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++) {
        uint64_t word = fb_segment_settle(arena, i);
        if (fb_segment_state(word) == SEGMENT_BODY && !fb_segment_body_is_covered(arena, i, word)
            && atomic_compare_exchange_strong(&arena->segments[i].word, &word, 0))
            word = 0;
        free_count += fb_segment_state(word) == SEGMENT_FREE && !fb_segment_in(&held, i);
    }
    atomic_store_explicit(&arena->super->segments_free, free_count, memory_order_relaxed);
    return free_count;
}

static uint32_t count_free(const forebay_arena *arena)
{
    uint32_t count = 0;
    held_segments held;
    fb_segments_held(arena, &held);
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++) {
        uint64_t word = atomic_load_explicit(&arena->segments[i].word, memory_order_relaxed);
        count += fb_segment_state(word) == SEGMENT_FREE && !fb_segment_in(&held, i);
    }
    return count;
}

/* Segments of the group; those that are only claimed (TAKEN) from this one on. */
static uint32_t count_group(const forebay_arena *arena, uint32_t group, uint32_t claimed_from)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++) {
        /* seq_cst: who claimed a segment for the group before us is seen; pairs with that compare-and-swap */
        uint64_t word = atomic_load(&arena->segments[i].word);
        enum segment_state state = fb_segment_state(word);
        if (fb_segment_group(word) != group || state == SEGMENT_FREE || state == SEGMENT_BODY || state == SEGMENT_INDEX)
            continue;
        if (state != SEGMENT_TAKEN || i >= claimed_from)
            count += fb_segment_run(arena, i);
    }
    return count;
}

uint32_t fb_group_segments(const forebay_arena *arena, uint32_t group)
{
    return count_group(arena, group, 0);
}

/* Counts in which others may give back what is too much, before a claim is given back. */
#define CONTEST_TRIES 4

bool fb_group_allows(const forebay_arena *arena, uint32_t group, uint32_t segment, uint32_t most)
{
    if (most == SEGMENTS_UNLIMITED)
        return true;
    for (int t = 0; t < CONTEST_TRIES; t++) {
        if (fb_group_segments(arena, group) <= most)
            return true;
        if (count_group(arena, group, segment) > most)
            return false; /* those at higher numbers go first */
    }
    return false;
}

/* More free segments than that above what is asked for are believed to be there
 * without a count: the hint is off by those who were killed since the last one. */
#define TRUSTED_ABOVE 16u

/* Claim this free segment for a use; false: it is another's, or held. */
static bool take_free(forebay_arena *arena, uint32_t segment, uint64_t word, uint64_t taken)
{
    if (!atomic_compare_exchange_strong(&arena->segments[segment].word, &word, taken))
        return false;
    atomic_store_explicit(&arena->segments[segment].run, 1, memory_order_relaxed); /* of its last life */
    if (!fb_segment_held(arena, segment, 1))
        return true;
    fb_segment_put(arena, segment, SEGMENT_FREE, 0);
    return false;
}

uint32_t fb_segment_take(forebay_arena *arena, segment_use use, uint32_t leave, uint32_t most)
{
    _Atomic uint32_t *hint = &arena->super->segments_free;
    uint32_t free_count = atomic_load_explicit(hint, memory_order_relaxed), group = fb_segment_group(use);
    if (free_count <= leave + TRUSTED_ABOVE) {
        free_count = count_free(arena);
        atomic_store_explicit(hint, free_count, memory_order_relaxed);
    }
    if (free_count <= leave || (most != SEGMENTS_UNLIMITED && fb_group_segments(arena, group) >= most))
        return SEGMENT_NONE;
    uint64_t taken = fb_segment_word(SEGMENT_TAKEN, use, fb_row_owner(arena));
    bool met_held = false;
    held_segments held;
    /* from the far end: the index grows into the near one */
    for (uint32_t i = arena->geometry.segment_count; i-- > 0;) {
        uint64_t word = fb_segment_load(arena, i);
        if (fb_segment_state(word) != SEGMENT_FREE || (met_held && fb_segment_in(&held, i)))
            continue;
        if (!take_free(arena, i, word, taken)) {
            if (!met_held) /* there may be many: views last */
                fb_segments_held(arena, &held);
            met_held = true;
            continue;
        }
        if (fb_group_allows(arena, group, i, most)) {
            atomic_fetch_sub_explicit(hint, 1, memory_order_relaxed);
            return i;
        }
        fb_segment_put(arena, i, SEGMENT_FREE, 0);
        return SEGMENT_NONE;
    }
    return SEGMENT_NONE;
}

void fb_segment_begin(forebay_arena *arena, uint32_t segment, uint32_t run)
{
    arena_segment *record = &arena->segments[segment];
    atomic_store_explicit(&record->tail, 0, memory_order_relaxed);
    atomic_store_explicit(&record->cursor, 0, memory_order_relaxed);
    atomic_store_explicit(&record->kept, 0, memory_order_relaxed);
    atomic_store_explicit(&record->dead, 0, memory_order_relaxed);
    atomic_store_explicit(&record->warm, 0, memory_order_relaxed);
    atomic_store_explicit(&record->dictionaries, 0, memory_order_relaxed);
    atomic_store_explicit(&record->run, run, memory_order_relaxed);
    atomic_store_explicit(&record->last_expiry, 0, memory_order_relaxed);
    atomic_store_explicit(&record->sequence, atomic_fetch_add(&arena->super->sequence, 1), memory_order_relaxed);
    /* seq_cst: before the first byte of the new life; pairs with the second look of readers */
    atomic_fetch_add(&record->generation, 1);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Where the heads of this use are noted: HEADS_PER_CLASS of them. */
static _Atomic uint32_t *heads_of(forebay_arena *arena, segment_use use)
{
    uint32_t group = fb_segment_group(use), queue = fb_segment_queue(use);
    if (group == 0 || group > arena->geometry.cache_count) /* more than that: a damaged word's */
        return &arena->super->heads[queue][fb_segment_class(use) * HEADS_PER_CLASS];
    return arena->caches[group - 1].heads[queue];
}

/* Claim the head noted in `place` if it is one, is free to claim and has room.
 * A full one is sealed and the place emptied. */
static uint32_t head_claim(forebay_arena *arena, _Atomic uint32_t *place, segment_use use, uint32_t units)
{
    uint32_t head = atomic_load_explicit(place, memory_order_acquire);
    if (head == 0 || head > arena->geometry.segment_count)
        return SEGMENT_NONE;
    uint64_t word = fb_segment_settle(arena, head - 1);
    if (fb_segment_claimed(word))
        return SEGMENT_NONE;
    if (word != fb_segment_word(SEGMENT_OPEN, use, 0)) {
        atomic_compare_exchange_strong(place, &head, 0);
        return SEGMENT_NONE;
    }
    if (!fb_segment_claim(arena, head - 1, word, SEGMENT_WRITING))
        return SEGMENT_NONE;
    uint32_t tail = atomic_load_explicit(&arena->segments[head - 1].tail, memory_order_relaxed);
    if (tail <= fb_segment_units(arena) && units <= fb_segment_units(arena) - tail)
        return head - 1;
    fb_segment_put(arena, head - 1, SEGMENT_SEALED, use);
    atomic_compare_exchange_strong(place, &head, 0);
    return SEGMENT_NONE;
}

/* Show a new head to others: in an empty place, else in the place of one that is
 * busy, whose owner will seal it. */
static void head_install(forebay_arena *arena, segment_use use, uint32_t segment)
{
    _Atomic uint32_t *places = heads_of(arena, use);
    for (uint32_t i = 0; i < HEADS_PER_CLASS; i++) {
        uint32_t empty = 0;
        if (atomic_compare_exchange_strong(&places[i], &empty, segment + 1)) {
            atomic_store_explicit(&arena->head_hint[fb_segment_queue(use)], i, memory_order_relaxed);
            return;
        }
    }
    atomic_store(&places[HEADS_PER_CLASS - 1], segment + 1);
}

uint32_t fb_head_acquire(forebay_arena *arena, segment_use use, uint32_t units, uint32_t leave, uint32_t most)
{
    _Atomic uint32_t *hint_place = &arena->head_hint[fb_segment_queue(use)], *places = heads_of(arena, use);
    uint32_t hint = atomic_load_explicit(hint_place, memory_order_relaxed);
    for (uint32_t i = 0; i < HEADS_PER_CLASS; i++) {
        uint32_t at = (hint + i) % HEADS_PER_CLASS;
        uint32_t segment = head_claim(arena, &places[at], use, units);
        if (segment != SEGMENT_NONE) {
            if (i != 0)
                atomic_store_explicit(hint_place, at, memory_order_relaxed);
            return segment;
        }
    }
    uint32_t segment = fb_segment_take(arena, use, leave, most);
    if (segment == SEGMENT_NONE)
        return SEGMENT_NONE;
    fb_segment_begin(arena, segment, 1);
    atomic_store_explicit(&arena->segments[segment].word, fb_segment_word(SEGMENT_WRITING, use, fb_row_owner(arena)),
                          memory_order_release);
    head_install(arena, use, segment);
    return segment;
}

void fb_heads_forget(forebay_arena *arena)
{
    for (uint32_t q = 0; q < QUEUE_COUNT; q++) {
        for (uint32_t h = 0; h < HEADS_PER_QUEUE; h++)
            atomic_store(&arena->super->heads[q][h], 0);
        for (uint32_t c = 0; c < arena->geometry.cache_count; c++)
            for (uint32_t h = 0; h < HEADS_PER_CLASS; h++)
                atomic_store(&arena->caches[c].heads[q][h], 0);
    }
}

/* A segment is evicted by its age, so one that takes an entry when many younger
 * ones were begun meanwhile (its TTL class is rare, its writer was stopped) must
 * not stay the oldest. */
static void rejuvenate(forebay_arena *arena, uint32_t segment)
{
    _Atomic uint64_t *sequence = &arena->segments[segment].sequence;
    uint64_t age = atomic_load_explicit(&arena->super->sequence, memory_order_relaxed)
                   - atomic_load_explicit(sequence, memory_order_relaxed);
    if (age > arena->geometry.segment_count / 2)
        atomic_store_explicit(sequence, atomic_fetch_add(&arena->super->sequence, 1), memory_order_relaxed);
}

void fb_head_release(forebay_arena *arena, uint32_t segment)
{
    rejuvenate(arena, segment);
    segment_use use = fb_segment_use(fb_segment_load(arena, segment));
    const _Atomic uint32_t *places = heads_of(arena, use);
    bool installed = false;
    for (uint32_t i = 0; i < HEADS_PER_CLASS && !installed; i++)
        installed = atomic_load_explicit(&places[i], memory_order_relaxed) == segment + 1;
    fb_segment_put(arena, segment, installed ? SEGMENT_OPEN : SEGMENT_SEALED, use);
}
