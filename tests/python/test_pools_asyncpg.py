# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.asyncpg on a real server: as asyncpg's pool, and the machine's limit."""

import asyncio
import inspect
import io
import logging

import asyncpg
import pytest
import uvloop

import forebay
from backends import Database, Watch, akeeps, stopped, storm
from forebay.pools.asyncpg import Pool, create_pool
from forking import fork_to_run, wait_for

pytestmark = pytest.mark.long


@pytest.fixture
def database(postgres):
    database = Database(postgres, "test_pools_asyncpg")
    yield database
    database.close()


@pytest.fixture
def table(database):
    database.connection.execute("CREATE TABLE numbers (n int)")
    yield "numbers"
    database.connection.execute("DROP TABLE numbers")


def of(database, **options):
    return create_pool(database.url, **({"min_size": 1, "max_size": 2} | options))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    return asyncio.run if request.param == "asyncio" else uvloop.run


def test_methods_and_arguments_are_asyncpgs():
    theirs = {name for name in vars(asyncpg.Pool) if not name.startswith("_")}
    assert theirs - set(dir(Pool)) == {"set_connect_args", "get_init_size"}
    arguments = set(inspect.signature(asyncpg.create_pool).parameters) - set(inspect.signature(Pool).parameters)
    assert arguments == {"init_size", "loop", "connection_class", "record_class"} & arguments


def test_sizes_are_asyncpgs_and_the_least_is_no_more_than_the_most():
    for arguments, sizes in (({}, (10, 10)), ({"max_size": 3}, (3, 3)), ({"min_size": 0, "max_size": 3}, (0, 3))):
        pool = create_pool(**arguments)
        assert (pool.get_min_size(), pool.get_max_size()) == sizes
    with pytest.raises(ValueError, match="max_size"):
        create_pool(min_size=4, max_size=3)


def test_a_connection_is_had_by_await_and_by_async_with(run, database):
    async def main():
        async with of(database) as pool:
            async with pool.acquire() as connection:
                assert isinstance(connection, asyncpg.Connection)
                assert await connection.fetchval("SELECT 1") == 1
            again = await pool.acquire()
            assert again is connection
            await pool.release(again)
            acquired = pool.acquire()
            async with acquired:
                with pytest.raises(forebay.PoolError, match="entered already"):
                    await acquired.__aenter__()
        assert pool.is_closing()
        assert connection.is_closed()

    run(main())


def test_calls_on_the_pool_take_a_connection_each(database, table):
    async def main():
        pool = await of(database)
        assert await pool.execute("INSERT INTO numbers VALUES ($1)", 1) == "INSERT 0 1"
        await pool.executemany("INSERT INTO numbers VALUES ($1)", [(2,), (3,)])
        assert [row["n"] for row in await pool.fetch("SELECT n FROM numbers ORDER BY n")] == [1, 2, 3]
        assert await pool.fetchval("SELECT 1, 2", column=1) == 2
        assert tuple(await pool.fetchrow("SELECT 1, 2")) == (1, 2)
        assert [tuple(row) for row in await pool.fetchmany("SELECT $1::int", [(1,), (2,)])] == [(1,), (2,)]
        assert await pool.copy_records_to_table("numbers", records=[(4,)]) == "COPY 1"
        out = io.BytesIO()
        assert await pool.copy_from_table("numbers", output=out) == "COPY 4"
        assert await pool.copy_from_query("SELECT $1::int", 7, output=out) == "COPY 1"
        assert out.getvalue().split() == [b"1", b"2", b"3", b"4", b"7"]
        assert await pool.copy_to_table("numbers", source=io.BytesIO(b"8\n")) == "COPY 1"
        assert (pool.get_size(), pool.get_idle_size(), pool.get_min_size(), pool.get_max_size()) == (1, 1, 1, 2)
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await pool.execute("nonsense")
        assert pool.get_idle_size() == 1
        await pool.close()

    asyncio.run(main())


def test_what_comes_back_is_reset(run, database, table):
    async def main():
        async with of(database, max_size=1) as pool:
            async with pool.acquire() as connection:
                await connection.execute("BEGIN")
                await connection.execute("INSERT INTO numbers VALUES (1)")
                await connection.execute("SET work_mem = '1MB'")
                await connection.execute("SELECT pg_advisory_lock(1)")
            async with pool.acquire() as again:
                assert again is connection
                assert not again.is_in_transaction()
                assert await again.fetchval("SHOW work_mem") != "1MB"
                assert await again.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        assert database.ask("SELECT count(*) FROM numbers") == 0

    run(main())


def test_hooks_are_called_when_they_are_due(database):
    calls = []

    def note(name):
        async def hook(connection):
            calls.append(name)

        return hook

    async def main():
        async with of(database, init=note("init"), setup=note("setup"), reset=note("reset"), check=note("check")) as pool:
            for _ in range(2):
                async with pool.acquire() as connection:
                    await connection.execute("BEGIN")
                assert not connection.is_in_transaction()

    asyncio.run(main())
    assert calls == ["init", "setup", "reset", "check", "setup", "reset"]


