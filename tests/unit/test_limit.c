/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: limit_table.c, permits.c, permit_queue.c, limit_info.c. */
#include "arena_fixture.h"
#undef MIB
#include "cache_fixture.h"
#include "limit/limits.h"

#include <pthread.h>

#define MIB ((uint64_t)1 << 20)
#define MOST 3u

static forebay_limit *limit_open(forebay_arena *arena, const char *name, uint32_t most)
{
    forebay_limit *limit;
    forebay_error error = {0};
    if (forebay_limit_open(arena, name, most, false, &limit, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    return limit;
}

static forebay_limit_info info_of(forebay_arena *arena)
{
    forebay_limit_info info;
    assert_true(forebay_limit_at(arena, 0, &info));
    return info;
}

/* All of them, waiting for what the dead left; then given back. */
static uint32_t count_available(forebay_limit *limit)
{
    forebay_permit permits[64];
    forebay_turn turn;
    uint32_t taken = 0;
    while (taken < 64) {
        assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_OK);
        forebay_status status = forebay_permit_wait(limit, &turn, 200, &permits[taken]);
        forebay_permit_leave(limit, &turn);
        if (status != FOREBAY_OK)
            break;
        taken++;
    }
    for (uint32_t i = 0; i < taken; i++)
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    return taken;
}

/* Nothing is held, nobody waits, all can be had. */
static void close_unused(fixture *f, forebay_limit *limit)
{
    assert_int_equal(info_of(f->arena).held, 0);
    assert_int_equal(info_of(f->arena).waiting, 0);
    assert_false(forebay_limit_wanted(limit));
    assert_int_equal(count_available(limit), MOST);
    forebay_limit_close(limit);
    fixture_close(f);
}

static void no_more_permits_than_the_limit_are_given_out(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST), *same = limit_open(f.arena, "database", MOST);
    forebay_permit permits[MOST], more;
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_take(i % 2 ? limit : same, &permits[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &more), FOREBAY_MISS);
    assert_int_equal(info_of(f.arena).held, MOST);
    assert_int_equal(info_of(f.arena).holders, 1);
    assert_int_equal(forebay_permit_give_back(limit, &permits[1]), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &more), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permits[1]), FOREBAY_MISS); /* twice */
    assert_int_equal(forebay_permit_give_back(same, &more), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permits[0]), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permits[2]), FOREBAY_OK);
    forebay_limit_close(same);
    close_unused(&f, limit);
}

static void names_and_numbers_are_checked(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit;
    forebay_error error;
    char longest[FOREBAY_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[FOREBAY_NAME_MAX + 1] = 0;
    assert_int_equal(forebay_limit_open(f.arena, "", 3, false, &limit, &error), FOREBAY_INVALID);
    assert_int_equal(forebay_limit_open(f.arena, NULL, 3, false, &limit, &error), FOREBAY_INVALID);
    assert_int_equal(forebay_limit_open(f.arena, longest, 3, false, &limit, &error), FOREBAY_INVALID);
    assert_int_equal(forebay_limit_open(f.arena, "a", forebay_limit_max(f.arena) + 1, false, &limit, &error), FOREBAY_INVALID);
    assert_non_null(strstr(error.message, "at most 64 permits"));
    assert_int_equal(forebay_limit_open(f.arena, "a", 0, false, &limit, &error), FOREBAY_MISS);
    assert_null(limit);
    longest[FOREBAY_NAME_MAX] = 0;
    limit = limit_open(f.arena, longest, MOST);
    assert_string_equal(forebay_limit_name(limit), longest);
    assert_string_equal(info_of(f.arena).name, longest);
    close_unused(&f, limit);
}

static void another_number_is_a_conflict_unless_it_is_to_be_changed(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", 5), *other;
    forebay_permit permits[5], more;
    forebay_error error;
    for (int i = 0; i < 5; i++)
        assert_int_equal(forebay_permit_take(limit, &permits[i]), FOREBAY_OK);
    assert_int_equal(forebay_limit_open(f.arena, "database", MOST, false, &other, &error), FOREBAY_CONFLICT);
    assert_non_null(strstr(error.message, "exists with 5 permits, not 3"));
    assert_int_equal(forebay_limit_open(f.arena, "database", MOST, true, &other, &error), FOREBAY_OK);
    assert_int_equal(info_of(f.arena).held, 5); /* until they are given back */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(forebay_permit_take(limit, &more), FOREBAY_MISS); /* though there are free ones below the new number */
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    }
    assert_int_equal(forebay_permit_take(limit, &more), FOREBAY_OK);
    assert_int_equal(info_of(f.arena).held, MOST);
    assert_int_equal(forebay_permit_take(limit, &permits[0]), FOREBAY_MISS);
    for (int i = 3; i < 5; i++)
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &more), FOREBAY_OK);
    forebay_limit_close(other);
    assert_int_equal(forebay_limit_open(f.arena, "database", 0, false, &other, &error), FOREBAY_OK);
    forebay_limit_close(other);
    close_unused(&f, limit);
}

