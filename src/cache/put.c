/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/put.h"

#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/evict.h"
#include "cache/quota.h"
#include "cache/runs.h"
#include "cache/warm.h"

/* Times that others took the segments this one freed before it gives up. */
#define ROOM_TRIES 64
/* Sets between two looks of the policy at the sampled accesses. */
#define POLICY_EVERY 32u

forebay_status fb_options_resolve_tags(const forebay_cache *cache, const forebay_set_options *options, resolved_options *out)
{
    if (options->tag_count > FOREBAY_TAGS_MAX || options->tags == NULL)
        return FOREBAY_INVALID;
    for (size_t i = 0; i < options->tag_count; i++) {
        const forebay_key *tag = &options->tags[i];
        if (tag->data == NULL || tag->length == 0)
            return FOREBAY_INVALID;
        out->tags[i] = options->tag_marks != NULL ? options->tag_marks[i] : forebay_tag_mark(cache, tag->data, tag->length);
    }
    out->extras.tags = out->tags;
    out->extras.tag_count = (uint32_t)options->tag_count;
    return FOREBAY_OK;
}

uint64_t fb_cache_expiry(const forebay_cache *cache, uint64_t ttl_ms, uint64_t now)
{
    if (ttl_ms == FOREBAY_TTL_DEFAULT)
        ttl_ms = cache->ttl_ms;
    if (ttl_ms == 0 || ttl_ms == FOREBAY_TTL_FOREVER)
        return 0;
    uint64_t last = (UINT64_C(1) << (8 * ENTRY_EXPIRY_SIZE)) - 1; /* 34 years after the arena was made */
    return ttl_ms < last - now ? now + ttl_ms : 0;
}

/* Entries that expire together lie together, where there are enough segments:
 * for ever, hours, minutes, less than a minute. */
static uint32_t ttl_class(const forebay_arena *arena, uint64_t expiry, uint64_t now)
{
    if (expiry == 0 || arena->geometry.segment_count < 384)
        return 0;
    uint64_t left = expiry - now;
    return left > 3600000 ? 1 : left > 60000 ? 2 : 3;
}

/* Claim room for `units`: SEGMENT_NONE if nothing can be evicted. */
static uint32_t claim_room(forebay_arena *arena, uint32_t lane, segment_use use, uint64_t units)
{
    uint32_t group = fb_segment_group(use);
    fb_evict_ahead(arena, lane, group, units);
    if (units > fb_segment_units(arena))
        return fb_run_acquire(arena, lane, use, units);
    uint32_t most = fb_group_most(arena, group);
    for (int t = 0; t < ROOM_TRIES; t++) {
        uint32_t segment = fb_head_acquire(arena, use, (uint32_t)units, SEGMENT_RESERVE, most);
        if (segment != SEGMENT_NONE)
            return segment;
        if (!fb_evict_within(arena, lane, group, 1) || !fb_evict_one(arena, lane))
            return SEGMENT_NONE;
    }
    return SEGMENT_NONE;
}

static void release_room(forebay_arena *arena, const put_state *put)
{
    if (put->is_run)
        fb_run_release(arena, put->segment);
    else
        fb_head_release(arena, put->segment);
}

forebay_status fb_put_begin(forebay_cache *cache, const index_key *key, size_t capacity, const put_extras *extras,
                            uint64_t now, uint32_t lane, forebay_put *out)
{
    forebay_arena *arena = cache->arena;
    entry_shape shape = {.key_length = key->length, .value_length = capacity, .expiry = extras->expiry,
                         .version = key->version, .tag_count = extras->tag_count, .checked = arena->checksums,
                         .is_long = capacity > ENTRY_VALUE_SHORT_MAX};
    uint32_t group = fb_cache_group(arena, cache->number);
    if (capacity > arena->max_entry - key->length || (group != 0 && fb_quota_forbids(arena, group, fb_entry_units(&shape))))
        return FOREBAY_TOOBIG;
    put_state put = {.expiry = extras->expiry, .hash = key->hash, .cache_tag = key->cache_tag, .key_length = key->length,
                     .is_long = shape.is_long, .tag_count = (uint8_t)extras->tag_count, .capacity = fb_entry_units(&shape)};
    policy_history history = extras->history;
    enum queue queue = extras->queue;
    if (__builtin_expect(!extras->is_move, 1))
        queue = fb_policy_admit(arena, key->hash, (uint32_t)put.capacity, &history);
    put.history = history;
    put.is_run = put.capacity > fb_segment_units(arena);
    uint32_t class = group != 0 ? 0 : ttl_class(arena, extras->expiry, now);
    put.segment = claim_room(arena, lane, fb_segment_use_of(queue, class, group), put.capacity);
    if (put.segment == SEGMENT_NONE)
        return FOREBAY_FULL;
    uint32_t tail = atomic_load_explicit(&arena->segments[put.segment].tail, memory_order_relaxed);
    put.offset = fb_segment_offset(arena, put.segment) + (uint64_t)tail * ARENA_ALIGN;
    put.owner = fb_row_owner(arena);
    uint8_t *at = arena->base + put.offset + fb_entry_prefix(&shape);
    if (extras->tag_count != 0)
        fb_copy_in(at - extras->tag_count * ENTRY_TAG_SIZE, extras->tags, extras->tag_count * ENTRY_TAG_SIZE);
    fb_copy_in(at, key->data, key->length);
    out->data = at + key->length;
    out->capacity = capacity;
    memcpy(out->reserved, &put, sizeof put);
    return FOREBAY_OK;
}

