/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a word to change: futex.c. */
#include "arena_fixture.h"

#include <pthread.h>
#include <signal.h>

#include "base/futex.h"

#define MS 1000000 /* ns */
#define LONG (INT64_C(20000) * MS)

static const futex_scope scopes[] = { FUTEX_OF_MACHINE, FUTEX_OF_PROCESS };

static void a_word_that_has_changed_is_not_waited_for(void **state)
{
    (void)state;
    _Atomic uint32_t word = 1;
    for (int i = 0; i < 2; i++) {
        int64_t begun = fb_monotonic_ns();
        assert_true(fb_futex_wait(&word, 2, LONG, scopes[i]));
        assert_true(fb_monotonic_ns() - begun < LONG / 2);
    }
}

static void the_wait_ends_by_itself(void **state)
{
    (void)state;
    _Atomic uint32_t word = 1;
    for (int i = 0; i < 2; i++) {
        int64_t begun = fb_monotonic_ns();
        assert_true(fb_futex_wait(&word, 1, 20 * MS, scopes[i]));
        assert_true(fb_monotonic_ns() - begun >= 20 * MS);
    }
}

typedef struct sleeper {
    pthread_t thread;
    futex_scope scope;
    _Atomic uint32_t word;
    bool undisturbed;
} sleeper;

static void *sleep_until_it_changes(void *argument)
{
    sleeper *s = argument;
    while (atomic_load(&s->word) == 0 && (s->undisturbed = fb_futex_wait(&s->word, 0, LONG, s->scope)))
        ;
    return NULL;
}

static void a_wake_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        sleeper s = { .scope = scopes[i] };
        int64_t begun = fb_monotonic_ns();
        assert_int_equal(pthread_create(&s.thread, NULL, sleep_until_it_changes, &s), 0);
        sleep_ms(20);
        atomic_store(&s.word, 1);
        fb_futex_wake(&s.word, 1, s.scope);
        assert_int_equal(pthread_join(s.thread, NULL), 0);
        assert_true(s.undisturbed);
        assert_true(fb_monotonic_ns() - begun < LONG / 2);
    }
}

static void do_nothing(int number) { (void)number; }

static void a_signal_interrupts_it(void **state)
{
    (void)state;
    struct sigaction action = { .sa_handler = do_nothing }, before;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    sleeper s = { .scope = FUTEX_OF_MACHINE, .undisturbed = true };
    int64_t begun = fb_monotonic_ns();
    assert_int_equal(pthread_create(&s.thread, NULL, sleep_until_it_changes, &s), 0);
    for (int i = 0; i < 50; i++) { /* it may not sleep yet */
        sleep_ms(10);
        (void)pthread_kill(s.thread, SIGUSR1);
        if (pthread_tryjoin_np(s.thread, NULL) == 0)
            break;
    }
    assert_false(s.undisturbed);
    assert_true(fb_monotonic_ns() - begun < LONG / 2);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_that_has_changed_is_not_waited_for),
        cmocka_unit_test(the_wait_ends_by_itself),
        cmocka_unit_test(a_wake_ends_it),
        cmocka_unit_test(a_signal_interrupts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
