# SPDX-License-Identifier: Apache-2.0
"""memoize() of arenas, caches and deferred arenas."""

import asyncio
import inspect
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import forebay
import pytest
from forebay.testing import Clock
from forebay import _loading_flights
from forking import fork_to_run, wait_for
from pooled import Call


@pytest.fixture
def arena():
    with forebay.open(None, "16MiB") as arena:
        yield arena


class Counted:
    """A function that counts its calls."""

    def __init__(self, function=lambda *args, **kwargs: [list(args), kwargs]):
        self.calls = 0
        self.function = function
        self.__name__ = self.__qualname__ = "counted"

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)


@pytest.fixture
def counted():
    return Counted()


def test_a_result_is_computed_once(arena, counted):
    function = arena.memoize(counted)
    assert function(1, b=2) == [[1], {"b": 2}] == function(1, b=2)
    assert counted.calls == 1
    assert function(2, b=2) == [[2], {"b": 2}]
    assert function.cache_info() == (1, 2, None, 2)
    assert "memoize" in arena.caches()


def test_it_keeps_the_function_s_name_docstring_signature_and_itself(arena):
    def plain(a: int, *, b: str = "x") -> str:
        """What it does."""
        return f"{a}{b}"

    function = arena.memoize(ttl=60)(plain)
    assert function.__name__ == "plain" and function.__doc__ == "What it does."
    assert function.__wrapped__ is plain
    assert inspect.signature(function) == inspect.signature(plain)
    assert "plain" in repr(function)
    assert function(3) == "3x"


@pytest.mark.parametrize(
    "argument", [None, True, 1.5, float("nan"), 2**80, "text", b"bytes", [1, [2]], {"a": {"b": 1}}, (1, 2), Decimal("1.5")], ids=repr
)
def test_arguments_may_be_of_any_value_type(arena, counted, argument):
    function = arena.memoize(counted)
    first = function(argument)
    assert repr(function(argument)) == repr(first)
    assert counted.calls == 1


def test_arguments_of_other_types_are_refused_with_advice(arena, counted):
    function = arena.memoize(counted)
    with pytest.raises(TypeError, match="ignore=.*key="):
        function(object())
    assert counted.calls == 0


def test_long_arguments_are_told_apart(arena, counted):
    function = arena.memoize(counted)
    for length in (100, 500, 1000, 1100, 50_000):
        for last in ("a", "b"):
            assert function("x" * length + last)[0] == ["x" * length + last]
    assert counted.calls == 10
    assert function("x" * 50_000 + "a") and counted.calls == 10
    assert arena.cache("memoize").get(function.cache_key("x" * 1100 + "b"))


def test_the_order_of_keywords_does_not_matter_but_how_they_are_passed_does(arena, counted):
    function = arena.memoize(counted)
    function(a=1, b=2)
    function(b=2, a=1)
    assert counted.calls == 1
    function(1, b=2)
    function("a", 1, "b", 2)
    assert counted.calls == 3


def test_typed_tells_numbers_of_other_types_apart(arena):
    loose, strict = Counted(lambda x: str(x)), Counted(lambda x: str(x))
    function, typed = arena.memoize(loose), arena.memoize(typed=True, name="strict")(strict)
    for value in (1, 1.0, True):
        function(value)
        typed(value)
    assert (loose.calls, strict.calls) == (1, 3)
    assert typed(True) == "True"
    function(1.5), function(float("inf")), function(-0.5)
    assert loose.calls == 4


def test_ttl_may_be_a_function_of_the_result(arena):
    counted = Counted(lambda x: x)
    function = arena.memoize(ttl=lambda result: 30 if result == "short" else None)(counted)
    function("short"), function("long")
    Clock(arena).advance(100)
    function("short"), function("long")
    assert counted.calls == 3


