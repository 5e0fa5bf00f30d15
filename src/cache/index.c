/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/index.h"

#include "base/copy.h"

/* Linear hashing's address of x among `n` buckets. */
static uint32_t bucket_address(uint64_t x, uint64_t n)
{
    uint64_t mask = (UINT64_C(2) << (63 - __builtin_clzll(n))) - 1;
    uint64_t b = x & mask;
    return (uint32_t)(b < n ? b : x & (mask >> 1));
}

index_look fb_index_look_at(const forebay_arena *arena, uint64_t hash, uint64_t word)
{
    uint64_t n = word >> 1;
    if (n < arena->geometry.index_initial || n >= fb_index_bucket_limit(arena)) /* damaged: stay inside */
        n = arena->geometry.index_initial;
    index_look look = {.word = word, .count = 2};
    look.bucket[0] = bucket_address((uint32_t)hash, n);
    look.bucket[1] = bucket_address((hash * UINT64_C(0x9e3779b97f4a7c15)) >> 32, n);
    if (look.bucket[0] == look.bucket[1])
        look.count = 1;
    return look;
}

/* The bucket that the split to n empties: n without its highest bit. */
static uint32_t split_source(uint64_t n)
{
    return (uint32_t)(n & ~(UINT64_C(1) << (63 - __builtin_clzll(n))));
}

bool fb_index_look_is_split(const forebay_arena *arena, const index_look *look)
{
    uint64_t n = look->word >> 1;
    if ((look->word & 1) == 0 || n < arena->geometry.index_initial || n + 1 >= fb_index_bucket_limit(arena))
        return false;
    uint32_t source = split_source(n);
    return look->bucket[0] == source || look->bucket[1] == source;
}

index_look fb_index_look_settled(forebay_arena *arena, uint32_t lane, uint64_t hash)
{
    index_look look = fb_index_look(arena, hash);
    for (int i = 0; i < INDEX_TRIES && fb_index_look_is_split(arena, &look); i++) {
        fb_index_help(arena, lane);
        look = fb_index_look(arena, hash);
    }
    return look;
}

bool fb_index_key_equal(const index_key *key, const entry_view *view)
{
    return view->key_length == key->length && view->cache_tag == key->cache_tag
           && fb_equal(view->key, key->data, key->length);
}

/* Look at one slot whose word was `word`: this key?  Holds its segment. */
static bool slot_is_key_held(forebay_arena *arena, uint32_t lane, const index_key *key, _Atomic uint64_t *slot,
                             uint64_t word, index_match *match)
{
    uint64_t tag = fb_slot_tag(key->hash);
    /* until it is decided: a key that is there must not be taken for absent.  Each
     * round somebody stored something. */
    while (fb_slot_matches(word, tag)) {
        uint32_t segment;
        if (!fb_slot_segment(arena, word, &segment))
            return false;
        fb_lane_hold(arena, lane, 0, segment);
        uint64_t again = atomic_load(slot); /* seq_cst: after the hold */
        if (!fb_slot_same(again, word)) {
            word = again;
            continue;
        }
        if (!fb_entry_view_slot(arena, again, &match->view) || !fb_index_key_equal(key, &match->view)) {
            /* the later segments of a run are not held: a mismatch counts only if the entry is still there */
            word = atomic_load(slot);
            if (fb_slot_same(word, again))
                return false;
            continue;
        }
        match->slot = slot;
        match->word = again;
        return true;
    }
    return false;
}

bool fb_index_find_held(forebay_arena *arena, uint32_t lane, const index_key *key, const index_look *look,
                        index_match *match)
{
    uint64_t tag = fb_slot_tag(key->hash);
    for (uint32_t b = 0; b < look->count; b++) {
        arena_bucket *bucket = &arena->buckets[look->bucket[b]];
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t word = atomic_load(&bucket->slots[i]);
            if (fb_slot_matches(word, tag) && slot_is_key_held(arena, lane, key, &bucket->slots[i], word, match))
                return true;
        }
    }
    return false;
}

static bool find_place_in(forebay_arena *arena, const index_look *look, uint64_t place, index_match *match)
{
    for (uint32_t b = 0; b < look->count; b++) {
        arena_bucket *bucket = &arena->buckets[look->bucket[b]];
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t word = atomic_load(&bucket->slots[i]);
            if (((word ^ place) & SLOT_PLACE_MASK) != 0 || fb_slot_tentative(word))
                continue;
            match->slot = &bucket->slots[i];
            match->word = word;
            return true;
        }
    }
    return false;
}

place_result fb_index_find_place(forebay_arena *arena, uint32_t lane, uint64_t hash, uint64_t place, index_match *match)
{
    for (int t = 0; t < INDEX_TRIES; t++) {
        index_look look = fb_index_look_settled(arena, lane, hash);
        if (find_place_in(arena, &look, place, match))
            return PLACE_FOUND;
        if (!fb_index_look_is_split(arena, &look) && fb_index_word(arena) == look.word)
            return PLACE_NONE;
    }
    return PLACE_LOST;
}

void fb_index_note_load(forebay_arena *arena, uint32_t used, uint32_t slots)
{
    /* 16.16 fixed point of slots used per bucket, over the last hundred inserts or so */
    uint32_t seen = (used << 16) * BUCKET_SLOTS / slots;
    uint32_t average = atomic_load_explicit(&arena->load_average, memory_order_relaxed);
    average = average - (average >> 6) + (seen >> 6);
    atomic_store_explicit(&arena->load_average, average, memory_order_relaxed);
}
