/* SPDX-License-Identifier: Apache-2.0 */
/* Views and their pins: cache_view.c, pins.c, and what rows.c does at a fork. */
#include <pthread.h>

#include <forebay/forebay.h>

#include "arena/pins.h"
#include "arena/segments.h"
#include "arena_fixture.h"

#define LENGTH 600u

typedef struct fixture {
    char path[64];
    forebay_arena *arena;
    forebay_cache *cache;
} fixture;

static forebay_cache *open_cache(forebay_arena *arena)
{
    forebay_cache *cache = NULL;
    return forebay_cache_open(arena, "test", &(forebay_cache_options){.ttl_ms = FOREBAY_TTL_STORED, .codec = "none"}, &cache, NULL) == FOREBAY_OK ? cache : NULL;
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->path, sizeof f->path, "%s", fresh_path());
    f->arena = open_sized(f->path, MIB);
    f->cache = open_cache(f->arena);
    *state = f;
    return f->cache == NULL;
}

static void report(void *context, const char *message)
{
    (void)context;
    print_error("verify: %s\n", message);
}

static bool is_sound(forebay_arena *arena)
{
    return forebay_arena_verify(arena, report, NULL) == FOREBAY_OK;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    bool sound = is_sound(f->arena);
    forebay_cache_close(f->cache);
    sound &= forebay_arena_close(f->arena) == FOREBAY_OK;
    unlink(f->path);
    free(f);
    return sound ? 0 : 1;
}

static void make_value(uint8_t *value, uint64_t number, size_t length)
{
    for (size_t i = 0; i < length; i++)
        value[i] = (uint8_t)(number * 37 + i * 11 + (number >> 8));
}

static bool is_value(const void *data, uint64_t number, size_t length)
{
    const uint8_t *value = data;
    for (size_t i = 0; i < length; i++)
        if (value[i] != (uint8_t)(number * 37 + i * 11 + (number >> 8)))
            return false;
    return true;
}

static size_t make_key(char key[24], uint64_t number)
{
    return (size_t)snprintf(key, 24, "key %llu", (unsigned long long)number);
}

