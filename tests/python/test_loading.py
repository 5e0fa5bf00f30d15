# SPDX-License-Identifier: Apache-2.0
"""load= and load_many= of caches, and fetch() by threads.

Another process is mostly played by a lease that the test takes itself.
"""

import contextvars
import gc
import linecache
import logging
import math
import random
import signal
import sys
import threading
import time
import types
import weakref
from datetime import timedelta

import forebay
import pytest
from forebay import _loading, _loading_flights, _loading_tasks, _loading_threads

LONG = 30  # seconds that no test takes unless something hangs


@pytest.fixture
def arena():
    with forebay.open(None, "16MiB") as arena:
        yield arena


class Loader:
    """load= or load_many=: 10 times the key.  Says when it runs, and waits until it may go on."""

    def __init__(self, answer=lambda key: key * 10):
        self.answer = answer
        self.batches = []
        self.runs = threading.Semaphore(0)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.lock = threading.Lock()

    def note(self, keys):
        with self.lock:
            self.batches.append(keys)
        self.runs.release()
        assert self.may_go_on.wait(LONG)

    def load(self, key):
        self.note([key])
        return self.answer(key)

    def load_many(self, keys):
        assert type(keys) is list
        self.note(list(keys))
        return [self.answer(key) for key in keys]

    def stop(self):
        self.may_go_on.clear()

    def go_on(self):
        self.may_go_on.set()

    def wait_until_it_runs(self):
        assert self.runs.acquire(timeout=LONG)


class Call(threading.Thread):
    """A function in a thread of its own."""

    def __init__(self, function, *arguments, **options):
        super().__init__(daemon=True)
        self.function, self.arguments, self.options = function, arguments, options
        self.value = self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.function(*self.arguments, **self.options)
        except BaseException as error:
            self.error = error

    def ended(self):
        self.join(LONG)
        assert not self.is_alive(), "it hangs"
        return self

    def result(self):
        self.ended()
        if self.error is not None:
            raise self.error
        return self.value


def eventually(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)


def waiters(cache, key):
    flight = cache._loading.flights.table.get(cache._key(key))
    return len(flight.waiters) if flight is not None else 0


def tell_of_waits(monkeypatch, tell):
    """Call tell() before anybody waits for another process's lease."""
    for who, name in ((_loading_threads.Threads, "_wait_for"), (_loading_tasks.Loop, "wait_for")):
        wait = getattr(who, name)

        def told(*arguments, wait=wait):
            tell()
            return wait(*arguments)

        monkeypatch.setattr(who, name, told)


def assert_nothing_is_left(cache, *keys):
    """No flight, no request, no lead, and no lease of these keys."""
    loading = cache._loading
    assert loading.flights.table == {}
    assert len(loading.flights.queue) == 0
    assert loading.threads._batch is None
    for key in keys:
        taken, lease = cache._lease_take(key, 10_000)
        assert taken == 1, f"somebody still has the lease of {key!r}"
        cache._lease_end(lease)


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


class Stop(BaseException):
    """As KeyboardInterrupt, without the meaning that it has for the test's runner."""


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
    assert record.name == "forebay" and "refreshing 1 of cache 'c' failed" in record.getMessage()
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


def interrupt_at(number, interrupt=Stop):
    """A trace function that raises an exception at the n-th step of the modules of loading: a call, or a line.

    Not at `try:`, nor at the end of a `with lock:`: lines for tracers, but nothing at which the interpreter
    looks for signals.
    """
    left = number

    def trace(frame, event, argument):
        nonlocal left
        code = frame.f_code
        if "/_loading" not in code.co_filename or code.co_name == "<genexpr>":  # closing one swallows exceptions
            return None
        line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        if event == "call" or (event == "line" and line != "try:" and not line.endswith("lock:")):
            left -= 1
            if left == 0:
                raise interrupt
        return trace

    return trace, lambda: left > 0


@pytest.mark.parametrize("kind", ["load", "load_many"])
def test_an_interrupt_at_any_line_leaves_nothing_that_others_wait_for(arena, kind):
    """A lease may be left, between the call that takes it and the line that keeps it: until load_timeout."""
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
        trace, not_reached = interrupt_at(number)
        sys.settrace(trace)
        try:
            cache.fetch_many([1, 2])
        except Stop:
            pass
        finally:
            sys.settrace(None)
        ended = not_reached()
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
        trace, not_reached = interrupt_at(number)
        sys.settrace(trace)
        try:
            cache.fetch_many([1, 2])
        except Stop:
            pass
        finally:
            sys.settrace(None)
        ended = not_reached()
        eventually(lambda: cache.fetch_many([1, 2]) == {1: "new", 2: "new"})
        assert Call(cache.refresh, 1).result() == "new"
    assert number > 50
