# SPDX-License-Identifier: Apache-2.0
"""Pool: sizes, order, waiting, returning, closing."""

import gc
import math
import threading
import time
from datetime import timedelta

import pytest

import forebay
from pooled import Call, Server, until


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pool_of(server):
    """Pools of the server, closed at the end."""
    pools = []

    def make(**options):
        pools.append(forebay.Pool(server.connect, **{"timeout": 20, **options}))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


# ---- getting and giving back


def test_the_object_is_back_after_the_block_and_used_again(server, pool_of):
    pool = pool_of()
    with pool.connection() as first:
        assert pool.checked_out()[0].object is first
    with pool.connection() as second:
        assert second is first
    assert len(server.made) == 1 and pool.checked_out() == []


def test_the_one_used_last_is_the_next(server, pool_of):
    pool = pool_of(max_size=3)
    a, b, c = (pool.getconn() for _ in range(3))
    for returned in (b, c, a):
        pool.putconn(returned)
    assert [pool.getconn() for _ in range(3)] == [a, c, b]
    for returned in (a, b, c):
        pool.putconn(returned)


def test_no_object_is_made_and_no_thread_runs_before_the_first_need(server, pool_of):
    pool = pool_of(min_size=2)
    time.sleep(0.05)
    assert server.attempts == 0 and not [t for t in threading.enumerate() if t.name.startswith(f"{pool.name}-")]
    pool.wait()
    assert len(server.made) == 2


def test_an_exception_in_the_block_reaches_the_caller_and_the_object_is_back(pool_of):
    pool = pool_of()
    with pytest.raises(ZeroDivisionError):
        with pool.connection():
            1 / 0
    assert pool.get_stats()["pool_available"] == 1 and pool.get_stats()["returns_bad"] == 0


def test_an_exception_instance_as_an_object_is_an_object(pool_of):
    with forebay.Pool(lambda: ValueError("an object"), close=lambda found: None) as pool:
        with pool.connection() as found:
            assert isinstance(found, ValueError)


def test_end_sees_the_error_of_the_block_and_comes_before_reset(pool_of):
    seen = []
    pool = pool_of(end=lambda c, error: seen.append(("end", error)), reset=lambda c: seen.append(("reset",)))
    with pool.connection():
        pass
    error = KeyError("x")
    with pytest.raises(KeyError):
        with pool.connection():
            raise error
    pool.putconn(pool.getconn())
    assert seen == [("end", None), ("reset",), ("end", error), ("reset",), ("reset",)]


def test_an_error_of_end_reaches_the_caller_and_the_object_is_closed(server, pool_of):
    def commit(connection, error):
        raise ConnectionError("commit failed")

    pool = pool_of(end=commit)
    with pytest.raises(ConnectionError, match="commit failed"):
        with pool.connection() as connection:
            pass
    until(lambda: connection.closed)
    with pytest.raises(ZeroDivisionError):
        with pool.connection():
            1 / 0
    assert pool.get_stats()["returns_bad"] == 2


@pytest.mark.parametrize("answer", [False, ConnectionError("gone")])
def test_what_reset_refuses_is_closed_and_replaced(server, pool_of, answer, caplog):
    def reset(connection):
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = pool_of(reset=reset)
    with pool.connection() as first:
        pass
    until(lambda: first.closed)
    with pool.connection() as second:
        assert second is not first
    assert pool.get_stats()["returns_bad"] >= 1
    assert ("reset failed" in caplog.text) == isinstance(answer, Exception)


@pytest.mark.parametrize("how", ["raises", "returns False"])
def test_a_dead_object_is_found_by_check_and_another_one_is_given(server, pool_of, how):
    def check(connection):
        if how == "raises":
            connection.ping()
        return not connection.broken

    pool = pool_of(check=check, max_size=2)
    with pool.connection() as first:
        with pool.connection() as second:
            pass
    first.broken = second.broken = True
    with pool.connection() as third:
        assert third not in (first, second) and not third.closed
    until(lambda: first.closed and second.closed)
    assert pool.get_stats()["connections_lost"] == 2


def test_a_new_object_is_not_checked(server, pool_of):
    checked = []
    pool = pool_of(check=checked.append)
    with pool.connection():
        assert checked == []
    with pool.connection() as connection:
        assert checked == [connection]