stored_value fb_cache_pack(forebay_cache *cache, uint64_t hash, const void *value, size_t length, forebay_kind kind, uint8_t *buffer)
{
    stored_value raw = {.data = value, .length = length};
    const packing *how = &cache->packing;
    if (!fb_cache_packs(cache, length, kind) || fb_packing_skips(cache->record, hash))
        return raw;
    uint32_t dictionary = how->has_dictionaries ? fb_dictionary_current(cache->arena, cache->number, how->codec) : DICTIONARY_NONE;
    if (!fb_packing_tries(how, dictionary, length))
        return raw;
    stored_value stored = fb_stored_make(cache->arena, how, dictionary, value, length, buffer);
    if (fb_cache_codec_is_current(cache)) /* else it says nothing about those who pack as is asked for now */
        fb_packing_note(cache->record, stored.packed);
    return stored;
}

bool fb_put_note_packed(forebay_arena *arena, forebay_put *out, uint32_t dictionary)
{
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    put.packed = true;
    memcpy(out->reserved, &put, sizeof put);
    return fb_dictionary_note_use(arena, put.segment, dictionary);
}

forebay_status fb_put_stored(forebay_cache *cache, const index_key *key, stored_value *stored, const void *raw,
                             size_t raw_length, const put_extras *extras, uint64_t now, uint32_t lane, forebay_put *out)
{
    if (raw_length > cache->arena->max_entry - key->length) /* readers take no larger ones, however small they pack */
        return FOREBAY_TOOBIG;
    forebay_status status = fb_put_begin(cache, key, stored->length, extras, now, lane, out);
    if (status == FOREBAY_OK && stored->packed && !fb_put_note_packed(cache->arena, out, stored->dictionary)) {
        fb_put_abort(cache->arena, out);
        stored->data = raw;
        stored->length = raw_length;
        stored->packed = false;
        status = fb_put_begin(cache, key, raw_length, extras, now, lane, out);
    }
    if (status == FOREBAY_OK && stored->length != 0)
        fb_copy_in(out->data, stored->data, stored->length);
    return status;
}

/* Raise the tail over the finished entry: from here on walkers see it. */
static void append(forebay_arena *arena, const put_state *put, uint64_t units)
{
    arena_segment *segment = &arena->segments[put->segment];
    uint64_t last = put->expiry == 0 ? UINT64_MAX : put->expiry;
    if (last > atomic_load_explicit(&segment->last_expiry, memory_order_relaxed))
        atomic_store_explicit(&segment->last_expiry, last, memory_order_relaxed);
    uint32_t tail = (uint32_t)((put->offset - fb_segment_offset(arena, put->segment)) / ARENA_ALIGN + units);
    atomic_store_explicit(&segment->tail, tail, memory_order_release);
}

/* Nobody saw the entry: its room is free again, unless others follow it. */
static void take_back(forebay_arena *arena, const put_state *put)
{
    arena_segment *segment = &arena->segments[put->segment];
    uint32_t begin = (uint32_t)((put->offset - fb_segment_offset(arena, put->segment)) / ARENA_ALIGN);
    entry_view view;
    if (fb_entry_view_at(arena, put->segment, put->offset, &view)
        && atomic_load_explicit(&segment->tail, memory_order_relaxed) == begin + view.units)
        atomic_store_explicit(&segment->tail, begin, memory_order_release);
}

/* The finished entry in `put`, ready to be published: its slot word. */
__attribute__((always_inline)) static inline uint64_t finish_entry(forebay_cache *cache, const put_state *put, uint64_t value_length, forebay_kind kind)
{
    forebay_arena *arena = cache->arena;
    entry_shape shape = {.key_length = put->key_length, .value_length = value_length, .expiry = put->expiry,
                         .cache_tag = put->cache_tag, .kind = (uint32_t)kind, .version = cache->version,
                         .tag_count = put->tag_count, .packed = put->packed, .checked = arena->checksums,
                         .is_long = put->is_long};
    fb_entry_write(arena->base + put->offset, &shape, put->history, arena->hash_seed);
    append(arena, put, fb_entry_units(&shape));
    uint64_t generation = atomic_load_explicit(&arena->segments[put->segment].generation, memory_order_relaxed);
    return fb_slot_make(put->offset, generation, put->hash);
}

