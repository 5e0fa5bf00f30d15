# SPDX-License-Identifier: Apache-2.0
"""afetch() and its relatives in event loops, asyncio's own and uvloop's."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import forebay
import pytest
from forebay import _loading, _loading_flights, _loading_tasks
from test_loading import interrupt_at

LONG = 30  # seconds that no test takes unless something hangs


@pytest.fixture
def arena():
    with forebay.open(None, "16MiB") as arena:
        yield arena


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine in a new loop, and see that the loop had nothing to complain of."""
    factory = None if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    complaints = []

    async def watched(main):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        result = await asyncio.wait_for(main, LONG)
        gc.collect()  # what was never retrieved is complained of now
        await asyncio.sleep(0)
        return result

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(watched(main))
        gc.collect()
        assert not complaints
        return result

    return run


class Loader:
    """load= or load_many= as coroutine functions: 10 times the key.  They say when they run, and wait."""

    def __init__(self, answer=lambda key: key * 10):
        self.answer = answer
        self.batches = []
        self.may_go_on = None  # an asyncio.Event
        self.cancelled = 0

    def stop(self):
        self.may_go_on = asyncio.Event()

    def go_on(self):
        self.may_go_on.set()

    async def note(self, keys):
        self.batches.append(keys)
        try:
            if self.may_go_on is None:
                await asyncio.sleep(0)
            else:
                await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def load(self, key):
        await self.note([key])
        return self.answer(key)

    async def load_many(self, keys):
        assert type(keys) is list
        await self.note(list(keys))
        return [self.answer(key) for key in keys]


async def eventually(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


def waiters(cache, key):
    flight = cache._loading.flights.table.get(cache._key(key))
    return len(flight.waiters) if flight is not None else 0


def assert_nothing_is_left(cache, *keys):
    loading = cache._loading
    assert loading.flights.table == {} and len(loading.flights.queue) == 0 and loading.threads._batch is None
    for here in loading.tasks._loops.values():
        assert len(here.queue) == 0 and not here._tasks and not here._watched
    for key in keys:
        taken, lease = cache._lease_take(key, 10_000)
        assert taken == 1, f"somebody still has the lease of {key!r}"
        cache._lease_end(lease)


def settled(cache):
    """Tasks leave their sets one tick after they end."""
    return eventually(lambda: all(not here._tasks for here in cache._loading.tasks._loops.values()))


# ---- one caller


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_what_is_missing_is_loaded_once(arena, run, kind):
    loader = Loader()
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        assert [await cache.afetch(1), await cache.afetch(1), cache.get(1), cache.fetch(1)] == [10] * 4
        assert await cache.afetch_many([3, 1, 2, 3]) == {3: 30, 1: 10, 2: 20}
        assert await cache.afetch_many([]) == {}
        await settled(cache)

    run(main())
    assert loader.batches == ([[1], [3], [2]] if kind == "load" else [[1], [3, 2]])
    assert_nothing_is_left(cache, 1, 2, 3)


def test_a_callable_object_with_an_asynchronous_call_is_a_coroutine_function(arena, run):
    class Load:
        async def __call__(self, key):
            return key

    cache = arena.cache("c", load=Load())
    assert run(cache.afetch(5)) == 5


def test_the_loader_says_that_there_is_none(arena, run):
    loader = Loader(lambda key: forebay.ABSENT)
    cache = arena.cache("c", load_many=loader.load_many)
    kept = arena.cache("d", load_many=loader.load_many, absent_ttl=50)

    async def main():
        assert await cache.afetch(1) is None and await cache.afetch(1, "none") == "none"
        assert await cache.afetch_many([1, 2]) == {}
        assert len(loader.batches) == 3
        assert await kept.afetch(1, "none") == "none" and await kept.afetch(1) is None
        assert len(loader.batches) == 4

    run(main())


def test_errors_are_raised_and_the_next_call_loads_again(arena, run):
    def answer(key):
        if len(loader.batches) == 1:
            raise KeyError("no")
        return OSError("odd") if key % 2 else key

    loader = Loader(answer)
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        with pytest.raises(KeyError, match="no"):
            await cache.afetch(2)
        assert await cache.afetch(2) == 2
        with pytest.raises(OSError, match="odd"):
            await cache.afetch_many([1, 4])
        assert cache.get(4) == 4
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1, 2, 4)