def test_a_foreign_object_and_one_returned_twice_are_refused(server, pool_of):
    pool, other = pool_of(), pool_of()
    mine = pool.getconn()
    with pytest.raises(forebay.PoolError, match="not of this pool"):
        other.putconn(mine)
    pool.putconn(mine)
    with pytest.raises(forebay.PoolError, match="returned to the pool before"):
        pool.putconn(mine)
    with pytest.raises(forebay.PoolError, match="not of this pool"):
        pool.putconn("anything")


def test_a_context_is_good_for_one_block_at_a_time(pool_of):
    pool = pool_of(max_size=2)
    context = pool.connection()
    with context as first:
        with pytest.raises(forebay.PoolError, match="entered already"):
            with context:
                pass
    with context as second:
        assert second is first


def test_a_context_that_is_dropped_closes_what_it_held(server, pool_of):
    def generator():
        with pool.connection() as connection:
            yield connection

    pool = pool_of(max_size=1)
    context = pool.connection()
    connection = context.__enter__()
    del context  # nobody knows what state it is in
    until(lambda: connection.closed)
    running = generator()
    second = next(running)
    del running  # the with block ends, by GeneratorExit
    assert not second.closed and pool.get_stats()["pool_available"] == 1


# ---- waiting


def test_who_waits_gets_one_in_the_order_of_coming(pool_of):
    pool, got = pool_of(max_size=1), []

    def take(number):
        with pool.connection():
            got.append(number)

    with pool.connection():
        calls = []
        for number in range(10):
            calls.append(Call(take, number))
            until(lambda: pool.get_stats()["requests_waiting"] == number + 1)
    for call in calls:
        call.result()
    assert got == list(range(10))
    assert pool.get_stats()["requests_queued"] >= 10


def test_a_newcomer_does_not_overtake_who_waits(pool_of):
    pool = pool_of(max_size=1)
    connection = pool.getconn()
    waiting = Call(pool.getconn)
    until(lambda: pool.get_stats()["requests_waiting"] == 1)
    pool.putconn(connection)
    with pytest.raises(forebay.PoolTimeoutError):
        pool.getconn(timeout=0)
    assert waiting.result() is connection
    pool.putconn(connection)


def test_a_timeout_tells_how_things_stand(pool_of):
    pool = pool_of(max_size=1, name="database")
    with pool.connection():
        begin = time.monotonic()
        with pytest.raises(forebay.PoolTimeoutError, match="'database' got free within 0.05 s: 1 of at most 1 are out") as caught:
            pool.getconn(timeout=0.05)
        assert time.monotonic() - begin >= 0.045
        assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, forebay.Error)
        with pytest.raises(forebay.PoolTimeoutError):
            with pool.connection(timeout=0):
                pass
    stats = pool.get_stats()
    assert stats["requests_errors"] == 2 and stats["requests_waiting"] == 0
    with pool.connection(timeout=0):
        pass


def test_more_than_max_waiting_are_refused_at_once(pool_of):
    pool = pool_of(max_size=1, max_waiting=2)
    connection = pool.getconn()
    waiting = [Call(pool.getconn) for _ in range(2)]
    until(lambda: pool.get_stats()["requests_waiting"] == 2)
    with pytest.raises(forebay.TooManyRequestsError, match="2 requests wait"):
        pool.getconn()
    pool.putconn(connection)
    pool.putconn(waiting[0].result())
    pool.putconn(waiting[1].result())


def test_a_request_whose_object_was_dead_keeps_its_place(server):
    checking, go = threading.Event(), threading.Event()

    def check(connection):
        if connection.broken:
            checking.set()
            go.wait(30)
            raise ConnectionError

    with forebay.Pool(server.connect, max_size=1, max_waiting=1, check=check) as pool:
        with pool.connection() as connection:
            connection.broken = True
        got = []

        def take(name):
            with pool.connection(timeout=20):
                got.append(name)

        first = Call(take, "first")
        assert checking.wait(20)
        second = Call(take, "second")
        until(lambda: pool.get_stats()["requests_waiting"] == 1)
        server.gate.clear()
        go.set()
        until(lambda: pool.get_stats()["requests_waiting"] == 2)  # max_waiting refuses who comes, not who was there
        server.gate.set()
        first.result(), second.result()
        assert got == ["first", "second"]


