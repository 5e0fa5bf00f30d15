# SPDX-License-Identifier: Apache-2.0
"""forebay.batch.DataLoader: what aiodataloader's class does."""

import asyncio
import contextvars
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forebay.batch import DataLoader
from batch_sources import Source, returning, run, source, ticks  # run and source: fixtures

TOOL = Path(__file__).parents[2] / "tools" / "run-aiodataloader-tests"


# Batches


def test_a_key_is_loaded(run, source):
    async def main():
        return await DataLoader(source).load(1)

    assert run(main) == 1
    assert source.batches == [[1]]


def test_loads_of_one_moment_are_one_batch_in_their_order(run, source):
    async def main():
        loader = DataLoader(source)
        return await asyncio.gather(loader.load("b"), loader.load("a"), loader.load("c"))

    assert run(main) == ["b", "a", "c"]
    assert source.batches == [["b", "a", "c"]]


def test_many_keys_are_loaded_at_once_and_none_too(run, source):
    async def main():
        loader = DataLoader(source)
        return [await loader.load_many(keys) for keys in ([], (2, 1, 2), (key for key in "xy"), {5: "a"})]

    assert run(main) == [[], [2, 1, 2], ["x", "y"], [5]]
    assert source.batches == [[2, 1], ["x", "y"], [5]]


def test_tasks_that_are_ready_load_for_the_same_batch(run, source):
    async def main():
        loader = DataLoader(source)

        async def deeper():
            return await loader.load("B")

        async def deep():
            return await asyncio.create_task(deeper())

        return await asyncio.gather(loader.load("A"), deeper(), deep())

    assert run(main) == ["A", "B", "B"]
    assert source.batches == [["A", "B"]]


def test_a_batch_function_may_use_a_loader_and_those_loads_are_joined_too(run, source):
    async def main():
        deep = DataLoader(source)

        async def through(keys):
            return await deep.load(tuple(keys))

        a, b = DataLoader(through), DataLoader(through)
        return await asyncio.gather(a.load("A1"), b.load("B1"), a.load("A2"), b.load("B2"))

    assert run(main) == ["A1", "B1", "A2", "B2"]
    assert source.batches == [[("A1", "A2"), ("B1", "B2")]]


def test_what_is_loaded_while_a_batch_runs_is_the_next_one_which_does_not_wait(run):
    async def main():
        gate = asyncio.Event()
        source = Source(gate=gate)
        loader = DataLoader(source)
        first = loader.load(1)
        await ticks()
        others = loader.load_many([1, 2, 3])
        await ticks()
        assert source.batches == [[1], [2, 3]]
        assert not first.done()
        gate.set()
        return [await first, await others]

    assert run(main) == [1, [1, 2, 3]]


@pytest.mark.parametrize(
    ("size", "batches"), [(2, [[1, 2], [3, 4], [5]]), (5, [[1, 2, 3, 4, 5]]), (1, [[1], [2], [3], [4], [5]]), (0, [[1, 2, 3, 4, 5]])]
)
def test_long_batches_are_split_at_max_batch_size(run, source, size, batches):
    async def main():
        return await DataLoader(source, max_batch_size=size).load_many(range(1, 6))

    assert run(main) == [1, 2, 3, 4, 5]
    assert source.batches == batches


def test_the_parts_of_a_split_batch_run_together(run):
    async def main():
        gate = asyncio.Event()
        source = Source(gate=gate)
        values = DataLoader(source, max_batch_size=1).load_many([1, 2])
        await ticks()
        assert source.batches == [[1], [2]]
        gate.set()
        await values

    run(main)


def test_a_part_that_fails_leaves_the_other_parts_alone(run):
    async def half(keys):
        if 2 in keys:
            raise ValueError("two")
        return keys

    async def main():
        loader = DataLoader(half, max_batch_size=2)
        return await asyncio.gather(*map(loader.load, (1, 2, 3)), return_exceptions=True)

    assert list(map(repr, run(main))) == ["ValueError('two')", "ValueError('two')", "3"]