def test_wrong_results_say_so(arena, run):
    async def load_many(keys):
        return keys[:-1]

    cache = arena.cache("c", load_many=load_many)

    async def main():
        with pytest.raises(ValueError, match="asked for 2 keys and returned 1 values"):
            await cache.afetch_many([1, 2])

    run(main())


def test_without_a_loader_or_with_wrong_arguments_it_says_so(arena, run):
    cache = arena.cache("c")
    loads = arena.cache("d", load=Loader().load)

    async def main():
        for call in (cache.afetch(1), cache.afetch_many([1]), cache.arefresh(1)):
            with pytest.raises(TypeError, match="has no loader"):
                await call
        with pytest.raises(TypeError, match="iterable of keys"):
            await loads.afetch_many("abc")
        with pytest.raises(TypeError):
            await loads.afetch(None)
        with pytest.raises(ValueError, match="timeout must be more than 0"):
            await loads.afetch(1, timeout=0)

    run(main())
    assert_nothing_is_left(loads)


def test_outside_of_asyncio_it_says_what_it_needs(arena):
    for load in (Loader().load, lambda key: key):
        cache = arena.cache("c", load=load)
        with pytest.raises(RuntimeError, match="running task of asyncio.*trio is not"):
            cache.afetch(1).send(None)
        cache.set(1, "there")
        with pytest.raises(StopIteration):  # a hit needs no loop
            cache.afetch(1).send(None)
        cache.delete(1)
        assert_nothing_is_left(cache, 1)


def test_in_a_loop_but_outside_of_its_tasks_too(arena, run):
    """As in trio's guest mode."""
    cache = arena.cache("c", load=Loader().load)

    async def main():
        outcome = asyncio.get_running_loop().create_future()

        def callback():
            try:
                cache.afetch(1).send(None)
            except BaseException as error:
                outcome.set_result(error)

        asyncio.get_running_loop().call_soon(callback)
        assert isinstance(await outcome, RuntimeError)

    run(main())


# ---- many tasks


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_many_tasks_and_one_key_are_one_load(arena, run, kind):
    loader = Loader(lambda key: [key])
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        values = await asyncio.gather(*(cache.afetch(1) for _ in range(64)))
        assert values == [[1]] * 64 and len({id(value) for value in values}) == 64

    run(main())
    assert loader.batches == [[1]]


def test_what_is_missed_in_one_tick_is_one_batch(arena, run):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_batch=20)

    async def main():
        results = await asyncio.gather(*(cache.afetch(key) for key in range(30)), cache.afetch_many(range(25, 50)))
        assert results == [*(key * 10 for key in range(30)), {key: key * 10 for key in range(25, 50)}]

    run(main())
    assert [len(batch) for batch in loader.batches] == [20, 20, 10]


def test_batches_run_side_by_side(arena, run):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        loader.stop()
        first = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: loader.batches == [[1]])
        second = asyncio.create_task(cache.afetch(2))
        await eventually(lambda: loader.batches == [[1], [2]])
        loader.go_on()
        assert (await first, await second) == (10, 20)

    run(main())


def test_max_wait_joins_several_ticks_unless_the_batch_is_full(arena, run):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_wait=10 * LONG, max_batch=3)
    short = arena.cache("d", load_many=loader.load_many, max_wait=0.02)

    async def main():
        tasks = []
        for key in (1, 2, 3):
            tasks.append(asyncio.create_task(cache.afetch(key)))
            await asyncio.sleep(0.005)
        assert await asyncio.gather(*tasks) == [10, 20, 30]
        tasks = []
        for key in (4, 5):
            tasks.append(asyncio.create_task(short.afetch(key)))
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == [40, 50]

    run(main())
    assert loader.batches == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_loader_s_error_is_raised_by_all_that_wait(arena, run, kind):
    error = OSError("the database is down")

    def answer(key):
        raise error

    loader = Loader(answer)
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        results = await asyncio.gather(*(cache.afetch(1) for _ in range(8)), return_exceptions=True)
        assert all(each is error for each in results)
        loader.answer = lambda key: "up"
        assert await cache.afetch(1) == "up"

    run(main())
    assert loader.batches == [[1], [1]]


