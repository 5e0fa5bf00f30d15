# SPDX-License-Identifier: Apache-2.0
import datetime
import decimal
import gc
import os
import sys
import uuid

import pytest

import forebay

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**63,
    10**50,
    0.0,
    -0.5,
    float("inf"),
    "",
    "text",
    "日本語 \U0001f600",
    "x" * 100_000,
    b"",
    b"bytes\0",
    b"x" * 100_000,
    [],
    [1, [2, [3]]],
    (),
    (1, ("a", b"b")),
    {},
    {"a": {"b": [1, 2, None]}, 1: 2, (1, 2): "t"},
    datetime.datetime(2024, 2, 29, 12, 30, 15, 123456),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc),
    datetime.date(1, 1, 1),
    datetime.time(23, 59, 59, 999999),
    datetime.timedelta(days=-1, microseconds=1),
    decimal.Decimal("1.10"),
    uuid.UUID(int=2**127 + 5),
]
KEYS = [
    1,
    "1",
    b"1",
    True,
    0,
    False,
    "",
    b"",
    -(2**80),
    uuid.UUID(int=1),
    datetime.date(2024, 1, 1),
    (),
    (1,),
    ("1",),
    (1, ("a", b"b")),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_a_value_comes_back_equal_and_of_its_type(cache, value):
    cache["k"] = value
    for got in (cache["k"], cache.get("k"), cache.get_many(["k"])["k"]):
        assert type(got) is type(value)
        assert got == value


@pytest.mark.parametrize(
    "length", [*range(0, 20), 2000, 2040, 2047, 2048, 2049, 4000, 4096, 5000, 65535, 65536, 1_000_000]
)
def test_values_of_every_length_come_back(cache, length):
    for value in (b"\xa5" * length, "é" * (length // 2), ["x" * length]):
        cache["k"] = value
        assert cache["k"] == value


def test_all_keys_are_different_keys(cache):
    for i, key in enumerate(KEYS):
        cache[key] = i
    assert len(cache) == len(KEYS)
    for i, key in enumerate(KEYS):
        assert cache[key] == i
        assert key in cache


def test_values_are_fresh_objects(cache):
    cache["k"] = {"list": [1]}
    cache["k"]["list"].append(2)
    assert cache["k"] == {"list": [1]}


def test_a_miss_gives_the_default(cache):
    marker = object()
    assert cache.get("k") is None
    assert cache.get("k", marker) is marker
    assert cache.get("k", default=marker) is marker
    cache["k"] = None
    assert cache.get("k", marker) is None


def test_get_refuses_wrong_arguments(cache):
    for call in (
        lambda: cache.get(),
        lambda: cache.get(1, 2, 3),
        lambda: cache.get(1, fallback=2),
        lambda: cache.get(1, 2, default=3),
        lambda: cache.get(key=1),
        lambda: cache.set(1),
        lambda: cache.set(1, 2, 3),
        lambda: cache.set(1, 2, tt1=3),
        lambda: cache.set(1, value=2),
        lambda: cache.add(1),
        lambda: cache.delete(),
        lambda: cache.clear(1),
    ):
        with pytest.raises(TypeError):
            call()


def test_a_newer_value_replaces_an_older_one(cache):
    for value in VALUES:
        cache["k"] = value
    assert cache["k"] == VALUES[-1]
    assert len(cache) == 1


def test_add_stores_only_what_is_absent(cache):
    assert cache.add("k", 1) is True
    assert cache.add("k", {"other": 2}) is False
    assert cache["k"] == 1


def test_replace_stores_only_what_is_present(cache):
    assert cache.replace("k", 1) is False
    assert "k" not in cache
    cache["k"] = 1
    assert cache.replace("k", {"other": 2}) is True
    assert cache["k"] == {"other": 2}


def test_delete_says_whether_there_was_one(cache):
    cache["k"] = 1
    assert cache.delete("k") is True
    assert cache.delete("k") is False
    assert "k" not in cache
    cache["k"] = 2
    del cache["k"]
    assert cache.get("k") is None


def test_clear_empties_one_cache_only(arena):
    one, two = arena.cache("one"), arena.cache("two")
    for i in range(100):
        one[i] = i
        two[i] = i
    one.clear()
    assert len(one) == 0
    assert all(one.get(i) is None for i in range(100))
    assert len(two) == 100
    one[1] = "new"
    assert one[1] == "new"


def test_clear_holds_many_times(cache):
    for i in range(600):
        cache["k"] = i
        assert cache["k"] == i
        cache.clear()
        assert "k" not in cache
        assert len(cache) == 0


def test_caches_of_one_name_are_one_cache(arena):
    arena.cache("c")["k"] = 1
    assert arena.cache("c")["k"] == 1


def test_a_dropped_cache_begins_empty_when_made_again(arena):
    arena.cache("c")["k"] = 1
    assert arena.drop("c")
    assert arena.caches() == []
    assert "k" not in arena.cache("c")


def test_truth_is_whether_there_are_entries(cache):
    assert not cache
    cache["k"] = 1
    assert cache


def test_stats_count_what_happened(cache):
    cache["a"] = 1
    cache["b"] = {"x": 1}
    cache.get("a")
    cache.get("nothing")
    cache.get_many(["a", "b", "none"])
    cache.delete("a")
    cache.delete("a")
    cache.incr("n")
    stats = cache.stats()
    assert stats["sets"] == 3
    assert stats["hits"] == 3
    assert stats["misses"] == 2
    assert stats["deletes"] == 1
    assert stats["entries"] == len(cache) == 2


def test_eviction_keeps_the_bound_and_gives_value_or_miss(path):
    with forebay.open(path, "1MiB") as arena:
        cache = arena.cache("c", codec=None)  # packed, all might fit
        for i in range(20_000):
            cache[i] = str(i) * 20
        found = 0
        for i in range(20_000):
            value = cache.get(i)
            assert value is None or value == str(i) * 20
            found += value is not None
        assert 0 < found < 20_000
        assert cache.stats()["evictions"] > 0
        assert path.stat().st_blocks * 512 <= 2**20
        assert arena.verify() == []


def test_a_value_whose_encoding_runs_python_may_use_the_cache_meanwhile(cache):
    class Nosy(datetime.tzinfo):
        def utcoffset(self, when):
            cache["from inside"] = {"deep": list(range(100))}
            cache.get("k")
            return datetime.timedelta(hours=1)

        def dst(self, when):
            return None

        def tzname(self, when):
            return None

    try:
        cache["k"] = {"when": datetime.datetime(2024, 1, 1, tzinfo=Nosy())}
    except TypeError:  # a time zone of another class need not be storable
        pass
    cache["k2"] = [1]
    assert cache["k2"] == [1]
    assert cache.arena.verify() == []


def test_generic_alias_is_for_annotations():
    alias = forebay.Cache[str, dict[str, int]]
    assert alias.__origin__ is forebay.Cache
    assert alias.__args__ == (str, dict[str, int])


def resident():
    with open("/proc/self/statm") as file:
        pages = file.read().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGESIZE")  # private: the arena is shared


def hot_paths(cache, key, big):
    cache.set(key, b"x" * 500)
    cache[key]
    cache.get("absent", big)
    cache.set(key, {"a": [1, 2.5, "x" * 300]})
    cache.get(key)
    cache.set(key, big)
    cache.get(key)
    cache.set(key, 5, ttl=60)
    cache.incr(key)
    key in cache
    cache.get_many([key, "absent", b"x" * 200])
    cache.set_many({key: [1], "other": b"x" * 5000, "third": big}, ttl=5)
    cache.get_many(["other", "third"])
    cache.delete_many([key, "other"])
    cache.add(key, 1)
    cache.replace(key, (1, 2))
    for bad in (
        lambda: cache.set(key, object()),
        lambda: cache.get([]),
        lambda: cache["absent"],
        lambda: cache.set(key, 1, ttl=-1),
        lambda: cache.set_many([(1, 2, 3)]),
        lambda: cache.incr(key),
        lambda: cache.get_many([1, object()]),
        lambda: cache.set_many({1: 2, 3: object()}),
    ):
        try:
            bad()
        except (TypeError, ValueError, KeyError):
            pass


@pytest.mark.parametrize("key", ["k", ("tuple", 1, b"x" * 300)])
def test_hot_paths_leak_neither_objects_nor_memory(arena, key):
    cache = arena.cache("test", codec=None)  # training a dictionary takes some MiB, once, at any moment
    big = ["y" * 6000]
    for _ in range(300):
        hot_paths(cache, key, big)
    gc.collect()
    blocks, private = sys.getallocatedblocks(), resident()
    references = [sys.getrefcount(thing) for thing in (cache, cache.arena, forebay.MissError, forebay.Cache)]
    none = sys.getrefcount(None)
    for _ in range(8000):
        hot_paths(cache, key, big)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 1000
    assert [
        sys.getrefcount(thing) for thing in (cache, cache.arena, forebay.MissError, forebay.Cache)
    ] == references
    if sys.version_info < (3, 12):  # later None is immortal
        assert abs(sys.getrefcount(None) - none) < 1000
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps freed memory for a while
        assert resident() - private < 8000 * 64  # one leaked block each time would be as much
