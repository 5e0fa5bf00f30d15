# SPDX-License-Identifier: Apache-2.0
"""batches() on a real PostgreSQL, by psycopg and asyncpg, and on aiosqlite."""

import asyncio
import contextlib
import gc
import threading
import warnings
from decimal import Decimal

import pytest

import forebay

psycopg = pytest.importorskip("psycopg")
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::ResourceWarning")]

EVERYTHING = """
    SELECT n AS id, n % 2 = 0 AS flag, n::float8 / 7 AS score, 'naïve ' || n AS name, decode(lpad(to_hex(n), 8, '0'), 'hex') AS raw,
        date '2024-01-01' + n AS day, time '01:02:03.456' AS clock, timestamp '2024-01-01' + n * interval '1 hour' AS local,
        timestamptz '2024-01-01 00:00+00' + n * interval '1 hour' AS moment, n * interval '1 second' AS span,
        (n / 4.0)::numeric(10, 2) AS price, md5(n::text)::uuid AS token, ARRAY[n, NULL] AS list,
        NULL::int AS nothing, CASE WHEN n % 3 = 0 THEN n END AS some
    FROM generate_series(1, 3000) AS n
"""
SERIES = "SELECT n AS id, 'name ' || n AS name FROM generate_series(1, %s) AS n"


@pytest.fixture
def connection(postgres):
    with psycopg.connect(postgres.conninfo) as connection:
        yield connection


def rows_of(batches):
    return [row for batch in batches for row in batch.to_tuples()]


def cursors(connection):
    """How many cursors are declared in this transaction."""
    return connection.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE 'forebay%'").fetchone()[0]


def test_psycopg2_gives_what_fetchall_gives(postgres):
    psycopg2 = pytest.importorskip("psycopg2")
    with contextlib.closing(psycopg2.connect(postgres.conninfo)) as connection:
        for query in (EVERYTHING, "SELECT 1 WHERE false"):
            cursor = connection.cursor()
            cursor.execute(query)
            expected = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()]
            for prefetch in (False, True):
                batches = forebay.batches(connection, query, max_bytes="64KiB", prefetch=prefetch)
                assert batches.columns == tuple(column[0] for column in cursor.description)
                assert rows_of(batches) == expected


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_psycopg_gives_what_fetchall_gives(connection, zone):
    connection.execute(f"SET TIME ZONE '{zone}'")
    expected = connection.execute(EVERYTHING).fetchall()
    assert rows_of(forebay.batches(connection, EVERYTHING, max_bytes="64KiB")) == expected
    assert rows_of(forebay.batches(connection.execute(EVERYTHING), max_bytes="64KiB")) == expected
    assert rows_of(forebay.batches(connection, EVERYTHING, max_bytes="64KiB", prefetch=True)) == expected
    (batch, *_) = forebay.batches(connection, EVERYTHING)
    assert batch.column("moment").type == f"timestamp[{zone}]"
    assert batch.column("price").type == "decimal(38, 2)"


def test_a_query_on_a_psycopg_connection_stays_on_the_server(connection):
    with forebay.batches(connection, SERIES, (1_000_000,), max_rows=10) as batches:
        assert len(next(batches)) == 10
        assert cursors(connection) == 1
        assert batches.columns == ("id", "name")
    assert cursors(connection) == 0
    for _ in forebay.batches(connection, SERIES, (1_000_000,), max_rows=10):
        break
    gc.collect()
    assert cursors(connection) == 0


def test_a_query_on_a_psycopg_connection_in_autocommit(connection):
    connection.autocommit = True
    batches = forebay.batches(connection, SERIES, (5000,), max_rows=1000)
    assert [len(batch) for batch in batches] == [1000] * 5
    assert cursors(connection) == 0


def test_a_psycopg_connection_that_makes_dicts_gives_the_same(postgres):
    with psycopg.connect(postgres.conninfo, row_factory=psycopg.rows.dict_row) as connection:
        expected = [(n, f"name {n}") for n in range(1, 101)]
        assert rows_of(forebay.batches(connection, SERIES, (100,))) == expected
        assert rows_of(forebay.batches(connection.execute(SERIES, (100,)))) == expected


def test_an_error_of_the_server_comes_after_the_rows_before(connection):
    found = []
    with pytest.raises(psycopg.errors.DivisionByZero):
        for batch in forebay.batches(connection, "SELECT 5 / (400 - n) FROM generate_series(1, 1000) AS n", max_rows=50):
            found += batch
    assert 0 < len(found) < 400


def test_a_query_that_fails_leaves_no_cursor(connection):
    with pytest.raises(psycopg.errors.UndefinedTable):
        forebay.batches(connection, "SELECT * FROM nowhere")
    connection.rollback()
    with pytest.raises(ValueError, match="there is no column 'x'"):
        forebay.batches(connection, SERIES, (5,), types={"x": "int64"})
    assert cursors(connection) == 0


def test_prefetch_has_a_thread_of_its_own(connection):
    fetchers = set()

    class Watched:
        def __init__(self, cursor):
            self.cursor, self.description, self.close = cursor, cursor.description, cursor.close

        def fetchmany(self, size):
            fetchers.add(threading.current_thread().name)
            return self.cursor.fetchmany(size)

    cursor = connection.cursor("c")
    cursor.execute(SERIES, (5000,))
    with forebay.batches(Watched(cursor), prefetch=True, max_rows=1000) as batches:
        assert sum(map(len, batches)) == 5000
    assert fetchers == {"forebay.batches"}


