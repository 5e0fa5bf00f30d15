# SPDX-License-Identifier: Apache-2.0
"""Loading by several processes, forked."""

import asyncio
import os
import random
import signal
import threading
import time

import forebay
import pytest
from forking import fork_to_run, wait_for
from loading_calls import (  # arena: a fixture
    LONG,
    Call,
    Loader,
    arena,
    assert_nothing_is_left,
    eventually,
    tell_of_waits,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


@pytest.fixture
def counter(arena):
    """incr() of a counter that all processes see."""
    return arena.cache("counters")


def count(counter, name):
    return counter.incr(name, 0)


def check_equal(one, other):
    assert one == other


@pytest.mark.parametrize("kind", ["load", "load_many", "afetch"])
def test_many_processes_and_one_key_are_one_load(arena, counter, kind):
    def load(key):
        counter.incr("loads")
        eventually(lambda: count(counter, "ready") == 6)
        time.sleep(0.05)
        return "loaded"

    options = {"load_many": lambda keys: [load(key) for key in keys]} if kind == "load_many" else {"load": load}
    cache = arena.cache("c", **options)

    def work():
        counter.incr("ready")
        value = asyncio.run(cache.afetch(1)) if kind == "afetch" else cache.fetch(1)
        assert value == "loaded"

    for pid in [fork_to_run(work) for _ in range(6)]:
        wait_for(pid)
    assert count(counter, "loads") == 1
    assert_nothing_is_left(cache, 1)


def test_many_keys_wanted_by_all_processes_are_at_most_twice_the_loads_needed(arena, counter):
    def load_many(keys):
        counter.incr("loads")
        time.sleep(0.005)
        return {key: key for key in keys}

    cache = arena.cache("c", load_many=load_many)

    def work():
        counter.incr("ready")
        eventually(lambda: count(counter, "ready") == 4)
        assert len(cache.fetch_many(range(1000))) == 1000

    for pid in [fork_to_run(work) for _ in range(4)]:
        wait_for(pid)
    assert 10 <= count(counter, "loads") <= 20


@pytest.mark.parametrize("asynchronous", [False, True])
def test_when_the_one_that_loads_is_killed_another_loads(arena, counter, asynchronous):
    def load(key):
        counter.incr("loads")
        if os.getpid() == child:
            time.sleep(10 * LONG)
        return "loaded"

    child = None
    cache = arena.cache("c", load=load, load_timeout=10 * LONG)

    def work():
        nonlocal child
        child = os.getpid()
        cache.fetch(1)

    pid = fork_to_run(work)
    eventually(lambda: count(counter, "loads") == 1)
    call = Call(asyncio.run, cache.afetch(1)) if asynchronous else Call(cache.fetch, 1)
    time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    wait_for(pid, -signal.SIGKILL)
    assert call.result() == "loaded" and count(counter, "loads") == 2
    assert_nothing_is_left(cache, 1)


def test_when_the_one_that_loads_is_stopped_it_is_overtaken_after_load_timeout(arena, counter):
    def load(key):
        counter.incr("loads")
        if os.getpid() == child:
            eventually(lambda: count(counter, "awake") == 1)
            return "late"
        return "loaded"

    child = None
    cache = arena.cache("c", load=load, load_timeout=0.2)

    def work():
        nonlocal child
        child = os.getpid()
        assert cache.fetch(1) == "late"

    pid = fork_to_run(work)
    eventually(lambda: count(counter, "loads") == 1)
    os.kill(pid, signal.SIGSTOP)
    assert cache.fetch(1) == "loaded"
    counter.incr("awake")
    os.kill(pid, signal.SIGCONT)
    wait_for(pid)
    assert cache.get(1) == "loaded" and count(counter, "loads") == 2
    assert_nothing_is_left(cache, 1)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failure_is_told_to_the_other_processes(arena, counter, monkeypatch, asynchronous):
    def load(key):
        if counter.incr("loads") > 1:
            return "loaded"
        eventually(lambda: count(counter, "waiting") == 1)
        raise ValueError("no such table")

    cache = arena.cache("c", load=load)

    def work():
        with pytest.raises(ValueError, match="no such table"):
            cache.fetch(1)

    pid = fork_to_run(work)
    eventually(lambda: count(counter, "loads") == 1)
    tell_of_waits(monkeypatch, lambda: counter.incr("waiting"))
    says = f"^loading 1 failed in process {pid}: ValueError: no such table$"
    with pytest.raises(forebay.LoadError, match=says):
        asyncio.run(cache.afetch(1)) if asynchronous else cache.fetch(1)
    wait_for(pid)
    assert cache.fetch(1) == "loaded"
    assert_nothing_is_left(cache, 1)


def test_that_there_is_none_is_told_to_those_who_wait_though_it_is_not_kept(arena, counter, monkeypatch):
    def load(key):
        counter.incr("loads")
        eventually(lambda: count(counter, "waiting") == 3)
        return forebay.ABSENT

    cache = arena.cache("c", load=load)
    tell_of_waits(monkeypatch, lambda: counter.incr("waiting"))

    for pid in [fork_to_run(lambda: check_equal(cache.fetch(1, "none"), "none")) for _ in range(4)]:
        wait_for(pid)
    assert count(counter, "loads") == 1 and not cache.is_absent(1)
    assert_nothing_is_left(cache, 1)


def test_the_child_of_a_process_that_loads_waits_for_it(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    call = Call(cache.fetch, 1)
    loader.wait_until_it_runs()

    def work():
        assert cache._loading.flights.table == {} and cache._loading.threads._batch is None
        with pytest.raises(forebay.TimeoutError):
            cache.fetch(1, timeout=0.05)
        loader.go_on()  # in this process
        assert cache.fetch(2) == 20
        with pytest.raises(forebay.TimeoutError):
            cache.fetch(1, timeout=0.05)
        assert cache.get(1) is None
        assert asyncio.run(cache.afetch(3)) == 30

    wait_for(fork_to_run(work))
    loader.go_on()
    assert call.result() == 10
    assert_nothing_is_left(cache, 1, 2)


def test_the_child_of_a_process_whose_lock_is_held_is_not_held_up(arena):
    cache = arena.cache("c", load_many=Loader().load_many)
    held = threading.Event()
    release = threading.Event()

    def hold():
        with cache._loading.flights.lock:
            held.set()
            release.wait(LONG)

    holder = Call(hold)
    assert held.wait(LONG)
    wait_for(fork_to_run(lambda: cache.fetch(1)))
    release.set()
    holder.result()


def test_a_child_forked_by_a_loader_is_not_inside_of_its_load(arena, counter):
    def load(key):
        if key == 1 and os.getpid() == parent:
            pids.append(fork_to_run(work))
            eventually(lambda: count(counter, "waits") == 1)
            time.sleep(0.05)
        return key * 10

    def work():
        counter.incr("waits")
        assert cache.fetch(1) == 10 and cache.fetch(2) == 20

    parent, pids = os.getpid(), []
    cache = arena.cache("c", load=load)
    assert cache.fetch(1) == 10
    wait_for(pids[0])
    assert_nothing_is_left(cache, 1, 2)


def test_a_child_refreshes_with_threads_of_its_own(arena):
    cache = arena.cache("c", ttl=60, stale=30, load=lambda key: os.getpid())
    for _ in range(2):
        cache.set(1, "old", ttl=20)
        assert cache.fetch(1) == "old"
        eventually(lambda: cache.get(1) == os.getpid())

    def work():
        cache.set(1, "old", ttl=20)
        assert cache.fetch(1) == "old"
        eventually(lambda: cache.get(1) == os.getpid())

    wait_for(fork_to_run(work))


def test_a_value_that_is_too_big_is_loaded_by_all_processes_at_once_and_not_in_turns(arena, counter, monkeypatch):
    big = bytes(arena.max_entry + 1)

    def load(key):
        if counter.incr("loads") == 1:
            eventually(lambda: count(counter, "waiting") == 3)
        else:
            eventually(lambda: count(counter, "loads") == 4)
        return big

    cache = arena.cache("c", load=load, load_timeout=10 * LONG)
    tell_of_waits(monkeypatch, lambda: counter.incr("waiting"))

    for pid in [fork_to_run(lambda: check_equal(cache.fetch(1), big)) for _ in range(4)]:
        wait_for(pid)
    assert_nothing_is_left(cache, 1)


def test_nobody_gets_a_value_from_before_an_invalidation(arena, counter):
    """Versions of the source: a call that begins after an invalidation gets none from before it."""

    def load(key):
        version = count(counter, "version")
        time.sleep(random.random() / 500)
        return version

    cache = arena.cache("c", load=load)
    many = arena.cache("d", load_many=lambda keys: [load(key) for key in keys])

    def check(fetch, *arguments):
        floor = count(counter, "invalidated")
        got = fetch(*arguments)
        for value in got.values() if isinstance(got, dict) else [got]:
            assert value >= floor, f"{fetch} gave {value}, of before {floor}"

    def check_refresh():
        floor = count(counter, "version")
        assert cache.refresh(1) >= floor

    async def tasks(end):
        async def task(fetch, *arguments):
            while time.monotonic() < end:
                floor = count(counter, "invalidated")
                got = await fetch(*arguments)
                assert (got if isinstance(got, int) else min(got.values())) >= floor

        await asyncio.gather(*(task(cache.afetch, 1) for _ in range(3)), *(task(many.afetch_many, [1, 2]) for _ in range(3)))

    def readers():
        end = time.monotonic() + 1

        def thread(function, *arguments):
            while time.monotonic() < end:
                function(*arguments)

        calls = [Call(thread, check, cache.fetch, 1) for _ in range(3)]
        calls += [Call(thread, check, many.fetch_many, [1, 2, 3]), Call(thread, check_refresh)]
        calls.append(Call(asyncio.run, tasks(end)))
        for call in calls:
            call.result()

    pids = [fork_to_run(readers) for _ in range(2)]
    stopped = threading.Event()

    def invalidate():
        while not stopped.is_set():
            version = counter.incr("version")
            cache.delete(1)
            many.delete_many([1, 2, 3])
            assert counter.incr("invalidated") == version
            time.sleep(0.001)

    writer = Call(invalidate)
    try:
        for pid in pids:
            wait_for(pid)
    finally:
        stopped.set()
        writer.result()
    assert count(counter, "version") > 20
