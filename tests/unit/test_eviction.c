/* SPDX-License-Identifier: Apache-2.0 */
/* evict.c, runs.c, split.c, index.c, entry.c, segments.c, inspect.c, verify.c */
#include <time.h>

#include "arena/segments.h"
#include "cache/inspect.h"
#include "cache_fixture.h"

static void fill(fixture *f, unsigned long from, unsigned long count, size_t length)
{
    char *value = malloc(length + 1);
    for (unsigned long i = from; i < from + count; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %lu", i);
        value_make(value, length, i);
        assert_int_equal(put(f, key, value, length), FOREBAY_OK);
    }
    free(value);
}

/* How many of them are there, each with its own value. */
static unsigned long present(fixture *f, unsigned long from, unsigned long count, size_t length)
{
    unsigned long there = 0;
    char *value = malloc(length + 1);
    for (unsigned long i = from; i < from + count; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %lu", i);
        long got = take(f, key, value, length);
        assert_true(got == -1 || (got == (long)length && value_is(value, length, i)));
        there += got != -1;
    }
    free(value);
    return there;
}

static void a_full_arena_goes_on_taking_and_every_value_is_right(void **state)
{
    (void)state;
    static const struct { uint64_t size; size_t length; unsigned long count; } cases[] = {
        {1 << 20, 30, 100000}, {1 << 20, 600, 10000}, {1 << 20, 3000, 3000}, {1 << 20, 5000, 2000},
        {1 << 20, 100000, 200}, {8 << 20, 30, 400000}, {8 << 20, 17000, 3000},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        fixture f = fixture_open(cases[c].size, 0);
        fill(&f, 0, cases[c].count, cases[c].length);
        unsigned long there = present(&f, 0, cases[c].count, cases[c].length);
        uint64_t bytes = there * (cases[c].length + 10);
        print_message("%lu bytes, values of %zu: %lu entries, %.0f%% of the arena\n", (unsigned long)cases[c].size,
                      cases[c].length, there, 100.0 * (double)bytes / (double)cases[c].size);
        /* a value a little larger than a segment takes two */
        assert_true(bytes > cases[c].size * 45 / 100 && bytes < cases[c].size);
        assert_int_equal(forebay_len(f.cache), there);
        fixture_close(&f);
    }
}

static void what_is_read_often_stays(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    fill(&f, 0, 100, 500);
    for (unsigned long i = 100; i < 20000; i += 10) {
        fill(&f, i, 10, 500);
        present(&f, 0, 100, 500);
    }
    assert_true(present(&f, 0, 100, 500) >= 98);
    fixture_close(&f);
}

static void values_of_an_eighth_of_the_arena_come_and_go(void **state)
{
    (void)state;
    fixture f = fixture_open(4 << 20, 0);
    size_t length = forebay_arena_max_entry(f.arena) - 32;
    fill(&f, 0, 1000, 300);
    fill(&f, 5000, 40, length);
    assert_true(present(&f, 5000, 40, length) >= 3);
    fill(&f, 10000, 50000, 300); /* small ones take the room back */
    assert_int_equal(present(&f, 5000, 40, length), 0);
    assert_true(present(&f, 10000, 50000, 300) > 8000);
    fixture_close(&f);
}

static void the_index_grows_with_small_entries(void **state)
{
    (void)state;
    fixture f = fixture_open(4 << 20, 0);
    forebay_arena_info before, after;
    forebay_arena_get_info(f.arena, &before);
    fill(&f, 0, 200000, 10);
    forebay_arena_get_info(f.arena, &after);
    assert_true(after.index_buckets > 4 * before.index_buckets);
    unsigned long there = present(&f, 0, 200000, 10);
    double load = (double)after.index_slots_used / (double)(8 * after.index_buckets);
    print_message("%lu entries of 10 bytes, %.2f of the index in use\n", there, load);
    assert_true(load > 0.70);
    assert_true(there > 70000);
    fixture_close(&f);
}

