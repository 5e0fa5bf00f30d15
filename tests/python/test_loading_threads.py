# SPDX-License-Identifier: Apache-2.0
"""fetch() by many threads: one load for all, whoever is interrupted or late."""

import contextvars
import gc
import signal
import threading
import time
import weakref
from datetime import timedelta

import forebay
import pytest
from forebay import _loading, _loading_flights
from loading_calls import (  # arena: a fixture
    LONG,
    Call,
    Loader,
    Stop,
    arena,
    assert_nothing_is_left,
    eventually,
    interrupted_at,
    waiters,
)


# ---- many threads


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_many_threads_and_one_key_are_one_load(arena, kind):
    loader = Loader(lambda key: [key])
    cache = arena.cache("c", **{kind: getattr(loader, kind)})
    loader.stop()
    calls = [Call(cache.fetch, 1) for _ in range(16)]
    eventually(lambda: waiters(cache, 1) == 16)
    loader.go_on()
    values = [call.result() for call in calls]
    assert values == [[1]] * 16 and len({id(value) for value in values}) == 16
    assert loader.batches == [[1]]
    assert_nothing_is_left(cache, 1)


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_loader_s_error_is_raised_by_all_that_wait_and_then_it_is_loaded_again(arena, kind):
    error = OSError("the database is down")

    def answer(key):
        raise error

    loader = Loader(answer)
    cache = arena.cache("c", **{kind: getattr(loader, kind)})
    loader.stop()
    calls = [Call(cache.fetch, 1) for _ in range(8)]
    eventually(lambda: waiters(cache, 1) == 8)
    loader.go_on()
    assert all(call.ended().error is error for call in calls)
    loader.answer = lambda key: "up"
    assert cache.fetch(1) == "up" and loader.batches == [[1], [1]]


def test_a_value_that_is_not_stored_is_for_all_that_wait(arena):
    loader = Loader(lambda key: forebay.ABSENT)
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    calls = [Call(cache.fetch, 1, "none") for _ in range(8)]
    eventually(lambda: waiters(cache, 1) == 8)
    loader.go_on()
    assert [call.result() for call in calls] == ["none"] * 8 and loader.batches == [[1]]


