/* SPDX-License-Identifier: Apache-2.0 */
/* Tiers: tier_table.c: what all processes had from them, and who leaves them out. */
#include "arena_fixture.h"
#undef MIB
#include "cache_fixture.h"

#include <pthread.h>

#define MIB ((uint64_t)1 << 20)
#define REDIS "redis://127.0.0.1:6379"
#define LEFT_OUT (FOREBAY_TIER_USED | FOREBAY_TIER_LEFT_OUT)
#define NOT_STORED (FOREBAY_TIER_USED | FOREBAY_TIER_NOT_STORED)

/* Another handle of the arena, which is as good as another process. */
static forebay_arena *another(const fixture *f)
{
    forebay_arena *arena;
    assert_int_equal(forebay_arena_open_fd(forebay_arena_fd(f->arena), NULL, &arena, NULL), FOREBAY_OK);
    return arena;
}

static forebay_tier *tier_open(forebay_arena *arena, const char *name)
{
    forebay_tier *tier;
    forebay_error error = { 0 };
    if (forebay_tier_open(arena, name, &tier, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    assert_string_equal(forebay_tier_name(tier), name);
    return tier;
}

static bool info_of(forebay_arena *arena, const char *name, forebay_tier_info *info)
{
    for (uint32_t i = 0; forebay_tier_at(arena, i, info); i++)
        if (strcmp(info->name, name) == 0)
            return true;
    return false;
}

static forebay_tier_info the_info(forebay_arena *arena)
{
    forebay_tier_info info, another_one;
    assert_true(forebay_tier_at(arena, 0, &info));
    assert_false(forebay_tier_at(arena, 1, &another_one));
    return info;
}

static void open_all(forebay_arena *arena, forebay_tier *tiers[FOREBAY_TIERS_MAX])
{
    char name[] = "tier 0";
    for (uint32_t i = 0; i < FOREBAY_TIERS_MAX; i++, name[5]++)
        tiers[i] = tier_open(arena, name);
}

static void close_all(forebay_tier *tiers[FOREBAY_TIERS_MAX])
{
    for (uint32_t i = 0; i < FOREBAY_TIERS_MAX; i++)
        forebay_tier_close(tiers[i]);
}

static void what_all_processes_had_is_added_up(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_arena *other = another(&f);
    forebay_tier_info none;
    assert_false(forebay_tier_at(f.arena, 0, &none));
    forebay_tier *a = tier_open(f.arena, REDIS), *b = tier_open(other, REDIS);
    for (uint32_t i = 0; i < FOREBAY_TIER_COUNTS; i++) {
        assert_int_equal(forebay_tier_add(a, (forebay_tier_count)i, i), FOREBAY_OK);
        assert_int_equal(forebay_tier_add(b, (forebay_tier_count)i, 100), FOREBAY_OK);
    }
    forebay_tier_info info = the_info(f.arena);
    assert_string_equal(info.name, REDIS);
    for (uint32_t i = 0; i < FOREBAY_TIER_COUNTS; i++)
        assert_int_equal(info.counts[i], 100 + i);
    assert_int_equal(info.users, 2);
    forebay_tier_close(b);
    forebay_arena_close(other);
    info = the_info(f.arena);
    assert_int_equal(info.users, 1);
    assert_int_equal(info.counts[FOREBAY_TIER_OPENED], 105); /* stays */
    forebay_tier_close(a);
    fixture_close(&f);
}

static void who_leaves_it_out_is_told(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_arena *other = another(&f);
    forebay_tier *a = tier_open(f.arena, REDIS), *b = tier_open(other, REDIS), *second = tier_open(f.arena, "another");
    forebay_tier_info info;
    assert_true(info_of(f.arena, REDIS, &info));
    assert_true(info.left_out_ms == UINT64_MAX);
    assert_int_equal(forebay_tier_say(a, LEFT_OUT), FOREBAY_OK);
    assert_int_equal(forebay_tier_say(b, NOT_STORED), FOREBAY_OK);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 5000), FOREBAY_OK);
    assert_int_equal(forebay_tier_say(a, LEFT_OUT | FOREBAY_TIER_NOT_STORED), FOREBAY_OK); /* it began before */
    assert_true(info_of(f.arena, REDIS, &info));
    assert_int_equal(info.users, 2);
    assert_int_equal(info.left_out, 1);
    assert_int_equal(info.not_stored, 1);
    assert_in_range(info.left_out_ms, 5000, 60000);
    forebay_tier_user users[3];
    assert_int_equal(forebay_tier_users(f.arena, REDIS, users, 3), 2);
    assert_int_equal(users[0].pid, getpid());
    assert_int_equal(users[0].use | users[1].use << 3, LEFT_OUT | FOREBAY_TIER_NOT_STORED | NOT_STORED << 3);
    assert_int_equal(forebay_tier_users(f.arena, REDIS, users, 1), 2);
    assert_int_equal(forebay_tier_users(f.arena, "no such", users, 3), 0);
    assert_true(info_of(f.arena, "another", &info));
    assert_int_equal(info.users, 1);
    assert_int_equal(info.left_out, 0);
    assert_int_equal(forebay_tier_say(a, FOREBAY_TIER_USED), FOREBAY_OK);
    assert_int_equal(forebay_tier_say(second, LEFT_OUT), FOREBAY_OK);
    assert_true(info_of(f.arena, REDIS, &info));
    assert_int_equal(info.left_out, 0);
    assert_true(info_of(f.arena, "another", &info));
    assert_int_equal(info.left_out, 1);
    forebay_tier_close(a);
    forebay_tier_close(b);
    forebay_tier_close(second);
    forebay_arena_close(other);
    fixture_close(&f);
}

