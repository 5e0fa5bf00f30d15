/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: leases.c, lease_wait.c, cache_lease.c, and what writers do to them. */
#include "arena_fixture.h"
#undef MIB
#include "cache/leases.h"
#include "cache_fixture.h"

#include <pthread.h>
#include <sys/mman.h>

#define MIB ((uint64_t)1 << 20)
#define HOUR 3600000u

static forebay_status lease_take(fixture *f, const char *key, forebay_lease *lease)
{
    return forebay_lease_take(f->cache, key, strlen(key), HOUR, lease);
}

static forebay_status lease_store(fixture *f, const char *key, const forebay_lease *lease, const char *value)
{
    return forebay_lease_store(f->cache, lease, key, strlen(key), value, strlen(value), FOREBAY_KIND_BYTES,
                               &(forebay_set_options){0});
}

static bool is(fixture *f, const char *key, const char *value)
{
    char buffer[100];
    long length = take(f, key, buffer, sizeof buffer);
    return length == (long)strlen(value) && memcmp(buffer, value, (size_t)length) == 0;
}

/* Nothing is left of any lease. */
static void close_without_leases(fixture *f)
{
    assert_int_equal(fb_leases_held(f->arena), 0);
    assert_int_equal(atomic_load(&f->arena->super->leases), 0);
    fixture_close(f);
}

static void one_of_two_gets_the_lease_and_its_value_is_stored(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease mine, others;
    assert_int_equal(lease_take(&f, "key", &mine), FOREBAY_OK);
    assert_int_equal(lease_take(&f, "key", &others), FOREBAY_EXISTS);
    assert_int_equal(others.token, mine.token);
    assert_true(forebay_lease_holds(f.cache, &mine));
    assert_int_equal(forebay_lease_wait(f.cache, &others, 0), FOREBAY_TIMEOUT);
    assert_int_equal(lease_store(&f, "key", &mine, "loaded"), FOREBAY_OK);
    assert_int_equal(forebay_lease_wait(f.cache, &others, 0), FOREBAY_OK);
    assert_false(forebay_lease_holds(f.cache, &mine));
    assert_true(is(&f, "key", "loaded"));
    assert_int_equal(lease_store(&f, "key", &mine, "twice"), FOREBAY_MISS);
    assert_true(is(&f, "key", "loaded"));
    close_without_leases(&f);
}

static void a_lease_that_ends_without_a_value_can_be_taken_again(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease first, second;
    assert_int_equal(lease_take(&f, "key", &first), FOREBAY_OK);
    forebay_lease_end(f.cache, &first);
    forebay_lease_end(f.cache, &first); /* nothing happens */
    assert_int_equal(lease_take(&f, "key", &second), FOREBAY_OK);
    assert_int_not_equal(first.token, second.token);
    forebay_lease_end(f.cache, &first); /* not this one's */
    assert_true(forebay_lease_holds(f.cache, &second));
    assert_int_equal(lease_store(&f, "key", &first, "late"), FOREBAY_MISS);
    assert_true(forebay_lease_holds(f.cache, &second));
    assert_int_equal(lease_store(&f, "key", &second, "loaded"), FOREBAY_OK);
    assert_true(is(&f, "key", "loaded"));
    close_without_leases(&f);
}

/* ---- what takes a lease away ---- */

static void by_delete(fixture *f) { (void)forebay_delete(f->cache, "key", 3); }
static void by_set(fixture *f) { assert_int_equal(put(f, "key", "newer", 5), FOREBAY_OK); }
static void by_add(fixture *f)
{
    assert_int_equal(forebay_set(f->cache, "key", 3, "newer", 5, FOREBAY_KIND_BYTES, 0, FOREBAY_ADD), FOREBAY_OK);
}
static void by_incr(fixture *f)
{
    int64_t sum;
    assert_int_equal(forebay_incr(f->cache, "key", 3, 1, 0, 0, &sum), FOREBAY_OK);
}
static void by_clear(fixture *f) { assert_int_equal(forebay_clear(f->cache), FOREBAY_OK); }
static void by_break(fixture *f) { assert_int_equal(forebay_lease_break(f->cache, "key", 3), FOREBAY_OK); }
static void by_failing(fixture *f)
{
    char *large = calloc(1, MIB);
    assert_int_equal(put(f, "key", large, MIB / 2), FOREBAY_TOOBIG);
    (void)forebay_delete(f->cache, "key", 3); /* as a set does that is refused by its caller */
    free(large);
}

