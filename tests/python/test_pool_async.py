# SPDX-License-Identifier: Apache-2.0
"""AsyncPool: as Pool, in an event loop; cancelled anywhere, nothing is lost."""

import asyncio
import time

import pytest

import forebay
from pooled import Call, Server


@pytest.fixture
def server():
    return Server()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


async def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.001)


def test_the_object_is_back_after_the_block_and_used_again(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect, max_size=2) as pool:
            async with pool.connection() as first:
                assert pool.checked_out()[0].object is first
            async with pool.connection(timeout=0) as second:
                assert second is first
            assert pool.checked_out() == []
            connection = await pool.getconn()
            await pool.putconn(connection)
            with pytest.raises(forebay.PoolError, match="returned to the pool before"):
                await pool.putconn(connection)
        assert first.closed

    run(work())


def test_a_checkout_without_waiting_does_not_suspend(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect) as pool:
            await pool.wait()
            steps = []
            asyncio.get_running_loop().call_soon(steps.append, "another")
            for _ in range(3):
                async with pool.connection():
                    steps.append("checked out")
            assert steps == ["checked out"] * 3

    run(work())


def test_plain_functions_and_coroutine_functions_are_hooks(server):
    async def work(connect, hook):
        seen = []
        options = {name: hook(seen, name) for name in ("check", "reset", "close")}
        async with forebay.AsyncPool(connect, end=lambda c, error: seen.append(("end", error)), **options) as pool:
            for _ in range(2):
                async with pool.connection():
                    pass
        assert seen == [("end", None), "reset", "check", ("end", None), "reset", "close"]

    def plain(seen, name):
        return lambda connection: seen.append(name)

    def coroutine(seen, name):
        async def hook(connection):
            await asyncio.sleep(0)
            seen.append(name)

        return hook

    run(work(server.aconnect, coroutine))
    run(work(server.connect, plain))


def test_who_waits_gets_one_in_the_order_of_coming(server):
    async def work():
        got = []
        async with forebay.AsyncPool(server.aconnect, max_size=1) as pool:

            async def take(number):
                async with pool.connection():
                    got.append(number)
                    await asyncio.sleep(0)

            await asyncio.gather(*(take(number) for number in range(20)))
        assert got == list(range(20))

    run(work())


def test_timeouts_and_max_waiting(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect, max_size=1, max_waiting=1) as pool:
            async with pool.connection():
                with pytest.raises(forebay.PoolTimeoutError, match="within 0.05 s: 1 of at most 1 are out"):
                    await pool.getconn(timeout=0.05)
                with pytest.raises(forebay.PoolTimeoutError):
                    await pool.getconn(timeout=0)
                waiting = asyncio.create_task(pool.getconn())
                await asyncio.sleep(0.01)
                with pytest.raises(forebay.TooManyRequestsError):
                    await pool.getconn()
            await pool.putconn(await waiting)
            assert pool.get_stats()["requests_errors"] == 3

    run(work())


def test_a_dead_object_is_found_by_check_and_another_one_is_given(server):
    async def work():
        async def check(connection):
            connection.ping()

        async with forebay.AsyncPool(server.aconnect, check=check, max_size=2) as pool:
            async with pool.connection() as first:
                pass
            first.broken = True
            async with pool.connection() as second:
                assert second is not first
            await until(lambda: first.closed)
            second.broken = True
            await pool.check()
            await until(lambda: second.closed and pool.get_stats()["pool_available"] == 1)
            assert pool.get_stats()["connections_lost"] == 2

    run(work())


def test_what_end_or_reset_refuses_is_closed(server, caplog):
    async def work():
        async def commit(connection, error):
            if not error:
                raise ConnectionError("commit failed")

        async def reset(connection):
            raise ConnectionError("reset failed too")

        async with forebay.AsyncPool(server.aconnect, end=commit, reset=reset) as pool:
            with pytest.raises(ConnectionError, match="commit failed"):
                async with pool.connection() as first:
                    pass
            with pytest.raises(ZeroDivisionError):
                async with pool.connection() as second:
                    1 / 0
            await until(lambda: first.closed and second.closed)
            assert pool.get_stats()["returns_bad"] == 2
        assert "reset failed too" in caplog.text

    run(work())


