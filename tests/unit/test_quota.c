/* SPDX-License-Identifier: Apache-2.0 */
/* Shares and limits of caches: quota.c, victim.c, and what evict.c, runs.c and
 * displace.c make of them. */
#include "arena/segments.h"
#include "cache/quota.h"
#include "cache_fixture.h"

#define MIB ((uint64_t)1 << 20)

static forebay_cache *open_with(forebay_arena *arena, const char *name, uint64_t share, uint64_t limit)
{
    forebay_cache *cache;
    forebay_error error = {0};
    forebay_cache_options options = {.share = share, .limit = limit, .codec = "none"};
    if (forebay_cache_open(arena, name, &options, &cache, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    return cache;
}

static forebay_status refused(forebay_arena *arena, const char *name, const forebay_cache_options *options, const char *because)
{
    forebay_cache *cache;
    forebay_error error = {0};
    forebay_status status = forebay_cache_open(arena, name, options, &cache, &error);
    assert_int_not_equal(status, FOREBAY_OK);
    assert_null(cache);
    if (strstr(error.message, because) == NULL)
        fail_msg("'%s' does not say '%s'", error.message, because);
    return status;
}

static forebay_status put_number(forebay_cache *cache, unsigned long number, size_t length)
{
    static char value[MIB];
    char key[32];
    snprintf(key, sizeof key, "key %lu", number);
    value_make(value, length, number);
    return forebay_set(cache, key, strlen(key), value, length, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
}

static void fill(forebay_cache *cache, unsigned long from, unsigned long count, size_t length)
{
    for (unsigned long i = from; i < from + count; i++)
        assert_int_equal(put_number(cache, i, length), FOREBAY_OK);
}

/* How many are there, each with its own value. */
static unsigned long present(forebay_cache *cache, unsigned long from, unsigned long count)
{
    static char value[MIB];
    unsigned long there = 0;
    for (unsigned long i = from; i < from + count; i++) {
        char key[32];
        size_t length;
        forebay_kind kind;
        snprintf(key, sizeof key, "key %lu", i);
        forebay_status status = forebay_get_into(cache, key, strlen(key), value, sizeof value, &length, &kind);
        assert_true(status == FOREBAY_MISS || (status == FOREBAY_OK && value_is(value, length, i)));
        there += status == FOREBAY_OK;
    }
    return there;
}

static forebay_cache_stats stats_of(forebay_cache *cache)
{
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(cache, &stats), FOREBAY_OK);
    return stats;
}

/* Values a flood is made of: many small ones, middling ones, and runs. */
static const struct { size_t length; unsigned long count; } floods[] = {
    {20, 300000}, {300, 60000}, {3000, 8000}, {20000, 1000}, {100000, 300},
};

static void a_flood_leaves_a_quiet_cache_its_share(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        fixture f = fixture_open(MIB, 0);
        forebay_cache *quiet = open_with(f.arena, "quiet", MIB / 4, 0);
        fill(f.cache, 0, floods[i].count / 4, floods[i].length); /* it must give, too */
        fill(quiet, 0, 700, 300);
        assert_true(stats_of(quiet).bytes <= MIB / 4);
        fill(f.cache, 0, floods[i].count, floods[i].length);
        assert_int_equal(present(quiet, 0, 700), 700);
        assert_int_equal(stats_of(quiet).evictions, 0);
        assert_true(stats_of(f.cache).evictions > 0);
        forebay_cache_close(quiet);
        fixture_close(&f);
    }
}

static void floods_of_several_caches_leave_each_its_share(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_cache *quiet[3] = {open_with(f.arena, "a", MIB / 8, 0), open_with(f.arena, "b", MIB / 4, 0),
                               open_with(f.arena, "c", MIB / 8, 0)};
    for (int i = 0; i < 3; i++)
        fill(quiet[i], 0, 300, 300);
    forebay_cache *noisy = open_with(f.arena, "noisy", MIB / 16, 0);
    for (unsigned long i = 0; i < 20000; i++) {
        assert_int_equal(put_number(f.cache, i, 200), FOREBAY_OK);
        assert_int_equal(put_number(noisy, i, i % 100 == 0 ? 30000 : 200), FOREBAY_OK);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(present(quiet[i], 0, 300), 300);
        forebay_cache_close(quiet[i]);
    }
    assert_true(stats_of(noisy).bytes >= MIB / 16);
    forebay_cache_close(noisy);
    fixture_close(&f);
}

static void a_share_that_is_not_used_is_lent(void **state)
{
    (void)state;
    unsigned long alone, beside;
    fixture f = fixture_open(MIB, 0);
    fill(f.cache, 0, 20000, 300);
    alone = present(f.cache, 0, 20000);
    fixture_close(&f);
    f = fixture_open(MIB, 0);
    forebay_cache *quiet = open_with(f.arena, "quiet", MIB / 2, 0);
    fill(quiet, 0, 10, 300);
    fill(f.cache, 0, 20000, 300);
    beside = present(f.cache, 0, 20000);
    print_message("%lu entries alone, %lu beside a share of half the arena\n", alone, beside);
    assert_true(beside > alone * 9 / 10);
    /* ... and given back when it is asked for */
    fill(quiet, 0, 1200, 300);
    for (unsigned long i = 0; i < 20000; i++)
        assert_int_equal(put_number(f.cache, i, 300), FOREBAY_OK);
    assert_int_equal(present(quiet, 0, 1200), 1200);
    forebay_cache_close(quiet);
    fixture_close(&f);
}

static void a_cache_with_a_share_may_have_more_and_gives_that_back(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_cache *cache = open_with(f.arena, "shared", MIB / 8, 0);
    fill(cache, 0, 20000, 300);
    assert_true(stats_of(cache).bytes > MIB / 2);
    fill(f.cache, 0, 20000, 300);
    uint64_t left = stats_of(cache).bytes;
    assert_in_range(left, MIB / 8 - f.arena->geometry.segment_size, MIB / 8 + f.arena->geometry.segment_size);
    assert_true(present(cache, 0, 20000) > 300);
    forebay_cache_close(cache);
    fixture_close(&f);
}

static void a_limit_is_never_passed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        fixture f = fixture_open(MIB, 0);
        forebay_cache *limited = open_with(f.arena, "limited", 0, MIB / 4);
        fill(f.cache, 0, 1000, 300);
        for (unsigned long n = 0; n < floods[i].count / 4; n++) {
            assert_int_equal(put_number(limited, n, floods[i].length), FOREBAY_OK);
            assert_int_equal(present(limited, n, 1), 1);
            if (n % 16 == 0)
                assert_true(stats_of(limited).bytes <= MIB / 4);
        }
        assert_true(stats_of(limited).evictions > 0);
        assert_true(stats_of(limited).bytes >= MIB / 4 * 5 / 8);
        assert_int_equal(present(f.cache, 0, 1000), 1000);
        assert_int_equal(stats_of(f.cache).evictions, 0);
        forebay_cache_close(limited);
        fixture_close(&f);
    }
}

