/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: what their files share.  docs/internals/concurrency.md is the protocol. */
#ifndef FB_LIMITS_H
#define FB_LIMITS_H

#include <forebay/limit.h>

#include "arena/arena_clock.h"
#include "arena/rows.h"

/* An open limit in this process.  Fixed after open. */
struct forebay_limit {
    forebay_arena *arena;
    arena_limit *record;
    _Atomic uint64_t *permits; /* the record's, geometry.permit_count of them */
    arena_place *places;       /* the record's, geometry.place_count of them */
    uint64_t word;             /* of the record when opened: another means dropped */
    char name[FOREBAY_NAME_MAX + 1];
};

/* The handle of the i-th record, whatever is there. */
forebay_limit fb_limit_handle(forebay_arena *arena, uint32_t i);
/* Number of the live record of this name; -1: none. */
int fb_limit_find(const forebay_arena *arena, const char *name);

static inline bool fb_limit_is_live(uint64_t word) { return (word & 3) == LIMIT_LIVE; }
/* Not dropped since it was opened.  Sequentially consistent: who takes a permit looks
 * after it, since its record may have been dropped and used anew before. */
static inline bool fb_limit_is_open(const forebay_limit *limit)
{
    return atomic_load(&limit->record->word) == limit->word;
}
/* First line of the calls that return a status. */
static inline forebay_status fb_limit_begin(const forebay_limit *limit)
{
    forebay_status status = fb_arena_enter(limit->arena);
    if (status != FOREBAY_OK)
        return status;
    return fb_limit_is_open(limit) ? FOREBAY_OK : FOREBAY_CLOSED;
}
/* How many permits there are, whatever the file says. */
static inline uint32_t fb_limit_most(const forebay_limit *limit)
{
    uint32_t most = atomic_load(&limit->record->most), all = limit->arena->geometry.permit_count;
    return most < all ? most : all;
}

/* A permit's word. */
#define PERMIT_HELD UINT64_C(1)
#define PERMIT_GENERATION_MASK ((UINT64_C(1) << 27) - 1)
static inline bool fb_permit_is_held(uint64_t word) { return (word & PERMIT_HELD) != 0; }
static inline uint32_t fb_permit_row(uint64_t word) { return (uint32_t)(word >> 1 & 0xfff); }
static inline uint64_t fb_permit_freed(uint64_t word) { return word >> 1; } /* arena ms */
static inline uint64_t fb_permit_free(uint64_t now) { return now << 1; }
static inline uint64_t fb_permit_owner_bits(row_owner owner)
{
    return (owner & 0xfff) << 1 | (owner >> 12 & PERMIT_GENERATION_MASK) << 13;
}
static inline bool fb_permit_is_of(uint64_t word, row_owner owner)
{
    uint64_t bits = (UINT64_C(1) << 40) - 1;
    return fb_permit_is_held(word) && (word & bits & ~PERMIT_HELD) == fb_permit_owner_bits(owner);
}
static inline bool fb_permit_is_left(forebay_arena *arena, uint64_t word)
{
    return fb_row_left(arena, fb_permit_row(word), word >> 13, PERMIT_GENERATION_MASK);
}
/* How many permits can be had. */
uint32_t fb_permits_free(const forebay_limit *limit);
/* How many permits the owner has. */
uint32_t fb_permits_of(const forebay_limit *limit, row_owner owner);
/* Free those of the dead; returns whether there were any. */
bool fb_permits_sweep(forebay_limit *limit);
/* Take one whose turn it is: `ticket` of a place, 0: without one. */
forebay_status fb_permit_take(forebay_limit *limit, uint64_t ticket, forebay_permit *permit);
/* Before a drop: all permits become this process's, with one word, so that nobody can
 * have one and a drop that is killed is undone by the sweep; false: others hold some,
 * and all are as they were. */
bool fb_permits_take_all(forebay_limit *limit, uint64_t *word_out);
void fb_permits_give_back_all(forebay_limit *limit, uint64_t word);
/* One got free: wake those who wait. */
void fb_permits_released(forebay_limit *limit);

/* A place's word. */
#define PLACE_TAKEN (UINT64_C(1) << 63)
static inline row_owner fb_place_owner(uint64_t word) { return word & ((UINT64_C(1) << 44) - 1); }
static inline bool fb_place_is_left(forebay_arena *arena, uint64_t word)
{
    return fb_row_left(arena, (uint32_t)(word & 0xfff), word >> 12, UINT32_MAX);
}
/* Those who were there before a ticket. */
typedef struct places_before {
    uint32_t count; /* but those who have not looked for so long that they don't count */
    uint32_t late;  /* of them, who would have looked if they were not stopped, or slow */
} places_before;
places_before fb_places_before(const forebay_limit *limit, uint64_t ticket); /* 0: all places */
/* Free those of the dead; returns whether there were any. */
bool fb_places_sweep(forebay_limit *limit);

/* What is wrong in the tables, or NULL. */
const char *fb_limits_inspect(const forebay_arena *arena);
/* After a reboot, alone: nobody holds any permit, nobody waits. */
void fb_limits_clear(forebay_arena *arena);

#endif