static void where_there_is_no_room_for_one_more_it_says_so(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "first", MOST), *other;
    forebay_error error;
    for (uint32_t i = 1; i < f.arena->geometry.limit_count; i++) {
        char name[24];
        snprintf(name, sizeof name, "limit %u", i);
        forebay_limit_close(limit_open(f.arena, name, 1));
    }
    assert_int_equal(forebay_limit_open(f.arena, "one more", 1, false, &other, &error), FOREBAY_FULL);
    assert_non_null(strstr(error.message, "holds 4 limits already"));
    assert_int_equal(forebay_limit_drop(f.arena, "limit 2"), FOREBAY_OK);
    forebay_limit_close(limit_open(f.arena, "one more", 1));
    close_unused(&f, limit);
}

static void a_limit_in_use_is_not_dropped_and_a_dropped_one_gives_nothing(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST), *again;
    forebay_permit permit, other;
    forebay_turn turn;
    uint32_t seen = 0;
    assert_int_equal(forebay_limit_drop(f.arena, "other"), FOREBAY_MISS);
    assert_int_equal(forebay_permit_take(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_limit_drop(f.arena, "database"), FOREBAY_BUSY);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_OK);
    assert_int_equal(forebay_limit_drop(f.arena, "database"), FOREBAY_BUSY);
    forebay_permit_leave(limit, &turn);
    assert_int_equal(forebay_limit_drop(f.arena, "database"), FOREBAY_OK);
    again = limit_open(f.arena, "database", MOST);
    assert_int_equal(forebay_permit_take(again, &other), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &permit), FOREBAY_CLOSED);
    assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_CLOSED);
    assert_int_equal(forebay_permit_wait(limit, &turn, 0, &permit), FOREBAY_CLOSED);
    assert_int_equal(forebay_limit_watch(limit, &seen, 0), FOREBAY_CLOSED);
    forebay_permit_leave(limit, &turn);
    assert_false(forebay_limit_should_yield(limit, true));
    assert_int_equal(forebay_permit_give_back(again, &other), FOREBAY_OK);
    forebay_limit_close(limit);
    close_unused(&f, again);
}

/* ---- the queue ---- */

static void the_first_to_wait_is_the_first_to_get_one(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit permits[MOST], none, next;
    forebay_turn first, second;
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_take(limit, &permits[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &first), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &second), FOREBAY_OK);
    assert_true(forebay_limit_wanted(limit));
    assert_int_equal(info_of(f.arena).waiting, 2);
    assert_int_equal(forebay_permit_wait(limit, &first, 0, &none), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_permit_give_back(limit, &permits[0]), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &none), FOREBAY_MISS); /* no barging in */
    assert_int_equal(forebay_permit_wait(limit, &second, 0, &none), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_permit_wait(limit, &first, 0, &next), FOREBAY_OK);
    forebay_permit_leave(limit, &first);
    assert_int_equal(forebay_permit_give_back(limit, &permits[1]), FOREBAY_OK);
    assert_int_equal(forebay_permit_wait(limit, &second, 0, &permits[0]), FOREBAY_OK);
    forebay_permit_leave(limit, &second);
    forebay_permit_leave(limit, &second); /* nothing happens */
    assert_int_equal(forebay_permit_give_back(limit, &next), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permits[0]), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permits[2]), FOREBAY_OK);
    close_unused(&f, limit);
}