def test_arrow_knows_the_types_of_columns_without_values(connection):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(forebay.batches(connection, EVERYTHING, max_bytes="128KiB", types={"list": "text"}))
    table.validate(full=True)
    assert table.num_rows == 3000
    assert table.schema.field("nothing").type == pa.int64()
    empty = "SELECT 1::int8 AS a, 'x'::text AS b, 1.5::numeric AS c, now() AS d, null::uuid AS e LIMIT 0"
    table = pa.table(forebay.batches(connection, empty))
    assert table.schema.field("a").type == pa.int64() and table.schema.field("b").type == pa.string()
    assert table.schema.field("c").type == pa.null() and table.schema.field("e").type == pa.uuid()


def test_write_batches_to_postgres(connection):
    connection.execute("CREATE TEMPORARY TABLE t (id int, name text, price numeric)")
    cursor = connection.cursor()
    rows = ((n, f"name {n}", Decimal(n)) for n in range(2500))
    total = forebay.write_batches(rows, lambda some: cursor.executemany("INSERT INTO t VALUES (%s, %s, %s)", some))
    assert (total.rows, total.batches) == (2500, 3)
    assert connection.execute("SELECT count(*), sum(price) FROM t").fetchone() == (2500, sum(range(2500)))


# ---- asyncio


def test_psycopg_async_gives_what_fetchall_gives(postgres):
    async def main():
        async with await psycopg.AsyncConnection.connect(postgres.conninfo) as connection:
            expected = await (await connection.execute(EVERYTHING)).fetchall()
            batches = forebay.batches(connection, EVERYTHING, max_bytes="64KiB")
            assert isinstance(batches, forebay.AsyncBatches)
            assert [row async for batch in batches for row in batch.to_tuples()] == expected
            assert (batches.rows, batches.closed, batches.columns[0]) == (3000, True, "id")
            batches = forebay.batches(await connection.execute(EVERYTHING), max_bytes="64KiB")
            assert [row async for batch in batches for row in batch.to_tuples()] == expected
            async with forebay.batches(connection, EVERYTHING, max_rows=10) as batches:
                async for _ in batches:
                    break
            left = await connection.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE 'forebay%'")
            assert await left.fetchone() == (0,)
            with pytest.raises(psycopg.errors.UndefinedTable):
                async for _ in forebay.batches(connection, "SELECT * FROM nowhere"):
                    pass

    asyncio.run(main())


def test_asyncpg_gives_what_fetch_gives(postgres):
    asyncpg = pytest.importorskip("asyncpg")

    async def main():
        connection = await asyncpg.connect(postgres.url)
        expected = [tuple(record) for record in await connection.fetch(EVERYTHING)]
        batches = forebay.batches(connection, EVERYTHING, max_bytes="64KiB")
        assert [row async for batch in batches for row in batch.to_tuples()] == expected
        assert not connection.is_in_transaction()
        async with connection.transaction():
            for source in (connection.cursor(EVERYTHING), await connection.cursor(EVERYTHING)):
                batches = forebay.batches(source, max_bytes="64KiB")
                assert [row async for batch in batches for row in batch.to_tuples()] == expected
                assert batches.columns[:2] == ("id", "flag")
            batches = forebay.batches(connection.cursor("SELECT 1 WHERE false"))
            assert [batch async for batch in batches] == [] and batches.columns == ()
        await connection.close()

    asyncio.run(main())


def test_asyncpg_early_and_failing_ends_leave_no_transaction(postgres):
    asyncpg = pytest.importorskip("asyncpg")
    query = "SELECT n FROM generate_series(1, $1::int) AS n"

    async def main():
        connection = await asyncpg.connect(postgres.url)
        async with forebay.batches(connection, query, (100_000,), max_rows=10) as batches:
            async for batch in batches:
                assert batch.column(0).to_list() == list(range(1, 11))
                assert connection.is_in_transaction()
                break
        assert batches.closed and not connection.is_in_transaction()
        with pytest.raises(asyncpg.PostgresError):
            async for _ in forebay.batches(connection, "SELECT 5 / (400 - n) FROM generate_series(1, 1000) AS n"):
                pass
        assert not connection.is_in_transaction()
        with pytest.raises(asyncpg.UndefinedTableError):
            async for _ in forebay.batches(connection, "SELECT * FROM nowhere"):
                pass
        assert not connection.is_in_transaction()
        with pytest.raises(TypeError, match="a connection and a query"):
            forebay.batches(connection)
        await connection.close()

    asyncio.run(main())


def test_aiosqlite_gives_what_fetchall_gives(tmp_path):
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main():
        async with aiosqlite.connect(tmp_path / "file") as connection:
            await connection.execute("CREATE TABLE t (a, b)")
            await connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, str(i)) for i in range(1000)])
            expected = [(i, str(i)) for i in range(1000)]
            cursor = await connection.execute("SELECT * FROM t")
            assert [row async for batch in forebay.batches(cursor, max_rows=300) for row in batch.to_tuples()] == expected
            batches = forebay.batches(connection, "SELECT * FROM t WHERE a < ?", (10,))
            assert [row async for batch in batches for row in batch.to_tuples()] == expected[:10]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(main())


def test_one_task_at_a_time_and_no_prefetch(postgres):
    async def main():
        async with await psycopg.AsyncConnection.connect(postgres.conninfo) as connection:
            batches = forebay.batches(connection, SERIES, (1000,), max_rows=10)
            task = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(batches)
            assert len(await task) == 10
            await batches.aclose()
            assert "closed" in repr(batches)
            with pytest.raises(ValueError, match="without asyncio"):
                forebay.batches(connection, SERIES, (1,), prefetch=True)
            with pytest.raises(TypeError, match="a connection and a query"):
                forebay.batches(connection)

    asyncio.run(main())
