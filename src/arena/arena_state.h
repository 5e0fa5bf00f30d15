/* SPDX-License-Identifier: Apache-2.0 */
/* An open arena in this process: what forebay_arena points to. */
#ifndef FB_ARENA_STATE_H
#define FB_ARENA_STATE_H

#include <forebay/arena.h>

#include "arena/arena_layout.h"

/* The pins of this process's row, and how many views are on each.  Under
 * `lock`, which only threads of this process wait for.  See pins.h. */
typedef struct arena_pins {
    atomic_flag lock;
    uint32_t views[ROW_PINS]; /* 0: the pin is free */
    uint64_t words[ROW_PINS]; /* as in the row */
} arena_pins;

struct forebay_arena {
    /* fixed after open */
    uint8_t *base;
    arena_geometry geometry;  /* checked copy: the mapped one is not trusted again */
    arena_superblock *super;
    arena_row *rows;
    arena_cache *caches;
    arena_counters *counters;
    arena_segment *segments;
    _Atomic uint64_t *tags;   /* counters: cache/tags.h */
    uint8_t *policy;
    arena_dictionary *dictionaries; /* records; their bytes: fb_dictionary_bytes() */
    _Atomic uint64_t *lease_words;
    arena_lease *leases;      /* their records */
    arena_lease_note *lease_notes;
    arena_limit *limits;
    _Atomic uint64_t *permits; /* permit_count of each limit */
    arena_place *places;      /* place_count of each limit */
    arena_bucket *buckets;
    uint64_t hash_seed;
    uint64_t max_entry;       /* bytes of key and value; of the geometry */
    uint32_t segment_shift;   /* log2 of geometry.segment_size */
    bool checksums;           /* entries carry one */
    int fd;
    char *path;               /* "" for an anonymous arena */
    uint64_t device, inode;   /* of the file, to notice that it was replaced */

    /* This process's row.  `attached` lies in a page that the kernel empties at
     * fork: 0 in a child, whatever made it.  See rows.h.  The words after it, in
     * the same page: see rows.c. */
    _Atomic uint32_t *attached;
    _Atomic int row_fd;       /* the description that holds the row's lock; -1: none */
    _Atomic int spare_fd;     /* in a child: a description its parent opened for it at fork; -1: none */
    int child_fd;             /* the same, during fork(): registry.c, under its lock */
    _Atomic uint32_t row;
    _Atomic uint32_t row_generation; /* low 32 bits of the row's generation */
    _Atomic uint32_t lanes;   /* bit i: lane i is taken by a thread */
    uint32_t child_row, child_generation; /* a row with copies of the pins, during fork(); ROW_NONE: none */
    arena_pins pins;
    _Atomic uint32_t views;   /* open ones, copies too */

    /* private hints; any thread, relaxed */
    _Atomic uint32_t head_hint[QUEUE_COUNT];
    _Atomic uint32_t load_average; /* index load seen by inserts, 16.16 fixed point of slots per bucket */
    _Atomic uint32_t permits_taken; /* serials of this handle's permits */
    _Atomic uint32_t writes;  /* sets of this handle: when to run the policy */
    _Atomic uint64_t next_slow_look; /* arena ms: when to look at clock, replacement, policy */
    _Atomic uint64_t *row_checked; /* per row: arena ms of the last liveness check, private */
    _Atomic bool replaced;    /* the path leads to another file now */
    _Atomic bool truncated;   /* the guard caught a fault: every call fails from now on */
    /* what the cache layer keeps in this process, made when first needed, and what
     * ends it before the mapping goes; NULL: nothing yet */
    _Atomic(struct packing_side *) packing;
    uint32_t warm_part; /* of the segments, those whose room entries kept unpacked may take; 0: the usual part */
    _Atomic(void (*)(struct forebay_arena *)) end_packing;
    struct forebay_arena *next_open; /* registry.c, under its lock */
};

/* How many leases are held (arena_info.c). */
uint32_t fb_leases_held(const forebay_arena *arena);

#endif
