# SPDX-License-Identifier: Apache-2.0
"""load= and load_many= of caches, and fetch() by one caller; memoize."""

import math
import random
import types
from datetime import timedelta

import forebay
import pytest
from forebay import _loading
from loading_calls import Call, Loader, arena, assert_nothing_is_left, eventually  # arena: a fixture


# ---- one caller


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_what_is_missing_is_loaded_once(arena, kind):
    loader = Loader()
    cache = arena.cache("c", **{kind: getattr(loader, kind)})
    assert [cache.fetch(1), cache.fetch(1), cache.get(1)] == [10, 10, 10]
    assert loader.batches == [[1]]
    assert cache.fetch_many([3, 1, 2, 3]) == {3: 30, 1: 10, 2: 20}
    assert loader.batches == ([[1], [3], [2]] if kind == "load" else [[1], [3, 2]])
    assert cache.fetch_many([]) == {}
    assert_nothing_is_left(cache, 1, 2, 3)


def test_a_value_comes_as_get_gives_it_and_is_each_caller_s_own(arena):
    values = {1: {"list": [1]}}
    cache = arena.cache("c", load=values.get)
    first = cache.fetch(1)
    first["list"].append(2)
    assert cache.fetch(1) == values[1] == {"list": [1]}
    records = arena.cache("c2", load=values.get, lazy=True)
    assert isinstance(records.fetch(1), forebay.Record) and isinstance(records.fetch(1), forebay.Record)


def test_none_is_a_value(arena):
    loader = Loader(lambda key: None)
    cache = arena.cache("c", load=loader.load)
    assert cache.fetch(1, "default") is None and cache.fetch(1, "default") is None
    assert loader.batches == [[1]]


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_the_loader_says_that_there_is_none(arena, kind):
    loader = Loader(lambda key: forebay.ABSENT)
    cache = arena.cache("c", **{kind: getattr(loader, kind)})
    assert cache.fetch(1) is None and cache.fetch(1, "default") == "default"
    assert cache.fetch_many([1]) == {}
    assert loader.batches == [[1]] * 3, "without absent_ttl each asks"
    assert_nothing_is_left(cache, 1)


def test_absence_is_kept_for_absent_ttl(arena):
    loader = Loader(lambda key: forebay.ABSENT)
    cache = arena.cache("c", load_many=loader.load_many, absent_ttl=timedelta(seconds=50))
    assert cache.fetch(1, "default") == "default" and cache.fetch(1) is None and cache.fetch_many([1, 1]) == {}
    assert loader.batches == [[1]]
    assert cache.is_absent(1) and cache.refresh(1) is None
    cache.set(1, "there")
    assert cache.fetch(1) == "there"


def test_load_many_may_return_a_mapping(arena):
    cache = arena.cache("c", load_many=lambda keys: types.MappingProxyType({key: key * 10 for key in keys if key != 2}))
    assert cache.fetch_many([1, 2, 3]) == {1: 10, 3: 30}
    assert cache.fetch(2, "default") == "default"


def test_batches_have_at_most_max_batch_keys(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_batch=4)
    assert cache.fetch_many(range(10)) == {key: key * 10 for key in range(10)}
    assert [len(batch) for batch in loader.batches] == [4, 4, 2]


def test_keys_that_python_thinks_equal_are_told_apart(arena):
    loader = Loader(repr)
    cache = arena.cache("c", load_many=loader.load_many)
    assert [cache.fetch(1), cache.fetch(True), cache.fetch("1")] == ["1", "True", "'1'"]
    other = arena.cache("d", load_many=loader.load_many)
    assert len(other.fetch_many([1, True])) == 1
    assert sorted(map(repr, loader.batches[-1])) == ["1", "True"][: len(loader.batches[-1])]


def test_keys_of_wrong_types_are_refused(arena):
    cache = arena.cache("c", load=lambda key: key)
    for wrong in (None, 1j, object()):
        with pytest.raises(TypeError):
            cache.fetch(wrong)
    with pytest.raises(TypeError, match="iterable of keys"):
        cache.fetch_many("abc")
    assert_nothing_is_left(cache)


def test_entries_live_as_long_as_the_cache_says(arena):
    cache = arena.cache("c", load=lambda key: key, ttl=50)
    cache.fetch(1)
    assert 40_000 < cache._ttl_left(1) <= 50_000
    endless = arena.cache("d", load=lambda key: key, stale=5, jitter=0.5)
    endless.fetch(1)
    assert endless._ttl_left(1) is None


def test_jitter_shortens_each_ttl_by_another_part(arena):
    cache = arena.cache("c", load=lambda key: key, ttl=100, jitter=0.5)
    left = []
    for key in range(50):
        cache.fetch(key)
        left.append(cache._ttl_left(key))
    assert all(49_000 < each <= 100_000 for each in left)
    assert max(left) - min(left) > 10_000


