/* SPDX-License-Identifier: Apache-2.0 */
/* What a hit leaves behind: a count in the slot, perhaps a sample, statistics. */
#ifndef FB_HIT_H
#define FB_HIT_H

#include "cache/cache_state.h"
#include "cache/policy.h"

/* Count the hit in the slot unless it is saturated; one try, losing it is no harm. */
__attribute__((always_inline)) static inline void fb_count_hit(forebay_arena *arena, _Atomic uint64_t *slot, uint64_t word)
{
    uint32_t frequency = fb_slot_frequency(word);
    if (frequency < fb_policy_frequency_max(arena))
        atomic_compare_exchange_strong_explicit(slot, &word, fb_slot_with_frequency(word, frequency + 1),
                                                memory_order_relaxed, memory_order_relaxed);
}

/* A hit on the entry of `units` that `word` in `slot` led to. */
__attribute__((always_inline)) static inline void fb_note_hit(forebay_cache *cache, const index_key *key, _Atomic uint64_t *slot,
                                                              uint64_t word, uint64_t units)
{
    forebay_arena *arena = cache->arena;
    fb_count_hit(arena, slot, word);
    if (fb_policy_sampled(arena, key->hash))
        fb_policy_record(arena, key->hash, (uint32_t)units, true);
    fb_cache_count(cache, COUNTER_HITS);
}

#endif