static void whatever_writes_or_removes_the_key_takes_the_lease_away(void **state)
{
    (void)state;
    void (*const ways[])(fixture *f) = {by_delete, by_set, by_add, by_incr, by_clear, by_break, by_failing};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        fixture f = fixture_open(MIB, 0);
        forebay_lease lease, next;
        assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
        assert_true(forebay_lease_holds(f.cache, &lease));
        ways[i](&f);
        assert_false(forebay_lease_holds(f.cache, &lease));
        assert_int_equal(forebay_lease_wait(f.cache, &lease, 0), FOREBAY_OK);
        assert_int_equal(lease_store(&f, "key", &lease, "late"), FOREBAY_MISS);
        assert_false(is(&f, "key", "late"));
        assert_int_equal(lease_take(&f, "key", &next), FOREBAY_OK);
        forebay_lease_end(f.cache, &next);
        close_without_leases(&f);
    }
}

/* A key's hash has 9 bits of the cache's generation only. */
static void a_clear_takes_the_lease_away_however_many_follow(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    for (int i = 0; i < 512; i++)
        by_clear(&f);
    assert_false(forebay_lease_holds(f.cache, &lease));
    assert_int_equal(lease_store(&f, "key", &lease, "late"), FOREBAY_MISS);
    assert_false(has(&f, "key"));
    close_without_leases(&f);
}

static void others_keys_take_no_lease_away(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    for (int i = 0; i < 5000; i++) {
        char other[16];
        snprintf(other, sizeof other, "other %d", i);
        assert_int_equal(put(&f, other, "value", 5), FOREBAY_OK);
        (void)forebay_delete(f.cache, other, strlen(other));
    }
    assert_int_equal(lease_store(&f, "key", &lease, "loaded"), FOREBAY_OK);
    close_without_leases(&f);
}

static void a_refresh_replaces_what_is_there_unless_that_changed(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    uint64_t token = forebay_token(f.cache, "second", 6, FOREBAY_KIND_BYTES);
    assert_int_equal(put(&f, "key", "first", 5), FOREBAY_OK);
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(lease_store(&f, "key", &lease, "second"), FOREBAY_OK);
    assert_true(is(&f, "key", "second"));
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(forebay_touch(f.cache, "key", 3, HOUR), FOREBAY_OK); /* no other value */
    assert_true(forebay_lease_holds(f.cache, &lease));
    assert_int_equal(forebay_cas(f.cache, "key", 3, token, "third", 5, FOREBAY_KIND_BYTES, &(forebay_set_options){0}),
                     FOREBAY_OK);
    assert_int_equal(lease_store(&f, "key", &lease, "late"), FOREBAY_MISS);
    assert_true(is(&f, "key", "third"));
    close_without_leases(&f);
}

static void an_invalidated_tag_catches_what_was_being_loaded(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_key tag = {"tag", 3};
    forebay_lease lease;
    uint64_t mark = forebay_tag_mark(f.cache, "tag", 3);
    forebay_set_options options = {.tags = &tag, .tag_count = 1, .tag_marks = &mark};
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(forebay_invalidate_tag(f.cache, "tag", 3), FOREBAY_OK);
    assert_int_equal(forebay_lease_store(f.cache, &lease, "key", 3, "late", 4, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
    assert_false(has(&f, "key"));
    close_without_leases(&f);
}

/* ---- owners ---- */

static void a_lease_held_too_long_is_taken_over_and_its_value_comes_too_late(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease slow, next, others;
    assert_int_equal(forebay_lease_take(f.cache, "key", 3, 5000, &slow), FOREBAY_OK);
    assert_int_equal(lease_take(&f, "key", &others), FOREBAY_EXISTS);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 4000), FOREBAY_OK);
    assert_int_equal(forebay_lease_wait(f.cache, &others, 0), FOREBAY_TIMEOUT);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 1100), FOREBAY_OK);
    assert_true(forebay_lease_holds(f.cache, &slow)); /* nobody wanted it */
    assert_int_equal(forebay_lease_wait(f.cache, &others, 0), FOREBAY_OK);
    assert_int_equal(lease_take(&f, "key", &next), FOREBAY_OK);
    assert_int_equal(lease_store(&f, "key", &slow, "late"), FOREBAY_MISS);
    assert_false(has(&f, "key"));
    assert_int_equal(lease_store(&f, "key", &next, "loaded"), FOREBAY_OK);
    close_without_leases(&f);
}

