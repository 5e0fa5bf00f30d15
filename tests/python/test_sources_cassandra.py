# SPDX-License-Identifier: Apache-2.0
"""forebay.sources.Cassandra on a real node."""

import datetime
import inspect
import os
import uuid
from decimal import Decimal

import pytest

import forebay
import pages
from forebay.sources import Cassandra, SourceError
from forking import fork_to_run, wait_for
from pooled import Call

pytestmark = pytest.mark.cassandra


@pytest.fixture(scope="module")
def cluster(cassandra):
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy

    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(cassandra.data_center))
    with Cluster(
        [cassandra.host], cassandra.port, execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(load_balancing_policy=policy)}
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def session(cluster):
    session = cluster.connect()
    session.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.set_keyspace("shop")
    session.execute("CREATE TABLE users (id int PRIMARY KEY, name text, team text)")
    session.execute("CREATE TABLE seats (tenant text, row int, number int, free boolean, PRIMARY KEY ((tenant, row), number))")
    for number in range(1, 101):
        session.execute("INSERT INTO users (id, name, team) VALUES (%s, %s, %s)", (number, f"user {number}", "compilers"))
    for number in range(20):
        session.execute("INSERT INTO seats (tenant, row, number, free) VALUES ('a', 1, %s, %s)", (number, number % 2 == 0))
    yield session
    session.execute("DROP KEYSPACE shop")


def user(number):
    return {"id": number, "name": f"user {number}", "team": "compilers"}


# ---- what is read ----


def test_rows_come_as_dicts_by_key_and_absent_ones_are_left_out(session):
    source = Cassandra(session, table="users", key="id")
    assert source([3, 1, 1000, 3]) == {1: user(1), 3: user(3)}
    assert source([]) == {}
    assert Cassandra(session, table=("shop", "users"), key="id", concurrency=1)(range(1, 101)) == {n: user(n) for n in range(1, 101)}


def test_a_cache_loads_through_it(session, arena):
    users = arena.cache("users", load_many=Cassandra(session, table="users", key="id"), absent_ttl=10)
    assert users.fetch_many([1, 2, 1000]) == {1: user(1), 2: user(2)}
    assert users.is_absent(1000)


def test_columns_are_those_that_were_asked_for(session):
    assert Cassandra(session, table="users", key="id", columns=["name"])([5]) == {5: {"name": "user 5"}}


def test_several_columns_are_a_key_of_tuples(session):
    source = Cassandra(session, table="seats", key=("tenant", "row", "number"), columns=["free"])
    assert source([("a", 1, 2), ("a", 1, 3), ("b", 1, 2)]) == {("a", 1, 2): {"free": True}, ("a", 1, 3): {"free": False}}


def test_many_gives_the_rows_of_a_partition_over_all_pages(session):
    session.default_fetch_size = 7
    try:
        found = Cassandra(session, table="seats", key=("tenant", "row"), columns=["number"], many=True)([("a", 1), ("b", 1)])
    finally:
        session.default_fetch_size = 5000
    assert found == {("a", 1): [{"number": number} for number in range(20)]}
    with pytest.raises(SourceError, match=r"several rows for the key \('a', 1\): with many=True"):
        Cassandra(session, table="seats", key=("tenant", "row"))([("a", 1)])


def test_a_query_is_for_one_key(session):
    source = Cassandra(session, query="SELECT name FROM users WHERE id = ?", key="id", row=lambda row: row["name"])
    assert source([1, 2, 1000]) == {1: "user 1", 2: "user 2"}


def test_keys_are_the_callers_own_objects_of_all_types(session):
    session.execute("CREATE TABLE things (i bigint, u uuid, d date, t text, b blob, f boolean, n int, PRIMARY KEY ((i, u, d, t, b, f)))")
    key = (2**40, uuid.UUID(int=5), datetime.date(2026, 1, 2), "naïve", b"\0\xff", True)
    session.execute("INSERT INTO things (i, u, d, t, b, f, n) VALUES (%s, %s, %s, %s, %s, %s, 7)", key)
    (found,) = Cassandra(session, table="things", key=("i", "u", "d", "t", "b", "f"), columns=["n"])([key]).items()
    assert found == (key, {"n": 7})
    assert found[0] is key


