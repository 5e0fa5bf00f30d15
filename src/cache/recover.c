/* SPDX-License-Identifier: Apache-2.0 */
/* After a reboot: pages of the file may be of different ages.  What is not
 * provably whole is dropped; where the index itself is in doubt, all of it. */
#include "arena/recover.h"

#include "cache/channels.h"
#include "cache/inspect.h"
#include "cache/leases.h"
#include "cache/packed.h"
#include "limit/limits.h"

static void start_cold(forebay_arena *arena)
{
    atomic_store(&arena->super->index_word, (uint64_t)arena->geometry.index_initial << 1);
    atomic_store(&arena->super->index_capacity, arena->geometry.index_initial);
    for (uint32_t b = 0; b < arena->geometry.index_initial; b++)
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
            atomic_store(&arena->buckets[b].slots[i], 0);
    for (uint32_t s = 0; s < arena->geometry.segment_count; s++) {
        atomic_fetch_add(&arena->segments[s].generation, 1);
        fb_segment_put(arena, s, SEGMENT_FREE, 0);
    }
}

/* The state a segment had when nobody was working on it. */
static enum segment_state resting_state(uint64_t word, uint32_t run)
{
    switch (fb_segment_state(word)) {
    case SEGMENT_OPEN:
    case SEGMENT_WRITING:
    case SEGMENT_SEALED:
    case SEGMENT_EVICTING:
    case SEGMENT_RUN:
        return run > 1 ? SEGMENT_RUN : SEGMENT_SEALED;
    case SEGMENT_BODY:
        return SEGMENT_BODY;
    case SEGMENT_INDEX:
        return SEGMENT_INDEX;
    default:
        return SEGMENT_FREE;
    }
}

/* An entry whose header is torn hides those behind it: the segment ends there. */
static void cut_at_torn(forebay_arena *arena, uint32_t segment)
{
    arena_segment *record = &arena->segments[segment];
    uint64_t most = (uint64_t)fb_segment_units(arena) * fb_segment_run(arena, segment);
    uint32_t tail = atomic_load(&record->tail), at = 0;
    entry_view view;
    tail = tail > most ? (uint32_t)most : tail;
    while (at < tail
           && fb_entry_view_at(arena, segment, fb_segment_offset(arena, segment) + (uint64_t)at * ARENA_ALIGN, &view)
           && view.units <= tail - at)
        at += (uint32_t)view.units;
    atomic_store(&record->tail, at);
    if (atomic_load(&record->cursor) > at)
        atomic_store(&record->cursor, at);
}

static void rest_segments(forebay_arena *arena)
{
    uint64_t newest = 0;
    for (uint32_t s = 0; s < arena->geometry.segment_count; s++) {
        arena_segment *record = &arena->segments[s];
        uint64_t word = fb_segment_load(arena, s);
        enum segment_state state = resting_state(word, atomic_load(&record->run));
        if (state != SEGMENT_BODY && state != fb_segment_state(word))
            fb_segment_put(arena, s, state, state == SEGMENT_FREE ? 0 : fb_segment_use(word));
        if (state == SEGMENT_SEALED || state == SEGMENT_RUN)
            cut_at_torn(arena, s);
        if (fb_inspect_segment(arena, s) != NULL) /* torn: its slots go below, for it is free */
            fb_segment_put(arena, s, SEGMENT_FREE, 0);
        uint64_t sequence = atomic_load(&record->sequence);
        newest = sequence > newest ? sequence : newest;
    }
    atomic_store(&arena->super->sequence, newest + 1);
    fb_heads_forget(arena);
}