def test_what_queues_while_a_batch_runs_is_the_next_batch(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    first = Call(cache.fetch, 0)
    loader.wait_until_it_runs()
    calls = [Call(cache.fetch, key) for key in range(1, 31)]
    eventually(lambda: len(cache._loading.flights.queue) == 30)
    loader.go_on()
    assert first.result() == 0 and [call.result() for call in calls] == [key * 10 for key in range(1, 31)]
    assert loader.batches[0] == [0] and sorted(loader.batches[1]) == list(range(1, 31)) and len(loader.batches) == 2
    assert_nothing_is_left(cache, *range(31))


def test_one_key_does_not_wait_behind_a_thousand_of_another_caller(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_batch=10)
    loader.stop()
    many = Call(cache.fetch_many, range(1000))
    loader.wait_until_it_runs()
    one = Call(cache.fetch, 5000)
    other = Call(cache.fetch_many, range(2000, 2100))
    eventually(lambda: len(cache._loading.flights.queue) == 990 + 1 + 100)
    loader.go_on()
    assert one.result() == 50_000 and len(many.result()) == 1000 and len(other.result()) == 100
    second = loader.batches[1]
    assert 5000 in second
    assert 4 <= sum(key < 1000 for key in second) <= 5 and 4 <= sum(2000 <= key < 2100 for key in second) <= 5
    assert len(loader.batches) <= 1101 / 10 + 2


def test_a_call_for_many_keys_does_not_go_over_all_of_them_after_each_batch(arena, monkeypatch):
    looks = []
    monkeypatch.setattr(_loading_flights.UnderWay, "look_at_all", looks.append)
    cache = arena.cache("c", load_many=lambda keys: keys, max_batch=10)
    assert len(cache.fetch_many(range(1000))) == 1000
    assert not looks


def test_a_failure_out_of_turn_fails_the_call_when_it_waits(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_batch=1)
    loader.stop()
    first = Call(cache.fetch, 1)
    loader.wait_until_it_runs()
    loader.answer = lambda key: 1 / 0
    second = Call(cache.fetch_many, [1, 2, 3])
    eventually(lambda: waiters(cache, 3))
    loader.go_on()
    first.ended()
    with pytest.raises(ZeroDivisionError):
        second.result()
    assert_nothing_is_left(cache, 1, 2, 3)


def test_callers_of_the_same_keys_share_the_loads(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_batch=10)
    loader.stop()
    calls = [Call(cache.fetch_many, range(100)) for _ in range(6)]
    eventually(lambda: waiters(cache, 99) == 6)
    loader.go_on()
    assert all(call.result() == {key: key * 10 for key in range(100)} for call in calls)
    assert sorted(key for batch in loader.batches for key in batch) == list(range(100)) and len(loader.batches) == 10


def test_a_leader_waits_max_wait_for_more(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many, max_wait=LONG, max_batch=3)
    first = Call(cache.fetch, 1)
    eventually(lambda: cache._loading.threads._batch is not None and cache._loading.threads._batch.gathers)
    rest = Call(cache.fetch_many, [2, 3])
    assert first.result() == 10 and rest.result() == {2: 20, 3: 30}
    assert loader.batches == [[1, 2, 3]], "a full batch is not waited for"
    short = arena.cache("d", load_many=loader.load_many, max_wait=timedelta(milliseconds=5))
    assert short.fetch(7) == 70


def test_max_wait_does_not_outlast_the_leader_s_deadline(arena):
    cache = arena.cache("c", load_many=Loader().load_many, max_wait=10 * LONG)
    assert Call(cache.fetch, 1, timeout=0.01).result() == 10


# ---- interruptions and deadlines




@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_when_the_leader_is_interrupted_those_who_wait_load_for_themselves(arena, kind):
    def answer(key):
        if len(loader.batches) == 1:
            raise Stop
        return "loaded"

    loader = Loader(answer)
    cache = arena.cache("c", **{kind: getattr(loader, kind)})
    loader.stop()
    leader = Call(cache.fetch, 1)
    loader.wait_until_it_runs()
    others = [Call(cache.fetch, 1) for _ in range(5)]
    eventually(lambda: waiters(cache, 1) == 6)
    loader.go_on()
    assert isinstance(leader.ended().error, Stop)
    assert [call.result() for call in others] == ["loaded"] * 5
    assert len(loader.batches) == 2
    assert_nothing_is_left(cache, 1)


def test_an_interrupted_leader_passes_the_lead_on(arena):
    def answer(key):
        if key == 1:
            raise Stop
        return key

    loader = Loader(answer)
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    leader = Call(cache.fetch_many, [1, 2])
    loader.wait_until_it_runs()
    others = [Call(cache.fetch, key) for key in (2, 3, 4)]
    eventually(lambda: len(cache._loading.flights.queue) == 2 and waiters(cache, 2) == 2)
    loader.go_on()
    assert isinstance(leader.ended().error, Stop)
    assert [call.result() for call in others] == [2, 3, 4]
    assert_nothing_is_left(cache, 1, 2, 3, 4)


def test_a_caller_that_waits_has_a_deadline_and_disturbs_nobody(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    leader = Call(cache.fetch, 1)
    loader.wait_until_it_runs()
    with pytest.raises(forebay.TimeoutError, match=r"^1 of cache 'c' was not loaded within 0\.02 seconds$"):
        cache.fetch(1, timeout=0.02)
    with pytest.raises(TimeoutError, match=r"^'x{50}.*\.\.\. and 1 more of cache 'c'.*within 0\.03 seconds$"):
        cache.fetch_many(["x" * 200, 2], timeout=timedelta(seconds=0.03))
    assert len(cache._loading.flights.queue) == 0, "nobody wants these any more"
    loader.go_on()
    assert leader.result() == 10 and cache.fetch(2) == 20
    assert loader.batches == [[1], [2]]
    assert_nothing_is_left(cache, 1, 2)


def test_those_who_joined_a_caller_that_gave_up_go_on_without_it(arena):
    loader = Loader()
    cache = arena.cache("c", load_many=loader.load_many)
    loader.stop()
    leader = Call(cache.fetch, 1)
    loader.wait_until_it_runs()
    begins = Call(cache.fetch, 2, timeout=0.3)
    eventually(lambda: waiters(cache, 2) == 1)
    joins = Call(cache.fetch, 2)
    eventually(lambda: waiters(cache, 2) == 2)
    assert isinstance(begins.ended().error, forebay.TimeoutError)
    loader.go_on()
    assert leader.result() == 10 and joins.result() == 20
    assert_nothing_is_left(cache, 1, 2)


@pytest.mark.parametrize("waits_for", ["a flight", "the lead", "another's lease", "more keys"])
def test_ctrl_c_ends_the_wait_of_the_main_thread(arena, waits_for):
    loader = Loader()
    options = {"max_wait": LONG} if waits_for == "more keys" else {}
    cache = arena.cache("c", load_many=loader.load_many, **options)
    loader.stop()
    leader = Call(cache.fetch, 1) if waits_for in ("a flight", "the lead") else None
    if leader is not None:
        loader.wait_until_it_runs()
    lease = cache._lease_take(2, 60_000)[1] if waits_for == "another's lease" else None

    def interrupt():
        time.sleep(0.1)  # so that it sleeps by then; if not, it is interrupted elsewhere
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    interrupter = Call(interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.fetch(1 if waits_for == "a flight" else 2)
    interrupter.result()
    loader.go_on()
    if leader is not None:
        assert leader.result() == 10
    if lease is not None:
        assert cache._lease_holds(lease)
        cache._lease_end(lease)
    assert_nothing_is_left(cache, 1, 2)


def test_a_loader_that_hangs_is_overtaken_and_its_late_value_not_stored(arena):
    loader = Loader(lambda key: len(loader.batches))
    cache = arena.cache("c", load=loader.load, load_timeout=0.1)
    loader.stop()
    hangs = Call(cache.fetch, 1)
    loader.wait_until_it_runs()
    others = [Call(cache.fetch, 1) for _ in range(3)]
    loader.wait_until_it_runs()
    assert loader.batches == [[1], [1]]
    loader.go_on()
    values = {call.result() for call in (hangs, *others)}
    assert values <= {2, 3, 4}, "the loader counts its calls"
    assert cache.fetch(1) in values


def test_a_hanging_leader_loses_the_lead(arena):
    may_end = threading.Event()

    def load_many(keys):
        if 1 in keys and not may_end.is_set():
            assert may_end.wait(LONG)
        return [key * 10 for key in keys]

    cache = arena.cache("c", load_many=load_many, load_timeout=0.1)
    hangs = Call(cache.fetch, 1)
    eventually(lambda: cache._loading.threads._batch is not None)
    assert Call(cache.fetch, 2).result() == 20
    may_end.set()
    assert hangs.result() == 10
    assert_nothing_is_left(cache, 1, 2)


def test_loads_that_always_take_too_long_still_give_their_callers_a_value(arena):
    def load(key):
        time.sleep(0.15)
        return key

    cache = arena.cache("c", load=load, load_timeout=0.05)
    assert [call.result() for call in [Call(cache.fetch, 1) for _ in range(6)]] == [1] * 6


# ---- loads within loads


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_load_that_needs_itself_is_an_error_at_once(arena, kind):
    cache = arena.cache("c", **{kind: lambda key: arena.cache("c", load=len).fetch(1)})
    same = arena.cache("d", **{kind: lambda key: same.fetch(1)})
    for each in (cache, same):
        with pytest.raises(forebay.RecursiveLoadError, match="loading 1 of cache '[cd]' needs that very key"):
            each.fetch(1, timeout=LONG)
        assert_nothing_is_left(each, 1)


def test_a_load_that_needs_itself_through_another_is_an_error_at_once(arena):
    one = arena.cache("c", load=lambda key: two.fetch(key))
    two = arena.cache("d", load_many=lambda keys: one.fetch_many(keys))
    with pytest.raises(forebay.RecursiveLoadError):
        one.fetch(1, timeout=LONG)
    with pytest.raises(forebay.RecursiveLoadError):
        two.fetch(1, timeout=LONG)


def test_a_refresh_of_the_key_being_loaded_is_an_error_too(arena):
    cache = arena.cache("c", load=lambda key: cache.refresh(key))
    with pytest.raises(forebay.RecursiveLoadError):
        cache.fetch(1)


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_a_load_may_need_other_keys_of_its_cache(arena, kind):
    def load(key):
        return 0 if key == 0 else cache.fetch(key - 1) + 1

    cache = arena.cache("c", **({"load": load} if kind == "load" else {"load_many": lambda keys: [load(k) for k in keys]}))
    assert cache.fetch(20) == 20 and cache.get(7) == 7
    assert_nothing_is_left(cache, *range(21))


def test_a_load_s_end_ends_what_it_forbids(arena):
    contexts = []

    def load(key):
        contexts.append(contextvars.copy_context())
        return key

    cache = arena.cache("c", load=load)
    cache.fetch(1)
    cache.delete(1)
    assert contexts[0].run(cache.fetch, 1) == 1


# ---- what is left


def test_a_cache_that_loads_is_freed_with_its_last_reference(arena):
    cache = arena.cache("c", load_many=lambda keys: keys)
    cache.fetch_many([1, 2]), cache.refresh(1)
    with pytest.raises(TypeError):
        cache.fetch(None)
    loading, there = weakref.ref(cache._loading), weakref.ref(cache)
    _loading.fetch_with(cache, "k", lambda: 1, lambda result: (True, ..., ()))
    gc.disable()
    try:
        del cache
        assert there() is None and loading() is None, "there is a cycle"
    finally:
        gc.enable()




@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_an_interrupt_at_any_line_leaves_nothing_that_others_wait_for(arena, kind):
    number = 0
    ended = False
    while not ended:
        number += 1
        loader = Loader()
        cache = arena.cache(f"c{number % 7}", load_timeout=0.05, **{kind: getattr(loader, kind)})
        cache.clear()
        joined = []

        def load_and_be_joined(key):
            if not joined:
                joined.append(Call(cache.fetch, 1))
                if kind == "load_many":
                    joined.append(Call(cache.fetch, 3))
            return key * 10

        loader.answer = load_and_be_joined
        ended = not interrupted_at(number, lambda: cache.fetch_many([1, 2]))
        for call in joined:
            assert call.result() in (10, 30)
        assert Call(cache.fetch_many, [1, 2, 3]).result() == {1: 10, 2: 20, 3: 30}
        assert_nothing_is_left(cache)
    assert number > 100


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_an_interrupt_at_any_line_of_a_refresh_leaves_it_to_others(arena, kind):
    number = 0
    ended = False
    while not ended:
        number += 1
        loader = Loader(lambda key: "new")
        cache = arena.cache(f"c{number % 7}", ttl=60, stale=30, load_timeout=0.05, **{kind: getattr(loader, kind)})
        cache.set_many({1: "old", 2: "old"}, ttl=20)
        ended = not interrupted_at(number, lambda: cache.fetch_many([1, 2]))
        eventually(lambda: cache.fetch_many([1, 2]) == {1: "new", 2: "new"})
        assert Call(cache.refresh, 1).result() == "new"
    assert number > 50
