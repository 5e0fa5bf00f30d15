/* SPDX-License-Identifier: Apache-2.0 */
/* Writing an entry: room in a claimed segment, the bytes, the index, release.
 * What set, put, incr, touch and cas have in common. */
#ifndef FB_PUT_H
#define FB_PUT_H

#include "cache/cache_state.h"
#include "cache/packed.h"
#include "cache/publish.h"

/* The private part of forebay_put.  `segment` claimed: WRITING. */
typedef struct put_state {
    uint64_t offset;   /* of the entry */
    uint64_t capacity; /* units reserved */
    uint64_t expiry;
    uint64_t hash;
    row_owner owner;   /* of the claim: a put does not survive a fork */
    uint32_t segment;
    uint32_t cache_tag;
    uint32_t key_length;
    uint32_t history;
    uint8_t is_long, is_run, tag_count;
    uint8_t packed;
} put_state;
static_assert(sizeof(put_state) <= sizeof(((forebay_put *)0)->reserved), "fits the public struct");


/* What an entry carries beside its key and value. */
typedef struct put_extras {
    uint64_t expiry;      /* arena ms, 0: never */
    const uint64_t *tags; /* what fb_tag_now() said, or another entry's */
    uint32_t tag_count;
    bool is_move;           /* the entry is there already, in `queue`, with `history` */
    enum queue queue;
    policy_history history;
} put_extras;

/* A caller's options as the entry carries them. */
typedef struct resolved_options {
    put_extras extras;
    uint64_t tags[FOREBAY_TAGS_MAX];
} resolved_options;

static inline bool fb_value_is_bad(const void *value, size_t length, unsigned kind)
{
    return (value == NULL && length != 0) || kind > 7;
}

/* When an entry set at `now` with this TTL expires: arena ms, 0 = never. */
uint64_t fb_cache_expiry(const forebay_cache *cache, uint64_t ttl_ms, uint64_t now);

/* FOREBAY_INVALID if they make no sense.  Tags: what their counters are now, so
 * that an invalidation from here on catches the entry. */
forebay_status fb_options_resolve_tags(const forebay_cache *cache, const forebay_set_options *options, resolved_options *out);
static inline forebay_status fb_options_resolve(const forebay_cache *cache, const forebay_set_options *options, uint64_t now,
                                                resolved_options *out)
{
    out->extras = (put_extras){.expiry = fb_cache_expiry(cache, options->ttl_ms, now)};
    if ((unsigned)options->mode > FOREBAY_REPLACE)
        return FOREBAY_INVALID;
    return options->tag_count == 0 ? FOREBAY_OK : fb_options_resolve_tags(cache, options, out);
}

/* Claim room for a value of `capacity` bytes and write the key. */
forebay_status fb_put_begin(forebay_cache *cache, const index_key *key, size_t capacity, const put_extras *extras,
                            uint64_t now, uint32_t lane, forebay_put *out);
/* The bytes written are packed and need this dictionary (or none).  False: it is
 * gone; abort, and store the value as it is. */
bool fb_put_note_packed(forebay_arena *arena, forebay_put *out, uint32_t dictionary);
/* Begin a put and write the value: as it is to be stored, or, if its dictionary is
 * gone, `raw`. */
forebay_status fb_put_stored(forebay_cache *cache, const index_key *key, stored_value *stored, const void *raw,
                             size_t raw_length, const put_extras *extras, uint64_t now, uint32_t lane, forebay_put *out);
/* Does this cache try to pack such a value? */
static inline bool fb_cache_packs(const forebay_cache *cache, size_t length, forebay_kind kind)
{
    return cache->packing.codec != FOREBAY_CODEC_NONE && length >= PACK_MIN && kind <= FOREBAY_KIND_MSGPACK;
}
/* A value as this cache stores it; `buffer` of PACKED_BUFFER bytes. */
stored_value fb_cache_pack(forebay_cache *cache, uint64_t hash, const void *value, size_t length, forebay_kind kind, uint8_t *buffer);
/* Finish the entry, publish it in this mode, release the segment. */
forebay_status fb_put_commit(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind,
                             forebay_set_mode mode, uint32_t lane, uint64_t now);
/* The same under a lease; FOREBAY_MISS: it was taken away, nothing changed. */
forebay_status fb_put_commit_leased(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind,
                                    const lease_ref *lease, uint32_t lane, uint64_t now);
/* The same, but swap exactly the entry `match`, found held, over.  False: it is
 * another entry now, nothing changed. */
bool fb_put_commit_over(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind, index_match *match);
/* The same for the same value, stored unpacked because it is hot: no set. */
bool fb_put_move_over(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind, index_match *match);
/* Release the segment, nothing written. */
void fb_put_abort(forebay_arena *arena, const forebay_put *out);
/* Was the put begun by this process (and not by the parent of a fork)? */
bool fb_put_is_ours(const forebay_arena *arena, const forebay_put *out);

/* A set that failed must not leave the value it was to replace. */
void fb_put_remove_old(forebay_cache *cache, uint32_t lane, const index_key *key, uint64_t now);
/* What every writer does after its own work: now and then something for all;
 * then it gives the lane back. */
void fb_put_end(forebay_arena *arena, uint32_t lane, uint64_t now);

#endif
