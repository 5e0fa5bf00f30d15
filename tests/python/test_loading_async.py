# SPDX-License-Identifier: Apache-2.0
"""afetch() and its relatives in event loops, asyncio's own and uvloop's."""

import asyncio

import forebay
import pytest
from forebay import _loading_flights, _loading_tasks
from loading_calls import LONG, arena  # arena: a fixture
from loading_in_tasks import Loader, assert_nothing_is_left, eventually, run, settled  # run: a fixture


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


def test_thousands_of_tasks_that_wait_share_a_timer_and_count_no_queue(arena, run, monkeypatch):
    async def load_many(keys):
        await asyncio.sleep(0)
        return keys

    monkeypatch.setattr(_loading_flights.Queue, "__len__", lambda queue: 1 / 0)
    alarms = []
    monkeypatch.setattr(_loading_tasks.Alarm, "_ring", lambda alarm: alarms.append(alarm))
    monkeypatch.setattr(_loading_tasks, "LOOK_AGAIN", LONG)  # however slow the interpreter is

    async def main():
        cache = arena.cache("c", load_many=load_many, max_batch=10, load_timeout=2 * LONG)
        here = cache._loading.tasks.here()
        tasks = [asyncio.create_task(cache.afetch(key)) for key in range(2000)]
        await asyncio.sleep(0)
        assert len(here._alarm._sleepers) == 2000 and here._alarm._timer is not None
        assert await asyncio.gather(*tasks) == list(range(2000))
        assert not here._alarm._sleepers and here._alarm._timer is None

    run(main())
    assert not alarms


def test_who_is_not_woken_looks_by_itself(run, monkeypatch):
    monkeypatch.setattr(_loading_tasks, "LOOK_AGAIN", 0.01)

    async def main():
        loop = asyncio.get_running_loop()
        alarm = _loading_tasks.Alarm(loop)
        sleepers = [_loading_tasks.Sleeper(loop, alarm) for _ in range(3)]
        for _ in range(3):
            await asyncio.gather(*(sleeper.sleep(float("inf")) for sleeper in sleepers))
        assert alarm._timer is None and not alarm._sleepers
        sleepers[0].wake()  # before it sleeps: once only
        await sleepers[0].sleep(float("inf"))
        assert alarm._timer is None
        await sleepers[0].sleep(0.0)
        await sleepers[0].sleep(-1.0)

    run(main())


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
