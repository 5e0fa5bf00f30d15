/* SPDX-License-Identifier: Apache-2.0 */
/* cache_get.c, cache_set.c, cache_delete.c, cache_stats.c, cache_table.c, publish.c, purge.c */
#include <time.h>

#include "cache_fixture.h"

static void a_value_comes_back_as_it_was_set(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    char buffer[100];
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    assert_int_equal(take(&f, "key", buffer, sizeof buffer), 5);
    assert_memory_equal(buffer, "value", 5);
    assert_int_equal(put(&f, "key", "", 0), FOREBAY_OK);
    assert_int_equal(take(&f, "key", buffer, sizeof buffer), 0);
    assert_false(has(&f, "other"));
    fixture_close(&f);
}

static void a_buffer_too_small_is_told_the_length(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    char buffer[4];
    size_t length = 0;
    forebay_kind kind;
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    assert_int_equal(forebay_get_into(f.cache, "key", 3, buffer, sizeof buffer, &length, &kind), FOREBAY_TOOBIG);
    assert_int_equal(length, 5);
    fixture_close(&f);
}

static void add_and_replace_look_whether_the_key_is_there(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    char buffer[8];
    assert_int_equal(forebay_set(f.cache, "k", 1, "1", 1, 0, 0, FOREBAY_REPLACE), FOREBAY_MISS);
    assert_false(has(&f, "k"));
    assert_int_equal(forebay_set(f.cache, "k", 1, "2", 1, 0, 0, FOREBAY_ADD), FOREBAY_OK);
    assert_int_equal(forebay_set(f.cache, "k", 1, "3", 1, 0, 0, FOREBAY_ADD), FOREBAY_EXISTS);
    assert_int_equal(take(&f, "k", buffer, 8), 1);
    assert_int_equal(buffer[0], '2');
    assert_int_equal(forebay_set(f.cache, "k", 1, "4", 1, 0, 0, FOREBAY_REPLACE), FOREBAY_OK);
    assert_int_equal(take(&f, "k", buffer, 8), 1);
    assert_int_equal(buffer[0], '4');
    fixture_close(&f);
}

static void deleting_says_whether_there_was_an_entry(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    assert_int_equal(put(&f, "k", "v", 1), FOREBAY_OK);
    assert_int_equal(forebay_delete(f.cache, "k", 1), FOREBAY_OK);
    assert_int_equal(forebay_delete(f.cache, "k", 1), FOREBAY_MISS);
    assert_false(has(&f, "k"));
    assert_int_equal(forebay_len(f.cache), 0);
    fixture_close(&f);
}

