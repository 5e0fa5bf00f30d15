# SPDX-License-Identifier: Apache-2.0
"""forebay.sources.SQLite on a file, and what all sources have in common."""

import contextlib
import datetime
import inspect
import sqlite3
import sys
import threading
import uuid
from decimal import Decimal

import pytest

import forebay
from forebay.pools.sqlite3 import ConnectionPool
from forebay.sources import SourceError, SQLite
from forking import fork_to_run, wait_for
from pooled import Call

ROWS = [(number, f"user {number}", number / 4, bytes([number % 256])) for number in range(1, 101)]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, score REAL, raw BLOB)")
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", ROWS)
        connection.execute("CREATE TABLE seats (tenant TEXT, id INTEGER, free INTEGER, PRIMARY KEY (tenant, id)) WITHOUT ROWID")
        connection.executemany("INSERT INTO seats VALUES (?, ?, ?)", [(t, n, n % 2) for t in ("a", "b") for n in range(50)])
    return path


@pytest.fixture
def connect(database):
    return lambda: sqlite3.connect(database)


@pytest.fixture
def connection(connect):
    with contextlib.closing(connect()) as connection:
        yield connection


def user(number):
    return dict(zip(("id", "name", "score", "raw"), ROWS[number - 1]))


# ---- what is read ----


def test_rows_come_as_dicts_by_key_and_absent_ones_are_left_out(connect):
    source = SQLite(connect, table="users", key="id")
    assert source([3, 1, 1000, 3]) == {1: user(1), 3: user(3)}
    assert source([]) == {}
    assert source(iter([2])) == {2: user(2)}
    assert SQLite(connect, table=("main", "users"), key="id")([7]) == {7: user(7)}


def test_a_cache_loads_through_it(connect, arena):
    users = arena.cache("users", load_many=SQLite(connect, table="users", key="id"), absent_ttl=10)
    assert users.fetch_many([1, 2, 1000]) == {1: user(1), 2: user(2)}
    assert users.get(1) == user(1)
    assert users.is_absent(1000)
    assert users.fetch(3)["name"] == "user 3"


def test_columns_are_those_that_were_asked_for(connect):
    assert SQLite(connect, table="users", key="id", columns=["name"])([5]) == {5: {"name": "user 5"}}
    assert SQLite(connect, table="users", key="name", columns=["score", "name"])(["user 5"]) == {
        "user 5": {"score": 1.25, "name": "user 5"}
    }


def test_several_columns_are_a_key_of_tuples(connect):
    source = SQLite(connect, table="seats", key=("tenant", "id"), columns=["free"])
    assert source([("a", 1), ("b", 2), ("c", 1)]) == {("a", 1): {"free": 1}, ("b", 2): {"free": 0}}
    assert SQLite(connect, table="seats", key=("id", "tenant"), columns=["free"])([(1, "a")]) == {(1, "a"): {"free": 1}}


def test_many_gives_a_list_of_rows_and_without_it_two_rows_are_an_error(connect):
    source = SQLite(connect, table="seats", key="tenant", columns=["id"], many=True)
    assert source(["a", "none"]) == {"a": [{"id": number} for number in range(50)]}
    with pytest.raises(SourceError, match="several rows for the key 'a': with many=True"):
        SQLite(connect, table="seats", key="tenant")(["a"])


def test_row_makes_the_value(connect):
    source = SQLite(connect, table="users", key="id", row=lambda row: row["name"].upper())
    assert source([1, 2]) == {1: "USER 1", 2: "USER 2"}
    both = SQLite(connect, table="seats", key="tenant", many=True, row=lambda row: row["id"])
    assert both(["b"]) == {"b": list(range(50))}
    with pytest.raises(ZeroDivisionError):
        SQLite(connect, table="users", key="id", row=lambda row: 1 / 0)([1])


def test_a_query_gets_the_keys_as_json(connect):
    source = SQLite(connect, query="SELECT id, upper(name) AS loud FROM users WHERE id IN (SELECT value FROM json_each(?))", key="id")
    assert source([1, 2, 1000]) == {1: {"id": 1, "loud": "USER 1"}, 2: {"id": 2, "loud": "USER 2"}}
    both = """SELECT seats.* FROM json_each(?) AS k JOIN seats ON tenant = json_extract(k.value, '$[0]') AND seats.id = json_extract(k.value, '$[1]')"""
    assert SQLite(connect, query=both, key=("tenant", "id"))([("a", 1)]) == {("a", 1): {"tenant": "a", "id": 1, "free": 1}}


