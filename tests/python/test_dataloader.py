# SPDX-License-Identifier: Apache-2.0
"""forebay.batch.DataLoader: what aiodataloader's class does, and where it stays whole when a caller goes away."""

import asyncio
import contextvars
import functools
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import forebay
import pytest
from forebay.batch import DataLoader

TOOL = Path(__file__).parents[2] / "tools" / "run-aiodataloader-tests"


def loop_factories():
    factories = {"asyncio": asyncio.SelectorEventLoop}
    try:
        import uvloop
    except ImportError:
        return factories
    return factories | {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=loop_factories())
def run(request):
    """Runs a coroutine function in a loop of its own, in which nothing may go wrong unseen."""

    def run(main):
        complaints = []

        async def watched():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            result = await asyncio.wait_for(main(), 30)
            gc.collect()
            await asyncio.sleep(0)
            return result

        with asyncio.Runner(loop_factory=loop_factories()[request.param]) as runner:
            result = runner.run(watched())
        gc.collect()
        assert not complaints
        return result

    return run


class Source:
    """A batch function that notes the batches it is called for."""

    def __init__(self, answer=lambda key: key, gate=None):
        self.answer = answer
        self.gate = gate
        self.batches = []

    async def __call__(self, keys):
        self.batches.append(list(keys))
        if self.gate is not None:
            await self.gate.wait()
        return [self.answer(key) for key in keys]


@pytest.fixture
def source():
    return Source()


async def ticks(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


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


# Errors


def odd_ones_fail(key):
    return ValueError(f"odd: {key}") if key % 2 else key


def test_an_exception_in_the_list_is_raised_for_its_key_only_and_remembered(run):
    source = Source(odd_ones_fail)

    async def main():
        loader = DataLoader(source)
        odd, even = loader.load(1), loader.load(2)
        with pytest.raises(ValueError, match="odd: 1"):
            await odd
        assert await even == 2
        with pytest.raises(ValueError, match="odd: 1"):
            await loader.load(1)
        loader.clear(1)
        with pytest.raises(ValueError, match="odd: 1"):
            await loader.load(1)

    run(main)
    assert source.batches == [[1, 2], [1]]


def test_load_many_raises_the_first_error(run):
    async def main():
        with pytest.raises(ValueError, match="odd: 1"):
            await DataLoader(Source(odd_ones_fail)).load_many([2, 1, 3])

    run(main)


def test_a_failed_batch_fails_for_each_key_and_is_not_remembered(run):
    calls = []

    async def main():
        async def fails_once(keys):
            calls.append(list(keys))
            if len(calls) == 1:
                raise error
            return keys

        error = LookupError("down")
        loader = DataLoader(fails_once)
        errors = await asyncio.gather(*map(loader.load, (1, 2, 1)), return_exceptions=True)
        assert all(each is error for each in errors)
        assert await loader.load_many([1, 2]) == [1, 2]

    run(main)
    assert calls == [[1, 2], [1, 2]]


def test_a_failed_batch_does_not_make_a_newer_load_of_its_key_forgotten(run):
    async def main():
        gates = [asyncio.Event(), asyncio.Event()]
        calls = []

        async def first_fails(keys):
            calls.append(keys)
            number = len(calls) - 1
            await gates[number].wait()
            return [1 / number] * len(keys)

        loader = DataLoader(first_fails)
        old = loader.load("A")
        await ticks()
        new = loader.clear("A").load("A")
        await ticks()
        gates[0].set()
        with pytest.raises(ZeroDivisionError):
            await old
        again = loader.load("A")
        gates[1].set()
        assert await asyncio.gather(new, again) == [1.0, 1.0]
        assert len(calls) == 2

    run(main)


def test_a_function_that_raises_before_it_is_awaited_fails_its_keys(run):
    def raises(keys):
        raise LookupError("at once")

    async def main():
        with pytest.raises(LookupError, match="at once"):
            await DataLoader(raises).load(1)

    run(main)


def returning(value):
    async def function(keys):
        return value

    return function


async def generating(keys):
    yield keys


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda keys: keys, "returned list, which cannot be awaited.*async def"),
        (generating, "returned async_generator, which cannot be awaited.*returns a list"),
        (returning(None), "returned NoneType.*list with a value for each key"),
        (returning({1: "a"}), "returned dict.*found.get"),
        (returning({1}), "returned set.*order"),
        (returning("a"), "returned str"),
        (returning([]), "returned 0 values for 1 keys.*exception where there is none.*keys: .1., values: .."),
        (returning([1, 2]), "returned 2 values for 1 keys"),
    ],
)
def test_a_function_that_returns_something_else_is_told_what_to_do(run, function, message):
    async def main():
        loader = DataLoader(function)
        with pytest.raises(TypeError, match=message):
            await loader.load(1)
        with pytest.raises(TypeError, match=message):  # and it is not remembered
            await loader.load(1)

    run(main)


def test_a_tuple_or_an_iterator_will_do_for_a_list(run):
    async def main():
        return [await DataLoader(returning(values)).load_many("ab") for values in ((1, 2), iter([3, 4]))]

    assert run(main) == [[1, 2], [3, 4]]


