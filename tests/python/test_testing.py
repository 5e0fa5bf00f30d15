# SPDX-License-Identifier: Apache-2.0
"""forebay.testing, and pickles of handles."""

import copy
import pickle
from datetime import timedelta
from pathlib import Path

import forebay
import forebay.testing
import pytest
from forebay.testing import forebay_arena, forebay_clock  # noqa: F401


def test_the_fixture_is_an_empty_arena_with_a_clock(forebay_arena, forebay_clock):  # noqa: F811
    cache = forebay_arena.cache("test", ttl=300)
    cache.set("k", 1)
    cache.set("day", 1, ttl=timedelta(days=1))
    cache.set("ever", 1, ttl=None)
    forebay_clock.advance(299)
    assert len(cache.get_many(["k", "day", "ever"])) == 3
    forebay_clock.advance(timedelta(seconds=2))
    assert sorted(cache) == ["day", "ever"]
    forebay_clock.advance(86400)
    assert list(cache) == ["ever"]
    cache.set("k", 2, ttl=5)
    forebay_clock.advance(0)
    assert cache["k"] == 2
    forebay_clock.advance(0.001 * 5001)
    assert "k" not in cache


def test_other_handles_see_the_same_time():
    with forebay.testing.throwaway_arena("1MiB") as arena, forebay.open(arena.path) as other:
        arena.cache("c").set("k", 1, ttl=10)
        forebay.testing.Clock(other).advance(11)
        assert "k" not in arena.cache("c")


def test_a_throwaway_arena_leaves_nothing():
    with forebay.testing.throwaway_arena() as arena:
        path = Path(arena.path)
        assert path.exists()
    assert arena.closed and not path.parent.exists()


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError), (10**9, ValueError)])
def test_time_that_cannot_be(forebay_clock, seconds, error):  # noqa: F811
    with pytest.raises(error):
        forebay_clock.advance(seconds)


def test_handles_are_pickled_by_path(path):
    with forebay.open(path, "4MiB") as arena:
        cache = arena.cache("c", version=3)
        cache["k"] = {"v": 1}
        users = cache.namespace("users")
        users[1] = "Ada"
        again, names = pickle.loads(pickle.dumps((cache, users)))
        assert again["k"] == {"v": 1} and again.version == 3 and again.name == "c"
        assert names[1] == "Ada" and names.cache.arena is again.arena
        assert pickle.loads(pickle.dumps(arena)) is again.arena
        assert copy.copy(cache)["k"] == copy.deepcopy(cache)["k"] == {"v": 1}
        again.arena.close()
        assert pickle.loads(pickle.dumps(cache))["k"] == {"v": 1}
        pickle.loads(pickle.dumps(arena)).close()


def test_a_pickle_of_an_arena_that_is_gone(path):
    arena = forebay.open(path, "1MiB")
    data = pickle.dumps(arena)
    arena.close()
    path.unlink()
    with pytest.raises(forebay.NotFoundError):
        pickle.loads(data)


def test_a_deferred_arena_is_pickled_unopened(path):
    deferred = pickle.loads(pickle.dumps(forebay.deferred(path, "1MiB", guard=False)))
    assert not path.exists()
    deferred.open().close()