def test_an_object_that_comes_back_before_a_new_one_is_made_is_taken(server, pool_of):
    pool = pool_of(max_size=2)
    first = pool.getconn()
    server.gate.clear()
    waiting = Call(pool.getconn)
    until(lambda: server.attempts == 2)
    pool.putconn(first)
    assert waiting.result() is first
    server.gate.set()
    pool.putconn(first)
    until(lambda: pool.get_stats()["pool_available"] == 2)


# ---- growing and shrinking


def test_it_grows_as_far_as_it_is_needed_and_no_further(server, pool_of):
    pool = pool_of(min_size=1, max_size=4)
    taken = [pool.getconn() for _ in range(4)]
    assert len(server.made) == 4
    with pytest.raises(forebay.PoolTimeoutError):
        pool.getconn(timeout=0.05)
    for connection in taken:
        pool.putconn(connection)
    assert len(server.made) == 4 and pool.get_stats()["pool_size"] == 4


def test_what_a_burst_needs_is_made_at_the_same_time(server, pool_of):
    pool = pool_of(max_size=4, num_workers=3)
    with pool.connection():  # a worker stays for more to do
        pass
    for _ in range(20):
        pool.drain()
        until(lambda: pool.get_stats()["pool_size"] == 1)
        server.gate.clear()
        attempts = server.attempts
        calls = [Call(lambda: pool.connection().__enter__()) for _ in range(4)]
        until(lambda: server.attempts == attempts + 3)
        server.gate.set()
        for call in calls:
            call.result()
        del calls, call


def test_min_size_objects_are_made_at_the_same_time(server, pool_of):
    pool = pool_of(min_size=3)
    server.gate.clear()
    filling = Call(pool.wait)
    until(lambda: server.attempts == 3)
    server.gate.set()
    filling.result()


def test_never_more_than_max_size_are_open_though_closing_takes_long(server):
    gate, most = threading.Event(), []

    def close(connection):
        gate.wait(30)
        connection.close()

    with forebay.Pool(server.connect, max_size=1, close=close, reset=lambda c: False, timeout=20) as pool:
        with pool.connection():
            pass
        waiting = Call(pool.getconn)
        until(lambda: pool.get_stats()["requests_waiting"] == 1)
        time.sleep(0.05)
        most.append(len(server.open()))
        gate.set()
        pool.putconn(waiting.result())
    assert most == [1]


def test_what_is_idle_for_long_is_closed_down_to_min_size(server, pool_of):
    pool = pool_of(min_size=1, max_size=4, max_idle=0.05)
    taken = [pool.getconn() for _ in range(4)]
    for connection in taken:
        pool.putconn(connection)
    until(lambda: len(server.open()) == 1)
    assert pool.get_stats()["pool_size"] == 1
    assert server.open() == [taken[-1]]  # the one used last


def test_idle_objects_are_replaced_at_the_end_of_their_life(server, pool_of):
    pool = pool_of(min_size=2, max_size=2, max_lifetime=0.2)
    pool.wait()
    first = list(server.made)
    until(lambda: all(c.closed for c in first) and len(server.open()) == 2)
    with pool.connection() as connection:
        assert connection not in first


def test_lifetimes_end_up_to_a_twentieth_early_but_not_all_at_once():
    found = []
    for _ in range(30):
        with forebay.Pool(object, max_lifetime=1000, max_idle=None) as pool:
            pool.wait()
            found.append(pool._due())
    assert all(940 <= seconds <= 1000 for seconds in found) and max(found) - min(found) > 5


def test_an_object_too_old_is_closed_when_it_comes_back(server, pool_of):
    pool = pool_of(max_lifetime=0.05)
    with pool.connection() as connection:
        time.sleep(0.06)
        assert not connection.closed
    until(lambda: connection.closed)


def test_resize_grows_and_shrinks(server, pool_of):
    pool = pool_of(min_size=1, max_size=2)
    taken = [pool.getconn() for _ in range(2)]
    pool.resize(4, 5)
    until(lambda: len(server.made) == 4)
    assert (pool.min_size, pool.max_size) == (4, 5)
    pool.resize(0, 1)
    until(lambda: len(server.open()) == 2)  # those that are out
    pool.putconn(taken[0])
    pool.putconn(taken[1])
    until(lambda: len(server.open()) == 1)
    with pytest.raises(ValueError, match=r"max_size \(1\) is to be min_size \(2\) or more"):
        pool.resize(2, 1)