/* It may be stopped: its turn comes again when it looks again.  False: this process
 * itself was held up for so long that the turn was over before it could look. */
static bool is_passed_over_for_a_while(void)
{
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", 1);
    forebay_permit permit, none;
    forebay_turn stopped, second;
    assert_int_equal(forebay_permit_take(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &stopped), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &second), FOREBAY_OK);
    uint64_t before = fb_now_ms(f.arena);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    forebay_status status = forebay_permit_wait(limit, &second, 0, &permit);
    bool in_time = status == FOREBAY_TIMEOUT;
    if (in_time) {
        assert_int_equal(forebay_arena_advance_clock(f.arena, 15), FOREBAY_OK);
        assert_int_equal(forebay_permit_wait(limit, &second, 0, &permit), FOREBAY_OK);
    } else {
        assert_int_equal(status, FOREBAY_OK);
        assert_true(fb_now_ms(f.arena) - before >= 10);
    }
    forebay_permit_leave(limit, &second);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &none), FOREBAY_MISS);
    assert_int_equal(forebay_permit_wait(limit, &stopped, 0, &permit), FOREBAY_OK);
    forebay_permit_leave(limit, &stopped);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    forebay_limit_close(limit);
    fixture_close(&f);
    return in_time;
}

static void who_does_not_take_its_turn_is_passed_over(void **state)
{
    (void)state;
    while (!is_passed_over_for_a_while())
        ;
}