# ---- cancellation and deadlines


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_cancelled_waiter_disturbs_nobody(arena, run, kind):
    loader = Loader()
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        loader.stop()
        tasks = [asyncio.create_task(cache.afetch(1)) for _ in range(3)]
        await eventually(lambda: loader.batches)
        tasks[0].cancel()  # the one that began it
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        loader.go_on()
        assert await tasks[2] == 10
        await settled(cache)

    run(main())
    assert loader.batches == [[1]] and loader.cancelled == 0
    assert_nothing_is_left(cache, 1)


def test_a_load_that_nobody_waits_for_any_more_is_stored(arena, run):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)

    async def main():
        loader.stop()
        task = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: loader.batches)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        loader.go_on()
        await eventually(lambda: cache.get(1) == 10)
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1)


def test_the_failure_of_a_load_that_nobody_waits_for_is_silent(arena, run):
    def answer(key):
        raise OSError("down")

    loader = Loader(answer)
    cache = arena.cache("c", load=loader.load)

    async def main():
        loader.stop()
        task = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: loader.batches)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        loader.go_on()
        await eventually(lambda: cache._loading.flights.table == {})

    run(main())  # which looks for complaints


def test_a_waiter_cancelled_before_its_load_begins_leaves_it_to_others(arena, run):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        first = asyncio.create_task(cache.afetch(1))
        second = asyncio.create_task(cache.afetch(1))
        asyncio.get_running_loop().call_soon(first.cancel)
        assert await second == 10
        with pytest.raises(asyncio.CancelledError):
            await first

    run(main())
    assert loader.batches == [[1]]


def test_when_the_load_itself_is_cancelled_those_who_wait_load_again(arena, run):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)

    async def main():
        loader.stop()
        task = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: loader.batches)
        (load,) = [each for each in asyncio.all_tasks() if each.get_name() == "forebay load"]
        load.cancel()
        await eventually(lambda: len(loader.batches) == 2)
        loader.go_on()
        assert await task == 10
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, 1)


def test_when_a_load_is_cancelled_before_it_begins_it_is_begun_again(arena, run, monkeypatch):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)
    begin = _loading_tasks.Loop._begin
    begun = []

    def begin_and_cancel(here, cache, loaded):
        begin(here, cache, loaded)
        begun.append(None)
        if len(begun) == 1:
            next(iter(here._tasks)).cancel()

    monkeypatch.setattr(_loading_tasks.Loop, "_begin", begin_and_cancel)

    async def main():
        assert await cache.afetch(1) == 10
        await settled(cache)

    run(main())
    assert loader.batches == [[1]] and len(begun) == 2
    assert_nothing_is_left(cache, 1)


def test_a_cancellation_within_the_loader_is_a_failure(arena, run):
    async def load(key):
        inner = asyncio.create_task(asyncio.sleep(LONG))
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    cache = arena.cache("c", load=load)

    async def main():
        with pytest.raises(forebay.LoadError, match="loading 1 of cache 'c' was cancelled by its loader"):
            await cache.afetch(1)

    run(main())
    assert_nothing_is_left(cache, 1)


def test_deadlines(arena, run):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        loader.stop()
        with pytest.raises(forebay.TimeoutError, match=r"^1 of cache 'c' was not loaded within 0\.02 seconds$"):
            await cache.afetch(1, timeout=0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await cache.afetch(1)
        with pytest.raises(forebay.TimeoutError, match="and 1 more"):
            await cache.afetch_many([1, 2], timeout=0.02)
        with pytest.raises(forebay.TimeoutError):
            await cache.arefresh(3, timeout=0.02)
        loader.go_on()
        assert await cache.afetch(1) == 10
        await settled(cache)

    run(main())
    assert [1] in loader.batches and sum(1 in batch for batch in loader.batches) == 1
    assert_nothing_is_left(cache, 1, 2, 3)


def test_the_end_of_a_loop_ends_its_loads_and_leases(arena):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)

    async def main():
        loader.stop()
        tasks = [asyncio.create_task(cache.afetch(key)) for key in (1, 2)]
        await eventually(lambda: len(loader.batches) == 2)
        return tasks

    asyncio.run(main())  # cancels what still runs
    assert loader.cancelled >= 2
    assert_nothing_is_left(cache, 1, 2)