def test_a_key_that_cannot_be_asked_for_is_an_error_of_its_own(session, arena):
    found = Cassandra(session, table="users", key="id")([1, "2", 2**40, (1,)])
    assert found.pop(1) == user(1)
    assert set(found) == {"2", 2**40, (1,)}
    assert all(isinstance(error, Exception) for error in found.values())
    users = arena.cache("users", load_many=Cassandra(session, table="users", key="id"))
    with pytest.raises(TypeError):
        users.fetch("2")


@pytest.mark.parametrize("name", ['say "x"', "Upper", "a b?", "pe%s"])
def test_names_are_quoted(session, name):
    quoted = '"' + name.replace('"', '""') + '"'
    session.execute(f"CREATE TABLE quoting (id int PRIMARY KEY, {quoted} int)")
    try:
        session.execute(session.prepare(f"INSERT INTO quoting (id, {quoted}) VALUES (1, 2)"))
        assert Cassandra(session, table="quoting", key="id")([1]) == {1: {"id": 1, name: 2}}
        assert Cassandra(session, table="quoting", key="id", columns=[name])([1]) == {1: {name: 2}}
    finally:
        session.execute("DROP TABLE quoting")


def test_names_of_tables_are_quoted(session):
    session.execute('CREATE TABLE "Mixed" ("Id" int PRIMARY KEY)')
    session.execute('INSERT INTO "Mixed" ("Id") VALUES (1)')
    assert Cassandra(session, table="Mixed", key="Id")([1]) == {1: {"Id": 1}}


def test_types_that_a_cache_stores_come_back(session, arena):
    from cassandra.util import Date, Duration, Time

    session.execute("CREATE TYPE place (city text, tags frozen<set<text>>)")
    session.execute(
        """CREATE TABLE everything (id int PRIMARY KEY, big varint, price decimal, score double, raw blob, flag boolean, moment timestamp, day date,
        clock time, mark uuid, stamp timeuuid, host inet, words list<text>, numbers set<int>, pairs map<text, int>, home frozen<place>,
        places list<frozen<place>>, both tuple<int, text>, odd map<frozen<list<int>>, text>, nothing text)"""
    )
    session.execute(
        """INSERT INTO everything (id, big, price, score, raw, flag, moment, day, clock, mark, stamp, host, words, numbers, pairs, home, places, both, odd)
        VALUES (1, 1180591620717411303424, 12.50, 0.1, 0x00ff, true, '2026-01-02 03:04:05.678+0000', '2026-01-02', '01:02:03.456',
        00000000-0000-0000-0000-000000000001, 7db5c590-0000-11ee-be56-0242ac120002, '10.0.0.1', ['b', 'a'], {2, 1}, {'x': 1},
        {city: 'Wien', tags: {'b', 'a'}}, [{city: 'Graz', tags: null}], (1, 'one'), {[1, 2]: 'list'})"""
    )
    things = arena.cache("things", load_many=Cassandra(session, table="everything", key="id"))
    assert things.fetch(1) == {
        "id": 1, "big": 2**70, "price": Decimal("12.50"), "score": 0.1, "raw": b"\0\xff", "flag": True,
        "moment": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000), "day": datetime.date(2026, 1, 2), "clock": datetime.time(1, 2, 3, 456000),
        "mark": uuid.UUID(int=1), "stamp": uuid.UUID("7db5c590-0000-11ee-be56-0242ac120002"), "host": "10.0.0.1", "words": ["b", "a"],
        "numbers": [1, 2], "pairs": {"x": 1}, "home": {"city": "Wien", "tags": ["a", "b"]}, "places": [{"city": "Graz", "tags": None}],
        "both": (1, "one"), "odd": {(1, 2): "list"}, "nothing": None,
    }  # fmt: skip
    session.execute("CREATE TABLE others (id int PRIMARY KEY, d date, t time, span duration)")
    session.execute(session.prepare("INSERT INTO others (id, d, t, span) VALUES (1, ?, ?, ?)"), (Date(10**7), Time(1), Duration(1, 2, 3)))
    found = Cassandra(session, table="others", key="id")([1])[1]
    for name in ("d", "t", "span"):
        with pytest.raises(TypeError, match=f"cannot store.*{name}"):
            arena.cache("others").set(1, {name: found[name]})


