/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_LEASE_H
#define FOREBAY_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/cache.h>

FOREBAY_BEGIN

/* A lease: the right, and the duty, to load a key that is missing.  Of all
 * callers on the machine one has it; the others wait for it, or do not.
 * (R. Nishtala et al.: Scaling Memcache at Facebook, NSDI 2013, section 3.2.1.)
 *
 *     forebay_lease lease;
 *     while (forebay_get_into(...) == FOREBAY_MISS) {
 *         forebay_status taken = forebay_lease_take(cache, key, length, 0, &lease);
 *         if (taken == FOREBAY_OK)       look once more, load, forebay_lease_store() or _end()
 *         else if (taken == FOREBAY_EXISTS) forebay_lease_wait(cache, &lease, 1000);
 *         else                           load, and do not store
 *     }
 *
 * Look once more after taking it: another may have loaded, stored and ended its
 * lease since the miss.
 *
 * Whatever writes or removes the key while it is loaded (set, add, replace, incr,
 * cas, pop, delete, clear) takes the lease away: what the load read may be from
 * before that, and is not stored.  So does a waiter once the owner is dead, or has
 * had it for longer than it said.  (A write counts from when its call begins: a
 * lease taken during it may stay.  So change first what is loaded from, then call.
 * An invalidated tag does not: forebay_set_options.tag_marks, from before the
 * lease was taken, are for that.)
 *
 * A lease belongs to the process: any thread may end it; a child of a fork cannot.
 * None of these calls waits for another process but forebay_lease_wait(). */
typedef struct forebay_lease {
    uint64_t token;       /* never given twice in an arena */
    uint64_t reserved[3]; /* private */
} forebay_lease;

#define FOREBAY_LEASE_TIMEOUT_MS 10000u /* where 0 is asked for */
#define FOREBAY_LEASE_REASON_MAX 232u   /* bytes of a reason */

/* FOREBAY_OK: it is the caller's, for `timeout_ms`.  FOREBAY_EXISTS: somebody else
 * has it: `*lease` says which it is, for forebay_lease_wait().  FOREBAY_FULL: as
 * many keys are being loaded as the arena takes (one per 16 KiB, 64 to 8192):
 * load without a lease, and do not store. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_lease_take(forebay_cache *cache, const void *key, size_t key_length, uint64_t timeout_ms, forebay_lease *lease);

/* Wait until somebody's lease is over: FOREBAY_OK, look at the key again.  A dead
 * owner is noticed within 10 ms.  FOREBAY_TIMEOUT: after `timeout_ms` it was not;
 * 0 only looks.  FOREBAY_INTERRUPTED: by a signal. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_lease_wait(forebay_cache *cache, const forebay_lease *lease, uint32_t timeout_ms);

/* Has it not ended, and was it not taken away? */
FOREBAY_API bool forebay_lease_holds(const forebay_cache *cache, const forebay_lease *lease);

/* Store what was loaded, unless the lease was taken away (FOREBAY_MISS), and end
 * it in any case: with an empty reason for FOREBAY_FULL and FOREBAY_TOOBIG.  The
 * key must be the lease's; else as forebay_set_with(), but an older value stays
 * where this one cannot be stored.  options->mode is not used. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_lease_store(forebay_cache *cache, const forebay_lease *lease, const void *key, size_t key_length, const void *value,
                    size_t value_length, forebay_kind kind, const forebay_set_options *options);

/* End it without a value: of those who wait, one will take it. */
FOREBAY_API void forebay_lease_end(forebay_cache *cache, const forebay_lease *lease);
/* The same, and say why to those who wait: of `reason` FOREBAY_LEASE_REASON_MAX
 * bytes are kept, in a ring of a sixteenth as many as there are leases. */
FOREBAY_API void forebay_lease_fail(forebay_cache *cache, const forebay_lease *lease, const void *reason, size_t length);
/* Why that very lease failed: FOREBAY_OK, `buffer` of FOREBAY_LEASE_REASON_MAX
 * bytes.  FOREBAY_MISS: it did not, or nobody remembers. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_lease_reason(forebay_cache *cache, const forebay_lease *lease, void *buffer, size_t *length_out);

/* The lease that somebody has of the key: FOREBAY_OK.  FOREBAY_MISS: nobody has one. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_lease_look(forebay_cache *cache, const void *key, size_t key_length, forebay_lease *lease);

/* Take the key's lease from whoever has it: what is being loaded will not be
 * stored.  FOREBAY_MISS: nobody had it. */
FOREBAY_API forebay_status forebay_lease_break(forebay_cache *cache, const void *key, size_t key_length);

FOREBAY_END
#endif
