# SPDX-License-Identifier: Apache-2.0
"""Loads while another process has the lease, played by a lease that the test takes itself."""

import sys
import threading
import time
import types

import forebay
import pytest
from forebay import _loading_flights
from loading_calls import (  # arena: a fixture
    LONG,
    Call,
    Loader,
    arena,
    assert_nothing_is_left,
    eventually,
    interrupted_at,
    tell_of_waits,
)


# ---- other processes' leases


def test_another_s_load_is_waited_for(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    lease = cache._lease_take(1, 60_000)[1]
    calls = [Call(cache.fetch, 1), Call(cache.fetch_many, [1, 2])]
    eventually(lambda: 2 in cache)
    assert cache._lease_store(1, "theirs", lease)
    assert calls[0].result() == "theirs" and calls[1].result() == {1: "theirs", 2: 20}
    assert loader.batches == [[2]]


def test_when_another_ends_its_lease_one_of_those_who_wait_loads(arena):
    loader = Loader()
    cache = arena.cache("c", load=loader.load)
    lease = cache._lease_take(1, 60_000)[1]
    calls = [Call(cache.fetch, 1) for _ in range(4)]
    eventually(lambda: cache._loading.flights.table == {})
    cache._lease_end(lease)
    assert [call.result() for call in calls] == [10] * 4 and loader.batches == [[1]]


def test_when_another_s_time_is_up_it_is_overtaken(arena):
    cache = arena.cache("c", load=lambda key: "mine")
    lease = cache._lease_take(1, 50)[1]
    assert cache.fetch(1) == "mine" and not cache._lease_store(1, "late", lease)
    assert cache.get(1) == "mine"


def test_another_s_failure_is_a_load_error(arena, monkeypatch):
    cache = arena.cache("c", load=lambda key: "mine")
    lease = cache._lease_take(1, 60_000)[1]
    waits = threading.Event()
    tell_of_waits(monkeypatch, waits.set)
    call = Call(cache.fetch, 1)
    assert waits.wait(LONG)
    cache._lease_fail(lease, _loading_flights._note_of(ValueError("no")))
    error = call.ended().error
    assert isinstance(error, forebay.LoadError) and isinstance(error, RuntimeError)
    assert str(error).startswith("loading 1 failed in process ") and str(error).endswith(": ValueError: no")
    assert cache.fetch(1) == "mine"


def test_a_failure_that_cannot_be_put_in_words_is_told_by_its_type(arena):
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    assert _loading_flights._note_of(Odd()).endswith(b": Odd")


def test_another_that_found_none_or_cannot_store_says_so(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    absent, alone = (cache._lease_take(key, 60_000)[1] for key in (1, 2))
    wanted = _loading_flights.Wanted(cache, {cache._key(key): key for key in (1, 2)})
    flights = []
    for key, lease in ((1, absent), (2, alone)):
        flight = _loading_flights.Flight(cache._key(key), key, None, False)
        flight.outcome = _loading_flights.Foreign(lease)
        flights.append(flight)
    assert wanted.collect(flights) == [absent, alone]
    cache._lease_fail(absent, _loading_flights.ABSENT_NOTE)
    cache._lease_fail(alone, _loading_flights.ALONE_NOTE)
    wanted.look()
    assert wanted.found == {cache._key(1): forebay.ABSENT}
    assert wanted.missing == {cache._key(2): 2} and wanted.alone == {cache._key(2)}


def test_for_another_s_lease_a_caller_has_its_deadline_too(arena):
    cache = arena.cache("c", load=lambda key: "mine")
    lease = cache._lease_take(1, 60_000)[1]
    with pytest.raises(forebay.TimeoutError, match=r"^1 of cache 'c' was not loaded within 0\.05 seconds"):
        cache.fetch(1, timeout=0.05)
    assert cache._lease_holds(lease)
    cache._lease_end(lease)
    assert_nothing_is_left(cache, 1)


def test_under_gevent_another_s_lease_is_looked_at_between_sleeps(arena, monkeypatch):
    monkey = types.ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: name == "time"
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    cache = arena.cache("c", load=lambda key: "mine")
    lease = cache._lease_take(1, 60_000)[1]
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 10:
            cache._lease_store(1, "theirs", lease)

    monkeypatch.setattr(time, "sleep", sleep)
    assert cache.fetch(1) == "theirs"
    assert len(sleeps) == 10 and sleeps[0] == 0.001 and max(sleeps) <= 0.01


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_when_no_lease_is_free_it_is_loaded_but_not_stored(kind):
    loader = Loader()
    with forebay.open(None, "1MiB") as arena:
        cache = arena.cache("c", **{kind: getattr(loader, kind)})
        leases = [cache._lease_take(("other", n), 60_000) for n in range(6000)]
        assert cache._lease_take(1, 10)[0] == -1
        assert cache.fetch(1) == 10 and 1 not in cache
        assert cache.fetch_many([1, 2, 3]) == {1: 10, 2: 20, 3: 30}
        cache.set(1, "old")
        assert cache.refresh(1) == 10 and 1 not in cache, "what is there is older than the call"
        for taken, lease in leases:
            if taken == 1:
                cache._lease_end(lease)
        assert_nothing_is_left(cache, 1, 2, 3)
        assert cache.fetch(1) == 10 and 1 in cache


# ---- the leases of many keys


def flights_of(*keys):
    return [types.SimpleNamespace(key=key, lease=None) for key in keys]


def test_leases_of_many_keys_are_taken_and_stored_under_in_one_call(arena):
    cache = arena.cache("c", codec=None)
    cache.set("there", 1)
    _, theirs = cache._lease_take("theirs", 60_000)
    flights = flights_of("new", "there", "theirs", 7)
    assert cache._leases_take(flights, 60_000, True, ()) == [True, False, theirs, True]
    new, there, others, seven = flights
    assert cache._lease_holds(new.lease) and cache._lease_holds(seven.lease)
    assert not cache._lease_holds(there.lease) and others.lease is None
    cache.delete(7)
    assert cache._leases_store([new, seven], [[1, 2], "late"], [60, ...]) == [True, False]
    assert cache.get("new") == [1, 2] and 7 not in cache and 59 < cache._ttl_left("new") / 1000 <= 60
    assert not cache._lease_holds(new.lease)


def test_absence_counts_as_an_entry_if_it_is_to(arena):
    cache = arena.cache("c", load=lambda key: forebay.ABSENT, absent_ttl=60)
    assert cache.fetch(1) is None
    assert cache._leases_take(flights_of(1), 60_000, True, ()) == [False]
    assert cache._leases_take(flights_of(1), 60_000, False, ()) == [True]


def test_what_cannot_be_stored_is_an_error_of_its_own_and_ends_its_lease(arena):
    cache = arena.cache("c", codec=None)
    flights = flights_of(*range(6))
    assert cache._leases_take(flights, 60_000, True, ()) == [True] * 6
    outcomes = cache._leases_store(flights[:4], [object(), bytes(2**24), "kept", 1], [..., ..., ..., -1])
    assert [type(outcome) for outcome in outcomes] == [TypeError, forebay.TooBigError, bool, ValueError]
    assert cache._lease_reason(flights[1].lease) == b"", "who waits need not try it again"
    kinds = cache._leases_store_payloads(flights[4:], [(99, b""), cache._payload({"a": 1})], [5.0, None])
    assert [type(kind) for kind in kinds] == [ValueError, bool] and cache.get(5) == {"a": 1}
    assert not any(cache._lease_holds(flight.lease) for flight in flights)


def test_a_program_that_ends_while_it_stores_is_not_held_up(arena):
    def dump(value):
        raise SystemExit

    cache = arena.cache("c", serializer=(dump, bytes))
    flights = flights_of(1)
    cache._leases_take(flights, 60_000, True, ())
    with pytest.raises(SystemExit):
        cache._leases_store(flights, ["value"], [...])
    assert not cache._lease_holds(flights[0].lease)


def test_where_there_is_no_room_for_leases_fewer_are_taken():
    with forebay.open(None, "1MiB") as arena:
        cache = arena.cache("c")
        flights = flights_of(*range(6000))
        taken = cache._leases_take(flights, 60_000, True, ())
        assert 0 < len(taken) < 6000 and all(how is True for how in taken)
        assert flights[len(taken)].lease is None


@pytest.mark.parametrize("method", ["_leases_take", "_leases_store", "_leases_store_payloads"])
def test_what_is_no_flight_is_refused(arena, method):
    cache = arena.cache("c")
    more = ([object()], 1000, True, ()) if method == "_leases_take" else ([object()], [1], [...])
    if method == "_leases_take":
        with pytest.raises(AttributeError, match="key"):
            cache._leases_take(*more)
    else:
        assert isinstance(getattr(cache, method)(*more)[0], AttributeError)
    with pytest.raises(TypeError):
        getattr(cache, method)((), *more[1:])


def test_an_interrupt_at_any_line_loses_no_lease_of_many(arena):
    number, ended = 0, False
    while not ended:
        number += 1
        cache = arena.cache(f"c{number % 7}", load_many=lambda keys: [key * 10 for key in keys], load_timeout=60)
        cache.clear()
        ended = not interrupted_at(number, lambda: cache.fetch_many([1, 2]))
        assert_nothing_is_left(cache, 1, 2)
    assert number > 100


class Deaf:
    """A waiter that does nothing when it is woken."""

    def wake(self):
        pass


def test_what_two_waited_for_is_neither_s_own_though_one_has_left(arena):
    cache = arena.cache("c", load=lambda key: key)
    flights, waiters, joined = cache._loading.flights, [], []
    for _ in range(2):
        waiters.append(Deaf())
        wanted = _loading_flights.Wanted(cache, {b"name": 1})
        flights.join(cache, wanted, waiters[-1], _loading_flights.Request(), joined)
    assert joined[0] is joined[1]
    flights.resolve([(joined[0], _loading_flights.Loaded([], True, True))])
    flights.leave(joined[:1], waiters[0])
    flights.abandon(cache, joined[:1])
    assert wanted.collect(joined[1:]) == [] and wanted.found == {}  # to be looked at in the arena