static void with_all_places_taken_one_waits_without_a_turn(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    uint32_t places = f.arena->geometry.place_count;
    forebay_turn turns[64], more;
    forebay_permit permit;
    for (uint32_t i = 0; i < places; i++)
        assert_int_equal(forebay_permit_queue(limit, &turns[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &more), FOREBAY_OK);
    assert_int_equal(info_of(f.arena).waiting, places);
    assert_int_equal(forebay_permit_wait(limit, &turns[0], 0, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_wait(limit, &more, 0, &permit), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 11 * 64), FOREBAY_OK); /* all the others are asleep */
    assert_int_equal(forebay_permit_wait(limit, &more, 0, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    forebay_permit_leave(limit, &more);
    for (uint32_t i = 0; i < places; i++)
        forebay_permit_leave(limit, &turns[i]);
    close_unused(&f, limit);
}

/* Each would have its 10 ms at every turn else. */
static void those_who_do_not_look_for_long_hold_nobody_up(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit permits[MOST];
    forebay_turn stopped[9], awake;
    for (int i = 0; i < 9; i++)
        assert_int_equal(forebay_permit_queue(limit, &stopped[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &awake), FOREBAY_OK);
    assert_int_equal(forebay_permit_wait(limit, &awake, 0, &permits[0]), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 600), FOREBAY_OK);
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_take(limit, &permits[i]), FOREBAY_OK);
    for (uint32_t i = 0; i < MOST; i++) /* free since this moment: nobody is passed over for that */
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_wait(limit, &awake, 0, &permits[0]), FOREBAY_OK);
    assert_int_equal(forebay_permit_wait(limit, &stopped[0], 0, &permits[1]), FOREBAY_OK); /* it looks again: */
    assert_int_equal(forebay_permit_wait(limit, &awake, 0, &permits[2]), FOREBAY_TIMEOUT); /* is before others again */
    forebay_permit_leave(limit, &stopped[0]);
    assert_int_equal(forebay_permit_wait(limit, &awake, 0, &permits[2]), FOREBAY_OK);
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    for (int i = 1; i < 9; i++)
        forebay_permit_leave(limit, &stopped[i]);
    forebay_permit_leave(limit, &awake);
    close_unused(&f, limit);
}

static void whose_bit_was_lost_says_again_that_it_waits(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit permits[MOST], none;
    forebay_turn turn;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_take(limit, &permits[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_OK);
    assert_int_equal(forebay_limit_watch(limit, &seen, 0), FOREBAY_OK);
    assert_int_equal(forebay_permit_wait(limit, &turn, 0, &none), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_limit_watch(limit, &seen, 0), FOREBAY_TIMEOUT); /* said once */
    atomic_store(&limit->record->waiting, 0);
    assert_int_equal(forebay_permit_wait(limit, &turn, 0, &none), FOREBAY_TIMEOUT);
    assert_true(forebay_limit_wanted(limit));
    assert_int_equal(forebay_limit_watch(limit, &seen, 0), FOREBAY_OK);
    forebay_permit_leave(limit, &turn);
    atomic_store(&limit->record->waiting, UINT64_MAX); /* of those who were killed before they could */
    assert_int_equal(forebay_permit_take(limit, &none), FOREBAY_MISS);
    uint32_t places = f.arena->geometry.place_count;
    assert_int_equal(atomic_load(&limit->record->waiting) << (64 - places), 0);
    atomic_store(&limit->record->waiting, 0);
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    close_unused(&f, limit);
}

typedef struct waiter {
    forebay_limit *limit;
    forebay_turn turn;
    forebay_permit permit;
    forebay_status status;
} waiter;

static void *wait_long(void *context)
{
    waiter *w = context;
    w->status = forebay_permit_wait(w->limit, &w->turn, 60000, &w->permit);
    return NULL;
}

static void who_found_no_place_has_one_when_one_is_free(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    uint32_t places = f.arena->geometry.place_count, seen = 0;
    forebay_permit permits[MOST];
    forebay_turn turns[64], later;
    waiter w = {.limit = limit};
    pthread_t thread;
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_take(limit, &permits[i]), FOREBAY_OK);
    for (uint32_t i = 0; i < places; i++)
        assert_int_equal(forebay_permit_queue(limit, &turns[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &w.turn), FOREBAY_OK);
    assert_int_equal(forebay_limit_watch(limit, &seen, 0), FOREBAY_OK);
    assert_int_equal(pthread_create(&thread, NULL, wait_long, &w), 0);
    for (uint32_t i = 0; i < places; i++)
        forebay_permit_leave(limit, &turns[i]);
    assert_int_equal(forebay_limit_watch(limit, &seen, 60000), FOREBAY_OK); /* now it waits as others do */
    assert_int_equal(info_of(f.arena).waiting, 1);
    assert_int_equal(forebay_permit_queue(limit, &later), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &permits[0]), FOREBAY_OK);
    pthread_join(thread, NULL);
    assert_int_equal(w.status, FOREBAY_OK);
    assert_int_equal(info_of(f.arena).waiting, 1); /* it left */
    forebay_permit_leave(limit, &later);
    assert_int_equal(forebay_permit_give_back(limit, &w.permit), FOREBAY_OK);
    for (uint32_t i = 1; i < MOST; i++)
        assert_int_equal(forebay_permit_give_back(limit, &permits[i]), FOREBAY_OK);
    close_unused(&f, limit);
}

/* ---- other processes ---- */

enum { TAKE = 1, QUEUE, GIVE_BACK, TAKE_ALL, DONE };

/* The permits of the dead can be had some moments later. */
static void take_soon(forebay_limit *limit, forebay_permit *permit)
{
    forebay_status status;
    while ((status = forebay_permit_take(limit, permit)) == FOREBAY_MISS)
        sleep_ms(5);
    CHECK(status == FOREBAY_OK);
}

/* Does what it is told with a handle of its own. */
static void obey(peer *parent, void *context)
{
    forebay_limit *limit;
    forebay_permit permits[8];
    forebay_turn turn;
    uint32_t taken = 0;
    CHECK(forebay_limit_open(context, "database", 0, false, &limit, NULL) == FOREBAY_OK);
    for (uint64_t word; (word = peer_hear(parent)) != UINT64_MAX;) {
        if (word == TAKE)
            take_soon(limit, &permits[taken++]);
        else if (word == QUEUE)
            CHECK(forebay_permit_queue(limit, &turn) == FOREBAY_OK);
        else if (word == TAKE_ALL)
            CHECK(fb_permits_take_all(limit, &(uint64_t){0}));
        else
            CHECK(forebay_permit_give_back(limit, &permits[--taken]) == FOREBAY_OK);
        peer_say(parent, DONE);
    }
}

static void tell(peer *p, uint64_t word)
{
    peer_say(p, word);
    assert_int_equal(peer_hear(p), DONE);
}

static void what_the_killed_held_can_be_had_at_once(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    peer p = peer_start(obey, f.arena);
    forebay_permit none;
    for (uint32_t i = 0; i < MOST; i++)
        tell(&p, TAKE);
    tell(&p, QUEUE);
    forebay_limit_share share;
    assert_int_equal(forebay_limit_shares(f.arena, "database", &share, 1), 1);
    assert_int_equal(share.pid, p.pid);
    assert_int_equal(share.held, MOST);
    assert_int_equal(share.waiting, 1);
    assert_int_equal(forebay_permit_take(limit, &none), FOREBAY_MISS);
    assert_true(forebay_limit_wanted(limit));
    (void)peer_kill(&p);
    assert_int_equal(count_available(limit), MOST);
    close_unused(&f, limit);
}

/* At the moment when nobody else can have one any more. */
static void a_drop_that_is_stopped_or_killed_is_none(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    peer p = peer_start(obey, f.arena);
    forebay_permit none;
    tell(&p, TAKE_ALL);
    assert_int_equal(kill(p.pid, SIGSTOP), 0);
    assert_int_equal(forebay_permit_take(limit, &none), FOREBAY_MISS);
    assert_int_equal(forebay_limit_drop(f.arena, "database"), FOREBAY_BUSY);
    (void)peer_kill(&p);
    assert_int_equal(count_available(limit), MOST);
    close_unused(&f, limit);
}

static void a_drop_that_is_refused_leaves_all_as_it_was(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit first, last, others[2];
    uint64_t unused;
    assert_int_equal(forebay_permit_take(limit, &first), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &others[0]), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &last), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &first), FOREBAY_OK);
    assert_false(fb_permits_take_all(limit, &unused));
    assert_int_equal(info_of(f.arena).held, 2);
    assert_int_equal(forebay_permit_take(limit, &others[1]), FOREBAY_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(forebay_permit_give_back(limit, &others[i]), FOREBAY_OK);
    assert_int_equal(forebay_permit_give_back(limit, &last), FOREBAY_OK);
    close_unused(&f, limit);
}