static void bad_keys_and_values_are_refused(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    static char key[FOREBAY_KEY_MAX + 1];
    memset(key, 'k', sizeof key);
    assert_int_equal(forebay_set(f.cache, "", 0, "v", 1, 0, 0, FOREBAY_SET), FOREBAY_INVALID);
    assert_int_equal(forebay_set(f.cache, key, sizeof key, "v", 1, 0, 0, FOREBAY_SET), FOREBAY_TOOBIG);
    assert_int_equal(forebay_set(f.cache, key, FOREBAY_KEY_MAX, "v", 1, 0, 0, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(forebay_set(f.cache, "k", 1, NULL, 1, 0, 0, FOREBAY_SET), FOREBAY_INVALID);
    assert_int_equal(forebay_set(f.cache, "k", 1, "v", 1, (forebay_kind)8, 0, FOREBAY_SET), FOREBAY_INVALID);
    fixture_close(&f);
}

static void a_value_too_large_removes_the_older_one(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    size_t most = forebay_arena_max_entry(f.arena);
    char *value = calloc(1, most + 1);
    assert_int_equal(put(&f, "k", "old", 3), FOREBAY_OK);
    assert_int_equal(put(&f, "k", value, most + 1), FOREBAY_TOOBIG);
    assert_false(has(&f, "k"));
    assert_int_equal(put(&f, "k", value, most - 1), FOREBAY_OK);
    free(value);
    fixture_close(&f);
}

static void an_expired_entry_is_a_miss(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 30);
    assert_int_equal(put(&f, "short", "v", 1), FOREBAY_OK);
    assert_int_equal(forebay_set(f.cache, "long", 4, "v", 1, 0, FOREBAY_TTL_FOREVER, FOREBAY_SET), FOREBAY_OK);
    assert_true(has(&f, "short"));
    nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
    assert_false(has(&f, "short"));
    assert_true(has(&f, "long"));
    assert_int_equal(forebay_set(f.cache, "short", 5, "w", 1, 0, 0, FOREBAY_REPLACE), FOREBAY_MISS);
    assert_int_equal(forebay_set(f.cache, "short", 5, "w", 1, 0, 0, FOREBAY_ADD), FOREBAY_OK);
    fixture_close(&f);
}

static void increments_add_up_and_keep_the_expiry(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    int64_t value;
    assert_int_equal(forebay_incr(f.cache, "n", 1, 2, 40, 50, &value), FOREBAY_OK);
    assert_int_equal(value, 42);
    for (int i = 0; i < 20000; i++) /* many times what the arena holds */
        assert_int_equal(forebay_incr(f.cache, "n2", 2, 1, 0, FOREBAY_TTL_FOREVER, &value), FOREBAY_OK);
    assert_int_equal(value, 20000);
    nanosleep(&(struct timespec){.tv_nsec = 80000000}, NULL);
    assert_int_equal(forebay_incr(f.cache, "n", 1, 1, 0, 0, &value), FOREBAY_OK);
    assert_int_equal(value, 1);
    fixture_close(&f);
}

static void increments_refuse_other_values_and_overflow(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    int64_t value;
    assert_int_equal(put(&f, "s", "text", 4), FOREBAY_OK);
    assert_int_equal(forebay_incr(f.cache, "s", 1, 1, 0, 0, &value), FOREBAY_TYPE);
    assert_int_equal(forebay_incr(f.cache, "n", 1, 0, INT64_MAX, 0, &value), FOREBAY_OK);
    assert_int_equal(forebay_incr(f.cache, "n", 1, 1, 0, 0, &value), FOREBAY_OVERFLOW);
    assert_int_equal(forebay_incr(f.cache, "n", 1, 0, 0, 0, &value), FOREBAY_OK);
    assert_true(value == INT64_MAX);
    fixture_close(&f);
}

static void a_cleared_cache_is_empty_however_often(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    for (int i = 0; i < 1100; i++) { /* twice round the 512 generations an entry can name */
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(put(&f, key, "v", 1), FOREBAY_OK);
        assert_int_equal(forebay_len(f.cache), 1);
        assert_int_equal(forebay_clear(f.cache), FOREBAY_OK);
        assert_false(has(&f, key));
        snprintf(key, sizeof key, "k%d", i - 512);
        assert_false(has(&f, key));
    }
    assert_int_equal(forebay_len(f.cache), 0);
    fixture_close(&f);
}

static void caches_do_not_see_each_others_entries(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    forebay_cache *other;
    assert_int_equal(forebay_cache_open(f.arena, "other", NULL, &other, NULL), FOREBAY_OK);
    assert_int_equal(put(&f, "k", "v", 1), FOREBAY_OK);
    size_t length;
    forebay_kind kind;
    char buffer[4];
    assert_int_equal(forebay_get_into(other, "k", 1, buffer, 4, &length, &kind), FOREBAY_MISS);
    assert_int_equal(forebay_clear(other), FOREBAY_OK);
    assert_true(has(&f, "k"));
    assert_int_equal(forebay_len(f.cache), 1);
    forebay_cache_close(other);
    fixture_close(&f);
}

static void handles_of_a_dropped_cache_are_closed(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    assert_int_equal(put(&f, "k", "v", 1), FOREBAY_OK);
    assert_int_equal(forebay_cache_drop(f.arena, "test"), FOREBAY_OK);
    assert_int_equal(forebay_cache_drop(f.arena, "test"), FOREBAY_MISS);
    assert_int_equal(put(&f, "k", "v", 1), FOREBAY_CLOSED);
    size_t deleted = 7;
    assert_int_equal(forebay_delete_many(f.cache, &(forebay_key){"k", 1}, 1, &deleted), FOREBAY_CLOSED);
    assert_int_equal(deleted, 0);
    forebay_cache_close(f.cache);
    assert_int_equal(forebay_cache_open(f.arena, "test", NULL, &f.cache, NULL), FOREBAY_OK);
    assert_false(has(&f, "k"));
    assert_int_equal(forebay_len(f.cache), 0);
    fixture_close(&f);
}

static void other_options_than_the_stored_ones_are_a_conflict(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 5000);
    forebay_cache *again;
    forebay_error error;
    forebay_cache_options other = {.ttl_ms = 6000};
    assert_int_equal(forebay_cache_open(f.arena, "test", &other, &again, &error), FOREBAY_CONFLICT);
    assert_null(again);
    assert_non_null(strstr(error.message, "5 s"));
    assert_int_equal(forebay_cache_open(f.arena, "test", NULL, &again, &error), FOREBAY_OK);
    assert_int_equal(forebay_cache_ttl_ms(again), 5000);
    forebay_cache_close(again);
    fixture_close(&f);
}

static void one_cache_too_many_is_refused(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    forebay_error error;
    forebay_status status = FOREBAY_OK;
    forebay_cache *cache;
    int made = 0;
    while (made < 1000) {
        char name[16];
        snprintf(name, sizeof name, "c%d", made);
        status = forebay_cache_open(f.arena, name, NULL, &cache, &error);
        if (status != FOREBAY_OK)
            break;
        forebay_cache_close(cache);
        made++;
    }
    assert_int_equal(status, FOREBAY_FULL);
    assert_int_equal(made, f.arena->geometry.cache_count - 1);
    assert_int_equal(forebay_cache_open(f.arena, "", NULL, &cache, &error), FOREBAY_INVALID);
    fixture_close(&f);
}

