/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena_clock.h"
#include "arena/segments.h"
#include "cache/cache_state.h"

arena_counters *fb_cache_counters_find(forebay_cache *cache)
{
    row_owner owner = fb_row_owner(cache->arena);
    arena_counters *line = fb_counters_line(cache->arena, cache->number);
    atomic_store_explicit(&cache->counters, line, memory_order_relaxed);
    atomic_store_explicit(&cache->counters_owner, owner, memory_order_release);
    return line;
}

forebay_status forebay_cache_get_stats(forebay_cache *cache, forebay_cache_stats *stats)
{
    *stats = (forebay_cache_stats){0};
    forebay_status status = fb_arena_enter(cache->arena);
    if (status != FOREBAY_OK)
        return status;
    uint64_t word = atomic_load_explicit(&cache->record->word, memory_order_acquire);
    if ((word & 1) == 0 || fb_cache_life(word) != cache->life)
        return FOREBAY_CLOSED;
    counter_sums sums;
    fb_counters_sum(cache->arena, cache->number, &sums);
    int64_t entries = sums.entries - atomic_load_explicit(&cache->record->entries_cleared, memory_order_relaxed);
    stats->hits = sums.counts[COUNTER_HITS];
    stats->misses = sums.counts[COUNTER_MISSES];
    stats->sets = sums.counts[COUNTER_SETS];
    stats->deletes = sums.counts[COUNTER_DELETES];
    stats->evictions = sums.counts[COUNTER_EVICTIONS];
    stats->expirations = sums.counts[COUNTER_EXPIRATIONS];
    stats->entries = entries > 0 ? (uint64_t)entries : 0;
    stats->share = atomic_load_explicit(&cache->record->share, memory_order_relaxed);
    stats->limit = atomic_load_explicit(&cache->record->limit, memory_order_relaxed);
    fb_packing_text(atomic_load_explicit(&cache->record->codec, memory_order_relaxed), stats->codec);
    stats->packed_hits = sums.counts[COUNTER_PACKED_HITS];
    stats->value_bytes = sums.counts[COUNTER_VALUE_BYTES];
    stats->stored_bytes = sums.counts[COUNTER_STORED_BYTES];
    stats->warmed = sums.counts[COUNTER_WARMED];
    dictionary_facts facts;
    uint32_t current = fb_dictionary_current(cache->arena, cache->number);
    if (current != DICTIONARY_NONE && fb_dictionary_look_up(cache->arena, current, &facts)) {
        uint64_t now = fb_now_ms(cache->arena);
        stats->dictionary = current;
        stats->dictionary_ratio = facts.ratio;
        stats->dictionary_age_ms = now > facts.trained ? now - facts.trained : 0;
    }
    if ((stats->share | stats->limit) != 0)
        stats->bytes = (uint64_t)fb_group_segments(cache->arena, cache->number + 1) << cache->arena->segment_shift;
    return FOREBAY_OK;
}

uint64_t forebay_len(forebay_cache *cache)
{
    forebay_cache_stats stats;
    return forebay_cache_get_stats(cache, &stats) == FOREBAY_OK ? stats.entries : 0;
}
