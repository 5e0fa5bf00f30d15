/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of leases: forebay/lease.h. */
#include <forebay/lease.h>

#include "arena/arena_clock.h"
#include "cache/leases.h"
#include "cache/put.h"
#include "cache/trainer.h"

static_assert(FOREBAY_LEASE_REASON_MAX == LEASE_NOTE_MAX, "one length of reasons");

/* What forebay_lease.reserved is; the slot has the cache's generation above it. */
enum { RESERVED_WORD, RESERVED_HASH, RESERVED_SLOT };
#define RESERVED_GENERATION_SHIFT 32
/* Waiters look that often whether the cache was cleared. */
#define WAIT_SLICE_MS 50u

static lease_ref ref_of(const forebay_lease *lease)
{
    return (lease_ref){.token = lease->token, .word = lease->reserved[RESERVED_WORD], .slot = (uint32_t)lease->reserved[RESERVED_SLOT],
                       .generation = (uint32_t)(lease->reserved[RESERVED_SLOT] >> RESERVED_GENERATION_SHIFT)};
}

static uint32_t generation_of(const forebay_cache *cache)
{
    return fb_cache_generation(atomic_load(&cache->record->word));
}

/* The cache was cleared or dropped since the lease was taken.  Not by the hash:
 * that has 9 bits of the generation. */
static bool was_cleared(const forebay_cache *cache, const forebay_lease *lease)
{
    return generation_of(cache) != lease->reserved[RESERVED_SLOT] >> RESERVED_GENERATION_SHIFT;
}

static forebay_lease lease_of(const lease_ref *ref, uint64_t hash, uint64_t generation)
{
    return (forebay_lease){.token = ref->token, .reserved = {ref->word, hash, ref->slot | generation << RESERVED_GENERATION_SHIFT}};
}

forebay_status forebay_lease_take(forebay_cache *cache, const void *key, size_t key_length, uint64_t timeout_ms,
                                  forebay_lease *lease)
{
    index_key k;
    lease_ref ref = {0};
    *lease = (forebay_lease){0};
    uint64_t generation = generation_of(cache); /* before the hash: if it is another by then, the lease is of no use */
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    uint64_t now = fb_now_ms(cache->arena);
    uint64_t deadline = now + (timeout_ms != 0 ? timeout_ms : FOREBAY_LEASE_TIMEOUT_MS);
    lease_outcome outcome = fb_lease_take(cache->arena, k.hash, deadline < now ? UINT64_MAX : deadline, &ref);
    if (outcome == LEASE_NO_ROOM)
        return FOREBAY_FULL;
    *lease = lease_of(&ref, k.hash, generation);
    return outcome == LEASE_TAKEN ? FOREBAY_OK : FOREBAY_EXISTS;
}

forebay_status forebay_lease_wait(forebay_cache *cache, const forebay_lease *lease, uint32_t timeout_ms)
{
    forebay_status status = fb_arena_enter(cache->arena);
    lease_ref ref = ref_of(lease);
    if (status != FOREBAY_OK)
        return status;
    for (;;) {
        if (was_cleared(cache, lease))
            return FOREBAY_OK;
        uint32_t slice = timeout_ms < WAIT_SLICE_MS ? timeout_ms : WAIT_SLICE_MS;
        status = fb_lease_wait(cache->arena, &ref, slice);
        timeout_ms -= slice;
        if (status != FOREBAY_TIMEOUT || timeout_ms == 0)
            return status;
    }
}

bool forebay_lease_holds(const forebay_cache *cache, const forebay_lease *lease)
{
    lease_ref ref = ref_of(lease);
    return fb_arena_enter(cache->arena) == FOREBAY_OK && !was_cleared(cache, lease) && fb_lease_there(cache->arena, &ref);
}

/* Ours, and not the parent's. */
static bool holds_itself(const forebay_cache *cache, const lease_ref *ref)
{
    return fb_lease_is_ours(cache->arena, ref) && fb_lease_there(cache->arena, ref);
}

