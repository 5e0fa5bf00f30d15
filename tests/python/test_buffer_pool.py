# SPDX-License-Identifier: Apache-2.0
"""BufferPool: its bounds, who waits, threads and processes."""

import os
import signal
import threading
from datetime import timedelta

import forebay
import pytest
from buffer_pools import LONG, figures, in_thread, pool, until  # pool: a fixture
from forking import fork_to_run, wait_for
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test


# ---- bounds ----


def test_idle_buffers_of_other_sizes_make_room(pool):
    several = [pool.acquire(4096) for _ in range(16)]
    assert pool.stats()["bytes"] == 65536
    for buf in several:
        buf.release()
    with pool.buffer(65536):
        assert figures(pool, "bytes", "in_use", "idle", "given_up") == (65536, 1, 0, 16)
    assert pool.stats()["classes"] == {
        4096: {"in_use": 0, "idle": 0, "hits": 0, "misses": 16},
        65536: {"in_use": 0, "idle": 1, "hits": 0, "misses": 1},
    }


def test_more_than_the_largest_is_refused_and_told(pool):
    with pytest.raises(ValueError, match="at most 65536 bytes, not 65537: make the pool with max_buffer="):
        pool.buffer(65537)
    assert pool.max_buffer == 65536 and pool.max_bytes == 65536
    assert forebay.BufferPool("64MiB").max_buffer == 8 << 20
    assert forebay.BufferPool("16KiB").max_buffer == 4096
    assert forebay.BufferPool("1MiB", max_buffer=5000).max_buffer == 8192


def test_at_the_timeout_the_error_says_what_is_in_use(pool):
    buf = pool.acquire(40000)
    view = memoryview(buf)
    buf.release()
    with pytest.raises(forebay.PoolTimeoutError) as caught:
        pool.buffer(4096, timeout=0)
    assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, forebay.PoolError)
    assert "65536 of 65536 bytes are in use, by 1 buffers (1 of them released" in str(caught.value)
    with pytest.raises(forebay.PoolTimeoutError):
        pool.acquire(4096, timeout=timedelta(milliseconds=20))
    assert figures(pool, "waits", "waiting") == (1, 0)
    view.release()
    pool.acquire(4096, timeout=0).release()


def test_the_pool_s_timeout_is_used_where_none_is_given():
    pool = forebay.BufferPool(4096, timeout=0)
    with pool.buffer(1), pytest.raises(forebay.PoolTimeoutError, match="within 0 ms"):
        pool.buffer(1)


@pytest.mark.parametrize("timeout", [LONG, None])
def test_waiters_get_their_buffer_first_come_first_served(pool, timeout):
    buf = pool.acquire(65536)
    order, threads = [], []

    def want(size):
        got = pool.buffer(size, timeout=timeout)
        order.append(size)
        got.release()

    for count, size in enumerate([65536, 4096, 32768], 1):
        threads.append(in_thread(lambda size=size: want(size)))
        until(lambda: pool.stats()["waiting"] == count)
    with pytest.raises(forebay.PoolTimeoutError):
        pool.buffer(4096, timeout=0)
    buf.release()
    for thread, outcome in threads:
        thread.join(LONG)
        assert outcome == [None]
    assert order[0] == 65536 and sorted(order) == [4096, 32768, 65536]
    assert figures(pool, "waiting", "in_use", "waits") == (0, 0, 3)


def test_ctrl_c_ends_a_wait_and_leaves_the_queue(pool):
    buf = pool.acquire(65536)

    def interrupt():
        until(lambda: pool.stats()["waiting"] == 1)
        signal.raise_signal(signal.SIGINT)

    thread, _ = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.buffer(1, timeout=None)
    thread.join()
    assert figures(pool, "waiting") == (0,)
    buf.release()
    assert figures(pool, "in_use") == (0,)


def test_a_signal_handler_that_raises_nothing_does_not_end_a_wait(pool):
    buf = pool.acquire(65536)
    before = signal.signal(signal.SIGUSR1, lambda *_: buf.release())
    try:
        thread, _ = in_thread(
            lambda: (until(lambda: pool.stats()["waiting"] == 1), os.kill(os.getpid(), signal.SIGUSR1))
        )
        pool.buffer(1, timeout=LONG).release()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---- trimming and closing ----


def test_trim_gives_idle_memory_back(pool):
    with pool.buffer(8192) as buf:
        buf[:] = b"x" * 8192
        assert pool.trim() == 0
    assert pool.trim(max_idle=LONG) == 0
    assert pool.trim() == 8192 and pool.stats()["bytes"] == 0
    with pool.buffer(8192) as buf:
        assert buf == bytes(8192)