static void a_child_has_none_of_its_parents_permits(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit permit, own;
    forebay_turn turn;
    assert_int_equal(forebay_permit_take(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_OK);
    pid_t child = fork();
    if (child == 0) {
        CHECK(forebay_permit_give_back(limit, &permit) == FOREBAY_MISS);
        forebay_permit_leave(limit, &turn);
        CHECK(forebay_limit_wanted(limit));
        CHECK(forebay_permit_take(limit, &own) == FOREBAY_OK);
        CHECK(forebay_permit_give_back(limit, &own) == FOREBAY_OK);
        CHECK(forebay_permit_take(limit, &own) == FOREBAY_OK);
        _exit(0); /* with it */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(info_of(f.arena).held, 1);
    assert_int_equal(info_of(f.arena).waiting, 1);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_OK);
    forebay_permit_leave(limit, &turn);
    close_unused(&f, limit);
}

static void an_idle_permit_is_given_up_for_whoever_waits(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    peer p = peer_start(obey, f.arena);
    forebay_permit permits[2];
    uint32_t seen = 0;
    assert_int_equal(forebay_permit_take(limit, &permits[0]), FOREBAY_OK);
    assert_int_equal(forebay_permit_take(limit, &permits[1]), FOREBAY_OK);
    tell(&p, TAKE);
    assert_false(forebay_limit_should_yield(limit, true)); /* nobody waits */
    assert_int_equal(forebay_limit_watch(limit, &seen, 0), FOREBAY_TIMEOUT);
    tell(&p, QUEUE);
    assert_int_equal(forebay_limit_watch(limit, &seen, 60000), FOREBAY_OK);
    assert_false(forebay_limit_should_yield(limit, false)); /* shares of 2 and 1 are as equal as they can be */
    assert_true(forebay_limit_should_yield(limit, true));
    assert_false(forebay_limit_should_yield(limit, true)); /* said once */
    for (uint32_t i = 0; i < f.arena->geometry.place_count; i++) /* by one whose clock is a tick ahead */
        atomic_fetch_add(&limit->places[i].pledged, atomic_load(&limit->places[i].word) != 0 ? 4 : 0);
    assert_false(forebay_limit_should_yield(limit, true));
    assert_int_equal(forebay_arena_advance_clock(f.arena, 110), FOREBAY_OK);
    assert_true(forebay_limit_should_yield(limit, true));
    assert_int_equal(forebay_permit_give_back(limit, &permits[0]), FOREBAY_OK);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 110), FOREBAY_OK);
    assert_false(forebay_limit_should_yield(limit, true)); /* there is one for it */
    (void)peer_kill(&p);
    assert_int_equal(forebay_permit_give_back(limit, &permits[1]), FOREBAY_OK);
    assert_int_equal(count_available(limit), MOST);
    close_unused(&f, limit);
}