@pytest.mark.parametrize("factory", ["tuple_factory", "dict_factory", "named_tuple_factory"])
def test_a_row_factory_of_the_session_is_left_alone(session, factory):
    import cassandra.query

    default = session.cluster.profile_manager.default
    before = default.row_factory
    default.row_factory = getattr(cassandra.query, factory)
    try:
        assert Cassandra(session, table="users", key="id")([1]) == {1: user(1)}
    finally:
        default.row_factory = before


def test_a_row_factory_that_makes_something_else_is_an_error(session):
    default = session.cluster.profile_manager.default
    before = default.row_factory
    source = Cassandra(session, table="users", key="id", columns=["name"])
    default.row_factory = lambda names, rows: [object() for _ in rows]
    try:
        with pytest.raises(SourceError, match="row_factory makes object of rows"):
            source([1])
    finally:
        default.row_factory = before


def test_a_table_that_gets_a_column_is_read_on(session):
    session.execute("CREATE TABLE growing (id int PRIMARY KEY, b int)")
    session.execute("INSERT INTO growing (id, b) VALUES (1, 2)")
    source = Cassandra(session, table="growing", key="id")
    assert source([1]) == {1: {"id": 1, "b": 2}}
    session.execute("ALTER TABLE growing ADD a int")
    session.execute("UPDATE growing SET a = 3 WHERE id = 1")
    assert source([1]) == {1: {"id": 1, "b": 2}}
    assert Cassandra(session, table="growing", key="id")([1]) == {1: {"id": 1, "a": 3, "b": 2}}


# ---- how it is asked ----


class Watched:
    """A session that takes notes of what is executed through it."""

    def __init__(self, session):
        self._session = session
        self.executed = []
        self.prepared = 0
        self.under_way = self.most = 0

    def __getattr__(self, name):
        return getattr(self._session, name)

    def prepare(self, *arguments, **options):
        self.prepared += 1
        return self._session.prepare(*arguments, **options)

    def execute_async(self, statement, *arguments, **options):
        self.executed.append(statement)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        future = self._session.execute_async(statement, *arguments, **options)
        future.add_callbacks(self._done, self._done)
        return future

    def _done(self, result):
        self.under_way -= 1


def test_a_statement_is_prepared_once_and_routed_by_its_key(session):
    from cassandra import ConsistencyLevel

    watched = Watched(session)
    source = Cassandra(lambda: watched, table="users", key="id", concurrency=4)
    source(range(1, 51))
    source(range(51, 101))
    assert watched.prepared == 1
    assert len(watched.executed) == 100
    assert 1 <= watched.most <= 4
    for statement in watched.executed:
        assert statement.routing_key is not None
        assert statement.consistency_level == ConsistencyLevel.LOCAL_QUORUM


def test_consistency_is_what_was_asked_for(session):
    from cassandra import ConsistencyLevel

    watched = Watched(session)
    Cassandra(lambda: watched, table="users", key="id", consistency="ALL")([1])
    assert watched.executed[0].consistency_level == ConsistencyLevel.ALL