/* A child that takes the lease and is killed; the parent's handle sees it go. */
static void a_killed_owners_lease_is_over_within_moments(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(forebay_lease_take(f.cache, "key", 3, HOUR, &lease) == FOREBAY_OK);
        CHECK(write(ready[1], "x", 1) == 1);
        pause();
        _exit(0);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_EXISTS);
    assert_int_equal(forebay_lease_wait(f.cache, &lease, 100), FOREBAY_TIMEOUT);
    kill(child, SIGKILL);
    assert_int_equal(forebay_lease_wait(f.cache, &lease, 60000), FOREBAY_OK);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    forebay_lease_end(f.cache, &lease);
    close(ready[0]);
    close(ready[1]);
    close_without_leases(&f);
}

static void a_child_of_a_fork_has_no_part_in_its_parents_leases(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease, others;
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    pid_t child = fork();
    if (child == 0) {
        CHECK(lease_store(&f, "key", &lease, "child's") == FOREBAY_MISS);
        forebay_lease_end(f.cache, &lease);
        forebay_lease_fail(f.cache, &lease, "no", 2);
        CHECK(lease_take(&f, "key", &others) == FOREBAY_EXISTS);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(forebay_lease_holds(f.cache, &lease));
    assert_int_equal(lease_store(&f, "key", &lease, "loaded"), FOREBAY_OK);
    close_without_leases(&f);
}

/* What a process killed at any of the three states leaves is taken by others. */
static void words_of_the_dead_are_free_again_where_there_is_no_other(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    uint32_t count = f.arena->geometry.lease_count;
    for (uint64_t left = LEASE_CLAIMED; left <= LEASE_HELD; left++) {
        for (uint32_t i = 0; i < count; i++)
            atomic_store(&f.arena->lease_words[i], left | UINT64_C(0xfff) << 2 | (uint64_t)i << 34);
        atomic_store(&f.arena->super->leases, count);
        for (int i = 0; i < 20; i++) {
            forebay_lease lease;
            char key[16];
            snprintf(key, sizeof key, "key %d", i);
            assert_int_equal(lease_take(&f, key, &lease), FOREBAY_OK);
            assert_int_equal(lease_store(&f, key, &lease, "loaded"), FOREBAY_OK);
        }
    }
    fb_leases_clear(f.arena);
    close_without_leases(&f);
}

static void where_there_is_no_room_one_goes_without(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    enum { MANY = 500 };
    static forebay_lease leases[MANY];
    int taken = 0, refused = 0;
    for (int i = 0; i < MANY; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", i);
        forebay_status status = lease_take(&f, key, &leases[taken]);
        assert_true(status == FOREBAY_OK || status == FOREBAY_FULL);
        taken += status == FOREBAY_OK;
        refused += status == FOREBAY_FULL;
    }
    assert_true(taken > (int)f.arena->geometry.lease_count * 3 / 4);
    assert_true(refused > 0);
    assert_int_equal(fb_leases_held(f.arena), taken);
    for (int i = 0; i < taken; i++)
        forebay_lease_end(f.cache, &leases[i]);
    close_without_leases(&f);
}

/* ---- reasons ---- */

static void a_failure_is_told_to_those_who_waited_for_it(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease, others;
    char text[FOREBAY_LEASE_REASON_MAX], large[1000] = {1};
    size_t length = 0;
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(lease_take(&f, "key", &others), FOREBAY_EXISTS);
    assert_int_equal(forebay_lease_reason(f.cache, &others, text, &length), FOREBAY_MISS);
    forebay_lease_fail(f.cache, &lease, "no such table", 13);
    assert_int_equal(forebay_lease_wait(f.cache, &others, 0), FOREBAY_OK);
    assert_int_equal(forebay_lease_reason(f.cache, &others, text, &length), FOREBAY_OK);
    assert_int_equal(length, 13);
    assert_memory_equal(text, "no such table", 13);
    for (uint32_t i = 0; i < f.arena->geometry.lease_note_count; i++) { /* the ring goes round */
        assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
        forebay_lease_fail(f.cache, &lease, large, sizeof large);
    }
    assert_int_equal(forebay_lease_reason(f.cache, &lease, text, &length), FOREBAY_OK);
    assert_int_equal(length, FOREBAY_LEASE_REASON_MAX);
    assert_int_equal(forebay_lease_reason(f.cache, &others, text, &length), FOREBAY_MISS);
    close_without_leases(&f);
}

static void a_value_that_there_is_no_room_for_ends_its_lease_with_an_empty_reason(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    char text[FOREBAY_LEASE_REASON_MAX];
    size_t length = 9, size = (size_t)forebay_arena_max_entry(f.arena) + 1;
    char *large = calloc(1, size);
    assert_non_null(large);
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(forebay_lease_store(f.cache, &lease, "key", 3, large, size, FOREBAY_KIND_BYTES, &(forebay_set_options){0}),
                     FOREBAY_TOOBIG);
    free(large);
    assert_int_equal(forebay_lease_wait(f.cache, &lease, 0), FOREBAY_OK);
    assert_int_equal(forebay_lease_reason(f.cache, &lease, text, &length), FOREBAY_OK);
    assert_int_equal(length, 0);
    close_without_leases(&f);
}

/* The page that counts tokens may be lost in a power failure, those of the notes not. */
static void a_reason_of_before_a_reboot_is_nobodys(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    char text[FOREBAY_LEASE_REASON_MAX];
    size_t length;
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    forebay_lease_fail(f.cache, &lease, "of old", 6);
    atomic_fetch_sub(&f.arena->super->lease_tokens, 1);
    fb_leases_clear(f.arena);
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(forebay_lease_reason(f.cache, &lease, text, &length), FOREBAY_MISS);
    forebay_lease_end(f.cache, &lease);
    close_without_leases(&f);
}

static void arguments_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease, none = {0}, rubbish;
    memset(&rubbish, 0xff, sizeof rubbish);
    assert_int_equal(forebay_lease_take(f.cache, "", 0, 0, &lease), FOREBAY_INVALID);
    assert_int_equal(forebay_lease_take(f.cache, "key", 3, UINT64_MAX, &lease), FOREBAY_OK);
    assert_int_equal(forebay_lease_store(f.cache, &lease, "other", 5, "v", 1, FOREBAY_KIND_BYTES, &(forebay_set_options){0}),
                     FOREBAY_MISS); /* another key than the lease's */
    assert_false(has(&f, "other"));
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(forebay_lease_store(f.cache, &lease, "key", 3, NULL, 5, FOREBAY_KIND_BYTES, &(forebay_set_options){0}),
                     FOREBAY_INVALID); /* ended all the same */
    forebay_lease bad[] = {none, rubbish};
    for (int i = 0; i < 2; i++) {
        assert_false(forebay_lease_holds(f.cache, &bad[i]));
        assert_int_equal(forebay_lease_wait(f.cache, &bad[i], 1000), FOREBAY_OK);
        assert_int_equal(lease_store(&f, "key", &bad[i], "value"), FOREBAY_MISS);
        forebay_lease_end(f.cache, &bad[i]);
        forebay_lease_fail(f.cache, &bad[i], NULL, 5);
    }
    close_without_leases(&f);
}

