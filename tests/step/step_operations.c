/* SPDX-License-Identifier: Apache-2.0 */
#include "step_channels.h"
#include "step_tiers.h"
#include "step_limits.h"

#include <signal.h>

#include "../stress/self_value.h"
#include "arena/arena_state.h"
#include "arena/segments.h"
#include "cache/cache_state.h"
#include "cache/dictionaries.h"

static uint8_t value[STEP_BIG_SIZE * 2];

/* The call is over: what follows in run() is not stepped. */
static void call_is_over(void) { raise(SIGSTOP); }

static size_t length_of(uint64_t key)
{
    return key == STEP_BIG_KEY ? STEP_BIG_SIZE : SELF_VALUE_MIN + key % 300;
}

/* Texts and values are made before the steps begin: only the call is stepped. */
static char text[24];
static size_t text_length, value_length;
static bool take_key(uint64_t key)
{
    text_length = self_value_key(text, key);
    value_length = length_of(key);
    self_value_make(value, key, 2, value_length);
    return true;
}
static bool key_is_there(forebay_arena *arena, forebay_cache *cache) { (void)arena, (void)cache; return take_key(STEP_KEY); }
static bool key_is_new(forebay_arena *arena, forebay_cache *cache) { (void)arena, (void)cache; return take_key(STEP_NEW_KEY); }
static bool key_is_big(forebay_arena *arena, forebay_cache *cache) { (void)arena, (void)cache; return take_key(STEP_BIG_KEY); }
static bool key_is_counter(forebay_arena *arena, forebay_cache *cache) { (void)arena, (void)cache; return take_key(STEP_COUNTER); }
static bool key_is_new_counter(forebay_arena *arena, forebay_cache *cache) { (void)arena, (void)cache; return take_key(STEP_NEW_COUNTER); }

/* The same key again and again: it stays. */
static bool write_once(forebay_cache *cache)
{
    take_key(STEP_KEY);
    self_value_make(value, STEP_KEY, 1, length_of(STEP_KEY));
    return forebay_set(cache, text, text_length, value, length_of(STEP_KEY), FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT,
                       FOREBAY_SET) == FOREBAY_OK;
}

/* Write until the index has room for more buckets, or has none; then the next
 * write must make it larger. */
static bool index_is_due(forebay_arena *arena, forebay_cache *cache, bool room)
{
    for (int i = 0; i < 100000; i++) {
        bool has_room = atomic_load(&arena->super->index_word) >> 1 < atomic_load(&arena->super->index_capacity);
        atomic_store(&arena->load_average, (uint32_t)BUCKET_SLOTS << 16);
        if (has_room == room)
            return take_key(STEP_NEW_KEY);
        if (!write_once(cache))
            return false;
    }
    return false;
}

static bool split_is_due(forebay_arena *arena, forebay_cache *cache) { return index_is_due(arena, cache, true); }
static bool segment_is_due(forebay_arena *arena, forebay_cache *cache) { return index_is_due(arena, cache, false); }

/* Segments are scarce and no victim is begun: the next write looks for one among all. */
static bool victim_is_due(forebay_arena *arena, forebay_cache *cache)
{
    for (int i = 0; i < 100000 && fb_segments_sweep(arena) > SEGMENT_RESERVE + 2; i++)
        if (!write_once(cache))
            return false;
    atomic_store(&arena->super->victim[0], 0);
    return take_key(STEP_NEW_KEY);
}

/* The cache has nearly its limit and no victim of it is begun. */
static bool limit_is_near(forebay_arena *arena, forebay_cache *cache)
{
    arena_cache *record = &arena->caches[0];
    uint32_t most = STEP_LIMIT / arena->geometry.segment_size - 2;
    for (int i = 0; i < 100000 && fb_group_segments(arena, 1) < most; i++)
        if (!write_once(cache))
            return false;
    atomic_store(&record->victim, 0);
    return take_key(STEP_NEW_KEY);
}

static forebay_status set_mode(forebay_cache *cache, size_t length, forebay_set_mode mode)
{
    return forebay_set(cache, text, text_length, value, length, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, mode);
}