def test_a_key_with_bytes_cannot_be_in_json_and_is_an_error_of_its_own(connect):
    source = SQLite(connect, query="SELECT * FROM users WHERE name IN (SELECT value FROM json_each(?))", key="name", row=lambda row: row["id"])
    found = source(["user 1", b"user 1"])
    assert found["user 1"] == 1
    assert isinstance(found[b"user 1"], TypeError)


def test_a_query_must_give_the_key_and_each_column_once(connect):
    with pytest.raises(SourceError, match="no column 'id', which key= names and rows are told by; they have 'name'"):
        SQLite(connect, query="SELECT name FROM users WHERE id IN (SELECT value FROM json_each(?))", key="id")([1])
    with pytest.raises(SourceError, match="two columns 'id'"):
        SQLite(connect, query="SELECT id, id FROM users WHERE id IN (SELECT value FROM json_each(?))", key="id")([1])


def test_keys_are_the_callers_own_objects(connect):
    class Id(int):
        pass

    asked = Id(1)
    (key,) = SQLite(connect, table="users", key="id")([asked])
    assert key is asked


def test_a_row_whose_key_is_not_equal_to_any_is_an_error_that_says_so(connect, connection):
    with pytest.raises(SourceError, match=r"a row came back with the key 1 \(int\), which is not equal to any.*'1' \(str\)"):
        SQLite(connect, table="users", key="id")(["1"])  # SQLite converts it for the comparison
    connection.execute("CREATE TABLE nocase (word TEXT COLLATE NOCASE)")
    connection.execute("INSERT INTO nocase VALUES ('word')")
    connection.commit()
    with pytest.raises(SourceError, match=r"'word' \(str\)"):
        SQLite(connect, table="nocase", key="word")(["WORD"])


def test_a_key_of_another_form_is_an_error_of_its_own(connect):
    found = SQLite(connect, table="users", key="id")([1, (1,)])
    assert found[1] == user(1)
    assert isinstance(found[(1,)], TypeError)
    found = SQLite(connect, table="seats", key=("tenant", "id"))([("a", 1), "a", ("a", 1, 2)])
    assert found[("a", 1)]["free"] == 1
    assert all(isinstance(found[key], TypeError) for key in ("a", ("a", 1, 2)))


def test_such_an_error_is_raised_to_who_asked_for_that_key_alone(connect, arena):
    users = arena.cache("users", load_many=SQLite(connect, table="users", key="id"))
    with pytest.raises(TypeError, match=r"the key \(1,\) is a tuple"):
        users.fetch((1,))
    assert users.fetch(1) == user(1)


def test_what_cannot_be_a_key_of_the_database_is_absent(connect):
    assert SQLite(connect, table="users", key="id")([2**63, -(2**70), 1]) == {1: user(1)}
    assert SQLite(connect, table="users", key="name")(["\ud800", "\0"]) == {}
    assert SQLite(connect, query="SELECT 1 AS id WHERE 1 IN (SELECT value FROM json_each(?))", key="id")([2**63]) == {}


@pytest.mark.parametrize("name", ['say "x"', "a.b", "sélect", "'; DROP TABLE users; --", "per%cent", "a b?"])
def test_names_are_quoted(connection, connect, name):
    quoted = '"' + name.replace('"', '""') + '"'
    connection.execute(f"CREATE TABLE {quoted} ({quoted} INTEGER, other TEXT)")
    connection.execute(f"INSERT INTO {quoted} VALUES (1, 'x')")
    connection.commit()
    assert SQLite(connect, table=name, key=name)([1]) == {1: {name: 1, "other": "x"}}
    assert SQLite(connect, table=name, key=name, columns=[name])([1]) == {1: {name: 1}}


def test_a_name_that_is_none_is_an_error_and_no_text(connect):
    with pytest.raises(sqlite3.OperationalError, match="no such column: t.nmae"):
        SQLite(connect, table="users", key="id", columns=["nmae"])([1])
    with pytest.raises(sqlite3.OperationalError, match="no such column: t.ident"):
        SQLite(connect, table="users", key="ident")([1])


def test_more_keys_than_parameters_are_allowed_are_asked_in_turns(connect):
    found = SQLite(connect, table="users", key="id")(range(70_000))
    assert found == {row[0]: user(row[0]) for row in ROWS}
    keys = [(tenant, number) for tenant in ("a", "b") for number in range(20_000)]
    assert len(SQLite(connect, table="seats", key=("tenant", "id"))(keys)) == 100
    query = "SELECT * FROM users WHERE id IN (SELECT value FROM json_each(?))"
    assert len(SQLite(connect, query=query, key="id")(range(70_000))) == 100