def test_condition_decides_what_is_stored(arena):
    counted = Counted(lambda x: x)
    function = arena.memoize(condition=lambda result: result is not None)(counted)
    assert function(None) is None and function(None) is None
    assert function(1) == function(1) == 1
    assert counted.calls == 3


def test_none_is_a_result_like_others(arena):
    counted = Counted(lambda: None)
    function = arena.memoize(counted)
    assert function() is None and function() is None
    assert counted.calls == 1


def test_ignored_arguments_do_not_matter(arena):
    calls = []

    @arena.memoize(ignore=["connection", 2])
    def query(connection, sql, log=None, limit=10):
        calls.append(sql)
        return [sql, limit]

    assert query(object(), "a", object()) == query(object(), sql="a", log=object(), limit=10) == ["a", 10]
    assert query(object(), "a", limit=5) == ["a", 5]
    assert len(calls) == 2


def test_a_method_needs_a_key(arena):
    with pytest.raises(TypeError, match=r"Users\.get is a method: memoize\(key="):

        class Users:
            @arena.memoize
            def get(self, number):
                return number

    class Shops:
        def __init__(self, city):
            self.city = city
            self.calls = 0

        @arena.memoize(key=lambda self, number: (self.city, number))
        def get(self, number):
            self.calls += 1
            return f"{self.city} {number}"

        @staticmethod
        @arena.memoize
        def twice(number):
            return 2 * number

        @classmethod
        @arena.memoize(key=lambda cls, number: number)
        def thrice(cls, number):
            return 3 * number

    one, two = Shops("Bern"), Shops("Basel")
    assert one.get(1) == one.get(1) == "Bern 1" and two.get(1) == "Basel 1"
    assert (one.calls, two.calls) == (1, 1)
    assert Shops.twice(4) == 8 and one.twice(4) == 8 and one.thrice(3) == 9
    assert Shops.get.invalidate(one, 1) and not Shops.get.invalidate(one, 1)
    one.get(1)
    assert one.calls == 2


def test_a_coroutine_function_stays_one(arena):
    calls = []

    @arena.memoize(ttl=60)
    async def load(number):
        calls.append(number)
        await asyncio.sleep(0)
        return {"number": number}

    assert inspect.iscoroutinefunction(load)

    async def main():
        return await load(1), await load(1), await load(2)

    assert asyncio.run(main()) == ({"number": 1}, {"number": 1}, {"number": 2})
    assert calls == [1, 2]
    assert load.cache_info() == (1, 2, None, 2)
    assert load.invalidate(1)
    load.cache_clear()
    asyncio.run(load(2))
    assert calls == [1, 2, 2]


def test_clear_and_invalidate(arena, counted):
    function = arena.memoize(counted)
    others = [arena.memoize(name=f"other {n}")(Counted()) for n in range(4)]
    for number in range(10):
        function(number)
    for other in others:
        other(1)
    assert function.invalidate(3) is True and function.invalidate(3) is False
    assert function.cache_info().currsize == 9
    function.cache_clear()
    assert function.cache_info().currsize == 0
    # a function is a tag, and one in 2,048 shares the cleared one's counter
    assert sum(other.cache_info().currsize for other in others) >= 3
    function(1)
    assert counted.calls == 11


def test_tags_and_keys_are_the_cache_s(arena, counted):
    cache = arena.cache("results")
    function = cache.memoize(tags=["prices"])(counted)
    function(1)
    assert function.cache is cache or function.cache.name == "results"
    assert cache[function.cache_key(1)] == [[1], {}]
    cache.invalidate_tag("prices")
    function(1)
    assert counted.calls == 2


def test_an_exception_is_not_stored(arena):
    counted = Counted(lambda: 1 / 0)
    function = arena.memoize(counted)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            function()
    assert counted.calls == 2


def test_a_result_too_big_for_the_arena_is_returned_all_the_same():
    with forebay.open(None, "1MiB") as arena:
        function = arena.memoize(Counted(lambda: b"x" * (1 << 20)))
        assert len(function()) == 1 << 20