static bool do_set(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return set_mode(cache, length_of(STEP_NEW_KEY), FOREBAY_SET) == FOREBAY_OK;
}
static bool do_replace(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = set_mode(cache, length_of(STEP_KEY), FOREBAY_REPLACE);
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}
static bool do_add(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = set_mode(cache, length_of(STEP_NEW_KEY), FOREBAY_ADD);
    return status == FOREBAY_OK || status == FOREBAY_EXISTS;
}
static bool do_set_big(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = set_mode(cache, STEP_BIG_SIZE, FOREBAY_SET);
    return status == FOREBAY_OK || status == FOREBAY_FULL;
}
static bool do_set_tagged(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_key tags[2] = {{"one", 3}, {"two", 3}};
    forebay_set_options options = {.tags = tags, .tag_count = 2};
    return forebay_set_with(cache, text, text_length, value, length_of(STEP_NEW_KEY), FOREBAY_KIND_BYTES, &options)
           == FOREBAY_OK;
}
static bool do_invalidate(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return forebay_invalidate_tag(cache, "one", 3) == FOREBAY_OK;
}
static bool do_touch(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = forebay_touch(cache, text, text_length, 1000000);
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}
static uint64_t token;
static bool token_of_first(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    text_length = self_value_key(text, STEP_KEY);
    self_value_make(value, STEP_KEY, 1, length_of(STEP_KEY));
    token = forebay_token(cache, value, length_of(STEP_KEY), FOREBAY_KIND_BYTES);
    return take_key(STEP_KEY);
}
static bool do_cas(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = forebay_cas(cache, text, text_length, token, value, length_of(STEP_KEY), FOREBAY_KIND_BYTES,
                                        &(forebay_set_options){0});
    return status == FOREBAY_OK || status == FOREBAY_EXISTS || status == FOREBAY_MISS;
}
static bool do_delete(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return forebay_delete(cache, text, text_length) >= FOREBAY_OK;
}
static bool do_incr(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    int64_t sum = 0;
    return forebay_incr(cache, text, text_length, 1, 0, FOREBAY_TTL_DEFAULT, &sum) == FOREBAY_OK && sum > 0
           && sum <= STEP_COUNTED + 1;
}
static bool check_got(forebay_status status, uint64_t key, size_t length)
{
    uint64_t sequence;
    return status == FOREBAY_MISS || (status == FOREBAY_OK && self_value_check(value, length, key, &sequence));
}
static bool do_get(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    size_t length = 0;
    forebay_kind kind;
    forebay_status status = forebay_get_into(cache, text, text_length, value, sizeof value, &length, &kind);
    call_is_over();
    return check_got(status, STEP_KEY, length);
}
/* The same before the steps. */
static bool do_get_quietly(forebay_cache *cache)
{
    size_t length = 0;
    forebay_kind kind;
    forebay_status status = forebay_get_into(cache, text, text_length, value, sizeof value, &length, &kind);
    return check_got(status, STEP_KEY, length);
}
static bool do_get_big(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    size_t length = 0;
    forebay_kind kind;
    forebay_status status = forebay_get_into(cache, text, text_length, value, sizeof value, &length, &kind);
    call_is_over();
    return check_got(status, STEP_BIG_KEY, length);
}

/* The bytes are read after others may have overwritten all that they may. */
static bool view_and_copy(forebay_cache *cache, uint64_t key)
{
    forebay_view view;
    size_t length;
    forebay_status status = forebay_view_open(cache, text, text_length, &view);
    if (status != FOREBAY_OK)
        return status == FOREBAY_MISS;
    length = view.length <= sizeof value ? view.length : 0;
    memcpy(value, view.data, length);
    forebay_view_close(&view);
    call_is_over();
    return check_got(FOREBAY_OK, key, length);
}
static bool do_view(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return view_and_copy(cache, STEP_KEY);
}
static bool do_view_big(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return view_and_copy(cache, STEP_BIG_KEY);
}

