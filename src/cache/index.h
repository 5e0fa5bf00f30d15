/* SPDX-License-Identifier: Apache-2.0 */
/* The index: 64-byte buckets of eight slots; a key may be in either of two
 * buckets (Azar, Broder, Karlin, Upfal: Balanced allocations, 1994).  It grows
 * by linear hashing, a bucket at a time.  docs/internals/concurrency.md is its protocol. */
#ifndef FB_INDEX_H
#define FB_INDEX_H

#include <forebay/cache.h>

#include "cache/entry.h"

/* A key's candidate buckets as of one look at the index word. */
typedef struct index_look {
    uint64_t word;
    uint32_t bucket[2];
    uint32_t count; /* 1 if both are the same bucket */
} index_look;

/* A key being worked on. */
typedef struct index_key {
    const uint8_t *data;
    uint32_t length;
    uint32_t cache_tag;
    uint64_t hash;
    uint32_t version; /* of the handle: entries of another one do not count */
} index_key;

typedef struct index_match {
    _Atomic uint64_t *slot;
    uint64_t word;   /* of the slot */
    entry_view view;
} index_match;

/* Times an operation begins again after losing a race before it gives up. */
#define INDEX_TRIES 64

static inline uint64_t fb_index_word(const forebay_arena *arena)
{
    return atomic_load(&arena->super->index_word); /* seq_cst: ordered with the stores of slots before it */
}
/* A look that found nothing is final only if this was the same before and after:
 * an entry may have been displaced from a bucket not yet looked at to one
 * already looked at. */
static inline uint64_t fb_index_moves(const forebay_arena *arena)
{
    return atomic_load(&arena->super->index_moves);
}
/* Buckets there can ever be: a bound on what the mapped words may make us touch. */
static inline uint64_t fb_index_bucket_limit(const forebay_arena *arena)
{
    return (arena->geometry.size - arena->geometry.index_offset) / sizeof(arena_bucket);
}
index_look fb_index_look_at(const forebay_arena *arena, uint64_t hash, uint64_t word);
static inline index_look fb_index_look(const forebay_arena *arena, uint64_t hash)
{
    return fb_index_look_at(arena, hash, fb_index_word(arena));
}
/* Are the key's candidates part of a split under way? */
bool fb_index_look_is_split(const forebay_arena *arena, const index_look *look);

/* For writers: a look that no split touches, after helping one if need be (after
 * losing INDEX_TRIES races it may still be one: a lost try).  Uses hazard 1 of
 * the lane. */
index_look fb_index_look_settled(forebay_arena *arena, uint32_t lane, uint64_t hash);
/* Bring the split under way, if any, to its end.  Uses hazard 1 of the lane. */
void fb_index_help(forebay_arena *arena, uint32_t lane);

/* The committed slot of the key, its segment held in hazard 0 of the lane.
 * False: none was seen (which is final only if the index word is still
 * look->word). */
bool fb_index_find_held(forebay_arena *arena, uint32_t lane, const index_key *key, const index_look *look,
                        index_match *match);
typedef enum place_result { PLACE_FOUND, PLACE_NONE, PLACE_LOST } place_result;
/* The committed slot that points to this very entry, whose segment the caller
 * owns.  PLACE_LOST: every race was lost, nothing is known. */
place_result fb_index_find_place(forebay_arena *arena, uint32_t lane, uint64_t hash, uint64_t place, index_match *match);

/* Make the index one bucket larger if it is fuller than it should be.  Work is
 * bounded: one bucket, now and then one segment emptied. */
void fb_index_maybe_grow(forebay_arena *arena, uint32_t lane);
/* No place for an insert: in an arena that is not full, make the index a bucket
 * larger, whatever its load; the insert tries again.  False: it is full, or nearly
 * (which does not count where entries that `must_stay` are in the way). */
bool fb_index_grow_for_room(forebay_arena *arena, uint32_t lane, bool must_stay);
/* Note what an insert saw: slots in use of `slots`. */
void fb_index_note_load(forebay_arena *arena, uint32_t used, uint32_t slots);

/* Is the key's entry one that its readers may see? */
static inline bool fb_index_readable(const forebay_arena *arena, const index_key *key, const entry_view *view, uint64_t now)
{
    return view->version == key->version && fb_entry_is_fresh(arena, view, now);
}
/* Is it a value, for those who want to know whether there is one? */
static inline bool fb_index_counts(const forebay_arena *arena, const index_key *key, const entry_view *view, uint64_t now)
{
    return fb_index_readable(arena, key, view, now) && view->kind != FOREBAY_KIND_ABSENT;
}

/* Bytes of a key in shared memory equal these? */
bool fb_index_key_equal(const index_key *key, const entry_view *view);

#endif