def test_full_jitter_leaves_a_ttl_above_zero(arena, monkeypatch):
    cache = arena.cache("c", load=lambda key: key, ttl=1, jitter=1)
    monkeypatch.setattr(random, "random", lambda: math.nextafter(1, 0))
    assert cache.fetch(1) == 1


# ---- errors


def test_a_loader_s_error_is_raised_and_the_next_call_loads_again(arena):
    answers = [KeyError("no"), 5]

    def load(key):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = arena.cache("c", load=load)
    with pytest.raises(KeyError, match="no"):
        cache.fetch(1)
    assert_nothing_is_left(cache, 1)
    assert cache.fetch(1) == 5


def test_an_exception_among_the_values_is_for_its_key_only(arena):
    cache = arena.cache("c", load_many=lambda keys: [OSError("odd") if key % 2 else key for key in keys])
    with pytest.raises(OSError, match="odd"):
        cache.fetch_many([1, 2])
    assert cache.get(2) == 2 and 1 not in cache
    assert cache.fetch_many([2, 4]) == {2: 2, 4: 4}
    assert_nothing_is_left(cache, 1, 2, 4)


@pytest.mark.parametrize(
    "result, error, says",
    [
        ([1], ValueError, "asked for 2 keys and returned 1 values"),
        ([1, 2, 3], ValueError, "asked for 2 keys and returned 3 values"),
        (None, TypeError, "mapping or a list, not NoneType"),
        ({1, 2}, TypeError, "mapping or a list, not set"),
        ("ab", TypeError, "mapping or a list, not str"),
        ((each for each in "ab"), TypeError, "mapping or a list, not generator"),
    ],
    ids=repr,
)
def test_a_wrong_result_of_load_many_is_an_error_that_says_so(arena, result, error, says):
    cache = arena.cache("c", load_many=lambda keys: result)
    with pytest.raises(error, match=says):
        cache.fetch_many([1, 2])
    assert_nothing_is_left(cache, 1, 2)


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_loader_that_returns_an_awaitable_is_told_to_be_a_coroutine_function(arena, kind):
    async def load(keys):
        return keys

    cache = arena.cache("c", **{kind: lambda keys: load(keys)})
    with pytest.raises(TypeError, match="async def"):
        cache.fetch(1)


def test_a_value_that_cannot_be_stored_as_such_is_an_error(arena):
    cache = arena.cache("c", load=lambda key: object())
    with pytest.raises(TypeError):
        cache.fetch(1)
    assert_nothing_is_left(cache, 1)


def test_a_value_that_is_too_big_is_returned_all_the_same(arena):
    big = bytes(arena.max_entry + 1)
    cache = arena.cache("c", load=lambda key: big)
    assert cache.fetch(1) == big and 1 not in cache
    assert_nothing_is_left(cache, 1)


def test_a_closed_arena_fails_its_callers_and_nothing_hangs(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    calls = [Call(cache.fetch, 1), Call(cache.fetch, 1), Call(cache.fetch, 2)]
    loader.wait_until_it_runs()
    arena.close()
    loader.go_on()
    for call in calls:
        assert isinstance(call.ended().error, forebay.ClosedError)
    with pytest.raises(forebay.ClosedError):
        cache.fetch(1)


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({}, TypeError, "give load= or load_many="),
        ({"stale": 5}, TypeError, "give load= or load_many="),
        ({"load": len, "load_many": len}, TypeError, "not by both"),
        ({"load": 5}, TypeError, "load must be a function, not int"),
        ({"load_many": [1]}, TypeError, "load_many must be a function, not list"),
        ({"load": len, "max_batch": 5}, TypeError, "one key at a time"),
        ({"load": len, "max_wait": 0.1}, TypeError, "one key at a time"),
        ({"load": len, "colour": 5}, TypeError, "colour"),
        ({"load": len, "absent_ttl": 0}, ValueError, "absent_ttl must be more than 0"),
        ({"load": len, "absent_ttl": "5"}, TypeError, "absent_ttl must be seconds"),
        ({"load": len, "stale": -1}, ValueError, "stale must not be negative"),
        ({"load": len, "stale": math.inf}, ValueError, "nor endless"),
        ({"load": len, "stale": math.nan}, ValueError, "nor endless"),
        ({"load": len, "early": 0}, ValueError, "early must be more than 0"),
        ({"load": len, "early": timedelta(1)}, TypeError, "early must be a number"),
        ({"load": len, "jitter": 1.5}, ValueError, "jitter must be from 0 to 1"),
        ({"load": len, "jitter": True}, TypeError, "jitter must be a number"),
        ({"load_many": len, "max_batch": 0}, ValueError, "max_batch must be at least 1"),
        ({"load_many": len, "max_batch": 1.5}, TypeError, "max_batch must be an int"),
        ({"load_many": len, "max_wait": -1}, ValueError, "max_wait must not be negative"),
        ({"load_many": len, "load_timeout": 0}, ValueError, "load_timeout must be more than 0"),
        ({"load_many": len, "load_timeout": True}, TypeError, "load_timeout must be seconds"),
        ({"load_many": len, "load_timeout": 1e9}, ValueError, "load_timeout may be at most"),
    ],
    ids=repr,
)
def test_wrong_options_are_refused_with_the_option_s_name(options, error, says):
    with pytest.raises(error, match=says):
        _loading.make(**options)


