# SPDX-License-Identifier: Apache-2.0
"""afetch() beside other processes, invalidations and refreshes."""

import asyncio
import logging
import threading

import forebay
import pytest
from forebay import _loading_flights
from loading_calls import LONG, arena  # arena: a fixture
from loading_in_tasks import Loader, assert_nothing_is_left, eventually, run, settled  # run: a fixture


# ---- invalidations, refresh


@pytest.mark.parametrize("invalidate", ["delete", "clear"])
def test_whoever_comes_after_an_invalidation_gets_nothing_from_before_it(arena, run, invalidate):
    source = {1: "old"}

    async def load(key):
        value = source[key]
        batches.append(key)
        await may_go_on.wait()
        return value

    batches = []
    cache = arena.cache("c", load=load)
    may_go_on = None

    async def main():
        nonlocal may_go_on
        may_go_on = asyncio.Event()
        before = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: batches)
        source[1] = "new"
        getattr(cache, invalidate)(*[1] * (invalidate == "delete"))
        after = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: len(batches) == 2)
        may_go_on.set()
        assert await after == "new" and await before in ("old", "new")
        assert cache.get(1) == "new"
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1)


@pytest.mark.parametrize("kind", ["coroutine function", "function"])
def test_arefresh_loads_what_is_there(arena, run, kind):
    calls = []

    def load(key):
        calls.append(key)
        return len(calls)

    async def coroutine_function(key):
        return load(key)

    cache = arena.cache("c", load=load if kind == "function" else coroutine_function)

    async def main():
        assert [await cache.afetch(1), await cache.arefresh(1), await cache.afetch(1)] == [1, 2, 2]
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1)


@pytest.mark.parametrize("kind", ["coroutine function", "function"])
def test_a_stale_entry_is_served_while_one_caller_has_it_loaded(arena, run, kind):
    calls = []
    may_go_on = threading.Event()

    def load_many(keys):
        calls.append(keys)
        if kind == "function":
            assert may_go_on.wait(LONG)
        return ["new"] * len(keys)

    async def coroutine_function(keys):
        while not may_go_on.is_set():
            await asyncio.sleep(0.001)
        return load_many(keys)

    cache = arena.cache("c", ttl=60, stale=30, load_many=load_many if kind == "function" else coroutine_function)
    for key in (1, 2, 3):
        cache.set(key, "old", ttl=20)

    async def main():
        assert [await cache.afetch(1), await cache.afetch(1)] == ["old", "old"]
        assert await cache.afetch_many([1, 2, 3]) == {1: "old", 2: "old", 3: "old"}
        may_go_on.set()
        await eventually(lambda: cache.get_many([1, 2, 3]) == {1: "new", 2: "new", 3: "new"})
        assert await cache.afetch(1) == "new"
        await eventually(lambda: cache._loading.flights.table == {})
        await settled(cache)

    run(main())
    assert sum(calls, []) == [1, 2, 3]
    assert_nothing_is_left(cache, 1, 2, 3)


def test_threads_are_served_stale_entries_but_cannot_refresh_by_a_coroutine_function(arena):
    cache = arena.cache("c", ttl=60, stale=30, load=Loader().load)
    cache.set(1, "old", ttl=20)
    assert cache.fetch(1) == "old" and cache.fetch_many([1]) == {1: "old"}
    assert_nothing_is_left(cache, 1)


def test_a_refresh_that_fails_is_logged(arena, run, caplog):
    async def load(key):
        raise OSError("down")

    cache = arena.cache("c", ttl=60, stale=30, load=load)
    cache.set(1, "old", ttl=20)

    async def main():
        with caplog.at_level(logging.WARNING, "forebay"):
            assert await cache.afetch(1) == "old"
            await eventually(lambda: caplog.records)

    run(main())
    assert "refreshing 1 of cache 'c' failed" in caplog.records[0].getMessage()
    assert cache.get(1) == "old"


# ---- others' leases


