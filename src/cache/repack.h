/* SPDX-License-Identifier: Apache-2.0 */
/* What the evictor makes of an entry that it copies forward: packed anew if its
 * dictionary is an old one, packed if it lies unpacked and is not hot. */
#ifndef FB_REPACK_H
#define FB_REPACK_H

#include "cache/packed.h"

typedef struct repacked {
    bool changed;        /* else the entry is copied as it is */
    bool warm;           /* it could be packed, and is kept as it is for being hot */
    uint64_t units;      /* of the entry to be written */
    uint32_t dictionary; /* that it needs */
    stored_value value;  /* if changed */
    void *raw;           /* or NULL */
} repacked;

/* Decide about an entry of an owned segment.  `buffer` of PACKED_BUFFER bytes; end
 * it with fb_repack_clear(). */
void fb_repack_plan(forebay_arena *arena, const entry_view *view, uint32_t frequency, uint64_t hash, uint8_t *buffer,
                    repacked *out);
static inline void fb_repack_clear(repacked *r)
{
    fb_stored_clear(&r->value);
    free(r->raw);
}
/* Write the changed entry at `at`, with room for r->units. */
void fb_repack_write(const forebay_arena *arena, const entry_view *view, const repacked *r, policy_history history, uint8_t *at);

#endif