static void leave_out_and_wait(peer *parent, void *context)
{
    forebay_tier *tier = context;
    CHECK(forebay_tier_say(tier, LEFT_OUT) == FOREBAY_OK);
    CHECK(forebay_tier_add(tier, FOREBAY_TIER_ERRORS, 3) == FOREBAY_OK);
    peer_say(parent, 1);
    (void)peer_hear(parent);
}

static void what_a_killed_process_said_is_over_and_what_it_counted_stays(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_tier *tier = tier_open(f.arena, REDIS);
    peer child = peer_start(leave_out_and_wait, tier);
    assert_int_equal(peer_hear(&child), 1);
    forebay_tier_info info = the_info(f.arena);
    assert_int_equal(info.users, 2); /* the parent, which does not leave it out, and the child */
    assert_int_equal(info.left_out, 1);
    forebay_tier_user users[2];
    assert_int_equal(forebay_tier_users(f.arena, REDIS, users, 2), 2);
    assert_true((users[0].pid == child.pid && users[0].use == LEFT_OUT) || (users[1].pid == child.pid && users[1].use == LEFT_OUT));
    (void)peer_kill(&child);
    assert_int_equal(fb_rows_sweep(f.arena), 1); /* else it may be taken to live for some ms */
    info = the_info(f.arena);
    assert_int_equal(info.users, 1);
    assert_int_equal(info.left_out, 0);
    assert_int_equal(info.counts[FOREBAY_TIER_ERRORS], 3);
    forebay_tier_close(tier);
    fixture_close(&f);
}

static void only_count(peer *parent, void *context)
{
    CHECK(forebay_tier_add(context, FOREBAY_TIER_HITS, 1) == FOREBAY_OK);
    peer_say(parent, 1);
    (void)peer_hear(parent);
}

static void a_child_of_a_fork_uses_it_as_its_parent_did(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_tier *tier = tier_open(f.arena, REDIS);
    assert_int_equal(forebay_tier_say(tier, LEFT_OUT), FOREBAY_OK);
    peer child = peer_start(only_count, tier);
    assert_int_equal(peer_hear(&child), 1);
    assert_int_equal(the_info(f.arena).left_out, 2);
    (void)peer_kill(&child);
    forebay_tier_close(tier);
    fixture_close(&f);
}

