/* SPDX-License-Identifier: Apache-2.0 */
/* The arena's clock and what a look at it finds: arena_clock.c. */
#include "arena_fixture.h"

#include "arena/arena_clock.h"

static int set_up(void **state)
{
    *state = open_sized(NULL, MIB);
    return *state == NULL;
}

static int tear_down(void **state)
{
    forebay_arena_close(*state);
    return 0;
}

static void assert_near(uint64_t actual, uint64_t expected)
{
    assert_in_range(actual, expected > 50 ? expected - 50 : 0, expected + 2000); /* a busy machine may be late */
}

static void time_begins_at_one_and_goes_on(void **state)
{
    forebay_arena *arena = *state;
    uint64_t first = fb_now_ms(arena);
    assert_in_range(first, 1, 2000);
    sleep_ms(60);
    uint64_t second = fb_now_ms(arena);
    assert_in_range(second - first, 50, 2000);
}

static void time_is_the_same_in_every_process(void **state)
{
    forebay_arena *arena = *state;
    forebay_arena *other;
    assert_int_equal(forebay_arena_open_fd(forebay_arena_fd(arena), NULL, &other, NULL), FOREBAY_OK);
    uint64_t before = fb_now_ms(arena), there = fb_now_ms(other), after = fb_now_ms(arena);
    assert_true(before <= there && there <= after);
    forebay_arena_close(other);
}

/* CLOCK_BOOTTIME ran on for 90 s and CLOCK_MONOTONIC did not: as if so. */
static void the_time_a_machine_slept_is_added_once(void **state)
{
    forebay_arena *arena = *state;
    uint64_t before = fb_now_ms(arena);
    atomic_fetch_add(&arena->super->clock_boot_offset, 90000);
    fb_clock_look(arena, fb_now_ms(arena));
    assert_near(fb_now_ms(arena), before + 90000);
    fb_clock_look(arena, fb_now_ms(arena));
    fb_clock_look(arena, fb_now_ms(arena));
    assert_near(fb_now_ms(arena), before + 90000);
}

static void time_never_goes_back(void **state)
{
    forebay_arena *arena = *state;
    uint64_t last = fb_now_ms(arena);
    for (int i = 0; i < 2000; i++) {
        fb_clock_look(arena, fb_now_ms(arena));
        uint64_t now = fb_now_ms(arena);
        assert_true(now >= last);
        last = now;
    }
}

static void looks_are_noted_at_most_twice_a_second(void **state)
{
    forebay_arena *arena = *state;
    uint64_t first = atomic_load(&arena->super->clock_checked);
    fb_clock_look(arena, first + 100);
    assert_int_equal(atomic_load(&arena->super->clock_checked), first);
    atomic_store(&arena->super->clock_checked, 0);
    sleep_ms(600);
    fb_clock_look(arena, fb_now_ms(arena));
    assert_in_range(atomic_load(&arena->super->clock_checked), 500, 5000);
}

static void time_advanced_for_tests_stays_ahead(void **state)
{
    forebay_arena *arena = *state;
    uint64_t before = fb_now_ms(arena);
    assert_int_equal(forebay_arena_advance_clock(arena, 5000), FOREBAY_OK);
    assert_near(fb_now_ms(arena), before + 5000);
    fb_clock_look(arena, fb_now_ms(arena)); /* takes it for no sleep */
    assert_near(fb_now_ms(arena), before + 5000);
    assert_int_equal(forebay_arena_advance_clock(arena, 0), FOREBAY_OK);
    assert_near(fb_now_ms(arena), before + 5000);
    assert_int_equal(forebay_arena_advance_clock(arena, UINT64_MAX), FOREBAY_INVALID);
    assert_near(fb_now_ms(arena), before + 5000);
}

static void after_a_reboot_time_goes_on_by_the_wall_clock(void **state)
{
    forebay_arena *arena = *state;
    uint8_t boot[16] = { 0 };
    atomic_store(&arena->super->clock_checked, 5000);
    atomic_fetch_sub(&arena->super->clock_unix, 70000); /* the last look was 70 s ago */
    fb_clock_rebase(arena, boot);
    assert_near(fb_now_ms(arena), 75000);
    fb_clock_rebase(arena, boot); /* its process was killed before it could say that it is done */
    assert_near(fb_now_ms(arena), 75000);
}