def test_an_asynchronous_generator_is_no_loader():
    async def load(key):
        yield key

    with pytest.raises(TypeError, match="not yield"):
        _loading.make(load=load)


def test_a_cache_without_a_loader_says_how_to_give_it_one(arena):
    cache = arena.cache("c")
    for call in (cache.fetch, cache.fetch_many, cache.refresh):
        with pytest.raises(TypeError, match=r"arena\.cache\('c', load=\.\.\.\)"):
            call([1])


@pytest.mark.parametrize("timeout, error", [(0, ValueError), (-1, ValueError), ("1", TypeError), (True, TypeError)])
def test_wrong_timeouts_are_refused(arena, timeout, error):
    cache = arena.cache("c", load=lambda key: key)
    with pytest.raises(error, match="timeout must"):
        cache.fetch(1, timeout=timeout)


def test_the_threads_of_a_coroutine_function_s_cache_are_sent_to_afetch(arena):
    async def load(key):
        return key

    cache = arena.cache("c", load=load)
    for call, name in ((cache.fetch, "afetch"), (cache.refresh, "arefresh")):
        with pytest.raises(TypeError, match=f"load of this cache is a coroutine function.*{name}"):
            call(1)
    cache.set(1, "there")
    assert cache.fetch(1) == "there"
    many = arena.cache("d", load_many=load)
    with pytest.raises(TypeError, match="load_many of this cache is a coroutine function.*afetch_many"):
        many.fetch_many([1])


# ---- memoize


def test_calls_for_one_key_are_one(arena):
    cache = arena.cache("c")
    runs = Loader()
    runs.stop()
    kept = (True, 50, ["a tag"])
    calls = [Call(_loading.fetch_with, cache, "k", lambda: runs.load(1), lambda result: kept) for _ in range(8)]
    loading = _loading._loading_with_orders(cache, 10.0)
    eventually(lambda: [len(flight.waiters) for flight in loading.flights.table.values()] == [8])
    runs.go_on()
    assert [call.result() for call in calls] == [10] * 8 and runs.batches == [[1]]
    assert 40_000 < cache._ttl_left("k") <= 50_000
    cache.invalidate_tag("a tag")
    assert "k" not in cache


def test_a_tag_that_is_invalidated_during_a_call_invalidates_the_result(arena):
    cache = arena.cache("c")
    runs = Loader(lambda key: len(runs.batches))
    runs.stop()
    kept = (True, ..., ["a tag"])

    def fetch():
        return _loading.fetch_with(cache, "k", lambda: runs.load(1), lambda result: kept, tags=["a tag"])

    before = Call(fetch)
    runs.wait_until_it_runs()
    cache.invalidate_tag("a tag")
    after = Call(fetch)
    loading = _loading._loading_with_orders(cache, 10.0)
    eventually(lambda: [len(flight.waiters) for flight in loading.flights.table.values()] == [2])
    runs.go_on()
    assert before.result() == 1 and after.result() == 2 and cache.get("k") == 2


def test_a_result_that_is_not_to_be_kept_is_for_those_who_wait_only(arena):
    cache = arena.cache("c")
    runs = Loader(lambda key: None)
    for _ in range(2):
        assert _loading.fetch_with(cache, "k", lambda: runs.load(1), lambda result: (result is not None, ..., ())) is None
    assert runs.batches == [[1], [1]] and "k" not in cache


def test_a_call_may_need_others_but_not_itself(arena):
    cache = arena.cache("c")

    def depth(n, last):
        return _loading.fetch_with(
            cache, n, lambda: 0 if n == last else depth(n - 1, last) + 1, lambda result: (True, ..., ())
        )

    assert depth(30, 0) == 30

    def itself():
        return _loading.fetch_with(cache, "k", itself, lambda result: (True, ..., ()))

    with pytest.raises(forebay.RecursiveLoadError):
        itself()


def test_a_call_s_error_is_its_caller_s(arena):
    cache = arena.cache("c")
    with pytest.raises(ZeroDivisionError):
        _loading.fetch_with(cache, "k", lambda: 1 // 0, lambda result: (True, ..., ()))
    with pytest.raises(OSError, match="in store"):

        def store(result):
            raise OSError("in store")

        _loading.fetch_with(cache, "k", lambda: 1, store)
    assert _loading.fetch_with(cache, "k", lambda: 1, lambda result: (True, ..., ())) == 1


def test_a_negative_entry_is_no_result_of_a_call(arena):
    cache = arena.cache("c")
    cache.set_absent("k")
    assert _loading.fetch_with(cache, "k", lambda: 1, lambda result: (True, ..., ())) == 1
    assert cache.get("k") == 1