def test_a_loop_that_is_left_in_the_middle_holds_nobody_up(arena, recwarn):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, load_timeout=0.1)
    loop = asyncio.new_event_loop()

    async def begin():
        loader.stop()
        task = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: loader.batches)
        return task

    task = loop.run_until_complete(begin())
    loader.may_go_on = None
    assert asyncio.run(cache.afetch(1)) == 10
    task.cancel()
    for each in asyncio.all_tasks(loop):
        each.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    del task, each
    asyncio.run(cache.afetch(2))
    assert len(cache._loading.tasks._loops) <= 1, "closed loops are forgotten"


def test_a_load_that_hangs_is_overtaken_and_its_late_value_not_stored(arena, run):
    loader = Loader(lambda key: len(loader.batches))
    cache = arena.cache("c", load=loader.load, load_timeout=0.1)

    async def main():
        loader.stop()
        first = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: len(loader.batches) == 2)
        may_go_on, loader.may_go_on = loader.may_go_on, None
        value = await cache.afetch(1)
        may_go_on.set()
        await first
        await settled(cache)
        assert cache.get(1) in (value, first.result())

    run(main())
    assert_nothing_is_left(cache)


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


# ---- loads within loads


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_load_that_needs_itself_is_an_error_at_once(arena, run, kind):
    async def load(key):
        return await same.afetch(key[0] if kind == "load_many" else key)

    same = arena.cache("d", **{kind: load})

    async def main():
        with pytest.raises(forebay.RecursiveLoadError, match="loading 1 of cache 'd' needs that very key"):
            await same.afetch(1)

    run(main())
    assert_nothing_is_left(same, 1)


def test_a_load_may_need_other_keys_of_its_cache(arena, run):
    async def load_many(keys):
        return [0 if key == 0 else await cache.afetch(key - 1) + 1 for key in keys]

    cache = arena.cache("c", load_many=load_many)

    async def main():
        assert await cache.afetch(20) == 20
        await settled(cache)

    run(main())
    assert_nothing_is_left(cache, *range(21))


def test_a_task_that_a_load_leaves_behind_may_need_its_key(arena, run):
    tasks = []

    async def later():
        await asyncio.sleep(0.01)
        return await cache.afetch(1)

    async def load(key):
        tasks.append(asyncio.create_task(later()))
        return key

    cache = arena.cache("c", load=load)

    async def main():
        await cache.afetch(1)
        cache.delete(1)
        assert await tasks[0] == 1
        assert await tasks[1] == 1

    run(main())


# ---- functions that are no coroutine functions, in an executor


class Blocking:
    """A load_many that notes its threads."""

    def __init__(self, answer=lambda key: key * 10):
        self.answer = answer
        self.batches, self.threads = [], set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def load(self, key):
        return self.load_many([key])[0]

    def load_many(self, keys):
        self.batches.append(list(keys))
        self.threads.add(threading.current_thread())
        assert self.may_go_on.wait(LONG)
        return [self.answer(key) for key in keys]


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_function_runs_in_the_executor_and_the_loop_goes_on(arena, run, kind):
    loader = Blocking()
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        loader.may_go_on.clear()
        tasks = [asyncio.create_task(cache.afetch(key)) for key in (1, 1, 2, 3)]
        await eventually(lambda: loader.batches)
        loader.may_go_on.set()
        assert await asyncio.gather(*tasks) == [10, 10, 20, 30]

    run(main())
    assert sorted(loader.batches) == ([[1], [2], [3]] if kind == "load" else [[1, 2, 3]])
    assert threading.current_thread() not in loader.threads
    assert_nothing_is_left(cache, 1, 2, 3)


def test_it_runs_in_the_context_of_a_caller(arena, run):
    request = contextvars.ContextVar("request")
    cache = arena.cache("c", load=lambda key: request.get())

    async def main():
        request.set("from the caller")
        assert await cache.afetch(1) == "from the caller"

    run(main())


