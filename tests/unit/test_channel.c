/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: channel.c, and what reads of caches that follow one find. */
#include "arena_fixture.h"
#undef MIB
#include "cache_fixture.h"

#include "cache/channels.h"

#include <pthread.h>
#include <sys/prctl.h>

#define MIB ((uint64_t)1 << 20)
#define QUIET 500u
#define BEHIND 1000u

/* Another handle of the arena, which is as good as another process, with the same channel and cache. */
typedef struct member {
    forebay_arena *arena;
    forebay_cache *cache;
    forebay_channel *channel;
    forebay_listener listener;
} member;

static forebay_channel *channel_open(forebay_arena *arena, const char *name)
{
    forebay_channel *channel;
    forebay_error error = { 0 };
    if (forebay_channel_open(arena, name, &channel, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    return channel;
}

static void member_open(member *p, const fixture *f)
{
    assert_int_equal(forebay_arena_open_fd(forebay_arena_fd(f->arena), NULL, &p->arena, NULL), FOREBAY_OK);
    assert_int_equal(forebay_cache_open(p->arena, "test", NULL, &p->cache, NULL), FOREBAY_OK);
    p->channel = channel_open(p->arena, "news");
    assert_int_equal(forebay_cache_follow(p->cache, p->channel, BEHIND), FOREBAY_OK);
}

static void member_close(member *p)
{
    forebay_cache_close(p->cache);
    forebay_channel_close(p->channel);
    forebay_arena_close(p->arena);
}

static bool member_has(member *p, const char *key)
{
    fixture f = { p->arena, p->cache };
    return has(&f, key);
}

static void member_put(member *p, const char *key)
{
    fixture f = { p->arena, p->cache };
    assert_int_equal(put(&f, key, "v", 1), FOREBAY_OK);
}

static uint64_t now_of(const member *p) { return forebay_channel_now(p->channel); }
static void pass(const member *p, uint64_t ms) { assert_int_equal(forebay_arena_advance_clock(p->arena, ms), FOREBAY_OK); }
static forebay_status beat(member *p) { return forebay_channel_beat(p->channel, &p->listener, now_of(p)); }
static forebay_status claim(member *p) { return forebay_channel_claim(p->channel, QUIET, &p->listener); }

static void listen_alone(member *p)
{
    assert_int_equal(claim(p), FOREBAY_OK);
    assert_int_equal(forebay_channel_begin(p->channel, &p->listener), FOREBAY_OK);
    assert_int_equal(beat(p), FOREBAY_OK);
}

/* A fixture and two peers. */
typedef struct three {
    fixture f;
    member a, b;
} three;

static void three_open(three *t)
{
    t->f = fixture_open(MIB, 0);
    pass(&(member){ .arena = t->f.arena }, 1000);
    member_open(&t->a, &t->f);
    member_open(&t->b, &t->f);
}

static void three_close(three *t)
{
    member_close(&t->a);
    member_close(&t->b);
    fixture_close(&t->f);
}

static void until_somebody_listens_everything_is_missing(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    assert_true(forebay_channel_age(t.a.channel) == UINT64_MAX);
    member_put(&t.a, "key");
    assert_false(member_has(&t.a, "key"));
    assert_int_equal(forebay_cache_follow(t.b.cache, t.b.channel, UINT64_MAX), FOREBAY_OK);
    assert_true(member_has(&t.b, "key")); /* it does not ask */
    listen_alone(&t.a);
    assert_false(member_has(&t.a, "key")); /* what was there before is not believed */
    member_put(&t.a, "key");
    assert_true(member_has(&t.a, "key"));
    assert_true(member_has(&t.b, "key"));
    assert_in_range(forebay_channel_age(t.b.channel), 0, 500);
    three_close(&t);
}

#define ROOM 8u

static void *give(void *context, size_t item, size_t size, forebay_kind kind)
{
    (void)item;
    (void)kind;
    return size <= ROOM ? context : NULL;
}

static bool count_key(void *context, const void *key, size_t length)
{
    (void)key;
    (void)length;
    return ++*(size_t *)context != 0;
}

static bool all_reads_find(member *p, const char *key)
{
    char room[ROOM];
    size_t length, keys = 0, found = 0;
    uint64_t left, cursor = 0;
    forebay_kind kind;
    forebay_view view;
    forebay_place place;
    forebay_key many[] = { { key, strlen(key) }, { "none", 4 } };
    forebay_status status[2];
    forebay_sink sink = { give, room };
    found += forebay_get_into(p->cache, key, strlen(key), room, sizeof room, &length, &kind) == FOREBAY_OK;
    assert_int_equal(forebay_get_many(p->cache, many, 2, &sink, status), FOREBAY_OK);
    found += status[0] == FOREBAY_OK;
    assert_int_equal(status[1], FOREBAY_MISS);
    if (forebay_view_open(p->cache, key, strlen(key), &view) == FOREBAY_OK) {
        found++;
        forebay_view_close(&view);
    }
    found += forebay_ttl_left(p->cache, key, strlen(key), &left) == FOREBAY_OK;
    found += forebay_get_placed(p->cache, key, strlen(key), &sink, &place) == FOREBAY_OK;
    do
        assert_int_equal(forebay_scan(p->cache, &cursor, 64, count_key, &keys), FOREBAY_OK);
    while (cursor != 0);
    found += keys == 1;
    assert_true(found == 0 || found == 6);
    return found != 0;
}

static void no_read_finds_anything_once_the_channel_is_silent(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    member_put(&t.b, "key");
    assert_true(all_reads_find(&t.b, "key"));
    forebay_place place;
    char room[ROOM];
    assert_int_equal(forebay_get_placed(t.b.cache, "key", 3, &(forebay_sink){ give, room }, &place), FOREBAY_OK);
    assert_true(forebay_place_holds(t.b.cache, &place));
    pass(&t.a, BEHIND + 100);
    assert_false(all_reads_find(&t.b, "key"));
    assert_false(forebay_place_holds(t.b.cache, &place));
    assert_int_equal(forebay_pop(t.b.cache, "key", 3, &(forebay_sink){ give, room }), FOREBAY_MISS);
    assert_int_equal(beat(&t.a), FOREBAY_OK); /* it was slow, and has heard all */
    assert_true(all_reads_find(&t.b, "key"));
    assert_true(forebay_place_holds(t.b.cache, &place));
    three_close(&t);
}

static void each_handle_says_how_far_behind_it_may_be(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    member_put(&t.a, "key");
    assert_int_equal(forebay_cache_follow(t.b.cache, t.b.channel, UINT64_MAX), FOREBAY_OK);
    pass(&t.a, 100 * BEHIND);
    assert_false(member_has(&t.a, "key"));
    assert_true(member_has(&t.b, "key"));
    assert_true(has(&t.f, "key")); /* it follows nothing */
    three_close(&t);
}

static void two_may_listen_and_no_more(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    member c;
    member_open(&c, &t.f);
    listen_alone(&t.a);
    assert_int_equal(claim(&t.b), FOREBAY_OK);
    assert_int_equal(claim(&c), FOREBAY_EXISTS);
    assert_true(forebay_channel_is_shared(t.a.channel, &t.a.listener));
    forebay_channel_info info;
    assert_true(forebay_channel_at(t.f.arena, 0, &info));
    assert_string_equal(info.name, "news");
    assert_int_equal(info.pids[0], getpid());
    assert_int_equal(info.pids[1], getpid());
    assert_false(forebay_channel_at(t.f.arena, 1, &info));
    forebay_channel_leave(t.b.channel, &t.b.listener);
    assert_true(forebay_channel_at(t.f.arena, 0, &info));
    assert_int_equal(info.pids[1], 0);
    assert_false(forebay_channel_is_shared(t.a.channel, &t.a.listener));
    assert_int_equal(claim(&c), FOREBAY_OK);
    member_close(&c);
    three_close(&t);
}

static void who_claims_again_has_its_own_place_and_what_was_heard_stays_heard(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    member_put(&t.a, "key");
    forebay_listener before = t.a.listener;
    assert_int_equal(claim(&t.a), FOREBAY_OK);
    assert_int_equal(forebay_channel_beat(t.a.channel, &before, now_of(&t.a)), FOREBAY_MISS);
    assert_true(member_has(&t.b, "key"));
    pass(&t.a, BEHIND + 100);
    assert_false(member_has(&t.b, "key")); /* the new one has heard nothing yet */
    assert_int_equal(forebay_channel_begin(t.a.channel, &t.a.listener), FOREBAY_OK);
    assert_int_equal(beat(&t.a), FOREBAY_OK);
    assert_false(member_has(&t.b, "key"));
    assert_int_equal(claim(&t.b), FOREBAY_OK);
    assert_int_equal(t.b.listener.reserved[0], 1);
    three_close(&t);
}

static void the_dead_are_replaced_at_once_and_the_silent_after_a_while(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    member c, d;
    member_open(&c, &t.f);
    member_open(&d, &t.f);
    listen_alone(&t.a);
    listen_alone(&t.b);
    member_close(&t.b);
    assert_int_equal(claim(&c), FOREBAY_OK);
    assert_int_equal(claim(&d), FOREBAY_EXISTS);
    pass(&t.a, QUIET - 200);
    assert_int_equal(beat(&t.a), FOREBAY_OK);
    pass(&t.a, 300);
    assert_int_equal(claim(&d), FOREBAY_OK); /* c has not been heard for too long */
    assert_int_equal(beat(&c), FOREBAY_MISS);
    assert_int_equal(forebay_channel_begin(c.channel, &c.listener), FOREBAY_MISS);
    assert_int_equal(forebay_channel_join(c.channel, &c.listener, 0), FOREBAY_MISS);
    forebay_channel_leave(c.channel, &c.listener); /* not d's place */
    assert_int_equal(beat(&d), FOREBAY_OK);
    member_close(&c);
    member_close(&d);
    member_open(&t.b, &t.f);
    three_close(&t);
}

static void who_joins_keeps_what_is_there(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    member_put(&t.a, "key");
    assert_int_equal(claim(&t.b), FOREBAY_OK);
    uint64_t since = now_of(&t.b);
    assert_int_equal(forebay_channel_join(t.b.channel, &t.b.listener, since), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_channel_beat(t.a.channel, &t.a.listener, since), FOREBAY_OK); /* sent before, or at the same tick */
    assert_int_equal(forebay_channel_join(t.b.channel, &t.b.listener, since), FOREBAY_TIMEOUT);
    pass(&t.a, 50);
    assert_int_equal(beat(&t.a), FOREBAY_OK);
    assert_int_equal(forebay_channel_join(t.b.channel, &t.b.listener, since), FOREBAY_OK);
    assert_int_equal(beat(&t.b), FOREBAY_OK);
    pass(&t.a, 10 * BEHIND);
    assert_int_equal(beat(&t.b), FOREBAY_OK); /* alone by now */
    assert_true(member_has(&t.a, "key"));
    three_close(&t);
}

static void who_begins_has_caches_that_follow_forget_and_no_others(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    forebay_cache *other;
    char byte;
    size_t length;
    forebay_kind kind;
    assert_int_equal(forebay_cache_open(t.f.arena, "other", NULL, &other, NULL), FOREBAY_OK);
    assert_int_equal(forebay_set(other, "key", 3, "v", 1, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    listen_alone(&t.a);
    member_put(&t.a, "key");
    listen_alone(&t.b);
    assert_false(member_has(&t.a, "key"));
    assert_int_equal(forebay_len(t.a.cache), 0);
    assert_int_equal(forebay_get_into(other, "key", 3, &byte, 1, &length, &kind), FOREBAY_OK);
    forebay_cache_close(other);
    three_close(&t);
}

static void what_is_loaded_across_a_beginning_is_not_stored(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    forebay_lease lease;
    assert_int_equal(forebay_lease_take(t.a.cache, "key", 3, 0, &lease), FOREBAY_OK);
    listen_alone(&t.b);
    forebay_set_options options = { 0 };
    assert_int_equal(forebay_lease_store(t.a.cache, &lease, "key", 3, "v", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_MISS);
    assert_false(member_has(&t.a, "key"));
    three_close(&t);
}

static void a_child_of_a_fork_does_not_listen(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(beat(&t.a) == FOREBAY_MISS);
        forebay_channel_leave(t.a.channel, &t.a.listener);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(beat(&t.a), FOREBAY_OK);
    three_close(&t);
}

/* In a child of `middle`, which has died: the row of that is this process's now. */
static void be_an_heir(member *p, uint32_t row, int told)
{
    char byte;
    CHECK(read(told, &byte, 1) == 1);
    CHECK(beat(p) == FOREBAY_MISS);
    CHECK(atomic_load(&p->arena->row) == row);
    CHECK(forebay_channel_join(p->channel, &p->listener, 0) == FOREBAY_MISS);
    forebay_channel_leave(p->channel, &p->listener);
    _exit(0);
}

static void be_in_the_middle(member *p, const fixture *f, const int told[2], int said)
{
    member_open(p, f);
    listen_alone(p);
    uint32_t row = atomic_load(&p->arena->row);
    pid_t heir = fork();
    if (heir == 0)
        be_an_heir(p, row, told[0]);
    CHECK(write(said, &heir, sizeof heir) == sizeof heir);
    _exit(0);
}

static void who_has_the_row_of_its_dead_parent_does_not_listen(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int told[2], said[2], status;
    pid_t heir;
    assert_int_equal(pipe(told), 0);
    assert_int_equal(pipe(said), 0);
    pid_t middle = fork();
    if (middle == 0) {
        member p;
        be_in_the_middle(&p, &t.f, told, said[1]);
    }
    assert_int_equal(read(said[0], &heir, sizeof heir), sizeof heir);
    assert_int_equal(waitpid(middle, &status, 0), middle);
    assert_int_equal(status, 0);
    (void)fb_rows_sweep(t.f.arena);
    uint64_t heard[CHANNEL_LISTENERS];
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++)
        heard[i] = atomic_load(&t.f.arena->super->channels[0].heard[i]);
    assert_int_equal(write(told[1], "", 1), 1);
    assert_int_equal(waitpid(heir, &status, 0), heir);
    assert_int_equal(status, 0);
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++)
        assert_true(heard[i] == atomic_load(&t.f.arena->super->channels[0].heard[i]));
    for (uint32_t i = 0; i < 2; i++) {
        close(told[i]);
        close(said[i]);
    }
    three_close(&t);
}

static void who_has_the_row_of_a_dead_listener_is_not_taken_for_it(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.b);
    uint32_t row = atomic_load(&t.b.arena->row);
    member_close(&t.b);
    member_open(&t.b, &t.f);
    assert_int_equal(atomic_load(&t.b.arena->row), row);
    assert_int_equal(beat(&t.b), FOREBAY_MISS);
    forebay_channel_info info;
    assert_true(forebay_channel_at(t.f.arena, 0, &info));
    assert_int_equal(info.pids[0], 0);
    assert_int_equal(info.pids[1], 0);
    assert_int_equal(claim(&t.a), FOREBAY_OK);
    assert_int_equal(t.a.listener.reserved[0], 0); /* at once */
    forebay_channel_leave(t.a.channel, &t.a.listener);
    assert_int_equal(forebay_channel_drop(t.f.arena, "news"), FOREBAY_OK);
    three_close(&t);
}

static void a_cache_follows_one_channel(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    forebay_channel *other = channel_open(t.b.arena, "other news");
    listen_alone(&t.a);
    member_put(&t.a, "key");
    assert_int_equal(forebay_cache_follow(t.b.cache, other, BEHIND), FOREBAY_CONFLICT);
    assert_true(member_has(&t.a, "key"));
    assert_true(member_has(&t.b, "key")); /* it follows what it did */
    assert_int_equal(forebay_cache_follow(t.b.cache, t.b.channel, BEHIND), FOREBAY_OK);
    assert_true(member_has(&t.b, "key"));
    forebay_channel_leave(t.a.channel, &t.a.listener);
    assert_int_equal(forebay_cache_follow(t.b.cache, other, BEHIND), FOREBAY_OK); /* nobody listens: it is dropped */
    assert_int_equal(claim(&t.a), FOREBAY_CLOSED);
    forebay_listener listener;
    assert_int_equal(forebay_channel_claim(other, QUIET, &listener), FOREBAY_OK);
    assert_int_equal(forebay_channel_beat(other, &listener, forebay_channel_now(other)), FOREBAY_OK);
    assert_false(member_has(&t.b, "key"));
    forebay_channel_close(other);
    three_close(&t);
}

/* As if who followed first had been killed before it cleared. */
static void who_follows_what_another_only_began_to_clears(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    forebay_cache *cache;
    assert_int_equal(forebay_cache_open(t.b.arena, "second", NULL, &cache, NULL), FOREBAY_OK);
    assert_int_equal(forebay_set(cache, "key", 3, "v", 1, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    arena_cache *record = cache->record;
    uint64_t mark = fb_channel_mark(atomic_load(&t.f.arena->super->channels[0].word), 0);
    atomic_store(&record->channel, fb_mark_begun(mark, fb_cache_generation(atomic_load(&record->word))));
    assert_int_equal(forebay_cache_follow(cache, t.b.channel, BEHIND), FOREBAY_OK);
    assert_true(atomic_load(&record->channel) == mark);
    assert_int_equal(forebay_len(cache), 0);
    assert_int_equal(forebay_set(cache, "key", 3, "v", 1, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    atomic_store(&record->channel, fb_mark_begun(mark, 0));
    assert_int_equal(forebay_channel_begin(t.a.channel, &t.a.listener), FOREBAY_OK); /* clears that one, too */
    assert_int_equal(forebay_len(cache), 0);
    forebay_cache_close(cache);
    three_close(&t);
}

static void a_dropped_channel_is_heard_no_more(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    assert_int_equal(forebay_channel_drop(t.f.arena, "none"), FOREBAY_MISS);
    listen_alone(&t.a);
    member_put(&t.b, "key");
    assert_int_equal(forebay_channel_drop(t.f.arena, "news"), FOREBAY_BUSY);
    forebay_channel_leave(t.a.channel, &t.a.listener);
    assert_int_equal(forebay_channel_drop(t.f.arena, "news"), FOREBAY_OK);
    assert_false(member_has(&t.b, "key"));
    assert_int_equal(claim(&t.a), FOREBAY_CLOSED);
    assert_int_equal(forebay_cache_follow(t.b.cache, t.b.channel, BEHIND), FOREBAY_CLOSED);
    forebay_channel *next = channel_open(t.f.arena, "other news"); /* in the same place */
    forebay_listener listener;
    assert_int_equal(forebay_channel_claim(next, QUIET, &listener), FOREBAY_OK);
    assert_int_equal(forebay_channel_begin(next, &listener), FOREBAY_OK);
    assert_int_equal(forebay_channel_beat(next, &listener, forebay_channel_now(next)), FOREBAY_OK);
    assert_false(member_has(&t.b, "key"));
    forebay_channel_close(next);
    three_close(&t);
}

static void a_channel_knows_the_caches_that_follow_it(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_cache *other;
    assert_int_equal(forebay_cache_open(f.arena, "other", NULL, &other, NULL), FOREBAY_OK);
    forebay_channel *channel = channel_open(f.arena, "news");
    char name[FOREBAY_NAME_MAX + 1];
    assert_false(forebay_channel_follower(channel, 0, name));
    assert_int_equal(forebay_cache_follow(other, channel, BEHIND), FOREBAY_OK);
    assert_true(forebay_channel_follower(channel, 0, name));
    assert_string_equal(name, "other");
    assert_false(forebay_channel_follower(channel, 1, name));
    assert_int_equal(forebay_cache_follow(f.cache, channel, BEHIND), FOREBAY_OK);
    assert_true(forebay_channel_follower(channel, 1, name));
    assert_int_equal(forebay_cache_drop(f.arena, "other"), FOREBAY_OK);
    assert_false(forebay_channel_follower(channel, 1, name));
    forebay_cache_close(other);
    forebay_channel_close(channel);
    fixture_close(&f);
}

static void an_arena_has_eight_channels(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_channel *channel;
    forebay_error error;
    char name[FOREBAY_NAME_MAX + 2] = "c0";
    for (; (unsigned)(name[1] - '0') < CHANNEL_COUNT; name[1]++)
        forebay_channel_close(channel_open(f.arena, name));
    assert_int_equal(forebay_channel_open(f.arena, "one more", &channel, &error), FOREBAY_FULL);
    assert_non_null(strstr(error.message, "drop one"));
    assert_null(channel);
    assert_int_equal(forebay_channel_open(f.arena, "", &channel, &error), FOREBAY_INVALID);
    memset(name, 'x', sizeof name - 1);
    assert_int_equal(forebay_channel_open(f.arena, name, &channel, &error), FOREBAY_INVALID);
    assert_non_null(strstr(error.message, "has 1 to"));
    fixture_close(&f);
}

static void a_moment_that_cannot_be_counts_as_silence(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    member_put(&t.a, "key");
    assert_int_equal(forebay_channel_beat(t.a.channel, &t.a.listener, now_of(&t.a) + 100), FOREBAY_OK); /* another clock */
    assert_true(member_has(&t.b, "key"));
    assert_int_equal(forebay_channel_beat(t.a.channel, &t.a.listener, now_of(&t.a) + 100000), FOREBAY_OK);
    assert_false(member_has(&t.b, "key"));
    three_close(&t);
}

static void a_moment_of_another_clock_hides_no_other(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    member c;
    member_open(&c, &t.f);
    listen_alone(&t.a);
    listen_alone(&t.b);
    member_put(&t.a, "key");
    assert_int_equal(forebay_channel_beat(t.a.channel, &t.a.listener, now_of(&t.a) + 100000), FOREBAY_OK);
    assert_true(member_has(&t.b, "key"));
    assert_in_range(forebay_channel_age(t.b.channel), 0, 500);
    assert_int_equal(claim(&t.b), FOREBAY_OK);
    assert_int_equal(forebay_channel_join(t.b.channel, &t.b.listener, now_of(&t.b)), FOREBAY_TIMEOUT);
    pass(&t.a, QUIET + 100);
    assert_in_range(forebay_channel_age(t.b.channel), QUIET, QUIET + 1000);
    assert_int_equal(claim(&c), FOREBAY_OK); /* not kept out until that moment comes */
    assert_int_equal(beat(&c), FOREBAY_OK);  /* nor is it taken over */
    assert_in_range(forebay_channel_age(t.b.channel), 0, 100);
    member_close(&c);
    three_close(&t);
}

static void after_a_reboot_nothing_was_heard(void **state)
{
    (void)state;
    three t;
    three_open(&t);
    listen_alone(&t.a);
    member_put(&t.a, "key");
    fb_channels_clear(t.f.arena);
    assert_false(member_has(&t.a, "key"));
    assert_int_equal(beat(&t.a), FOREBAY_MISS);
    three_close(&t);
}

/* ---- processes that come and go, and a server that numbers what it says ---- */

#define STORM_THREADS 2
#define STORM_MS 3000
#define STORM_NUMBERS 8192u
#define STORM_BEHIND 100u

typedef struct storm {
    const fixture *f;
    _Atomic uint64_t said;    /* the value of the one key is this number */
    _Atomic uint64_t when[STORM_NUMBERS]; /* arena ms at which the number had been said; 0: not yet */
    _Atomic bool over;
    _Atomic uint64_t reads, hits;
} storm;

typedef struct storm_thread {
    storm *storm;
    member p;
    pthread_t thread;
    unsigned seed;
} storm_thread;

/* A subscription, as the server sees it: it hears the number as of each look. */
static void *listen_and_leave(void *argument)
{
    storm_thread *t = argument;
    storm *s = t->storm;
    while (!atomic_load(&s->over)) {
        if (forebay_channel_claim(t->p.channel, 50, &t->p.listener) != FOREBAY_OK) {
            sleep_ms(1);
            continue;
        }
        uint64_t seen = atomic_load(&s->said), since = now_of(&t->p); /* subscribed before `since` */
        bool joined = false;
        for (int i = 0; i < 60 && !joined; i++) {
            sleep_ms(1);
            joined = forebay_channel_join(t->p.channel, &t->p.listener, since) == FOREBAY_OK;
        }
        if (!joined)
            (void)!forebay_channel_begin(t->p.channel, &t->p.listener);
        for (int beats = 5 + rand_r(&t->seed) % 50; beats > 0 && !atomic_load(&s->over); beats--) {
            uint64_t sent = now_of(&t->p), said = atomic_load(&s->said);
            if (said != seen)
                (void)forebay_delete(t->p.cache, "key", 3);
            seen = said;
            if (forebay_channel_beat(t->p.channel, &t->p.listener, sent) != FOREBAY_OK)
                break;
            sleep_ms(1 + rand_r(&t->seed) % 3);
        }
        if (rand_r(&t->seed) % 2)
            forebay_channel_leave(t->p.channel, &t->p.listener);
        sleep_ms(rand_r(&t->seed) % 300); /* gone, or as if stopped; now and then all are */
    }
    return NULL;
}

static void *say(void *argument)
{
    storm *s = argument;
    unsigned seed = 7;
    for (uint64_t number = 1; number < STORM_NUMBERS - 1 && !atomic_load(&s->over); number++) {
        atomic_store(&s->said, number);
        atomic_store(&s->when[number], fb_now_ms(s->f->arena));
        sleep_ms(1 + rand_r(&seed) % 30);
    }
    return NULL;
}

/* Loads what is missing; what is there is no older than it may be. */
static void read_once(storm *s, member *p)
{
    uint64_t now = fb_now_ms(p->arena), value;
    size_t length;
    forebay_kind kind;
    forebay_lease lease;
    forebay_set_options options = { 0 };
    atomic_fetch_add(&s->reads, 1);
    if (forebay_get_into(p->cache, "key", 3, &value, sizeof value, &length, &kind) == FOREBAY_OK) {
        atomic_fetch_add(&s->hits, 1);
        uint64_t replaced = atomic_load(&s->when[value + 1]); /* a tick may be added to how far it may be behind */
        assert_true(replaced == 0 || replaced + STORM_BEHIND + 20 >= now);
    } else if (rand() % 50 != 0) {
        sleep_ms(1); /* what was there before a silence is to be there after it */
    } else if (forebay_lease_take(p->cache, "key", 3, 0, &lease) == FOREBAY_OK) {
        value = atomic_load(&s->said);
        sleep_ms(rand() % 2);
        (void)!forebay_lease_store(p->cache, &lease, "key", 3, &value, sizeof value, FOREBAY_KIND_BYTES, &options);
    }
}

static void nobody_reads_what_is_too_old_whoever_listens(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    static storm s;
    s.f = &f;
    pass(&(member){ .arena = f.arena }, 1000);
    storm_thread threads[STORM_THREADS];
    member reader;
    member_open(&reader, &f);
    assert_int_equal(forebay_cache_follow(reader.cache, reader.channel, STORM_BEHIND), FOREBAY_OK);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, say, &s), 0);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        threads[i] = (storm_thread){ .storm = &s, .seed = i + 1 };
        member_open(&threads[i].p, &f);
        assert_int_equal(pthread_create(&threads[i].thread, NULL, listen_and_leave, &threads[i]), 0);
    }
    for (uint64_t end = fb_now_ms(f.arena) + STORM_MS; fb_now_ms(f.arena) < end;)
        read_once(&s, &reader);
    atomic_store(&s.over, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
        member_close(&threads[i].p);
    }
    assert_true(atomic_load(&s.hits) > 0);
    member_close(&reader);
    fixture_close(&f);
}

/* What each hit asks is computed in another way than what people are told. */
static void readers_believe_what_the_age_allows(void **state)
{
    (void)state;
    const uint64_t now = 5000, moments[] = { 0, 1, 3999, 4000, 4001, 5000, 5000 + HEARD_AHEAD_MS, 5001 + HEARD_AHEAD_MS, HEARD_MS_MASK };
    const uint64_t bounds[] = { 0, 1, 999, 1000, 4998, 4999, 5000, 5001, UINT64_MAX - 1, UINT64_MAX };
    const size_t moment_count = sizeof moments / sizeof *moments, bound_count = sizeof bounds / sizeof *bounds;
    arena_channel channel = { .word = 3 };
    for (size_t n = 0; n < moment_count * moment_count * bound_count; n++) {
        uint64_t bound = bounds[n % bound_count];
        channel.heard[0] = fb_heard_next(0, 1, moments[n / bound_count % moment_count]);
        channel.heard[1] = fb_heard_next(0, HEARD_NOBODY, moments[n / bound_count / moment_count]);
        assert_int_equal(fb_channel_is_heard(&channel, 3, now, bound), fb_channel_age(&channel, now) <= bound);
        assert_false(fb_channel_is_heard(&channel, 5, now, bound));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(until_somebody_listens_everything_is_missing),
        cmocka_unit_test(no_read_finds_anything_once_the_channel_is_silent),
        cmocka_unit_test(each_handle_says_how_far_behind_it_may_be),
        cmocka_unit_test(two_may_listen_and_no_more),
        cmocka_unit_test(who_claims_again_has_its_own_place_and_what_was_heard_stays_heard),
        cmocka_unit_test(the_dead_are_replaced_at_once_and_the_silent_after_a_while),
        cmocka_unit_test(who_joins_keeps_what_is_there),
        cmocka_unit_test(who_begins_has_caches_that_follow_forget_and_no_others),
        cmocka_unit_test(what_is_loaded_across_a_beginning_is_not_stored),
        cmocka_unit_test(a_child_of_a_fork_does_not_listen),
        cmocka_unit_test(who_has_the_row_of_its_dead_parent_does_not_listen),
        cmocka_unit_test(who_has_the_row_of_a_dead_listener_is_not_taken_for_it),
        cmocka_unit_test(a_cache_follows_one_channel),
        cmocka_unit_test(who_follows_what_another_only_began_to_clears),
        cmocka_unit_test(a_dropped_channel_is_heard_no_more),
        cmocka_unit_test(a_channel_knows_the_caches_that_follow_it),
        cmocka_unit_test(an_arena_has_eight_channels),
        cmocka_unit_test(a_moment_that_cannot_be_counts_as_silence),
        cmocka_unit_test(a_moment_of_another_clock_hides_no_other),
        cmocka_unit_test(readers_believe_what_the_age_allows),
        cmocka_unit_test(after_a_reboot_nothing_was_heard),
        cmocka_unit_test(nobody_reads_what_is_too_old_whoever_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