__attribute__((cold)) static forebay_status store(forebay_cache *cache, const lease_ref *ref, const index_key *key, const void *value,
                            size_t value_length, forebay_kind kind, const forebay_set_options *options)
{
    uint8_t buffer[PACKED_BUFFER];
    resolved_options resolved;
    uint64_t now = fb_now_ms(cache->arena);
    if (fb_value_is_bad(value, value_length, kind) || fb_options_resolve(cache, options, now, &resolved) != FOREBAY_OK)
        return FOREBAY_INVALID;
    bool packs = fb_cache_packs(cache, value_length, kind);
    stored_value stored = {.data = value, .length = value_length};
    if (packs)
        stored = fb_cache_pack(cache, key->hash, value, value_length, kind, buffer);
    uint32_t lane = fb_lane_enter(cache->arena);
    forebay_put put;
    forebay_status status = fb_put_stored(cache, key, &stored, value, value_length, &resolved.extras, now, lane, &put);
    if (status == FOREBAY_OK)
        status = fb_put_commit_leased(cache, &put, stored.length, kind, ref, lane, now);
    fb_put_end(cache->arena, lane, now);
    size_t stored_length = stored.length;
    fb_stored_clear(&stored);
    if (packs && status == FOREBAY_OK)
        fb_training_note(cache, value_length, stored_length);
    return status;
}

forebay_status forebay_lease_store(forebay_cache *cache, const forebay_lease *lease, const void *key, size_t key_length,
                                   const void *value, size_t value_length, forebay_kind kind, const forebay_set_options *options)
{
    index_key k;
    lease_ref ref = ref_of(lease);
    ref.cache_word = &cache->record->word;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status == FOREBAY_CLOSED || fb_arena_enter(cache->arena) != FOREBAY_OK)
        return status;
    /* a clear from here on is one of another generation than the entry's */
    if (status == FOREBAY_OK
        && (k.hash != lease->reserved[RESERVED_HASH] || was_cleared(cache, lease) || !holds_itself(cache, &ref)))
        status = FOREBAY_MISS;
    if (status == FOREBAY_OK)
        status = store(cache, &ref, &k, value, value_length, kind, options);
    if (status == FOREBAY_FULL || status == FOREBAY_TOOBIG)
        forebay_lease_fail(cache, lease, "", 0); /* the next would fare no better: they need not take turns */
    forebay_lease_end(cache, lease);
    return status;
}

void forebay_lease_end(forebay_cache *cache, const forebay_lease *lease)
{
    lease_ref ref = ref_of(lease);
    if (fb_arena_enter(cache->arena) == FOREBAY_OK && fb_lease_is_ours(cache->arena, &ref))
        (void)fb_lease_remove(cache->arena, &ref);
}

void forebay_lease_fail(forebay_cache *cache, const forebay_lease *lease, const void *reason, size_t length)
{
    lease_ref ref = ref_of(lease);
    if (fb_arena_enter(cache->arena) != FOREBAY_OK || !holds_itself(cache, &ref))
        return;
    fb_lease_note(cache->arena, lease->token, reason, reason != NULL ? length : 0);
    (void)fb_lease_remove(cache->arena, &ref);
}

forebay_status forebay_lease_reason(forebay_cache *cache, const forebay_lease *lease, void *buffer, size_t *length_out)
{
    forebay_status status = fb_arena_enter(cache->arena);
    if (status != FOREBAY_OK)
        return status;
    return fb_lease_noted(cache->arena, lease->token, buffer, length_out) ? FOREBAY_OK : FOREBAY_MISS;
}

forebay_status forebay_lease_look(forebay_cache *cache, const void *key, size_t key_length, forebay_lease *lease)
{
    index_key k;
    lease_ref ref;
    *lease = (forebay_lease){0};
    uint64_t generation = generation_of(cache);
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    if (!fb_lease_find(cache->arena, k.hash, &ref))
        return FOREBAY_MISS;
    *lease = lease_of(&ref, k.hash, generation);
    return FOREBAY_OK;
}

forebay_status forebay_lease_break(forebay_cache *cache, const void *key, size_t key_length)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    return fb_lease_break(cache->arena, k.hash) ? FOREBAY_OK : FOREBAY_MISS;
}