static void metadata_is_at_most_20_bytes_an_entry(void **state)
{
    (void)state;
    fixture f = fixture_open(16 << 20, 0);
    fill(&f, 0, 400000, 100);
    forebay_arena_info info;
    forebay_arena_get_info(f.arena, &info);
    double index = 64.0 * (double)info.index_buckets / (double)forebay_len(f.cache);
    double header = 8;
    print_message("%.1f bytes of index and %.0f of header an entry\n", index, header);
    assert_true(index + header <= 20.0);
    fixture_close(&f);
}

static void expired_segments_are_freed_before_live_ones(void **state)
{
    (void)state;
    fixture f = fixture_open(4 << 20, 0);
    fill(&f, 0, 2000, 500);
    char value[500];
    for (unsigned long i = 0; i < 3000; i++) {
        char key[32];
        snprintf(key, sizeof key, "short %lu", i);
        assert_int_equal(forebay_set(f.cache, key, strlen(key), value, 500, 0, 20, FOREBAY_SET), FOREBAY_OK);
    }
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    fill(&f, 2000, 2600, 500); /* as much as has expired */
    unsigned long there = present(&f, 0, 2000, 500);
    print_message("%lu of 2000 there\n", there);
    assert_true(there > 1900);
    forebay_cache_stats stats;
    forebay_cache_get_stats(f.cache, &stats);
    assert_true(stats.expirations > 400);
    fixture_close(&f);
}

static void a_held_segment_is_not_reused(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    fill(&f, 0, 1, 100);
    uint32_t lane = fb_lane_enter(f.arena);
    index_key key = {.data = (const uint8_t *)"key 0", .length = 5,
                     .cache_tag = (fb_cache_generation(atomic_load(&f.cache->record->word)) % 512) * 128};
    key.hash = fb_key_hash(f.arena, key.cache_tag, key.data, key.length);
    index_look look = fb_index_look(f.arena, key.hash);
    index_match match;
    assert_true(fb_index_find_held(f.arena, lane, &key, &look, &match));
    uint64_t generation = match.view.generation;
    fill(&f, 1, 50000, 100);
    assert_false(has(&f, "key 0"));
    assert_true(fb_entry_stable(f.arena, &match.view));
    assert_memory_equal(match.view.key, "key 0", 5);
    fb_lane_release(f.arena, lane, 0);
    fb_lane_leave(f.arena, lane);
    fill(&f, 60000, 50000, 100);
    assert_true(atomic_load(&f.arena->segments[match.view.segment].generation) > generation);
    fixture_close(&f);
}

static void an_arena_whose_segments_are_all_claimed_fails_at_once(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    fill(&f, 0, 10, 100);
    uint32_t count = f.arena->geometry.segment_count;
    uint64_t *words = calloc(count, sizeof *words);
    for (uint32_t i = 0; i < count; i++) {
        words[i] = atomic_load(&f.arena->segments[i].word);
        assert_true(fb_segment_claim(f.arena, i, words[i], SEGMENT_TAKEN));
    }
    assert_int_equal(put(&f, "key 1", "new", 3), FOREBAY_FULL);
    assert_false(has(&f, "key 1")); /* no stale value is left */
    assert_true(has(&f, "key 2"));
    for (uint32_t i = 0; i < count; i++)
        atomic_store(&f.arena->segments[i].word, words[i]);
    free(words);
    assert_int_equal(put(&f, "key 1", "new", 3), FOREBAY_OK);
    fixture_close(&f);
}

/* What is replaced leaves dead bytes, in the main queue too, which is not evicted
 * from as long as nothing comes to it. */
static void room_of_what_was_replaced_comes_back(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    fill(&f, 0, 20000, 600);
    unsigned long capacity = present(&f, 0, 20000, 600);
    for (int round = 0; round < 3; round++) { /* hot: they go to the main queue */
        fill(&f, 0, 1000, 600);
        (void)present(&f, 0, 1000, 600);
        (void)present(&f, 0, 1000, 600);
        fill(&f, 30000, 2000, 600);
    }
    for (int round = 0; round < 20; round++)
        fill(&f, 0, 900, 600);
    unsigned long there = present(&f, 0, 900, 600);
    print_message("%lu entries fit, %lu of 900 that are written again and again are there\n", capacity, there);
    assert_true(capacity > 1250 && there > 800);
    fixture_close(&f);
}