static void a_wall_clock_that_was_set_back_stops_time_and_does_not_turn_it(void **state)
{
    forebay_arena *arena = *state;
    uint8_t boot[16] = { 0 };
    atomic_store(&arena->super->clock_checked, 5000);
    atomic_fetch_add(&arena->super->clock_unix, 3600000);
    fb_clock_rebase(arena, boot);
    assert_near(fb_now_ms(arena), 5000);
}

static void numbers_of_a_damaged_file_stay_within_what_entries_can_hold(void **state)
{
    forebay_arena *arena = *state;
    uint8_t boot[16] = { 0 };
    uint64_t wild[] = { 0, 1, UINT64_C(1) << 40, UINT64_C(1) << 63, UINT64_MAX };
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < 5; j++) {
            atomic_store(&arena->super->clock_checked, wild[i]);
            atomic_store(&arena->super->clock_unix, wild[j]);
            atomic_store(&arena->super->clock_offset, (int64_t)wild[j]);
            atomic_store(&arena->super->clock_boot_offset, (int64_t)wild[i]);
            fb_clock_look(arena, fb_now_ms(arena)); /* under a sanitizer: no overflow */
            atomic_store(&arena->super->clock_checked, wild[i]);
            fb_clock_rebase(arena, boot);
            assert_true(fb_now_ms(arena) < (UINT64_C(1) << 40) + 5000);
        }
    }
}

static void a_file_that_was_replaced_or_removed_is_noticed(void **state)
{
    char path[64], aside[80];
    (void)state;
    (void)snprintf(path, sizeof path, "%s", fresh_path());
    (void)snprintf(aside, sizeof aside, "%s-aside", path);
    forebay_arena *arena = open_sized(path, MIB);
    fb_clock_look(arena, fb_now_ms(arena));
    assert_false(arena->replaced);
    assert_int_equal(rename(path, aside), 0);
    fb_clock_look(arena, fb_now_ms(arena));
    assert_true(arena->replaced);
    forebay_arena *next = open_sized(path, MIB);
    fb_clock_look(arena, fb_now_ms(arena));
    assert_true(arena->replaced);
    forebay_arena_info info;
    assert_int_equal(forebay_arena_get_info(next, &info), FOREBAY_OK);
    assert_false(info.replaced);
    assert_int_equal(forebay_arena_get_info(arena, &info), FOREBAY_OK);
    assert_true(info.replaced);
    forebay_arena_close(next);
    forebay_arena_close(arena);
    unlink(path);
    unlink(aside);
}

static void a_row_that_others_took_for_dead_is_replaced_by_a_new_one(void **state)
{
    forebay_arena *arena = *state;
    row_owner before = fb_row_owner(arena);
    arena_row *row = &arena->rows[before & 0xfff];
    atomic_store(&row->word, ((atomic_load(&row->word) >> 1) + 1) << 1); /* swept, say from another PID namespace */
    fb_clock_look(arena, fb_now_ms(arena));
    assert_int_equal(fb_arena_enter(arena), FOREBAY_OK);
    assert_int_not_equal(fb_row_owner(arena), before);
    assert_false(fb_row_is_dead(arena, fb_row_owner(arena)));
}

#define CLOCK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLOCK_TEST(time_advanced_for_tests_stays_ahead),
        CLOCK_TEST(time_begins_at_one_and_goes_on),
        CLOCK_TEST(time_is_the_same_in_every_process),
        CLOCK_TEST(the_time_a_machine_slept_is_added_once),
        CLOCK_TEST(time_never_goes_back),
        CLOCK_TEST(looks_are_noted_at_most_twice_a_second),
        CLOCK_TEST(after_a_reboot_time_goes_on_by_the_wall_clock),
        CLOCK_TEST(a_wall_clock_that_was_set_back_stops_time_and_does_not_turn_it),
        CLOCK_TEST(numbers_of_a_damaged_file_stay_within_what_entries_can_hold),
        cmocka_unit_test(a_file_that_was_replaced_or_removed_is_noticed),
        CLOCK_TEST(a_row_that_others_took_for_dead_is_replaced_by_a_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
