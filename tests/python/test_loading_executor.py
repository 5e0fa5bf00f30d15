# SPDX-License-Identifier: Apache-2.0
"""afetch() of caches whose loader is no coroutine function: it runs in an executor."""

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import forebay
import pytest
from loading_calls import LONG, arena, waiters  # arena: a fixture
from loading_in_tasks import Blocking, assert_nothing_is_left, eventually, run  # run: a fixture


# ---- functions that are no coroutine functions, in an executor




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
