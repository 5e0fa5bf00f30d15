/* SPDX-License-Identifier: Apache-2.0 */
/* cache_update.c, cache_scan.c, cache_tags.c, put.c: touch, pop, compare and set, negative entries, tags, versions. */
#include "cache_fixture.h"

#include <pthread.h>

#include "cache/tags.h"

#define MIB ((uint64_t)1 << 20)
#define KEY "k", 1

/* Time goes ahead without a wait, so that no pause of the machine expires an entry early. */
static void go_ahead(fixture *f, uint64_t ms)
{
    assert_int_equal(forebay_arena_advance_clock(f->arena, ms), FOREBAY_OK);
}

static forebay_status put_tagged(forebay_cache *cache, const char *key, const char *tag, const char *other)
{
    forebay_key tags[2] = {{tag, strlen(tag)}, {other, other != NULL ? strlen(other) : 0}};
    forebay_set_options options = {.tags = tags, .tag_count = other != NULL ? 2 : 1};
    return forebay_set_with(cache, key, strlen(key), "tagged", 6, FOREBAY_KIND_BYTES, &options);
}

typedef struct taken {
    char bytes[200000];
    size_t length;
    forebay_kind kind;
    bool refuse;
} taken;

static void *take_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    taken *t = context;
    (void)item;
    t->length = length;
    t->kind = kind;
    return t->refuse || length > sizeof t->bytes ? NULL : t->bytes;
}

static forebay_status pop(fixture *f, const char *key, taken *t)
{
    return forebay_pop(f->cache, key, strlen(key), &(forebay_sink){take_room, t});
}

static void touch_gives_another_time_to_live(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    char buffer[16];
    assert_int_equal(forebay_touch(f.cache, KEY, 1000), FOREBAY_MISS);
    assert_int_equal(put(&f, "k", "value", 5), FOREBAY_OK);
    assert_int_equal(forebay_touch(f.cache, KEY, 30000), FOREBAY_OK);
    assert_int_equal(take(&f, "k", buffer, sizeof buffer), 5);
    assert_memory_equal(buffer, "value", 5);
    go_ahead(&f, 60000);
    assert_false(has(&f, "k"));
    assert_int_equal(forebay_touch(f.cache, KEY, 1000), FOREBAY_MISS);
    assert_int_equal(forebay_set(f.cache, KEY, "value", 5, FOREBAY_KIND_BYTES, 40000, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_touch(f.cache, KEY, FOREBAY_TTL_FOREVER), FOREBAY_OK);
    assert_int_equal(forebay_touch(f.cache, KEY, FOREBAY_TTL_DEFAULT), FOREBAY_OK);
    go_ahead(&f, 80000);
    assert_true(has(&f, "k"));
    assert_int_equal(forebay_len(f.cache), 1);
    fixture_close(&f);
}

static void touch_keeps_a_value_of_many_segments_its_kind_and_its_tags(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 0);
    static char value[150000], back[150000];
    value_make(value, sizeof value, 5);
    forebay_key tag = {"t", 1};
    forebay_set_options options = {.tags = &tag, .tag_count = 1};
    assert_int_equal(forebay_set_with(f.cache, KEY, value, sizeof value, FOREBAY_KIND_MSGPACK, &options), FOREBAY_OK);
    assert_int_equal(forebay_touch(f.cache, KEY, 100000), FOREBAY_OK);
    size_t length;
    forebay_kind kind;
    assert_int_equal(forebay_get_into(f.cache, KEY, back, sizeof back, &length, &kind), FOREBAY_OK);
    assert_int_equal(length, sizeof value);
    assert_int_equal(kind, FOREBAY_KIND_MSGPACK);
    assert_memory_equal(back, value, sizeof value);
    assert_int_equal(forebay_invalidate_tag(f.cache, "t", 1), FOREBAY_OK);
    assert_false(has(&f, "k"));
    fixture_close(&f);
}

