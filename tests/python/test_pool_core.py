# SPDX-License-Identifier: Apache-2.0
"""PoolCore against a model: which object is idle, out, waited for, or to be closed, after any calls in any order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import forebay
from forebay._core import PoolCore

pytestmark = pytest.mark.long
INF = float("inf")


class Core(PoolCore):
    name = "core"

    def __init__(self):
        self._configure(None, None, None, 0.0, INF, INF, 0, ())

    def _need_worker(self):
        pass

    _need_worker_later = _need_worker

    def _wait_for_object(self, timeout, order):
        raise forebay.PoolTimeoutError

    def _is_forsaken(self, found):
        return False


class Object:
    """What is pooled: may be referred to weakly, is equal to itself only."""


class CoreMachine(RuleBasedStateMachine):
    """The model: lists of objects, and of waiters in the order of coming."""

    def __init__(self):
        super().__init__()
        self.core = Core()
        self.core._set_size(0, 4)
        self.core._begin()
        self.sizes = (0, 4)
        self.idle, self.out, self.contexts, self.discarded, self.old = [], [], [], [], set()
        self.waiters = []  # (waiter, order)
        self.given = []  # (waiter, object)
        self.creating = self.closing = 0
        self.woken, self.to_wake = [], 0

    # ---- the model

    @property
    def objects(self):
        return len(self.idle) + len(self.out) + len(self.contexts) + len(self.given)

    def settle(self, found):
        """What becomes of an object that nobody has."""
        if found in self.old or self.objects + 1 > self.sizes[1]:
            self.discarded.append(found)
        elif self.waiters:
            self.given.append((self.waiters.pop(0)[0], found))
            self.to_wake += 1
        else:
            self.idle.append(found)

    def discard_stale(self):
        size = self.objects + self.creating
        for found in list(self.idle):
            if found in self.old or size > self.sizes[1]:
                self.idle.remove(found)
                self.discarded.append(found)
                size -= 1

    def wants_one(self):
        size = self.objects + self.creating
        has_room = size + len(self.discarded) + self.closing < self.sizes[1]
        return has_room and (len(self.waiters) > self.creating or size < self.sizes[0])

    # ---- workers

    @rule()
    def next_job(self):
        self.discard_stale()
        job = self.core._next_job(True)
        if self.discarded:
            assert job == (self.discarded.pop(), None)
            self.closing += 1
        elif self.wants_one():
            assert job is True
            self.creating += 1
        else:
            assert job is None

    @precondition(lambda self: self.creating)
    @rule(succeeds=st.booleans())
    def end_creating(self, succeeds):
        self.creating -= 1
        if not succeeds:
            self.core._create_failed(True)
            return
        made = Object()
        self.core._created(made, None, 0.0)
        self.settle(made)

    @precondition(lambda self: self.closing)
    @rule()
    def end_closing(self):
        self.core._closed()
        self.closing -= 1

    # ---- callers

    @rule(by_context=st.booleans())
    def take(self, by_context):
        if self.waiters or not self.idle:
            with pytest.raises(forebay.PoolTimeoutError):
                self.core._getconn(0)
            return
        expected = self.idle.pop()
        if by_context:
            context = self.core._connection(0)
            assert context.__enter__() is expected
            self.contexts.append((context, expected))
        else:
            assert self.core._getconn(0) is expected
            self.out.append(expected)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def put(self, data):
        found = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.core._putconn(found)
        self.settle(found)

    @precondition(lambda self: self.contexts)
    @rule(data=st.data(), how=st.sampled_from(["end", "drop", "put"]))
    def leave(self, data, how):
        context, found = self.contexts.pop(data.draw(st.integers(0, len(self.contexts) - 1)))
        if how == "drop":
            del context
            self.discarded.append(found)
            return
        if how == "put":
            self.core._putconn(found)
        context.__exit__(None, None, None)
        self.settle(found)

    @rule()
    def put_what_is_not_out(self):
        for found in (*self.idle, *self.discarded, Object()):
            with pytest.raises(forebay.PoolError):
                self.core._putconn(found)

    @rule(age=st.none() | st.integers(0, 2))
    def wait(self, age):
        """age: it came before so many others, and was given a dead object."""
        order = 0 if age is None else 3 - age  # long before all that come now
        woken = self.woken
        waiter = self.core._enqueue(lambda: woken.append("woken"), order)
        place = len(self.waiters) if age is None else sum(1 for _, other in self.waiters if other <= order)
        self.waiters.insert(place, (waiter, INF if age is None else order))

    @precondition(lambda self: self.waiters)
    @rule(data=st.data(), is_dropped=st.booleans())
    def stop_waiting(self, data, is_dropped):
        waiter, _ = self.waiters.pop(data.draw(st.integers(0, len(self.waiters) - 1)))
        if not is_dropped:
            assert waiter.withdraw() is False
            assert not waiter.given and not waiter.refused

    @precondition(lambda self: self.given)
    @rule(data=st.data(), is_dropped=st.booleans())
    def take_what_was_given(self, data, is_dropped):
        waiter, found = self.given.pop(data.draw(st.integers(0, len(self.given) - 1)))
        if is_dropped:
            del waiter
            self.settle(found)
            return
        assert waiter.withdraw() is True
        held = self.core._held_by(waiter)
        assert held.hand_out(True) is found
        self.out.append(found)

    # ---- sizes

    @rule()
    def fill(self):
        most = self.sizes[1]
        self.resize_to(most, most)
        for _ in range(8):
            self.next_job()
            while self.creating:
                self.end_creating(True)
        self.resize_to(0, most)

    def resize_to(self, least, most):
        self.sizes = (least, most)
        self.core._set_size(least, most)
        self.discard_stale()

    @rule(least=st.integers(0, 3), more=st.integers(0, 3))
    def resize(self, least, more):
        self.resize_to(least, max(1, least + more))

    @rule()
    def drain(self):
        self.core._drain()
        self.old |= {*self.idle, *self.out, *(c for _, c in self.contexts), *(g for _, g in self.given)}
        self.discard_stale()

    # ---- what holds after each call

    @invariant()
    def counts_are_the_models(self):
        assert self.core._counts == (len(self.idle), len(self.out) + len(self.contexts), len(self.discarded), self.closing)
        stats = self.core._stats(False)
        assert stats["pool_size"] == self.objects + self.creating
        assert stats["requests_waiting"] == len(self.waiters)

    @invariant()
    def who_was_given_an_object_was_woken_and_nobody_else(self):
        assert all(waiter.given for waiter, _ in self.given)
        assert not any(waiter.given for waiter, _ in self.waiters)
        assert len(self.woken) == self.to_wake

    @invariant()
    def what_is_out_is_the_models(self):
        assert {found for found, *_ in self.core._out()} == {*self.out, *(c for _, c in self.contexts)}

    def teardown(self):
        self.core._finish()
        assert all(waiter.refused for waiter, _ in self.waiters)
        with pytest.raises(forebay.PoolClosedError):
            self.core._getconn(0)


TestCore = CoreMachine.TestCase
TestCore.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