static void a_busy_process_gives_up_what_makes_shares_equal_and_lets_none_starve(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit permits[MOST];
    for (uint32_t i = 0; i < MOST; i++)
        assert_int_equal(forebay_permit_take(limit, &permits[i]), FOREBAY_OK);
    peer p = peer_start(obey, f.arena), q = peer_start(obey, f.arena);
    tell(&p, QUEUE);
    assert_true(forebay_limit_should_yield(limit, false)); /* 3 and 0 */
    assert_int_equal(forebay_permit_give_back(limit, &permits[2]), FOREBAY_OK);
    (void)peer_kill(&p);
    tell(&q, TAKE);
    tell(&q, QUEUE);
    assert_false(forebay_limit_should_yield(limit, false)); /* 2 and 1 */
    (void)peer_kill(&q);
    p = peer_start(obey, f.arena), q = peer_start(obey, f.arena);
    tell(&q, TAKE);
    assert_int_equal(forebay_permit_give_back(limit, &permits[1]), FOREBAY_OK);
    tell(&q, TAKE);
    tell(&p, QUEUE);
    assert_false(forebay_limit_should_yield(limit, false)); /* 1 and 0, for a moment */
    assert_int_equal(forebay_arena_advance_clock(f.arena, 60), FOREBAY_OK);
    assert_true(forebay_limit_should_yield(limit, false));
    (void)peer_kill(&p);
    (void)peer_kill(&q);
    assert_int_equal(forebay_permit_give_back(limit, &permits[0]), FOREBAY_OK);
    assert_int_equal(count_available(limit), MOST);
    close_unused(&f, limit);
}

/* ---- what the file may hold ---- */

static void a_reboot_leaves_nothing_held(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    forebay_permit permit;
    forebay_turn turn;
    assert_int_equal(forebay_permit_take(limit, &permit), FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_OK);
    fb_limits_clear(f.arena);
    assert_int_equal(forebay_permit_give_back(limit, &permit), FOREBAY_MISS);
    close_unused(&f, limit);
}