def test_the_limit_is_the_connections_own(connection):
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 3)
    assert len(SQLite(connection, table="users", key="id")(range(1, 11))) == 10
    assert len(SQLite(connection, table="seats", key=("tenant", "id"))([("a", number) for number in range(10)])) == 10


@pytest.mark.parametrize(("table", "key", "keys"), [("users", "id", [1, 2, 3]), ("seats", ("tenant", "id"), [("a", 1), ("b", 2)])])
def test_the_index_of_the_key_is_used(connection, table, key, keys):
    statements = []
    connection.set_trace_callback(statements.append)
    SQLite(connection, table=table, key=key)(keys)
    connection.set_trace_callback(None)
    (statement,) = statements
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))
    assert "SEARCH t USING" in plan
    assert "SCAN t" not in plan


def test_types_that_a_cache_stores_come_back_and_others_are_its_error(connection, arena):
    class Point:
        pass

    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    values = {"int": 2**62, "none": None, "text": "naïve", "raw": b"\0\xff", "real": 0.1}
    makers = {"moment": lambda: moment, "price": lambda: Decimal("1.50"), "point": Point}
    source = SQLite(connection, query="SELECT value AS id FROM json_each(?)", key="id",
                    row=lambda row: {**values, **{name: make() for name, make in makers.items() if name != "point" or row["id"] == 2}})  # fmt: skip
    things = arena.cache("things", load_many=source)
    assert things.fetch(1) == {**values, "moment": moment, "price": Decimal("1.50")}
    with pytest.raises(TypeError, match=r"cannot store.*Point"):
        things.fetch(2)


def test_adapters_and_converters_of_sqlite3_work_for_keys(tmp_path):
    sqlite3.register_adapter(uuid.UUID, str)
    sqlite3.register_converter("uuid", lambda raw: uuid.UUID(raw.decode()))
    token = uuid.uuid4()

    def connect():
        return sqlite3.connect(tmp_path / "tokens.db", detect_types=sqlite3.PARSE_DECLTYPES)

    with contextlib.closing(connect()) as connection, connection:
        connection.execute("CREATE TABLE tokens (token UUID PRIMARY KEY, owner TEXT)")
        connection.execute("INSERT INTO tokens VALUES (?, 'Ada')", [token])
    assert SQLite(connect, table="tokens", key="token", columns=["owner"])([token]) == {token: {"owner": "Ada"}}


# ---- connections ----


def test_a_pool_lends_its_connections(database):
    with ConnectionPool(database, max_size=1) as pool:
        source = SQLite(pool, table="users", key="id")
        for _ in range(3):
            assert source([1]) == {1: user(1)}
        assert pool.get_stats()["pool_size"] == 1
        with pytest.raises(sqlite3.OperationalError):
            SQLite(pool, table="nothing", key="id")([1])
        with pool.connection() as connection:
            assert not connection.in_transaction


def test_a_function_makes_a_connection_for_each_call_which_is_closed(connect):
    made = []

    def counted():
        made.append(connect())
        return made[-1]

    source = SQLite(counted, table="users", key="id")
    source([1])
    with pytest.raises(sqlite3.OperationalError):
        SQLite(counted, table="nothing", key="id")([1])
    assert len(made) == 2
    for connection in made:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_a_connection_is_used_by_one_thread_at_a_time(database):
    with contextlib.closing(sqlite3.connect(database, check_same_thread=False)) as connection:
        source = SQLite(connection, table="users", key="id", row=lambda row: row["id"])
        calls = [Call(source, [number, number + 1]) for number in range(1, 40, 2)]
        for number, call in zip(range(1, 40, 2), calls):
            assert call.result() == {number: number, number + 1: number + 1}


def test_a_row_factory_of_the_connection_is_left_alone(connection):
    connection.row_factory = sqlite3.Row
    assert SQLite(connection, table="users", key="id")([1]) == {1: user(1)}
    assert connection.row_factory is sqlite3.Row


def test_a_connection_in_a_transaction_is_refused(connection):
    source = SQLite(connection, table="users", key="id")
    connection.execute("UPDATE users SET name = 'new' WHERE id = 1")
    with pytest.raises(SourceError, match="in a transaction"):
        source([1])
    assert connection.in_transaction  # it is the caller's
    connection.commit()
    assert source([1])[1]["name"] == "new"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit= came with 3.12")
def test_a_connection_that_is_always_in_a_transaction_is_refused(database):
    with contextlib.closing(sqlite3.connect(database, autocommit=False)) as connection:
        with pytest.raises(SourceError, match="autocommit=False"):
            SQLite(connection, table="users", key="id")([1])
    with contextlib.closing(sqlite3.connect(database, autocommit=True)) as connection:
        assert SQLite(connection, table="users", key="id")([1]) == {1: user(1)}