def test_without_batching_each_key_is_asked_for_at_once(run, source):
    async def main():
        loader = DataLoader(source, batch=False)
        futures = [loader.load(1), loader.load(2), loader.load(1)]
        await asyncio.sleep(0)
        assert source.batches == [[1], [2]]
        return await asyncio.gather(*futures)

    assert run(main) == [1, 2, 1]


def test_a_batch_function_may_change_its_list(run):
    async def emptied(keys):
        return [keys.pop(0) for _ in range(len(keys))]

    async def main():
        return await DataLoader(emptied).load_many([1, 2])

    assert run(main) == [1, 2]


def test_a_batch_runs_in_the_context_of_its_first_load(run):
    variable = contextvars.ContextVar("variable", default="none")

    async def context_of(keys):
        return [variable.get()] * len(keys)

    async def main():
        loader = DataLoader(context_of)

        async def load_as(name):
            variable.set(name)
            return await loader.load(name)

        return await asyncio.gather(load_as("first"), load_as("second"))

    assert run(main) == ["first", "first"]


# What is remembered


def test_a_key_is_asked_for_once(run, source):
    async def main():
        loader = DataLoader(source)
        first, second = loader.load(1), loader.load(1)
        assert first == second and hash(first) == hash(second)
        assert first != loader.load(2) and second != 1
        assert await asyncio.gather(first, second) == [1, 1]
        assert loader.load(1) == first == second
        assert await loader.load_many([1, 3]) == [1, 3]

    run(main)
    assert source.batches == [[1, 2], [3]]


def test_without_cache_each_load_is_its_own(run, source):
    async def main():
        loader = DataLoader(source, cache=False)
        assert await loader.load_many(["A", "B", "A"]) == ["A", "B", "A"]
        assert await loader.load("A") == "A"

    run(main)
    assert source.batches == [["A", "B", "A"], ["A"]]


def test_cleared_keys_are_asked_for_again(run, source):
    async def main():
        loader = DataLoader(source)
        await loader.load_many("AB")
        assert loader.clear("A") is loader
        await loader.load_many("AB")
        assert loader.clear_all() is loader
        await loader.load_many("AB")
        assert loader.clear("never loaded") is loader

    run(main)
    assert source.batches == [["A", "B"], ["A"], ["A", "B"]]


def test_who_waits_for_a_key_that_is_cleared_gets_what_was_asked_for_before(run):
    async def main():
        gate = asyncio.Event()
        source = Source(gate=gate)
        source.answer = lambda key: len(source.batches)
        loader = DataLoader(source)
        before = loader.load("A")
        await ticks()
        after = loader.clear("A").load("A")
        assert before != after
        await ticks()
        assert source.batches == [["A"], ["A"]]
        gate.set()
        await asyncio.gather(before, after)
        assert loader.load("A") is after

    run(main)


def test_primed_values_are_not_asked_for(run, source):
    async def main():
        loader = DataLoader(source)
        assert loader.prime("A", "X") is loader
        assert await loader.load_many("AB") == ["X", "B"]
        loader.prime("A", "Y").prime("B", "Y")
        assert await loader.load_many("AB") == ["X", "B"]
        assert await loader.clear("A").prime("A", "Z").load("A") == "Z"

    run(main)
    assert source.batches == [["B"]]


def test_priming_does_not_overtake_a_load_under_way(run, source):
    async def main():
        loader = DataLoader(source)
        future = loader.load("A")
        loader.prime("A", "X")
        return await future, await loader.load("A")

    assert run(main) == ("A", "A")


def test_a_primed_exception_is_raised_by_each_load(run, source):
    async def main():
        loader = DataLoader(source).prime(1, KeyError("one"))
        for _ in range(2):
            with pytest.raises(KeyError, match="one"):
                await loader.load(1)

    run(main)
    assert source.batches == []