def test_another_s_load_is_waited_for_and_the_loop_goes_on(arena, run):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        lease = cache._lease_take(1, 60_000)[1]
        tasks = [asyncio.create_task(cache.afetch_many([1, 2])) for _ in range(20)]
        await eventually(lambda: 2 in cache)
        ticks = 0
        for _ in range(50):
            await asyncio.sleep(0.001)
            ticks += 1
        cache._lease_store(1, "theirs", lease)
        assert await asyncio.gather(*tasks) == [{1: "theirs", 2: 20}] * 20
        watchers = [each for each in asyncio.all_tasks() if each.get_name() == "forebay wait"]
        assert ticks == 50 and len(watchers) <= 1
        await eventually(lambda: not [each for each in asyncio.all_tasks() if each.get_name() == "forebay wait"])
        await settled(cache)

    run(main())
    assert loader.batches == [[2]]
    assert_nothing_is_left(cache, 1, 2)


def test_another_s_failure_is_a_load_error_and_its_end_a_reason_to_load(arena, run):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)

    async def main():
        lease = cache._lease_take(1, 60_000)[1]
        task = asyncio.create_task(cache.afetch(1))
        here = cache._loading.tasks.here()
        await eventually(lambda: here._watched)
        cache._lease_fail(lease, _loading_flights._note_of(ValueError("no")))
        with pytest.raises(forebay.LoadError, match=r"loading 1 failed in process \d+: ValueError: no"):
            await task
        for note, value in ((_loading_flights.ABSENT_NOTE, None), (_loading_flights.ALONE_NOTE, 20)):
            lease = cache._lease_take(2, 60_000)[1]
            task = asyncio.create_task(cache.afetch(2))
            await eventually(lambda: here._watched)
            cache._lease_fail(lease, note)
            assert await task == value
        assert loader.batches == [[2]] and 2 not in cache, "alone: not stored"
        lease = cache._lease_take(3, 60_000)[1]
        tasks = [asyncio.create_task(cache.afetch(3)) for _ in range(5)]
        await eventually(lambda: here._watched)
        cache._lease_end(lease)
        assert await asyncio.gather(*tasks) == [30] * 5 and loader.batches == [[2], [3]]
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1, 2, 3)


def test_a_waiter_for_another_s_lease_may_be_cancelled_or_time_out(arena, run):
    cache = arena.cache("c", load=Loader().load)

    async def main():
        lease = cache._lease_take(1, 60_000)[1]
        here = cache._loading.tasks.here()
        patient, cancelled = (asyncio.create_task(cache.afetch(1)) for _ in range(2))
        await eventually(lambda: [len(sleepers) for sleepers in here._watched.values()] == [2])
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(forebay.TimeoutError, match="1 of cache 'c'"):
            await cache.afetch(1, timeout=0.03)
        (watcher,) = [each for each in asyncio.all_tasks() if each.get_name() == "forebay wait"]
        watcher.cancel()  # whoever waits has another begin
        await asyncio.sleep(0.01)
        cache._lease_store(1, "theirs", lease)
        assert await patient == "theirs"
        await eventually(lambda: not here._watched)
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1)


def test_an_arena_closed_meanwhile_fails_its_callers(arena, run):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)

    async def main():
        loader.stop()
        cache._lease_take(2, 60_000)
        tasks = [asyncio.create_task(cache.afetch(key)) for key in (1, 1, 2)]
        await eventually(lambda: loader.batches and cache._loading.tasks.here()._watched)
        arena.close()
        loader.go_on()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, forebay.ClosedError) for each in results), results

    run(main())


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_when_no_lease_is_free_loads_wait_for_those_of_this_loop_or_do_without(run, kind):
    loader = Loader()
    with forebay.open(None, "1MiB") as arena:
        cache = arena.cache("c", max_batch=5, **{kind: loader.load_many}) if kind == "load_many" else arena.cache("c", load=loader.load)

        async def main():
            leases = [cache._lease_take(("other", n), 60_000) for n in range(6000)]
            assert await cache.afetch_many(range(20)) == {key: key * 10 for key in range(20)}
            for taken, lease in leases:
                if taken == 1:
                    cache._lease_end(lease)
            cache.clear()
            many = await cache.afetch_many(range(400))  # more than there are leases
            assert many == {key: key * 10 for key in range(400)}
            await settled(cache)

        run(main())
        assert_nothing_is_left(cache)
