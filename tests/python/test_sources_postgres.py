# SPDX-License-Identifier: Apache-2.0
"""forebay.sources.Postgres on a real server, through psycopg and asyncpg, whoever lends the connections."""

import asyncio
import contextlib
import datetime
import inspect
import logging
import signal
import threading
import uuid
from decimal import Decimal

import asyncpg
import psycopg
import psycopg.rows
import psycopg_pool
import pytest
from psycopg.pq import TransactionStatus

import forebay
import forebay.pools.asyncpg
import forebay.pools.psycopg
from forebay.sources import Postgres, SourceError
from forebay.testing import servers
from pooled import Call, until

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

SYNC = ("function", "psycopg_pool", "forebay.pools", "forebay.Pool")
ASYNC = ("coroutine function", "psycopg_pool async", "forebay.pools async", "asyncpg function", "asyncpg", "forebay.pools.asyncpg")
TOKENS = [uuid.UUID(int=number) for number in range(1, 101)]


@pytest.fixture(scope="module")
def filled(postgres):
    """A server with some tables."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE TABLE shop.users (id int PRIMARY KEY, name text NOT NULL UNIQUE, score numeric(10, 2))")
        connection.execute("INSERT INTO shop.users SELECT n, 'user ' || n, n / 4.0 FROM generate_series(1, 100) AS n")
        connection.execute("CREATE TABLE shop.seats (tenant text, id bigint, free bool, PRIMARY KEY (tenant, id))")
        connection.execute("INSERT INTO shop.seats SELECT t, n, n % 2 = 1 FROM unnest(ARRAY['a', 'b']) AS t, generate_series(0, 49) AS n")
        yield postgres
        connection.execute("DROP SCHEMA shop CASCADE")


@pytest.fixture
def admin(filled):
    with psycopg.connect(filled.conninfo, autocommit=True) as connection:
        yield connection


@contextlib.contextmanager
def sync_source(server, kind):
    if kind == "function":
        yield lambda: psycopg.connect(server.conninfo)
    elif kind == "psycopg_pool":
        with psycopg_pool.ConnectionPool(server.conninfo, min_size=1, max_size=2, open=True) as pool:
            yield pool
    elif kind == "forebay.pools":
        with forebay.pools.psycopg.ConnectionPool(server.conninfo, min_size=1, max_size=2) as pool:
            yield pool
    else:
        with forebay.Pool(lambda: psycopg.connect(server.conninfo), max_size=2) as pool:
            yield pool


@contextlib.asynccontextmanager
async def async_source(server, kind):
    async def connect():
        return await psycopg.AsyncConnection.connect(server.conninfo)

    async def connect_asyncpg():
        return await asyncpg.connect(server.url)

    made = {
        "coroutine function": lambda: contextlib.nullcontext(connect),
        "asyncpg function": lambda: contextlib.nullcontext(connect_asyncpg),
        "psycopg_pool async": lambda: psycopg_pool.AsyncConnectionPool(server.conninfo, min_size=1, max_size=2, open=False),
        "forebay.pools async": lambda: forebay.pools.psycopg.AsyncConnectionPool(server.conninfo, min_size=1, max_size=2, open=False),
        "asyncpg": lambda: asyncpg.create_pool(server.url, min_size=1, max_size=2),
        "forebay.pools.asyncpg": lambda: forebay.pools.asyncpg.create_pool(server.url, min_size=1, max_size=2),
    }[kind]()
    async with made as source:
        yield source


class Reading:
    """Makes a source of one kind and asks it, in a loop of its own if it is asynchronous."""

    def __init__(self, server, kind):
        self.server, self.kind = server, kind
        self.asyncpg = "asyncpg" in kind
        self.number = "$1" if self.asyncpg else "%s"
        self.second = "$2" if self.asyncpg else "%s"

    def ask(self, *batches, **options):
        """The answer, or the list of answers, of a source with these options."""
        if self.kind in SYNC:
            with sync_source(self.server, self.kind) as lender:
                source = Postgres(lender, **options)
                assert not inspect.iscoroutinefunction(source.__call__)
                answers = [source(keys) for keys in batches]
        else:
            answers = asyncio.run(self._ask(batches, options))
        return answers[0] if len(answers) == 1 else answers

    async def _ask(self, batches, options):
        async with async_source(self.server, self.kind) as lender:
            source = Postgres(lender, **options)
            assert inspect.iscoroutinefunction(source.__call__)
            return [await source(keys) for keys in batches]


@pytest.fixture(params=[*SYNC, *ASYNC])
def reading(request, filled):
    return Reading(filled, request.param)


@pytest.fixture(params=["function", "coroutine function", "asyncpg function"])
def driver(request, filled):
    """One kind for each driver: where it does not matter who lends."""
    return Reading(filled, request.param)


def user(number):
    return {"id": number, "name": f"user {number}", "score": Decimal(number) / 4}


USERS = {"table": ("shop", "users"), "key": "id"}
SEATS = {"table": ("shop", "seats"), "key": ("tenant", "id")}


# ---- what is read ----


def test_rows_come_as_dicts_by_key_and_absent_ones_are_left_out(reading):
    first, second, none = reading.ask([3, 1, 1000, 3], [2], [], **USERS)
    assert first == {1: user(1), 3: user(3)}
    assert second == {2: user(2)}
    assert none == {}


def test_a_pool_of_connections_that_are_asynchronous_may_be_forebays_own(filled):
    async def main():
        for connect in (lambda: psycopg.AsyncConnection.connect(filled.conninfo), lambda: asyncpg.connect(filled.url)):
            async with forebay.AsyncPool(connect, max_size=1) as pool:
                assert await Postgres(pool, **USERS)([1]) == {1: user(1)}

    asyncio.run(main())


def test_a_cache_loads_through_it(filled, arena):
    with forebay.pools.psycopg.ConnectionPool(filled.conninfo, min_size=1) as pool:
        users = arena.cache("users", load_many=Postgres(pool, **USERS), absent_ttl=10)
        assert users.fetch_many([1, 2, 1000]) == {1: user(1), 2: user(2)}
        assert users.get(1) == user(1)
        assert users.is_absent(1000)


def test_a_cache_loads_through_it_in_a_loop(filled, arena):
    async def main():
        async with asyncpg.create_pool(filled.url, min_size=1) as pool:
            users = arena.cache("users", load_many=Postgres(pool, **USERS))
            assert await users.afetch_many([1, 2, 1000]) == {1: user(1), 2: user(2)}
            assert await asyncio.gather(users.afetch(3), users.afetch(4)) == [user(3), user(4)]

    asyncio.run(main())


def test_columns_are_those_that_were_asked_for(driver):
    assert driver.ask([5], **USERS, columns=["name"]) == {5: {"name": "user 5"}}
    assert driver.ask(["user 5"], table=("shop", "users"), key="name", columns=["score", "name"]) == {
        "user 5": {"score": Decimal("1.25"), "name": "user 5"}
    }


def test_several_columns_are_a_key_of_tuples(reading):
    asked = [("a", 1), ("b", 2), ("c", 1), ("a", 1)]
    assert reading.ask(asked, **SEATS, columns=["free"]) == {("a", 1): {"free": True}, ("b", 2): {"free": False}}


def test_many_gives_a_list_of_rows_and_without_it_two_rows_are_an_error(driver):
    found = driver.ask(["a", "none"], table=("shop", "seats"), key="tenant", columns=["id"], many=True)
    assert set(found) == {"a"}
    assert sorted(row["id"] for row in found["a"]) == list(range(50))
    with pytest.raises(SourceError, match="several rows for the key 'a': with many=True"):
        driver.ask(["a"], table=("shop", "seats"), key="tenant")


def test_a_query_of_ones_own_gets_the_list_of_keys(driver):
    query = f"SELECT id, upper(name) AS loud FROM shop.users WHERE id = ANY({driver.number}::bigint[])"
    assert driver.ask([1, 2, 1000], query=query, key="id") == {number: {"id": number, "loud": f"USER {number}"} for number in (1, 2)}
    assert driver.ask([1], query=query, key="id", row=lambda row: row["loud"]) == {1: "USER 1"}
    query = f"SELECT s.* FROM unnest({driver.number}::text[], {driver.second}::bigint[]) AS k(tenant, id) JOIN shop.seats AS s USING (tenant, id)"
    assert driver.ask([("a", 1)], query=query, key=("tenant", "id")) == {("a", 1): {"tenant": "a", "id": 1, "free": True}}


def test_a_query_must_give_the_key_and_each_column_once(driver):
    query = f"SELECT {{}} FROM shop.users WHERE id = ANY({driver.number}::bigint[])"
    with pytest.raises(SourceError, match="no column 'id', which key= names"):
        driver.ask([1], query=query.format("name"), key="id")
    with pytest.raises(SourceError, match="two columns 'id'"):
        driver.ask([1], query=query.format("id, id"), key="id")
    if not driver.asyncpg:
        with pytest.raises(SourceError, match="is to be a SELECT"):
            driver.ask([1], query="UPDATE shop.users SET name = name WHERE id = ANY(%s) AND false", key="id")


def test_keys_of_all_types_are_the_callers_own_objects(driver, admin):
    admin.execute(
        "CREATE TABLE shop.things (u uuid, d date, b bytea, t varchar(20), s smallint, n numeric, f bool, c char(5), x int GENERATED ALWAYS AS IDENTITY)"
    )
    try:
        day = datetime.date(2026, 1, 2)
        values = {"u": TOKENS[0], "d": day, "b": b"\0\xff", "t": "naïve %s", "s": -7, "n": 2**70, "f": True, "c": "exact"}
        admin.execute("INSERT INTO shop.things (u, d, b, t, s, n, f, c) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", list(values.values()))
        for column, value in values.items():
            found = driver.ask([value], table=("shop", "things"), key=column, columns=["x"])
            assert found == {value: {"x": 1}}, column
            (key,) = found
            assert key is value
        key = tuple(values.values())
        assert driver.ask([key], table=("shop", "things"), key=tuple(values), columns=["x"]) == {key: {"x": 1}}
    finally:
        admin.execute("DROP TABLE shop.things")


def test_a_padded_key_is_an_error_that_says_so(driver, admin):
    admin.execute("CREATE TABLE shop.codes (code char(5) PRIMARY KEY)")
    admin.execute("INSERT INTO shop.codes VALUES ('ab')")
    try:
        with pytest.raises(SourceError, match=r"the key 'ab   ' \(str\), which is not equal to any that was asked for, such as 'ab'"):
            driver.ask(["ab"], table=("shop", "codes"), key="code")
        assert driver.ask(["ab   "], table=("shop", "codes"), key="code") == {"ab   ": {"code": "ab   "}}
    finally:
        admin.execute("DROP TABLE shop.codes")


def test_a_key_of_another_type_is_an_error_of_its_own(driver, arena):
    found = driver.ask([True, 1, "2", TOKENS[0]], **USERS)
    assert found[1] == user(1)  # which True is equal to
    assert isinstance(driver.ask([True], **USERS)[True], TypeError)
    assert isinstance(found["2"], TypeError) and isinstance(found[TOKENS[0]], TypeError)
    assert "the column 'id' is of type bigint, which takes int, not str" in str(found["2"])
    found = driver.ask([("a", 1), ("a", "1"), (2, 1), "a"], **SEATS)
    assert found[("a", 1)]["free"] is True
    assert all(isinstance(found[key], TypeError) for key in [("a", "1"), (2, 1), "a"])


def test_what_cannot_be_a_key_of_the_database_is_absent(driver):
    assert driver.ask([2**63, -(2**70), 2**31, 1], **USERS) == {1: user(1)}
    assert driver.ask(["a\0b", "\ud800", "user 1"], table=("shop", "users"), key="name", columns=["id"]) == {"user 1": {"id": 1}}
    assert driver.ask([("a\0", 1)], **SEATS) == {}


@pytest.mark.parametrize("name", ['say "x"', "a.b", "sélect", "'; DROP TABLE users; --", "per%cent %s", "{x}", "a b?"])
def test_names_are_quoted(driver, admin, name):
    quoted = '"' + name.replace('"', '""').replace("%", "%%") + '"'
    admin.execute(f"CREATE TABLE shop.{quoted} ({quoted} int, other text)".replace("%%", "%"))
    admin.execute(f"INSERT INTO shop.{quoted} VALUES (1, 'x')".replace("%%", "%"))
    try:
        assert driver.ask([1], table=("shop", name), key=name) == {1: {name: 1, "other": "x"}}
        assert driver.ask([1], table=("shop", name), key=name, columns=[name]) == {1: {name: 1}}
        assert driver.ask([(1, "x")], table=("shop", name), key=(name, "other"), columns=["other"]) == {(1, "x"): {"other": "x"}}
    finally:
        admin.execute(f"DROP TABLE shop.{quoted}".replace("%%", "%"))


def test_what_does_not_exist_is_an_error(driver):
    undefined = (psycopg.errors.UndefinedTable, asyncpg.exceptions.UndefinedTableError)
    with pytest.raises(undefined):
        driver.ask([1], table=("shop", "nothing"), key="id")
    with pytest.raises(SourceError, match="has no column 'ident', which key= names"):
        driver.ask([1], table=("shop", "users"), key="ident")
    with pytest.raises((psycopg.errors.UndefinedColumn, asyncpg.exceptions.UndefinedColumnError)):
        driver.ask([1], **USERS, columns=["nmae"])


def test_enums_domains_and_views_have_keys_too(driver, admin):
    admin.execute("CREATE TYPE shop.\"mo%od\" AS ENUM ('good', 'bad')")
    admin.execute("CREATE DOMAIN shop.sku AS text CHECK (VALUE <> '')")
    admin.execute("CREATE TABLE shop.odd (mood shop.\"mo%od\", sku shop.sku)")
    admin.execute("CREATE VIEW shop.seen AS SELECT * FROM shop.odd")
    admin.execute("INSERT INTO shop.odd VALUES ('good', 'A-1')")
    try:
        row = {"mood": "good", "sku": "A-1"}
        assert driver.ask(["good", "bad"], table=("shop", "seen"), key="mood") == {"good": row}
        assert driver.ask(["A-1", ""], table=("shop", "odd"), key="sku") == {"A-1": row}
    finally:
        admin.execute("DROP TABLE shop.odd CASCADE; DROP TYPE shop.\"mo%od\"; DROP DOMAIN shop.sku")


def test_a_table_that_gets_a_column_is_read_on(driver, admin):
    admin.execute("CREATE TABLE shop.growing (id int PRIMARY KEY)")
    admin.execute("INSERT INTO shop.growing VALUES (1)")
    try:
        if driver.kind == "function":
            with psycopg_pool.ConnectionPool(driver.server.conninfo, min_size=1, max_size=1, kwargs={"prepare_threshold": 0}) as pool:
                source = Postgres(pool, table=("shop", "growing"), key="id")
                assert source([1]) == source([1]) == {1: {"id": 1}}
                admin.execute("ALTER TABLE shop.growing ADD COLUMN more int DEFAULT 5")
                admin.execute("ALTER TABLE shop.growing ALTER COLUMN id TYPE bigint")
                admin.execute("INSERT INTO shop.growing VALUES (9876543210)")
                assert source([1, 9876543210]) == {key: {"id": key, "more": 5} for key in (1, 9876543210)}
    finally:
        admin.execute("DROP TABLE shop.growing")


EVERYTHING = """
    CREATE TABLE shop.everything AS SELECT 1 AS id, true AS flag, 5::float8 / 7 AS score, 'naïve' AS name, '\\x00ff'::bytea AS raw,
        date '2024-01-01' AS day, time '01:02:03.456' AS clock, timestamp '2024-01-01 05:00' AS local,
        timestamptz '2024-01-01 00:00+00' AS moment, interval '26 hours' AS span, 12.50::numeric(10, 2) AS price,
        '00000000-0000-0000-0000-000000000001'::uuid AS token, ARRAY[1, NULL, 3] AS list, ARRAY['a', 'b'] AS texts, NULL::int AS nothing,
        '{"a": [1, null]}'::jsonb AS doc, '[1]'::json AS list_doc
