# SPDX-License-Identifier: Apache-2.0
"""KeyboardInterrupt at every line of what a pool does in the caller's thread: nothing is lost."""

import gc
import sys
import threading

import pytest

import forebay
from pooled import Server, until


class Stop(BaseException):
    pass


def stop_at(number):
    """A trace function that raises Stop at the n-th line of the pools' own files; the rest of a
    list: how many lines were not reached."""
    left = [number]

    def trace(frame, event, argument):
        if "_pool" not in frame.f_code.co_filename.rsplit("/", 1)[-1] or "test_" in frame.f_code.co_filename:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                raise Stop
        return trace

    return trace, left


def use(pool):
    with pool.connection(timeout=10):
        pass


def get_and_put(pool):
    pool.putconn(pool.getconn(timeout=10))


def fail(pool):
    with pytest.raises(forebay.PoolTimeoutError):
        with pool.connection(), pool.connection(), pool.connection(timeout=0.002):
            pass


def check(pool):
    pool.check()


def wait(pool):
    pool.wait(timeout=10)


def resize(pool):
    pool.resize(0, 1)
    pool.resize(1, 2)


def drain(pool):
    pool.drain()


def works(pool, server):
    """All that it may have can be had, and no more."""
    pool.resize(1, 2)
    with pool.connection(timeout=10) as one, pool.connection(timeout=10) as other:
        assert one is not other and not one.closed and not other.closed
        until(lambda: len(server.open()) <= 2)
    assert pool.get_stats()["requests_waiting"] == 0 and pool.checked_out() == []


@pytest.mark.parametrize("what", [use, get_and_put, fail, check, wait, resize, drain])
@pytest.mark.parametrize("is_warm", [False, True])
def test_stopped_at_any_line_a_pool_goes_on(what, is_warm):
    for number in range(1, 400):
        server = Server()
        with forebay.Pool(server.connect, max_size=2, check=lambda c: c.ping(), reset=lambda c: c.reset()) as pool:
            if is_warm:
                pool.wait(timeout=10)
            trace, left = stop_at(number)
            sys.settrace(trace)
            try:
                what(pool)
            except Stop:
                pass
            finally:
                sys.settrace(None)
            gc.collect()
            if not (what is wait and pool.closed):
                works(pool, server)
        until(lambda: server.open() == [])
        if left[0] > 0:
            break
    else:
        raise AssertionError("it has no end")


@pytest.mark.parametrize("hook", ["check", "reset", "end"])
def test_stopped_in_a_hook_the_object_is_closed_and_another_one_taken(hook):
    server = Server()
    stops = [True]

    def stop(connection, error=None):
        if stops:
            stops.clear()
            raise Stop

    with forebay.Pool(server.connect, max_size=2, **{hook: stop}) as pool:
        with pytest.raises(Stop):
            for _ in range(2):
                with pool.connection() as connection:
                    pass
        until(lambda: connection.closed)
        works(pool, server)


def test_close_may_be_stopped_and_called_again():
    for number in range(1, 100):
        server = Server()
        pool = forebay.Pool(server.connect, min_size=2, max_size=2)
        pool.wait(timeout=10)
        trace, left = stop_at(number)
        sys.settrace(trace)
        try:
            pool.close()
        except Stop:
            pass
        finally:
            sys.settrace(None)
        pool.close()
        until(lambda: server.open() == [])
        if left[0] > 0:
            return


def test_a_storm_of_threads_against_one_pool():
    """Gets, returns, blocks that fail, checks, drains and resizes at once; then all of it is there."""
    import random

    server = Server()
    with forebay.Pool(server.connect, min_size=1, max_size=4, check=lambda c: c.ping(), max_lifetime=0.05) as pool:
        most = []

        def work(seed):
            dice = random.Random(seed)
            for _ in range(300):
                try:
                    with pool.connection(timeout=0.001 if dice.random() < 0.2 else 10) as connection:
                        assert not connection.closed
                        most.append(len(server.open()))
                        connection.broken = dice.random() < 0.05
                        if dice.random() < 0.1:
                            raise KeyError
                except (KeyError, forebay.PoolTimeoutError):
                    pass
                if dice.random() < 0.02:
                    dice.choice([pool.check, pool.drain, lambda: pool.resize(dice.randrange(3), 4)])()

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) <= 4
        works(pool, server)