static forebay_status put(forebay_cache *cache, uint64_t number, size_t length)
{
    static uint8_t value[MIB / 8];
    char key[24];
    size_t key_length = make_key(key, number);
    make_value(value, number, length);
    return forebay_set(cache, key, key_length, value, length, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
}

/* Several times the arena's size. */
static void flood(forebay_cache *cache, uint64_t from)
{
    for (uint64_t i = from; i < from + 8000; i++)
        CHECK(put(cache, i, LENGTH) == FOREBAY_OK);
}

static forebay_status view(forebay_cache *cache, uint64_t number, forebay_view *out)
{
    char key[24];
    return forebay_view_open(cache, key, make_key(key, number), out);
}

static forebay_view must_view(forebay_cache *cache, uint64_t number)
{
    forebay_view out;
    CHECK(view(cache, number, &out) == FOREBAY_OK);
    return out;
}

static bool lies_in(const forebay_arena *arena, const void *data)
{
    return (const uint8_t *)data >= arena->base && (const uint8_t *)data < arena->base + arena->geometry.size;
}

static bool remove_key(forebay_cache *cache, uint64_t number)
{
    char key[24];
    return forebay_delete(cache, key, make_key(key, number)) == FOREBAY_OK;
}

static uint32_t pinned_by(const forebay_arena *arena)
{
    held_segments pinned;
    uint32_t count = 0;
    fb_segments_pinned(arena, &pinned);
    for (uint32_t i = 0; i < 64; i++)
        count += (uint32_t)__builtin_popcountll(pinned.bits[i]);
    return count;
}

/* Once the dead are found dead, which takes a look 5 ms later at worst. */
static bool pins_go(const fixture *f, uint32_t left)
{
    for (int i = 0; i < 400; i++) {
        (void)fb_rows_sweep(f->arena);
        if (pinned_by(f->arena) == left)
            return true;
        sleep_ms(5);
    }
    return false;
}

static void a_view_stays_as_it_is_whatever_happens_to_the_entry(void **state)
{
    fixture *f = *state;
    static const size_t lengths[] = {0, 1, LENGTH, 20000, 100000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(put(f->cache, 1, lengths[i]), FOREBAY_OK);
        forebay_view a = must_view(f->cache, 1);
        assert_int_equal(put(f->cache, 2, lengths[i]), FOREBAY_OK);
        forebay_view b = must_view(f->cache, 2);
        assert_true(a.zero_copy && lies_in(f->arena, a.data));
        assert_int_equal(a.length, lengths[i]);
        assert_int_equal(a.kind, FOREBAY_KIND_BYTES);
        (void)remove_key(f->cache, 1);
        assert_int_equal(put(f->cache, 2, 10), FOREBAY_OK);
        for (uint64_t big = 0; big < 30; big++)
            assert_int_equal(put(f->cache, 500000 + big, MIB / 10), FOREBAY_OK);
        flood(f->cache, 1000);
        assert_true(is_value(a.data, 1, a.length));
        assert_true(is_value(b.data, 2, b.length));
        assert_true(is_sound(f->arena));
        forebay_view_close(&a);
        forebay_view_close(&a); /* does nothing */
        forebay_view_close(&b);
        assert_int_equal(pinned_by(f->arena), 0);
    }
}

static void a_view_of_nothing_is_a_miss(void **state)
{
    fixture *f = *state;
    forebay_view v;
    char key[24];
    size_t length = make_key(key, 5);
    assert_int_equal(view(f->cache, 5, &v), FOREBAY_MISS);
    assert_null(v.data);
    assert_int_equal(forebay_set(f->cache, key, length, "x", 1, FOREBAY_KIND_BYTES, 10, FOREBAY_SET), FOREBAY_OK);
    assert_int_equal(view(f->cache, 5, &v), FOREBAY_OK);
    forebay_view_close(&v);
    assert_int_equal(forebay_arena_advance_clock(f->arena, 1000), FOREBAY_OK);
    assert_int_equal(view(f->cache, 5, &v), FOREBAY_MISS);
    forebay_view_close(&v); /* nothing to close */
    assert_int_equal(forebay_view_open(f->cache, NULL, 0, &v), FOREBAY_INVALID);
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(f->cache, &stats), FOREBAY_OK);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 2);
}

static void views_of_one_segment_share_a_pin(void **state)
{
    fixture *f = *state;
    enum { VIEWS = 6 };
    forebay_view views[VIEWS];
    for (uint64_t i = 0; i < VIEWS; i++)
        assert_int_equal(put(f->cache, i, 100), FOREBAY_OK);
    for (uint64_t i = 0; i < VIEWS; i++)
        views[i] = must_view(f->cache, i);
    assert_int_equal(pinned_by(f->arena), 1);
    for (uint64_t i = 0; i + 1 < VIEWS; i++)
        forebay_view_close(&views[i]);
    assert_int_equal(pinned_by(f->arena), 1);
    flood(f->cache, 1000);
    assert_true(is_value(views[VIEWS - 1].data, VIEWS - 1, 100));
    forebay_view_close(&views[VIEWS - 1]);
    assert_int_equal(pinned_by(f->arena), 0);
}

