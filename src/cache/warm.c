/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/warm.h"

#include "base/copy.h"
#include "cache/put.h"
#include "cache/quota.h"

/* Hits on packed entries of a handle for one that stores what it hit unpacked:
 * the hottest are met soonest. */
#define WARM_EVERY 8u
/* Hits that an entry must have had before. */
#define WARM_FREQUENCY 2u
/* Of the segments, those whose room unpacked entries may take (docs/internals/measurements.md);
 * while more than a part of all is free, they may take that, too. */
#define WARM_PART 32u
#define FREE_PART 8u
/* Of a cache's limit, the part that must be left. */
#define LIMIT_PART 4u

bool fb_warm_has_room(const forebay_arena *arena, uint32_t cache_number, uint64_t units)
{
    uint32_t segments = arena->geometry.segment_count, group = fb_cache_group(arena, cache_number);
    uint32_t most = fb_group_limit(arena, group);
    /* a cache with a limit would pay for it with its own entries */
    if (most != SEGMENTS_UNLIMITED
        && atomic_load_explicit(&arena->caches[cache_number].segments, memory_order_relaxed) > most - most / LIMIT_PART)
        return false;
    if (atomic_load_explicit(&arena->super->segments_free, memory_order_relaxed) > segments / FREE_PART)
        return true;
    uint64_t warm = atomic_load_explicit(&arena->super->warm, memory_order_relaxed);
    uint32_t part = arena->warm_part != 0 ? arena->warm_part : WARM_PART;
    return warm + units <= (uint64_t)segments * fb_segment_units(arena) / part;
}

void fb_warm_note(forebay_arena *arena, uint32_t segment, uint64_t units)
{
    atomic_fetch_add_explicit(&arena->segments[segment].warm, (uint32_t)units, memory_order_relaxed);
    atomic_fetch_add_explicit(&arena->super->warm, units, memory_order_relaxed);
}

static bool is_hot(const forebay_arena *arena, uint64_t word)
{
    uint32_t most = fb_policy_frequency_max(arena);
    return fb_slot_frequency(word) >= (most < WARM_FREQUENCY ? most : WARM_FREQUENCY);
}

/* Store the value of the entry found before in its place, unpacked, unless it was changed. */
static void store_unpacked(forebay_cache *cache, const index_key *key, const read_match *was, const void *value, size_t length,
                           uint32_t lane, uint64_t now)
{
    forebay_arena *arena = cache->arena;
    index_match match;
    uint64_t tags[FOREBAY_TAGS_MAX];
    forebay_put put;
    index_look look = fb_index_look_settled(arena, lane, key->hash);
    if (!fb_index_find_held(arena, lane, key, &look, &match) || !fb_slot_same(match.word, was->word)
        || match.view.generation != was->view.generation || match.view.tag_count > FOREBAY_TAGS_MAX)
        return;
    if (match.view.tag_count != 0)
        fb_copy_out(tags, match.view.tags, match.view.tag_count * (uint64_t)ENTRY_TAG_SIZE);
    put_extras extras = {.expiry = match.view.expiry, .tags = tags, .tag_count = match.view.tag_count, .is_move = true,
                         .queue = (enum queue)fb_segment_queue(fb_segment_load(arena, match.view.segment)),
                         .history = (policy_history)(match.view.header >> ENTRY_HISTORY_SHIFT)};
    if (fb_put_begin(cache, key, length, &extras, now, lane, &put) != FOREBAY_OK)
        return;
    fb_copy_in(put.data, value, length);
    if (fb_put_move_over(cache, &put, length, (forebay_kind)match.view.kind, &match))
        fb_cache_count(cache, COUNTER_WARMED);
}

void fb_warm_after_hit(forebay_cache *cache, const index_key *key, const read_match *match, const void *value, size_t length,
                       uint64_t now)
{
    forebay_arena *arena = cache->arena;
    uint32_t hits = atomic_fetch_add_explicit(&cache->packed_hits, 1, memory_order_relaxed);
    uint64_t units = match->view.units + (length - match->view.value_length) / ARENA_ALIGN + 1;
    if (hits % WARM_EVERY != WARM_EVERY - 1 || length <= match->view.value_length || !is_hot(arena, match->word)
        || units > fb_segment_units(arena) / 8 || !fb_warm_has_room(arena, cache->number, units))
        return;
    uint32_t lane = fb_lane_enter(arena);
    store_unpacked(cache, key, match, value, length, lane, now);
    fb_put_end(arena, lane, now);
}
