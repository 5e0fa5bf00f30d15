# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.sqlite3: blocks, modes, forks."""

import logging
import sqlite3
from datetime import timedelta

import pytest

import forebay
from forebay.pools.sqlite3 import ConnectionPool
from forking import fork_to_run, wait_for
from pooled import Call, until


@pytest.fixture
def database(folder):
    path = folder / "a database?.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE words (word text)")
    connection.close()
    return path


@pytest.fixture
def pool(database):
    with ConnectionPool(database, max_size=3) as pool:
        yield pool


def words(database):
    connection = sqlite3.connect(database)
    found = [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]
    connection.close()
    return found


def test_a_block_commits_and_one_that_raises_rolls_back(pool, database):
    with pool.connection() as connection:
        connection.execute("INSERT INTO words VALUES ('kept')")
    with pytest.raises(ZeroDivisionError), pool.connection() as connection:
        connection.execute("INSERT INTO words VALUES ('lost')")
        1 / 0
    assert words(database) == ["kept"]


def test_a_transaction_that_is_open_at_the_return_is_rolled_back(pool, database, caplog):
    connection = pool.getconn()
    connection.execute("INSERT INTO words VALUES ('lost')")
    with caplog.at_level(logging.WARNING):
        pool.putconn(connection)
    assert "is rolled back" in caplog.text
    assert pool.getconn() is connection
    pool.putconn(connection)
    assert words(database) == []


def test_a_connection_goes_from_thread_to_thread(pool, database):
    with pool.connection() as first:
        first.execute("INSERT INTO words VALUES ('one')")

    def in_another():
        with pool.connection() as connection:
            assert connection is first
            connection.execute("INSERT INTO words VALUES ('two')")

    Call(in_another).result()
    assert words(database) == ["one", "two"]


def test_threads_write_without_losing_anything(database):
    with ConnectionPool(database, max_size=3, wal=True, busy_timeout=timedelta(seconds=30)) as pool:

        def write():
            for _ in range(25):
                with pool.connection() as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("INSERT INTO words VALUES ('word')")

        for call in [Call(write) for _ in range(6)]:
            call.result(60)
    assert len(words(database)) == 150


def test_wal_is_the_mode_of_the_file(database):
    with ConnectionPool(database, wal=True) as pool, pool.connection() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    shared = "file:shared?mode=memory&cache=shared"
    with ConnectionPool(shared, wal=True, connect_kwargs={"uri": True}) as pool:
        with pytest.raises(forebay.PoolTimeoutError, match="cannot be put into WAL mode"):
            pool.getconn(timeout=0.2)


def test_nothing_can_be_written_through_a_read_only_pool(database):
    for path, kwargs in ((database, {}), ("file:" + str(database).replace("?", "%3f"), {"uri": True})):
        with ConnectionPool(path, read_only=True, connect_kwargs=kwargs) as pool:
            with pytest.raises(sqlite3.OperationalError, match="readonly"), pool.connection() as connection:
                connection.execute("INSERT INTO words VALUES ('lost')")
    with ConnectionPool(database.with_name("none"), read_only=True) as pool:
        with pytest.raises(forebay.PoolTimeoutError, match="unable to open"):
            pool.getconn(timeout=0.2)
    assert not database.with_name("none").exists()


def test_a_database_in_memory_is_shared_if_it_says_so():
    with ConnectionPool("file:all?mode=memory&cache=shared", min_size=1, connect_kwargs={"uri": True}) as pool:
        with pool.connection() as one, pool.connection() as two:
            one.execute("CREATE TABLE t (n int)")
            one.commit()
            assert two.execute("SELECT count(*) FROM t").fetchone() == (0,)
    for alone in (":memory:", ""):
        with pytest.raises(ValueError, match="a database of its own"):
            ConnectionPool(alone)


def test_configure_sees_each_connection(database):
    def configure(connection):
        connection.row_factory = sqlite3.Row

    with ConnectionPool(database, configure=configure) as pool, pool.connection() as connection:
        assert connection.execute("SELECT 1 AS one").fetchone()["one"] == 1
    with pytest.raises(TypeError, match="configure is a function"):
        ConnectionPool(database, configure=1)


def test_a_configure_that_fails_leaves_no_connection(database):
    made = []

    def configure(connection):
        made.append(connection)
        raise ZeroDivisionError

    with ConnectionPool(database, configure=configure) as pool:
        with pytest.raises(forebay.PoolTimeoutError) as raised:
            pool.getconn(timeout=0.1)
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_what_is_closed_by_its_user_is_replaced(pool):
    with pytest.raises(sqlite3.ProgrammingError), pool.connection() as connection:
        connection.close()
    with pool.connection() as another:
        assert another is not connection
        assert another.execute("SELECT 1").fetchone() == (1,)
    assert pool.get_stats()["returns_bad"] == 1


@pytest.mark.parametrize("name", ["reset", "end", "close", "fileno"])
def test_hooks_of_the_pool_itself_are_not_to_be_given(database, name):
    with pytest.raises(TypeError, match=f"{name}= is this pool's own"):
        ConnectionPool(database, **{name: print})


def test_wal_and_read_only_do_not_go_together(database):
    with pytest.raises(ValueError, match="wal=True writes"):
        ConnectionPool(database, wal=True, read_only=True)


def test_a_misspelt_argument_is_named(database):
    with pytest.raises(TypeError, match="max_sise"):
        ConnectionPool(database, max_sise=3)


def test_a_child_has_connections_of_its_own(database):
    with ConnectionPool(database, wal=True) as pool:
        with pool.connection() as mine:
            mine.execute("INSERT INTO words VALUES ('parent')")

        def child():
            with pool.connection() as connection:
                assert connection is not mine
                connection.execute("INSERT INTO words VALUES ('child')")

        wait_for(fork_to_run(child))
        with pool.connection() as connection:
            assert connection is mine
            connection.execute("INSERT INTO words VALUES ('parent again')")
    assert words(database) == ["child", "parent", "parent again"]


def test_processes_stay_within_host_max(database, path, arena):
    with ConnectionPool(database, max_size=2, arena=arena, host_max=2, name="sqlite") as pool:
        with pool.connection(), pool.connection():

            def child():
                with forebay.open(path) as mine:
                    options = {"arena": mine, "host_max": 2, "name": "sqlite"}
                    with ConnectionPool(database, **options) as other, pytest.raises(forebay.PoolTimeoutError, match="host_max"):
                        other.getconn(timeout=0.2)

            wait_for(fork_to_run(child))
    until(lambda: arena.limits()["sqlite"]["held"] == 0)
