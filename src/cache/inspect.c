/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/inspect.h"

#include "base/copy.h"
#include "cache/packed.h"

const char *fb_inspect_geometry(const forebay_arena *arena)
{
    uint64_t word = fb_index_word(arena);
    uint64_t capacity = atomic_load_explicit(&arena->super->index_capacity, memory_order_acquire);
    uint64_t per_segment = arena->geometry.segment_size / sizeof(arena_bucket);
    if (capacity < arena->geometry.index_initial || (capacity - arena->geometry.index_initial) % per_segment != 0
        || (capacity - arena->geometry.index_initial) / per_segment > arena->geometry.segment_count)
        return "the index's capacity is not a whole number of segments";
    if (word >> 1 < arena->geometry.index_initial || (word >> 1) + (word & 1) > capacity)
        return "the index has more buckets than room for them";
    for (uint64_t i = 0; i < (capacity - arena->geometry.index_initial) / per_segment; i++)
        if (fb_segment_state(fb_segment_load(arena, (uint32_t)i)) != SEGMENT_INDEX)
            return "a segment under the index is not marked so";
    return NULL;
}

static const char *inspect_walk(const forebay_arena *arena, uint32_t segment, uint32_t group, uint32_t tail)
{
    uint32_t at = 0;
    if (group > arena->geometry.cache_count)
        return "a segment is of a group that no cache has";
    while (at < tail) {
        entry_view view;
        if (!fb_entry_view_at(arena, segment, fb_segment_offset(arena, segment) + (uint64_t)at * ARENA_ALIGN, &view)
            || view.units > tail - at)
            return "the entries of a segment can't be walked";
        if (group != 0 && view.cache_tag % CACHE_COUNT_MAX != group - 1)
            return "an entry lies among those of another cache's group";
        at += (uint32_t)view.units;
    }
    return NULL;
}

static const char *inspect_body(const forebay_arena *arena, uint32_t segment, uint64_t word)
{
    uint32_t first = (uint32_t)(fb_segment_owner(word) & 0xfff);
    if (first >= segment)
        return "a segment of a run names a first one that does not come before it";
    uint32_t run = atomic_load_explicit(&arena->segments[first].run, memory_order_relaxed);
    if (segment - first >= run || fb_segment_owner(word) != fb_body_owner(arena, first))
        return "a segment belongs to a run that does not reach it";
    return NULL;
}

const char *fb_inspect_segment(const forebay_arena *arena, uint32_t segment)
{
    const arena_segment *record = &arena->segments[segment];
    uint64_t word = fb_segment_load(arena, segment);
    uint32_t tail = atomic_load_explicit(&record->tail, memory_order_acquire);
    uint32_t run = atomic_load_explicit(&record->run, memory_order_relaxed);
    switch (fb_segment_state(word)) {
    case SEGMENT_FREE:
    case SEGMENT_TAKEN:
    case SEGMENT_INDEX:
        return NULL;
    case SEGMENT_BODY:
        return inspect_body(arena, segment, word);
    case SEGMENT_OPEN:
    case SEGMENT_SEALED:
    case SEGMENT_WRITING:
    case SEGMENT_EVICTING:
    case SEGMENT_RUN:
        break;
    default:
        return "a segment is in no known state";
    }
    if (run == 0 || run > arena->geometry.segment_count - segment)
        return "a run leaves the arena";
    if (tail > (uint64_t)fb_segment_units(arena) * run)
        return "a segment's tail lies beyond its end";
    if (atomic_load_explicit(&record->cursor, memory_order_relaxed) > tail)
        return "a segment's cursor lies beyond its tail";
    return inspect_walk(arena, segment, fb_segment_group(word), tail);
}

static bool bucket_in(const index_look *look, uint64_t bucket)
{
    return look->bucket[0] == bucket || look->bucket[1] == bucket;
}

/* A key may stand in s or n while s is being split into n. */
static bool bucket_may_hold(const forebay_arena *arena, uint64_t hash, uint64_t bucket)
{
    uint64_t word = fb_index_word(arena);
    index_look now = fb_index_look_at(arena, hash, word);
    if (bucket_in(&now, bucket))
        return true;
    index_look after = fb_index_look_at(arena, hash, word + 2);
    return (word & 1) != 0 && bucket_in(&after, bucket);
}

/* Another committed slot with the key of this one? */
static bool has_double(const forebay_arena *arena, const index_key *key, const _Atomic uint64_t *mine)
{
    index_look look = fb_index_look(arena, key->hash);
    uint64_t tag = fb_slot_tag(key->hash);
    for (uint32_t b = 0; b < look.count; b++) {
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            const _Atomic uint64_t *slot = &arena->buckets[look.bucket[b]].slots[i];
            uint64_t word = atomic_load(slot);
            entry_view view;
            if (slot != mine && fb_slot_matches(word, tag) && fb_entry_view_slot(arena, word, &view)
                && fb_index_key_equal(key, &view))
                return true;
        }
    }
    return false;
}

const char *fb_inspect_slot(const forebay_arena *arena, uint64_t bucket, uint32_t i)
{
    const _Atomic uint64_t *slot = &arena->buckets[bucket].slots[i];
    uint64_t word = atomic_load(slot);
    uint32_t segment;
    entry_view view;
    if (word == 0 || fb_slot_tentative(word))
        return NULL;
    if (!fb_slot_segment(arena, word, &segment))
        return "a slot points outside the segments";
    enum segment_state state = fb_segment_state(fb_segment_load(arena, segment));
    if (state == SEGMENT_FREE || state == SEGMENT_TAKEN || state == SEGMENT_INDEX || state == SEGMENT_BODY)
        return "a slot points into a segment that holds no entries";
    if (!fb_entry_view_slot(arena, word, &view))
        return "a slot points to what is no entry, or to an earlier life of its segment";
    uint64_t unit = (fb_slot_offset(word) - fb_segment_offset(arena, segment)) / ARENA_ALIGN;
    if (unit + view.units > atomic_load_explicit(&arena->segments[segment].tail, memory_order_acquire))
        return "a slot points behind its segment's tail";
    index_key key = {.data = view.key, .length = view.key_length, .cache_tag = view.cache_tag};
    key.hash = fb_key_hash(arena, view.cache_tag, view.key, view.key_length);
    if (fb_slot_tag(key.hash) != (word & SLOT_TAG_MASK) || !bucket_may_hold(arena, key.hash, bucket))
        return "a slot is not where its key is looked for";
    uint32_t dictionary = fb_packed_dictionary(&view);
    if (dictionary != DICTIONARY_NONE
        && (atomic_load(&arena->segments[segment].dictionaries) >> fb_dictionary_slot(dictionary) & 1) == 0)
        return "an entry needs a dictionary that its segment does not name";
    dictionary_facts facts;
    if (dictionary != DICTIONARY_NONE && !fb_dictionary_look_up(arena, dictionary, &facts))
        return "an entry needs a dictionary that is gone";
    if (has_double(arena, &key, slot))
        return "a key has two slots";
    return NULL;
}