"""


def test_types_that_a_cache_stores_come_back(driver, admin, arena):
    admin.execute(EVERYTHING)
    try:
        found = driver.ask([1], table=("shop", "everything"), key="id")[1]
        things = arena.cache("things")
        things.set(1, found)
        again = things.get(1)
    finally:
        admin.execute("DROP TABLE shop.everything")
    docs = ('{"a": [1, null]}', "[1]") if driver.asyncpg else ({"a": [1, None]}, [1])  # asyncpg has them as text
    utc = datetime.timezone.utc
    assert again == {
        "id": 1, "flag": True, "score": 5 / 7, "name": "naïve", "raw": b"\0\xff", "day": datetime.date(2024, 1, 1),
        "clock": datetime.time(1, 2, 3, 456000), "local": datetime.datetime(2024, 1, 1, 5), "moment": datetime.datetime(2024, 1, 1, tzinfo=utc),
        "span": datetime.timedelta(hours=26), "price": Decimal("12.50"), "token": uuid.UUID(int=1), "list": [1, None, 3], "texts": ["a", "b"],
        "nothing": None, "doc": docs[0], "list_doc": docs[1],
    }  # fmt: skip
    assert type(again["token"]) is uuid.UUID and type(again["raw"]) is bytes


@pytest.mark.parametrize("value", ["inet '10.0.0.1'", "int4range(1, 5)"])
def test_types_that_a_cache_cannot_store_are_its_error_and_row_is_the_way_out(driver, arena, value):
    query = f"SELECT 1 AS id, {value} AS odd WHERE 1 = ANY({driver.number}::bigint[])"
    found = driver.ask([1], query=query, key="id")[1]
    things = arena.cache("things")
    with pytest.raises(TypeError, match=r"cannot store.*odd"):
        things.set(1, found)
    things.set(1, driver.ask([1], query=query, key="id", row=lambda row: {**row, "odd": str(row["odd"])})[1])


def test_composite_types_of_asyncpg_are_dicts(filled, admin, arena):
    admin.execute("CREATE TYPE shop.place AS (city text, token uuid)")
    try:
        query = f"SELECT 1 AS id, ROW('Wien', '{TOKENS[0]}')::shop.place AS place, ARRAY[ROW('Graz', NULL)::shop.place] AS places WHERE 1 = ANY($1::bigint[])"
        found = Reading(filled, "asyncpg").ask([1], query=query, key="id")
    finally:
        admin.execute("DROP TYPE shop.place")
    assert found == {1: {"id": 1, "place": {"city": "Wien", "token": TOKENS[0]}, "places": [{"city": "Graz", "token": None}]}}
    arena.cache("things").set(1, found[1])


# ---- one round trip, by the index ----


@pytest.fixture(scope="module")
def large(filled):
    with psycopg.connect(filled.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE shop.large (id int PRIMARY KEY, tenant text, number bigint, token uuid UNIQUE, code char(8) UNIQUE)")
        connection.execute(
            "INSERT INTO shop.large SELECT n, 't' || n % 100, n, md5(n::text)::uuid, 'c' || n FROM generate_series(1, 100000) AS n"
        )
        connection.execute("CREATE UNIQUE INDEX ON shop.large (tenant, number)")
        connection.execute("ANALYZE shop.large")


@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("id", [1, 2**40, 2**62]), ("id", list(range(1, 101))), ("token", TOKENS), ("code", ["c1      "]),
        (("tenant", "number"), [(f"t{number % 100}", number) for number in range(1, 101)]),
    ],
)  # fmt: skip
def test_the_index_of_the_key_is_used(filled, large, plan, key, keys):
    from forebay.sources._postgres_sql import question_of_types, select, types_in
    from forebay.sources._shape import Batch, parse

    shape = parse(("shop", "large"), None, key, None, False, None)
    with psycopg.connect(filled.conninfo, autocommit=True) as connection:
        connection.execute(f"SET plan_cache_mode = {plan}")
        asked = question_of_types(shape, "psycopg")
        types = types_in(shape, connection.execute(asked.statement, asked.parameters).fetchall())
        statement = select(shape, types, "psycopg")
        lines = connection.execute(f"EXPLAIN {statement}", Batch(shape, keys).columns(), prepare=True).fetchall()
    text = "\n".join(line for (line,) in lines)
    assert "Seq Scan" not in text, text
    assert "Index Scan" in text or "Bitmap Index Scan" in text, text


def test_a_thousand_and_a_hundred_thousand_keys_are_one_statement(filled, large):
    found = Reading(filled, "function").ask(range(1, 100_001), table=("shop", "large"), key="id", columns=["number"])
    assert len(found) == 100_000 and found[77] == {"number": 77}
    keys = [(f"t{number % 100}", number) for number in range(1, 20_001)]
    assert len(Reading(filled, "asyncpg function").ask(keys, table=("shop", "large"), key=("tenant", "number"))) == 20_000


def test_a_call_is_one_round_trip(filled, tmp_path):
    """Beside the first, which asks for types: BEGIN and COMMIT would be two more."""
    with psycopg_pool.ConnectionPool(filled.conninfo, min_size=1, max_size=1) as pool:
        source = Postgres(pool, **USERS)
        source([1])
        with open(tmp_path / "trace", "w+b") as trace:
            with pool.connection() as connection:
                connection.pgconn.trace(trace.fileno())
            source([1, 2])
            with pool.connection() as connection:
                connection.pgconn.untrace()
        text = (tmp_path / "trace").read_text()
    assert "= ANY($1::bigint[])" in text
    assert not any(word in text for word in ("BEGIN", "COMMIT", "pg_attribute")), text
    assert text.count("\tF\t") - text.count("\tFlush") == text.count("= ANY") * 5, text  # Parse, Bind, Describe, Execute, Sync


# ---- connections ----


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_connection_comes_back_as_it_was(filled, autocommit):
    with psycopg.connect(filled.conninfo, autocommit=autocommit, row_factory=psycopg.rows.dict_row) as connection:
        with forebay.Pool(lambda: connection, max_size=1, close=lambda connection: None) as pool:
            assert Postgres(pool, **USERS)([1]) == {1: user(1)}
            for query in ("SELECT 1 / 0", "UPDATE shop.users SET name = name WHERE false"):
                with pytest.raises((psycopg.errors.DivisionByZero, SourceError)):
                    Postgres(pool, query=f"{query} -- %s", key="id")([1])
            assert connection.autocommit is autocommit
            assert connection.info.transaction_status == TransactionStatus.IDLE
            assert connection.row_factory is psycopg.rows.dict_row


@pytest.mark.parametrize("factory", [psycopg.RawCursor, psycopg.ClientCursor])
def test_a_cursor_factory_of_the_connection_is_for_queries_alone(filled, factory):
    number = "$1" if factory is psycopg.RawCursor else "%s"
    query = f"SELECT * FROM shop.users WHERE id = ANY({number}::bigint[])"

    def connect():
        return psycopg.connect(filled.conninfo, cursor_factory=factory)

    assert Postgres(connect, **USERS)([1]) == {1: user(1)}
    assert Postgres(connect, query=query, key="id")([1]) == {1: user(1)}


@pytest.mark.parametrize("kind", SYNC[1:])
def test_a_pool_has_its_connection_back_after_an_error(filled, kind, caplog):
    with sync_source(filled, kind) as pool, caplog.at_level(logging.WARNING):
        source = Postgres(pool, query="SELECT 1 / (id - id) AS id FROM shop.users WHERE id = ANY(%s::bigint[])", key="id")
        for _ in range(3):
            with pytest.raises(psycopg.errors.DivisionByZero):
                source([1])
        assert Postgres(pool, **USERS)([1]) == {1: user(1)}
    assert not caplog.records  # none came back in a transaction, none was closed


@pytest.mark.parametrize("kind", ASYNC[1:3] + ASYNC[4:])
def test_an_asynchronous_pool_has_its_connection_back_after_an_error_and_a_cancellation(filled, kind, caplog):
    number = "$1" if "asyncpg" in kind else "%s"

    async def main():
        async with async_source(filled, kind) as pool:
            source = Postgres(pool, query=f"SELECT 1 / (id - id) AS id FROM shop.users WHERE id = ANY({number}::bigint[])", key="id")
            sleeper = Postgres(pool, query=f"SELECT 1 AS id, pg_sleep(100) WHERE 1 = ANY({number}::bigint[])", key="id")
            for _ in range(3):
                with pytest.raises((psycopg.errors.DivisionByZero, asyncpg.exceptions.DivisionByZeroError)):
                    await source([1])
            task = asyncio.create_task(sleeper([1]))
            await until_it_sleeps()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await Postgres(pool, **USERS)([1]) == {1: user(1)}

    async def until_it_sleeps():
        async with await psycopg.AsyncConnection.connect(filled.conninfo, autocommit=True) as watch:
            while True:
                rows = await watch.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
                if await rows.fetchone():
                    return
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert not [record for record in caplog.records if "came back in a transaction" in record.message]


def test_an_interrupt_leaves_a_pool_that_works(filled, admin):
    with forebay.pools.psycopg.ConnectionPool(filled.conninfo, min_size=1, max_size=1) as pool:
        sleeper = Postgres(pool, query="SELECT 1 AS id, pg_sleep(100) WHERE 1 = ANY(%s::bigint[])", key="id")

        def interrupt():
            until(lambda: admin.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        call = Call(interrupt)
        with pytest.raises(KeyboardInterrupt):
            sleeper([1])
        call.result()
        assert Postgres(pool, **USERS)([1]) == {1: user(1)}
        with pool.connection() as connection:
            assert connection.autocommit is False


def test_a_connection_that_was_left_in_the_midst_is_closed_and_not_given_back(filled):
    with psycopg.connect(filled.conninfo) as connection:
        with forebay.Pool(lambda: connection, max_size=1, close=lambda connection: None) as pool:

            class Interrupted(psycopg.Cursor):
                def execute(self, *arguments, **options):
                    connection.pgconn.send_query(b"SELECT pg_sleep(100)")
                    raise KeyboardInterrupt

            connection.cursor_factory = Interrupted
            with pytest.raises(KeyboardInterrupt):
                Postgres(pool, query="SELECT %s", key="id")([1])
            assert connection.closed


def test_a_connection_in_a_transaction_is_refused_and_left_alone(filled):
    with psycopg.connect(filled.conninfo) as connection:
        connection.execute("SELECT 1")
        with forebay.Pool(lambda: connection, max_size=1, close=lambda connection: None) as pool:
            with pytest.raises(SourceError, match="in a transaction, or in the midst of a command"):
                Postgres(pool, **USERS)([1])
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        connection.rollback()


def test_an_asynchronous_connection_in_a_transaction_is_refused(filled):
    async def begun():
        connection = await psycopg.AsyncConnection.connect(filled.conninfo)
        await connection.execute("SELECT 1")
        return connection

    async def begun_with_asyncpg():
        connection = await asyncpg.connect(filled.url)
        await connection.execute("BEGIN")
        return connection

    for connect in (begun, begun_with_asyncpg):
        with pytest.raises(SourceError, match="in a transaction"):
            asyncio.run(Postgres(connect, **USERS)([1]))


def test_each_call_sees_what_was_committed_before_it(filled, admin):
    with psycopg_pool.ConnectionPool(filled.conninfo, min_size=1, max_size=1, kwargs={"options": "-c default_transaction_isolation=serializable"}) as pool:
        source = Postgres(pool, **USERS)
        for name in ("first", "second", "user 50"):
            admin.execute("UPDATE shop.users SET name = %s WHERE id = 50", [name])
            assert source([50])[50]["name"] == name


def test_a_standby_is_refused(tmp_path_factory, filled):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(servers_folder())
        server = stack.enter_context(servers.start_postgres(folder))
        server.stop()
        signal_file = folder / "postgres" / "data" / "standby.signal"
        signal_file.touch()
        signal_file.chmod(0o644)
        server.start()
        for kind in ("function", "coroutine function", "asyncpg function"):
            reading = Reading(server, kind)
            with pytest.raises(SourceError, match="leads to a standby"):
                reading.ask([1], query=f"SELECT 1 AS id WHERE 1 = ANY({reading.number}::bigint[])", key="id")


@contextlib.contextmanager
def servers_folder():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="forebay-standby-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_errors_of_the_driver_reach_who_fetches(filled, arena):
    things = arena.cache("things", load_many=Postgres(lambda: psycopg.connect("host=/nowhere"), **USERS))
    with pytest.raises(psycopg.OperationalError):
        things.fetch(1)


# ---- arguments ----


def test_what_is_no_source_is_refused_with_what_to_give(filled):
    with psycopg.connect(filled.conninfo) as connection:
        for source in (5, None, "dbname=shop", object(), connection):
            with pytest.raises(TypeError, match=r"Postgres\(\) reads with a pool of psycopg 3 or asyncpg connections"):
                Postgres(source, **USERS)

    async def main():
        connection = await asyncpg.connect(filled.url)
        try:
            with pytest.raises(TypeError, match="not with asyncpg"):
                Postgres(connection, **USERS)
        finally:
            await connection.close()

    asyncio.run(main())


def test_connections_of_another_kind_are_refused(filled):
    class Other:
        def close(self):
            pass

    with pytest.raises(TypeError, match="it was given .*Other"):
        Postgres(Other, **USERS)([1])
    with pytest.raises(TypeError, match="takes it for asynchronous if it is an `async def`"):
        Postgres(lambda: asyncpg.connect(filled.url), **USERS)([1])

    async def connect():
        return psycopg.connect(filled.conninfo)

    with pytest.raises(TypeError, match="Postgres"):
        asyncio.run(Postgres(connect, **USERS)([1]))


@pytest.mark.parametrize(
    ("options", "error"), [({"key": "id"}, TypeError), ({"table": "t\0", "key": "id"}, ValueError), ({"table": "t", "key": ()}, ValueError)]
)
def test_wrong_arguments_are_refused_at_once(options, error):
    with pytest.raises(error):
        Postgres(lambda: None, **options)
