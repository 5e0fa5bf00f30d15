# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.sqlalchemy under engines, sync and async, on a real server."""

import asyncio
import gc
import os
import signal
import warnings

import pytest
import sqlalchemy
from sqlalchemy import create_engine, event, exc, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

import forebay
from backends import Database, Watch, akeeps, keeps, stopped, storm
from forebay.pools.sqlalchemy import AsyncForebayPool, ForebayPool, poolclass
from forking import fork_to_run, wait_for
from pooled import Call, until

pytestmark = pytest.mark.long


@pytest.fixture
def database(postgres):
    database = Database(postgres, "test_pools_sqlalchemy")
    yield database
    database.close()


@pytest.fixture
def table(database):
    database.connection.execute("CREATE TABLE words (word text)")
    yield "words"
    database.connection.execute("DROP TABLE words")


def url_of(database, driver):
    """asyncpg by SQLAlchemy takes application_name another way."""
    url = database.url.replace("postgresql://", f"postgresql+{driver}://")
    return url if driver == "psycopg" else url.replace(f"&application_name={database.application}", "")


@pytest.fixture
def engine_of(database):
    engines = []

    def make(kind=ForebayPool, **options):
        engines.append(create_engine(url_of(database, "psycopg"), poolclass=kind, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def pid_of(connection):
    return connection.scalar(text("SELECT pg_backend_pid()"))


def test_transactions_commit_and_roll_back(engine_of, database, table):
    engine = engine_of()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO words VALUES ('kept')"))
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        connection.execute(text("INSERT INTO words VALUES ('lost')"))
        1 / 0
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO words VALUES ('lost, too')"))
    assert [row[0] for row in database.connection.execute("SELECT word FROM words")] == ["kept"]


def test_a_connection_is_used_again(engine_of):
    engine = engine_of(pool_size=2, max_overflow=0)
    pids = set()
    for _ in range(3):
        with engine.connect() as connection:
            pids.add(pid_of(connection))
    assert len(pids) == 1
    pool = engine.pool
    assert (pool.size(), pool.checkedin(), pool.checkedout(), pool.overflow(), pool.timeout()) == (2, 1, 0, -1, 30.0)
    assert pool.get_stats()["requests_num"] == 3
    assert pool.status() == "Pool size: 2  Connections in pool: 1 Current Checked out connections: 0"


@pytest.mark.parametrize(("size", "overflow", "most"), [(2, 1, 3), (1, 0, 1), (0, 5, 2**31 - 1), (5, -1, 2**31 - 1)])
def test_sizes_are_queue_pools(engine_of, size, overflow, most):
    assert engine_of(pool_size=size, max_overflow=overflow).pool._objects.max_size == most


def test_who_waits_too_long_gets_sqlalchemys_error(engine_of):
    engine = engine_of(pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect():
        with pytest.raises(exc.TimeoutError, match="1 of at most 1 are out"):
            engine.connect()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def test_too_many_who_wait_get_sqlalchemys_error(engine_of):
    engine = engine_of(poolclass(max_waiting=1), pool_size=1, max_overflow=0)
    with engine.connect():
        waiting = Call(lambda: engine.connect().close())
        until(lambda: engine.pool.get_stats()["requests_waiting"] == 1)
        with pytest.raises(exc.TimeoutError, match="max_waiting"):
            engine.connect()
    waiting.result()


def test_an_error_to_connect_is_the_callers_at_once(database):
    engine = create_engine(url_of(database, "psycopg").replace("/postgres?", "/no_such_database?"), poolclass=ForebayPool, pool_size=1)
    for _ in range(3):
        with pytest.raises(exc.OperationalError, match="no_such_database"):
            engine.connect()
    assert engine.pool.checkedout() == 0


def test_pre_ping_replaces_what_the_server_ended(engine_of, database):
    engine = engine_of(pool_pre_ping=True)
    with engine.connect() as connection:
        pid = pid_of(connection)
    database.terminate(pid)
    with engine.connect() as connection:
        assert pid_of(connection) != pid


def test_without_pre_ping_the_one_after_the_error_is_new(engine_of, database):
    engine = engine_of(pool_size=1, max_overflow=0)
    with pytest.raises(exc.DBAPIError), engine.connect() as connection:
        pid = pid_of(connection)
        database.terminate(pid)
        connection.execute(text("SELECT 1"))
    with engine.connect() as connection:
        assert pid_of(connection) != pid


def test_what_is_too_old_is_recycled(engine_of):
    engine = engine_of(pool_recycle=0)
    pids = set()
    for _ in range(2):
        with engine.connect() as connection:
            pids.add(pid_of(connection))
    assert len(pids) == 2


def test_what_is_invalidated_is_closed(engine_of, database):
    engine = engine_of()
    with engine.connect() as connection:
        pid = pid_of(connection)
        connection.rollback()
        connection.invalidate()
        assert pid_of(connection) != pid
    until(lambda: database.count() == 1)


def test_what_is_detached_is_the_callers(engine_of, database):
    engine = engine_of(pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        connection.detach()
        with engine.connect() as other:
            assert pid_of(other) != pid_of(connection)
    until(lambda: database.count() == 1)


def test_events_are_sqlalchemys(engine_of):
    engine, seen = engine_of(), []
    for name in ("connect", "checkout", "checkin", "reset", "close", "invalidate"):
        event.listen(engine, name, lambda *arguments, name=name: seen.append(name))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    engine.dispose()
    assert seen == ["connect", "checkout", "reset", "checkin", "close"] or seen == [
        "connect", "reset", "checkin", "checkout", "reset", "checkin", "close",
    ]  # fmt: skip


def test_dispose_closes_what_is_idle_and_what_comes_back_later(engine_of, database):
    engine = engine_of()
    with engine.connect() as in_use:
        with engine.connect():
            pass
        pid_of(in_use)
        assert database.count() == 2
        old = engine.pool
        engine.dispose()
        until(lambda: database.count() == 1)
        assert engine.pool is not old and isinstance(engine.pool, ForebayPool)
    until(lambda: database.count() == 0)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def test_a_connection_that_is_forgotten_comes_back(engine_of):
    engine = engine_of(pool_size=1, max_overflow=0, pool_timeout=20)
    connection = engine.connect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del connection
        gc.collect()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def test_sqlite_in_a_file(folder):
    engine = create_engine(f"sqlite:///{folder}/words.db", poolclass=ForebayPool, pool_size=2)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE words (word text)"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO words VALUES ('one')"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM words")) == 1
    engine.dispose()


def test_a_child_has_connections_of_its_own_without_dispose(engine_of):
    engine = engine_of()
    with engine.connect() as connection:
        mine = pid_of(connection)

    def child():
        with engine.connect() as connection:
            assert pid_of(connection) != mine

    wait_for(fork_to_run(child))
    with engine.connect() as connection:
        assert pid_of(connection) == mine


def test_an_engine_made_before_a_fork_and_used_after_it_works(engine_of):
    engine = engine_of()

    def child():
        with engine.connect() as connection:
            pid_of(connection)

    wait_for(fork_to_run(child))


def test_a_child_may_dispose(engine_of):
    engine = engine_of()
    with engine.connect() as connection:
        mine = pid_of(connection)

    def child():
        engine.dispose(close=False)
        with engine.connect() as connection:
            assert pid_of(connection) != mine
        engine.dispose()

    wait_for(fork_to_run(child))
    with engine.connect() as connection:
        assert pid_of(connection) == mine


def test_the_server_never_counts_more_than_host_max(database, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        kind = poolclass(arena=arena, host_max=4, name="storm")
        engine = create_engine(url_of(database, "psycopg"), poolclass=kind, pool_size=3, max_overflow=0, pool_timeout=60)

        def use():
            while goes_on():
                with engine.connect() as connection:
                    connection.execute(text("SELECT pg_sleep(0.001)"))

        for call in [Call(use) for _ in range(3)]:
            call.result(60)
        engine.dispose()

    with Watch(database.count) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 50
    assert 2 <= watch.most <= 4


def test_a_permit_is_given_back_when_the_server_has_hung_up(engine_of, arena, patient):
    engine = engine_of(poolclass(arena=arena, host_max=1, name="shop"), pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        pid = pid_of(connection)
    with stopped(pid):
        disposed = Call(engine.dispose)
        assert keeps(lambda: arena.limits()["shop"]["held"] == 1)
    disposed.result()
    until(lambda: arena.limits()["shop"]["held"] == 0)


def test_async_a_permit_is_given_back_when_the_server_has_hung_up(async_engine_of, arena, patient):
    async def main():
        engine = async_engine_of(poolclass(arena=arena, host_max=1, name="shop", asyncio=True), pool_size=1, max_overflow=0)
        async with engine.connect() as connection:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
        with stopped(pid):
            await engine.sync_engine.pool._objects.drain()
            assert await akeeps(lambda: arena.limits()["shop"]["held"] == 1)
        while arena.limits()["shop"]["held"]:
            await asyncio.sleep(0.001)
        await engine.dispose()

    asyncio.run(main())


def test_the_connections_of_a_killed_holder_are_there_for_others(database, path, arena):
    read, write = os.pipe()

    def engine_on(mine):
        kind = poolclass(arena=mine, host_max=2, name="killed")
        return create_engine(url_of(database, "psycopg"), poolclass=kind, pool_size=2, max_overflow=0, pool_timeout=20)

    def hold():
        engine = engine_on(forebay.open(path))
        taken = [engine.connect() for _ in range(2)]
        os.write(write, b"x")
        signal.pause()
        del taken

    pid = fork_to_run(hold)
    assert os.read(read, 1) == b"x"
    engine = engine_on(arena)
    os.kill(pid, signal.SIGKILL)
    wait_for(pid, -signal.SIGKILL)
    with engine.connect(), engine.connect():
        pass
    engine.dispose()
    os.close(read)
    os.close(write)


def test_a_class_keeps_its_options_and_recreates_with_them(engine_of, arena):
    kind = poolclass(arena=arena, host_max=4, name="kept", leak_after=7)
    engine = engine_of(kind, pool_size=3, max_overflow=1, pool_timeout=5, pool_recycle=100, pool_pre_ping=True)
    for _ in range(2):
        pool = engine.pool
        assert type(pool) is kind and pool._objects.name == "kept" and pool._objects.leak_after == 7
        assert (pool.size(), pool._objects.max_size, pool.timeout(), pool._recycle, pool._pre_ping) == (3, 4, 5, 100, True)
        engine.dispose()
    with pytest.raises(ValueError, match="go together"):
        poolclass(host_max=4)


def test_an_engine_may_be_disposed_of_after_its_arena_was_closed(engine_of, path):
    with forebay.open(path, "1MiB") as arena:
        engine = engine_of(poolclass(arena=arena, host_max=4, name="closed"))
        with engine.connect():
            pass
    engine.dispose()
    with pytest.raises(forebay.ClosedError):
        engine.connect()


def test_arguments_are_queue_pools():
    """So that create_engine() finds them."""
    assert set(sqlalchemy.util.get_cls_kwargs(QueuePool)) <= set(sqlalchemy.util.get_cls_kwargs(ForebayPool))


# ---- async engines ----


@pytest.fixture(params=["psycopg", "asyncpg"])
def driver(request):
    return request.param


@pytest.fixture
def async_engine_of(database, driver):
    def make(kind=AsyncForebayPool, **options):
        if driver == "asyncpg":
            options["connect_args"] = {"server_settings": {"application_name": database.application}}
        return create_async_engine(url_of(database, driver), poolclass=kind, **options)

    return make


def test_async_transactions_commit_and_roll_back(async_engine_of, database, table):
    async def main():
        engine = async_engine_of(pool_size=2, max_overflow=0)
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO words VALUES ('kept')"))
        with pytest.raises(ZeroDivisionError):
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO words VALUES ('lost')"))
                1 / 0
        assert database.count() == 1
        await engine.dispose()
        while database.count():
            await asyncio.sleep(0.001)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM words")) == 1
        await engine.dispose()

    asyncio.run(main())


def test_async_tasks_share_few_connections(async_engine_of, database):
    async def main():
        engine = async_engine_of(pool_size=2, max_overflow=0)

        async def use():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(0.001)"))

        with Watch(database.count) as watch:
            await asyncio.gather(*(use() for _ in range(100)))
        assert 1 <= watch.most <= 2
        await engine.dispose()

    asyncio.run(main())


def test_async_who_waits_too_long_gets_sqlalchemys_error(async_engine_of):
    async def main():
        engine = async_engine_of(pool_size=1, max_overflow=0, pool_timeout=0.05)
        async with engine.connect():
            with pytest.raises(exc.TimeoutError, match="1 of at most 1 are out"):
                await engine.connect()
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        await engine.dispose()

    asyncio.run(main())


def test_async_what_the_server_ended_is_replaced(async_engine_of, database):
    async def main():
        engine = async_engine_of(pool_size=1, max_overflow=0, pool_pre_ping=True)
        async with engine.connect() as connection:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
        await asyncio.to_thread(database.terminate, pid)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT pg_backend_pid()")) != pid
        await engine.dispose()

    asyncio.run(main())


def test_async_cancelled_tasks_lose_no_connection(async_engine_of, database):
    async def main():
        engine = async_engine_of(pool_size=1, max_overflow=0)

        async def sleep():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(100)"))

        async with engine.connect():  # SQLAlchemy looks at the server the first time
            pass
        for _ in range(3):
            task = asyncio.create_task(sleep())
            while not database.active():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1
        await engine.dispose()

    asyncio.run(main())


def test_async_the_server_never_counts_more_than_host_max(async_engine_of, database, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        async def main():
            kind = poolclass(arena=arena, host_max=4, name="storm", asyncio=True)
            engine = async_engine_of(kind, pool_size=3, max_overflow=0, pool_timeout=60)

            async def use():
                while goes_on():
                    async with engine.connect() as connection:
                        await connection.execute(text("SELECT pg_sleep(0.001)"))

            await asyncio.gather(*(use() for _ in range(3)))
            await engine.dispose()

        asyncio.run(main())

    with Watch(database.count) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 50
    assert 2 <= watch.most <= 4
