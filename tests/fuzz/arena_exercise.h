/* SPDX-License-Identifier: Apache-2.0 */
/* Use an arena of any content in every way: nothing may crash or hang. */
#ifndef TESTS_ARENA_EXERCISE_H
#define TESTS_ARENA_EXERCISE_H

#include <forebay/forebay.h>

#include <stdlib.h>
#include <string.h>

#define EXERCISE_BIG 9000u /* several segments of the smallest arena */

static inline void *exercise_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    void **last = context;
    (void)item, (void)kind;
    free(*last);
    return *last = malloc(length + 1);
}

static inline bool exercise_visit(void *context, const void *key, size_t length)
{
    (void)context;
    volatile const char *bytes = key; /* read it */
    return length == 0 || bytes[length - 1] != 1;
}

static inline bool exercise_export(void *context, const forebay_entry *entry)
{
    return exercise_visit(context, entry->key, entry->key_length)
           && exercise_visit(context, entry->value, entry->value_length);
}

/* Views of it while it is written to; reads all they show. */
static inline void exercise_views(forebay_cache *cache, forebay_view views[3])
{
    static const forebay_key keys[3] = {{"big", 3}, {"old tagged", 10}, {"counter", 7}};
    for (size_t i = 0; i < 3; i++) {
        volatile uint8_t sum = 0;
        (void)!forebay_view_open(cache, keys[i].data, keys[i].length, &views[i]);
        for (size_t at = 0; at < views[i].length; at++)
            sum = (uint8_t)(sum + ((const uint8_t *)views[i].data)[at]);
    }
}

/* Load keys, those that somebody dead was at, too; reasons of any lease. */
static inline void exercise_leases(forebay_cache *cache)
{
    static const forebay_key keys[3] = {{"absent", 6}, {"loaded", 6}, {"nobody's", 8}};
    char reason[FOREBAY_LEASE_REASON_MAX];
    size_t length;
    for (size_t i = 0; i < 3; i++) {
        forebay_lease lease, others;
        if (forebay_lease_take(cache, keys[i].data, keys[i].length, 1000, &lease) == FOREBAY_EXISTS)
            (void)!forebay_lease_wait(cache, &lease, 0);
        (void)!forebay_lease_take(cache, keys[i].data, keys[i].length, 1000, &others);
        (void)forebay_lease_holds(cache, &lease);
        if (i == 1)
            forebay_lease_fail(cache, &lease, "why", 3);
        (void)!forebay_lease_store(cache, &lease, keys[i].data, keys[i].length, "value", 5, FOREBAY_KIND_BYTES,
                                   &(forebay_set_options){0});
        for (lease.token = 0; lease.token < 8; lease.token++)
            (void)!forebay_lease_reason(cache, &lease, reason, &length);
        (void)forebay_lease_break(cache, keys[i].data, keys[i].length);
    }
}

/* Take, queue, wait, give back, lower, drop; where somebody dead holds some, too. */
static inline void exercise_limit(forebay_arena *arena, const char *name, uint32_t most)
{
    forebay_limit *limit = NULL;
    forebay_permit permits[3] = {{{0}}};
    forebay_turn turn;
    uint32_t seen = 0;
    if (forebay_limit_open(arena, name, most, true, &limit, NULL) != FOREBAY_OK)
        return;
    for (size_t i = 0; i < 3; i++)
        (void)!forebay_permit_take(limit, &permits[i]);
    (void)!forebay_permit_queue(limit, &turn);
    (void)!forebay_permit_wait(limit, &turn, 0, &permits[2]);
    (void)forebay_limit_wanted(limit);
    (void)forebay_limit_should_yield(limit, true);
    (void)forebay_limit_should_yield(limit, false);
    (void)!forebay_limit_watch(limit, &seen, 0);
    (void)!forebay_limit_drop(arena, name);
    forebay_permit_leave(limit, &turn);
    for (size_t i = 0; i < 3; i++)
        (void)forebay_permit_give_back(limit, &permits[i]);
    permits[0].reserved[1] = UINT64_MAX;
    (void)forebay_permit_give_back(limit, &permits[0]);
    forebay_limit_close(limit);
}