def test_what_goes_wrong_with_a_key_is_its_own_outcome_and_with_all_is_raised(session):
    from cassandra import InvalidRequest
    from cassandra.cluster import NoHostAvailable

    with pytest.raises(NoHostAvailable, match="Cannot achieve consistency level TWO"):  # there is one node
        Cassandra(session, table="users", key="id", consistency="TWO")([1, 2])
    session.execute("CREATE TABLE words (word text PRIMARY KEY, n int)")
    session.execute("INSERT INTO words (word, n) VALUES ('short', 1)")
    long = "x" * 70_000  # longer than a key may be
    found = Cassandra(session, table="words", key="word", columns=["n"])(["short", long, "none"])
    assert found["short"] == {"n": 1}
    assert isinstance(found[long], InvalidRequest)
    assert "none" not in found


def test_errors_of_the_driver_reach_who_fetches(session, arena):
    from cassandra import InvalidRequest

    users = arena.cache("users", load_many=Cassandra(session, query="SELECT nothing FROM users WHERE id = ?", key="id"))
    with pytest.raises(InvalidRequest):
        users.fetch(1)


def test_what_does_not_exist_is_an_error(session, cluster):
    with pytest.raises(SourceError, match="there is no table 'none' in the keyspace 'shop'"):
        Cassandra(session, table="none", key="id")([1])
    with pytest.raises(ValueError, match="the session has no keyspace"):
        Cassandra(cluster.connect, table="users", key="id")([1])


def test_threads_share_a_source(session):
    watched = Watched(session)
    source = Cassandra(lambda: watched, table="users", key="id")
    calls = [Call(source, [number]) for number in range(1, 9)]
    assert [call.result() for call in calls] == [{number: user(number)} for number in range(1, 9)]
    assert watched.prepared == 1


def test_a_session_is_refused_in_the_child_of_a_fork_and_a_function_makes_another(session, cassandra):
    from cassandra.cluster import Cluster

    made = []

    def connect():
        made.append(Cluster([cassandra.host], cassandra.port).connect("shop"))
        return made[-1]

    shared, own = Cassandra(session, table="users", key="id"), Cassandra(connect, table="users", key="id")
    assert shared([1]) == own([1]) == {1: user(1)}

    def child():
        with pytest.raises(SourceError, match="does not survive a fork"):
            shared([1])
        assert own([1]) == {1: user(1)}
        assert len(made) == 2

    wait_for(fork_to_run(child))
    assert len(made) == 1
    made[0].cluster.shutdown()


# ---- arguments ----


def test_what_is_no_session_is_refused_with_what_to_give(cluster):
    for source in (5, None, "127.0.0.1", object(), cluster):
        with pytest.raises(TypeError, match="reads with a session of cassandra-driver"):
            Cassandra(source, table="users", key="id")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"consistency": "MOST"}, ValueError, "consistency is the name of a level"),
        ({"consistency": 5}, ValueError, "consistency is the name of a level"),
        ({"concurrency": 0}, ValueError, "concurrency is 1 or more"),
        ({"concurrency": True}, ValueError, "concurrency is 1 or more"),
        ({"key": ("id",)}, ValueError, "for one column give its name"),
        ({"table": None}, TypeError, "give one of them"),
        ({"table": "a\0"}, ValueError, "is no name"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, error, text):
    with pytest.raises(error, match=text):
        Cassandra(lambda: None, **{"table": "users", "key": "id", **options})


def test_it_is_no_coroutine_function(session):
    assert not inspect.iscoroutinefunction(Cassandra(session, table="users", key="id").__call__)


def test_the_document_does_what_it_says(session):
    from test_pages import PEOPLE, TEXTS

    session.execute("TRUNCATE users")
    for person in PEOPLE:
        session.execute("INSERT INTO users (id, name, team) VALUES (%s, %s, %s)", person)
    text = pages.sections(TEXTS["guides/sources.md"], lambda title: title == "Cassandra")
    assert pages.run(text, {"session": session}, dict(os.environ)) >= 5