def test_check_replaces_the_dead(server, pool_of):
    pool = pool_of(min_size=3, max_size=3, check=lambda c: c.ping())
    pool.wait()
    server.made[1].broken = True
    pool.check()
    until(lambda: server.made[1].closed and len(server.open()) == 3)
    assert pool.get_stats()["connections_lost"] == 1
    assert pool.get_stats()["pool_available"] == 3


def test_drain_closes_all_there_are_and_those_out_when_they_come_back(server, pool_of):
    pool = pool_of(min_size=3, max_size=3)
    pool.wait()
    old = list(server.made)
    out = pool.getconn()
    pool.drain()
    until(lambda: sum(c.closed for c in old) == 2)
    assert not out.closed
    pool.putconn(out)
    until(lambda: out.closed and len(server.open()) == 3)


# ---- when nothing can be made


def test_a_server_that_is_down_is_the_cause_of_the_timeout(server, pool_of):
    server.down = True
    pool = pool_of()
    with pytest.raises(forebay.PoolTimeoutError, match="the server is down") as caught:
        pool.getconn(timeout=0.3)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert pool.get_stats()["connections_errors"] >= 1


def test_it_tries_again_and_serves_who_waits(server, pool_of):
    server.down = True
    pool = pool_of()
    waiting = Call(pool.getconn)
    until(lambda: server.attempts >= 2)
    server.down = False
    pool.putconn(waiting.result())


def test_attempts_come_later_and_later(server, pool_of, monkeypatch):
    monkeypatch.setattr("forebay._pool_attempts.FIRST_DELAY", 0.02)
    server.down = True
    pool = pool_of()
    with pytest.raises(forebay.PoolTimeoutError):
        pool.getconn(timeout=0.7)
    assert 3 <= server.attempts <= 7  # after 0, 20, 60, 140, 300, 620 ms


def test_it_gives_up_after_reconnect_timeout_and_begins_anew_when_asked(server, pool_of, monkeypatch):
    monkeypatch.setattr("forebay._pool_attempts.FIRST_DELAY", 0.02)
    told = []
    server.down = True
    pool = pool_of(reconnect_timeout=0.1, reconnect_failed=told.append)
    with pytest.raises(forebay.PoolTimeoutError):
        pool.getconn(timeout=0.5)
    assert told == [pool]
    attempts = server.attempts
    time.sleep(0.1)
    assert server.attempts == attempts
    server.down = False
    with pool.connection():
        pass


def test_a_reconnect_failed_that_fails_is_logged(server, pool_of, caplog):
    server.down = True
    pool = pool_of(reconnect_timeout=0, reconnect_failed=lambda pool: 1 / 0)
    with pytest.raises(forebay.PoolTimeoutError):
        pool.getconn(timeout=0.2)
    until(lambda: "reconnect_failed failed" in caplog.text)


def test_wait_says_why_there_are_not_enough(server):
    server.down = True
    pool = forebay.Pool(server.connect, min_size=2)
    with pytest.raises(forebay.PoolTimeoutError, match="had 0 of 2 objects after 0.1 s.*the server is down"):
        pool.wait(timeout=0.1)
    assert pool.closed


def test_a_close_that_fails_is_logged_and_the_place_is_free(server, caplog):
    def close(connection):
        raise OSError("cannot be closed")

    with forebay.Pool(server.connect, max_size=1, close=close, reset=lambda c: False, timeout=20) as pool:
        for _ in range(3):
            with pool.connection():
                pass
    assert "closing an object failed: OSError('cannot be closed')" in caplog.text and len(server.made) >= 3


# ---- opening and closing


def test_a_pool_that_is_not_open_says_what_to_do(server):
    pool = forebay.Pool(server.connect, open=False, name="late")
    for call in (pool.getconn, pool.wait, pool.connection().__enter__):
        with pytest.raises(forebay.PoolClosedError, match="'late' is not open yet: call open"):
            call()
    assert pool.closed
    pool.open(wait=True)
    assert not pool.closed and len(server.made) == 1
    pool.open()
    pool.close()
    pool.close()
    with pytest.raises(forebay.PoolClosedError, match="is closed: make a new one"):
        pool.open()
    with pytest.raises(forebay.PoolClosedError):
        with pool:
            pass