static inline void exercise_limits(forebay_arena *arena)
{
    forebay_limit_info info;
    forebay_limit_share shares[4];
    for (uint32_t i = 0; i < 64 && forebay_limit_at(arena, i, &info); i++)
        (void)forebay_limit_shares(arena, info.name, shares, 4);
    exercise_limit(arena, "database", 2); /* of the sound arena: 3 permits, of which some are held */
    exercise_limit(arena, "absent", 1);
    (void)!forebay_limit_drop(arena, "idle");
    (void)!forebay_limit_drop(arena, "absent");
}

/* Listen to a channel, after whoever it may have had; a listener of anything at all does no harm. */
static inline void exercise_listening(forebay_channel *channel)
{
    forebay_listener listeners[3] = {{{0}}, {{0}}, {{UINT64_MAX, UINT64_MAX}}};
    for (size_t i = 0; i < 2; i++)
        (void)!forebay_channel_claim(channel, i == 0 ? 0 : 1000, &listeners[i]);
    for (size_t i = 0; i < 3; i++) {
        (void)!forebay_channel_join(channel, &listeners[i], 0);
        (void)!forebay_channel_begin(channel, &listeners[i]);
        (void)!forebay_channel_beat(channel, &listeners[i], i == 1 ? UINT64_MAX : forebay_channel_now(channel));
        (void)forebay_channel_age(channel);
    }
    forebay_channel_leave(channel, &listeners[0]);
}

static inline void exercise_channel(forebay_arena *arena, const char *name, forebay_cache *cache)
{
    static char value[16];
    char follower[FOREBAY_NAME_MAX + 1];
    size_t length;
    uint64_t left, cursor = 0;
    forebay_kind kind;
    forebay_view view;
    forebay_channel *channel = NULL;
    if (forebay_channel_open(arena, name, &channel, NULL) != FOREBAY_OK)
        return;
    for (uint64_t most = 0; most < 3; most++) { /* before anything was heard, after, and whatever was */
        (void)!forebay_cache_follow(cache, channel, most == 2 ? UINT64_MAX : most * 1000);
        (void)!forebay_get_into(cache, "a", 1, value, sizeof value, &length, &kind);
        (void)!forebay_ttl_left(cache, "a", 1, &left);
        (void)!forebay_scan(cache, &cursor, 10, exercise_visit, NULL);
        if (forebay_view_open(cache, "a", 1, &view) == FOREBAY_OK)
            forebay_view_close(&view);
        exercise_listening(channel);
        for (uint32_t i = 0; i < 4; i++)
            (void)forebay_channel_follower(channel, i, follower);
    }
    forebay_channel_close(channel);
}

static inline void exercise_channels(forebay_arena *arena)
{
    forebay_cache *cache = NULL;
    forebay_channel_info info;
    volatile size_t length = 0;
    for (uint32_t i = 0; i < 16 && forebay_channel_at(arena, i, &info); i++)
        length = length + strlen(info.name);
    for (size_t i = 0; i < 2; i++) { /* its channel is "news" in the sound arena */
        if (forebay_cache_open(arena, "following", NULL, &cache, NULL) != FOREBAY_OK)
            return;
        exercise_channel(arena, i == 0 ? "news" : "other news", cache);
        forebay_cache_close(cache);
    }
    (void)!forebay_channel_drop(arena, "news");
    (void)!forebay_channel_drop(arena, "other news");
}

