# SPDX-License-Identifier: Apache-2.0
"""A cache as a mapping: iteration, views, namespaces."""

import collections.abc
import datetime
import threading
import uuid

import forebay
import pytest

KEYS = ["text", b"bytes", 1, True, 0, False, -5, 2**100, uuid.UUID(int=3), datetime.date(2026, 1, 2), ("a", 1, (b"b",))]


@pytest.fixture
def cache():
    with forebay.open(None, "16MiB") as arena:
        yield arena.cache("test")


def typed(keys):
    return sorted((type(key).__name__, repr(key)) for key in keys)


def test_iteration_gives_every_kind_of_key_back(cache):
    for key in KEYS:
        cache.set(key, repr(key))
    assert typed(cache) == typed(KEYS)
    assert typed(cache.keys()) == typed(KEYS)
    assert sorted(cache.values()) == sorted(map(repr, KEYS))
    assert all(value == repr(key) for key, value in cache.items())
    assert len(cache.items()) == len(cache.values()) == len(KEYS)


def test_iteration_gives_many_keys_once_and_those_of_no_other_cache(cache):
    other = cache.arena.cache("other")
    other.set_many({number: number for number in range(3000)})
    cache.set_many({number: -number for number in range(5000)})
    for _ in range(2):
        assert sorted(cache) == list(range(5000))
    assert dict(cache.items()) == {number: -number for number in range(5000)}


def test_an_empty_cache(cache):
    assert list(cache) == list(cache.keys()) == list(cache.values()) == list(cache.items()) == []
    iterator = iter(cache)
    assert next(iterator, None) is None
    assert next(iterator, None) is None


def test_views_are_live_and_know_what_is_in_them(cache):
    keys, values, items = cache.keys(), cache.values(), cache.items()
    cache.set("k", [1])
    assert "k" in keys
    assert [1] in values
    assert ("k", [1]) in items
    assert ("k", [2]) not in items
    assert ("other", None) not in items
    assert "k" not in items
    assert keys & {"k", "x"} == {"k"}
    cache.set("k", 1)
    assert items - {("x", 1)} == {("k", 1)}
    assert "CacheItems" in repr(items)


def test_what_goes_while_it_is_gone_through_is_left_out(cache):
    cache.set_many({number: number for number in range(1000)})
    seen = []
    for key, value in cache.items():
        seen.append(key)
        assert key == value
        if len(seen) == 300:
            cache.clear()
    assert 300 <= len(seen) <= 600


def test_iteration_while_other_threads_write(cache):
    stays = {("stays", number) for number in range(500)}
    cache.set_many(dict.fromkeys(stays, 1))
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            cache.set(number % 3000, "x" * (number % 50))
            cache.delete((number + 1500) % 3000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            seen = [key for key in cache if type(key) is tuple]
            assert set(seen) <= stays
            assert len(set(seen)) >= 480  # the index may have moved a few meanwhile
    finally:
        stop.set()
        writer.join()


def test_iteration_of_a_cache_whose_arena_is_closed_meanwhile():
    arena = forebay.open(None, "1MiB")
    cache = arena.cache("test")
    cache.set_many({number: number for number in range(1000)})
    iterator = iter(cache)
    next(iterator)
    arena.close()
    with pytest.raises(forebay.ClosedError):
        list(iterator)


def test_a_namespace_is_the_part_of_a_cache_whose_keys_begin_with_its_prefix(cache):
    users = cache.namespace("users")
    users.set(1, "Ada")
    users[2] = "Grace"
    cache.set(1, "plain")
    assert cache[("users", 1)] == users[1] == users.get(1) == "Ada"
    assert 2 in users and 3 not in users
    assert sorted(users) == sorted(users.keys()) == [1, 2]
    assert sorted(users.items()) == [(1, "Ada"), (2, "Grace")]
    assert sorted(users.values()) == ["Ada", "Grace"]
    assert len(users) == 2
    assert users.get_many([1, 2, 3]) == {1: "Ada", 2: "Grace"}
    users.set_many([(4, 4)], ttl=50)
    users.set_many({5: 5}, tags=["t"])
    assert users.incr("n") == 1 and users.decr("n", 3) == -2
    assert users.add(4, 5) is False and users.replace(4, 6) is True
    value, token = users.gets(4)
    assert users.cas(4, value + 1, token) and users[4] == 7
    assert users.touch(4, ttl=9) and users.touch(4)
    assert users.pop(4) == 7 and users.pop(4, None) is None
    assert users.get_or_set("made", lambda: 3) == 3
    users.set_absent("absent")
    assert users.is_absent("absent")
    cache.invalidate_tag("t")
    assert 5 not in users
    assert users.delete(2) and not users.delete(2)
    del users["made"]
    assert users.delete_many([1, 77]) == 1
    assert sorted(users) == ["n"]
    users.clear()
    assert list(users) == [] and cache[1] == "plain"
    assert users.cache is cache and users.prefix == "users"
    assert "users" in repr(users)


def test_namespaces_nest_and_keep_types_apart(cache):
    one, true, inner = cache.namespace(1), cache.namespace(True), cache.namespace(1).namespace("x")
    one.set("k", "one")
    true.set("k", "true")
    inner.set("k", "inner")
    assert (one["k"], true["k"], inner["k"]) == ("one", "true", "inner")
    assert list(inner) == ["k"] and list(true) == ["k"] and len(one) == 2
    assert cache[(1, ("x", "k"))] == "inner"
    one.invalidate_tag("x")


def test_a_namespace_refuses_what_the_cache_refuses(cache):
    with pytest.raises(TypeError):
        cache.namespace([])
    names = cache.namespace("n")
    with pytest.raises(TypeError, match="iterable of keys"):
        names.get_many("text")
    with pytest.raises(TypeError):
        names.set("k", 1, tll=5)
    with pytest.raises(KeyError):
        names["missing"]


@pytest.mark.parametrize("part", [lambda cache: cache, lambda cache: cache.namespace("n")], ids=["cache", "namespace"])
def test_it_is_a_mutable_mapping(cache, part):
    mapping = part(cache)
    assert isinstance(mapping, collections.abc.MutableMapping)
    assert all(hasattr(mapping, name) for name in dir(collections.abc.MutableMapping) if not name.startswith("_"))
    mapping.update({"a": 1}, b=2)
    mapping.update([("c", 3)])
    mapping.update()
    assert dict(mapping) == {"a": 1, "b": 2, "c": 3}
    assert mapping.setdefault("a", 5) == 1
    assert mapping.setdefault("d", [4]) == [4] == mapping["d"]
    assert mapping.setdefault("e") is None and "e" in mapping
    seen = dict(mapping.popitem() for _ in range(5))
    assert seen == {"a": 1, "b": 2, "c": 3, "d": [4], "e": None}
    with pytest.raises(KeyError):
        mapping.popitem()
    with pytest.raises(TypeError):
        mapping.update({}, {})
    with pytest.raises(TypeError):
        mapping.setdefault("f", len)
    assert "f" not in mapping
