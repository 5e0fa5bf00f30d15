/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_fixture.h"

#include <pthread.h>

#include "arena/counters.h"

typedef struct fixture {
    char path[64];
    forebay_arena *arena;
} fixture;

static void set_life(forebay_arena *arena, uint32_t cache, uint64_t life)
{
    atomic_store(&arena->caches[cache].word, life << 8 | 1);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->path, sizeof f->path, "%s", fresh_path());
    f->arena = open_sized(f->path, MIB);
    for (uint32_t i = 0; i < f->arena->geometry.cache_count; i++)
        set_life(f->arena, i, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    forebay_arena_close(f->arena);
    unlink(f->path);
    free(f);
    return 0;
}

static void add_hits(forebay_arena *arena, uint32_t cache, uint64_t hits)
{
    arena_counters *line = fb_counters_line(arena, cache);
    atomic_fetch_add(&line->counts[COUNTER_HITS], hits);
    atomic_fetch_add(&line->entries, 1);
}

static uint64_t hits_of(forebay_arena *arena, uint32_t cache)
{
    counter_sums sums;
    fb_counters_sum(arena, cache, &sums);
    return sums.counts[COUNTER_HITS];
}

static void a_handle_keeps_one_line_for_each_cache(void **state)
{
    forebay_arena *arena = ((fixture *)*state)->arena;
    arena_counters *first = fb_counters_line(arena, 0);
    assert_ptr_equal(fb_counters_line(arena, 0), first);
    assert_ptr_not_equal(fb_counters_line(arena, 1), first);
    assert_ptr_equal(fb_counters_line(arena, 0), first);
    assert_true(first >= arena->counters + arena->geometry.cache_count); /* its own, not the shared one */
}

static void two_handles_write_to_lines_of_their_own_and_the_sum_counts_both(void **state)
{
    fixture *f = *state;
    forebay_arena *second = open_sized(f->path, 0);
    assert_ptr_not_equal((uint8_t *)fb_counters_line(f->arena, 3) - f->arena->base,
                         (uint8_t *)fb_counters_line(second, 3) - second->base);
    add_hits(f->arena, 3, 5);
    add_hits(second, 3, 7);
    add_hits(second, 4, 100);
    assert_int_equal(hits_of(f->arena, 3), 12);
    forebay_arena_close(second);
    assert_int_equal(hits_of(f->arena, 3), 12); /* left behind, not lost */
}

static void the_next_handle_inherits_what_the_last_one_left(void **state)
{
    fixture *f = *state;
    uintptr_t places[3];
    for (int i = 0; i < 3; i++) {
        forebay_arena *handle = open_sized(f->path, 0);
        add_hits(handle, 3, 10);
        places[i] = (uintptr_t)fb_counters_line(handle, 3) - (uintptr_t)handle->base;
        forebay_arena_close(handle);
    }
    assert_int_equal(hits_of(f->arena, 3), 30);
    assert_int_equal(places[0], places[1]);
    assert_int_equal(places[1], places[2]);
}

static void count_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    for (uint32_t cache = 0; cache < 4; cache++)
        add_hits(arena, cache, 10 + cache);
    peer_say(parent, 1);
    (void)peer_hear(parent);
}

static void counts_of_a_killed_process_are_kept_and_inherited(void **state)
{
    fixture *f = *state;
    peer p = peer_start(count_and_wait, f->path);
    (void)peer_hear(&p);
    peer_kill(&p);
    assert_int_equal(hits_of(f->arena, 2), 12);
    assert_int_equal(fb_rows_sweep(f->arena), 1);
    assert_int_equal(hits_of(f->arena, 2), 12);
    add_hits(f->arena, 2, 1);
    assert_int_equal(hits_of(f->arena, 2), 13);
    assert_int_equal(atomic_load(&fb_counters_line(f->arena, 2)->counts[COUNTER_HITS]), 13); /* in the inherited line */
}

static void restarts_do_not_use_up_the_lines(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 300; i++) {
        forebay_arena *handle = open_sized(f->path, 0);
        for (uint32_t cache = 0; cache < 8; cache++)
            add_hits(handle, cache, 1);
        forebay_arena_close(handle);
    }
    for (uint32_t cache = 0; cache < 8; cache++) {
        assert_int_equal(hits_of(f->arena, cache), 300);
        assert_true(fb_counters_line(f->arena, cache) >= f->arena->counters + f->arena->geometry.cache_count);
    }
}