static void an_entry_of_more_than_half_a_limit_is_too_big(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    uint64_t limit = (uint64_t)QUOTA_LIMIT_MIN * f.arena->geometry.segment_size;
    forebay_cache *limited = open_with(f.arena, "limited", limit, limit);
    assert_int_equal(put_number(limited, 1, 100), FOREBAY_OK);
    assert_int_equal(put_number(limited, 1, limit / 2), FOREBAY_TOOBIG);
    assert_int_equal(present(limited, 1, 1), 0); /* no stale value is left */
    assert_int_equal(put_number(limited, 1, limit / 2 - 100), FOREBAY_OK);
    assert_int_equal(present(limited, 1, 1), 1);
    assert_int_equal(put_number(f.cache, 1, limit / 2), FOREBAY_OK);
    forebay_cache_close(limited);
    fixture_close(&f);
}

static void quotas_that_cannot_be_kept_are_refused(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    assert_int_equal(refused(f.arena, "a", &(forebay_cache_options){.limit = 4096}, "too small"), FOREBAY_INVALID);
    assert_int_equal(refused(f.arena, "a", &(forebay_cache_options){.share = MIB}, "too large"), FOREBAY_INVALID);
    assert_int_equal(refused(f.arena, "a", &(forebay_cache_options){.share = MIB / 4, .limit = MIB / 8}, "the larger"),
                     FOREBAY_INVALID);
    forebay_cache *a = open_with(f.arena, "a", MIB / 2, 0);
    assert_int_equal(refused(f.arena, "b", &(forebay_cache_options){.share = MIB / 2}, "others have"), FOREBAY_INVALID);
    assert_int_equal(refused(f.arena, "a", &(forebay_cache_options){.share = MIB / 4}, "another share (524288 bytes)"),
                     FOREBAY_CONFLICT);
    assert_int_equal(refused(f.arena, "a", &(forebay_cache_options){.limit = MIB / 2}, "another limit (none)"), FOREBAY_CONFLICT);
    assert_int_equal(refused(f.arena, "a", &(forebay_cache_options){.share = MIB, .update = true}, "too large"), FOREBAY_INVALID);
    assert_int_equal(stats_of(a).share, MIB / 2);
    /* what a dropped cache had is free again */
    assert_int_equal(forebay_cache_drop(f.arena, "a"), FOREBAY_OK);
    forebay_cache *b = open_with(f.arena, "b", MIB / 2, 0);
    forebay_cache_close(b);
    forebay_cache_close(a);
    fixture_close(&f);
}