/* Words that are compared and swapped say which life they are of: who is late, in
 * a process that took the lease again, does not end the newer one. */
static void no_two_leases_have_the_same_word(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    lease_ref last = {0}, ref;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(fb_lease_take(f.arena, 12345, UINT64_MAX, &ref), LEASE_TAKEN);
        assert_int_equal(ref.slot, i == 0 ? ref.slot : last.slot);
        assert_true(ref.token > last.token);
        assert_true(ref.word != last.word);
        assert_true(fb_lease_is_ours(f.arena, &ref));
        assert_true(fb_lease_remove(f.arena, &ref));
        last = ref;
    }
    close_without_leases(&f);
}

/* ---- threads that play processes ---- */

enum { THREADS = 4, KEYS = 3, ROUNDS = 4000 };
typedef struct player {
    int fd, number;
    _Atomic int *loading; /* of each key: how many think they have its lease */
} player;

static void *play(void *context)
{
    player *p = context;
    forebay_arena *arena;
    forebay_cache *cache;
    if (forebay_arena_open_fd(p->fd, NULL, &arena, NULL) != FOREBAY_OK
        || forebay_cache_open(arena, "test", NULL, &cache, NULL) != FOREBAY_OK)
        return "open";
    const char *wrong = NULL;
    for (int round = 0; round < ROUNDS && wrong == NULL; round++) {
        forebay_lease lease;
        char key[2] = {(char)('a' + (round + p->number) % KEYS), 0};
        _Atomic int *loading = &p->loading[key[0] - 'a'];
        forebay_status status = forebay_lease_take(cache, key, 1, HOUR, &lease);
        if (status == FOREBAY_EXISTS)
            status = forebay_lease_wait(cache, &lease, 60000) == FOREBAY_TIMEOUT ? FOREBAY_TIMEOUT : FOREBAY_EXISTS;
        if (status == FOREBAY_OK) {
            if (atomic_fetch_add(loading, 1) != 0)
                wrong = "two had the lease of one key";
            atomic_fetch_sub(loading, 1);
            if (round % 3 == 0)
                forebay_lease_end(cache, &lease);
            else if (forebay_lease_store(cache, &lease, key, 1, "value", 5, FOREBAY_KIND_BYTES, &(forebay_set_options){0})
                     != FOREBAY_OK)
                wrong = "a lease was lost";
        } else if (status != FOREBAY_EXISTS) {
            wrong = status == FOREBAY_TIMEOUT ? "nobody woke a waiter" : "no room";
        }
    }
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return (void *)(uintptr_t)wrong;
}