static void pop_gives_the_value_once(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 0);
    static taken t;
    static char value[150000];
    assert_int_equal(pop(&f, "k", &t), FOREBAY_MISS);
    value_make(value, sizeof value, 1);
    assert_int_equal(put(&f, "k", value, sizeof value), FOREBAY_OK);
    t.refuse = true;
    assert_int_equal(pop(&f, "k", &t), FOREBAY_NOMEM);
    t.refuse = false;
    assert_int_equal(pop(&f, "k", &t), FOREBAY_OK);
    assert_int_equal(t.length, sizeof value);
    assert_memory_equal(t.bytes, value, sizeof value);
    assert_int_equal(pop(&f, "k", &t), FOREBAY_MISS);
    assert_int_equal(forebay_len(f.cache), 0);
    assert_int_equal(forebay_set(f.cache, KEY, "x", 1, FOREBAY_KIND_BYTES, 10000, FOREBAY_SET), FOREBAY_OK);
    go_ahead(&f, 40000);
    assert_int_equal(pop(&f, "k", &t), FOREBAY_MISS);
    fixture_close(&f);
}

static void compare_and_set_stores_only_over_the_value_that_was_read(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_set_options options = {0};
    char buffer[16];
    uint64_t one = forebay_token(f.cache, "one", 3, FOREBAY_KIND_BYTES);
    assert_true(one != forebay_token(f.cache, "one", 3, FOREBAY_KIND_MSGPACK));
    assert_int_equal(forebay_cas(f.cache, KEY, one, "two", 3, FOREBAY_KIND_BYTES, &options), FOREBAY_MISS);
    assert_int_equal(put(&f, "k", "one", 3), FOREBAY_OK);
    assert_int_equal(forebay_cas(f.cache, KEY, one, "two", 3, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
    assert_int_equal(take(&f, "k", buffer, sizeof buffer), 3);
    assert_memory_equal(buffer, "two", 3);
    assert_int_equal(forebay_cas(f.cache, KEY, one, "three", 5, FOREBAY_KIND_BYTES, &options), FOREBAY_EXISTS);
    assert_int_equal(forebay_cas(f.cache, KEY, one, "x", 1, 9, &options), FOREBAY_INVALID);
    options.tag_count = FOREBAY_TAGS_MAX + 1;
    assert_int_equal(forebay_cas(f.cache, KEY, one, "x", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_INVALID);
    assert_int_equal(take(&f, "k", buffer, sizeof buffer), 3);
    fixture_close(&f);
}

typedef struct adder {
    forebay_cache *cache;
    pthread_t thread;
} adder;

#define ADDERS 4
#define ADDITIONS 2000

static void *add_by_cas(void *context)
{
    adder *a = context;
    for (int i = 0; i < ADDITIONS;) {
        uint64_t number = 0;
        size_t length;
        forebay_kind kind;
        assert_int_equal(forebay_get_into(a->cache, KEY, &number, sizeof number, &length, &kind), FOREBAY_OK);
        uint64_t token = forebay_token(a->cache, &number, sizeof number, kind);
        number++;
        i += forebay_cas(a->cache, KEY, token, &number, sizeof number, kind, &(forebay_set_options){0}) == FOREBAY_OK;
    }
    return NULL;
}

static void no_compare_and_set_is_lost_among_threads(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    uint64_t number = 0;
    adder adders[ADDERS];
    assert_int_equal(put(&f, "k", &number, sizeof number), FOREBAY_OK);
    for (int i = 0; i < ADDERS; i++) {
        adders[i].cache = f.cache;
        assert_int_equal(pthread_create(&adders[i].thread, NULL, add_by_cas, &adders[i]), 0);
    }
    for (int i = 0; i < ADDERS; i++)
        pthread_join(adders[i].thread, NULL);
    assert_int_equal(take(&f, "k", &number, sizeof number), sizeof number);
    assert_int_equal(number, ADDERS * ADDITIONS);
    fixture_close(&f);
}

static void a_negative_entry_is_found_but_is_no_value(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    static taken t;
    char byte;
    size_t length = 9;
    forebay_kind kind = FOREBAY_KIND_BYTES;
    int64_t sum = 0;
    assert_int_equal(forebay_set(f.cache, KEY, NULL, 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_get_into(f.cache, KEY, &byte, 1, &length, &kind), FOREBAY_OK);
    assert_int_equal(kind, FOREBAY_KIND_ABSENT);
    assert_int_equal(length, 0);
    assert_int_equal(pop(&f, "k", &t), FOREBAY_MISS);
    assert_int_equal(forebay_touch(f.cache, KEY, 1000), FOREBAY_MISS);
    assert_int_equal(forebay_set(f.cache, KEY, "v", 1, FOREBAY_KIND_BYTES, 0, FOREBAY_REPLACE), FOREBAY_MISS);
    assert_int_equal(forebay_delete(f.cache, KEY), FOREBAY_MISS);
    assert_int_equal(forebay_get_into(f.cache, KEY, &byte, 1, &length, &kind), FOREBAY_MISS);
    assert_int_equal(forebay_set(f.cache, KEY, NULL, 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_incr(f.cache, KEY, 1, 5, 0, &sum), FOREBAY_OK);
    assert_int_equal(sum, 6);
    assert_int_equal(forebay_set(f.cache, KEY, NULL, 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_set(f.cache, KEY, "v", 1, FOREBAY_KIND_BYTES, 0, FOREBAY_ADD), FOREBAY_OK);
    assert_int_equal(take(&f, "k", &byte, 1), 1);
    assert_int_equal(forebay_len(f.cache), 1);
    fixture_close(&f);
}

/* Invalidates one tag of several: whether that left the others' entries alone.  In
 * an arena of this size one tag in 8,192 shares the counter of another. */
static bool others_outlive_a_tag(void)
{
    fixture f = fixture_open(64 * MIB, 0);
    forebay_error error;
    forebay_cache *other;
    assert_int_equal(forebay_cache_open(f.arena, "other", NULL, &other, &error), FOREBAY_OK);
    assert_int_equal(put_tagged(f.cache, "a", "red", NULL), FOREBAY_OK);
    assert_int_equal(put_tagged(f.cache, "b", "blue", "red"), FOREBAY_OK);
    assert_int_equal(put_tagged(f.cache, "c", "blue", NULL), FOREBAY_OK);
    assert_int_equal(put_tagged(other, "d", "red", NULL), FOREBAY_OK);
    assert_int_equal(put(&f, "e", "plain", 5), FOREBAY_OK);
    char buffer[16];
    assert_int_equal(take(&f, "b", buffer, sizeof buffer), 6);
    assert_memory_equal(buffer, "tagged", 6);
    assert_int_equal(forebay_invalidate_tag(f.cache, "red", 3), FOREBAY_OK);
    assert_false(has(&f, "a"));
    assert_false(has(&f, "b"));
    assert_true(has(&f, "e"));
    size_t length;
    forebay_kind kind;
    bool outlived = has(&f, "c") && forebay_get_into(other, "d", 1, buffer, sizeof buffer, &length, &kind) == FOREBAY_OK;
    assert_int_equal(put_tagged(f.cache, "a", "red", NULL), FOREBAY_OK);
    assert_true(has(&f, "a"));
    assert_int_equal(forebay_invalidate_tag(f.cache, "", 0), FOREBAY_INVALID);
    forebay_cache_close(other);
    fixture_close(&f);
    return outlived;
}

static void an_invalidated_tag_takes_its_entries_along_and_no_others(void **state)
{
    (void)state;
    assert_true(others_outlive_a_tag() || others_outlive_a_tag() || others_outlive_a_tag());
}

static void tags_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_key tags[FOREBAY_TAGS_MAX + 1];
    char names[FOREBAY_TAGS_MAX + 1];
    for (size_t i = 0; i <= FOREBAY_TAGS_MAX; i++) {
        names[i] = (char)('a' + i);
        tags[i] = (forebay_key){&names[i], 1};
    }
    forebay_set_options options = {.tags = tags, .tag_count = FOREBAY_TAGS_MAX + 1};
    assert_int_equal(forebay_set_with(f.cache, KEY, "v", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_INVALID);
    options.tag_count = FOREBAY_TAGS_MAX;
    assert_int_equal(forebay_set_with(f.cache, KEY, "v", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
    assert_true(has(&f, "k"));
    assert_int_equal(forebay_invalidate_tag(f.cache, &names[FOREBAY_TAGS_MAX - 1], 1), FOREBAY_OK);
    assert_false(has(&f, "k"));
    tags[0].length = 0;
    assert_int_equal(forebay_set_with(f.cache, KEY, "v", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_INVALID);
    options.tags = NULL;
    assert_int_equal(forebay_set_with(f.cache, KEY, "v", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_INVALID);
    fixture_close(&f);
}

static void the_largest_entry_may_have_all_tags(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 1000000);
    static char value[MIB], back[MIB];
    size_t length = (size_t)forebay_arena_max_entry(f.arena) - 1;
    forebay_key tags[FOREBAY_TAGS_MAX];
    for (size_t i = 0; i < FOREBAY_TAGS_MAX; i++)
        tags[i] = (forebay_key){&"abcdefghijklmnop"[i], 1};
    forebay_set_options options = {.tags = tags, .tag_count = FOREBAY_TAGS_MAX};
    value_make(value, length, 3);
    assert_int_equal(forebay_set_with(f.cache, KEY, value, length, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
    assert_int_equal(take(&f, "k", back, sizeof back), length);
    assert_true(value_is(back, length, 3));
    fixture_close(&f);
}

static void stale_entries_of_a_tag_make_way_before_others(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    static char value[1000];
    char key[16];
    forebay_key tag = {"t", 1};
    forebay_set_options options = {.tags = &tag, .tag_count = 1};
    for (int i = 0; i < 200; i++) {
        int length = snprintf(key, sizeof key, "t%d", i);
        assert_int_equal(forebay_set_with(f.cache, key, (size_t)length, value, sizeof value, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
    }
    assert_int_equal(forebay_invalidate_tag(f.cache, "t", 1), FOREBAY_OK);
    for (int i = 0; i < 1500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(put(&f, key, value, sizeof value), FOREBAY_OK);
    }
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(f.cache, &stats), FOREBAY_OK);
    assert_in_range(stats.expirations, 150, 200); /* a few make way in the index, uncounted */
    fixture_close(&f);
}

static forebay_cache *open_version(fixture *f, uint32_t version)
{
    forebay_cache_options options = {.ttl_ms = FOREBAY_TTL_STORED, .version = version};
    forebay_cache *cache;
    forebay_error error;
    assert_int_equal(forebay_cache_open(f->arena, "test", &options, &cache, &error), FOREBAY_OK);
    return cache;
}

static void entries_of_another_version_are_misses(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 5000);
    forebay_cache *one = open_version(&f, 1), *two = open_version(&f, 2);
    size_t length;
    forebay_kind kind;
    char buffer[8];
    assert_int_equal(forebay_cache_ttl_ms(one), 5000);
    assert_int_equal(forebay_set(one, KEY, "one", 3, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_get_into(one, KEY, buffer, 8, &length, &kind), FOREBAY_OK);
    assert_int_equal(forebay_get_into(two, KEY, buffer, 8, &length, &kind), FOREBAY_MISS);
    assert_false(has(&f, "k"));
    assert_int_equal(forebay_touch(two, KEY, 100), FOREBAY_MISS);
    assert_int_equal(forebay_set(two, KEY, "two", 3, FOREBAY_KIND_BYTES, 0, FOREBAY_REPLACE), FOREBAY_MISS);
    assert_int_equal(forebay_set(two, KEY, "two", 3, FOREBAY_KIND_BYTES, 0, FOREBAY_ADD), FOREBAY_OK);
    assert_int_equal(forebay_get_into(two, KEY, buffer, 8, &length, &kind), FOREBAY_OK);
    assert_memory_equal(buffer, "two", 3);
    assert_int_equal(forebay_get_into(one, KEY, buffer, 8, &length, &kind), FOREBAY_MISS);
    assert_int_equal(forebay_len(f.cache), 1);
    assert_int_equal(forebay_delete(one, KEY), FOREBAY_MISS); /* removed all the same: it may be stale for all */
    assert_int_equal(forebay_get_into(two, KEY, buffer, 8, &length, &kind), FOREBAY_MISS);
    forebay_cache_close(one);
    forebay_cache_close(two);
    fixture_close(&f);
}

static void options_change_only_by_update(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 5000);
    forebay_cache_options other = {.ttl_ms = 6000};
    forebay_cache *cache;
    forebay_error error;
    assert_int_equal(forebay_cache_open(f.arena, "test", &other, &cache, &error), FOREBAY_CONFLICT);
    other.update = true;
    assert_int_equal(forebay_cache_open(f.arena, "test", &other, &cache, &error), FOREBAY_OK);
    assert_int_equal(forebay_cache_ttl_ms(cache), 6000);
    forebay_cache_close(cache);
    assert_int_equal(forebay_cache_open(f.arena, "test", NULL, &cache, &error), FOREBAY_OK);
    assert_int_equal(forebay_cache_ttl_ms(cache), 6000);
    forebay_cache_close(cache);
    fixture_close(&f);
}

typedef struct seen {
    unsigned char times[5000];
    bool refuse;
} seen;

static bool see(void *context, const void *key, size_t length)
{
    seen *s = context;
    char text[16] = "";
    assert_in_range(length, 1, 8);
    memcpy(text, key, length);
    s->times[atoi(text)]++;
    return !s->refuse;
}

static void a_scan_visits_every_key_once(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 0);
    forebay_error error;
    forebay_cache *other;
    static seen s;
    char key[16];
    uint64_t cursor = 0;
    assert_int_equal(forebay_cache_open(f.arena, "other", NULL, &other, &error), FOREBAY_OK);
    assert_int_equal(forebay_scan(f.cache, &cursor, 1000000, see, &s), FOREBAY_OK);
    assert_int_equal(cursor, 0);
    for (int i = 0; i < 5000; i++) {
        int length = snprintf(key, sizeof key, "%d", i);
        assert_int_equal(put(&f, key, "value", 5), FOREBAY_OK);
        assert_int_equal(forebay_set(other, key, (size_t)length, "o", 1, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    }
    assert_int_equal(forebay_delete(f.cache, "17", 2), FOREBAY_OK);
    assert_int_equal(forebay_set(f.cache, "18", 2, NULL, 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET), FOREBAY_OK);
    int calls = 0;
    do {
        assert_int_equal(forebay_scan(f.cache, &cursor, 16, see, &s), FOREBAY_OK);
        calls++;
    } while (cursor != 0);
    assert_true(calls > 10);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(s.times[i], i != 17 && i != 18);
    s.refuse = true;
    assert_int_equal(forebay_scan(f.cache, &cursor, 1000000, see, &s), FOREBAY_NOMEM);
    forebay_cache_close(other);
    fixture_close(&f);
}

typedef struct export_seen {
    int count, versioned, absent, tagged, limited, forever;
    size_t longest;
    bool refuse;
} export_seen;

static bool see_entry(void *context, const forebay_entry *entry)
{
    export_seen *s = context;
    s->count++;
    s->versioned += entry->version == 7;
    s->absent += entry->kind == FOREBAY_KIND_ABSENT;
    s->tagged += (int)entry->tag_count;
    s->limited += entry->ttl_ms <= 5000;
    s->forever += entry->ttl_ms == FOREBAY_TTL_FOREVER;
    if (entry->value_length > s->longest)
        s->longest = entry->value_length;
    for (size_t i = 0; entry->value_length > 6 && i < entry->value_length; i++)
        assert_int_equal(((const char *)entry->value)[i], 'x');
    return !s->refuse;
}

static export_seen export_all(forebay_cache *cache)
{
    export_seen s = {0};
    uint64_t cursor = 0;
    do
        assert_int_equal(forebay_export(cache, &cursor, 3, see_entry, &s), FOREBAY_OK);
    while (cursor != 0);
    return s;
}

static void an_export_gives_entries_of_all_versions_negative_tagged_packed_and_long_ones(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 0);
    forebay_error error;
    forebay_cache *versioned, *packed;
    forebay_cache_options options = {.version = 7}, zstd = {.codec = "zstd", .ttl_ms = FOREBAY_TTL_STORED};
    static char large[100000];
    memset(large, 'x', sizeof large);
    assert_int_equal(forebay_cache_open(f.arena, "test", &options, &versioned, &error), FOREBAY_OK);
    assert_int_equal(export_all(f.cache).count, 0);
    assert_int_equal(put(&f, "long", large, sizeof large), FOREBAY_OK);
    assert_int_equal(put_tagged(f.cache, "tagged", "a", "b"), FOREBAY_OK);
    assert_int_equal(put_tagged(f.cache, "stale", "gone", NULL), FOREBAY_OK);
    assert_int_equal(forebay_invalidate_tag(f.cache, "gone", 4), FOREBAY_OK);
    assert_int_equal(forebay_set(versioned, KEY, "v", 1, FOREBAY_KIND_BYTES, 5000, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_set(f.cache, "none", 4, NULL, 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET), FOREBAY_OK);
    export_seen s = export_all(f.cache);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.versioned, 1);
    assert_int_equal(s.absent, 1);
    assert_int_equal(s.tagged, 2);
    assert_int_equal(s.limited, 1);
    assert_int_equal(s.forever, 3);
    assert_int_equal(s.longest, sizeof large);
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(f.cache, &stats), FOREBAY_OK);
    assert_int_equal(stats.hits + stats.misses, 0);
    go_ahead(&f, 6000);
    assert_int_equal(export_all(f.cache).count, 3);

    assert_int_equal(forebay_cache_open(f.arena, "packed", &zstd, &packed, &error), FOREBAY_OK);
    assert_int_equal(forebay_set(packed, KEY, large, 5000, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    s = export_all(packed);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.longest, 5000);
    uint64_t cursor = 0;
    s.refuse = true;
    assert_int_equal(forebay_export(packed, &cursor, 1000000, see_entry, &s), FOREBAY_INTERRUPTED);
    assert_int_equal(s.count, 2);
    assert_int_equal(forebay_cache_drop(f.arena, "packed"), FOREBAY_OK);
    cursor = 0;
    assert_int_equal(forebay_export(packed, &cursor, 1, see_entry, &s), FOREBAY_CLOSED);
    forebay_cache_close(packed);
    forebay_cache_close(versioned);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(touch_gives_another_time_to_live),
        cmocka_unit_test(touch_keeps_a_value_of_many_segments_its_kind_and_its_tags),
        cmocka_unit_test(pop_gives_the_value_once),
        cmocka_unit_test(compare_and_set_stores_only_over_the_value_that_was_read),
        cmocka_unit_test(no_compare_and_set_is_lost_among_threads),
        cmocka_unit_test(a_negative_entry_is_found_but_is_no_value),
        cmocka_unit_test(an_invalidated_tag_takes_its_entries_along_and_no_others),
        cmocka_unit_test(tags_that_make_no_sense_are_refused),
        cmocka_unit_test(the_largest_entry_may_have_all_tags),
        cmocka_unit_test(stale_entries_of_a_tag_make_way_before_others),
        cmocka_unit_test(entries_of_another_version_are_misses),
        cmocka_unit_test(options_change_only_by_update),
        cmocka_unit_test(a_scan_visits_every_key_once),
        cmocka_unit_test(an_export_gives_entries_of_all_versions_negative_tagged_packed_and_long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