static void a_ninth_tier_gets_the_record_of_one_that_nobody_uses(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_arena *other = another(&f);
    forebay_tier *tiers[FOREBAY_TIERS_MAX], *ninth, *again;
    forebay_error error;
    forebay_tier_info info;
    open_all(other, tiers);
    assert_int_equal(forebay_tier_say(tiers[3], LEFT_OUT), FOREBAY_OK);
    assert_int_equal(forebay_tier_add(tiers[0], FOREBAY_TIER_HITS, 7), FOREBAY_OK);
    assert_int_equal(forebay_tier_open(f.arena, "ninth", &ninth, &error), FOREBAY_FULL);
    assert_null(ninth);
    assert_non_null(strstr(error.message, "processes use 8 others"));
    close_all(tiers);
    assert_int_equal(forebay_tier_open(f.arena, "ninth", &ninth, NULL), FOREBAY_FULL); /* the handle is gone, its process is not */
    forebay_arena_close(other);
    again = tier_open(f.arena, "tier 3"); /* all are there still */
    ninth = tier_open(f.arena, "ninth");
    assert_true(info_of(f.arena, "ninth", &info));
    assert_int_equal(info.counts[FOREBAY_TIER_HITS], 0);
    assert_true(info.left_out_ms == UINT64_MAX);
    assert_int_equal(info.users, 1);
    assert_false(info_of(f.arena, "tier 0", &info));
    assert_true(info_of(f.arena, "tier 3", &info));
    assert_int_equal(info.left_out, 0);
    forebay_tier_close(again);
    forebay_tier_close(ninth);
    fixture_close(&f);
}

/* Its parent's handle, once it may go on. */
static void find_it_taken(peer *parent, void *context)
{
    (void)peer_hear(parent);
    CHECK(forebay_tier_add(context, FOREBAY_TIER_HITS, 1) == FOREBAY_CLOSED);
    CHECK(forebay_tier_say(context, LEFT_OUT) == FOREBAY_CLOSED);
    peer_say(parent, 1);
}

static void who_did_not_use_it_while_eight_others_came_is_told(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_arena *other = another(&f);
    forebay_tier *tier = tier_open(other, REDIS), *tiers[FOREBAY_TIERS_MAX];
    peer child = peer_start(find_it_taken, tier);
    forebay_tier_close(tier);
    forebay_arena_close(other);
    open_all(f.arena, tiers);
    peer_say(&child, 1);
    assert_int_equal(peer_hear(&child), 1);
    assert_int_equal(peer_end(&child), 0);
    forebay_tier_info info;
    for (uint32_t i = 0; i < FOREBAY_TIERS_MAX; i++) {
        assert_true(info_of(f.arena, forebay_tier_name(tiers[i]), &info));
        assert_int_equal(info.counts[FOREBAY_TIER_HITS], 0);
        assert_int_equal(info.left_out, 0);
    }
    close_all(tiers);
    fixture_close(&f);
}

static void who_says_0_is_no_user_and_leaves_room_for_another(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_arena *other = another(&f);
    forebay_tier *tiers[FOREBAY_TIERS_MAX], *ninth;
    forebay_tier_info info;
    open_all(other, tiers);
    assert_int_equal(forebay_tier_say(tiers[5], LEFT_OUT), FOREBAY_OK);
    assert_int_equal(forebay_tier_say(tiers[5], 0), FOREBAY_OK);
    assert_int_equal(forebay_tier_add(tiers[5], FOREBAY_TIER_HITS, 1), FOREBAY_OK); /* counted, and still no user */
    assert_true(info_of(f.arena, "tier 5", &info));
    assert_int_equal(info.users, 0);
    assert_int_equal(info.left_out, 0);
    ninth = tier_open(f.arena, "ninth");
    assert_false(info_of(f.arena, "tier 5", &info));
    assert_int_equal(forebay_tier_say(tiers[5], FOREBAY_TIER_USED), FOREBAY_CLOSED);
    close_all(tiers);
    forebay_tier_close(ninth);
    forebay_arena_close(other);
    fixture_close(&f);
}

