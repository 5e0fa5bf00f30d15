# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.psycopg on a real server: psycopg_pool's promises, and the machine's limit."""

import asyncio
import gc
import inspect
import logging
import os
import signal
import socket
import threading
import warnings
import weakref

import psycopg
import psycopg_pool
import pytest
from psycopg.pq import TransactionStatus

import forebay
from backends import Database, Watch, akeeps, keeps, stopped, storm
from forebay.pools import _hang_up
from forebay.pools.psycopg import AsyncConnectionPool, ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests
from forking import fork_to_run, wait_for
from pooled import Call, until

pytestmark = pytest.mark.long


@pytest.fixture
def database(postgres):
    database = Database(postgres, "test_pools_psycopg")
    yield database
    database.close()


@pytest.fixture
def table(database):
    database.connection.execute("CREATE TABLE words (word text)")
    yield "words"
    database.connection.execute("DROP TABLE words")


@pytest.fixture
def pool(database):
    with ConnectionPool(database.conninfo, min_size=1, max_size=2, timeout=20) as pool:
        yield pool


def words(database):
    return [word for (word,) in database.connection.execute("SELECT word FROM words ORDER BY word")]


# ---- as psycopg_pool ----


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ConnectionPool, psycopg_pool.ConnectionPool), (AsyncConnectionPool, psycopg_pool.AsyncConnectionPool)],
)
def test_arguments_are_psycopg_pools_and_more(ours, theirs):
    ours, theirs = (inspect.signature(one).parameters for one in (ours, theirs))
    assert set(ours) - set(theirs) == {"leak_after", "arena", "host_max", "update"}
    assert set(theirs) <= set(ours)
    for name, parameter in theirs.items():
        if isinstance(parameter.default, (int, float, str, bool, type(None))):
            assert ours[name].default == parameter.default, name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ConnectionPool, psycopg_pool.ConnectionPool), (AsyncConnectionPool, psycopg_pool.AsyncConnectionPool)],
)
def test_methods_are_psycopg_pools(ours, theirs):
    documented = {
        "connection", "getconn", "putconn", "open", "close", "wait", "resize", "check", "drain", "get_stats", "pop_stats",
        "check_connection", "closed", "min_size", "max_size",
    }  # fmt: skip
    assert documented <= set(dir(theirs))
    assert documented <= set(dir(ours))


def test_a_block_commits(pool, database, table):
    with pool.connection() as connection:
        connection.execute("INSERT INTO words VALUES ('kept')")
    assert words(database) == ["kept"]


def test_a_block_that_raises_rolls_back(pool, database, table):
    with pytest.raises(ZeroDivisionError), pool.connection() as connection:
        connection.execute("INSERT INTO words VALUES ('lost')")
        1 / 0
    assert words(database) == []
    with pool.connection() as again:
        assert again is connection


