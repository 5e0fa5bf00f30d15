/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the reads share. */
#ifndef FB_READING_H
#define FB_READING_H

#include "cache/cache_state.h"

/* Copies longer than this hold the segment, so that a stream of evictions does
 * not make them begin again and again. */
#define HOLD_ABOVE ((uint64_t)64 << 10)

/* A slot that has this key, as far as one look can tell. */
typedef struct read_match {
    _Atomic uint64_t *slot;
    uint64_t word;
    entry_view view;
} read_match;

static inline bool fb_slot_unchanged(const read_match *match)
{
    return fb_slot_same(atomic_load_explicit(match->slot, memory_order_acquire), match->word);
}

typedef enum serve_result { SERVED, SERVE_AGAIN, SERVE_EXPIRED } serve_result;

/* Unpack the packed entry that was found into what `sink` provides.  SERVED: with
 * *status; SERVE_AGAIN: it changed meanwhile; SERVE_EXPIRED: it cannot be read, a
 * miss.  May store it again, unpacked, if it is hit often. */
serve_result fb_serve_packed(forebay_cache *cache, const index_key *key, read_match *match, const forebay_sink *sink,
                             size_t item, uint64_t now, forebay_status *status);

#endif