static void what_is_pinned_is_bounded_and_eviction_goes_on(void **state)
{
    fixture *f = *state;
    enum { VIEWS = 2000 };
    static forebay_view views[VIEWS];
    uint32_t in_place = 0;
    forebay_arena *others[4];
    forebay_cache *caches[4];
    for (int i = 0; i < 4; i++) {
        others[i] = open_sized(f->path, 0);
        caches[i] = open_cache(others[i]);
    }
    for (uint64_t i = 0; i < VIEWS; i++) { /* from four rows, of 64 pins each */
        forebay_cache *cache = caches[i % 4];
        assert_int_equal(put(cache, i, LENGTH), FOREBAY_OK);
        views[i] = must_view(cache, i);
        in_place += views[i].zero_copy;
        assert_int_equal(views[i].zero_copy, lies_in(others[i % 4], views[i].data));
        assert_true(pinned_by(f->arena) <= f->arena->geometry.segment_count / PINNED_PART);
    }
    assert_true(in_place > 200 && in_place < VIEWS);
    flood(f->cache, 10000);
    assert_int_equal(put(f->cache, 1, MIB / 10), FOREBAY_OK); /* there is place for a run, too */
    for (uint64_t i = 0; i < VIEWS; i++) {
        assert_true(is_value(views[i].data, i, LENGTH));
        forebay_view_close(&views[i]);
    }
    assert_int_equal(pinned_by(f->arena), 0);
    for (int i = 0; i < 4; i++) {
        forebay_cache_close(caches[i]);
        assert_int_equal(forebay_arena_close(others[i]), FOREBAY_OK);
    }
}

static void one_process_has_a_limited_number_of_pins(void **state)
{
    (void)state;
    forebay_arena *arena = open_sized(NULL, 4 * MIB);
    forebay_cache *cache = open_cache(arena);
    enum { VIEWS = ROW_PINS + 20 };
    forebay_view views[VIEWS];
    for (uint64_t i = 0; i < VIEWS; i++) {
        assert_int_equal(put(cache, i, 5000), FOREBAY_OK); /* a segment each */
        views[i] = must_view(cache, i);
        assert_int_equal(views[i].zero_copy, i < ROW_PINS);
    }
    assert_int_equal(forebay_arena_views(arena), VIEWS);
    assert_int_equal(forebay_arena_close(arena), FOREBAY_BUSY);
    forebay_view_close(&views[3]);
    forebay_view again = must_view(cache, VIEWS - 1); /* the place is free again */
    assert_true(again.zero_copy);
    forebay_view_close(&again);
    for (uint64_t i = 0; i < VIEWS; i++)
        forebay_view_close(&views[i]);
    forebay_cache_close(cache);
    assert_int_equal(forebay_arena_close(arena), FOREBAY_OK);
}

static void a_cache_may_be_closed_and_dropped_before_its_views(void **state)
{
    fixture *f = *state;
    forebay_cache *cache;
    assert_int_equal(forebay_cache_open(f->arena, "other", NULL, &cache, NULL), FOREBAY_OK);
    assert_int_equal(put(cache, 1, LENGTH), FOREBAY_OK);
    forebay_view v = must_view(cache, 1);
    forebay_cache_close(cache);
    assert_int_equal(forebay_cache_drop(f->arena, "other"), FOREBAY_OK);
    flood(f->cache, 0);
    assert_true(is_value(v.data, 1, LENGTH));
    forebay_view_close(&v);
}

/* --- other processes --------------------------------------------------------- */

static void view_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    forebay_cache *cache = open_cache(arena);
    CHECK(cache != NULL);
    forebay_view v = must_view(cache, 1);
    CHECK(v.zero_copy);
    peer_say(parent, 1);
    (void)peer_hear(parent);
    CHECK(is_value(v.data, 1, LENGTH));
    forebay_view_close(&v);
    peer_say(parent, 2);
    (void)peer_hear(parent);
}

static void a_view_of_a_stopped_process_stays_and_that_of_a_killed_one_goes(void **state)
{
    fixture *f = *state;
    assert_int_equal(put(f->cache, 1, LENGTH), FOREBAY_OK);
    peer stopped = peer_start(view_and_wait, f->path);
    assert_int_equal(peer_hear(&stopped), 1);
    kill(stopped.pid, SIGSTOP);
    peer killed = peer_start(view_and_wait, f->path);
    assert_int_equal(peer_hear(&killed), 1);
    peer_kill(&killed);
    flood(f->cache, 1000);
    assert_true(pins_go(f, 1)); /* both had the same segment */
    kill(stopped.pid, SIGCONT);
    peer_say(&stopped, 1);
    assert_int_equal(peer_hear(&stopped), 2);
    assert_int_equal(pinned_by(f->arena), 0);
    peer_kill(&stopped);
}

