# SPDX-License-Identifier: Apache-2.0
"""What happens to an entry while it is loaded, or after: invalidations, refreshes, old entries."""

import logging
import math
import random
import time
from datetime import timedelta

import forebay
import pytest
from loading_calls import Call, Loader, Stop, arena, assert_nothing_is_left, eventually, waiters  # arena: a fixture


# ---- invalidations


@pytest.mark.parametrize("invalidate", ["delete", "invalidate", "set", "clear"])
def test_an_invalidation_during_a_load_wins_over_it(arena, invalidate):
    source = {1: "old"}
    loader = Loader()

    def load(key):
        value = source[key]
        loader.note([key])
        return value

    cache = arena.cache("c", load=load)
    loader.stop()
    before = [Call(cache.fetch, 1), Call(cache.fetch, 1)]
    eventually(lambda: waiters(cache, 1) == 2)
    loader.wait_until_it_runs()
    source[1] = "new"
    if invalidate == "set":
        cache.set(1, "new")
    elif invalidate == "clear":
        cache.clear()
    else:
        getattr(cache, invalidate)(1)
    after = Call(cache.fetch, 1)
    if invalidate != "set":
        loader.wait_until_it_runs()  # it did not join
    loader.go_on()
    assert after.result() == "new"
    assert all(call.result() in ("old", "new") for call in before)
    assert cache.fetch(1) == cache.get(1) == "new"
    assert_nothing_is_left(cache, 1)