def test_it_tries_again_and_serves_who_waits(server):
    async def work():
        server.down = True
        async with forebay.AsyncPool(server.aconnect) as pool:
            with pytest.raises(forebay.PoolTimeoutError, match="the server is down") as caught:
                await pool.getconn(timeout=0.05)
            assert isinstance(caught.value.__cause__, ConnectionError)
            waiting = asyncio.create_task(pool.getconn())
            await until(lambda: server.attempts >= 2)
            server.down = False
            await pool.putconn(await waiting)

    run(work())


def test_lifetimes_idle_times_resize_and_drain(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect, min_size=2, max_size=3, max_lifetime=0.2, max_idle=0.05) as pool:
            await pool.wait()
            first = list(server.made)
            await until(lambda: all(c.closed for c in first) and len(server.open()) == 2)
            await pool.resize(1, 1)
            await until(lambda: len(server.open()) == 1)
            last = server.open()
            await pool.drain()
            await until(lambda: last[0].closed and len(server.open()) == 1)

    run(work())


def test_closing_refuses_who_waits_and_closes_what_comes_back(server):
    async def work():
        pool = forebay.AsyncPool(server.aconnect, max_size=1)
        with pytest.raises(forebay.PoolClosedError, match="not open yet"):
            await pool.getconn()
        await pool.open(wait=True)
        out = await pool.getconn()
        waiting = asyncio.create_task(pool.getconn())
        await asyncio.sleep(0.01)
        await pool.close()
        with pytest.raises(forebay.PoolClosedError, match="was closed while this request waited"):
            await waiting
        await pool.putconn(out)
        await until(lambda: out.closed)
        with pytest.raises(forebay.PoolClosedError, match="make a new one"):
            await pool.open()

    run(work())


def test_wait_says_why_there_are_not_enough(server):
    async def work():
        server.down = True
        pool = forebay.AsyncPool(server.aconnect, min_size=2)
        with pytest.raises(forebay.PoolTimeoutError, match="had 0 of 2 objects"):
            await pool.open(wait=True, timeout=0.1)
        assert pool.closed

    run(work())


def test_a_pool_belongs_to_one_loop(server):
    pool = forebay.AsyncPool(server.aconnect)

    async def open_and_use():
        await pool.open()
        async with pool.connection():
            pass

    run(open_and_use())
    with pytest.raises(forebay.PoolError, match="belongs to another event loop"):
        run(open_and_use())


def test_a_task_that_is_dropped_closes_what_it_held(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect, max_size=1) as pool:
            context = pool.connection()
            connection = await context.__aenter__()
            del context
            await until(lambda: connection.closed)
            async with pool.connection():
                pass

    run(work())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_cancelled_at_any_moment_nothing_is_lost(server, loop):
    """Each task is cancelled after another number of steps of the loop."""

    async def hook(connection, error=None):
        await asyncio.sleep(0)

    async def use(pool):
        async with pool.connection() as connection:
            assert not connection.closed
            await asyncio.sleep(0)

    async def work():
        options = {"max_size": 2, "check": hook, "reset": hook, "end": hook}
        async with forebay.AsyncPool(server.aconnect, **options) as pool:
            for steps in range(60):
                tasks = [asyncio.create_task(use(pool)) for _ in range(5)]
                for _ in range(steps % 20):
                    await asyncio.sleep(0)
                for task in tasks[steps % 3 :: 2]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                stats = pool.get_stats()
                assert stats["requests_waiting"] == 0 and pool.checked_out() == []
                assert len(server.open()) <= 2
            for _ in range(3):  # all of it is there
                async with pool.connection(timeout=10), pool.connection(timeout=10):
                    pass

    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    else:
        run(work())


