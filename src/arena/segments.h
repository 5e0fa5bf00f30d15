/* SPDX-License-Identifier: Apache-2.0 */
/* Segments: claims on them, their lives, and the heads that writers append to.
 * docs/internals/concurrency.md has the state picture.  A claim is never waited for. */
#ifndef FB_SEGMENTS_H
#define FB_SEGMENTS_H

#include "arena/arena_state.h"
#include "arena/rows.h"

#define SEGMENT_NONE UINT32_MAX
#define SEGMENTS_UNLIMITED UINT32_MAX
/* Segments that only evictors may take, as targets of their copies. */
#define SEGMENT_RESERVE 2u

/* What a segment is used for: queue, TTL class and group, where they are in its word. */
typedef uint32_t segment_use;
#define SEGMENT_USE_MASK 0xfff0u
#define GROUPS_MAX 256u /* group numbers have 8 bits, whatever the file says */
static inline segment_use fb_segment_use_of(uint32_t queue, uint32_t class, uint32_t group)
{
    return queue << 4 | class << 5 | group << 8;
}

static inline enum segment_state fb_segment_state(uint64_t word) { return (enum segment_state)(word & 0xf); }
static inline segment_use fb_segment_use(uint64_t word) { return (segment_use)word & SEGMENT_USE_MASK; }
static inline uint32_t fb_segment_queue(uint64_t word) { return (uint32_t)(word >> 4) & 1; }
static inline uint32_t fb_segment_class(uint64_t word) { return (uint32_t)(word >> 5) & (TTL_CLASSES - 1); }
static inline uint32_t fb_segment_group(uint64_t word) { return (uint32_t)(word >> 8) & (GROUPS_MAX - 1); }
static inline row_owner fb_segment_owner(uint64_t word) { return word >> 16; }
static inline uint64_t fb_segment_word(enum segment_state state, segment_use use, row_owner owner)
{
    return (uint64_t)state | use | owner << 16;
}
static inline uint64_t fb_segment_load(const forebay_arena *arena, uint32_t segment)
{
    return atomic_load_explicit(&arena->segments[segment].word, memory_order_acquire);
}
static inline uint64_t fb_segment_offset(const forebay_arena *arena, uint32_t segment)
{
    return arena->geometry.data_offset + ((uint64_t)segment << arena->segment_shift);
}
/* Units of 8 bytes in one segment. */
static inline uint32_t fb_segment_units(const forebay_arena *arena)
{
    return arena->geometry.segment_size / ARENA_ALIGN;
}

/* Segments of the run that begins here, 1 for a plain one; never past the last
 * segment, whatever the file says. */
static inline uint32_t fb_segment_run(const forebay_arena *arena, uint32_t segment)
{
    uint32_t run = atomic_load_explicit(&arena->segments[segment].run, memory_order_acquire);
    return run == 0 || run > arena->geometry.segment_count - segment ? 1 : run;
}

/* Compare-and-swap the whole word; on success this handle owns the claim. */
static inline bool fb_segment_claim(forebay_arena *arena, uint32_t segment, uint64_t from, enum segment_state to)
{
    uint64_t word = fb_segment_word(to, fb_segment_use(from), fb_row_owner(arena));
    return atomic_compare_exchange_strong(&arena->segments[segment].word, &from, word);
}
/* By the owner: end the claim, or change its state. */
void fb_segment_put(forebay_arena *arena, uint32_t segment, enum segment_state state, segment_use use);

static inline bool fb_segment_claimed(uint64_t word)
{
    enum segment_state state = fb_segment_state(word);
    return state == SEGMENT_TAKEN || state == SEGMENT_WRITING || state == SEGMENT_EVICTING;
}
/* Undo the claim that `word` is, if its owner is dead; returns the segment's word. */
uint64_t fb_segment_settle_claimed(forebay_arena *arena, uint32_t segment, uint64_t word);
/* The segment's word after a claim of a dead owner, if any, was undone. */
static inline uint64_t fb_segment_settle(forebay_arena *arena, uint32_t segment)
{
    uint64_t word = fb_segment_load(arena, segment);
    return fb_segment_claimed(word) ? fb_segment_settle_claimed(arena, segment, word) : word;
}

/* Segments of a group: those that hold or may hold its entries, claimed ones included. */
uint32_t fb_group_segments(const forebay_arena *arena, uint32_t group);
/* May the claimed (TAKEN) segment stay its group's, which may have `most`?  Asked
 * after the claim, so of claims that are too many together at least the last is
 * told no.  Those at higher numbers go first and give the others a moment to give
 * back, so that two in step do not both go without, again and again. */
bool fb_group_allows(const forebay_arena *arena, uint32_t group, uint32_t segment, uint32_t most);

/* Claim (TAKEN) a free segment that nobody holds for this use, leaving at least
 * `leave` others free, so that its group has at most `most`; SEGMENT_NONE if
 * there is none.  Begin its life with fb_segment_begin(). */
uint32_t fb_segment_take(forebay_arena *arena, segment_use use, uint32_t leave, uint32_t most);
/* TAKEN -> a new life of `run` segments from here on: generation raised, empty,
 * last in its queue.  The state stays TAKEN. */
void fb_segment_begin(forebay_arena *arena, uint32_t segment, uint32_t run);

/* `units` of the segment are an entry's that is gone.  A hint; any process. */
static inline void fb_segment_note_dead(forebay_arena *arena, uint32_t segment, uint64_t units)
{
    atomic_fetch_add_explicit(&arena->segments[segment].dead, (uint32_t)units, memory_order_relaxed);
}
/* Half of it is: to copy what is left frees as much as is copied, or more. */
static inline bool fb_segment_mostly_dead(const forebay_arena *arena, uint32_t segment)
{
    return atomic_load_explicit(&arena->segments[segment].dead, memory_order_relaxed) >= fb_segment_units(arena) / 2;
}

/* Claim (WRITING) a head of this use with room for `units`, a new one if need be:
 * `leave`, `most` and SEGMENT_NONE as fb_segment_take(). */
uint32_t fb_head_acquire(forebay_arena *arena, segment_use use, uint32_t units, uint32_t leave, uint32_t most);
void fb_head_release(forebay_arena *arena, uint32_t segment);
/* Forget all heads: whoever seals what they were has no more use for them. */
void fb_heads_forget(forebay_arena *arena);

/* A run's later segments say whose they are: 12 bits of the first segment's
 * number and 32 of its generation, where a claim has its owner. */
static inline row_owner fb_body_owner(const forebay_arena *arena, uint32_t first)
{
    uint64_t generation = atomic_load_explicit(&arena->segments[first].generation, memory_order_relaxed);
    return (row_owner)first | (generation & UINT32_MAX) << 12;
}
/* Is the run that a BODY word names still there? */
bool fb_segment_body_is_covered(const forebay_arena *arena, uint32_t segment, uint64_t word);

/* Which segments any row holds, as of a look: a bit each (numbers have 12 bits). */
typedef struct held_segments {
    uint64_t bits[64];
} held_segments;
void fb_segments_held(const forebay_arena *arena, held_segments *held); /* pinned ones too */
void fb_segments_pinned(const forebay_arena *arena, held_segments *pinned);
static inline bool fb_segment_in(const held_segments *held, uint32_t segment)
{
    return (held->bits[segment / 64 % 64] >> segment % 64 & 1) != 0;
}

/* Free what a killed owner left of a run, undo claims of the dead; returns how
 * many segments are free.  A few microseconds per thousand segments. */
uint32_t fb_segments_sweep(forebay_arena *arena);

#endif
