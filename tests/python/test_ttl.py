# SPDX-License-Identifier: Apache-2.0
import datetime
import math
import time

import pytest

import forebay

TICK = 0.03  # seconds: the coarse clock's granularity, generously


@pytest.mark.parametrize("ttl", [0.1, datetime.timedelta(milliseconds=100)])
@pytest.mark.parametrize("value", [1, b"bytes", {"a": 1}])
@pytest.mark.parametrize("how", ["set", "add", "replace", "set_many", "incr"])
def test_an_entry_is_there_before_its_ttl_and_gone_after(cache, ttl, value, how):
    if how == "replace":
        cache["k"] = "old"
    before = time.monotonic()
    if how == "set_many":
        cache.set_many({"k": value}, ttl=ttl)
    elif how == "incr":
        value = cache.incr("k", ttl=ttl)
    else:
        getattr(cache, how)("k", value, ttl=ttl)
    got = cache.get("k")
    if time.monotonic() - before < 0.1 - TICK:
        assert got == value
    time.sleep(0.1 + TICK)
    assert cache.get("k") is None
    assert cache.get_many(["k"]) == {}
    assert "k" not in cache


def test_entries_without_a_ttl_take_the_caches(arena):
    cache = arena.cache("c", ttl=0.1)
    assert cache.ttl == 0.1
    cache["default"] = 1
    cache.set("omitted", 1, ttl=...)
    cache.set("longer", 1, ttl=1000)
    cache.set("ever", 1, ttl=None)
    cache.set_many({"batch": 1})
    cache.set_many({"batch ever": 1}, ttl=None)
    time.sleep(0.1 + TICK)
    names = ["default", "omitted", "longer", "ever", "batch", "batch ever"]
    assert list(cache.get_many(names)) == ["longer", "ever", "batch ever"]


def test_a_new_value_gets_a_new_ttl(cache):
    cache.set("k", 1, ttl=0.1)
    cache.set("k", 2)
    time.sleep(0.1 + TICK)
    assert cache["k"] == 2
    cache.set("k", 3, ttl=0.1)
    time.sleep(0.1 + TICK)
    assert "k" not in cache


def test_add_succeeds_on_an_expired_entry_and_replace_fails(cache):
    cache.set("k", 1, ttl=0.05)
    time.sleep(0.05 + TICK)
    assert cache.replace("k", 2) is False
    assert cache.add("k", 2) is True
    assert cache["k"] == 2


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.0, -0.001, math.nan, -math.inf, datetime.timedelta(0), datetime.timedelta(-1), -(2**80)]
)
def test_a_ttl_of_0_or_less_or_nan_is_a_value_error(arena, cache, ttl):
    for call in (
        lambda: cache.set("k", 1, ttl=ttl),
        lambda: cache.add("k", 1, ttl=ttl),
        lambda: cache.replace("k", 1, ttl=ttl),
        lambda: cache.incr("k", ttl=ttl),
        lambda: cache.decr("k", ttl=ttl),
        lambda: cache.set_many({"k": 1}, ttl=ttl),
        lambda: arena.cache("other", ttl=ttl),
    ):
        with pytest.raises(ValueError, match="ttl must be more than 0"):
            call()
    assert len(cache) == 0
    assert arena.caches() == ["test"]


@pytest.mark.parametrize("ttl", [math.inf, 1e18, 2**40, 2**80, datetime.timedelta.max])
def test_a_ttl_that_is_too_large_is_a_value_error_that_names_none(cache, ttl):
    with pytest.raises(ValueError, match="at most .* None"):
        cache.set("k", 1, ttl=ttl)
    assert "k" not in cache


@pytest.mark.parametrize("ttl", [True, False, "60", b"60", [60], 60j, object()])
def test_a_ttl_of_another_type_is_a_type_error(cache, ttl):
    with pytest.raises(TypeError, match="ttl must be"):
        cache.set("k", 1, ttl=ttl)
    assert "k" not in cache


@pytest.mark.parametrize("ttl", [1e-9, 1e-6, datetime.timedelta(microseconds=1)])
def test_a_tiny_ttl_is_rounded_up_to_a_millisecond(cache, ttl):
    cache.set("k", 1, ttl=ttl)
    time.sleep(TICK)
    assert "k" not in cache


@pytest.mark.parametrize("ttl", [500_000_000, 1, 86400.5])
def test_a_long_ttl_keeps_the_entry(cache, ttl):
    cache.set("k", 1, ttl=ttl)
    assert cache["k"] == 1


def test_the_caches_ttl_is_stored_in_the_arena(path):
    with forebay.open(path, "1MiB") as arena:
        assert arena.cache("a", ttl=datetime.timedelta(minutes=2)).ttl == 120
        assert arena.cache("b").ttl is None
        assert arena.cache("c", ttl=None).ttl is None
    with forebay.open(path) as arena:
        assert arena.cache("a").ttl == 120
        assert arena.cache("c").ttl is None
        assert "ttl=120.0" in repr(arena.cache("a"))


def test_ttl_goes_on_while_the_arena_is_closed(path):
    with forebay.open(path, "1MiB") as arena:
        arena.cache("c").set("k", 1, ttl=0.1)
        arena.cache("c").set("kept", 1)
    time.sleep(0.1 + TICK)
    with forebay.open(path) as arena:
        assert arena.cache("c").get_many(["k", "kept"]) == {"kept": 1}


def test_expired_entries_make_room(path):
    with forebay.open(path, "1MiB") as arena:
        cache = arena.cache("c")
        for round in range(5):
            for i in range(300):
                cache.set((round, i), b"x" * 1000, ttl=0.05)
            time.sleep(0.05 + TICK)
        cache["k"] = b"y" * 1000
        assert cache["k"] == b"y" * 1000
        assert arena.verify() == []
