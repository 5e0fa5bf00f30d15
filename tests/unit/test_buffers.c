/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of buffers: buffers.c, buffer_slabs.c, buffer_queue.c, buffers_fork.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <forebay/buffers.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define LONG_MS 60000u

static forebay_buffers *open_pool(size_t max_bytes, size_t min_buffer, size_t max_buffer)
{
    forebay_buffers_options options = { max_bytes, min_buffer, max_buffer, FOREBAY_IDLE_FOR_EVER, false };
    forebay_buffers *buffers;
    assert_int_equal(forebay_buffers_open(&options, &buffers), FOREBAY_OK);
    return buffers;
}

static forebay_buffer *take(forebay_buffers *buffers, size_t size)
{
    forebay_buffer *buffer;
    assert_int_equal(forebay_buffers_take(buffers, size, NULL, &buffer), FOREBAY_OK);
    assert_true(buffer->capacity >= size);
    return buffer;
}

static void refused(forebay_buffers *buffers, size_t size, forebay_status expected)
{
    forebay_buffer *buffer = (forebay_buffer *)(uintptr_t)1;
    assert_int_equal(forebay_buffers_take(buffers, size, NULL, &buffer), expected);
    assert_null(buffer);
}

static forebay_buffers_stats stats_of(forebay_buffers *buffers)
{
    forebay_buffers_stats stats;
    forebay_buffers_get_stats(buffers, &stats);
    return stats;
}

static size_t resident(const forebay_buffer *buffer)
{
    unsigned char pages[MIB / 4096];
    size_t count = buffer->capacity / 4096, there = 0;
    assert_true(count <= sizeof pages);
    assert_int_equal(mincore(buffer->data, buffer->capacity, pages), 0);
    for (size_t i = 0; i < count; i++)
        there += pages[i] & 1;
    return there * 4096;
}

static void classes_are_powers_of_two_and_the_largest_as_asked(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(MIB, 5000, 100 * KIB);
    forebay_buffers_stats stats = stats_of(buffers);
    assert_int_equal(stats.class_count, 5);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(stats.classes[i].capacity, 8192 << i);
    assert_int_equal(stats.classes[4].capacity, 100 * KIB);
    assert_int_equal(forebay_buffers_largest(buffers), 100 * KIB);
    size_t sizes[] = { 1, 8192, 8193, 16384, 64 * KIB, 64 * KIB + 1, 100 * KIB };
    size_t capacities[] = { 8192, 8192, 16384, 16384, 64 * KIB, 100 * KIB, 100 * KIB };
    for (size_t i = 0; i < 7; i++) {
        forebay_buffer *buffer = take(buffers, sizes[i]);
        assert_int_equal(buffer->capacity, capacities[i]);
        memset(buffer->data, 1, buffer->capacity);
        forebay_buffers_give(buffers, buffer);
    }
    refused(buffers, 100 * KIB + 1, FOREBAY_TOOBIG);
    forebay_buffers_free(buffers);
}

static void contradicting_options_are_refused(void **state)
{
    (void)state;
    size_t wrong[][3] = {
        { MIB, 8192, 4096 }, { MIB, 4096, 2 * MIB }, { MIB, 4096, 0 }, { 4095, 1, 1 }, { SIZE_MAX, 1, SIZE_MAX },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        forebay_buffers_options options = { wrong[i][0], wrong[i][1], wrong[i][2], FOREBAY_IDLE_FOR_EVER, false };
        forebay_buffers *buffers = (forebay_buffers *)(uintptr_t)1;
        assert_int_equal(forebay_buffers_open(&options, &buffers), FOREBAY_INVALID);
        assert_null(buffers);
    }
    forebay_buffers_free(NULL);
}