def test_keys_that_are_not_hashable_go_by_their_cache_key(run, source):
    async def main():
        loader = DataLoader(source, get_cache_key=lambda key: tuple(sorted(key.items())))
        assert await loader.load_many([{"a": 1, "b": 2}, {"b": 2, "a": 1}]) == [{"a": 1, "b": 2}] * 2
        loader.prime({"c": 3}, "primed")
        assert await loader.load({"c": 3}) == "primed"
        loader.clear({"b": 2, "a": 1})
        await loader.load({"a": 1, "b": 2})

    run(main)
    assert source.batches == [[{"a": 1, "b": 2}]] * 2


@pytest.mark.parametrize("key", [[1], {"a": 1}, (1, [2])], ids=repr)
def test_without_a_cache_key_they_are_refused_with_advice_or_not_remembered(run, source, key):
    async def main():
        loader = DataLoader(source)
        with pytest.raises(TypeError, match="unhashable.*get_cache_key="):
            loader.load(key)
        assert await DataLoader(source, cache=False).load(key) == key

    run(main)
    assert source.batches == [[key]]


def test_a_failed_batch_of_keys_that_are_not_hashable_fails_all_the_same(run):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await DataLoader(Source(lambda key: 1 / 0), cache=False).load([1])

    run(main)


def test_cache_map_holds_the_futures(run, source):
    async def main():
        futures = {}
        loader = DataLoader(source, cache_map=futures)
        await loader.load_many("AB")
        assert {key: await future for key, future in futures.items()} == {"A": "A", "B": "B"}
        assert await DataLoader(source, cache_map=futures).load("A") == "A"
        loader.clear("A")
        assert list(futures) == ["B"]
        loader.clear_all()
        assert futures == {}

    run(main)
    assert source.batches == [["A", "B"]]


def test_a_future_of_the_program_s_own_in_cache_map_is_waited_for(run, source):
    async def main():
        own = asyncio.get_running_loop().create_future()
        load = DataLoader(source, cache_map={1: own}).load(1)
        own.set_result("own")
        return await load

    assert run(main) == "own"


def test_falsy_values_are_remembered(run):
    source = Source(lambda key: None)

    async def main():
        loader = DataLoader(source)
        return [await loader.load(0), await loader.load(0), await loader.prime("", 0).load("")]

    assert run(main) == [None, None, 0]
    assert source.batches == [[0]]


# Ways to make one


def test_a_subclass_has_the_function_and_the_options(run):
    batches = []

    class Loader(DataLoader):
        max_batch_size = 2
        cache = False

        async def batch_load_fn(self, keys):
            batches.append(keys)
            return keys

        def get_cache_key(self, key):
            return str(key)

    class Remembering(Loader):
        cache = True

    async def main():
        assert await Loader().load_many([1, 1, 2]) == [1, 1, 2]
        assert await Loader(max_batch_size=3).load_many([1, 1, 2]) == [1, 1, 2]
        assert await Remembering().load_many([1, "1", 2]) == [1, 1, 2]
        assert await Loader(returning([7])).load(1) == 7

    run(main)
    assert batches == [[1, 1], [2], [1, 1, 2], [1, 2]]


def test_partial_functions_methods_and_callable_objects_will_do(run, source):
    async def named(names, keys):
        return [names.get(key) for key in keys]

    def handed_on(keys):
        return source(keys)

    async def main():
        return [await DataLoader(f).load(1) for f in (functools.partial(named, {1: "one"}), source.__call__, handed_on)]

    assert run(main) == ["one", 1, 1]


def test_arguments_may_go_by_position():
    async def function(keys):
        return keys

    loop = asyncio.new_event_loop()
    loader = DataLoader(function, False, 3, False, str, {}, loop)
    assert (loader.batch, loader.max_batch_size, loader.cache, loader.loop) == (False, 3, False, loop)
    assert loader.batch_load_fn is function and loader.get_cache_key is str
    loop.close()


# What it stands in for


@pytest.mark.long
def test_aiodataloader_s_own_tests_pass():
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout and "passed" in done.stdout
