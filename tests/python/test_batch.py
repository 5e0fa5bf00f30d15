# SPDX-License-Identifier: Apache-2.0
import collections
import types

import pytest

import forebay

COUNTS = [0, 1, 2, 255, 256, 257, 511, 512, 513, 3000]


@pytest.mark.parametrize("count", COUNTS)
def test_many_values_go_in_and_come_back_in_the_order_of_keys(cache, count):
    wanted = {f"key {i}": [i, "x" * (i % 300)] for i in range(count)}
    cache.set_many(wanted)
    keys = list(reversed(wanted))
    got = cache.get_many(keys)
    assert got == wanted
    assert list(got) == keys
    assert len(cache) == count


def test_values_of_all_kinds_mix_in_one_batch(cache):
    wanted = {}
    for i in range(600):
        wanted[i] = [i, str(i), b"x" * i, None, {"i": i}, "y" * (i * 50), 2**70 + i][i % 7]
    cache.set_many(wanted)
    assert cache.get_many(wanted) == wanted


def test_large_values_come_back_from_a_batch(cache):
    wanted = {i: [b"x", "x", ["x"]][i % 3] * 300_000 for i in range(6)}
    wanted[0] = b"x" * 1_200_000
    cache.set_many(wanted)
    assert cache.get_many(range(6)) == wanted


def test_get_many_leaves_out_what_is_missing(cache):
    cache["a"] = 1
    cache["c"] = None
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "c": None}
    assert cache.get_many([]) == {}


@pytest.mark.parametrize(
    "form",
    [list, tuple, set, frozenset, iter, dict.fromkeys, collections.deque, lambda keys: (key for key in keys)],
)
def test_keys_may_come_from_any_iterable(cache, form):
    cache.set_many({i: -i for i in range(300)})
    assert cache.get_many(form(list(range(300)))) == {i: -i for i in range(300)}
    assert cache.delete_many(form(list(range(300)))) == 300
    assert len(cache) == 0


def test_a_key_twice_is_there_once(cache):
    cache["a"] = 1
    assert cache.get_many(["a", "a", "b", "a"]) == {"a": 1}
    assert cache.delete_many(["a", "a"]) == 1


@pytest.mark.parametrize("keys", ["abc", b"abc", 5, None])
def test_one_key_is_not_an_iterable_of_keys(cache, keys):
    with pytest.raises(TypeError):
        cache.get_many(keys)
    with pytest.raises(TypeError):
        cache.delete_many(keys)


@pytest.mark.parametrize(
    "form",
    [
        dict,
        collections.OrderedDict,
        lambda pairs: types.MappingProxyType(dict(pairs)),
        list,
        tuple,
        iter,
        lambda pairs: [list(pair) for pair in pairs],
        lambda pairs: (pair for pair in pairs),
        lambda pairs: collections.ChainMap(dict(pairs)),
        lambda pairs: dict(pairs).items(),
    ],
)
def test_items_may_be_a_mapping_or_any_iterable_of_pairs(cache, form):
    pairs = [(i, {"i": i}) for i in range(300)]
    cache.set_many(form(pairs))
    assert cache.get_many(range(300)) == dict(pairs)


def test_of_a_key_twice_the_last_value_stays(cache):
    cache.set_many([("k", 1), ("k", 2), ("k", {"last": 3})])
    assert cache["k"] == {"last": 3}
    assert len(cache) == 1


@pytest.mark.parametrize("items", [5, None, [1], [(1,)], [(1, 2, 3)], "ab", [None]])
def test_items_that_are_no_pairs_are_refused(cache, items):
    with pytest.raises((TypeError, ValueError)):
        cache.set_many(items)
    assert len(cache) == 0


def test_after_a_type_error_nothing_was_stored(cache):
    cache["old"] = 1
    with pytest.raises(TypeError):
        cache.set_many({"old": 2, **{i: i for i in range(500)}, "bad": object()})
    with pytest.raises(TypeError):
        cache.set_many([("old", 2), (None, 1)])
    assert cache["old"] == 1
    assert len(cache) == 1


def test_after_a_value_that_is_too_big_nothing_was_stored(arena, cache):
    cache["old"] = 1
    for big in (b"x" * arena.max_entry, ["x" * arena.max_entry]):
        with pytest.raises(forebay.TooBigError, match="nothing was stored"):
            cache.set_many({"old": 2, "big": big})
    assert cache["old"] == 1
    assert len(cache) == 1


def test_after_an_iterator_that_raises_nothing_was_stored(cache):
    def pairs():
        yield 1, 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.set_many(pairs())
    with pytest.raises(ZeroDivisionError):
        cache.get_many(key for key, _ in pairs())
    assert len(cache) == 0


def test_a_list_that_shrinks_while_it_is_read_does_no_harm(cache):
    keys = []

    class Shrinking(tuple):
        def __iter__(self):
            keys.clear()
            return super().__iter__()

    keys.extend(["a", Shrinking(("b",)), *[f"{i}" * 100 for i in range(500)]])
    cache["a"] = 1
    try:
        got = cache.get_many(keys)
    except TypeError:  # a subclass of tuple need not be a key
        return
    assert got.get("a") == 1


def test_ttl_of_a_batch_holds_for_each_of_its_entries(cache):
    with pytest.raises(ValueError):
        cache.set_many({"a": 1}, ttl=0)
    with pytest.raises(TypeError):
        cache.set_many({"a": 1}, ttl="5")
    assert len(cache) == 0
    cache.set_many({"a": 1}, ttl=None)
    assert cache["a"] == 1


def test_set_many_refuses_wrong_arguments(cache):
    for call in (lambda: cache.set_many(), lambda: cache.set_many({}, {}), lambda: cache.set_many({}, tt1=1)):
        with pytest.raises(TypeError):
            call()


def test_batches_under_eviction_give_value_or_miss(path):
    with forebay.open(path, "1MiB") as arena:
        cache = arena.cache("c")
        for start in range(0, 20_000, 500):
            cache.set_many({i: str(i) * 20 for i in range(start, start + 500)})
        got = cache.get_many(range(20_000))
        assert 0 < len(got) < 20_000
        assert all(value == str(key) * 20 for key, value in got.items())
        assert arena.verify() == []