def test_buffers_that_nobody_wants_lose_their_memory_while_others_are_used():
    pool = forebay.BufferPool("1MiB", max_idle=0)
    for size in [4096, 8192, 16384] * 10:
        pool.buffer(size).release()
    assert pool.stats()["given_up"] > 0
    kept = forebay.BufferPool("1MiB", max_idle=None)
    for size in [4096, 8192, 16384] * 10:
        kept.buffer(size).release()
    assert kept.stats()["given_up"] == 0


def test_a_closed_pool_hands_out_nothing_and_its_buffers_stay_valid(pool):
    buf = pool.acquire(32768)
    rest = pool.acquire(32768)
    thread, outcome = in_thread(lambda: pool.buffer(4096, timeout=None))
    until(lambda: pool.stats()["waiting"] == 1)
    pool.close()
    thread.join(LONG)
    assert isinstance(outcome[0], forebay.PoolClosedError)
    assert pool.closed and "closed" in repr(pool)
    with pytest.raises(forebay.PoolClosedError):
        pool.buffer(1)
    with pytest.raises(forebay.PoolClosedError):
        pool.__enter__()
    buf[:3] = b"abc"
    assert buf[:3] == b"abc"
    buf.release()
    rest.release()
    assert pool.stats()["bytes"] == 0
    pool.close()


def test_a_clearing_pool_hands_out_zeros_only():
    pool = forebay.BufferPool("64KiB", clear=True, max_buffer=8192)
    with pool.buffer(5000) as buf:
        buf.resize(8000)
        buf[:] = b"s" * 8000
        buf.resize(3)
        view = memoryview(buf)
    assert view == b"sss"  # not before the last one ends
    view.release()
    with pool.buffer(8192) as buf:
        assert pool.stats()["hits"] == 1
        assert buf == bytes(8192)