static void *batch_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    (void)kind;
    assert_int_equal(length, 8);
    return (uint64_t *)context + item;
}

static void a_batch_gets_what_single_gets_would(void **state)
{
    (void)state;
    fixture f = fixture_open(4 << 20, 0);
    enum { COUNT = 1000 };
    static uint64_t numbers[COUNT], found[COUNT];
    static forebay_key keys[COUNT];
    static forebay_item items[COUNT];
    static forebay_status status[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        numbers[i] = i * 3;
        keys[i] = (forebay_key){&numbers[i], 8};
        items[i] = (forebay_item){keys[i], &numbers[i], 8, FOREBAY_KIND_BYTES};
    }
    assert_int_equal(forebay_set_many(f.cache, items, COUNT, &(forebay_set_options){0}, status), FOREBAY_OK);
    for (uint64_t i = 0; i < COUNT; i += 3)
        assert_int_equal(forebay_delete(f.cache, &numbers[i], 8), FOREBAY_OK);
    assert_int_equal(forebay_get_many(f.cache, keys, COUNT, &(forebay_sink){batch_room, found}, status), FOREBAY_OK);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(status[i], i % 3 == 0 ? FOREBAY_MISS : FOREBAY_OK);
        assert_true(status[i] == FOREBAY_MISS || found[i] == numbers[i]);
    }
    size_t deleted;
    assert_int_equal(forebay_delete_many(f.cache, keys, COUNT, &deleted), FOREBAY_OK);
    assert_int_equal(deleted, COUNT - (COUNT + 2) / 3);
    assert_int_equal(forebay_len(f.cache), 0);
    fixture_close(&f);
}

static void a_put_can_be_shortened_committed_or_given_up(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    forebay_put put_;
    char buffer[64];
    assert_int_equal(forebay_put_begin(f.cache, "k", 1, 60, &(forebay_set_options){0}, &put_), FOREBAY_OK);
    assert_true(put_.capacity >= 60);
    memcpy(put_.data, "short", 5);
    assert_int_equal(put(&f, "between", "v", 1), FOREBAY_OK);
    assert_int_equal(forebay_put_commit(f.cache, &put_, 5, FOREBAY_KIND_BYTES, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(take(&f, "k", buffer, 64), 5);
    assert_int_equal(forebay_put_begin(f.cache, "k", 1, 60, &(forebay_set_options){0}, &put_), FOREBAY_OK);
    forebay_put_abort(f.cache, &put_);
    assert_int_equal(take(&f, "k", buffer, 64), 5);
    assert_int_equal(forebay_put_begin(f.cache, "k", 1, 60, &(forebay_set_options){0}, &put_), FOREBAY_OK);
    assert_int_equal(forebay_put_commit(f.cache, &put_, 61, FOREBAY_KIND_BYTES, FOREBAY_SET), FOREBAY_INVALID);
    assert_true(has(&f, "between"));
    fixture_close(&f);
}

static void statistics_count_what_happened(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    forebay_cache_stats stats;
    put(&f, "a", "1", 1);
    put(&f, "a", "2", 1);
    put(&f, "b", "3", 1);
    has(&f, "a");
    char buffer[8];
    take(&f, "a", buffer, 8);
    take(&f, "none", buffer, 8);
    forebay_delete(f.cache, "b", 1);
    assert_int_equal(forebay_cache_get_stats(f.cache, &stats), FOREBAY_OK);
    assert_int_equal(stats.sets, 3);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.deletes, 1);
    assert_int_equal(stats.entries, 1);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_comes_back_as_it_was_set),
        cmocka_unit_test(a_buffer_too_small_is_told_the_length),
        cmocka_unit_test(add_and_replace_look_whether_the_key_is_there),
        cmocka_unit_test(deleting_says_whether_there_was_an_entry),
        cmocka_unit_test(bad_keys_and_values_are_refused),
        cmocka_unit_test(a_value_too_large_removes_the_older_one),
        cmocka_unit_test(an_expired_entry_is_a_miss),
        cmocka_unit_test(increments_add_up_and_keep_the_expiry),
        cmocka_unit_test(increments_refuse_other_values_and_overflow),
        cmocka_unit_test(a_cleared_cache_is_empty_however_often),
        cmocka_unit_test(caches_do_not_see_each_others_entries),
        cmocka_unit_test(handles_of_a_dropped_cache_are_closed),
        cmocka_unit_test(other_options_than_the_stored_ones_are_a_conflict),
        cmocka_unit_test(one_cache_too_many_is_refused),
        cmocka_unit_test(a_batch_gets_what_single_gets_would),
        cmocka_unit_test(a_put_can_be_shortened_committed_or_given_up),
        cmocka_unit_test(statistics_count_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