def test_closing_refuses_who_waits_and_closes_what_comes_back(server, caplog):
    pool = forebay.Pool(server.connect, max_size=2)
    out = pool.getconn()
    idle = pool.getconn()
    waiting = Call(pool.getconn)
    until(lambda: pool.get_stats()["requests_waiting"] == 1)
    pool.putconn(idle)
    waiting_for_long = waiting.result()
    more = Call(pool.getconn)
    until(lambda: pool.get_stats()["requests_waiting"] == 1)
    pool.close()
    with pytest.raises(forebay.PoolClosedError, match="was closed while this request waited"):
        more.result()
    assert not out.closed and f"{__file__}:" in caplog.text
    pool.putconn(out)
    pool.putconn(waiting_for_long)
    until(lambda: out.closed and idle.closed)


def test_a_pool_that_is_dropped_ends_its_threads(server):
    pool = forebay.Pool(server.connect, name="dropped")
    with pool.connection():
        pass
    assert any(t.name.startswith("dropped") for t in threading.enumerate())
    del pool
    gc.collect()
    until(lambda: not any(t.name.startswith("dropped") for t in threading.enumerate()))


def test_what_a_dropped_pool_has_idle_is_closed(server):
    pool = forebay.Pool(server.connect, min_size=2)
    pool.wait()
    out = pool.getconn()
    del pool
    until(lambda: len(server.open()) == 1)
    assert server.open() == [out]  # its user's, from now on


def test_what_a_dropped_pool_has_idle_is_closed_though_its_threads_have_ended(server, monkeypatch):
    monkeypatch.setattr("forebay._pool_workers.LINGER", 0.01)
    pool = forebay.Pool(server.connect, max_lifetime=None, max_idle=None)
    pool.wait()
    until(lambda: not pool._workers.threads)
    del pool
    until(lambda: server.open() == [])


def test_a_pool_in_a_cycle_is_collected(server):
    class Owner:
        pass

    owner = Owner()
    owner.pool = forebay.Pool(server.connect, check=lambda c: owner)
    with owner.pool.connection():
        pass
    import weakref

    gone = weakref.ref(owner)
    del owner
    until(lambda: gc.collect() is not None and gone() is None)


# ---- figures


STATS = ["pool_min", "pool_max", "pool_size", "pool_available", "requests_waiting", "usage_ms", "requests_num",
         "requests_queued", "requests_wait_ms", "requests_errors", "returns_bad", "connections_num", "connections_ms",
         "connections_errors", "connections_lost"]  # fmt: skip


def test_figures_are_all_there_and_begin_anew_after_pop(server, pool_of):
    server.seconds = 0.02
    pool = pool_of(min_size=1, max_size=3)
    assert pool.get_stats() == dict.fromkeys(STATS, 0) | {"pool_min": 1, "pool_max": 3}
    with pool.connection():
        time.sleep(0.03)
    stats = pool.pop_stats()
    assert list(stats) == STATS
    assert stats["requests_num"] == stats["requests_queued"] == stats["connections_num"] == 1
    assert stats["usage_ms"] >= 30 and stats["connections_ms"] >= 20 and stats["requests_wait_ms"] >= 20
    assert pool.get_stats() == dict.fromkeys(STATS, 0) | {"pool_min": 1, "pool_max": 3, "pool_size": 1, "pool_available": 1}


def test_its_repr_says_how_things_stand(pool_of):
    pool = pool_of(name="database", max_size=5)
    assert repr(pool) == "<forebay.Pool 'database': 0 out, 0 idle, at most 5>"
    with pool.connection():
        assert "1 out, 0 idle" in repr(pool)
    pool.close()
    assert repr(pool) == "<forebay.Pool 'database' closed: 0 out, 0 idle, at most 5>"


# ---- leaks


