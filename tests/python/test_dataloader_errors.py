# SPDX-License-Identifier: Apache-2.0
"""forebay.batch.DataLoader stays whole when loads fail and callers go away."""

import asyncio

import pytest
from forebay.batch import DataLoader
from batch_sources import Source, odd_ones_fail, returning, run, source, ticks  # run and source: fixtures


# Errors


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
