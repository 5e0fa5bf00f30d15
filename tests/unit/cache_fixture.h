/* SPDX-License-Identifier: Apache-2.0 */
/* An anonymous arena with one cache, and words for tests. */
#ifndef CACHE_FIXTURE_H
#define CACHE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <forebay/forebay.h>

#include "cache/cache_state.h"

typedef struct fixture {
    forebay_arena *arena;
    forebay_cache *cache;
} fixture;

static inline fixture fixture_open(uint64_t size, uint64_t ttl_ms)
{
    fixture f;
    forebay_error error = {0};
    forebay_arena_options options = {.size = size};
    if (forebay_arena_open(NULL, &options, &f.arena, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    forebay_cache_options cache_options = {.ttl_ms = ttl_ms, .codec = "none"};
    assert_int_equal(forebay_cache_open(f.arena, "test", &cache_options, &f.cache, &error), FOREBAY_OK);
    return f;
}

static inline void fixture_report(void *context, const char *message)
{
    (void)context;
    print_error("verify: %s\n", message);
}

/* Every test ends with a sound arena. */
static inline void fixture_close(fixture *f)
{
    assert_int_equal(forebay_arena_verify(f->arena, fixture_report, NULL), FOREBAY_OK);
    forebay_cache_close(f->cache);
    forebay_arena_close(f->arena);
}

static inline forebay_status put(fixture *f, const char *key, const void *value, size_t length)
{
    return forebay_set(f->cache, key, strlen(key), value, length, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
}

/* Length of the value, copied to `buffer`; -1: a miss. */
static inline long take(fixture *f, const char *key, void *buffer, size_t capacity)
{
    size_t length = 0;
    forebay_kind kind;
    forebay_status status = forebay_get_into(f->cache, key, strlen(key), buffer, capacity, &length, &kind);
    if (status == FOREBAY_MISS)
        return -1;
    assert_int_equal(status, FOREBAY_OK);
    return (long)length;
}

static inline bool has(fixture *f, const char *key)
{
    char none;
    size_t length;
    forebay_kind kind;
    return forebay_get_into(f->cache, key, strlen(key), &none, 0, &length, &kind) != FOREBAY_MISS;
}

/* A value that says whose it is: checked by value_is(). */
static inline void value_make(char *value, size_t length, unsigned long number)
{
    for (size_t i = 0; i < length; i++)
        value[i] = (char)(number * 31 + i * 7 + (number >> 8));
}
static inline bool value_is(const char *value, size_t length, unsigned long number)
{
    for (size_t i = 0; i < length; i++)
        if (value[i] != (char)(number * 31 + i * 7 + (number >> 8)))
            return false;
    return true;
}

#endif
