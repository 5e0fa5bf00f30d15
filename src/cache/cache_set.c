/* SPDX-License-Identifier: Apache-2.0 */
/* Writes of whole values. */
#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/put.h"
#include "cache/trainer.h"

static forebay_status set_one(forebay_cache *cache, const index_key *key, const void *value, size_t value_length,
                              forebay_kind kind, const put_extras *extras, forebay_set_mode mode, uint32_t lane, uint64_t now)
{
    forebay_put put;
    forebay_status status = fb_put_begin(cache, key, value_length, extras, now, lane, &put);
    if (status != FOREBAY_OK) {
        if (mode == FOREBAY_SET)
            fb_put_remove_old(cache, lane, key, now);
        return status;
    }
    if (value_length != 0)
        fb_copy_in(put.data, value, value_length);
    return fb_put_commit(cache, &put, value_length, kind, mode, lane, now);
}

/* The same where the value may be packed first. */
__attribute__((noinline)) static forebay_status set_packed(forebay_cache *cache, const index_key *key, const void *value,
                                                           size_t value_length, forebay_kind kind, const put_extras *extras,
                                                           forebay_set_mode mode, uint64_t now)
{
    uint8_t buffer[PACKED_BUFFER];
    stored_value stored = fb_cache_pack(cache, key->hash, value, value_length, kind, buffer);
    uint32_t lane = fb_lane_enter(cache->arena);
    forebay_put put;
    forebay_status status = fb_put_stored(cache, key, &stored, value, value_length, extras, now, lane, &put);
    if (status == FOREBAY_OK)
        status = fb_put_commit(cache, &put, stored.length, kind, mode, lane, now);
    else if (mode == FOREBAY_SET)
        fb_put_remove_old(cache, lane, key, now);
    fb_put_end(cache->arena, lane, now);
    fb_stored_clear(&stored);
    if (status == FOREBAY_OK)
        fb_training_note(cache, value_length, stored.length);
    return status;
}

forebay_status forebay_set_with(forebay_cache *cache, const void *key, size_t key_length, const void *value,
                                size_t value_length, forebay_kind kind, const forebay_set_options *options)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    uint64_t now = fb_now_ms(cache->arena);
    resolved_options resolved;
    if (fb_value_is_bad(value, value_length, kind) || fb_options_resolve(cache, options, now, &resolved) != FOREBAY_OK)
        return FOREBAY_INVALID;
    if (fb_cache_packs(cache, value_length, kind))
        return set_packed(cache, &k, value, value_length, kind, &resolved.extras, options->mode, now);
    uint32_t lane = fb_lane_enter(cache->arena);
    status = set_one(cache, &k, value, value_length, kind, &resolved.extras, options->mode, lane, now);
    fb_put_end(cache->arena, lane, now);
    return status;
}

forebay_status forebay_set(forebay_cache *cache, const void *key, size_t key_length, const void *value,
                           size_t value_length, forebay_kind kind, uint64_t ttl_ms, forebay_set_mode mode)
{
    forebay_set_options options = {.ttl_ms = ttl_ms, .mode = mode};
    return forebay_set_with(cache, key, key_length, value, value_length, kind, &options);
}

forebay_status forebay_set_many(forebay_cache *cache, const forebay_item *items, size_t count,
                                const forebay_set_options *options, forebay_status *status)
{
    forebay_status first = FOREBAY_OK;
    for (size_t i = 0; i < count; i++) {
        const forebay_item *item = &items[i];
        status[i] = forebay_set_with(cache, item->key.data, item->key.length, item->value, item->value_length, item->kind,
                                     options);
        if (first == FOREBAY_OK)
            first = status[i];
    }
    return first;
}

forebay_status forebay_put_begin(forebay_cache *cache, const void *key, size_t key_length, size_t value_capacity,
                                 const forebay_set_options *options, forebay_put *put)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    uint64_t now = fb_now_ms(cache->arena);
    resolved_options resolved;
    status = fb_options_resolve(cache, options, now, &resolved);
    if (status != FOREBAY_OK)
        return status;
    uint32_t lane = fb_lane_enter(cache->arena);
    status = fb_put_begin(cache, &k, value_capacity, &resolved.extras, now, lane, put);
    if (status == FOREBAY_FULL)
        fb_put_remove_old(cache, lane, &k, now);
    fb_lane_leave(cache->arena, lane);
    return status;
}

forebay_status forebay_put_commit(forebay_cache *cache, forebay_put *put, size_t value_length, forebay_kind kind,
                                  forebay_set_mode mode)
{
    forebay_arena *arena = cache->arena;
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    if (!fb_put_is_ours(arena, put))
        return FOREBAY_CLOSED;
    if (value_length > put->capacity || fb_value_is_bad(put->data, value_length, kind) || (unsigned)mode > FOREBAY_REPLACE) {
        forebay_put_abort(cache, put);
        return FOREBAY_INVALID;
    }
    uint32_t lane = fb_lane_enter(arena);
    uint64_t now = fb_now_ms(arena);
    status = fb_put_commit(cache, put, value_length, kind, mode, lane, now);
    fb_put_end(arena, lane, now);
    return status;
}

void forebay_put_abort(forebay_cache *cache, forebay_put *put)
{
    if (fb_arena_enter(cache->arena) == FOREBAY_OK && fb_put_is_ours(cache->arena, put))
        fb_put_abort(cache->arena, put);
}
