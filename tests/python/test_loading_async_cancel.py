# SPDX-License-Identifier: Apache-2.0
"""afetch() when callers, loads and loops end before their time."""

import asyncio
import contextlib
import threading

import forebay
import pytest
from forebay import _loading, _loading_tasks
from loading_calls import LONG, arena, interrupted_at  # arena: a fixture
from loading_in_tasks import Blocking, Loader, assert_nothing_is_left, eventually, run, settled  # run: a fixture


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
        loop = asyncio.get_running_loop()
        return _loading_tasks.Sleeper(loop, _loading_tasks.Alarm(loop))

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
        ended = not interrupted_at(number, lambda: loop.run_until_complete(asyncio.wait_for(cache.afetch_many([1, 2]), LONG)), CtrlC)
        result = asyncio.run(asyncio.wait_for(cache.afetch_many([1, 2, 3]), LONG))
        assert result == {1: 10, 2: 20, 3: 30}
        end_loop(loop)
    assert number > 100