static void any_words_are_survived(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_limit *limit = limit_open(f.arena, "database", MOST);
    const arena_geometry *g = &f.arena->geometry;
    forebay_permit permit;
    forebay_turn turn;
    forebay_limit_info info;
    memset((void *)limit->permits, 0xff, g->permit_count * sizeof(uint64_t));
    memset((void *)limit->places, 0xff, g->place_count * sizeof(arena_place));
    atomic_store(&limit->record->most, UINT32_MAX);
    assert_non_null(fb_limits_inspect(f.arena));
    uint64_t before = fb_now_ms(f.arena);
    forebay_status status = forebay_permit_take(limit, &permit); /* of owners that there cannot be */
    if (status == FOREBAY_MISS) {
        assert_int_equal(forebay_arena_advance_clock(f.arena, 25), FOREBAY_OK);
        status = forebay_permit_take(limit, &permit);
    } else {
        assert_true(fb_now_ms(f.arena) - before >= 20); /* this process was held up */
    }
    assert_int_equal(status, FOREBAY_OK);
    assert_int_equal(forebay_permit_queue(limit, &turn), FOREBAY_OK);
    assert_true(forebay_limit_at(f.arena, 0, &info));
    assert_int_equal(info.most, g->permit_count);
    forebay_permit_leave(limit, &turn);
    (void)forebay_limit_should_yield(limit, true);
    memset(limit->record->name, 'x', sizeof limit->record->name);
    assert_true(forebay_limit_at(f.arena, 0, &info));
    assert_int_equal(strlen(info.name), FOREBAY_NAME_MAX);
    memcpy(limit->record->name, "database", 9);
    memset(limit->record->name + 9, 0, sizeof limit->record->name - 9);
    atomic_store(&limit->record->most, MOST);
    fb_limits_clear(f.arena);
    forebay_permit bad[] = {{{0}}, {{UINT64_MAX, UINT64_MAX}}, {{UINT64_MAX, 0}}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(forebay_permit_give_back(limit, &bad[i]), FOREBAY_MISS);
    forebay_permit_leave(limit, &(forebay_turn){{UINT64_MAX, UINT64_MAX, UINT64_MAX}});
    close_unused(&f, limit);
}

/* ---- threads of one process ---- */

enum { THREADS = 6, ROUNDS = 2000 };
typedef struct holders {
    forebay_limit *limit;
    _Atomic int now, most;
} holders;

static void *take_and_give_back(void *context)
{
    holders *h = context;
    for (int i = 0; i < ROUNDS; i++) {
        forebay_permit permit;
        forebay_turn turn;
        if (forebay_permit_take(h->limit, &permit) != FOREBAY_OK) {
            assert_int_equal(forebay_permit_queue(h->limit, &turn), FOREBAY_OK);
            assert_int_equal(forebay_permit_wait(h->limit, &turn, 60000, &permit), FOREBAY_OK);
            forebay_permit_leave(h->limit, &turn);
        }
        int now = atomic_fetch_add(&h->now, 1) + 1, most = atomic_load(&h->most);
        while (now > most && !atomic_compare_exchange_weak(&h->most, &most, now))
            ;
        atomic_fetch_sub(&h->now, 1);
        assert_int_equal(forebay_permit_give_back(h->limit, &permit), FOREBAY_OK);
    }
    return NULL;
}

static void threads_of_one_process_have_no_more_than_the_limit_either(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    holders h = {.limit = limit_open(f.arena, "database", MOST)};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_back, &h), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(atomic_load(&h.most), 1, MOST);
    close_unused(&f, h.limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_permits_than_the_limit_are_given_out),
        cmocka_unit_test(names_and_numbers_are_checked),
        cmocka_unit_test(another_number_is_a_conflict_unless_it_is_to_be_changed),
        cmocka_unit_test(where_there_is_no_room_for_one_more_it_says_so),
        cmocka_unit_test(a_limit_in_use_is_not_dropped_and_a_dropped_one_gives_nothing),
        cmocka_unit_test(the_first_to_wait_is_the_first_to_get_one),
        cmocka_unit_test(who_does_not_take_its_turn_is_passed_over),
        cmocka_unit_test(with_all_places_taken_one_waits_without_a_turn),
        cmocka_unit_test(those_who_do_not_look_for_long_hold_nobody_up),
        cmocka_unit_test(whose_bit_was_lost_says_again_that_it_waits),
        cmocka_unit_test(who_found_no_place_has_one_when_one_is_free),
        cmocka_unit_test(what_the_killed_held_can_be_had_at_once),
        cmocka_unit_test(a_drop_that_is_stopped_or_killed_is_none),
        cmocka_unit_test(a_drop_that_is_refused_leaves_all_as_it_was),
        cmocka_unit_test(a_child_has_none_of_its_parents_permits),
        cmocka_unit_test(an_idle_permit_is_given_up_for_whoever_waits),
        cmocka_unit_test(a_busy_process_gives_up_what_makes_shares_equal_and_lets_none_starve),
        cmocka_unit_test(a_reboot_leaves_nothing_held),
        cmocka_unit_test(any_words_are_survived),
        cmocka_unit_test(threads_of_one_process_have_no_more_than_the_limit_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
