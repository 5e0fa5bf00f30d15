/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_TIER_H
#define FOREBAY_TIER_H

#include <stdbool.h>
#include <stdint.h>

#include <forebay/arena.h>

FOREBAY_BEGIN

/* A tier: a server, or a cluster, that several machines share behind their arenas.  The
 * library does not talk to it.  It keeps account, for whoever looks at the arena, of what
 * all processes of the machine had from it, and of those that leave it out for now, as
 * their circuit breakers are open (M. Nygard: Release It!, 2007).
 *
 * Any thread may use a handle, and so may a child of a fork.  Only forebay_tier_open()
 * waits for another process, some 100 ms at most. */
typedef struct forebay_tier forebay_tier;

#define FOREBAY_TIER_NAME_MAX 63u /* bytes */
#define FOREBAY_TIERS_MAX 8u      /* of an arena */

/* What is counted, since the tier's record was made. */
typedef enum forebay_tier_count {
    FOREBAY_TIER_HITS,    /* keys that it had */
    FOREBAY_TIER_MISSES,  /* keys that it did not have */
    FOREBAY_TIER_STORED,  /* values stored in it */
    FOREBAY_TIER_ERRORS,  /* calls that failed */
    FOREBAY_TIER_SKIPPED, /* calls that were not made, as it was left out */
    FOREBAY_TIER_OPENED,  /* so often a process began to leave it out */
} forebay_tier_count;
#define FOREBAY_TIER_COUNTS 6u
/* "hits", "misses", "stored", "errors", "skipped", "opened"; NULL: there is no such count. */
FOREBAY_API const char *forebay_tier_count_name(forebay_tier_count count);

/* How a process uses it: bits. */
typedef enum forebay_tier_use {
    FOREBAY_TIER_USED = 1,
    FOREBAY_TIER_LEFT_OUT = 2,   /* it is not asked */
    FOREBAY_TIER_NOT_STORED = 4, /* nothing is stored in it: it is full, say, or a replica */
} forebay_tier_use;

/* Open the tier of this name (1 to FOREBAY_TIER_NAME_MAX bytes) and use it from now on.  If
 * there is none, it gets a record: a new one, or that of a tier that no living process uses.
 * FOREBAY_FULL: living processes use eight others.  FOREBAY_TIMEOUT: another process
 * changes the arena's tables, or is stopped at that.  On FOREBAY_OK the caller owns
 * `*tier_out`; else it is NULL. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_tier_open(forebay_arena *arena, const char *name, forebay_tier **tier_out, forebay_error *error);
/* Forget the handle, also after the arena was closed.  The process counts as a user until
 * then, unless forebay_tier_say() said 0 before.  NULL is fine. */
FOREBAY_API void forebay_tier_close(forebay_tier *tier);
FOREBAY_API const char *forebay_tier_name(const forebay_tier *tier);

/* Count `number` more.  FOREBAY_CLOSED: another tier has the record by now, or is about to,
 * which can be when the process has not used this one since it was forked; open it again. */
FOREBAY_API forebay_status forebay_tier_add(forebay_tier *tier, forebay_tier_count count, uint64_t number);
/* Say how this process uses it from now on: forebay_tier_use bits; 0: not at all.  All handles
 * that a process has of a tier speak for it: what was said last holds.  FOREBAY_CLOSED as above. */
FOREBAY_API forebay_status forebay_tier_say(forebay_tier *tier, uint32_t use);

typedef struct forebay_tier_info {
    char name[FOREBAY_TIER_NAME_MAX + 1];
    uint64_t counts[FOREBAY_TIER_COUNTS]; /* by forebay_tier_count, of all processes, the dead included */
    uint64_t left_out_ms; /* since a process last began to leave it out; UINT64_MAX: none has */
    uint32_t users;       /* handles of the arena, of living processes, that use it */
    uint32_t left_out;    /* of them, those that leave it out */
    uint32_t not_stored;  /* of them, those that ask it and store nothing */
} forebay_tier_info;
/* The i-th tier; false: there are not so many. */
FOREBAY_API bool forebay_tier_at(forebay_arena *arena, uint32_t i, forebay_tier_info *info);

/* One handle of the arena that uses a tier. */
typedef struct forebay_tier_user {
    int32_t pid;
    uint32_t use; /* forebay_tier_use bits */
} forebay_tier_user;
/* Write up to `capacity` of those, of living processes, that use the tier of this name; returns how many there are. */
FOREBAY_API uint32_t forebay_tier_users(forebay_arena *arena, const char *name, forebay_tier_user *users, uint32_t capacity);

FOREBAY_END
#endif
