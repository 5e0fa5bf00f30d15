/* SPDX-License-Identifier: Apache-2.0 */
/* Looks that leave nothing behind: cache_peek.c. */
#include <pthread.h>

#include "base/copy.h"
#include "cache/policy.h"
#include "cache/slot.h"
#include "cache_fixture.h"

#define SIZE ((uint64_t)1 << 20)

typedef struct received {
    char bytes[20000];
    size_t length, room;
    forebay_kind kind;
} received;

static void *receive(void *context, size_t item, size_t length, forebay_kind kind)
{
    received *to = context;
    (void)item;
    to->length = length;
    to->kind = kind;
    return length <= to->room ? to->bytes : NULL;
}

static forebay_status peek(forebay_cache *cache, const char *key, received *got)
{
    got->room = sizeof got->bytes;
    return forebay_peek(cache, key, strlen(key), &(forebay_sink){ receive, got });
}

static forebay_cache_stats stats_of(forebay_cache *cache)
{
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(cache, &stats), FOREBAY_OK);
    return stats;
}

static uint32_t frequency_of(fixture *f, const char *key)
{
    forebay_place place;
    received got = { .room = sizeof got.bytes };
    assert_int_equal(forebay_get_placed(f->cache, key, strlen(key), &(forebay_sink){ receive, &got }, &place), FOREBAY_OK);
    return fb_slot_frequency(atomic_load((_Atomic uint64_t *)place.slot));
}

static void it_gives_what_get_gives_and_leaves_nothing_behind(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    static received got;
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_cache_stats before = stats_of(f.cache);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(peek(f.cache, "key", &got), FOREBAY_OK);
        assert_true(got.length == 5 && got.kind == FOREBAY_KIND_BYTES && memcmp(got.bytes, "value", 5) == 0);
        assert_int_equal(peek(f.cache, "other", &got), FOREBAY_MISS);
    }
    forebay_cache_stats after = stats_of(f.cache);
    assert_true(after.hits == before.hits && after.misses == before.misses);
    assert_int_equal(frequency_of(&f, "key"), 1); /* of this get */
    fixture_close(&f);
}

static void it_sees_what_is_packed_large_absent_or_empty(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    static received got;
    static char value[sizeof got.bytes];
    value_make(value, sizeof value, 7);
    forebay_cache *packed;
    forebay_cache_options options = { .ttl_ms = 0, .codec = "zstd" };
    assert_int_equal(forebay_cache_open(f.arena, "packed", &options, &packed, NULL), FOREBAY_OK);
    static const char text[400] = "tea, milk, rum; ";
    assert_int_equal(forebay_set(packed, "key", 3, text, sizeof text, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    assert_true(stats_of(packed).stored_bytes < sizeof text);
    assert_int_equal(peek(packed, "key", &got), FOREBAY_OK);
    assert_true(got.length == sizeof text && memcmp(got.bytes, text, sizeof text) == 0);
    assert_int_equal(stats_of(packed).packed_hits, 0);
    assert_int_equal(put(&f, "large", value, sizeof value), FOREBAY_OK);
    assert_int_equal(peek(f.cache, "large", &got), FOREBAY_OK);
    assert_true(got.length == sizeof value && value_is(got.bytes, got.length, 7));
    assert_int_equal(forebay_set(f.cache, "none", 4, "", 0, FOREBAY_KIND_ABSENT, 0, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(peek(f.cache, "none", &got), FOREBAY_OK);
    assert_true(got.kind == FOREBAY_KIND_ABSENT && got.length == 0);
    assert_int_equal(put(&f, "empty", "", 0), FOREBAY_OK);
    assert_int_equal(peek(f.cache, "empty", &got), FOREBAY_OK);
    assert_int_equal(got.length, 0);
    forebay_cache_close(packed);
    fixture_close(&f);
}

static void what_get_does_not_give_it_does_not(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 1000);
    static received got;
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    got.room = 4;
    assert_int_equal(forebay_peek(f.cache, "key", 3, &(forebay_sink){ receive, &got }), FOREBAY_NOMEM);
    assert_int_equal(got.length, 5);
    assert_int_equal(forebay_peek(f.cache, "", 0, &(forebay_sink){ receive, &got }), FOREBAY_INVALID);
    forebay_cache *other;
    forebay_cache_options options = { .ttl_ms = FOREBAY_TTL_STORED, .version = 2 };
    assert_int_equal(forebay_cache_open(f.arena, "test", &options, &other, NULL), FOREBAY_OK);
    assert_int_equal(peek(other, "key", &got), FOREBAY_MISS);
    forebay_cache_close(other);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 1100), FOREBAY_OK);
    assert_int_equal(peek(f.cache, "key", &got), FOREBAY_MISS);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    assert_int_equal(forebay_clear(f.cache), FOREBAY_OK);
    assert_int_equal(peek(f.cache, "key", &got), FOREBAY_MISS);
    assert_int_equal(forebay_cache_drop(f.arena, "test"), FOREBAY_OK);
    assert_int_equal(peek(f.cache, "key", &got), FOREBAY_CLOSED);
    fixture_close(&f);
}

/* ---- while others write ---- */

enum { SETS = 20000, FOUND = 5000, KEYS = 50 };

typedef struct race {
    fixture f;
    atomic_bool over;
    _Atomic uint64_t found;
} race;

/* Values of all lengths, of which each byte follows from the number before them; and enough others to evict them. */
static void *write_values(void *argument)
{
    race *r = argument;
    static char value[8000];
    for (unsigned long n = 0; n < SETS || atomic_load(&r->found) < FOUND; n++) {
        char key[24];
        size_t length = sizeof n + n * 37 % (n % 50 == 0 ? 7900 : 900);
        memcpy(value, &n, sizeof n);
        value_make(value + sizeof n, length - sizeof n, n);
        (void)snprintf(key, sizeof key, "%lu", n % KEYS);
        if (put(&r->f, key, value, length) != FOREBAY_OK)
            abort();
        if (n % 16 == 3)
            (void)forebay_delete(r->f.cache, key, strlen(key));
    }
    atomic_store(&r->over, true);
    return NULL;
}

static void *peek_at_values(void *argument)
{
    race *r = argument;
    received *got = malloc(sizeof *got);
    for (unsigned k = 0; !atomic_load(&r->over); k++) {
        char key[24];
        unsigned long n;
        (void)snprintf(key, sizeof key, "%u", k % KEYS);
        forebay_status status = peek(r->f.cache, key, got);
        if (status == FOREBAY_MISS)
            continue;
        memcpy(&n, got->bytes, sizeof n);
        if (status != FOREBAY_OK || n % KEYS != k % KEYS || !value_is(got->bytes + sizeof n, got->length - sizeof n, n))
            abort();
        atomic_fetch_add(&r->found, 1);
    }
    free(got);
    return NULL;
}

static void it_gives_whole_values_while_others_write(void **state)
{
    (void)state;
    race r = { .f = fixture_open(SIZE, 0) };
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i == 0 ? write_values : peek_at_values, &r), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(stats_of(r.f.cache).hits + stats_of(r.f.cache).misses, 0);
    fixture_close(&r.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_gives_what_get_gives_and_leaves_nothing_behind),
        cmocka_unit_test(it_sees_what_is_packed_large_absent_or_empty),
        cmocka_unit_test(what_get_does_not_give_it_does_not),
        cmocka_unit_test(it_gives_whole_values_while_others_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