static void the_buffer_given_back_last_is_taken_first(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(MIB, 4096, 64 * KIB);
    forebay_buffer *a = take(buffers, 4096), *b = take(buffers, 4096), *c = take(buffers, 4096);
    assert_ptr_not_equal(a->data, b->data);
    forebay_buffers_give(buffers, a);
    forebay_buffers_give(buffers, c);
    forebay_buffers_give(buffers, b);
    assert_ptr_equal(take(buffers, 4000), b);
    assert_ptr_equal(take(buffers, 4000), c);
    assert_ptr_equal(take(buffers, 4000), a);
    forebay_buffers_stats stats = stats_of(buffers);
    assert_int_equal(stats.classes[0].hits, 3);
    assert_int_equal(stats.classes[0].misses, 3);
    assert_int_equal(stats.classes[0].in_use, 3);
    assert_int_equal(stats.in_use_bytes, 3 * 4096);
    forebay_buffers_give(buffers, a);
    forebay_buffers_give(buffers, b);
    forebay_buffers_give(buffers, c);
    forebay_buffers_free(buffers);
}

static void idle_ones_of_other_classes_make_room_the_longest_idle_first(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(128 * KIB, 4096, 64 * KIB);
    forebay_buffer *small[16];
    for (int i = 0; i < 16; i++)
        small[i] = take(buffers, 4096);
    forebay_buffer *large = take(buffers, 64 * KIB);
    memset(large->data, 1, large->capacity);
    for (int i = 0; i < 16; i++) {
        memset(small[i]->data, 1, 4096);
        forebay_buffers_give(buffers, small[i]);
    }
    assert_int_equal(resident(small[0]), 4096);
    forebay_buffer *middle = take(buffers, 8 * KIB); /* of two small ones */
    assert_int_equal(resident(small[0]), 0);
    assert_int_equal(resident(small[1]), 0);
    assert_int_equal(resident(small[2]), 4096);
    forebay_buffers_stats stats = stats_of(buffers);
    assert_int_equal(stats.bytes, 128 * KIB);
    assert_int_equal(stats.given_up, 2);
    assert_int_equal(stats.classes[0].idle, 14);
    refused(buffers, 64 * KIB, FOREBAY_BUSY); /* would not fit with all that is idle given up: it is kept */
    assert_int_equal(stats_of(buffers).classes[0].idle, 14);
    forebay_buffers_give(buffers, large);
    forebay_buffers_give(buffers, middle);
    forebay_buffers_free(buffers);
}

static void let_the_clock_tick(void)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &begin);
    do {
        usleep(1000);
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    } while (now.tv_sec == begin.tv_sec && now.tv_nsec / 1000000 == begin.tv_nsec / 1000000);
}

static void of_several_classes_the_longest_idle_one_goes(void **state)
{
    (void)state;
    for (int small_first = 0; small_first < 2; small_first++) {
        forebay_buffers *buffers = open_pool(48 * KIB, 4096, 32 * KIB);
        forebay_buffer *small = take(buffers, 8 * KIB), *large = take(buffers, 16 * KIB), *third = take(buffers, 16 * KIB);
        forebay_buffers_give(buffers, small_first ? small : large);
        let_the_clock_tick();
        forebay_buffers_give(buffers, small_first ? large : small);
        forebay_buffer *fourth = take(buffers, 4096); /* fits beside them */
        forebay_buffer *fifth = take(buffers, 4096), *sixth = take(buffers, 4096);
        forebay_buffers_stats stats = stats_of(buffers);
        assert_int_equal(stats.classes[1].idle, !small_first);
        assert_int_equal(stats.classes[2].idle, small_first);
        forebay_buffer *taken[] = { third, fourth, fifth, sixth };
        for (int i = 0; i < 4; i++)
            forebay_buffers_give(buffers, taken[i]);
        forebay_buffers_free(buffers);
    }
}

static void a_fresh_buffer_is_zero_and_trimming_takes_memory_and_content(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(MIB, 4096, 512 * KIB);
    forebay_buffer *buffer = take(buffers, 512 * KIB);
    for (size_t i = 0; i < buffer->capacity; i++)
        assert_int_equal(((uint8_t *)buffer->data)[i], 0);
    memset(buffer->data, 7, buffer->capacity);
    assert_int_equal(forebay_buffers_trim(buffers, 0), 0); /* in use */
    forebay_buffers_give(buffers, buffer);
    assert_int_equal(forebay_buffers_trim(buffers, LONG_MS), 0);
    assert_int_equal(resident(buffer), 512 * KIB);
    assert_int_equal(forebay_buffers_trim(buffers, 0), 512 * KIB);
    assert_int_equal(resident(buffer), 0);
    assert_int_equal(stats_of(buffers).bytes, 0);
    assert_ptr_equal(take(buffers, 512 * KIB), buffer); /* its address is used again */
    assert_int_equal(((uint8_t *)buffer->data)[1], 0);
    forebay_buffers_give(buffers, buffer);
    forebay_buffers_free(buffers);
}

