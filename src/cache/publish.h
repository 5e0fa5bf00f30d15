/* SPDX-License-Identifier: Apache-2.0 */
/* Putting entries into the index and taking them out: insert, replace, delete
 * as docs/internals/concurrency.md specifies them. */
#ifndef FB_PUBLISH_H
#define FB_PUBLISH_H

#include <forebay/cache.h>

#include "cache/index.h"
#include "cache/leases.h"

typedef enum publish_outcome {
    PUBLISH_INSERTED,
    PUBLISH_REPLACED,
    PUBLISH_EXISTS,  /* mode FOREBAY_ADD, and there is one */
    PUBLISH_ABSENT,  /* mode FOREBAY_REPLACE, and there is none */
    PUBLISH_CLEARED, /* the cache was cleared meanwhile: stored, and gone at once */
    PUBLISH_LOST,    /* every race was lost: as if evicted at once */
    PUBLISH_REVOKED, /* the lease was taken away */
} publish_outcome;

/* Make `fresh`, an entry in the segment `owned` that the caller writes to, the
 * value of the key.  Entries that had to make way in the index may have been
 * appended to `owned`, too.  Hazards 0 and 1 of the lane are used. */
publish_outcome fb_publish(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t fresh, uint32_t owned,
                           forebay_set_mode mode, uint64_t now);
/* The same, unless the lease is not held at the moment at which the entry begins to count. */
publish_outcome fb_publish_leased(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t fresh, uint32_t owned,
                                  uint64_t now, const lease_ref *lease);

/* Swap exactly `match`, found held, to `fresh`; hits in between do not count as
 * a change.  False: it is another entry now. */
bool fb_publish_over(forebay_arena *arena, index_match *match, uint64_t fresh);

/* Remove the key; true if it had an entry that had not expired. */
bool fb_unpublish(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t now, bool *removed);

#endif