def test_a_result_of_another_type_is_refused(arena):
    function = arena.memoize(Counted(object))
    with pytest.raises(TypeError):
        function()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"ignore": ["nothing"]}, ValueError, "no parameter"),
        ({"ignore": [7]}, ValueError, "no parameter"),
        ({"ignore": "a"}, TypeError, "not one str"),
        ({"ignore": ["a"], "key": lambda a: a}, TypeError, "not both"),
        ({"tll": 5}, TypeError, "tll"),
        ({"name": "x" * 600}, ValueError, "at most"),
    ],
)
def test_nonsense_is_refused_where_the_function_is_defined(arena, options, error, match):
    with pytest.raises(error, match=match):

        @arena.memoize(**options)
        def function(a):
            return a


def test_memoize_takes_a_function(arena):
    with pytest.raises(TypeError, match=r"memoize\(ttl=60\)"):
        arena.memoize(60)
    with pytest.raises(TypeError, match="below"):
        arena.memoize(staticmethod(len))


def test_threads_may_call_it(arena):
    function = arena.memoize(Counted(lambda number: {"number": number}))
    wrong = []

    def call():
        for number in range(2000):
            if function(number % 50) != {"number": number % 50}:
                wrong.append(number)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_on_a_closed_arena_it_says_so(counted):
    arena = forebay.open(None, "1MiB")
    function = arena.memoize(counted)
    function(1)
    arena.close()
    with pytest.raises(forebay.ClosedError):
        function(1)


def test_what_the_condition_refuses_is_the_functions_own_object_for_all_who_waited(arena, monkeypatch):
    not_ready, may_go_on, joined, join = object(), threading.Event(), threading.Semaphore(0), _loading_flights.Flights.join
    monkeypatch.setattr(_loading_flights.Flights, "join", lambda *args, **options: (join(*args, **options), joined.release()))

    with pytest.warns(forebay.PickleWarning):
        cache = arena.cache("c", serializer="pickle")

    @cache.memoize(condition=lambda result: result is not not_ready)
    def function(number):
        assert may_go_on.wait(30)
        return not_ready

    waiting = [Call(function, 1) for _ in range(3)]
    assert all(joined.acquire(timeout=30) for _ in waiting)
    may_go_on.set()
    assert all(call.result() is not_ready for call in waiting)


def test_what_a_deferred_arena_has_not_is_told_with_what_to_do(path):
    deferred = forebay.deferred(path, "1MiB")
    with pytest.raises(AttributeError, match=r"has no cache: where it may be opened, call \.open\(\)\.cache"):
        deferred.cache("c")
    with pytest.raises(AttributeError, match="'DeferredArena' object has no attribute 'cashe'"):
        deferred.cashe("c")
    assert not path.exists() and not hasattr(deferred, "__fspath__")


def test_a_deferred_arena_is_opened_at_the_first_call(path, counted):
    deferred = forebay.deferred(path, "1MiB")
    function = deferred.memoize(ttl=50)(counted)
    plain = deferred.memoize(Counted())
    assert not path.exists()
    assert "not opened" in repr(deferred)
    function(1), function(1), plain(2)
    assert path.exists() and counted.calls == 1
    assert deferred.open() is deferred.open()
    assert str(path) in repr(deferred)
    deferred.open().close()


def test_a_deferred_arena_refuses_nonsense_at_once():
    with pytest.raises(ValueError):
        forebay.deferred("/dev/shm/x", "12 parsecs")
    with pytest.raises(TypeError, match="sise"):
        forebay.deferred("/dev/shm/x", sise=5)
    with pytest.raises(forebay.NotFoundError):
        forebay.deferred("/dev/shm/forebay-nowhere/x").memoize(len)("a")


SHARED = forebay.deferred(None, "4MiB")
calls_here = multiprocessing.get_context("fork").Value("i", 0)