def test_tasks_and_threads_share_loads_and_batches(arena, run):
    loader = Blocking()
    cache = arena.cache("c", load_many=loader.load_many)
    pool = ThreadPoolExecutor(8)

    async def main():
        loader.may_go_on.clear()
        in_thread = asyncio.get_running_loop().run_in_executor
        first = in_thread(pool, cache.fetch, 1)
        await eventually(lambda: loader.batches)
        tasks = [asyncio.create_task(cache.afetch(key)) for key in (1, 2, 3)]
        threads = [in_thread(pool, cache.fetch, key) for key in (1, 3, 4)]
        await eventually(lambda: len(cache._loading.flights.queue) == 3 and waiters(cache, 3) == 2)
        loader.may_go_on.set()
        assert await first == 10 and await asyncio.gather(*tasks, *threads) == [10, 20, 30, 10, 30, 40]

    run(main())
    pool.shutdown()
    assert loader.batches[0] == [1] and sorted(loader.batches[1]) == [2, 3, 4] and len(loader.batches) == 2
    assert_nothing_is_left(cache, 1, 2, 3, 4)


def test_when_all_threads_of_the_executor_wait_for_it_one_of_them_loads(arena, run):
    """The tasks' own job never gets a thread."""
    loader = Blocking()
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        begun = threading.Barrier(3)

        def thread():
            begun.wait(LONG)
            begun.wait(LONG)
            return cache.fetch(1)

        threads = [loop.run_in_executor(None, thread) for _ in range(2)]
        begun.wait(LONG)
        task = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: waiters(cache, 1) == 1)
        begun.wait(LONG)
        assert await asyncio.gather(task, *threads) == [10, 10, 10]

    run(main())
    assert loader.batches == [[1]]


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_errors_of_a_function_reach_the_tasks(arena, run, kind):
    error = OSError("down")

    def answer(key):
        raise error

    loader = Blocking(answer)
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        results = await asyncio.gather(*(cache.afetch(1) for _ in range(5)), return_exceptions=True)
        assert all(each is error for each in results)
        loader.answer = lambda key: "up"
        assert await cache.afetch(1) == "up"

    run(main())
    assert_nothing_is_left(cache, 1)


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_function_that_exits_is_a_failure_of_the_load(arena, run, kind):
    def answer(key):
        raise SystemExit(3)

    loader = Blocking(answer)
    cache = arena.cache("c", **{kind: getattr(loader, kind)})

    async def main():
        with pytest.raises(forebay.LoadError, match="loading 1 of cache 'c' was ended by SystemExit: 3"):
            await cache.afetch(1)
        loader.answer = lambda key: "up"
        assert await cache.afetch(1) == "up"

    run(main())
    assert_nothing_is_left(cache, 1)


def test_an_executor_that_is_shut_down_is_an_error(arena):
    cache = arena.cache("c", load_many=Blocking().load_many)
    single = arena.cache("d", load=Blocking().load)

    async def main():
        await asyncio.get_running_loop().shutdown_default_executor()
        for each in (cache, single):
            with pytest.raises(RuntimeError, match="shutdown"):
                await each.afetch(1)

    asyncio.run(main())
    for each in (cache, single):
        assert_nothing_is_left(each, 1)
        assert each.fetch(1) == 10
        assert asyncio.run(each.afetch(2)) == 20


def test_cancelled_tasks_do_not_stop_a_function_s_load(arena, run):
    loader = Blocking()
    cache = arena.cache("c", load_many=loader.load_many)

    async def main():
        loader.may_go_on.clear()
        task = asyncio.create_task(cache.afetch(1))
        await eventually(lambda: loader.batches)
        queued = asyncio.create_task(cache.afetch(2))
        await eventually(lambda: waiters(cache, 2) == 1)
        task.cancel(), queued.cancel()
        await asyncio.gather(task, queued, return_exceptions=True)
        loader.may_go_on.set()
        await eventually(lambda: cache.get_many([1, 2]) == {1: 10, 2: 20})

    run(main())
    assert loader.batches == [[1], [2]]
    assert_nothing_is_left(cache, 1, 2)