def test_what_was_stored_between_the_miss_and_the_lease_is_not_loaded(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    keys = {cache._key(key): key for key in (1, 2)}
    cache.set(1, "there already")
    assert cache._loading.threads.load(cache, keys) == {cache._key(1): "there already", cache._key(2): 20}
    assert loader.batches == [[2]]


# ---- refresh, prime, invalidate


def test_refresh_loads_what_is_there(arena):
    loader = Loader(lambda key: len(loader.batches))
    cache = arena.cache("c", load_many=loader.load_many)
    assert [cache.fetch(1), cache.refresh(1), cache.fetch(1), cache.refresh(2)] == [1, 2, 2, 3]
    assert_nothing_is_left(cache, 1, 2)


def test_refresh_takes_the_lease_from_whoever_has_it(arena):
    loader = Loader(lambda key: len(loader.batches))
    cache = arena.cache("c", load=loader.load)
    theirs = cache._lease_take(1, 60_000)[1]
    assert cache.refresh(1) == 1
    assert cache._lease_store(1, "late", theirs) is False and cache.get(1) == 1
    loader.stop()
    cache.delete(1)
    slow = Call(cache.fetch, 1)
    loader.wait_until_it_runs()
    anew = Call(cache.refresh, 1)
    loader.wait_until_it_runs()
    assert len(loader.batches) >= 2
    loader.go_on()
    anew.result(), slow.result()
    assert cache.get(1) == anew.value == 3


def test_refresh_of_what_there_is_no_more_removes_it(arena):
    for options in ({}, {"absent_ttl": 50}):
        cache = arena.cache(f"c{len(options)}", load=lambda key: forebay.ABSENT, **options)
        cache.set(1, "old")
        assert cache.refresh(1, "gone") == "gone"
        assert 1 not in cache and cache.is_absent(1) is bool(options)


def test_a_refresh_that_fails_leaves_the_entry(arena):
    def load(key):
        raise OSError("down")

    cache = arena.cache("c", load=load)
    cache.set(1, "old")
    with pytest.raises(OSError, match="down"):
        cache.refresh(1)
    assert cache.fetch(1) == "old"


def test_a_refreshed_value_that_is_too_big_does_not_leave_the_old_one(arena):
    big = bytes(arena.max_entry + 1)
    cache = arena.cache("c", load=lambda key: big)
    cache.set(1, "old")
    assert cache.refresh(1) == big and 1 not in cache


def test_refresh_is_repeated_when_its_leader_is_interrupted(arena):
    def answer(key):
        if key == 1 and len(loader.batches) == 2:
            raise Stop
        return "new"

    loader = Loader(answer)
    cache = arena.cache("c", load_many=loader.load_many)
    cache.set(1, "old")
    loader.stop()
    first = Call(cache.fetch, 5)
    loader.wait_until_it_runs()
    refreshing = [Call(cache.refresh, 1)]
    eventually(lambda: len(cache._loading.flights.queue) == 1)
    refreshing.append(Call(cache.fetch_many, [6, 7]))
    eventually(lambda: len(cache._loading.flights.queue) == 3)
    loader.go_on()
    first.result()
    ended = [call.ended() for call in refreshing]
    assert sum(isinstance(call.error, Stop) for call in ended) == 1
    if ended[0].error is None:
        assert ended[0].value == "new"


def test_prime_adds_what_is_not_there(arena):
    loader = Loader()
    cache = arena.cache("c", load=loader.load, ttl=100, stale=10, absent_ttl=5)
    cache.set(1, "mine")
    cache.prime({1: "theirs", 2: "two"})
    cache.prime([(3, "three"), (4, forebay.ABSENT), (1, forebay.ABSENT)], ttl=timedelta(seconds=20))
    assert cache.fetch_many([1, 2, 3, 4]) == {1: "mine", 2: "two", 3: "three"}
    assert cache.is_absent(4) and loader.batches == []
    assert 100_000 < cache._ttl_left(2) <= 110_000 and 20_000 < cache._ttl_left(3) <= 30_000
    plain = arena.cache("d")
    plain.prime({1: "one", 2: forebay.ABSENT})
    assert plain.get(1) == "one" and not plain.is_absent(2)


def test_invalidate_says_whether_there_was_an_entry(arena):
    cache = arena.cache("c", load=lambda key: key)
    cache.fetch(1)
    assert cache.invalidate(1) is True and cache.invalidate(1) is False and 1 not in cache


# ---- old entries


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_stale_entry_is_served_while_one_caller_has_it_loaded(arena, kind):
    loader = Loader(lambda key: len(loader.batches))
    cache = arena.cache("c", ttl=60, stale=30, **{kind: getattr(loader, kind)})
    assert cache.fetch(1) == 1 and 60_000 < cache._ttl_left(1) <= 90_000
    assert cache.fetch(1) == 1 and loader.batches == [[1]], "it is fresh"
    cache.set(1, "old", ttl=20)  # less than stale= is left
    loader.stop()
    assert [cache.fetch(1), cache.fetch(1), cache.fetch_many([1])] == ["old", "old", {1: "old"}]
    loader.wait_until_it_runs(), loader.wait_until_it_runs()
    assert loader.batches == [[1], [1]]
    loader.go_on()
    eventually(lambda: cache.fetch(1) == 2)
    assert len(loader.batches) == 2
    eventually(lambda: cache._loading.flights.table == {})
    assert_nothing_is_left(cache, 1)


def test_many_stale_entries_are_one_batch(arena):
    loader = Loader(lambda key: "new")
    cache = arena.cache("c", ttl=60, stale=30, load_many=loader.load_many, max_batch=50)
    cache.set_many({key: "old" for key in range(80)}, ttl=20)
    assert cache.fetch_many(range(80)) == {key: "old" for key in range(80)}
    eventually(lambda: cache.fetch_many(range(80)) == {key: "new" for key in range(80)})
    assert sorted(map(len, loader.batches)) == [30, 50]


def test_a_refresh_in_the_background_that_fails_is_logged_and_the_old_value_stays(arena, caplog):
    def load(key):
        raise OSError("the database is down")

    cache = arena.cache("c", ttl=60, stale=30, load=load)
    cache.set(1, "old", ttl=20)
    with caplog.at_level(logging.WARNING, "forebay"):
        assert cache.fetch(1) == "old"
        eventually(lambda: caplog.records)
    (record,) = caplog.records[:1]
    assert record.name == "forebay.loading" and "refreshing 1 of cache 'c' failed" in record.getMessage()
    assert isinstance(record.exc_info[1], OSError)
    eventually(lambda: cache._loading.flights.table == {})
    assert cache.get(1) == "old"


def test_an_entry_that_another_process_refreshes_is_left_to_it(arena):
    loader = Loader()
    cache = arena.cache("c", ttl=60, stale=30, load=loader.load)
    cache.set(1, "old", ttl=20)
    lease = cache._lease_take(1, 60_000)[1]
    assert cache.fetch(1) == "old" and loader.batches == [] and cache._loading.flights.table == {}
    cache._lease_end(lease)


def test_absence_is_not_refreshed_nor_what_lives_for_ever(arena):
    loader = Loader(lambda key: forebay.ABSENT)
    cache = arena.cache("c", ttl=60, stale=30, early=1e9, absent_ttl=5, load=loader.load)
    assert cache.fetch(1) is None and cache.fetch(1) is None and cache.fetch_many([1]) == {}
    cache.set(2, "for ever", ttl=None)
    assert cache.fetch(2) == "for ever" and loader.batches == [[1]]


def test_entries_are_refreshed_early_by_chance(arena, monkeypatch):
    loader = Loader(lambda key: len(loader.batches))
    cache = arena.cache("c", ttl=60, early=1.0, load=loader.load)
    assert cache.fetch(1) == 1
    cache._loading.flights.load_time = 2.0
    monkeypatch.setattr(random, "random", lambda: 1 - math.exp(-29))  # 29 x 2 s ahead: not yet
    assert cache.fetch(1) == 1 and loader.batches == [[1]]
    monkeypatch.setattr(random, "random", lambda: 1 - math.exp(-31))
    assert cache.fetch(1) == 1
    eventually(lambda: cache.get(1) == 2)


def test_early_counts_load_times(arena):
    cache = arena.cache("c", ttl=60, early=1.0, load=lambda key: time.sleep(0.01))
    assert cache._loading.flights.load_time == 0
    cache.fetch(1)
    assert cache._loading.flights.load_time >= 0.01


def test_a_refresh_at_the_interpreter_s_end_is_no_error(arena, monkeypatch):
    loader = Loader()
    cache = arena.cache("c", ttl=60, stale=30, load=loader.load)
    cache.set(1, "old", ttl=20)

    def submit(*arguments):
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(cache._loading._refreshers, "_submit", submit)
    assert cache.fetch(1) == "old"
    assert_nothing_is_left(cache, 1)