static void what_nobody_wants_for_long_loses_its_memory_while_the_pool_is_used(void **state)
{
    (void)state;
    forebay_buffers_options options = { MIB, 4096, 64 * KIB, 0, true }; /* each is idle too long at once */
    forebay_buffers *buffers;
    assert_int_equal(forebay_buffers_open(&options, &buffers), FOREBAY_OK);
    for (int i = 0; i < 20; i++)
        forebay_buffers_give(buffers, take(buffers, 4096 << (i % 5)));
    assert_true(stats_of(buffers).given_up >= 3);
    forebay_buffers_free(buffers);
}

static void after_closing_nothing_is_taken_and_what_comes_back_is_unmapped(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(MIB, 4096, 64 * KIB);
    forebay_buffer *buffer = take(buffers, 4096), *idle = take(buffers, 8192);
    forebay_buffers_give(buffers, idle);
    forebay_buffers_close(buffers);
    assert_int_equal(stats_of(buffers).bytes, 4096);
    refused(buffers, 1, FOREBAY_CLOSED);
    memset(buffer->data, 1, buffer->capacity);
    forebay_buffers_give(buffers, buffer);
    assert_int_equal(stats_of(buffers).bytes, 0);
    forebay_buffers_close(buffers);
    forebay_buffers_free(buffers);
}

/* ---- waiting ---- */

static void waiters_are_served_in_their_order_and_nobody_overtakes(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(64 * KIB, 4096, 64 * KIB);
    forebay_buffer *a = take(buffers, 32 * KIB), *b = take(buffers, 32 * KIB), *out;
    forebay_buffer_waiter *large, *small, *third;
    assert_int_equal(forebay_buffers_take(buffers, 64 * KIB, &large, &out), FOREBAY_BUSY);
    assert_int_equal(forebay_buffers_take(buffers, 4096, &small, &out), FOREBAY_BUSY);
    assert_int_equal(forebay_buffers_take(buffers, 4096, &third, &out), FOREBAY_BUSY);
    forebay_buffers_give(buffers, a);
    refused(buffers, 4096, FOREBAY_BUSY); /* there is room, but not for the first of the queue */
    assert_int_equal(forebay_buffers_wait(buffers, small, 0, &out), FOREBAY_TIMEOUT);
    assert_int_equal(stats_of(buffers).waiting, 3);
    forebay_buffers_give(buffers, b);
    assert_int_equal(forebay_buffers_wait(buffers, large, LONG_MS, &out), FOREBAY_OK);
    assert_int_equal(out->capacity, 64 * KIB);
    assert_int_equal(forebay_buffers_wait(buffers, small, 0, &a), FOREBAY_TIMEOUT);
    forebay_buffers_give(buffers, out);
    assert_int_equal(forebay_buffers_wait(buffers, small, LONG_MS, &a), FOREBAY_OK);
    assert_int_equal(forebay_buffers_wait(buffers, third, LONG_MS, &b), FOREBAY_OK);
    assert_int_equal(stats_of(buffers).waits, 3);
    assert_int_equal(stats_of(buffers).waiting, 0);
    forebay_buffers_give(buffers, a);
    forebay_buffers_give(buffers, b);
    forebay_buffers_free(buffers);
}

