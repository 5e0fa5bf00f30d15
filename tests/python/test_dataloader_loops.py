# SPDX-License-Identifier: Apache-2.0
"""forebay.batch.DataLoader in several loops and threads, and of a cache."""

import asyncio
import sys
import threading

import forebay
import pytest
from forebay.batch import DataLoader
from batch_sources import Source, odd_ones_fail, run, source  # run and source: fixtures


# Loops and threads


def test_one_made_outside_of_a_loop_serves_several_one_after_another(run, source):
    loader = DataLoader(source)

    async def main():
        values = await loader.load_many([1, 2])
        assert loader.loop is asyncio.get_running_loop()
        return values

    assert run(main) == run(main) == [1, 2]
    assert source.batches == [[1, 2]]


def test_what_had_not_come_when_its_loop_ended_is_asked_for_anew(run):
    source = Source(odd_ones_fail)
    loader = DataLoader(source)

    async def leave():
        await loader.load(2)
        with pytest.raises(ValueError, match="odd"):
            await loader.load(3)
        loader.load(4)

    async def come():
        with pytest.raises(ValueError, match="odd"):
            await loader.load(3)
        return await loader.load_many([2, 4, 6])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    assert run(come) == [2, 4, 6]
    assert source.batches == [[2], [3], [4, 6]]


def test_a_loop_that_goes_on_later_gets_what_was_asked_for_in_it(run, source):
    loader = DataLoader(source)

    async def begin():
        return [loader.load(1)]

    async def between():
        return await loader.load_many([1, 2])

    loop = asyncio.new_event_loop()
    (future,) = loop.run_until_complete(begin())
    assert run(between) == [1, 2]
    assert loop.run_until_complete(future) == 1
    loop.close()
    assert source.batches == [[1, 2], [1]]


def test_a_loop_that_is_given_is_used_from_outside_of_it(source):
    loop = asyncio.new_event_loop()
    try:
        loader = DataLoader(source, loop=loop).prime(1, "primed")
        assert loop.run_until_complete(loader.load_many([1, 2])) == ["primed", 2]
        assert loop.run_until_complete(loader.load_many([])) == []
        assert loop.run_until_complete(loader.load(3)) == 3
    finally:
        loop.close()
    assert source.batches == [[2], [3]]


def test_the_loop_that_is_set_is_used_from_outside_of_it(source):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert loop.run_until_complete(DataLoader(source).load(1)) == 1
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_another_loop_than_the_given_one_is_refused(run, source):
    loop = asyncio.new_event_loop()
    loader = DataLoader(source, loop=loop)

    async def main():
        with pytest.raises(RuntimeError, match="one for each request"):
            loader.load(1)

    run(main)
    loop.close()


def test_another_thread_is_refused(run, source):
    async def main():
        loader = DataLoader(source)
        errors = []

        def load():
            for attempt in (lambda: loader.load(1), lambda: asyncio.run(loads())):
                try:
                    attempt()
                except RuntimeError as error:
                    errors.append(str(error))

        async def loads():
            loader.load(1)

        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
        assert len(errors) == 2 and all("another event loop or thread" in error for error in errors)
        assert await loader.load(1) == 1

    run(main)


def test_a_load_that_a_closed_loop_refuses_is_not_remembered(run, source):
    loop = asyncio.new_event_loop()
    loop.close()
    loader = DataLoader(source, loop=loop)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            loader.load(1)


def test_loops_of_other_threads_have_loaders_of_their_own(source):
    results = []

    def serve(number):
        async def main():
            return await DataLoader(source).load_many([number, -number])

        results.append(asyncio.run(main()))

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [[1, -1], [2, -2], [3, -3], [4, -4]]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks may begin at once since Python 3.12")
def test_loads_of_eager_tasks_are_joined(source):
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        loader = DataLoader(source)

        async def load(key):
            return await loader.load(key)

        return await asyncio.gather(*map(load, (1, 2, 1)))

    assert asyncio.run(main()) == [1, 2, 1]
    assert source.batches == [[1, 2]]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks may begin at once since Python 3.12")
def test_a_load_that_fails_at_once_in_an_eager_task_is_not_remembered():
    calls = []

    async def fails_once(keys):
        calls.append(keys)
        return [1 / (len(calls) - 1)]

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        loader = DataLoader(fails_once, batch=False)
        with pytest.raises(ZeroDivisionError):
            await loader.load(1)
        return await loader.load(1)

    assert asyncio.run(main()) == 1.0


def test_nothing_is_kept_of_a_loader_that_is_done(run, source):
    class Value:
        alive = 0

        def __init__(self, key):
            Value.alive += 1

        def __del__(self):
            Value.alive -= 1

    async def main():
        source.answer = Value
        await DataLoader(source).load_many(range(10))

    run(main)
    assert Value.alive == 0


# Of a cache


class SharedCache:
    """Stands for a forebay.Cache with a loader."""

    def __init__(self, values):
        self.values = values
        self.calls = []

    async def afetch_many(self, keys):
        self.calls.append(list(keys))
        await asyncio.sleep(0)
        return {key: self.values[key] for key in keys if key in self.values}


def test_a_loader_of_a_cache_fetches_its_keys_at_once_and_gives_none_for_what_there_is_not(run):
    shared = SharedCache({1: "one", 2: "two", 3: KeyError("three")})

    async def main():
        loader = DataLoader.of(shared)
        assert await asyncio.gather(loader.load(2), loader.load(5), loader.load(1), loader.load(2)) == ["two", None, "one", "two"]
        assert await loader.load(5) is None
        with pytest.raises(KeyError, match="three"):
            await loader.load(3)

    run(main)
    assert shared.calls == [[2, 5, 1], [3]]


def test_a_request_sees_one_value_of_a_key_until_it_clears_it(run):
    shared = SharedCache({1: "old"})

    async def main():
        loader = DataLoader.of(shared)
        assert await loader.load(1) == "old"
        shared.values[1] = "new"
        assert await loader.load(1) == "old"
        assert await DataLoader.of(shared).load(1) == "new"
        assert await loader.clear(1).load(1) == "new"

    run(main)


def test_a_loader_of_a_cache_takes_the_options_and_fetches_no_key_twice(run):
    class Loader(DataLoader):
        max_batch_size = 2

    shared = SharedCache({1: "one"})

    async def main():
        loader = Loader.of(shared, cache=False)
        assert type(loader) is Loader
        assert await loader.load_many([1, 1, 2]) == ["one", "one", None]
        assert await DataLoader.of(shared, get_cache_key=str, cache_map={}, batch=True).load_many([1, "1"]) == ["one", "one"]

    run(main)
    assert shared.calls == [[1], [2], [1]]


def test_a_failed_fetch_is_raised_for_its_keys_and_not_remembered(run):
    class Failing(SharedCache):
        async def afetch_many(self, keys):
            found = await super().afetch_many(keys)
            if len(self.calls) == 1:
                raise forebay.NoSpaceError("first")
            return found

    async def main():
        loader = DataLoader.of(Failing({1: "one"}))
        with pytest.raises(forebay.NoSpaceError):
            await loader.load(1)
        assert await loader.load(1) == "one"

    run(main)


def test_a_loader_of_something_else_is_refused():
    with pytest.raises(TypeError, match="forebay.Cache made with load= or load_many=, not dict"):
        DataLoader.of({})
