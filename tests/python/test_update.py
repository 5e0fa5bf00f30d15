# SPDX-License-Identifier: Apache-2.0
"""touch, pop, gets and cas, get_or_set, absence, tags, versions, stored options."""

import multiprocessing

import forebay
import pytest
from forebay.testing import Clock

VALUES = [None, 0, -1, 2**70, "text", b"bytes", {"a": [1, 2]}, b"x" * 100_000]


@pytest.fixture
def cache():
    with forebay.open(None, "16MiB") as arena:
        yield arena.cache("test")


def test_touch_gives_another_time_to_live(cache):
    clock = Clock(cache.arena)
    cache.set("k", "v", ttl=50)
    assert cache.touch("k", ttl=None)
    clock.advance(100)
    assert cache["k"] == "v"
    assert cache.touch("k", ttl=30)
    clock.advance(80)
    assert "k" not in cache
    assert cache.touch("k", ttl=5) is False


def test_touch_without_a_ttl_takes_the_cache_s():
    with forebay.open(None, "1MiB") as arena:
        cache = arena.cache("test", ttl=50)
        cache.set("k", 1, ttl=None)
        assert cache.touch("k")
        Clock(arena).advance(100)
        assert "k" not in cache


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_pop_gives_every_kind_of_value_once(cache, value):
    cache.set("k", value)
    assert cache.pop("k") == value
    assert cache.pop("k", "default") == "default"
    with pytest.raises(KeyError):
        cache.pop("k")
    assert len(cache) == 0


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_cas_stores_over_exactly_what_gets_gave(cache, value):
    with pytest.raises(forebay.MissError):
        cache.gets("k")
    cache.set("k", value)
    there, token = cache.gets("k")
    assert there == value
    cache.set("k", "other")
    assert cache.cas("k", "new", token) is False
    assert cache["k"] == "other"
    cache.set("k", value)  # changed and changed back
    assert cache.cas("k", "new", token) is True
    assert cache["k"] == "new"
    cache.delete("k")
    assert cache.cas("k", "new", token) is False


def test_cas_with_nonsense(cache):
    cache.set("k", 1)
    with pytest.raises(TypeError, match="gets"):
        cache.cas("k", 1, "token")
    with pytest.raises(OverflowError):
        cache.cas("k", 1, 2**64)
    with pytest.raises(TypeError):
        cache.cas("k", object(), 1)
    with pytest.raises(forebay.TooBigError):
        cache.cas("k", bytes(15 << 20), cache.gets("k")[1])
    assert cache["k"] == 1


def append_by_cas(path, number, times):
    with forebay.open(path) as arena:
        cache = arena.cache("test")
        done = 0
        while done < times:
            there, token = cache.gets("k")
            done += cache.cas("k", [*there, number], token)


def test_no_cas_is_lost_among_processes(path):
    with forebay.open(path, "4MiB") as arena:
        cache = arena.cache("test")
        cache.set("k", [])
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=append_by_cas, args=(str(path), number, 200)) for number in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        assert sorted(cache["k"]) == [number for number in range(3) for _ in range(200)]


def test_get_or_set_calls_only_on_a_miss(cache):
    calls = []

    def make():
        calls.append(1)
        return {"made": len(calls)}

    assert cache.get_or_set("k", make) == {"made": 1}
    assert cache.get_or_set("k", make) == {"made": 1}
    assert cache.get_or_set("other", 5) == 5
    assert cache.get_or_set("none", None) is None
    assert "none" in cache
    assert len(calls) == 1


def test_get_or_set_returns_what_another_stored_meanwhile(cache):
    def make():
        cache.set("k", "theirs")
        return "mine"

    assert cache.get_or_set("k", make) == "theirs"


def test_get_or_set_stores_nothing_when_the_function_raises(cache):
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("k", lambda: 1 / 0)
    assert "k" not in cache


def test_a_tag_invalidated_during_get_or_set_takes_the_entry_along(cache):
    def make():
        cache.invalidate_tag("users")
        return "stale"

    assert cache.get_or_set("k", make, tags=["users"]) == "stale"
    assert "k" not in cache