# ---- arguments ----


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"max_bytes": 0}, ValueError, "max_bytes must be more than 0"),
        ({"max_bytes": "much"}, ValueError, "max_bytes is not understood"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes must be an int"),
        ({"min_buffer": 8192, "max_buffer": 4096}, ValueError, r"min_buffer \(8192\) may not be more than max_buffer \(4096\)"),
        ({"max_bytes": "1MiB", "max_buffer": "2MiB"}, ValueError, r"more than max_bytes \(1048576\)"),
        ({"max_bytes": 100}, ValueError, "rounded up to pages"),
        ({"timeout": -1}, ValueError, "timeout must be 0 seconds or more, not -1; pass None"),
        ({"timeout": float("nan")}, ValueError, "timeout must be 0 seconds or more"),
        ({"timeout": "1"}, TypeError, "timeout must be seconds"),
        ({"max_idle": True}, TypeError, "max_idle must be seconds"),
        ({"maximum": 1}, TypeError, "maximum"),
    ],
)
def test_wrong_options_say_what_is_wrong(arguments, error, text):
    with pytest.raises(error, match=text):
        forebay.BufferPool(**arguments)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda pool: pool.buffer(), TypeError, r"buffer\(\) takes 1 positional arguments, 0 given"),
        (lambda pool: pool.buffer(0), ValueError, "size must be more than 0 bytes: 0"),
        (lambda pool: pool.buffer(-5), ValueError, "size must be more than 0 bytes: -5"),
        (lambda pool: pool.buffer(2**70), ValueError, "size is too large"),
        (lambda pool: pool.buffer(1.0), TypeError, "size must be an int"),
        (lambda pool: pool.buffer(True), TypeError, "size must be an int"),
        (lambda pool: pool.buffer(1, time=1), TypeError, "'time'"),
        (lambda pool: pool.acquire(1, 2), TypeError, r"acquire\(\) takes 1"),
        (lambda pool: pool.trim(1), TypeError, r"trim\(\) takes 0"),
        (lambda pool: pool.trim(max_idle=-1), ValueError, "max_idle must be 0 seconds or more"),
        (lambda pool: pool.trim(idle=1), TypeError, "'idle'"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(pool, call, error, text):
    with pytest.raises(error, match=text):
        call(pool)
    assert pool.stats()["in_use"] == 0


def test_a_wrong_timeout_is_refused_where_it_would_be_needed(pool):
    with pool.buffer(65536), pytest.raises(ValueError, match="timeout must be"):
        pool.buffer(1, timeout=-1)


# ---- processes and threads ----


def test_a_child_keeps_what_was_in_use_and_counts_its_own_only(pool):
    buf = pool.acquire(65536)
    buf[:6] = b"parent"

    def child():
        assert buf[:6] == b"parent" and figures(pool, "in_use", "bytes") == (0, 0)
        with pool.buffer(65536, timeout=0) as own:
            own[:5] = b"child"
            buf[:5] = b"child"
        buf.release()
        assert figures(pool, "in_use", "idle", "bytes") == (0, 1, 65536)

    wait_for(fork_to_run(child))
    assert buf[:6] == b"parent" and figures(pool, "in_use") == (1,)
    buf.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_busy_process_finds_the_pool_usable(pool):
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            pool.buffer(16384).release()

    def child():
        signal.alarm(LONG)
        with pool.buffer(65536, timeout=0):
            pass

    threads = [in_thread(busy) for _ in range(3)]
    try:
        for _ in range(20):
            wait_for(fork_to_run(child))
    finally:
        stop.set()
    for thread, outcome in threads:
        thread.join(LONG)
        assert outcome == [None]


def test_a_storm_of_threads_never_shares_a_buffer(pool):
    wrong = []

    def storm(number):
        for round in range(400):
            size = 4096 << (number + round) % 5
            with pool.buffer(size, timeout=LONG) as buf:
                mark = bytes([number]) * 64
                buf[:64] = mark
                buf[-64:] = mark
                view = buf[:64] if round % 7 == 0 else None
                if round % 50 == 0:
                    pool.trim()
                if buf[:64] != mark or buf[-64:] != mark or pool.stats()["bytes"] > 65536:
                    wrong.append(number)
            if view is not None and view != mark:
                wrong.append(number)
            view = None  # or this thread waits while it keeps others waiting

    threads = [in_thread(lambda n=n: storm(n)) for n in range(1, 7)]
    for thread, outcome in threads:
        thread.join(LONG * 2)
        assert outcome == [None]
    assert not wrong
    assert figures(pool, "in_use", "waiting", "viewed") == (0, 0, 0)


class Buffers(RuleBasedStateMachine):
    """One thread's use against a model: each buffer that is held has its own bytes."""

    MOST = 1 << 18

    def __init__(self):
        super().__init__()
        self.pool = forebay.BufferPool(self.MOST, max_buffer="64KiB", timeout=0)
        self.held = []  # [buffer, views, mark]
        self.mark = 0

    def counted(self):
        sizes = (len(memory) for _, views, _ in self.held for memory in [views["size"]])
        return sum(1 << max(12, (size - 1).bit_length()) for size in sizes)

    @rule(size=st.integers(1, 1 << 16))
    def take(self, size):
        room = self.MOST - self.counted()
        try:
            buf = self.pool.buffer(size)
        except forebay.PoolTimeoutError:
            assert 1 << max(12, (size - 1).bit_length()) > room
            return
        self.mark = (self.mark + 1) % 251
        buf[:] = bytes([self.mark]) * size
        self.held.append([buf, {"size": bytes(size), "views": []}, self.mark])

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def view(self, data):
        buf, views, _ = self.held[data.draw(st.integers(0, len(self.held) - 1))]  # what is drawn is kept
        if not buf.released:
            views["views"].append(memoryview(buf)[: data.draw(st.integers(1, 100))])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["release", "forget", "views"]))
    def let_go(self, data, how):
        index = data.draw(st.integers(0, len(self.held) - 1))
        buf, views, _ = self.held[index]
        if how == "release":
            buf.release()
        if how == "views":
            views["views"].clear()
        if how == "forget" or (buf.released and not views["views"]):
            del self.held[index]

    @rule()
    def trim(self):
        self.pool.trim()

    @invariant()
    def bytes_are_those_written(self):
        for buf, views, mark in self.held:
            assert buf.released or bytes(buf).count(mark) == len(buf)
            assert all(bytes(view).count(mark) == len(view) for view in views["views"])

    @invariant()
    def figures_agree(self):
        stats = self.pool.stats()
        assert stats["in_use"] == len(self.held)
        assert stats["in_use_bytes"] == self.counted() <= stats["bytes"] <= self.MOST
        assert stats["viewed"] == sum(buf.released for buf, _, _ in self.held)


@pytest.mark.long
def test_any_order_of_operations_agrees_with_a_model():
    run_state_machine_as_test(Buffers, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
