# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker of a tier."""

import logging
import threading

import pytest

from forebay.tiers._breaker import FAILURES, PAUSE_MAX, PAUSE_MIN, Breaker
from forking import fork_to_run, wait_for
from pooled import Call

ERROR = ConnectionError("nobody there")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("the tier", clock)


def open_it(breaker):
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.failed(ERROR)
    assert breaker.state == "open"


def test_one_failure_changes_nothing(breaker):
    breaker.failed(ERROR)
    assert breaker.state == "closed" and breaker.allows() and not breaker.is_open
    breaker.succeeded()
    breaker.failed(ERROR)
    assert breaker.state == "closed"


def test_two_in_a_row_open_it_and_calls_are_counted(breaker):
    open_it(breaker)
    assert [breaker.allows() for _ in range(5)] == [False] * 5
    assert (breaker.opened, breaker.skipped, breaker.is_open) == (1, 5, True)


def test_after_a_pause_one_may_try(breaker, clock):
    open_it(breaker)
    clock.now += PAUSE_MIN
    assert breaker.state == "half-open"
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    assert breaker.state == "half-open" and breaker.is_open
    breaker.succeeded()
    assert breaker.state == "closed" and breaker.allows()


def pauses(breaker, clock, count):
    for _ in range(count):
        begin = clock.now
        while not breaker.allows():
            clock.now += 0.005
        yield clock.now - begin
        breaker.failed(ERROR)


def test_pauses_double_up_to_a_limit_and_begin_small_again(breaker, clock):
    open_it(breaker)
    waited = list(pauses(breaker, clock, 12))
    for number, pause in enumerate(waited):
        most = min(PAUSE_MIN * 2**number, PAUSE_MAX)
        assert most / 2 - 0.006 <= pause <= most + 0.006, (number, pause)
    clock.now += PAUSE_MAX
    assert breaker.allows()
    breaker.succeeded()
    open_it(breaker)
    assert next(pauses(breaker, clock, 1)) <= PAUSE_MIN + 0.006
    assert breaker.opened == 2


def test_many_that_fail_at_once_count_as_one(breaker, clock):
    for _ in range(50):
        assert breaker.allows()
    for _ in range(50):
        breaker.failed(ERROR)
    clock.now += PAUSE_MIN
    assert breaker.allows()
    breaker.failed(ERROR)
    clock.now += 2 * PAUSE_MIN
    assert breaker.allows()


def test_a_try_that_is_cut_short_leaves_it_to_another(breaker, clock):
    open_it(breaker)
    clock.now += PAUSE_MIN
    assert breaker.allows() and not breaker.allows()
    breaker.unknown()
    assert breaker.allows() and not breaker.allows()


def test_a_try_of_which_nothing_is_heard_is_not_waited_for_for_ever(breaker, clock):
    open_it(breaker)
    clock.now += PAUSE_MIN
    assert breaker.allows()
    clock.now += PAUSE_MAX - 0.01
    assert not breaker.allows()
    clock.now += 0.02
    assert breaker.allows()


def test_a_call_that_was_cut_short_opens_nothing(breaker):
    for _ in range(10):
        assert breaker.allows()
        breaker.unknown()
    assert breaker.state == "closed"


def test_a_late_success_closes_it(breaker):
    open_it(breaker)
    breaker.succeeded()
    assert breaker.state == "closed"


def test_it_says_once_that_it_opens_and_closes(breaker, clock, caplog):
    caplog.set_level(logging.INFO, "forebay.tiers")
    open_it(breaker)
    list(pauses(breaker, clock, 3))
    clock.now += PAUSE_MAX
    assert breaker.allows()
    breaker.succeeded()
    assert [record.getMessage() for record in caplog.records] == [
        "the tier is left out: ConnectionError: nobody there", "the tier answers again",
    ]  # fmt: skip


def test_of_many_threads_one_tries(breaker, clock):
    open_it(breaker)
    clock.now += PAUSE_MIN
    start = threading.Barrier(8)

    def work(_):
        start.wait(30)
        return breaker.allows()

    assert sum(call.result() for call in [Call(work, number) for number in range(8)]) == 1


def test_a_fork_while_another_thread_has_the_lock(breaker, clock):
    open_it(breaker)
    clock.now += PAUSE_MIN
    breaker._lock.acquire()

    def child():
        assert breaker.allows()
        breaker.succeeded()
        assert breaker.state == "closed"

    pid = fork_to_run(child)
    breaker._lock.release()
    wait_for(pid)
