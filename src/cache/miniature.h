/* SPDX-License-Identifier: Apache-2.0 */
/* A miniature: the engine with one set of constants on sampled keys only, to
 * see how it would do (C. Waldspurger et al., "Cache modeling and optimization
 * using miniature simulations", USENIX ATC 2017).  Its memory is shared and
 * used under the selector's claim; any content of it is survived. */
#ifndef FB_MINIATURE_H
#define FB_MINIATURE_H

#include "cache/ghosts.h"

#define MINIATURE_MAX 256u /* entries; 1024 gave no fewer misses and cost as much more time */

/* All zero: empty.  Cells are numbered from 1. */
typedef struct miniature_state {
    uint64_t clock;              /* ticks, 40.24 fixed point */
    uint64_t misses;             /* with decay, 1/65536 */
    uint32_t count[QUEUE_COUNT];
    uint16_t oldest[QUEUE_COUNT], youngest[QUEUE_COUNT];
    uint16_t unused;             /* list of cells given back, by `next` */
    uint16_t touched;            /* cells used so far */
    uint32_t threshold;          /* as in policy_region */
    uint32_t fruitless, dropped;
    uint16_t scanned, scanned_dropped; /* of main, since the threshold was looked at */
    uint32_t units[QUEUE_COUNT];
} miniature_state;
static_assert(sizeof(miniature_state) == 64, "one cache line");

typedef struct miniature_cell {
    uint32_t key;    /* 24 bits of the hash, 8 bits of size: see fb_size_code() */
    uint16_t word;   /* bits 0..2 frequency, 3 queue, 4..9 score, 10..13 epoch */
    uint16_t next;   /* younger in its queue */
    uint16_t chain;  /* next with the same hash */
    uint16_t first;  /* of the chain for keys that hash to this cell's number */
} miniature_cell;
static_assert(sizeof(miniature_cell) == 12, "no padding");

/* Where one lies and how big it is; made anew for each run. */
typedef struct miniature {
    miniature_state *state;
    miniature_cell *cells;       /* room + 1 */
    const policy_constants *constants;
    ghost_table ghosts;          /* clock: set by the miniature */
    uint32_t room;               /* cells there are */
    uint32_t capacity;           /* entries of average size it may hold now, <= room */
    uint64_t average;            /* units of an entry, 24.8 fixed point; not 0 */
    uint32_t tick;               /* of its clock, for one entry dropped */
    uint32_t epoch;
} miniature;

/* Bytes of the one for constants `index` with room for `room` entries, a multiple of 64. */
uint64_t fb_miniature_size(uint32_t index, uint32_t room);
/* Find its parts at `base`; the ghosts are at most `ghosts` entries. */
miniature fb_miniature_at(uint8_t *base, uint32_t index, uint32_t room, uint32_t capacity, uint32_t ghosts);
/* Empty it, but for its ghosts. */
void fb_miniature_reset(miniature *mini);
/* What the cache has learnt about the size of this key's entry. */
void fb_miniature_resize(miniature *mini, uint64_t hash, uint32_t size_code);
/* One sampled request; size code 0 if not known.  True if it hit. */
bool fb_miniature_request(miniature *mini, uint64_t hash, uint32_t size_code);

/* Sizes in 7 bits: exact below 16 units, then in steps of an eighth. */
static inline uint32_t fb_size_code(uint32_t units)
{
    uint32_t shift = 0;
    while (units >> shift >= 16 && shift < 14)
        shift++;
    uint32_t high = units >> shift < 16 ? units >> shift : 15;
    return high < 8 ? high : ((shift + 1) << 3 | (high & 7));
}
static inline uint32_t fb_size_units(uint32_t code)
{
    uint32_t shift = code >> 3 & 15;
    return shift ? (8 | (code & 7)) << (shift - 1) : code & 7;
}

#endif