static inline void exercise_cache(forebay_cache *cache, unsigned sets)
{
    forebay_view views[3];
    exercise_views(cache, views);
    static const char value[EXERCISE_BIG];
    void *last = NULL;
    forebay_sink sink = {exercise_room, &last};
    forebay_key keys[4] = {{"a", 1}, {"b", 1}, {"counter", 7}, {"big", 3}};
    forebay_status status[4];
    int64_t sum;
    forebay_place places[4];
    for (size_t i = 0; i < 4; i++)
        (void)!forebay_get_placed(cache, keys[i].data, keys[i].length, &sink, &places[i]);
    (void)!forebay_get_many(cache, keys, 4, &sink, status);
    (void)!forebay_incr(cache, "counter", 7, 1, 0, FOREBAY_TTL_DEFAULT, &sum);
    (void)forebay_delete(cache, "a", 1);
    for (unsigned i = 0; i < sets; i++)
        (void)!forebay_set(cache, &i, sizeof i, value, 200 + i % 7 * 50, FOREBAY_KIND_BYTES, 1000, FOREBAY_SET);
    for (size_t i = 0; i < 4; i++)
        (void)forebay_place_holds(cache, &places[i]);
    (void)!forebay_set(cache, "big", 3, value, sizeof value, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
    (void)!forebay_set(cache, "a", 1, value, 10, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_ADD);
    (void)!forebay_get(cache, "big", 3, &sink);
    (void)!forebay_get_placed(cache, "old tagged", 10, &sink, &places[0]);
    (void)forebay_place_holds(cache, &places[0]);
    forebay_set_options tagged = {.tags = keys, .tag_count = 2};
    uint64_t cursor = 0;
    (void)!forebay_set_with(cache, "tagged", 6, value, 100, FOREBAY_KIND_BYTES, &tagged);
    (void)!forebay_touch(cache, "old tagged", 10, 100000);
    (void)!forebay_touch(cache, "big", 3, 100000);
    (void)!forebay_cas(cache, "tagged", 6, forebay_token(cache, value, 100, FOREBAY_KIND_BYTES), value, 50, FOREBAY_KIND_BYTES,
                       &tagged);
    (void)!forebay_pop(cache, "tagged", 6, &sink);
    (void)!forebay_pop(cache, "b", 1, &sink);
    (void)!forebay_scan(cache, &cursor, 100, exercise_visit, NULL);
    (void)!forebay_export(cache, &cursor, 100, exercise_export, NULL);
    (void)!forebay_peek(cache, "b", 1, &sink);
    exercise_leases(cache);
    (void)forebay_invalidate_tag(cache, "a", 1);
    (void)forebay_len(cache);
    for (size_t i = 0; i < 3; i++)
        forebay_view_close(&views[i]);
    free(last);
}

static inline void exercise_ignore(void *context, const char *message) { (void)context, (void)message; }

/* verify() looks again, after a pause, at what seems wrong: with much of it, at
 * one arena in 32 only. */
static unsigned exercise_round;

/* Look at all caches, and at what they take. */
static inline void exercise_caches(forebay_arena *arena)
{
    forebay_cache_info info;
    forebay_cache_room rooms[4];
    double part;
    for (uint32_t i = 0; forebay_cache_at(arena, i, &info); i++)
        continue;
    (void)forebay_cache_rooms(arena, 1, 512, rooms, 4, &part);
}

static inline void exercise_tiers(forebay_arena *arena)
{
    forebay_tier_info info;
    forebay_tier_user users[4];
    static const char *const names[] = {"redis", "left", "absent"}; /* the first two are in the sound arena */
    for (uint32_t i = 0; i < 16 && forebay_tier_at(arena, i, &info); i++)
        (void)forebay_tier_users(arena, info.name, users, 4);
    for (unsigned i = 0; i < 3; i++) {
        forebay_tier *tier = NULL;
        if (forebay_tier_open(arena, names[i], &tier, NULL) != FOREBAY_OK)
            continue;
        (void)!forebay_tier_say(tier, FOREBAY_TIER_USED | FOREBAY_TIER_LEFT_OUT);
        (void)!forebay_tier_add(tier, FOREBAY_TIER_HITS, UINT64_MAX);
        forebay_tier_close(tier);
    }
}

/* Open by path and use it; returns the status of opening. */
static inline forebay_status exercise_arena(const char *path, unsigned sets, bool guard)
{
    forebay_arena_options options = {.guard = guard, .timeout_ms = 1};
    forebay_arena *arena = NULL;
    forebay_cache *cache = NULL;
    forebay_error error;
    forebay_arena_info info;
    forebay_row_info rows[64];
    forebay_status status = forebay_arena_open(path, &options, &arena, &error);
    if (status != FOREBAY_OK)
        return status;
    bool verify = exercise_round++ % 32 == 0;
    if (verify)
        (void)!forebay_arena_verify(arena, exercise_ignore, NULL);
    (void)forebay_arena_get_info(arena, &info);
    exercise_caches(arena);
    (void)forebay_arena_rows(arena, rows, 64);
    exercise_limits(arena);
    exercise_channels(arena);
    exercise_tiers(arena);
    if (forebay_cache_open(arena, "fuzz", NULL, &cache, &error) == FOREBAY_OK) {
        exercise_cache(cache, sets);
        forebay_cache_close(cache);
    }
    if (forebay_cache_open(arena, "other", NULL, &cache, &error) == FOREBAY_OK) {
        exercise_cache(cache, 3);
        (void)forebay_clear(cache);
        forebay_cache_close(cache);
    }
    (void)forebay_cache_drop(arena, "other");
    static const char *const packed[] = {"zstd", "lz4", "gzip"};
    for (unsigned i = 0; i < 3; i++) {
        if (forebay_cache_open(arena, packed[i], NULL, &cache, &error) != FOREBAY_OK)
            continue;
        exercise_cache(cache, i == 0 ? sets : 0);
        if (verify && i == 0)
            (void)!forebay_cache_train(cache);
        forebay_cache_close(cache);
    }
    if (forebay_cache_open(arena, "limited", NULL, &cache, &error) == FOREBAY_OK) {
        forebay_cache_stats stats;
        exercise_cache(cache, sets);
        (void)forebay_cache_get_stats(cache, &stats);
        forebay_cache_close(cache);
    }
    if (verify)
        (void)!forebay_arena_verify(arena, exercise_ignore, NULL);
    forebay_arena_close(arena);
    return status;
}

/* A cache of every codec that takes dictionaries, its values packed with one. */
static inline bool exercise_make_packed(forebay_arena *arena, unsigned entries)
{
    static const char *const codecs[] = {"zstd", "lz4", "gzip"};
    bool good = true;
    for (size_t c = 0; good && c < sizeof codecs / sizeof *codecs; c++) {
        forebay_cache *cache;
        forebay_cache_options how = {.codec = codecs[c]};
        good = forebay_cache_open(arena, codecs[c], &how, &cache, NULL) == FOREBAY_OK;
        for (unsigned i = 0; good && i < entries; i++) {
            char value[256];
            size_t length = (size_t)snprintf(value, sizeof value, "{\"name\": \"number %u\", \"city\": \"Amsterdam\", \"tags\": "
                                             "[\"one\", \"two\", \"%u\"], \"active\": true, \"size\": %u}", i, i % 7, i * 31);
            good = forebay_set(cache, &i, sizeof i, value, length, FOREBAY_KIND_MSGPACK, FOREBAY_TTL_DEFAULT, FOREBAY_SET)
                   == FOREBAY_OK;
            if (i == entries / 2)
                (void)!forebay_cache_train(cache);
        }
        if (good)
            forebay_cache_close(cache);
    }
    return good;
}

/* Limits: one that nobody uses, one of which what will be nobody's row holds two and wants a third. */
static inline bool exercise_make_limits(forebay_arena *arena)
{
    forebay_limit *limit = NULL;
    forebay_permit permits[2];
    forebay_turn turn;
    if (forebay_limit_open(arena, "idle", 5, false, &limit, NULL) != FOREBAY_OK)
        return false;
    forebay_limit_close(limit);
    bool good = forebay_limit_open(arena, "database", 3, false, &limit, NULL) == FOREBAY_OK;
    for (size_t i = 0; good && i < 2; i++)
        good = forebay_permit_take(limit, &permits[i]) == FOREBAY_OK;
    good = good && forebay_permit_queue(limit, &turn) == FOREBAY_OK;
    forebay_limit_close(limit);
    return good;
}

/* Channels: one that was only made, one to which what will be nobody's row listened, and the cache that follows it. */
static inline bool exercise_make_channels(forebay_arena *arena)
{
    forebay_channel *channel = NULL;
    forebay_cache *cache = NULL;
    forebay_listener listener;
    if (forebay_channel_open(arena, "idle news", &channel, NULL) != FOREBAY_OK)
        return false;
    forebay_channel_close(channel);
    bool good = forebay_channel_open(arena, "news", &channel, NULL) == FOREBAY_OK
                && forebay_cache_open(arena, "following", NULL, &cache, NULL) == FOREBAY_OK
                && forebay_cache_follow(cache, channel, 3600000) == FOREBAY_OK
                && forebay_channel_claim(channel, 1000, &listener) == FOREBAY_OK
                && forebay_channel_begin(channel, &listener) == FOREBAY_OK
                && forebay_channel_beat(channel, &listener, forebay_channel_now(channel)) == FOREBAY_OK
                && forebay_set(cache, "a", 1, "1", 1, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET) == FOREBAY_OK;
    if (cache != NULL)
        forebay_cache_close(cache);
    forebay_channel_close(channel);
    return good;
}

/* Tiers that what will be nobody's row uses, and leaves out. */
static inline bool exercise_make_tiers(forebay_arena *arena)
{
    static const char *const names[] = {"redis", "left"};
    bool good = true;
    for (unsigned i = 0; good && i < 2; i++) {
        forebay_tier *tier = NULL;
        good = forebay_tier_open(arena, names[i], &tier, NULL) == FOREBAY_OK
               && forebay_tier_say(tier, i == 0 ? FOREBAY_TIER_USED : FOREBAY_TIER_USED | FOREBAY_TIER_LEFT_OUT) == FOREBAY_OK
               && forebay_tier_add(tier, FOREBAY_TIER_ERRORS, 1) == FOREBAY_OK;
        forebay_tier_close(tier);
    }
    return good;
}

/* A small arena with entries of every sort, as `path`. */
static inline bool exercise_make(const char *path, unsigned entries)
{
    static const char value[EXERCISE_BIG];
    forebay_arena_options options = {.size = FOREBAY_ARENA_MIN_SIZE};
    forebay_arena *arena = NULL;
    forebay_cache *cache = NULL;
    forebay_error error;
    int64_t sum;
    bool good = forebay_arena_open(path, &options, &arena, &error) == FOREBAY_OK
                && forebay_cache_open(arena, "fuzz", NULL, &cache, &error) == FOREBAY_OK;
    for (unsigned i = 0; good && i < entries; i++)
        good = forebay_set(cache, &i, sizeof i, value, 30 + i % 500, FOREBAY_KIND_BYTES, i % 3 == 0 ? 3600000 : FOREBAY_TTL_DEFAULT,
                           FOREBAY_SET) == FOREBAY_OK;
    good = good && forebay_set(cache, "a", 1, "1", 1, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET) == FOREBAY_OK
           && forebay_set(cache, "big", 3, value, sizeof value, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET) == FOREBAY_OK
           && forebay_incr(cache, "counter", 7, 1, 0, FOREBAY_TTL_DEFAULT, &sum) == FOREBAY_OK;
    forebay_key tags[2] = {{"a", 1}, {"c", 1}};
    forebay_set_options tagged = {.ttl_ms = 3600000, .tags = tags, .tag_count = 2};
    good = good && forebay_set_with(cache, "old tagged", 10, value, 60, FOREBAY_KIND_BYTES, &tagged) == FOREBAY_OK
           && forebay_set(cache, "absent", 6, NULL, 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET) == FOREBAY_OK;
    forebay_lease left[3]; /* held by what will be nobody's row; one failed */
    for (size_t i = 0; good && i < 3; i++)
        good = forebay_lease_take(cache, i == 0 ? "loaded" : i == 1 ? "absent" : "failed", 6, 3600000, &left[i]) == FOREBAY_OK;
    if (good)
        forebay_lease_fail(cache, &left[2], "no such table", 13);
    if (cache != NULL)
        forebay_cache_close(cache);
    forebay_cache_options quotas = {.share = FOREBAY_ARENA_MIN_SIZE / 8, .limit = FOREBAY_ARENA_MIN_SIZE / 4};
    cache = NULL;
    good = good && forebay_cache_open(arena, "limited", &quotas, &cache, &error) == FOREBAY_OK;
    for (unsigned i = 0; good && i < entries; i++)
        good = forebay_set(cache, &i, sizeof i, value, 30 + i % 500, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET) == FOREBAY_OK;
    if (cache != NULL)
        forebay_cache_close(cache);
    return exercise_make_channels(arena) && exercise_make_limits(arena) && exercise_make_tiers(arena)
           && exercise_make_packed(arena, entries) && forebay_arena_close(arena) == FOREBAY_OK && good;
}

#endif
