/* SPDX-License-Identifier: Apache-2.0 */
/* Rows: one for each open handle, and the truth about who is alive.
 *
 * A handle holds an open-file-description lock (F_OFD_SETLK) on byte
 * ROW_LOCK_BASE + row, through a description opened for that alone: the kernel
 * frees it however the process ends, in any PID namespace.  A row is dead when
 * the byte is free and, where its PID namespace is ours, no process of that pid
 * and start time maps the arena any more (a daemon may close_range() its
 * descriptors and live on).  It is also dead when, where its PID namespace is
 * ours, its process has ended: a child stopped inside fork() keeps the lock. */
#ifndef FB_ROWS_H
#define FB_ROWS_H

#include "arena/arena_state.h"

#define ROW_LOCK_BASE ((int64_t)1 << 61)
/* Who sweeps a dead row holds byte ROW_SWEEP_BASE + row: another one than its
 * owner's, so that a sweeper who is stopped does not make the dead look alive. */
#define ROW_SWEEP_BASE (ROW_LOCK_BASE + 4096)
#define CREATION_LOCK (((int64_t)1 << 61) - 1) /* byte held while formatting, rebasing, or changing the cache table */

#define ROW_NONE UINT32_MAX

/* Who claims: low 12 bits row, next 32 bits generation. */
typedef uint64_t row_owner;

/* Take a row for this handle (at open, and in a child at its first call). */
forebay_status fb_row_attach(forebay_arena *arena, forebay_error *error);
/* Give the row up: hazards cleared, counters orphaned, lock released. */
void fb_row_detach(forebay_arena *arena);
/* Before a fork, fork blocked: if views are open, take a row for the child,
 * locked through `child_fd`, that has copies of the pins.  Keeps the pins locked
 * until fb_row_child_made() or fb_row_forget(). */
void fb_row_prepare_child(forebay_arena *arena);
void fb_row_child_made(forebay_arena *arena);
/* In the child of a fork: let go of the parent's description without touching
 * the parent's row; take over the row that was made for it, if one was.  Called
 * by the atfork handler. */
void fb_row_forget(forebay_arena *arena);

static inline row_owner fb_row_owner(const forebay_arena *arena)
{
    return (row_owner)atomic_load_explicit(&arena->row, memory_order_relaxed)
           | (row_owner)atomic_load_explicit(&arena->row_generation, memory_order_relaxed) << 12;
}

/* Rows from this number on were never used, as of a look: a row taken after it
 * holds nothing chosen before it (its first hold comes later still, and then its
 * second look at what it holds). */
static inline uint32_t fb_rows_used(const forebay_arena *arena)
{
    uint32_t used = atomic_load(&arena->super->rows_used); /* seq_cst; pairs with take_row() */
    return used < arena->geometry.row_count ? used : arena->geometry.row_count;
}

/* True if the owner of a claim is dead.  Asks the kernel at most once in 5 ms a
 * row and process; a row found dead is swept: hazards cleared, counters
 * orphaned, generation raised.  Never true for a live owner.  May be called
 * with claims held. */
bool fb_row_is_dead(forebay_arena *arena, row_owner owner);
/* The same of who is named by a row and the low bits of its generation that `mask`
 * has: dead, too, if the row is another's by now. */
static inline bool fb_row_left(forebay_arena *arena, uint32_t row, uint64_t generation, uint64_t mask)
{
    if (row >= arena->geometry.row_count)
        return true; /* nobody's: a damaged file */
    uint64_t there = atomic_load(&arena->rows[row].word);
    row_owner owner = (row_owner)row | (row_owner)(uint32_t)(there >> 1) << 12;
    return (there & 1) == 0 || ((there >> 1 ^ generation) & mask) != 0 || fb_row_is_dead(arena, owner);
}
/* Sweep every dead row; returns how many were. */
uint32_t fb_rows_sweep(forebay_arena *arena);

/* A lane: this thread's place for hazards until fb_lane_leave().  Waits only
 * for other threads of this process. */
uint32_t fb_lane_enter(forebay_arena *arena);
void fb_lane_leave(forebay_arena *arena, uint32_t lane);
/* Keep `segment` from being reused (not from being emptied) until cleared.
 * Sequentially consistent: look again at what made you choose it. */
static inline void fb_lane_hold(forebay_arena *arena, uint32_t lane, uint32_t which, uint32_t segment)
{
    arena_row *row = &arena->rows[atomic_load_explicit(&arena->row, memory_order_relaxed)];
    atomic_store(&row->hazards[lane][which], segment + 1); /* seq_cst; pairs with fb_segment_held() */
}
static inline void fb_lane_release(forebay_arena *arena, uint32_t lane, uint32_t which)
{
    arena_row *row = &arena->rows[atomic_load_explicit(&arena->row, memory_order_relaxed)];
    atomic_store_explicit(&row->hazards[lane][which], 0, memory_order_release);
}
/* Is any segment of [first, first + count) held or pinned by a live row?  The caller has
 * claimed them and emptied their slots before. */
bool fb_segment_held(forebay_arena *arena, uint32_t first, uint32_t count);

/* Lock byte `offset` through a description of its own, waiting up to timeout_ms;
 * the returned descriptor holds it until fb_transient_close() (registry.h), -1:
 * *status_out says why. */
int fb_file_lock(forebay_arena *arena, int64_t offset, uint32_t timeout_ms, forebay_status *status_out);

/* First line of every public call: has a row, is not truncated. */
forebay_status fb_arena_reattach(forebay_arena *arena);
static inline forebay_status fb_arena_enter(forebay_arena *arena)
{
    if (__builtin_expect(atomic_load_explicit(arena->attached, memory_order_acquire) != 0, 1))
        return FOREBAY_OK;
    return fb_arena_reattach(arena);
}

#endif