static void when_no_line_is_left_the_shared_one_serves_and_nothing_is_lost(void **state)
{
    fixture *f = *state;
    forebay_arena *handles[8];
    uint32_t caches = f->arena->geometry.cache_count; /* 16 x 8 handles: more than the 64 lines */
    for (int i = 0; i < 8; i++)
        handles[i] = open_sized(f->path, 0);
    int shared = 0;
    for (int i = 0; i < 8; i++) {
        for (uint32_t cache = 0; cache < caches; cache++) {
            add_hits(handles[i], cache, 3);
            shared += fb_counters_line(handles[i], cache) == handles[i]->counters + cache;
        }
    }
    assert_int_equal(shared, 8 * 16 - 64);
    for (uint32_t cache = 0; cache < caches; cache++)
        assert_int_equal(hits_of(f->arena, cache), 24);
    for (int i = 0; i < 8; i++)
        forebay_arena_close(handles[i]);
    for (uint32_t cache = 0; cache < caches; cache++)
        assert_int_equal(hits_of(f->arena, cache), 24);
}

static void counts_begin_again_when_the_cache_is_made_anew(void **state)
{
    fixture *f = *state;
    add_hits(f->arena, 5, 9);
    fb_counters_forget(f->arena, 5);
    set_life(f->arena, 5, 2);
    assert_int_equal(hits_of(f->arena, 5), 0);
    add_hits(f->arena, 5, 2);
    assert_int_equal(hits_of(f->arena, 5), 2);
}

static void a_shared_line_begins_again_with_the_cache_too(void **state)
{
    fixture *f = *state;
    forebay_arena *arena = f->arena;
    for (uint32_t i = arena->geometry.cache_count; i < arena->geometry.counter_count; i++)
        atomic_store(&arena->counters[i].owner_and_cache, UINT64_C(999) << 36 | UINT64_C(2) << 24 | 15 << 1 | 1); /* another's */
    add_hits(arena, 5, 9);
    assert_ptr_equal(fb_counters_line(arena, 5), arena->counters + 5);
    fb_counters_forget(arena, 5);
    set_life(arena, 5, 2);
    assert_int_equal(hits_of(arena, 5), 0);
    add_hits(arena, 5, 1);
    assert_int_equal(hits_of(arena, 5), 1);
}

static void lines_of_dropped_caches_are_used_again(void **state)
{
    fixture *f = *state;
    for (uint64_t life = 1; life < 500; life++) {
        set_life(f->arena, 6, life);
        add_hits(f->arena, 6, life);
        assert_int_equal(hits_of(f->arena, 6), life);
        assert_true(fb_counters_line(f->arena, 6) >= f->arena->counters + f->arena->geometry.cache_count);
    }
}

static void any_bytes_in_the_lines_are_borne(void **state)
{
    fixture *f = *state;
    unsigned seed = 7;
    for (uint32_t i = 0; i < f->arena->geometry.counter_count * sizeof(arena_counters); i++)
        ((uint8_t *)f->arena->counters)[i] = (uint8_t)rand_r(&seed);
    for (uint32_t cache = 0; cache < f->arena->geometry.cache_count; cache++) {
        assert_non_null(fb_counters_line(f->arena, cache));
        (void)hits_of(f->arena, cache);
        fb_counters_forget(f->arena, cache);
    }
    fb_counters_orphan(f->arena, 0, 1);
}

typedef struct adder {
    forebay_arena *arena;
    pthread_t thread;
} adder;

static void *add_many(void *context)
{
    const adder *a = context;
    for (int i = 0; i < 2000; i++)
        add_hits(a->arena, (uint32_t)i % 16, 1);
    return NULL;
}

static void nothing_is_lost_when_threads_and_handles_take_lines_at_once(void **state)
{
    fixture *f = *state;
    adder adders[8];
    for (int i = 0; i < 8; i++) {
        adders[i].arena = i % 2 == 0 ? f->arena : open_sized(f->path, 0);
        assert_non_null(adders[i].arena);
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&adders[i].thread, NULL, add_many, &adders[i]), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(adders[i].thread, NULL);
    for (int i = 1; i < 8; i += 2)
        forebay_arena_close(adders[i].arena);
    uint64_t sum = 0;
    for (uint32_t cache = 0; cache < 16; cache++)
        sum += hits_of(f->arena, cache);
    assert_int_equal(sum, 8 * 2000);
}

#define COUNTER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COUNTER_TEST(a_handle_keeps_one_line_for_each_cache),
        COUNTER_TEST(two_handles_write_to_lines_of_their_own_and_the_sum_counts_both),
        COUNTER_TEST(the_next_handle_inherits_what_the_last_one_left),
        COUNTER_TEST(counts_of_a_killed_process_are_kept_and_inherited),
        COUNTER_TEST(restarts_do_not_use_up_the_lines),
        COUNTER_TEST(when_no_line_is_left_the_shared_one_serves_and_nothing_is_lost),
        COUNTER_TEST(counts_begin_again_when_the_cache_is_made_anew),
        COUNTER_TEST(a_shared_line_begins_again_with_the_cache_too),
        COUNTER_TEST(lines_of_dropped_caches_are_used_again),
        COUNTER_TEST(any_bytes_in_the_lines_are_borne),
        COUNTER_TEST(nothing_is_lost_when_threads_and_handles_take_lines_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