static void *room_for(void *context, size_t item, size_t length, forebay_kind kind)
{
    size_t *lengths = context;
    (void)kind;
    lengths[item] = length;
    return length <= 4096 ? value + item * 4096 : NULL;
}
static bool do_get_many(forebay_arena *arena, forebay_cache *cache)
{
    enum { COUNT = 20 };
    (void)arena;
    char texts[COUNT][24];
    forebay_key keys[COUNT];
    forebay_status status[COUNT];
    size_t lengths[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        keys[i] = (forebay_key){texts[i], self_value_key(texts[i], i + 1)};
    forebay_sink sink = {room_for, lengths};
    forebay_status got = forebay_get_many(cache, keys, COUNT, &sink, status);
    call_is_over();
    if (got != FOREBAY_OK)
        return false;
    uint64_t sequence;
    for (size_t i = 0; i < COUNT; i++)
        if (status[i] != FOREBAY_MISS
            && (status[i] != FOREBAY_OK || !self_value_check(value + i * 4096, lengths[i], i + 1, &sequence)))
            return false;
    return true;
}
static bool do_put(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_put put;
    if (forebay_put_begin(cache, text, text_length, length_of(STEP_NEW_KEY), &(forebay_set_options){0}, &put) != FOREBAY_OK)
        return false;
    memcpy(put.data, value, length_of(STEP_NEW_KEY));
    return forebay_put_commit(cache, &put, length_of(STEP_NEW_KEY), FOREBAY_KIND_BYTES, FOREBAY_SET) == FOREBAY_OK;
}
static bool do_put_abort(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_put put;
    if (forebay_put_begin(cache, text, text_length, length_of(STEP_NEW_KEY), &(forebay_set_options){0}, &put) != FOREBAY_OK)
        return false;
    forebay_put_abort(cache, &put);
    return true;
}
static bool do_clear(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return forebay_clear(cache) == FOREBAY_OK;
}
static bool open_cache(forebay_arena *arena, const char *name)
{
    forebay_cache *cache;
    forebay_error error;
    if (forebay_cache_open(arena, name, NULL, &cache, &error) != FOREBAY_OK)
        return false;
    forebay_cache_close(cache);
    return true;
}
static bool do_open_cache(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return open_cache(arena, "step");
}
static bool do_make_cache(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return open_cache(arena, "another");
}
static bool do_open_arena(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_arena *other;
    forebay_error error;
    if (forebay_arena_open(forebay_arena_path(arena), NULL, &other, &error) != FOREBAY_OK)
        return false;
    forebay_arena_close(other);
    return true;
}

static size_t popped;
static void *room_for_popped(void *context, size_t item, size_t length, forebay_kind kind)
{
    (void)context, (void)item, (void)kind;
    popped = length;
    return length <= sizeof value ? value : NULL;
}
static bool do_pop(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = forebay_pop(cache, text, text_length, &(forebay_sink){room_for_popped, NULL});
    call_is_over();
    return check_got(status, STEP_KEY, popped);
}
static bool visit(void *context, const void *key, size_t length)
{
    size_t *visited = context;
    (void)key;
    *visited += length > 0 && length < 24;
    return true;
}
static bool do_scan(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    uint64_t cursor = 0;
    size_t visited = 0;
    return forebay_scan(cache, &cursor, 8, visit, &visited) == FOREBAY_OK && visited <= 64;
}

/* ---- leases ---- */

static forebay_lease lease;
static bool take_lease(forebay_cache *cache, uint64_t timeout_ms)
{
    return forebay_lease_take(cache, text, text_length, timeout_ms, &lease) == FOREBAY_OK;
}
static bool new_key_is_leased(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return take_key(STEP_NEW_KEY) && take_lease(cache, 3600000);
}
static bool key_is_leased(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return take_key(STEP_KEY) && take_lease(cache, 3600000);
}
static bool lease_is_overdue(forebay_arena *arena, forebay_cache *cache)
{
    return take_key(STEP_NEW_KEY) && take_lease(cache, 1) && forebay_arena_advance_clock(arena, 10) == FOREBAY_OK;
}
static bool do_take(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    return take_lease(cache, 3600000);
}
static bool do_store(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_status status = forebay_lease_store(cache, &lease, text, text_length, value, value_length, FOREBAY_KIND_BYTES,
                                                &(forebay_set_options){0});
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}
static bool do_end(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_lease_end(cache, &lease);
    return true;
}
static bool do_fail(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    forebay_lease_fail(cache, &lease, "why", 3);
    return true;
}

/* ---- where the cache packs ---- */

bool step_publish(forebay_arena *arena, forebay_cache *cache, uint64_t key)
{
    uint8_t bytes[600];
    dictionary_facts facts = {.cache = cache->number, .life = cache->life, .codec = FOREBAY_CODEC_ZSTD, .ratio = 2000};
    self_value_make(bytes, key, 9, sizeof bytes);
    return fb_dictionary_publish(arena, &facts, bytes, sizeof bytes) != DICTIONARY_NONE;
}

/* Read and write once, so that the dictionary is digested before the steps. */
static bool digested_key(forebay_arena *arena, forebay_cache *cache)
{
    atomic_store(&arena->caches[0].misfits, 0); /* those of odd keys: packing is tried */
    return write_once(cache) && do_get_quietly(cache) && take_key(STEP_KEY);
}
static bool token_of_packed(forebay_arena *arena, forebay_cache *cache)
{
    return digested_key(arena, cache) && token_of_first(arena, cache);
}
/* The next hit stores the entry unpacked. */
static bool warming_is_due(forebay_arena *arena, forebay_cache *cache)
{
    bool good = digested_key(arena, cache);
    for (int i = 0; i < 3; i++)
        good &= digested_key(arena, cache) && do_get_quietly(cache);
    atomic_store(&cache->packed_hits, 7);
    return good && take_key(STEP_KEY);
}
/* What is moved is packed with an old dictionary. */
static bool dictionary_is_old(forebay_arena *arena, forebay_cache *cache)
{
    return step_publish(arena, cache, 4) && digested_key(arena, cache);
}
/* One that nothing needs is to be retired. */
static bool retirement_is_due(forebay_arena *arena, forebay_cache *cache)
{
    return step_publish(arena, cache, 6) && step_publish(arena, cache, 8);
}
static bool do_publish(forebay_arena *arena, forebay_cache *cache)
{
    return step_publish(arena, cache, 2);
}

#define W1 (1u << 1)
#define W2 (1u << 2)
const step_operation step_operations[] = {
    {"set-new", CALM, false, key_is_new, do_set, W2, true, STEP_NEW_KEY, false},
    {"replace", CALM, false, key_is_there, do_replace, W1 | W2, false, STEP_KEY, false},
    {"add", CALM, false, key_is_new, do_add, W2, true, STEP_NEW_KEY, false},
    {"delete", CALM, false, key_is_there, do_delete, W1, true, STEP_KEY, false},
    {"incr", CALM, false, key_is_counter, do_incr, 0, false, STEP_COUNTER, false},
    {"incr-new", CALM, false, key_is_new_counter, do_incr, 0, true, STEP_NEW_COUNTER, false},
    {"get", CALM, false, key_is_there, do_get, W1, false, STEP_KEY, false},
    {"get-big", CALM, false, key_is_big, do_get_big, W1, false, STEP_BIG_KEY, false},
    {"get-many", CALM, false, NULL, do_get_many, 0, true, 0, false},
    {"put-commit", CALM, false, key_is_new, do_put, W2, true, STEP_NEW_KEY, false},
    {"put-abort", CALM, false, key_is_new, do_put_abort, 0, true, STEP_NEW_KEY, false},
    {"set-big", CALM, false, key_is_big, do_set_big, W1 | W2, true, STEP_BIG_KEY, false},
    {"set-splits", FULL, false, split_is_due, do_set, W2, true, STEP_NEW_KEY, false},
    {"set-grows-index", FULL, false, segment_is_due, do_set, W2, true, STEP_NEW_KEY, false},
    {"set-evicts", FULL, false, key_is_new, do_set, W2, true, STEP_NEW_KEY, false},
    {"set-finds-victim", FULL, false, victim_is_due, do_set, W2, true, STEP_NEW_KEY, false},
    {"replace-evicts", FULL, false, key_is_there, do_replace, W1 | W2, true, STEP_KEY, false},
    {"incr-evicts", FULL, false, key_is_counter, do_incr, 0, true, STEP_COUNTER, false},
    {"set-big-evicts", FULL, false, key_is_big, do_set_big, W1 | W2, true, STEP_BIG_KEY, false},
    {"set-tagged", CALM, false, key_is_new, do_set_tagged, W2, true, STEP_NEW_KEY, false},
    {"set-tagged-evicts", FULL, false, key_is_new, do_set_tagged, W2, true, STEP_NEW_KEY, false},
    {"invalidate-tag", CALM, false, NULL, do_invalidate, 0, true, 0, false},
    {"touch", CALM, false, key_is_there, do_touch, W1, false, STEP_KEY, false},
    {"touch-evicts", FULL, false, key_is_there, do_touch, W1, true, STEP_KEY, false},
    {"cas", CALM, false, token_of_first, do_cas, W1 | W2, false, STEP_KEY, false},
    {"pop", CALM, false, key_is_there, do_pop, W1, true, STEP_KEY, false},
    {"scan", CALM, false, NULL, do_scan, 0, true, 0, false},
    {"view", CALM, false, key_is_there, do_view, W1, false, STEP_KEY, false},
    {"view-big", CALM, false, key_is_big, do_view_big, W1, false, STEP_BIG_KEY, false},
    {"lease-take", CALM, false, key_is_new, do_take, 0, true, STEP_NEW_KEY, true},
    {"lease-take-over", CALM, false, lease_is_overdue, do_take, 0, true, STEP_NEW_KEY, true},
    {"lease-store", CALM, false, new_key_is_leased, do_store, W2, true, STEP_NEW_KEY, true},
    {"lease-refresh", CALM, false, key_is_leased, do_store, W1 | W2, false, STEP_KEY, true},
    {"lease-evicts", FULL, false, new_key_is_leased, do_store, W2, true, STEP_NEW_KEY, true},
    {"lease-end", CALM, false, new_key_is_leased, do_end, 0, true, STEP_NEW_KEY, true},
    {"lease-fail", CALM, false, new_key_is_leased, do_fail, 0, true, STEP_NEW_KEY, true},
    {"lease-set", CALM, false, new_key_is_leased, do_set, W2, true, STEP_NEW_KEY, false},
    {"lease-delete", CALM, false, key_is_leased, do_delete, W1, true, STEP_KEY, false},
    {"limited-set", LIMITED, false, key_is_new, do_set, W2, true, STEP_NEW_KEY, false},
    {"limited-finds-victim", LIMITED, false, limit_is_near, do_set, W2, true, STEP_NEW_KEY, false},
    {"limited-replace", LIMITED, false, key_is_there, do_replace, W1 | W2, true, STEP_KEY, false},
    {"limited-incr", LIMITED, false, key_is_counter, do_incr, 0, true, STEP_COUNTER, false},
    {"limited-set-big", LIMITED, false, key_is_big, do_set_big, W1 | W2, true, STEP_BIG_KEY, false},
    {"packed-replace", PACKED, false, digested_key, do_replace, W1 | W2, false, STEP_KEY, false},
    {"packed-get", PACKED, false, digested_key, do_get, W1, false, STEP_KEY, false},
    {"packed-get-warms", PACKED, false, warming_is_due, do_get, W1, false, STEP_KEY, false},
    {"packed-view", PACKED, false, digested_key, do_view, W1, false, STEP_KEY, false},
    {"packed-touch", PACKED, false, digested_key, do_touch, W1, false, STEP_KEY, false},
    {"packed-cas", PACKED, false, token_of_packed, do_cas, W1 | W2, false, STEP_KEY, false},
    {"packed-pop", PACKED, false, digested_key, do_pop, W1, true, STEP_KEY, false},
    {"packed-evicts", PACKED_FULL, false, digested_key, do_replace, W1 | W2, true, STEP_KEY, false},
    {"packed-repacks", PACKED_FULL, false, dictionary_is_old, do_replace, W1 | W2, true, STEP_KEY, false},
    {"publish", PACKED, false, NULL, do_publish, 0, false, 0, false},
    {"publish-retires", PACKED, false, retirement_is_due, do_publish, 0, false, 0, false},
    {"permit-take", CALM, false, step_limit_is_open, step_do_take, 0, true, STEP_PERMITS, false},
    {"permit-give-back", CALM, false, step_permit_is_held, step_do_give_back, 0, true, STEP_PERMITS, false},
    {"permit-queue", CALM, false, step_limit_is_open, step_do_queue, 0, true, STEP_PERMITS, false},
    {"permit-queue-full", CALM, false, step_places_are_left, step_do_queue, 0, true, STEP_PERMITS, false},
    {"permit-wait", CALM, false, step_turn_is_taken, step_do_wait, 0, true, STEP_PERMITS, false},
    {"permit-of-dead", CALM, false, step_permits_are_left, step_do_wait, 0, true, STEP_PERMITS, false},
    {"permit-leave", CALM, false, step_turn_is_taken, step_do_leave, 0, true, STEP_PERMITS, false},
    {"permit-yield", CALM, false, step_somebody_waits, step_do_yield, 0, true, STEP_PERMITS, false},
    {"limit-lower", CALM, false, NULL, step_do_lower, 0, true, STEP_LIMITS, false},
    {"limit-make", CALM, false, NULL, step_do_make_limit, 0, true, STEP_LIMITS, false},
    {"limit-drop", CALM, false, NULL, step_do_drop_limit, 0, true, STEP_LIMITS, false},
    {"channel-claim", CALM, false, step_channel_is_silent, step_do_claim, 0, true, STEP_CHANNEL, false},
    {"channel-join", CALM, false, step_channel_is_claimed_by_two, step_do_join, 0, true, STEP_CHANNEL, false},
    {"channel-begin", CALM, false, step_channel_is_claimed, step_do_begin, 0, true, STEP_CHANNEL, false},
    {"channel-beat", CALM, false, step_channel_is_listened_to, step_do_beat, 0, true, STEP_CHANNEL, false},
    {"channel-leave", CALM, false, step_channel_is_listened_to, step_do_leave_channel, 0, true, STEP_CHANNEL, false},
    {"channel-follow", CALM, false, step_news_are_not_followed, step_do_follow, 0, true, STEP_CHANNEL, false},
    {"channel-get", CALM, false, step_channel_is_silent, step_do_get_news, 0, true, STEP_CHANNEL, false},
    {"channel-get-many", CALM, false, step_channel_is_silent, step_do_get_many_news, 0, true, STEP_CHANNEL, false},
    {"channel-view", CALM, false, step_channel_is_silent, step_do_view_news, 0, true, STEP_CHANNEL, false},
    {"channel-store", CALM, false, step_news_are_leased, step_do_store_news, 0, true, STEP_CHANNEL, false},
    {"channel-open", CALM, false, NULL, step_do_open_channel, 0, true, STEP_CHANNEL, false},
    {"channel-make", CALM, false, NULL, step_do_make_channel, 0, true, STEP_CHANNELS, false},
    {"channel-drop", CALM, false, NULL, step_do_drop_channel, 0, true, STEP_CHANNELS, false},
    {"tier-make", CALM, false, NULL, step_do_use_tier, 0, true, STEP_TIER, false},
    {"tier-open", CALM, false, step_tier_is_open, step_do_use_tier, 0, true, STEP_TIER, false},
    {"tier-replace", CALM, false, step_tiers_are_left, step_do_use_tier, 0, true, STEP_TIER, false},
    {"tier-say", CALM, false, step_tier_is_open, step_do_leave_tier_out, 0, true, STEP_TIER, false},
    {"tier-add", CALM, false, step_tier_is_open, step_do_count_in_tier, 0, true, STEP_TIER, false},
    {"clear", CALM, true, NULL, do_clear, 0, true, 0, false},
    {"open-cache", CALM, false, NULL, do_open_cache, 0, true, 0, false},
    {"make-cache", CALM, false, NULL, do_make_cache, 0, true, 0, false},
    {"open-arena", CALM, false, NULL, do_open_arena, 0, true, 0, false},
};
const size_t step_operation_count = sizeof step_operations / sizeof step_operations[0];