static void who_leaves_the_queue_lets_those_behind_have_what_there_is(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(64 * KIB, 4096, 64 * KIB);
    forebay_buffer *a = take(buffers, 32 * KIB), *out;
    forebay_buffer_waiter *large, *small;
    assert_int_equal(forebay_buffers_take(buffers, 64 * KIB, &large, &out), FOREBAY_BUSY);
    assert_int_equal(forebay_buffers_take(buffers, 4096, &small, &out), FOREBAY_BUSY);
    assert_null(forebay_buffers_leave(buffers, large));
    assert_int_equal(forebay_buffers_wait(buffers, small, LONG_MS, &out), FOREBAY_OK);
    forebay_buffers_give(buffers, out);
    /* given at the moment of leaving: it is the leaver's */
    assert_int_equal(forebay_buffers_take(buffers, 64 * KIB, &large, &out), FOREBAY_BUSY);
    forebay_buffers_give(buffers, a);
    out = forebay_buffers_leave(buffers, large);
    assert_non_null(out);
    forebay_buffers_give(buffers, out);
    forebay_buffers_free(buffers);
}

static void closing_ends_all_waits(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(4096, 4096, 4096);
    forebay_buffer *a = take(buffers, 1), *out;
    forebay_buffer_waiter *first, *second;
    assert_int_equal(forebay_buffers_take(buffers, 1, &first, &out), FOREBAY_BUSY);
    assert_int_equal(forebay_buffers_take(buffers, 1, &second, &out), FOREBAY_BUSY);
    forebay_buffers_close(buffers);
    assert_int_equal(forebay_buffers_wait(buffers, first, LONG_MS, &out), FOREBAY_CLOSED);
    assert_null(forebay_buffers_leave(buffers, second));
    forebay_buffers_give(buffers, a);
    forebay_buffers_free(buffers);
}

/* ---- threads ---- */

#define THREADS 8
#define ROUNDS 3000

typedef struct crew_work {
    forebay_buffers *buffers;
    _Atomic size_t in_use; /* bytes, as the threads know them */
    _Atomic bool over;
} crew_work;

static size_t a_size(unsigned *seed)
{
    return (size_t)4096 << rand_r(seed) % 5;
}

static void use(crew_work *crew, forebay_buffer *buffer, unsigned char mark)
{
    if (atomic_fetch_add(&crew->in_use, buffer->capacity) + buffer->capacity > 128 * KIB)
        atomic_store(&crew->over, true);
    memset(buffer->data, mark, 4096);
    sched_yield();
    for (size_t i = 0; i < 4096; i++)
        if (((uint8_t *)buffer->data)[i] != mark)
            atomic_store(&crew->over, true);
    atomic_fetch_sub(&crew->in_use, buffer->capacity);
    forebay_buffers_give(crew->buffers, buffer);
}

static void *work(void *argument)
{
    static _Atomic unsigned number;
    crew_work *crew = argument;
    unsigned seed = atomic_fetch_add(&number, 1) + 1;
    unsigned char mark = (unsigned char)seed;
    for (int i = 0; i < ROUNDS; i++) {
        forebay_buffer_waiter *waiter;
        forebay_buffer *buffer;
        forebay_status status = forebay_buffers_take(crew->buffers, a_size(&seed), &waiter, &buffer);
        if (status == FOREBAY_BUSY) {
            status = forebay_buffers_wait(crew->buffers, waiter, rand_r(&seed) % 8 == 0 ? 0 : LONG_MS, &buffer);
            if (status == FOREBAY_TIMEOUT || status == FOREBAY_INTERRUPTED)
                buffer = forebay_buffers_leave(crew->buffers, waiter);
        }
        if (buffer != NULL)
            use(crew, buffer, mark);
        if (rand_r(&seed) % 64 == 0)
            (void)forebay_buffers_trim(crew->buffers, 0);
    }
    return NULL;
}

static void threads_never_share_a_buffer_nor_use_more_than_there_may_be(void **state)
{
    (void)state;
    crew_work crew = { .buffers = open_pool(128 * KIB, 4096, 64 * KIB) };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &crew), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&crew.over));
    forebay_buffers_stats stats = stats_of(crew.buffers);
    assert_int_equal(stats.in_use_bytes, 0);
    assert_int_equal(stats.waiting, 0);
    assert_true(stats.waits > 0);
    forebay_buffers_free(crew.buffers);
}