/* All segments of every run there, else none. */
static void check_runs(forebay_arena *arena)
{
    for (uint32_t s = 0; s < arena->geometry.segment_count; s++) {
        if (fb_segment_state(fb_segment_load(arena, s)) != SEGMENT_RUN)
            continue;
        uint32_t run = fb_segment_run(arena, s);
        uint64_t body = fb_segment_word(SEGMENT_BODY, 0, fb_body_owner(arena, s));
        for (uint32_t i = 1; i < run; i++)
            if (fb_segment_load(arena, s + i) != body) {
                fb_segment_put(arena, s, SEGMENT_FREE, 0);
                break;
            }
    }
    for (uint32_t s = 0; s < arena->geometry.segment_count; s++) {
        uint64_t word = fb_segment_load(arena, s);
        uint32_t first = (uint32_t)(fb_segment_owner(word) & 0xfff);
        if (fb_segment_state(word) == SEGMENT_BODY
            && (fb_inspect_segment(arena, s) != NULL || fb_segment_state(fb_segment_load(arena, first)) != SEGMENT_RUN))
            fb_segment_put(arena, s, SEGMENT_FREE, 0);
    }
}

/* Bring a split under way to its end; nobody else is here. */
static void end_split(forebay_arena *arena)
{
    uint64_t word = fb_index_word(arena);
    uint64_t n = word >> 1;
    if ((word & 1) == 0)
        return;
    arena_bucket *from = &arena->buckets[n & ~(UINT64_C(1) << (63 - __builtin_clzll(n)))];
    arena_bucket *to = &arena->buckets[n];
    for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t x = atomic_load(&from->slots[i]), copy = atomic_load(&to->slots[i]);
        bool moving = fb_slot_moving(x) && fb_slot_moving(copy) && fb_slot_same(x, copy);
        if (fb_slot_tentative(copy))
            atomic_store(&to->slots[i], moving ? copy & ~SLOT_MOVING : 0);
        if (fb_slot_tentative(x)) {
            atomic_store(&from->slots[i], 0);
            continue;
        }
        entry_view view;
        if (x == 0 || !fb_entry_view_slot(arena, x, &view))
            continue;
        uint64_t hash = fb_key_hash(arena, view.cache_tag, view.key, view.key_length);
        index_look look = fb_index_look_at(arena, hash, (n + 1) << 1);
        if (look.bucket[0] == n || look.bucket[1] == n) {
            atomic_store(&to->slots[i], x);
            atomic_store(&from->slots[i], 0);
        }
    }
    atomic_store(&arena->super->index_word, (n + 1) << 1);
}

static void check_slots(forebay_arena *arena)
{
    uint64_t buckets = fb_index_word(arena) >> 1;
    for (uint64_t b = 0; b < buckets; b++) {
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            _Atomic uint64_t *slot = &arena->buckets[b].slots[i];
            entry_view view;
            uint64_t word = atomic_load(slot);
            if (word == 0)
                continue;
            bool whole = !fb_slot_tentative(word) && fb_entry_view_slot(arena, word, &view) && fb_entry_check_sum(arena, &view)
                         && fb_dictionary_recover_use(arena, view.segment, fb_packed_dictionary(&view))
                         && fb_inspect_slot(arena, b, i) == NULL;
            if (!whole)
                atomic_store(slot, 0);
        }
    }
}

/* Invalidations may be lost with their page: all tags are invalidated, by more
 * than can have been lost, so that no counter meets an old value again. */
static void invalidate_tags(forebay_arena *arena)
{
    for (uint32_t i = 0; i < arena->geometry.tag_count; i++)
        atomic_fetch_add(&arena->tags[i], UINT64_C(1) << 20);
}

forebay_status fb_arena_recover(forebay_arena *arena)
{
    invalidate_tags(arena);
    fb_leases_clear(arena);
    fb_limits_clear(arena);
    fb_channels_clear(arena);
    rest_segments(arena);
    check_runs(arena);
    if (fb_inspect_geometry(arena) != NULL) {
        start_cold(arena);
        return FOREBAY_OK;
    }
    end_split(arena);
    fb_dictionaries_recover(arena);
    check_slots(arena);
    return FOREBAY_OK;
}