static void of_many_who_want_it_one_at_a_time_has_the_lease(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    _Atomic int loading[KEYS] = {0};
    pthread_t threads[THREADS];
    player players[THREADS];
    for (int i = 0; i < THREADS; i++) {
        players[i] = (player){forebay_arena_fd(f.arena), i, loading};
        assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong != NULL)
            fail_msg("%s", (const char *)wrong);
    }
    close_without_leases(&f);
}

/* Threads of one process, and of another: the one's words differ in nothing but
 * their lives.  Long leases, so that one that nobody has is not taken for over. */
typedef struct sharer {
    forebay_cache *cache;
    _Atomic int *loading;
} sharer;

static void *share(void *context)
{
    sharer *s = context;
    for (int round = 0; round < 20 * ROUNDS; round++) {
        forebay_lease lease;
        forebay_status status = forebay_lease_take(s->cache, "key", 3, HOUR, &lease);
        if (status == FOREBAY_EXISTS && round % 16 == 0 && forebay_lease_wait(s->cache, &lease, 20000) == FOREBAY_TIMEOUT)
            return "a lease was left that nobody has";
        if (status != FOREBAY_OK)
            continue;
        bool alone = atomic_fetch_add(s->loading, 1) == 0;
        bool holds = forebay_lease_holds(s->cache, &lease);
        atomic_fetch_sub(s->loading, 1);
        forebay_lease_end(s->cache, &lease);
        if (!alone || !holds)
            return alone ? "a lease was taken that did not hold" : "two had the lease of one key";
    }
    return NULL;
}