/* What a child inherits; it is its parent's memory as of the fork. */
typedef struct inheritance {
    fixture *f;
    forebay_view view;
} inheritance;

static void use_inherited_view(peer *parent, void *context)
{
    inheritance *mine = context;
    peer_say(parent, 1);
    (void)peer_hear(parent); /* the parent has closed its own, and flooded the arena */
    CHECK(is_value(mine->view.data, 1, LENGTH));
    flood(mine->f->cache, 100000);
    CHECK(is_value(mine->view.data, 1, LENGTH));
    CHECK(forebay_arena_close(mine->f->arena) == FOREBAY_BUSY);
    forebay_view_close(&mine->view);
    peer_say(parent, pinned_by(mine->f->arena));
    (void)peer_hear(parent);
}

static void a_child_has_the_views_of_its_parent(void **state)
{
    fixture *f = *state;
    assert_int_equal(put(f->cache, 1, LENGTH), FOREBAY_OK);
    inheritance mine = {f, must_view(f->cache, 1)};
    peer child = peer_start(use_inherited_view, &mine);
    assert_int_equal(peer_hear(&child), 1);
    forebay_view_close(&mine.view);
    flood(f->cache, 1000);
    assert_int_equal(pinned_by(f->arena), 1);
    peer_say(&child, 1);
    assert_int_equal(peer_hear(&child), 0);
    peer_say(&child, 1);
    assert_int_equal(peer_end(&child), 0);
}

/* A parent that dies, and its child, which never calls the library. */
static void fork_and_die(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    forebay_cache *cache = open_cache(arena);
    CHECK(cache != NULL);
    forebay_view v = must_view(cache, 1);
    pid_t pid = fork();
    if (pid != 0) {
        if (pid < 0)
            peer_say(parent, 0);
        raise(SIGKILL);
    }
    while (getppid() == parent->pid)
        sleep_ms(1);
    alarm(120);
    peer_say(parent, (uint64_t)getpid());
    (void)peer_hear(parent);
    peer_say(parent, is_value(v.data, 1, LENGTH));
    (void)peer_hear(parent);
}

static void a_view_outlives_the_parent_of_who_has_it_until_the_child_dies(void **state)
{
    fixture *f = *state;
    assert_int_equal(put(f->cache, 1, LENGTH), FOREBAY_OK);
    peer p = peer_start(fork_and_die, f->path);
    uint64_t child = peer_hear(&p);
    assert_true(child > 1);
    flood(f->cache, 1000);
    for (int i = 0; i < 10; i++) { /* the parent's row goes, the child's stays */
        (void)fb_rows_sweep(f->arena);
        sleep_ms(6);
        assert_int_equal(pinned_by(f->arena), 1);
    }
    flood(f->cache, 1000);
    peer_say(&p, 1);
    assert_int_equal(peer_hear(&p), 1);
    kill((pid_t)child, SIGKILL);
    (void)peer_end(&p);
    assert_true(pins_go(f, 0));
}

static void fork_again_and_again(peer *parent, void *context)
{
    inheritance *mine = context;
    (void)parent;
    for (int depth = 0; depth < 5; depth++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid != 0) {
            int status;
            CHECK(waitpid(pid, &status, 0) == pid && status == 0);
            CHECK(is_value(mine->view.data, 1, LENGTH));
            return;
        }
        flood(mine->f->cache, 1000);
        CHECK(is_value(mine->view.data, 1, LENGTH));
    }
}

static void views_go_on_through_forks_of_forks_and_leave_nothing(void **state)
{
    fixture *f = *state;
    assert_int_equal(put(f->cache, 1, LENGTH), FOREBAY_OK);
    inheritance mine = {f, must_view(f->cache, 1)};
    assert_child_succeeds(fork_again_and_again, &mine);
    assert_true(is_value(mine.view.data, 1, LENGTH));
    forebay_view_close(&mine.view);
    assert_true(pins_go(f, 0));
}

