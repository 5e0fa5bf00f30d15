/* SPDX-License-Identifier: Apache-2.0 */
/* The stepper: a victim process runs one operation, instruction by instruction,
 * and is killed or stopped at each; the others must not notice. */
#ifndef TESTS_STEP_H
#define TESTS_STEP_H

#include <forebay/forebay.h>

#include <stdbool.h>

#define STEP_ARENA_SIZE ((uint64_t)1 << 20)
#define STEP_KEY 1000000u      /* of the operation, when it is one that is there */
#define STEP_NEW_KEY 1000001u  /* ... that is not */
#define STEP_BIG_KEY 1000002u  /* a value of several segments */
#define STEP_COUNTER 1000003u
#define STEP_NEW_COUNTER 1000004u
#define STEP_COUNTED 40        /* what the counter holds */
#define STEP_BIG_SIZE 80000u
#define STEP_CALM_KEYS 300u    /* keys in an arena with room */
#define STEP_FULL_KEYS 4000u   /* keys set into an arena that overflows */

/* An arena with room, one that is full, one with room where the cache has a limit
 * and is full; one with room and one that is full whose cache packs. */
typedef enum step_arena { CALM, FULL, LIMITED, PACKED, PACKED_FULL } step_arena;
#define STEP_ARENAS 5
static inline bool step_has_room(step_arena arena) { return arena == CALM || arena == PACKED; }
#define STEP_LIMIT (STEP_ARENA_SIZE / 2)

/* What other keys and the operation's key may look like after it. */
typedef struct step_operation {
    const char *name;
    step_arena arena; /* if it is full the call evicts, so that a miss is always right */
    bool clears;    /* may remove every entry */
    bool (*prepare)(forebay_arena *arena, forebay_cache *cache); /* by the victim, before the steps; may be NULL */
    bool (*run)(forebay_arena *arena, forebay_cache *cache);     /* false: a wrong result */
    unsigned sequences; /* bit s: STEP_KEY, or the new or the big key, may hold write s afterwards */
    bool may_miss;      /* it may be absent afterwards */
    uint64_t key;       /* which one it works on; 0: none */
    bool leases;        /* it loads the key: a delete during that wins, and others take the lease of the killed */
} step_operation;

extern const step_operation step_operations[];
extern const size_t step_operation_count;

/* Publish a dictionary of a value's bytes; false if there is no room for one. */
bool step_publish(forebay_arena *arena, forebay_cache *cache, uint64_t key);
/* Fill a new arena as the operation wants it. */
bool step_prepare_arena(forebay_cache *cache, step_arena kind);

/* All values as they must be after `operation` was killed (or, with `recycled`,
 * after others overwrote everything meanwhile).  Prints what is wrong. */
bool step_check_values(forebay_cache *cache, const step_operation *operation, bool recycled);
/* Nothing that step_recycle() deleted is back, nothing it replaced is old. */
bool step_check_recycled(forebay_cache *cache);
/* What step_recycle() set last is still there. */
bool step_check_youngest(forebay_cache *cache, step_arena kind);
/* The cache keeps to its limit, if it has one. */
bool step_check_limit(forebay_cache *cache, step_arena kind);
/* Several times the arena's size through it; deletes and replaces keys first. */
bool step_recycle(forebay_cache *cache, const step_operation *operation);
bool step_verify(forebay_arena *arena);
/* Write, read, count and delete on behalf of a process that lives on; returns
 * false on a wrong result. */
bool step_live_on(forebay_cache *cache, const step_operation *operation);
/* An experiment begins. */
void step_note_begin(void);
/* The longest call so far, in microseconds without what the scheduler and a
 * hypervisor took, and its name. */
double step_longest_call(const char **name_out);

#endif