static void threads_of_one_process_are_kept_apart(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    enum { SHARERS = 12 };
    forebay_arena *other_arena;
    forebay_cache *other;
    _Atomic int loading = 0;
    pthread_t threads[SHARERS];
    sharer sharers[SHARERS];
    const char *wrong = NULL;
    assert_int_equal(forebay_arena_open_fd(forebay_arena_fd(f.arena), NULL, &other_arena, NULL), FOREBAY_OK);
    assert_int_equal(forebay_cache_open(other_arena, "test", NULL, &other, NULL), FOREBAY_OK);
    for (int i = 0; i < SHARERS; i++) {
        sharers[i] = (sharer){i % 4 == 0 ? other : f.cache, &loading};
        assert_int_equal(pthread_create(&threads[i], NULL, share, &sharers[i]), 0);
    }
    for (int i = 0; i < SHARERS; i++) {
        void *said;
        assert_int_equal(pthread_join(threads[i], &said), 0);
        wrong = said != NULL ? said : wrong;
    }
    if (wrong != NULL)
        fail_msg("%s", wrong);
    forebay_cache_close(other);
    forebay_arena_close(other_arena);
    close_without_leases(&f);
}

static void what_is_loaded_outlives_an_entry_that_is_expelled(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease lease;
    forebay_set_options options = {0};
    assert_int_equal(forebay_expel(f.cache, "key", 3), FOREBAY_MISS);
    assert_int_equal(put(&f, "key", "old", 3), FOREBAY_OK);
    assert_int_equal(lease_take(&f, "key", &lease), FOREBAY_OK);
    assert_int_equal(forebay_expel(f.cache, "key", 3), FOREBAY_OK);
    assert_false(has(&f, "key"));
    assert_int_equal(forebay_lease_store(f.cache, &lease, "key", 3, "new", 3, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
    assert_true(has(&f, "key"));
    close_without_leases(&f);
}

static void anybody_may_look_who_loads(void **state)
{
    (void)state;
    fixture f = fixture_open(MIB, 0);
    forebay_lease mine, seen;
    assert_int_equal(forebay_lease_look(f.cache, "key", 3, &seen), FOREBAY_MISS);
    assert_int_equal(lease_take(&f, "key", &mine), FOREBAY_OK);
    assert_int_equal(forebay_lease_look(f.cache, "key", 3, &seen), FOREBAY_OK);
    assert_true(seen.token == mine.token);
    assert_int_equal(forebay_lease_look(f.cache, "other", 5, &seen), FOREBAY_MISS);
    assert_true(seen.token == 0);
    forebay_lease_end(f.cache, &mine);
    assert_int_equal(forebay_lease_look(f.cache, "key", 3, &seen), FOREBAY_MISS);
    close_without_leases(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anybody_may_look_who_loads),
        cmocka_unit_test(what_is_loaded_outlives_an_entry_that_is_expelled),
        cmocka_unit_test(one_of_two_gets_the_lease_and_its_value_is_stored),
        cmocka_unit_test(a_lease_that_ends_without_a_value_can_be_taken_again),
        cmocka_unit_test(whatever_writes_or_removes_the_key_takes_the_lease_away),
        cmocka_unit_test(a_clear_takes_the_lease_away_however_many_follow),
        cmocka_unit_test(others_keys_take_no_lease_away),
        cmocka_unit_test(a_refresh_replaces_what_is_there_unless_that_changed),
        cmocka_unit_test(an_invalidated_tag_catches_what_was_being_loaded),
        cmocka_unit_test(a_lease_held_too_long_is_taken_over_and_its_value_comes_too_late),
        cmocka_unit_test(a_killed_owners_lease_is_over_within_moments),
        cmocka_unit_test(a_child_of_a_fork_has_no_part_in_its_parents_leases),
        cmocka_unit_test(words_of_the_dead_are_free_again_where_there_is_no_other),
        cmocka_unit_test(where_there_is_no_room_one_goes_without),
        cmocka_unit_test(a_failure_is_told_to_those_who_waited_for_it),
        cmocka_unit_test(a_value_that_there_is_no_room_for_ends_its_lease_with_an_empty_reason),
        cmocka_unit_test(a_reason_of_before_a_reboot_is_nobodys),
        cmocka_unit_test(arguments_that_make_no_sense_are_refused),
        cmocka_unit_test(no_two_leases_have_the_same_word),
        cmocka_unit_test(of_many_who_want_it_one_at_a_time_has_the_lease),
        cmocka_unit_test(threads_of_one_process_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