static forebay_status settle_outcome(forebay_cache *cache, uint32_t lane, const index_key *key, publish_outcome outcome,
                                     forebay_set_mode mode, uint64_t now)
{
    bool removed;
    switch (outcome) {
    case PUBLISH_INSERTED:
        if (fb_cache_tag_is_current(cache->arena, key->cache_tag))
            atomic_fetch_add_explicit(&fb_cache_counters(cache)->entries, 1, memory_order_relaxed);
        fb_cache_count(cache, COUNTER_SETS);
        return FOREBAY_OK;
    case PUBLISH_REPLACED:
    case PUBLISH_CLEARED:
        fb_cache_count(cache, COUNTER_SETS);
        return FOREBAY_OK;
    case PUBLISH_EXISTS:
        return FOREBAY_EXISTS;
    case PUBLISH_ABSENT:
        return FOREBAY_MISS;
    default:
        if (mode == FOREBAY_ADD)
            return FOREBAY_FULL;
        fb_unpublish(cache->arena, lane, key, now, &removed);
        if (removed)
            atomic_fetch_sub_explicit(&fb_cache_counters(cache)->entries, 1, memory_order_relaxed);
        return FOREBAY_FULL;
    }
}

forebay_status fb_put_commit(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind,
                             forebay_set_mode mode, uint32_t lane, uint64_t now)
{
    forebay_arena *arena = cache->arena;
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    index_key key = {(const uint8_t *)out->data - put.key_length, put.key_length, put.cache_tag, put.hash, cache->version};
    uint64_t fresh = finish_entry(cache, &put, value_length, kind);
    fb_leases_break(arena, put.hash);
    publish_outcome outcome = fb_publish(arena, lane, &key, fresh, put.segment, mode, now);
    if (outcome != PUBLISH_INSERTED && outcome != PUBLISH_REPLACED)
        take_back(arena, &put);
    forebay_status status = settle_outcome(cache, lane, &key, outcome, mode, now);
    release_room(arena, &put);
    return status;
}

__attribute__((cold)) forebay_status fb_put_commit_leased(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind,
                                    const lease_ref *lease, uint32_t lane, uint64_t now)
{
    forebay_arena *arena = cache->arena;
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    index_key key = {(const uint8_t *)out->data - put.key_length, put.key_length, put.cache_tag, put.hash, cache->version};
    uint64_t fresh = finish_entry(cache, &put, value_length, kind);
    publish_outcome outcome = fb_publish_leased(arena, lane, &key, fresh, put.segment, now, lease);
    forebay_status status = outcome == PUBLISH_REVOKED ? FOREBAY_MISS : FOREBAY_FULL;
    if (outcome != PUBLISH_INSERTED && outcome != PUBLISH_REPLACED)
        take_back(arena, &put);
    if (outcome != PUBLISH_REVOKED && outcome != PUBLISH_LOST) /* what is there instead is not this one's to remove */
        status = settle_outcome(cache, lane, &key, outcome, FOREBAY_SET, now);
    release_room(arena, &put);
    return status;
}

bool fb_put_move_over(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind, index_match *match)
{
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    bool done = fb_publish_over(cache->arena, match, finish_entry(cache, &put, value_length, kind));
    if (done)
        fb_warm_note(cache->arena, put.segment, put.capacity);
    else
        take_back(cache->arena, &put);
    release_room(cache->arena, &put);
    return done;
}

bool fb_put_commit_over(forebay_cache *cache, forebay_put *out, size_t value_length, forebay_kind kind, index_match *match)
{
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    bool done = fb_publish_over(cache->arena, match, finish_entry(cache, &put, value_length, kind));
    if (done)
        fb_cache_count(cache, COUNTER_SETS);
    else
        take_back(cache->arena, &put);
    release_room(cache->arena, &put);
    return done;
}

void fb_put_abort(forebay_arena *arena, const forebay_put *out)
{
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    release_room(arena, &put);
}

/* The claim was this process's when it began; a child of a fork has no part in it. */
bool fb_put_is_ours(const forebay_arena *arena, const forebay_put *out)
{
    put_state put;
    memcpy(&put, out->reserved, sizeof put);
    return put.owner == fb_row_owner(arena);
}

void fb_put_end(forebay_arena *arena, uint32_t lane, uint64_t now)
{
    fb_index_maybe_grow(arena, lane);
    uint32_t writes = atomic_fetch_add_explicit(&arena->writes, 1, memory_order_relaxed);
    if (writes % POLICY_EVERY == 0)
        fb_policy_run(arena);
    if (now >= atomic_load_explicit(&arena->next_slow_look, memory_order_relaxed)) {
        atomic_store_explicit(&arena->next_slow_look, now + 1000, memory_order_relaxed);
        fb_clock_look(arena, now);
    }
    fb_lane_release(arena, lane, 0);
    fb_lane_release(arena, lane, 1);
    fb_lane_leave(arena, lane);
}

void fb_put_remove_old(forebay_cache *cache, uint32_t lane, const index_key *key, uint64_t now)
{
    bool removed;
    fb_leases_break(cache->arena, key->hash);
    fb_unpublish(cache->arena, lane, key, now, &removed);
    if (removed)
        atomic_fetch_sub_explicit(&fb_cache_counters(cache)->entries, 1, memory_order_relaxed);
}