/* ---- fork ---- */

static void expect_good_child(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int child_uses_its_own(forebay_buffers *buffers, forebay_buffer *mine, forebay_buffer_waiter *waiter)
{
    forebay_buffer *out;
    if (((uint8_t *)mine->data)[0] != 5 || stats_of(buffers).in_use_bytes != 0 || stats_of(buffers).waiting != 0)
        return 1;
    if (forebay_buffers_wait(buffers, waiter, LONG_MS, &out) != FOREBAY_BUSY) /* forgotten: take again */
        return 2;
    if (forebay_buffers_take(buffers, 8192, NULL, &out) != FOREBAY_OK) /* all of it, beside what was in use */
        return 3;
    memset(out->data, 6, out->capacity);
    forebay_buffers_give(buffers, mine);
    if (stats_of(buffers).bytes != 8192 || stats_of(buffers).in_use_bytes != 8192)
        return 4;
    forebay_buffers_give(buffers, out);
    forebay_buffers_free(buffers);
    return 0;
}

static void a_child_counts_only_what_it_takes_itself(void **state)
{
    (void)state;
    forebay_buffers *buffers = open_pool(8192, 4096, 8192);
    forebay_buffer *mine = take(buffers, 8192), *out;
    memset(mine->data, 5, mine->capacity);
    forebay_buffer_waiter *waiter;
    assert_int_equal(forebay_buffers_take(buffers, 1, &waiter, &out), FOREBAY_BUSY);
    pid_t child = fork();
    if (child == 0)
        _exit(child_uses_its_own(buffers, mine, waiter));
    expect_good_child(child);
    assert_int_equal(((uint8_t *)mine->data)[0], 5);
    assert_int_equal(stats_of(buffers).in_use_bytes, 8192);
    assert_null(forebay_buffers_leave(buffers, waiter));
    forebay_buffers_give(buffers, mine);
    forebay_buffers_free(buffers);
}

static void *take_and_give_until_told(void *argument)
{
    crew_work *crew = argument;
    while (!atomic_load(&crew->over))
        forebay_buffers_give(crew->buffers, take(crew->buffers, 4096));
    return NULL;
}

static void a_child_finds_no_lock_held(void **state)
{
    (void)state;
    crew_work crew = { .buffers = open_pool(MIB, 4096, 4096) };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take_and_give_until_told, &crew), 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(30); /* a lock that nobody unlocks ends the test */
            forebay_buffer *buffer;
            forebay_status status = forebay_buffers_take(crew.buffers, 1, NULL, &buffer);
            if (status == FOREBAY_OK)
                forebay_buffers_give(crew.buffers, buffer);
            _exit(status == FOREBAY_OK ? 0 : 1);
        }
        expect_good_child(child);
    }
    atomic_store(&crew.over, true);
    pthread_join(thread, NULL);
    forebay_buffers_free(crew.buffers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_powers_of_two_and_the_largest_as_asked),
        cmocka_unit_test(contradicting_options_are_refused),
        cmocka_unit_test(the_buffer_given_back_last_is_taken_first),
        cmocka_unit_test(idle_ones_of_other_classes_make_room_the_longest_idle_first),
        cmocka_unit_test(of_several_classes_the_longest_idle_one_goes),
        cmocka_unit_test(a_fresh_buffer_is_zero_and_trimming_takes_memory_and_content),
        cmocka_unit_test(what_nobody_wants_for_long_loses_its_memory_while_the_pool_is_used),
        cmocka_unit_test(after_closing_nothing_is_taken_and_what_comes_back_is_unmapped),
        cmocka_unit_test(waiters_are_served_in_their_order_and_nobody_overtakes),
        cmocka_unit_test(who_leaves_the_queue_lets_those_behind_have_what_there_is),
        cmocka_unit_test(closing_ends_all_waits),
        cmocka_unit_test(threads_never_share_a_buffer_nor_use_more_than_there_may_be),
        cmocka_unit_test(a_child_counts_only_what_it_takes_itself),
        cmocka_unit_test(a_child_finds_no_lock_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