def test_absence_is_noted_and_is_no_value(cache):
    cache.set("k", 1)
    cache.set_absent("k", ttl=50)
    assert cache.is_absent("k")
    assert not cache.is_absent("other")
    assert cache.get("k", "default") == "default"
    assert "k" not in cache
    assert cache.get_many(["k"]) == {}
    assert list(cache) == []
    with pytest.raises(KeyError):
        cache["k"]
    with pytest.raises(KeyError):
        cache.gets("k")
    assert cache.replace("k", 1) is False
    assert cache.touch("k") is False
    assert cache.pop("k", None) is None
    assert cache.add("k", 2)
    assert not cache.is_absent("k")
    assert cache["k"] == 2
    cache.set_absent("n", ttl=20)
    Clock(cache.arena).advance(60)
    assert not cache.is_absent("n")


def with_a_counter_of_its_own(cache, tag):
    """A tag that does not share its counter with `tag`: one in 2,048 does."""
    for other in ("y", "another", "a third"):
        cache.set("probe", 0, tags=[other])
        cache.invalidate_tag(tag)
        if cache.pop("probe", None) == 0:
            return other
    raise AssertionError("three tags share a counter")


def test_invalidating_a_tag_makes_its_entries_misses(cache):
    y = with_a_counter_of_its_own(cache, "x")
    cache.set("a", 1, tags=["x"])
    cache.set("b", {"b": 1}, tags=("x", ("user", 5)))
    cache.add("c", 3, tags={y})
    cache.set_many({"d": 4, "e": 5}, tags=["x"])
    cache.set("f", 6)
    cache.set("g", 7, tags=[])
    cache.set("h", 8, tags=None)
    cache.invalidate_tag("x")
    assert sorted(cache) == ["c", "f", "g", "h"]
    assert cache.get_many(list("abcdefgh")) == {"c": 3, "f": 6, "g": 7, "h": 8}
    assert cache.add("a", 1, tags=["x"])
    assert cache["a"] == 1
    assert cache.replace("b", 1) is False


def test_a_counter_keeps_its_tags(cache):
    cache.set("n", 1, tags=["x"])
    assert cache.incr("n") == 2
    cache.invalidate_tag("x")
    assert "n" not in cache
    assert cache.incr("n") == 1


@pytest.mark.parametrize(
    ("tags", "error"),
    [("text", TypeError), (b"bytes", TypeError), (5, TypeError), ([[]], TypeError), (list(range(17)), ValueError)],
)
def test_tags_that_are_none_are_refused_and_nothing_is_stored(cache, tags, error):
    for store in (cache.set, cache.add, cache.get_or_set):
        with pytest.raises(error):
            store("k", 1, tags=tags)
    with pytest.raises(error):
        cache.set_many({"k": 1}, tags=tags)
    assert "k" not in cache


def test_versions_do_not_see_each_other_s_entries(cache):
    one, two = (cache.arena.cache("test", version=version) for version in (1, 2))
    one.set("k", "one")
    assert (one.get("k"), two.get("k"), cache.get("k")) == ("one", None, None)
    assert list(two) == []
    assert two.add("k", "two")
    assert (one.get("k"), two.get("k")) == (None, "two")
    one.delete("k")
    assert two.get("k") is None
    two.set("n", 5)
    assert one.incr("n") == 1
    assert (one.version, two.version, cache.version) == (1, 2, 0)


@pytest.mark.parametrize(("version", "error"), [("1", TypeError), (True, TypeError), (-1, ValueError), (2**32, ValueError)])
def test_a_version_is_an_int_of_32_bits(cache, version, error):
    with pytest.raises(error, match="version"):
        cache.arena.cache("test", version=version)


def test_options_are_changed_by_who_asks_for_it(cache):
    arena = cache.arena
    with pytest.raises(forebay.ConflictError, match="update"):
        arena.cache("test", ttl=5)
    assert arena.cache("test", ttl=5, update=True).ttl == 5
    assert arena.cache("test").ttl == 5
    assert arena.cache("test", ttl=5).ttl == 5
    assert arena.cache("test", update=True).ttl == 5
    assert cache.ttl is None  # an open one keeps its own
