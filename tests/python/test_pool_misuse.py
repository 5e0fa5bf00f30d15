# SPDX-License-Identifier: Apache-2.0
"""Pools used as they should not be: an error that says so, and a pool that goes on."""

import threading

import pytest

import forebay
from pooled import Call, Server, until


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pool(server):
    with forebay.Pool(server.connect, max_size=2, name="shop") as pool:
        yield pool


def works(pool, server):
    with pool.connection(timeout=10) as one, pool.connection(timeout=10) as other:
        assert one is not other and not one.closed and not other.closed
    assert pool.checked_out() == []


def test_two_threads_that_enter_one_context_hold_one_object(pool, server):
    held = [pool.getconn(), pool.getconn()]
    context = pool.connection()
    entering = Call(context.__enter__)
    until(lambda: pool.get_stats()["requests_waiting"] == 1)
    with pytest.raises(forebay.PoolError, match="was entered already"):
        context.__enter__()
    for connection in held:
        pool.putconn(connection)
    assert entering.result() in held
    context.__exit__(None, None, None)
    works(pool, server)


def test_a_context_may_be_entered_after_a_wait_that_timed_out(pool, server):
    held = [pool.getconn(), pool.getconn()]
    context = pool.connection(timeout=0.001)
    with pytest.raises(forebay.PoolTimeoutError):
        context.__enter__()
    for connection in held:
        pool.putconn(connection)
    with context as connection:
        assert connection in held


def test_an_end_that_leaves_the_context_again_returns_the_object_once(server):
    def leave(connection, error):
        context.__exit__(None, None, None)
        context.abandon()

    with forebay.Pool(server.connect, max_size=2, end=leave) as pool:
        context = pool.connection()
        with context as connection:
            pass
        until(lambda: connection.closed)
        pool._configure(None, None, None, 30.0, 3600.0, 600.0, 0, ())
        works(pool, server)


@pytest.mark.parametrize("method", [("hand_out", False), ("take_back",), ("settle",), ("discard", True)])
def test_a_context_without_an_object_has_nothing_to_bring_back(pool, server, method):
    name, *arguments = method
    assert not getattr(pool.connection(), name)(*arguments)
    works(pool, server)


@pytest.mark.parametrize("method", [("hand_out", False), ("settle",), ("discard", True)])
def test_an_object_that_is_out_is_not_out_again(pool, server, method):
    name, *arguments = method
    context = pool.connection()
    with context, pytest.raises(forebay.PoolError, match="the object is out"):
        getattr(context, name)(*arguments)
    works(pool, server)


def test_an_object_returned_twice_at_once_is_back_once(pool, server):
    for _ in range(50):
        connection = pool.getconn()
        barrier = threading.Barrier(2)

        def put(connection=connection, barrier=barrier):
            barrier.wait(10)
            pool.putconn(connection)

        errors = []
        for call in [Call(put), Call(put)]:
            try:
                call.result()
            except forebay.PoolError as error:
                errors.append(error)
        assert len(errors) == 1
    assert len(server.made) == 1
    works(pool, server)