def test_a_setup_that_fails_is_the_callers_error_and_closes_the_connection(database):
    async def setup(connection):
        raise ZeroDivisionError

    async def main():
        async with of(database, setup=setup) as pool:
            for _ in range(3):
                with pytest.raises(ZeroDivisionError):
                    await pool.acquire()
            assert pool.get_stats()["returns_bad"] == 3

    asyncio.run(main())


def test_an_init_that_fails_leaves_no_connection(database):
    async def init(connection):
        raise ZeroDivisionError

    async def main():
        async with of(database, init=init, acquire_timeout=0.3) as pool:
            with pytest.raises(TimeoutError) as raised:
                await pool.acquire()
            assert isinstance(raised.value.__cause__, ZeroDivisionError)

    asyncio.run(main())
    assert database.count() == 0


def test_what_the_server_ended_is_replaced(run, database):
    async def main():
        async with of(database, max_size=1) as pool:
            async with pool.acquire() as connection:
                await asyncio.to_thread(database.terminate, connection.get_server_pid())
                with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                    await connection.fetchval("SELECT 1")
            assert await pool.fetchval("SELECT 1") == 1
            async with pool.acquire() as idle:
                pass
            await asyncio.to_thread(database.terminate, idle.get_server_pid())
            while not idle.is_closed():
                await asyncio.sleep(0.001)
            assert await pool.fetchval("SELECT 1") == 1
            assert pool.get_stats()["connections_lost"] == 1

    run(main())


def test_a_connection_is_closed_after_max_queries(database):
    async def main():
        async with of(database, max_queries=3) as pool:
            pids = [await pool.fetchval("SELECT pg_backend_pid()") for _ in range(6)]
            assert len(set(pids)) > 1

    asyncio.run(main())


def test_who_waits_too_long_gets_a_timeout(database):
    async def main():
        async with of(database, max_size=1) as pool:
            async with pool.acquire():
                with pytest.raises(forebay.PoolTimeoutError, match="1 of at most 1 are out"):
                    await pool.acquire(timeout=0.05)
            assert await pool.fetchval("SELECT 1") == 1

    asyncio.run(main())


def test_cancelled_tasks_lose_no_connection(run, database):
    async def main():
        async with of(database, max_size=1) as pool:
            for _ in range(3):
                task = asyncio.create_task(pool.execute("SELECT pg_sleep(100)"))
                while not database.active():
                    await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await pool.fetchval("SELECT 1") == 1
            assert pool.get_size() == 1

    run(main())


def test_what_expired_is_not_used_again(database):
    async def main():
        async with of(database, max_size=1) as pool:
            pid = await pool.fetchval("SELECT pg_backend_pid()")
            await pool.expire_connections()
            assert await pool.fetchval("SELECT pg_backend_pid()") != pid

    asyncio.run(main())


def test_terminate_ends_all_at_once(database, caplog):
    async def main():
        pool = await of(database)
        connection = await pool.acquire()
        async with pool.acquire():
            pass
        pool.terminate()
        assert connection.is_closed()
        with pytest.raises(forebay.PoolClosedError):
            await pool.acquire()
        await pool.release(connection)
        while database.count():
            await asyncio.sleep(0.001)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert not caplog.records


@pytest.mark.parametrize(("argument", "value"), [("setup", 5), ("init", "x"), ("connect", 1), ("max_queries", 0), ("max_queries", "9")])
def test_wrong_arguments_are_refused(argument, value):
    with pytest.raises((TypeError, ValueError), match=argument):
        create_pool(**{argument: value})


def test_a_child_has_connections_and_a_loop_of_its_own(database):
    async def main():
        async with of(database) as pool:
            mine = await pool.fetchval("SELECT pg_backend_pid()")

            def child():
                async def go():
                    await pool.open()
                    assert await pool.fetchval("SELECT pg_backend_pid()") != mine
                    await pool.close()

                asyncio.events._set_running_loop(None)
                asyncio.run(go())

            wait_for(fork_to_run(child))
            assert await pool.fetchval("SELECT pg_backend_pid()") == mine

    asyncio.run(main())


def test_a_permit_is_given_back_when_the_server_has_hung_up(run, database, arena, patient):
    async def main():
        async with of(database, min_size=0, max_size=1, arena=arena, host_max=1, name="shop") as pool:
            async with pool.acquire() as connection:
                pid = connection.get_server_pid()
            with stopped(pid):
                await pool.drain()
                while not connection.is_closed():
                    await asyncio.sleep(0.001)
                assert await akeeps(lambda: arena.limits()["shop"]["held"] == 1)
            while arena.limits()["shop"]["held"]:
                await asyncio.sleep(0.001)

    run(main())


def test_the_server_never_counts_more_than_host_max(database, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        async def use(pool):
            while goes_on():
                await pool.execute("SELECT pg_sleep(0.001)")

        async def main():
            async with of(database, min_size=0, max_size=3, arena=arena, host_max=4, name="storm") as pool:
                await asyncio.gather(*(use(pool) for _ in range(3)))

        asyncio.run(main())

    with Watch(database.count) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 50
    assert 2 <= watch.most <= 4