@SHARED.memoize
def slow(number):
    with calls_here.get_lock():
        calls_here.value += 1
    return number * number


def test_forked_workers_share_the_results():
    assert slow(0) == 0
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        assert pool.map(slow, list(range(20)) * 3) == [number * number for number in range(20)] * 3
    assert 20 <= calls_here.value <= 60
    before = calls_here.value
    assert [slow(number) for number in range(20)] == [number * number for number in range(20)]
    assert calls_here.value == before


# ---- of several that miss at once, one calls


def test_of_threads_that_miss_at_once_one_calls_the_function(arena):
    calls = []
    gate = threading.Barrier(8)

    @arena.memoize
    def slow(number):
        calls.append(number)
        time.sleep(0.05)
        return {"number": number}

    def ask(_):
        gate.wait()
        return slow(1)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [{"number": 1}] * 8
    assert calls == [1]


def test_of_processes_that_miss_at_once_one_calls_the_function(path):
    down, up = os.pipe()
    with forebay.open(path, "8MiB") as arena:

        @arena.memoize
        def slow(number):
            os.write(up, b"x")
            time.sleep(0.2)
            return number * 2

        def child():
            assert slow(21) == 42

        for pid in [fork_to_run(child) for _ in range(4)]:
            wait_for(pid)
        os.close(up)
        with open(down, "rb") as calls:
            assert calls.read() == b"x"


def test_of_tasks_that_miss_at_once_one_awaits_the_function(arena):
    calls = []

    @arena.memoize
    async def slow(number):
        calls.append(number)
        await asyncio.sleep(0.02)
        return [number]

    async def main():
        return await asyncio.gather(*(slow(5) for _ in range(10)))

    assert asyncio.run(main()) == [[5]] * 10
    assert calls == [5]


def test_an_error_is_raised_to_all_who_wait_and_the_next_call_calls_again(arena):
    calls = []
    gate = threading.Barrier(4)

    @arena.memoize
    def failing(number):
        calls.append(number)
        time.sleep(0.05)
        if len(calls) == 1:
            raise LookupError("no such number")
        return number

    def ask(_):
        gate.wait()
        with pytest.raises(LookupError, match="no such number"):
            failing(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert calls == [1]
    assert failing(1) == 1


def test_what_is_forgotten_during_a_call_is_not_stored(arena):
    @arena.memoize
    def forgotten(number):
        if number == 1:
            forgotten.cache_clear()
        elif number == 2:
            forgotten.invalidate(2)
        return number

    assert [forgotten(number) for number in (1, 2, 3)] == [1, 2, 3]
    assert [forgotten.cache_key(number) in forgotten.cache for number in (1, 2, 3)] == [False, False, True]


def test_a_function_that_calls_itself(arena):
    calls = []

    @arena.memoize
    def fibonacci(n):
        calls.append(n)
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(80) == 23416728348467685
    assert sorted(calls) == list(range(81))
    assert fibonacci(81) == 37889062373143906
    assert len(calls) == 82


def test_a_function_that_needs_its_own_result(arena):
    @arena.memoize
    def endless(n):
        return endless(n)

    with pytest.raises(forebay.RecursiveLoadError, match="needs that very key"):
        endless(1)


def test_a_result_that_is_not_to_be_kept_holds_nobody_up(path):
    """Others do not wait for each other in turn: all but the first are inside at once."""
    with forebay.open(path, "8MiB") as arena:
        counter = arena.cache("counter")

        @arena.memoize(condition=lambda result: False)
        def slow(number):
            if counter.incr("inside") > 1:
                end = time.monotonic() + 60
                while counter.get("inside") < 4:
                    assert time.monotonic() < end
                    time.sleep(0.001)
            return number

        for pid in [fork_to_run(lambda: slow(1)) for _ in range(4)]:
            wait_for(pid)
        assert slow.cache_info().currsize == 0