def test_the_place_of_each_checkout_is_the_users_line(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect) as pool:
            async with pool.connection():
                (out,) = pool.checked_out()
            connection = await pool.getconn()
            (other,) = pool.checked_out()
            await pool.putconn(connection)
        return out, other

    out, other = run(work())
    assert out.file == other.file == __file__ and other.line == out.line + 2


def test_a_request_whose_object_was_dead_keeps_its_place(server):
    go, got = asyncio.Event(), []

    async def check(connection):
        if connection.broken:
            await go.wait()
            raise ConnectionError

    async def work():
        async with forebay.AsyncPool(server.aconnect, max_size=1, max_waiting=1, check=check) as pool:
            async with pool.connection() as connection:
                connection.broken = True

            async def take(name):
                async with pool.connection(timeout=20):
                    got.append(name)

            first = asyncio.ensure_future(take("first"))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(take("second"))
            await until(lambda: pool.get_stats()["requests_waiting"] == 1)
            server.gate.clear()
            go.set()
            await until(lambda: pool.get_stats()["requests_waiting"] == 2)
            server.gate.set()
            await asyncio.gather(first, second)
        assert got == ["first", "second"]

    run(work())


def test_what_a_dropped_pool_has_idle_is_closed(server):
    async def work():
        pool = forebay.AsyncPool(server.aconnect, min_size=2)
        await pool.open(wait=True)
        del pool
        await until(lambda: server.open() == [])

    run(work())


def test_a_worker_cancelled_before_it_begins_leaves_its_place_to_others(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect, max_size=1) as pool:
            waiting = asyncio.ensure_future(pool.getconn(timeout=20))
            while not pool._workers.tasks:
                await asyncio.sleep(0)
            for task in list(pool._workers.tasks):
                task.cancel()
            await pool.putconn(await waiting)
            assert server.attempts == 1 and pool.get_stats()["pool_size"] == 1

    run(work())


def test_a_loop_ends_though_a_pool_in_it_was_not_closed(server):
    """Whatever its tasks were at when they were cancelled."""

    async def work(steps):
        pool = forebay.AsyncPool(server.aconnect, min_size=2)
        await pool.open(wait=True)
        pool._need_worker()
        for _ in range(steps):
            await asyncio.sleep(0)
        return pool

    for steps in range(6):
        Call(asyncio.run, work(steps)).result()


def test_no_task_is_left_after_close(server):
    async def work():
        async with forebay.AsyncPool(server.aconnect, min_size=3) as pool:
            await pool.wait()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(work())


def test_what_a_block_gave_back_itself_is_not_brought_back_again(server):
    async def main():
        async with forebay.AsyncPool(server.aconnect, max_size=1) as pool:
            for _ in range(3):
                async with pool.connection() as taken:
                    await pool.putconn(taken)
                    async with pool.connection() as again:
                        assert again is taken
                assert not pool.checked_out()

    asyncio.run(main())


def test_what_is_given_back_while_its_block_ends_is_given_back_once(server):
    async def main():
        ending = asyncio.Event()

        async def end(taken, error):
            ending.set()
            await asyncio.sleep(0)

        async with forebay.AsyncPool(server.aconnect, max_size=1, end=end) as pool:

            async def use():
                async with pool.connection() as taken:
                    taken_ones.append(taken)

            taken_ones = []
            task = asyncio.create_task(use())
            await ending.wait()
            await pool.putconn(taken_ones[0])
            await task
            assert not pool.checked_out()
            assert pool.get_stats()["pool_available"] == 1

    asyncio.run(main())


def test_the_end_of_the_loop_does_not_wait_for_a_pool_that_was_just_called(server, monkeypatch):
    """A cancellation that came together with a call was lost, and the loop waited for LINGER seconds."""
    monkeypatch.setattr("forebay._pool_async_workers.LINGER", 1000.0)

    async def main():
        pool = forebay.AsyncPool(server.aconnect, max_size=1)
        await pool.open()
        async with pool.connection():
            pass
        await pool.drain()

    Call(asyncio.run, main()).result()
