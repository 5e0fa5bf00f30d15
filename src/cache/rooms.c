/* SPDX-License-Identifier: Apache-2.0 */
/* What entries take, by cache: from a sample of the index's slots, for who watches. */
#include <string.h>

#include "arena/arena_clock.h"
#include "arena/registry.h"
#include "base/copy.h"
#include "cache/cache_state.h"

/* Buckets are looked at in runs, which are spread evenly: a bucket that is still to be split holds
 * twice what others do, and those stand side by side. */
#define RUN_BUCKETS 16u

/* Add what the entry of this slot takes, if it is one that counts; reading as a get does, which holds nothing. */
static void add_slot(const forebay_arena *arena, const _Atomic uint64_t *slot, uint64_t now, forebay_cache_room *rooms)
{
    uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
    entry_view view;
    if (word == 0 || fb_slot_tentative(word) || !fb_entry_view_reading(arena, slot, word, &view))
        return;
    bool is_packed = (view.header & ENTRY_PACKED) != 0;
    uint64_t bytes = view.units * ARENA_ALIGN;
    packed_prefix prefix = {.raw_length = view.value_length};
    uint8_t begin[PACKED_PREFIX_MAX];
    uint64_t length = view.value_length < sizeof begin ? view.value_length : sizeof begin;
    fb_copy_out(begin, view.value, length);
    bool counts = fb_cache_tag_is_current(arena, view.cache_tag) && fb_entry_is_fresh(arena, &view, now);
    if (!counts || !fb_entry_stable(arena, &view) || (is_packed && !fb_packed_prefix(begin, length, &prefix)))
        return;
    forebay_cache_room *room = &rooms[view.cache_tag % CACHE_COUNT_MAX];
    room->entries++;
    room->raw_bytes += is_packed ? 0 : bytes;
    room->packed_bytes += is_packed ? bytes : 0;
    room->unpacked_bytes += is_packed ? bytes - view.value_length + prefix.raw_length : 0;
}

/* Look at `runs` runs of the `count` buckets, as evenly spread as can be; returns how many buckets those were. */
static uint64_t add_runs(const forebay_arena *arena, uint64_t count, uint64_t turn, uint64_t runs, forebay_cache_room *rooms)
{
    uint64_t all = (count + RUN_BUCKETS - 1) / RUN_BUCKETS, stride = all / runs, looked = 0, now = fb_now_ms(arena);
    for (uint64_t run = 0; run < runs; run++) {
        uint64_t first = (run * all / runs + turn % stride) * RUN_BUCKETS;
        for (uint64_t b = first; b < first + RUN_BUCKETS && b < count; b++, looked++)
            for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
                add_slot(arena, &arena->buckets[b].slots[i], now, rooms);
    }
    return looked;
}

/* The rooms of live caches, with their names, to `to`. */
static uint32_t name_rooms(forebay_arena *arena, const forebay_cache_room *rooms, forebay_cache_room *to, uint32_t capacity)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < arena->geometry.cache_count && count < capacity; i++) {
        if ((atomic_load_explicit(&arena->caches[i].word, memory_order_acquire) & 1) == 0)
            continue;
        to[count] = rooms[i];
        memcpy(to[count].name, arena->caches[i].name, FOREBAY_NAME_MAX);
        to[count++].name[FOREBAY_NAME_MAX] = 0;
    }
    return count;
}

uint32_t forebay_cache_rooms(forebay_arena *arena, uint64_t turn, uint64_t buckets, forebay_cache_room *rooms, uint32_t capacity,
                             double *part_out)
{
    forebay_cache_room found[CACHE_COUNT_MAX] = {0};
    *part_out = 1;
    if (fb_arena_enter(arena) != FOREBAY_OK)
        return 0;
    uint64_t count = fb_index_word(arena) >> 1, limit = fb_index_bucket_limit(arena);
    count = count < limit ? count : limit;
    uint64_t all = (count + RUN_BUCKETS - 1) / RUN_BUCKETS, runs = buckets / RUN_BUCKETS;
    runs = runs < 1 ? 1 : runs < all ? runs : all;
    if (count > 0)
        *part_out = (double)add_runs(arena, count, turn, runs, found) / (double)count;
    return name_rooms(arena, found, rooms, capacity);
}