def test_the_place_of_each_checkout_is_known(pool_of):
    import inspect

    pool = pool_of(max_size=2)
    line = inspect.currentframe().f_lineno + 1
    connection = pool.getconn()
    with pool.connection():
        outs = pool.checked_out()
    assert [(out.file, out.line) for out in outs] == [(__file__, line), (__file__, line + 1)]
    assert outs[0].object is connection and outs[0].seconds > 0
    pool.putconn(connection)


def test_an_object_out_for_long_is_told_of_once(pool_of, caplog):
    pool = pool_of(leak_after=0.05)
    with pool.connection():
        until(lambda: "has been out for" in caplog.text)
        time.sleep(0.1)
    assert caplog.text.count("has been out for") == 1 and f"{__file__}:" in caplog.text


def test_an_object_that_nobody_has_any_more_is_told_of_and_replaced(server, pool_of, caplog):
    pool = pool_of(max_size=1)
    server.made.clear()
    pool.getconn()  # lost, but for the list of the server
    server.made.clear()
    with pool.connection():
        pass
    assert "was lost without putconn()" in caplog.text and f"{__file__}:" in caplog.text


# ---- arguments


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"min_size": -1}, ValueError, "min_size is 0 or more"),
        ({"min_size": 1.5}, TypeError, "min_size is an int, not float"),
        ({"min_size": 3, "max_size": 2}, ValueError, "max_size (2) is to be min_size (3) or more"),
        ({"max_size": 0}, ValueError, "max_size is 1 or more"),
        ({"timeout": "3"}, TypeError, "timeout is a number of seconds"),
        ({"timeout": -1}, ValueError, "timeout is 0 seconds or more"),
        ({"max_idle": math.nan}, ValueError, "max_idle is 0 seconds or more"),
        ({"max_waiting": True}, TypeError, "max_waiting is an int"),
        ({"check": 5}, TypeError, "check is a function, not int"),
        ({"num_workers": 0}, ValueError, "num_workers is 1 or more"),
        ({"name": 5}, TypeError, "name is a str"),
        ({"host_max": 3}, ValueError, "arena= and host_max= go together"),
        ({"max_sise": 3}, TypeError, "max_sise"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(server, options, error, text):
    with pytest.raises(error) as caught:
        forebay.Pool(server.connect, **options)
    assert text in str(caught.value)


def test_create_is_a_function():
    with pytest.raises(TypeError, match="create is a function that makes an object, not str"):
        forebay.Pool("postgresql://")


def test_calls_refuse_what_is_no_timeout(pool_of):
    pool = pool_of()
    for call in (pool.connection, pool.getconn):
        with pytest.raises(TypeError, match="has no argument 'timout'; it takes timeout"):
            call(timout=3)
        with pytest.raises(TypeError, match="takes one argument"):
            call(1, 2)
        with pytest.raises(TypeError):
            call("soon")
        with pytest.raises(ValueError, match="nan"):
            call(math.nan)


def test_times_may_be_timedeltas(pool_of):
    pool = pool_of(timeout=timedelta(seconds=5), max_lifetime=timedelta(hours=1), max_idle=None)
    with pool.connection():
        pass


def test_what_a_block_gave_back_itself_is_not_brought_back_again(pool_of):
    pool = pool_of(max_size=2)
    for _ in range(3):
        with pool.connection() as taken:
            pool.putconn(taken)
            with pool.connection() as again:
                assert again is taken
                with pytest.raises(forebay.PoolTimeoutError), pool.connection(), pool.connection(timeout=0):
                    pass
        assert not pool.checked_out()
    assert pool.get_stats()["returns_bad"] == 0


def test_an_end_that_brings_the_object_back_is_the_last_to_do_so(pool_of):
    raises = []

    def end(taken, error):
        pool.putconn(taken)
        if raises:
            raise raises[0]

    pool = pool_of(max_size=1, end=end)
    with pool.connection():
        pass
    raises.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError), pool.connection():
        pass
    with pytest.raises(KeyError), pool.connection():
        raise KeyError
    assert not pool.checked_out()
    assert pool.get_stats()["pool_available"] == 1


def test_what_was_idle_before_its_first_use_is_checked_too(server, pool_of):
    pool = pool_of(min_size=3, max_size=3, check=lambda connection: connection.ping())
    pool.wait()
    for connection in server.made:
        connection.broken = True
    with pool.connection() as connection:
        connection.ping()
    assert pool.get_stats()["connections_lost"] == 3
