/* SPDX-License-Identifier: Apache-2.0 */
/* The table of leases: which keys are being loaded, by whom.  docs/internals/concurrency.md
 * is its protocol. */
#ifndef FB_LEASES_H
#define FB_LEASES_H

#include "arena/rows.h"

/* One lease, as of a look. */
typedef struct lease_ref {
    uint64_t token;
    uint64_t word;
    uint32_t slot;
    uint32_t generation;               /* of the cache when it was taken */
    const _Atomic uint64_t *cache_word; /* of its record; by who stores under it */
} lease_ref;

typedef enum lease_outcome { LEASE_TAKEN, LEASE_OTHERS, LEASE_NO_ROOM } lease_outcome;

/* Take the lease of the key with this hash, until `deadline` (arena ms).
 * LEASE_OTHERS: `ref` is somebody else's. */
lease_outcome fb_lease_take(forebay_arena *arena, uint64_t hash, uint64_t deadline, lease_ref *ref);

/* Is it held still?  Sequentially consistent: who asks between showing a tentative
 * slot and committing it sees what fb_leases_break() did before a look at the slots. */
bool fb_lease_there(const forebay_arena *arena, const lease_ref *ref);
bool fb_lease_is_ours(const forebay_arena *arena, const lease_ref *ref);
/* End it and wake who waits; false: it was over. */
bool fb_lease_remove(forebay_arena *arena, const lease_ref *ref);
/* Remove it if its owner is dead or had it too long; true: it is over. */
bool fb_lease_settle(forebay_arena *arena, const lease_ref *ref);

/* The lease that the key with this hash has; false: none. */
bool fb_lease_find(const forebay_arena *arena, uint64_t hash, lease_ref *ref);
/* Remove it; false: none. */
__attribute__((cold, noinline)) bool fb_lease_break(forebay_arena *arena, uint64_t hash);
/* By whoever writes or removes the key, before the first look at its slots. */
static inline void fb_leases_break(forebay_arena *arena, uint64_t hash)
{
    /* seq_cst: before the looks at slots; a lease taken after this load is of a load that begins after it */
    if (__builtin_expect(atomic_load(&arena->super->leases) != 0, 0))
        (void)fb_lease_break(arena, hash);
}

/* Wait for the end of somebody's lease: OK, TIMEOUT or INTERRUPTED. */
forebay_status fb_lease_wait(forebay_arena *arena, const lease_ref *ref, uint32_t timeout_ms);
void fb_lease_wake(forebay_arena *arena, uint32_t slot);

/* Why a lease failed; `text` of LEASE_NOTE_MAX bytes. */
void fb_lease_note(forebay_arena *arena, uint64_t token, const void *text, size_t length);
bool fb_lease_noted(const forebay_arena *arena, uint64_t token, void *text, size_t *length);

/* What is wrong in the table, or NULL; may be wrong itself while others are at it. */
const char *fb_leases_inspect(const forebay_arena *arena);
/* After a reboot, alone: none is, and nobody remembers why one failed. */
void fb_leases_clear(forebay_arena *arena);

#endif