def test_an_iterator_that_raises_fails_its_batch(run):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await DataLoader(returning(1 / each for each in (1, 0))).load_many("ab")

    run(main)


def test_stop_iteration_for_a_key_is_an_error_for_it(run):
    async def main():
        loader = DataLoader(returning([StopIteration(5), "b"]))
        first, second = loader.load("a"), loader.load("b")
        with pytest.raises(RuntimeError, match="StopIteration"):
            await first
        assert await second == "b"

    run(main)


def test_wrong_keys_are_refused(run, source):
    async def main():
        loader = DataLoader(source)
        with pytest.raises(TypeError, match="not None"):
            loader.load(None)
        with pytest.raises(TypeError):
            loader.load()
        with pytest.raises(TypeError, match="iterable of keys, not int; load"):
            loader.load_many(5)
        with pytest.raises(TypeError, match="not None"):
            loader.load_many([None])

    run(main)
    assert source.batches == []


def test_wrong_arguments_are_refused(arena, source):
    with pytest.raises(TypeError, match="async def batch_load_fn"):
        DataLoader()
    with pytest.raises(TypeError, match="async function, not int"):
        DataLoader(5)
    with pytest.raises(TypeError, match="function, not str"):
        DataLoader(source, get_cache_key="id")
    with pytest.raises(ValueError, match="-1"):
        DataLoader(source, max_batch_size=-1)
    for option in ("cache", "cache_map"):
        with pytest.raises(TypeError, match=r"DataLoader.of\(cache\)"):
            DataLoader(source, **{option: arena.cache("c")})


def test_errors_that_nobody_waits_for_print_nothing(run):
    async def main():
        loader = DataLoader(Source(odd_ones_fail))
        loader.load(1)
        loader.load(3)
        loader.load(3)
        loader.load_many([1, 5])
        loader.prime(7, ValueError("primed"))
        DataLoader(returning(None)).load(1)
        DataLoader(returning(None), cache=False).load_many([1, 1])
        await ticks(10)
        loader.clear_all()

    run(main)  # looks whether something was printed


# Callers that go away


def test_a_cancelled_caller_disturbs_neither_the_others_nor_the_load(run):
    async def main():
        for leaver in range(3):
            gate = asyncio.Event()
            source = Source(gate=gate)
            loader = DataLoader(source)
            callers = [asyncio.create_task(wait_for(loader, 1)) for _ in range(3)]
            await ticks()
            callers[leaver].cancel()
            await ticks()
            late = loader.load(1)
            gate.set()
            outcomes = await asyncio.gather(*callers, late, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
            assert outcomes.count(1) == 3
            assert await loader.load(1) == 1
            assert source.batches == [[1]]

    async def wait_for(loader, key):
        return await loader.load(key)

    run(main)


def test_a_load_goes_on_and_is_remembered_when_all_callers_are_cancelled(run):
    async def main():
        gate = asyncio.Event()
        source = Source(gate=gate)
        loader = DataLoader(source)
        futures = [loader.load(1), loader.load(1), loader.load_many([1, 2])]
        for future in futures:
            future.cancel()
        await ticks()
        gate.set()
        await ticks()
        assert await loader.load_many([1, 2]) == [1, 2]
        assert source.batches == [[1, 2]]

    run(main)


def test_an_exception_is_remembered_when_its_caller_is_cancelled(run):
    source = Source(odd_ones_fail)

    async def main():
        loader = DataLoader(source)
        loader.load(1).cancel()
        await ticks()
        with pytest.raises(ValueError, match="odd"):
            await loader.load(1)

    run(main)
    assert source.batches == [[1]]


def test_a_deadline_of_one_caller_is_not_that_of_another(run):
    async def main():
        gate = asyncio.Event()
        loader = DataLoader(Source(gate=gate))
        patient = asyncio.create_task(wait_for_it(loader))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loader.load(1), 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.gather(loader.load(1), loader.load(2))
        gate.set()
        return await patient

    async def wait_for_it(loader):
        return await loader.load(1)

    assert run(main) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_a_batch_that_is_cancelled_cancels_those_who_wait_and_is_forgotten(run, begun):
    async def main():
        gate = asyncio.Event()
        source = Source(gate=gate)
        loader = DataLoader(source)
        before = asyncio.all_tasks()
        futures = [loader.load(1), loader.load(1)]
        while not (batches := asyncio.all_tasks() - before):
            await asyncio.sleep(0)
        if begun:
            await ticks()
        batches.pop().cancel()
        for future in futures:
            with pytest.raises(asyncio.CancelledError):
                await future
        gate.set()
        assert await loader.load(1) == 1
        assert source.batches == [[1]] * (2 if begun else 1)

    run(main)


def test_a_future_that_the_caller_settles_is_left_as_it_is(run):
    async def main():
        for function in (Source(), returning(None)):
            loader = DataLoader(function)
            set_value, set_error = loader.load(1), loader.load(2)
            set_value.set_result(999)
            set_error.set_exception(LookupError("outside"))
            await ticks(10)
            assert await set_value == 999
            with pytest.raises(LookupError, match="outside"):
                await set_error

    run(main)


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


# What it stands in for


@pytest.mark.long
def test_aiodataloader_s_own_tests_pass():
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout and "passed" in done.stdout