static void a_second_handle_does_not_unsay_what_the_first_said(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_tier *a = tier_open(f.arena, REDIS), *b;
    assert_int_equal(forebay_tier_say(a, LEFT_OUT), FOREBAY_OK);
    b = tier_open(f.arena, REDIS);
    assert_int_equal(forebay_tier_add(b, FOREBAY_TIER_HITS, 1), FOREBAY_OK);
    assert_int_equal(the_info(f.arena).left_out, 1);
    assert_int_equal(the_info(f.arena).users, 1);
    assert_int_equal(forebay_tier_say(b, FOREBAY_TIER_USED), FOREBAY_OK); /* said last */
    assert_int_equal(the_info(f.arena).left_out, 0);
    forebay_tier_close(a);
    forebay_tier_close(b);
    fixture_close(&f);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_tier *tier;
    forebay_error error;
    char name[FOREBAY_TIER_NAME_MAX + 2] = "";
    assert_int_equal(forebay_tier_open(f.arena, name, &tier, &error), FOREBAY_INVALID);
    memset(name, 'x', sizeof name - 1);
    assert_int_equal(forebay_tier_open(f.arena, name, &tier, &error), FOREBAY_INVALID);
    assert_non_null(strstr(error.message, "has 1 to 63 bytes"));
    assert_null(tier);
    name[FOREBAY_TIER_NAME_MAX] = 0;
    tier = tier_open(f.arena, name);
    assert_int_equal(forebay_tier_add(tier, (forebay_tier_count)FOREBAY_TIER_COUNTS, 1), FOREBAY_INVALID);
    assert_int_equal(forebay_tier_say(tier, 8), FOREBAY_INVALID);
    assert_string_equal(forebay_tier_count_name(FOREBAY_TIER_OPENED), "opened");
    assert_null(forebay_tier_count_name((forebay_tier_count)FOREBAY_TIER_COUNTS));
    forebay_tier_close(tier);
    forebay_tier_close(NULL);
    fixture_close(&f);
}

static void count_report(void *context, const char *message)
{
    assert_non_null(strstr(message, "a tier has no name"));
    ++*(int *)context;
}

static void a_damaged_table_is_reported_and_harmless(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_tier *tier = tier_open(f.arena, REDIS);
    arena_tier *record = &f.arena->super->tiers[0];
    int found = 0;
    forebay_tier_info info;
    record->name[0] = 0;
    assert_int_equal(forebay_arena_verify(f.arena, count_report, &found), FOREBAY_CORRUPT);
    memset(record->name, 'x', sizeof record->name);
    assert_int_equal(forebay_arena_verify(f.arena, count_report, &found), FOREBAY_CORRUPT);
    assert_int_equal(found, 2);
    assert_true(forebay_tier_at(f.arena, 0, &info));
    assert_int_equal(strlen(info.name), FOREBAY_TIER_NAME_MAX);
    atomic_store(&record->left_out, UINT64_MAX); /* it is still to come */
    assert_true(forebay_tier_at(f.arena, 0, &info));
    assert_int_equal(info.left_out_ms, 0);
    record->name[sizeof record->name - 1] = 0;
    forebay_tier_close(tier);
    fixture_close(&f);
}

/* ---- threads of one process, whose row is one word for all tiers ---- */

#define ROUNDS 20000

typedef struct talker {
    forebay_tier *tier;
    pthread_t thread;
} talker;

static void *talk(void *argument)
{
    talker *t = argument;
    for (int i = 0; i < ROUNDS; i++) {
        (void)!forebay_tier_say(t->tier, i % 2 == 0 ? LEFT_OUT : FOREBAY_TIER_USED);
        (void)!forebay_tier_add(t->tier, FOREBAY_TIER_SKIPPED, 1);
    }
    return NULL;
}