def test_it_sees_what_was_committed_before_the_call_and_keeps_no_snapshot(connection, connect):
    connection.execute("PRAGMA journal_mode = WAL")
    with contextlib.closing(connect()) as reader:
        source = SQLite(reader, table="users", key="id")
        assert source([1])[1]["name"] == "user 1"
        for name in ("second", "third"):
            connection.execute("UPDATE users SET name = ? WHERE id = 1", [name])
            connection.commit()
            assert source([1])[1]["name"] == name
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0  # no reader is left open


def test_a_query_that_writes_leaves_no_transaction(connection):
    source = SQLite(connection, query="UPDATE users SET name = ? WHERE id = 1", key="id")
    with pytest.raises(SourceError, match="is to be a SELECT"):
        source([1])
    assert not connection.in_transaction
    assert SQLite(connection, table="users", key="id")([1]) == {1: user(1)}


def test_errors_of_the_driver_reach_who_fetches(connect, arena):
    things = arena.cache("things", load_many=SQLite(connect, table="nothing", key="id"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        things.fetch(1)


def test_a_connection_is_refused_in_the_child_of_a_fork_and_a_function_is_not(connection, connect):
    shared, own = SQLite(connection, table="users", key="id"), SQLite(connect, table="users", key="id")

    def child():
        with pytest.raises(SourceError, match="the child of a fork"):
            shared([1])
        assert own([1]) == {1: user(1)}

    wait_for(fork_to_run(child))
    assert shared([1]) == {1: user(1)}


# ---- arguments ----


@pytest.mark.parametrize("source", [5, None, "shop.db", object()])
def test_what_is_no_source_is_refused_with_what_to_give(source):
    with pytest.raises(TypeError, match="a forebay.Pool of sqlite3 connections, a sqlite3.Connection, or a function"):
        SQLite(source, table="users", key="id")


def test_coroutine_functions_and_async_pools_are_refused():
    async def connect():
        raise AssertionError

    for source in (connect, forebay.AsyncPool(connect, max_size=1)):
        with pytest.raises(TypeError):
            SQLite(source, table="users", key="id")


def test_a_function_that_makes_something_else_is_refused(connect):
    class Other:
        def close(self):
            pass

    with pytest.raises(TypeError, match="was given Other"):
        SQLite(Other, table="users", key="id")([1])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"key": "id"}, TypeError, "give one of them"),
        ({"key": "id", "table": "t", "query": "q"}, TypeError, "give one of them"),
        ({"key": "id", "query": "q", "columns": ["a"]}, TypeError, "columns= goes with table="),
        ({"key": "id", "table": 5}, TypeError, "table is a list of names"),
        ({"key": "id", "table": ("a", "b", "c")}, ValueError, "table is a name, or"),
        ({"key": "id", "table": ""}, ValueError, "table: '' is no name"),
        ({"key": "id", "table": "a\0b"}, ValueError, "is no name"),
        ({"key": "i\0d", "table": "t"}, ValueError, "is no name"),
        ({"key": 5, "table": "t"}, TypeError, "key is a list of names"),
        ({"key": (), "table": "t"}, ValueError, "key is one name or more"),
        ({"key": ("a", "a"), "table": "t"}, ValueError, "all different"),
        ({"key": ("a",), "table": "t"}, ValueError, "for one column give its name, 'a'"),
        ({"key": ("a", 5), "table": "t"}, TypeError, "key is a name, a str, not int"),
        ({"key": "id", "table": "t", "columns": "name"}, TypeError, "columns is a list of names, not str"),
        ({"key": "id", "table": "t", "columns": []}, ValueError, "columns is one name or more"),
        ({"key": "id", "table": "t", "row": 5}, TypeError, "row is a function"),
    ],
)
def test_wrong_arguments_are_refused_at_once(connect, options, error, text):
    with pytest.raises(error, match=text):
        SQLite(connect, **options)


def test_it_is_no_coroutine_function(connect):
    source = SQLite(connect, table="users", key="id")
    assert not inspect.iscoroutinefunction(source.__call__)


def test_threads_share_a_source(connect):
    source = SQLite(connect, table="users", key="id")
    start = threading.Barrier(4)

    def work(number):
        start.wait(30)
        return source([number])

    calls = [Call(work, number) for number in range(1, 5)]
    assert [call.result() for call in calls] == [{number: user(number)} for number in range(1, 5)]
