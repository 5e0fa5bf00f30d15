# SPDX-License-Identifier: Apache-2.0
"""BufferPool: buffers that are used again, bounded, never shared by two."""

import asyncio
import gc
import os
import signal
import socket
import struct
import threading
import weakref
from datetime import timedelta

import numpy
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import forebay
from forking import fork_to_run, wait_for

LONG = 60  # seconds: what a test waits for that must happen


@pytest.fixture
def pool():
    with forebay.BufferPool("64KiB", max_buffer="64KiB") as pool:
        yield pool


def figures(pool, *names):
    stats = pool.stats()
    return tuple(stats[name] for name in names)


def in_thread(work):
    """Start it; what it returns or raises is in the list that is returned with the thread."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def until(condition):
    """What other threads do is seen in figures only."""
    pause = threading.Event()
    for _ in range(LONG * 1000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never came true")


# ---- a buffer ----


def test_a_buffer_is_writable_and_as_long_as_asked_for(pool):
    with pool.buffer(5000) as buf:
        assert len(buf) == buf.nbytes == 5000 and buf.capacity == 8192
        with memoryview(buf) as memory:
            assert not memory.readonly and memory.format == "B" and memory.contiguous and len(memory) == 5000
        buf[0], buf[-1], buf[1:4] = 1, 2, b"abc"
        assert buf[0] == 1 and buf[4999] == 2 and buf[:4] == b"\1abc" and isinstance(buf[:4], memoryview)
        assert bytes(buf) == buf.tobytes() == buf and buf != b"" and buf != "text"
        struct.pack_into("<I", buf, 8, 77)
        assert struct.unpack_from("<I", buf, 8) == (77,)
        numpy.frombuffer(buf, "u1")[10] = 9
        assert buf[10] == 9
        assert repr(buf) == "<forebay.PooledBuffer of 5000 bytes, room for 8192>"
    assert buf.released and repr(buf) == "<forebay.PooledBuffer, released>"


def test_the_memory_is_used_again_by_the_next(pool):
    with pool.buffer(4096) as buf:
        buf[:5] = b"hello"
    with pool.buffer(100) as buf:
        assert buf[:5] == b"hello" and len(buf) == 100
    assert figures(pool, "hits", "misses", "in_use", "idle") == (1, 1, 0, 1)


def test_files_and_sockets_read_into_it(pool, folder):
    (folder / "file").write_bytes(b"x" * 3000)
    ours, theirs = socket.socketpair()
    with ours, theirs, pool.buffer("8KiB") as buf, open(folder / "file", "rb", buffering=0) as file:
        assert file.readinto(buf) == 3000
        theirs.sendall(b"y" * 100)
        assert ours.recv_into(buf[3000:]) == 100
        buf.resize(3100)
        assert buf == b"x" * 3000 + b"y" * 100


def test_a_buffered_protocol_gets_its_buffer_from_the_pool(pool):
    class Receiver(asyncio.BufferedProtocol):
        def __init__(self, done):
            self.done, self.data = done, b""

        def get_buffer(self, sizehint):
            self.buf = pool.acquire(4096)
            return self.buf

        def buffer_updated(self, nbytes):
            self.data += self.buf[:nbytes]
            self.buf.release()

        def eof_received(self):
            self.done.set_result(self.data)

    async def main():
        ours, theirs = socket.socketpair()
        done = asyncio.get_running_loop().create_future()
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: Receiver(done), sock=ours)
        theirs.sendall(b"z" * 10000)
        theirs.close()
        data = await asyncio.wait_for(done, LONG)
        transport.close()
        return data

    assert asyncio.run(main()) == b"z" * 10000


def test_resize_stays_within_the_capacity_and_keeps_the_bytes(pool):
    with pool.buffer(10) as buf:
        buf[:] = b"0123456789"
        view = memoryview(buf)
        buf.resize(4)
        assert buf == b"0123" and view == b"0123456789"
        buf.resize(0)
        assert len(buf) == 0 and buf == b""
        buf.resize(4096)
        assert len(buf) == 4096 and buf[:10] == b"0123456789"
        with pytest.raises(ValueError, match="from 0 to the capacity, 4096 bytes, not 4097"):
            buf.resize(4097)
        with pytest.raises(ValueError, match="not -1"):
            buf.resize(-1)
        with pytest.raises(TypeError):
            buf.resize("4")
        assert len(buf) == 4096
        view.release()


def test_what_a_buffer_refuses(pool):
    with pool.buffer(10) as buf:
        with pytest.raises(IndexError):
            buf[10]
        with pytest.raises(ValueError):
            buf[:2] = b"abc"
        with pytest.raises(TypeError, match="resize"):
            del buf[0]
        with pytest.raises(TypeError):
            hash(buf)
    with pytest.raises(TypeError, match=r"BufferPool.buffer\(\) makes buffers"):
        type(buf)()


@pytest.mark.parametrize(
    "use",
    [
        len,
        memoryview,
        bytes,
        lambda buf: buf[0],
        lambda buf: buf[:1],
        lambda buf: buf.__setitem__(0, 1),
        lambda buf: buf.resize(1),
        lambda buf: buf.tobytes(),
        lambda buf: buf.capacity,
        lambda buf: buf.nbytes,
        lambda buf: buf.__enter__(),
    ],
)
def test_a_released_buffer_cannot_be_used(pool, use):
    buf = pool.acquire(10)
    buf.release()
    buf.release()
    with pytest.raises(ValueError, match="the buffer was released"):
        use(buf)
    assert buf == buf and buf != b""
    assert figures(pool, "in_use", "idle") == (0, 1)


# ---- nobody gets memory that is still seen ----


def test_memory_goes_back_when_the_last_memoryview_ends(pool):
    with pool.buffer(4096) as buf:
        view = buf[:10]
        other = memoryview(buf)
        view[:] = b"0123456789"
    assert buf.released and view == b"0123456789"
    assert figures(pool, "in_use", "idle", "viewed") == (1, 0, 1)
    with pool.buffer(4096) as another:
        another[:10] = b"x" * 10
        assert view == b"0123456789" == other[:10]
    view.release()
    assert figures(pool, "in_use", "viewed") == (1, 1)
    other.release()
    assert figures(pool, "in_use", "viewed", "idle") == (0, 0, 2)


def test_a_forgotten_buffer_goes_back_by_itself(pool):
    buf = pool.acquire(4096)
    view = memoryview(buf)
    del buf
    gc.collect()
    assert figures(pool, "in_use") == (1,)
    view[0] = 1
    del view
    assert figures(pool, "in_use", "idle") == (0, 1)


def test_a_buffer_in_a_cycle_goes_back_with_it(pool):
    class Holder:
        pass

    holder = Holder()
    holder.buf, holder.self = pool.acquire(4096), holder
    holder.view = memoryview(holder.buf)
    del holder
    gc.collect()
    assert figures(pool, "in_use") == (0,)


def test_buffers_outlive_the_name_of_their_pool():
    pool = forebay.BufferPool("1MiB")
    gone = weakref.ref(pool)
    buf = pool.acquire(4096)
    del pool
    buf[:3] = b"abc"
    assert buf[:3] == b"abc" and gone() is not None
    buf.release()
    del buf
    assert gone() is None


def test_threads_that_release_and_look_at_once_give_it_back_once(pool):
    for _ in range(300):
        buf = pool.acquire(4096)
        start = threading.Barrier(3)

        def release():
            start.wait()
            buf.release()

        def look():
            start.wait()
            try:
                memoryview(buf).release()
            except ValueError:
                pass

        threads = [in_thread(release), in_thread(release), in_thread(look)]
        for thread, _ in threads:
            thread.join()
        assert figures(pool, "in_use", "idle", "viewed") == (0, 1, 0)


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