static void threads_do_not_undo_what_others_say(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_tier *tiers[FOREBAY_TIERS_MAX];
    talker talkers[FOREBAY_TIERS_MAX];
    open_all(f.arena, tiers);
    assert_int_equal(forebay_tier_say(tiers[0], LEFT_OUT), FOREBAY_OK);
    for (uint32_t i = 1; i < FOREBAY_TIERS_MAX; i++) {
        talkers[i].tier = tiers[i];
        assert_int_equal(pthread_create(&talkers[i].thread, NULL, talk, &talkers[i]), 0);
    }
    for (uint32_t i = 1; i < FOREBAY_TIERS_MAX; i++)
        pthread_join(talkers[i].thread, NULL);
    forebay_tier_info info;
    for (uint32_t i = 0; forebay_tier_at(f.arena, i, &info); i++) {
        assert_int_equal(info.users, 1);
        assert_int_equal(info.left_out, i == 0);
        assert_int_equal(info.counts[FOREBAY_TIER_SKIPPED], i == 0 ? 0 : ROUNDS);
    }
    close_all(tiers);
    fixture_close(&f);
}

/* ---- processes that come, and are killed ---- */

#define STORM_MS 2000
#define STORM_NAMES 12u
#define STORM_PROCESSES 4

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whoever has a tier open and says something of it is found among its users. */
static void use_some(peer *parent, void *context)
{
    (void)parent;
    forebay_arena *arena = context;
    unsigned seed = (unsigned)getpid();
    for (;;) {
        char name[32];
        forebay_tier *tier;
        forebay_tier_info info;
        (void)snprintf(name, sizeof name, "tier %u", (unsigned)rand_r(&seed) % STORM_NAMES);
        forebay_status status = forebay_tier_open(arena, name, &tier, NULL);
        CHECK(status == FOREBAY_OK || status == FOREBAY_FULL);
        if (status == FOREBAY_FULL)
            continue;
        CHECK(forebay_tier_say(tier, rand_r(&seed) % 2 == 0 ? LEFT_OUT : FOREBAY_TIER_USED) == FOREBAY_OK);
        CHECK(forebay_tier_add(tier, FOREBAY_TIER_MISSES, 1) == FOREBAY_OK);
        CHECK(info_of(arena, name, &info) && info.users >= 1 && info.counts[FOREBAY_TIER_MISSES] >= 1);
        forebay_tier_close(tier);
    }
}

static void a_storm_of_kills_leaves_a_sound_table(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    peer children[STORM_PROCESSES];
    unsigned seed = 1, kills = 0;
    for (int i = 0; i < STORM_PROCESSES; i++)
        children[i] = peer_start(use_some, f.arena);
    for (uint64_t end = now_ms() + STORM_MS; now_ms() < end; kills++) {
        peer *child = &children[rand_r(&seed) % STORM_PROCESSES];
        sleep_ms(rand_r(&seed) % 5);
        int ended = peer_kill(child);
        assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL); /* no CHECK of it failed */
        *child = peer_start(use_some, f.arena);
    }
    for (int i = 0; i < STORM_PROCESSES; i++)
        (void)peer_kill(&children[i]);
    forebay_tier *tiers[FOREBAY_TIERS_MAX];
    open_all(f.arena, tiers); /* nobody uses any */
    close_all(tiers);
    assert_true(kills > 10);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_all_processes_had_is_added_up),
        cmocka_unit_test(who_leaves_it_out_is_told),
        cmocka_unit_test(what_a_killed_process_said_is_over_and_what_it_counted_stays),
        cmocka_unit_test(a_child_of_a_fork_uses_it_as_its_parent_did),
        cmocka_unit_test(a_ninth_tier_gets_the_record_of_one_that_nobody_uses),
        cmocka_unit_test(who_did_not_use_it_while_eight_others_came_is_told),
        cmocka_unit_test(who_says_0_is_no_user_and_leaves_room_for_another),
        cmocka_unit_test(a_second_handle_does_not_unsay_what_the_first_said),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(a_damaged_table_is_reported_and_harmless),
        cmocka_unit_test(threads_do_not_undo_what_others_say),
        cmocka_unit_test(a_storm_of_kills_leaves_a_sound_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