static void a_counter_takes_no_room_from_others(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    int64_t sum;
    fill(&f, 0, 20000, 600);
    unsigned long before = present(&f, 0, 20000, 600);
    for (int i = 0; i < 300000; i++)
        assert_int_equal(forebay_incr(f.cache, "counter", 7, 1, 0, FOREBAY_TTL_DEFAULT, &sum), FOREBAY_OK);
    assert_int_equal(sum, 300000);
    unsigned long after = present(&f, 0, 20000, 600);
    print_message("%lu entries before 300000 increments, %lu after\n", before, after);
    assert_true(after * 100 > before * 95);
    fixture_close(&f);
}

static unsigned reports;
static void count_report(void *context, const char *message)
{
    (void)context;
    (void)message;
    reports++;
}

static void verify_finds_what_is_wrong(void **state)
{
    (void)state;
    fixture f = fixture_open(1 << 20, 0);
    fill(&f, 0, 1000, 100);
    arena_segment *sealed = NULL;
    for (uint32_t i = 0; i < f.arena->geometry.segment_count && sealed == NULL; i++)
        if (fb_segment_state(fb_segment_load(f.arena, i)) == SEGMENT_SEALED)
            sealed = &f.arena->segments[i];
    assert_non_null(sealed);
    struct { _Atomic uint64_t *at; uint64_t bad; } damages[] = {
        {&f.arena->super->index_word, 1},
        {&f.arena->super->index_capacity, 77},
        {&f.arena->buckets[0].slots[7], 1},
        {&sealed->word, 9},
        {&sealed->word, SEGMENT_FREE},
        {&sealed->generation, 12345678},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        uint64_t good = atomic_exchange(damages[i].at, damages[i].bad);
        reports = 0;
        assert_int_equal(forebay_arena_verify(f.arena, count_report, NULL), FOREBAY_CORRUPT);
        assert_true(reports > 0);
        atomic_store(damages[i].at, good);
    }
    fixture_close(&f);
}

/* The oldest segments are parts of a value that is still being written: no look at them one by one. */
static void a_large_value_that_is_being_written_is_in_no_others_way(void **state)
{
    (void)state;
    static char value[120000];
    fixture f = fixture_open(1 << 20, 0);
    forebay_put slow;
    assert_int_equal(forebay_put_begin(f.cache, "slow", 4, sizeof value, &(forebay_set_options){0}, &slow), FOREBAY_OK);
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(put(&f, key, value, 1000), FOREBAY_OK);
        if (i % 20 == 0)
            assert_int_equal(put(&f, "large", value, 6000), FOREBAY_OK);
    }
    memset(slow.data, 'x', sizeof value);
    assert_int_equal(forebay_put_commit(f.cache, &slow, sizeof value, FOREBAY_KIND_BYTES, FOREBAY_SET), FOREBAY_OK);
    assert_true(has(&f, "slow"));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_arena_goes_on_taking_and_every_value_is_right),
        cmocka_unit_test(what_is_read_often_stays),
        cmocka_unit_test(values_of_an_eighth_of_the_arena_come_and_go),
        cmocka_unit_test(the_index_grows_with_small_entries),
        cmocka_unit_test(metadata_is_at_most_20_bytes_an_entry),
        cmocka_unit_test(expired_segments_are_freed_before_live_ones),
        cmocka_unit_test(a_held_segment_is_not_reused),
        cmocka_unit_test(room_of_what_was_replaced_comes_back),
        cmocka_unit_test(a_counter_takes_no_room_from_others),
        cmocka_unit_test(an_arena_whose_segments_are_all_claimed_fails_at_once),
        cmocka_unit_test(verify_finds_what_is_wrong),
        cmocka_unit_test(a_large_value_that_is_being_written_is_in_no_others_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