def test_two_loops_share_loads(arena):
    loader = Blocking()
    cache = arena.cache("c", load_many=loader.load_many)
    loader.may_go_on.clear()
    with ThreadPoolExecutor(3) as pool:
        results = [pool.submit(asyncio.run, cache.afetch_many(range(5))) for _ in range(3)]
        end = time.monotonic() + LONG
        while waiters(cache, 4) != 3:
            assert time.monotonic() < end
            time.sleep(0.001)
        loader.may_go_on.set()
        assert [each.result(LONG) for each in results] == [{key: key * 10 for key in range(5)}] * 3
    assert sorted(sum(loader.batches, [])) == list(range(5))
    assert_nothing_is_left(cache, *range(5))


def test_two_loops_share_loads_of_a_coroutine_function(arena):
    batches = []
    may_go_on = threading.Event()

    async def load(key):
        batches.append(key)
        await asyncio.to_thread(may_go_on.wait, LONG)
        return key * 10

    cache = arena.cache("c", load=load)
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(asyncio.run, cache.afetch(1)) for _ in range(2)]
        end = time.monotonic() + LONG
        while waiters(cache, 1) != 2:
            assert time.monotonic() < end
            time.sleep(0.001)
        may_go_on.set()
        assert [each.result(LONG) for each in results] == [10, 10]
    assert batches == [1]


# ---- memoize


def test_calls_of_coroutine_functions_for_one_key_are_one(arena, run):
    cache = arena.cache("c")
    calls = []

    async def call():
        calls.append(None)
        await asyncio.sleep(0.01)
        return {"result": len(calls)}

    async def main():
        def store(result):
            return result["result"] > 1, 50, ["a tag"]

        fetches = [_loading.afetch_with(cache, "k", call, store, tags=["a tag"]) for _ in range(8)]
        assert await asyncio.gather(*fetches) == [{"result": 1}] * 8 and "k" not in cache
        assert await _loading.afetch_with(cache, "k", call, store, tags=["a tag"]) == {"result": 2}
        assert cache.get("k") == {"result": 2}

    run(main())


def test_a_call_that_is_cancelled_by_its_caller_goes_on_for_the_others(arena, run):
    cache = arena.cache("c")
    may_go_on = []

    async def call():
        may_go_on.append(asyncio.Event())
        await may_go_on[0].wait()
        return 5

    async def main():
        def fetch():
            return asyncio.create_task(_loading.afetch_with(cache, "k", call, lambda result: (True, ..., ())))

        first, second = fetch(), fetch()
        await eventually(lambda: may_go_on)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        may_go_on[0].set()
        assert await second == 5 and len(may_go_on) == 1

    run(main())


def test_sleepers_of_closed_loops_are_not_woken(arena):
    async def make():
        return _loading_tasks.Sleeper(asyncio.get_running_loop())

    sleeper = asyncio.run(make())
    waker = threading.Thread(target=sleeper.wake)
    waker.start()
    waker.join(LONG)
    assert not waker.is_alive()


class CtrlC(KeyboardInterrupt):
    """Not caught by the loop, unlike other exceptions in callbacks."""


def end_loop(loop):
    """Each task that was interrupted interrupts the loop, too."""
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        with contextlib.suppress(CtrlC):
            loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.parametrize("kind", ["coroutine function", "function"])
def test_an_interrupt_at_any_line_leaves_nothing_that_others_wait_for(arena, kind, recwarn):
    number = 0
    ended = False
    while not ended:
        number += 1
        loader = Loader() if kind == "coroutine function" else Blocking()
        cache = arena.cache(f"c{number % 7}", load_many=loader.load_many, load_timeout=0.05)
        cache.clear()
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        trace, not_reached = interrupt_at(number, CtrlC)
        sys.settrace(trace)
        try:
            loop.run_until_complete(asyncio.wait_for(cache.afetch_many([1, 2]), LONG))
        except CtrlC:
            pass
        finally:
            sys.settrace(None)
        ended = not_reached()
        result = asyncio.run(asyncio.wait_for(cache.afetch_many([1, 2, 3]), LONG))
        assert result == {1: 10, 2: 20, 3: 30}
        end_loop(loop)
    assert number > 100