static void quotas_change_while_a_cache_is_used(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_cache *cache = open_with(f.arena, "changing", 0, 0), *again;
    fill(cache, 0, 10000, 300);
    assert_int_equal(stats_of(cache).bytes, 0);
    forebay_cache_options options = {.limit = MIB / 8, .update = true};
    assert_int_equal(forebay_cache_open(f.arena, "changing", &options, &again, NULL), FOREBAY_OK);
    fill(cache, 0, 10000, 300); /* the handle that was open keeps to it */
    assert_true(stats_of(cache).bytes <= MIB / 8);
    assert_int_equal(stats_of(cache).limit, MIB / 8);
    forebay_cache_close(again);
    options = (forebay_cache_options){.share = MIB / 2, .limit = FOREBAY_QUOTA_NONE, .update = true};
    assert_int_equal(forebay_cache_open(f.arena, "changing", &options, &again, NULL), FOREBAY_OK);
    fill(cache, 0, 10000, 300);
    assert_true(stats_of(cache).bytes > MIB / 2);
    forebay_cache_close(again);
    options = (forebay_cache_options){.share = FOREBAY_QUOTA_NONE, .update = true};
    assert_int_equal(forebay_cache_open(f.arena, "changing", &options, &again, NULL), FOREBAY_OK);
    fill(f.cache, 0, 20000, 300);
    assert_true(present(cache, 0, 10000) < 100); /* protected no more */
    assert_int_equal(stats_of(cache).bytes, 0);
    forebay_cache_close(again);
    forebay_cache_close(cache);
    fixture_close(&f);
}

static void other_operations_keep_to_their_group(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_cache *limited = open_with(f.arena, "limited", 0, MIB / 8);
    for (int round = 0; round < 20000; round++) {
        char key[32];
        int64_t sum;
        snprintf(key, sizeof key, "counter %d", round % 50);
        assert_int_equal(forebay_incr(limited, key, strlen(key), 1, 0, FOREBAY_TTL_DEFAULT, &sum), FOREBAY_OK);
        assert_int_equal(put_number(limited, (unsigned long)round % 100, 100), FOREBAY_OK);
        snprintf(key, sizeof key, "key %d", round % 100);
        assert_int_equal(forebay_touch(limited, key, strlen(key), 100000), FOREBAY_OK);
        assert_int_equal(put_number(f.cache, (unsigned long)round, 30), FOREBAY_OK);
        if (round % 16 == 0)
            assert_true(stats_of(limited).bytes <= MIB / 8);
    }
    assert_int_equal(forebay_clear(limited), FOREBAY_OK);
    fill(limited, 0, 5000, 300);
    assert_true(stats_of(limited).bytes <= MIB / 8);
    forebay_cache_close(limited);
    fixture_close(&f);
}

/* Else two who claim the last at once, in step, could both go without again and again. */
static void of_claims_that_are_too_many_those_at_higher_numbers_go_first(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    const segment_use use = fb_segment_use_of(QUEUE_PROBATION, 0, 1);
    const uint64_t claim = fb_segment_word(SEGMENT_TAKEN, use, fb_row_owner(f.arena));
    const uint32_t low = 20, middle = 30, high = 40;
    atomic_store(&f.arena->segments[low].word, claim);
    assert_true(fb_group_allows(f.arena, 1, low, 1));
    assert_false(fb_group_allows(f.arena, 1, low, 0));
    atomic_store(&f.arena->segments[high].word, claim);
    assert_false(fb_group_allows(f.arena, 1, low, 1));
    assert_false(fb_group_allows(f.arena, 1, high, 1)); /* never both, whoever asks */
    fb_segment_put(f.arena, low, SEGMENT_FREE, 0);
    assert_true(fb_group_allows(f.arena, 1, high, 1));
    atomic_store(&f.arena->segments[low].word, claim);
    atomic_store(&f.arena->segments[middle].word, claim); /* somebody stopped at `high`: two left for one */
    assert_false(fb_group_allows(f.arena, 1, low, 2));
    assert_false(fb_group_allows(f.arena, 1, middle, 2));
    fb_segment_put(f.arena, low, SEGMENT_FREE, 0);
    assert_true(fb_group_allows(f.arena, 1, middle, 2));
    assert_true(fb_group_allows(f.arena, 1, high, SEGMENTS_UNLIMITED));
    fb_segment_put(f.arena, middle, SEGMENT_FREE, 0);
    fb_segment_put(f.arena, high, SEGMENT_FREE, 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_leaves_a_quiet_cache_its_share),
        cmocka_unit_test(floods_of_several_caches_leave_each_its_share),
        cmocka_unit_test(a_share_that_is_not_used_is_lent),
        cmocka_unit_test(a_cache_with_a_share_may_have_more_and_gives_that_back),
        cmocka_unit_test(a_limit_is_never_passed),
        cmocka_unit_test(an_entry_of_more_than_half_a_limit_is_too_big),
        cmocka_unit_test(quotas_that_cannot_be_kept_are_refused),
        cmocka_unit_test(quotas_change_while_a_cache_is_used),
        cmocka_unit_test(other_operations_keep_to_their_group),
        cmocka_unit_test(of_claims_that_are_too_many_those_at_higher_numbers_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