static void take_row_later(peer *parent, void *context)
{
    inheritance *mine = context;
    peer_say(parent, 1);
    (void)peer_hear(parent); /* there are rows again */
    (void)forebay_len(mine->f->cache);
    peer_say(parent, 2);
    (void)peer_hear(parent); /* the parent has closed its view, and flooded the arena */
    CHECK(is_value(mine->view.data, 1, LENGTH));
    forebay_view_close(&mine->view);
    peer_say(parent, pinned_by(mine->f->arena));
    (void)peer_hear(parent);
}

static void a_child_that_finds_no_row_free_pins_when_it_gets_one(void **state)
{
    fixture *f = *state;
    forebay_arena *handles[64];
    uint32_t taken = 0, rows = f->arena->geometry.row_count;
    assert_int_equal(put(f->cache, 1, LENGTH), FOREBAY_OK);
    inheritance mine = {f, must_view(f->cache, 1)};
    while (taken + 1 < rows)
        handles[taken++] = open_sized(f->path, 0);
    peer child = peer_start(take_row_later, &mine);
    assert_int_equal(peer_hear(&child), 1);
    flood(f->cache, 1000); /* the parent's pin keeps it */
    for (uint32_t i = 0; i < taken; i++)
        assert_int_equal(forebay_arena_close(handles[i]), FOREBAY_OK);
    peer_say(&child, 1);
    assert_int_equal(peer_hear(&child), 2);
    forebay_view_close(&mine.view);
    flood(f->cache, 1000);
    peer_say(&child, 1);
    assert_int_equal(peer_hear(&child), 0);
    peer_say(&child, 1);
    assert_int_equal(peer_end(&child), 0);
}

/* --- threads ----------------------------------------------------------------- */

static void *view_again_and_again(void *context)
{
    fixture *f = context;
    for (uint64_t i = 0; i < 3000; i++) {
        forebay_view v;
        forebay_status status = view(f->cache, i % 50, &v);
        CHECK(status == FOREBAY_OK || status == FOREBAY_MISS);
        CHECK(status != FOREBAY_OK || is_value(v.data, i % 50, LENGTH));
        forebay_view_close(&v);
    }
    return NULL;
}

static void *write_again_and_again(void *context)
{
    fixture *f = context;
    static uint8_t value[LENGTH];
    for (uint64_t i = 0; i < 6000; i++) {
        char key[24];
        uint64_t number = i % 5 == 0 ? i % 50 : i;
        size_t key_length = make_key(key, number);
        make_value(value, number, LENGTH);
        CHECK(forebay_set(f->cache, key, key_length, value, LENGTH, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET)
              == FOREBAY_OK);
    }
    return NULL;
}

static void threads_view_while_one_writes(void **state)
{
    fixture *f = *state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i == 0 ? write_again_and_again : view_again_and_again, f), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(forebay_arena_views(f->arena), 0);
    assert_int_equal(pinned_by(f->arena), 0);
}

#define VIEW_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VIEW_TEST(a_view_stays_as_it_is_whatever_happens_to_the_entry),
        VIEW_TEST(a_view_of_nothing_is_a_miss),
        VIEW_TEST(views_of_one_segment_share_a_pin),
        VIEW_TEST(what_is_pinned_is_bounded_and_eviction_goes_on),
        VIEW_TEST(one_process_has_a_limited_number_of_pins),
        VIEW_TEST(a_cache_may_be_closed_and_dropped_before_its_views),
        VIEW_TEST(a_view_of_a_stopped_process_stays_and_that_of_a_killed_one_goes),
        VIEW_TEST(a_child_has_the_views_of_its_parent),
        VIEW_TEST(a_view_outlives_the_parent_of_who_has_it_until_the_child_dies),
        VIEW_TEST(views_go_on_through_forks_of_forks_and_leave_nothing),
        VIEW_TEST(a_child_that_finds_no_row_free_pins_when_it_gets_one),
        VIEW_TEST(threads_view_while_one_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
