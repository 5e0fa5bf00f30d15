/* SPDX-License-Identifier: Apache-2.0 */
/* Going through the keys of a cache, and through its entries. */
#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/cache_state.h"

/* Copy the key in this slot if it is one of the cache; its length, 0: none. */
static uint32_t key_in_slot(forebay_arena *arena, uint32_t lane, const index_key *like, _Atomic uint64_t *slot, uint64_t now,
                            uint8_t key[FOREBAY_KEY_MAX])
{
    uint64_t word = atomic_load(slot);
    uint32_t segment;
    if (word == 0 || fb_slot_tentative(word) || !fb_slot_segment(arena, word, &segment))
        return 0;
    fb_lane_hold(arena, lane, 0, segment);
    uint64_t again = atomic_load(slot); /* seq_cst: after the hold */
    entry_view view;
    if (!fb_slot_same(again, word) || !fb_entry_view_slot(arena, again, &view) || view.cache_tag != like->cache_tag
        || !fb_index_counts(arena, like, &view, now))
        return 0;
    fb_copy_out(key, view.key, view.key_length);
    /* a key of more than a segment goes on where nothing is held */
    return fb_slot_same(atomic_load(slot), word) ? view.key_length : 0;
}

/* Buckets of the index now, one that is being split off included. */
static uint64_t buckets_in_use(const forebay_arena *arena)
{
    uint64_t word = fb_index_word(arena);
    uint64_t count = (word >> 1) + (word & 1), limit = fb_index_bucket_limit(arena);
    return count < limit ? count : limit;
}

forebay_status forebay_scan(forebay_cache *cache, uint64_t *cursor, size_t buckets,
                            bool (*visit)(void *context, const void *key, size_t key_length), void *context)
{
    static const char any = 0;
    forebay_arena *arena = cache->arena;
    index_key like;
    forebay_status status = fb_cache_begin(cache, &any, sizeof any, &like);
    if (status != FOREBAY_OK)
        return status;
    uint32_t lane = fb_lane_enter(arena);
    uint64_t now = fb_now_ms(arena);
    if (fb_cache_is_behind(cache, &like, now))
        *cursor = buckets_in_use(arena); /* nothing is there to be seen */
    for (size_t n = 0; n < buckets && *cursor < buckets_in_use(arena); n++, ++*cursor) {
        fb_index_help(arena, lane); /* an entry on the move is in neither bucket */
        for (uint32_t i = 0; i < BUCKET_SLOTS && status == FOREBAY_OK; i++) {
            uint8_t key[FOREBAY_KEY_MAX];
            uint32_t length = key_in_slot(arena, lane, &like, &arena->buckets[*cursor].slots[i], now, key);
            if (length != 0 && !visit(context, key, length))
                status = FOREBAY_NOMEM;
        }
        if (status != FOREBAY_OK)
            break;
    }
    fb_lane_leave(arena, lane);
    if (status == FOREBAY_OK && *cursor >= buckets_in_use(arena))
        *cursor = 0;
    return status;
}

/* Private copies of an entry. */
typedef struct exported {
    uint8_t key[FOREBAY_KEY_MAX];
    unpacked_value value;
    forebay_entry entry;
} exported;

/* The value of an entry whose segment is held, packed or not: it lies in `copy`, for free(). */
static forebay_status copy_value(forebay_arena *arena, const entry_view *view, unpacked_value *copy)
{
    if ((view->header & ENTRY_PACKED) != 0)
        return fb_packed_read(arena, view, copy);
    copy->length = view->value_length;
    copy->data = malloc(copy->length + 1);
    if (copy->data == NULL)
        return FOREBAY_NOMEM;
    fb_copy_out(copy->data, view->value, copy->length);
    return FOREBAY_OK;
}

/* Copy the entry in this slot.  FOREBAY_MISS: it has none of the cache, or none
 * that can be read.  On FOREBAY_OK the caller frees to->value.data. */
static forebay_status export_slot(forebay_arena *arena, uint32_t lane, uint32_t cache_tag, _Atomic uint64_t *slot,
                                  uint64_t now, exported *to)
{
    uint64_t word = atomic_load(slot);
    uint32_t segment;
    if (word == 0 || fb_slot_tentative(word) || !fb_slot_segment(arena, word, &segment))
        return FOREBAY_MISS;
    fb_lane_hold(arena, lane, 0, segment);
    uint64_t again = atomic_load(slot); /* seq_cst: after the hold */
    entry_view view;
    if (!fb_slot_same(again, word) || !fb_entry_view_slot(arena, again, &view) || view.cache_tag != cache_tag
        || !fb_entry_is_fresh(arena, &view, now))
        return FOREBAY_MISS;
    forebay_status status = copy_value(arena, &view, &to->value);
    if (status != FOREBAY_OK)
        return status == FOREBAY_NOMEM ? status : FOREBAY_MISS;
    fb_copy_out(to->key, view.key, view.key_length);
    to->entry = (forebay_entry){
        .key = to->key, .key_length = view.key_length,
        .value = to->value.data, .value_length = to->value.length,
        .ttl_ms = view.expiry == 0 ? FOREBAY_TTL_FOREVER : view.expiry - now,
        .kind = (forebay_kind)view.kind, .version = view.version, .tag_count = view.tag_count,
    };
    if (fb_slot_same(atomic_load(slot), word)) /* what is longer than a segment goes on where nothing is held */
        return FOREBAY_OK;
    free(to->value.data);
    return FOREBAY_MISS;
}

/* Visit the entry in the i-th slot of this bucket, if there is one. */
static forebay_status visit_slot(forebay_cache *cache, uint64_t bucket, uint32_t i,
                                 bool (*visit)(void *context, const forebay_entry *entry), void *context)
{
    static const char any = 0;
    forebay_arena *arena = cache->arena;
    index_key like;
    exported copy;
    forebay_status status = fb_cache_begin(cache, &any, sizeof any, &like);
    if (status != FOREBAY_OK)
        return status;
    uint32_t lane = fb_lane_enter(arena);
    fb_index_help(arena, lane); /* an entry on the move is in neither bucket */
    status = export_slot(arena, lane, like.cache_tag, &arena->buckets[bucket].slots[i], fb_now_ms(arena), &copy);
    fb_lane_leave(arena, lane); /* before the visit: that may take its time */
    if (status != FOREBAY_OK)
        return status == FOREBAY_MISS ? FOREBAY_OK : status;
    status = visit(context, &copy.entry) ? FOREBAY_OK : FOREBAY_INTERRUPTED;
    free(copy.value.data);
    return status;
}

forebay_status forebay_export(forebay_cache *cache, uint64_t *cursor, size_t buckets,
                              bool (*visit)(void *context, const forebay_entry *entry), void *context)
{
    forebay_arena *arena = cache->arena;
    for (size_t n = 0; n < buckets && *cursor < buckets_in_use(arena); n++, ++*cursor) {
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            forebay_status status = visit_slot(cache, *cursor, i, visit, context);
            if (status != FOREBAY_OK)
                return status;
        }
    }
    if (*cursor >= buckets_in_use(arena))
        *cursor = 0;
    return FOREBAY_OK;
}