def test_a_commit_that_fails_reaches_the_caller(pool, database):
    database.connection.execute("CREATE TABLE strict (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    try:
        with pytest.raises(psycopg.errors.UniqueViolation), pool.connection() as connection:
            connection.execute("INSERT INTO strict VALUES (1), (1)")
        with pool.connection() as connection:
            connection.execute("SELECT 1")
    finally:
        database.connection.execute("DROP TABLE strict")


@pytest.mark.parametrize("statement", ["INSERT INTO words VALUES ('lost')", "SELECT nonsense"])
def test_a_transaction_that_is_open_at_the_return_is_rolled_back(pool, database, table, caplog, statement):
    connection = pool.getconn()
    try:
        connection.execute(statement)
    except psycopg.Error:
        pass
    with caplog.at_level(logging.WARNING, "forebay.pool"):
        pool.putconn(connection)
    assert "rolling back" in caplog.text
    assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    assert pool.getconn() is connection
    pool.putconn(connection)
    assert words(database) == []


def test_what_comes_back_in_the_midst_of_a_command_is_closed(pool, caplog):
    connection = pool.getconn()
    connection.pgconn.send_query(b"SELECT pg_sleep(100)")
    pool.putconn(connection)
    until(lambda: connection.closed)
    assert "in the midst of a command" in caplog.text
    assert pool.get_stats()["returns_bad"] == 1
    with pool.connection() as another:
        assert another is not connection


def test_what_is_broken_at_the_return_is_replaced(pool, database, caplog):
    with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
        database.terminate(connection.info.backend_pid)
        connection.execute("SELECT 1")
    with pool.connection() as another:
        assert another.execute("SELECT 1").fetchone() == (1,)
    assert pool.get_stats()["returns_bad"] == 1


def test_with_check_connection_nobody_gets_a_dead_one(database):
    with ConnectionPool(database.conninfo, min_size=2, check=ConnectionPool.check_connection) as pool:
        pool.wait()
        with pool.connection(), pool.connection():
            pass
        for pid in database.pids():
            database.terminate(pid)
        for _ in range(3):
            with pool.connection() as connection:
                connection.execute("SELECT 1")
        assert pool.get_stats()["connections_lost"] == 2


def test_check_connection_begins_no_transaction(pool):
    for autocommit in (False, True):
        with pool.connection() as connection:
            connection.autocommit = autocommit
            ConnectionPool.check_connection(connection)
            assert connection.pgconn.transaction_status == TransactionStatus.IDLE
            assert connection.autocommit is autocommit


def test_check_replaces_the_dead(pool, database):
    with pool.connection() as connection:
        pid = connection.info.backend_pid
    pool_with_check = ConnectionPool(database.conninfo, min_size=1, check=ConnectionPool.check_connection)
    with pool_with_check:
        pool_with_check.wait()
        (other,) = database.pids() - {pid}
        with pool_with_check.connection():
            pass
        database.terminate(other)
        pool_with_check.check()
        until(lambda: len(database.pids()) == 2)


def test_a_server_that_restarts_is_found_again(server_folder):
    from forebay.testing import servers

    folder = server_folder / "restarted"
    folder.mkdir()
    with servers.start_postgres(folder) as server:
        with ConnectionPool(server.conninfo, max_size=4, check=ConnectionPool.check_connection) as pool:
            with pool.connection() as connection:
                connection.execute("SELECT 1")
            server.stop()
            with pytest.raises(PoolTimeout) as raised, pool.connection(timeout=0.5):
                pass
            assert isinstance(raised.value.__cause__, psycopg.OperationalError)
            server.start()
            with pool.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_configure_sees_each_connection_and_is_to_leave_it_idle(database, caplog):
    seen = []

    def configure(connection):
        seen.append(connection)
        connection.autocommit = True

    with ConnectionPool(database.conninfo, min_size=2, configure=configure) as pool:
        pool.wait()
        with pool.connection() as connection:
            assert connection in seen and connection.autocommit

    with ConnectionPool(database.conninfo, min_size=1, configure=lambda c: c.execute("SELECT 1")) as pool:
        with pytest.raises(PoolTimeout) as raised, pool.connection(timeout=0.3):
            pass
        assert "left the connection in the state INTRANS" in str(raised.value.__cause__)
    until(lambda: database.count() == 0)


def test_reset_sees_what_comes_back_and_is_to_leave_it_idle(database):
    broken = threading.Event()

    def reset(connection):
        connection.execute("SELECT 1")
        if not broken.is_set():
            connection.rollback()

    with ConnectionPool(database.conninfo, min_size=1, reset=reset) as pool:
        with pool.connection() as connection:
            pass
        with pool.connection() as again:
            assert again is connection
            broken.set()
        until(lambda: connection.closed)
        assert pool.get_stats()["returns_bad"] == 1


def test_conninfo_and_kwargs_may_be_functions(database):
    with ConnectionPool(lambda: database.conninfo, kwargs=lambda: {"autocommit": True}, min_size=1) as pool:
        with pool.connection() as connection:
            assert connection.autocommit


def test_close_gives_back_where_that_is_asked_for(database, pool):
    with ConnectionPool(database.conninfo, min_size=1, close_returns=True) as returning:
        connection = returning.getconn()
        connection.close()
        assert not connection.closed
        assert returning.get_stats()["pool_available"] == 1
        with returning.connection() as again:
            assert again is connection
    until(lambda: connection.closed)
    connection = pool.getconn()
    connection.close()
    assert connection.closed
    pool.putconn(connection)


def test_a_block_of_the_connection_itself_does_not_close_it(pool, database, table):
    connection = pool.getconn()
    with connection:
        connection.execute("INSERT INTO words VALUES ('kept')")
    assert not connection.closed
    pool.putconn(connection)
    assert words(database) == ["kept"]


def test_errors_are_psycopgs_and_forebays(database):
    with ConnectionPool(database.conninfo, min_size=1, max_waiting=1) as pool:
        with pool.connection():
            with pytest.raises(PoolTimeout, match="1 of at most 1 are out") as timeout, pool.connection(timeout=0.05):
                pass
            waiting = Call(pool.getconn, 20)
            until(lambda: pool.get_stats()["requests_waiting"] == 1)
            with pytest.raises(TooManyRequests) as too_many:
                pool.getconn()
        pool.putconn(waiting.result())
    with pytest.raises(PoolClosed) as closed:
        pool.getconn()
    for error, base in ((timeout, forebay.PoolTimeoutError), (too_many, forebay.TooManyRequestsError), (closed, forebay.PoolClosedError)):
        assert isinstance(error.value, psycopg.OperationalError)
        assert isinstance(error.value, base)
    assert isinstance(timeout.value, TimeoutError)
    with pytest.raises(PoolClosed, match="not open yet"):
        ConnectionPool(database.conninfo, open=False).getconn()


def test_who_waits_at_the_close_is_told_so(database):
    pool = ConnectionPool(database.conninfo, min_size=1)
    connection = pool.getconn()
    waiting = Call(pool.getconn, 20)
    until(lambda: pool.get_stats()["requests_waiting"] == 1)
    pool.close()
    with pytest.raises(PoolClosed):
        waiting.result()
    pool.putconn(connection)
    until(lambda: connection.closed)


def test_wait_says_why_there_are_none(database):
    with pytest.raises(PoolTimeout, match="no_such_database"):
        ConnectionPool(f"{database.server.conninfo} dbname=no_such_database", min_size=1).wait(timeout=0.3)


def test_settings_can_be_asked_for(database):
    with ConnectionPool(database.conninfo, timeout=7, max_waiting=3, max_lifetime=60, max_idle=5, name="seven") as pool:
        assert (pool.timeout, pool.max_waiting, pool.max_lifetime, pool.max_idle, pool.name) == (7, 3, 60, 5, "seven")
        assert (pool.min_size, pool.max_size, pool.conninfo) == (4, 4, database.conninfo)


@pytest.mark.parametrize("argument", ["configure", "check", "reset"])
def test_a_hook_that_is_none_is_refused(database, argument):
    with pytest.raises(TypeError, match=f"{argument} is a function"):
        ConnectionPool(database.conninfo, **{argument: 5})


def test_a_pool_that_is_dropped_closes_nothing_that_is_out(database):
    pool = ConnectionPool(database.conninfo, min_size=1)
    connection = pool.getconn()
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    until(lambda: gone() is None)
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection._pool.putconn(connection)  # as its close() and Django do
    assert connection.closed


def test_many_threads_share_few_connections(database, table):
    with ConnectionPool(database.conninfo, min_size=0, max_size=3) as pool, Watch(database.count) as watch:

        def insert():
            for _ in range(20):
                with pool.connection() as connection:
                    connection.execute("INSERT INTO words VALUES ('word')")

        for call in [Call(insert) for _ in range(8)]:
            call.result()
    assert len(words(database)) == 160
    assert 1 <= watch.most <= 3 and watch.looks > 5


# ---- forks ----


def test_a_child_has_connections_of_its_own(pool, database):
    with pool.connection() as connection:
        mine = connection.info.backend_pid

    def child():
        with pool.connection() as connection:
            assert connection.info.backend_pid != mine
            assert connection.execute("SELECT 1").fetchone() == (1,)

    wait_for(fork_to_run(child))
    with pool.connection() as connection:
        assert connection.info.backend_pid == mine
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_childs_ordinary_end_does_not_end_the_parents_connection(pool):
    with pool.connection() as connection:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            del connection
            gc.collect()
            os._exit(0)
        os.close(write)
        assert os.read(read, 1) == b""
        os.close(read)
        os.waitpid(pid, 0)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_connections_of_a_killed_parent_end_though_a_child_lives(database):
    """The child has its descriptors, too; they are taken from it."""
    read, write = os.pipe()

    def parent():
        with ConnectionPool(database.conninfo, min_size=2) as pool:
            pool.wait()
            child = os.fork()
            if child == 0:
                os.write(write, f"{os.getpid()} ".encode())
                signal.pause()
            signal.pause()

    pid = fork_to_run(parent)
    child = int(os.read(read, 100))
    assert database.count() == 2
    os.kill(pid, signal.SIGKILL)
    wait_for(pid, -signal.SIGKILL)
    try:
        until(lambda: not database.rows())
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(read)
        os.close(write)


# ---- the machine's limit ----


def test_the_server_never_counts_more_than_host_max(database, path):
    """Processes that come, use connections, and are killed in the midst of it; those of the killed aside."""
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        with ConnectionPool(database.conninfo, min_size=0, max_size=4, timeout=60, arena=arena, host_max=5, name="storm") as pool:

            def use():
                while goes_on():
                    with pool.connection() as connection:
                        connection.execute("SELECT pg_sleep(0.001)")

            for call in [Call(use) for _ in range(3)]:
                call.result(60)

    with Watch(database.count) as watch:
        storm(path, work, processes=6, seconds=3)
    assert watch.looks > 50
    assert 3 <= watch.most <= 5


def test_the_connections_of_a_killed_holder_are_there_for_others(database, path, arena):
    read, write = os.pipe()

    def hold():
        with forebay.open(path) as mine, ConnectionPool(database.conninfo, min_size=3, arena=mine, host_max=3, name="killed") as pool:
            taken = [pool.getconn() for _ in range(3)]
            os.write(write, b"x")
            signal.pause()
            del taken

    pid = fork_to_run(hold)
    assert os.read(read, 1) == b"x"
    with ConnectionPool(database.conninfo, min_size=3, arena=arena, host_max=3, name="killed") as pool:
        with pytest.raises(PoolTimeout, match=f"3 that host_max allows this machine are held: 3 by process {pid}"):
            pool.getconn(timeout=0.3)
        os.kill(pid, signal.SIGKILL)
        wait_for(pid, -signal.SIGKILL)
        taken = [pool.getconn(timeout=20) for _ in range(3)]
        assert len({connection.info.backend_pid for connection in taken}) == 3
        for connection in taken:
            pool.putconn(connection)
    os.close(read)
    os.close(write)


# ---- asyncio ----


@pytest.fixture
def run():
    with warnings.catch_warnings():
        yield asyncio.run


def test_async_blocks_commit_and_roll_back(run, database, table):
    async def main():
        async with AsyncConnectionPool(database.conninfo, min_size=1, max_size=2) as pool:
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO words VALUES ('kept')")
            with pytest.raises(ZeroDivisionError):
                async with pool.connection() as connection:
                    await connection.execute("INSERT INTO words VALUES ('lost')")
                    1 / 0

    run(main())
    assert words(database) == ["kept"]


def test_async_transactions_left_open_are_rolled_back(run, database, caplog):
    async def main():
        async with AsyncConnectionPool(database.conninfo, min_size=1) as pool:
            connection = await pool.getconn()
            await connection.execute("SELECT 1")
            await pool.putconn(connection)
            assert connection.pgconn.transaction_status == TransactionStatus.IDLE
            connection = await pool.getconn()
            connection.pgconn.send_query(b"SELECT pg_sleep(100)")
            await pool.putconn(connection)
            async with pool.connection() as another:
                assert another is not connection
            assert connection.closed

    run(main())
    assert "rolling back" in caplog.text and "in the midst of a command" in caplog.text


def test_async_with_check_connection_nobody_gets_a_dead_one(run, database):
    async def main():
        check = AsyncConnectionPool.check_connection
        async with AsyncConnectionPool(database.conninfo, min_size=1, check=check) as pool:
            async with pool.connection() as connection:
                pid = connection.info.backend_pid
            await asyncio.to_thread(database.terminate, pid)
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            assert pool.get_stats()["connections_lost"] == 1
            await check(connection)

    run(main())


def test_async_hooks_may_be_coroutine_functions(run, database):
    async def conninfo():
        return database.conninfo

    async def kwargs():
        return {"autocommit": True}

    seen = []

    async def configure(connection):
        seen.append(connection)

    async def reset(connection):
        await connection.execute("SELECT 1")

    async def main():
        async with AsyncConnectionPool(conninfo, kwargs=kwargs, configure=configure, reset=reset, min_size=1) as pool:
            async with pool.connection() as connection:
                assert connection.autocommit
            assert seen == [connection]

    run(main())


def test_async_is_open_if_made_in_a_loop_and_otherwise_when_it_is_opened(run, database):
    early = AsyncConnectionPool(database.conninfo, min_size=1)

    async def main():
        with pytest.raises(PoolClosed, match="not open yet"):
            await early.getconn()
        await early.open()
        await early.close()
        pool = AsyncConnectionPool(database.conninfo, min_size=1)
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
        await pool.close()
        with pytest.raises(PoolClosed):
            await AsyncConnectionPool(database.conninfo, open=False).getconn()

    run(main())


def test_async_close_gives_back_where_that_is_asked_for(run, database):
    async def main():
        async with AsyncConnectionPool(database.conninfo, min_size=1, close_returns=True) as pool:
            connection = await pool.getconn()
            await connection.close()
            assert not connection.closed
            async with pool.connection() as again:
                assert again is connection
        assert connection.closed

    run(main())


def test_a_cancelled_task_loses_no_connection(run, database):
    async def main():
        async with AsyncConnectionPool(database.conninfo, min_size=1) as pool:

            async def sleep():
                async with pool.connection() as connection:
                    entered.set()
                    await connection.execute("SELECT pg_sleep(100)")

            for _ in range(3):
                entered = asyncio.Event()
                task = asyncio.create_task(sleep())
                await entered.wait()
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT 1")
                assert await cursor.fetchone() == (1,)
            assert pool.get_stats()["pool_size"] == 1

    run(main())


def test_async_pools_of_processes_stay_within_host_max(run, database, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        async def use(pool):
            while goes_on():
                async with pool.connection() as connection:
                    await connection.execute("SELECT pg_sleep(0.001)")

        async def main():
            options = {"arena": arena, "host_max": 4, "name": "async-storm", "timeout": 60}
            async with AsyncConnectionPool(database.conninfo, min_size=0, max_size=3, **options) as pool:
                await asyncio.gather(*(use(pool) for _ in range(3)))

        asyncio.run(main())

    with Watch(database.count) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 50
    assert 2 <= watch.most <= 4


def test_a_permit_is_given_back_when_the_server_has_hung_up(database, arena, patient):
    """Not before: another process would connect while the server still counts this one."""
    with ConnectionPool(database.conninfo, min_size=0, max_size=1, arena=arena, host_max=1, name="shop") as pool:
        with pool.connection() as connection:
            pid = connection.info.backend_pid
        with stopped(pid):
            pool.drain()
            until(lambda: connection.closed)
            assert keeps(lambda: arena.limits()["shop"]["held"] == 1)
        until(lambda: arena.limits()["shop"]["held"] == 0)


def test_async_a_permit_is_given_back_when_the_server_has_hung_up(run, database, arena, patient):
    async def main():
        options = {"arena": arena, "host_max": 1, "name": "shop"}
        async with AsyncConnectionPool(database.conninfo, min_size=0, max_size=1, **options) as pool:
            async with pool.connection() as connection:
                pid = connection.info.backend_pid
            with stopped(pid):
                await pool.drain()
                while not connection.closed:
                    await asyncio.sleep(0.001)
                assert await akeeps(lambda: arena.limits()["shop"]["held"] == 1)
            while arena.limits()["shop"]["held"]:
                await asyncio.sleep(0.001)

    run(main())


def test_a_server_that_does_not_hang_up_keeps_no_permit_for_ever(database, arena, monkeypatch):
    monkeypatch.setattr("forebay.pools._hang_up.PATIENCE", 0.05)
    with ConnectionPool(database.conninfo, min_size=0, max_size=1, arena=arena, host_max=1, name="shop") as pool:
        with pool.connection() as connection:
            pid = connection.info.backend_pid
        with stopped(pid):
            pool.drain()
            until(lambda: arena.limits()["shop"]["held"] == 0)


def test_what_has_no_socket_is_not_waited_for():
    assert _hang_up.another_end(None) is None and _hang_up.another_end(-1) is None
    _hang_up.wait_for_end(None)
    _hang_up.hang_up(None)
    with socket.socket() as never_connected:
        _hang_up.hang_up(never_connected)
