/* SPDX-License-Identifier: Apache-2.0 */
/* An open cache in this process: what forebay_cache points to. */
#ifndef FB_CACHE_STATE_H
#define FB_CACHE_STATE_H

#include <forebay/cache.h>

#include "arena/counters.h"
#include "cache/channels.h"
#include "cache/index.h"
#include "cache/packed.h"

struct forebay_cache {
    forebay_arena *arena;
    arena_cache *record;
    uint32_t number;      /* of the record */
    uint32_t life;        /* of the record when opened: another means dropped */
    uint64_t ttl_ms;      /* 0: for ever */
    uint32_t version;     /* of what this handle writes and reads; 0: none */
    uint32_t codec;       /* as the record's when this handle was opened */
    packing packing;      /* what follows from that, for what this handle writes */
    _Atomic uint32_t packed_hits; /* when to store one unpacked: warm.c */
    _Atomic uint64_t tally;       /* bytes set since `packable` of the record was raised: trainer.c */
    /* this row's counters; looked up anew when the row changes (fork) */
    _Atomic(arena_counters *) counters;
    _Atomic uint64_t counters_owner;
    char name[FOREBAY_NAME_MAX + 1];
    /* what its readers want to have heard; set before the handle is used */
    const arena_channel *channel; /* NULL: nothing */
    uint64_t channel_word;        /* another means dropped */
    uint64_t most_behind_ms;
};

static inline uint32_t fb_cache_life(uint64_t word) { return (uint32_t)(word >> 8); }
static inline uint32_t fb_cache_generation(uint64_t word) { return (uint32_t)(word >> 40); }
static inline uint64_t fb_cache_word(uint32_t generation, uint32_t life, bool live)
{
    return (uint64_t)(generation & 0xffffff) << 40 | (uint64_t)life << 8 | live;
}

/* What entries of the cache's generation carry. */
static inline uint32_t fb_cache_tag(const forebay_cache *cache, uint64_t word)
{
    return (fb_cache_generation(word) % 512) * CACHE_COUNT_MAX + cache->number;
}

/* First lines of every operation: the handle has a row, the cache is alive, the
 * key is sound; fills `key`. */
static inline forebay_status fb_cache_begin(forebay_cache *cache, const void *data, size_t length, index_key *key)
{
    forebay_status status = fb_arena_enter(cache->arena);
    if (status != FOREBAY_OK)
        return status;
    uint64_t word = atomic_load_explicit(&cache->record->word, memory_order_acquire);
    if ((word & 1) == 0 || fb_cache_life(word) != cache->life)
        return FOREBAY_CLOSED;
    if (length == 0 || data == NULL)
        return FOREBAY_INVALID;
    if (length > FOREBAY_KEY_MAX)
        return FOREBAY_TOOBIG;
    key->data = data;
    key->length = (uint32_t)length;
    key->cache_tag = fb_cache_tag(cache, word);
    key->version = cache->version;
    key->hash = fb_key_hash(cache->arena, key->cache_tag, data, length);
    return FOREBAY_OK;
}

/* Has the channel it follows been silent for too long to believe what is there? */
static inline bool fb_cache_is_silent(const forebay_cache *cache, uint64_t now)
{
    return __builtin_expect(cache->channel != NULL, 0)
           && !fb_channel_is_heard(cache->channel, cache->channel_word, now, cache->most_behind_ms);
}
/* The same for a key made before: who begins to listen clears the cache, then
 * beats.  So the cache's word is looked at after the moment: a key of before the
 * clear must not be believed for a beat after it. */
static inline bool fb_cache_is_behind(const forebay_cache *cache, const index_key *key, uint64_t now)
{
    return __builtin_expect(cache->channel != NULL, 0)
           && (fb_cache_is_silent(cache, now)
               || fb_cache_tag(cache, atomic_load_explicit(&cache->record->word, memory_order_acquire)) != key->cache_tag);
}

/* Does this handle pack as the cache does now (and not as before an update)? */
static inline bool fb_cache_codec_is_current(const forebay_cache *cache)
{
    return atomic_load_explicit(&cache->record->codec, memory_order_relaxed) == cache->codec;
}

arena_counters *fb_cache_counters_find(forebay_cache *cache);
static inline arena_counters *fb_cache_counters(forebay_cache *cache)
{
    if (__builtin_expect(atomic_load_explicit(&cache->counters_owner, memory_order_acquire) == fb_row_owner(cache->arena), 1))
        return atomic_load_explicit(&cache->counters, memory_order_relaxed);
    return fb_cache_counters_find(cache);
}
static inline void fb_cache_count(forebay_cache *cache, enum counter which)
{
    atomic_fetch_add_explicit(&fb_cache_counters(cache)->counts[which], 1, memory_order_relaxed);
}

#endif
