# SPDX-License-Identifier: Apache-2.0
"""batches() on results of a real Cassandra node."""

import uuid

import pytest

import forebay

pytestmark = pytest.mark.cassandra
COUNT = 2000


@pytest.fixture(scope="module")
def session(cassandra):
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.concurrent import execute_concurrent_with_args
    from cassandra.policies import DCAwareRoundRobinPolicy

    profile = ExecutionProfile(load_balancing_policy=DCAwareRoundRobinPolicy(cassandra.data_center))
    with Cluster([cassandra.host], cassandra.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        session = cluster.connect()
        session.execute("CREATE KEYSPACE streams WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        session.set_keyspace("streams")
        session.execute("CREATE TABLE orders (shop int, number int, mark uuid, tags set<text>, PRIMARY KEY (shop, number))")
        insert = session.prepare("INSERT INTO orders (shop, number, mark, tags) VALUES (1, ?, ?, {'b', 'a'})")
        execute_concurrent_with_args(session, insert, [(number, uuid.UUID(int=number)) for number in range(COUNT)])
        yield session
        session.execute("DROP KEYSPACE streams")


class Counted:
    """A session that notes the sizes of the pages that were asked for."""

    __module__ = "cassandra.counted"  # a driver is told by where its classes are

    def __init__(self, session):
        self._session = session
        self.sizes = []

    def __getattr__(self, name):
        return getattr(self._session, name)

    def execute(self, statement, *arguments, **options):
        self.sizes.append(statement.fetch_size)
        return self._session.execute(statement, *arguments, **options)


def expected(number):
    return {"shop": 1, "number": number, "mark": uuid.UUID(int=number), "tags": ["a", "b"]}


ALL = "SELECT * FROM orders WHERE shop = 1"


def rows_of(batches):
    return [row for batch in batches for row in batch.to_dicts()]


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_query_is_read_page_by_page(session, prefetch):
    batches = forebay.batches(session, ALL, max_bytes="16KiB", prefetch=prefetch)
    assert batches.columns == ("shop", "number", "mark", "tags")
    found = []
    for batch in batches:
        assert batch.nbytes <= 16 * 1024
        found += batch.to_dicts()
    assert found == [expected(number) for number in range(COUNT)]


def test_statements_of_all_kinds_are_executed(session):
    from cassandra.query import SimpleStatement

    prepared = session.prepare("SELECT number FROM orders WHERE shop = ? AND number < ?")
    bound = prepared.bind((1, 5))
    simple = SimpleStatement("SELECT number FROM orders WHERE shop = %s AND number < %s", fetch_size=77)
    for query, params in [(prepared, (1, 5)), (bound, None), (simple, (1, 5)), (simple.query_string, (1, 5))]:
        assert rows_of(forebay.batches(session, query, params)) == [{"number": number} for number in range(5)]
    assert simple.fetch_size == 77  # theirs is left as it is


def test_a_result_is_read_page_by_page(session):
    from cassandra.query import SimpleStatement

    result = session.execute(SimpleStatement(ALL, fetch_size=100))
    stream = forebay.batches(result, max_rows=50)
    first = next(stream)
    assert len(first) == 50
    assert result.has_more_pages  # the rest is not here yet
    assert first.to_dicts() + rows_of(stream) == [expected(number) for number in range(COUNT)]


def test_pages_are_asked_for_when_they_are_wanted_and_no_more_after_close(session):
    counted = Counted(session)
    with forebay.batches(counted, ALL, max_rows=10) as batches:
        next(batches)
        some = len(counted.sizes)
        assert sum(counted.sizes) < 200
        next(batches)
    assert len(counted.sizes) - some <= 2
    assert list(batches) == []
    assert all(size >= 1 for size in counted.sizes)


def test_no_rows_and_no_result(session):
    empty = forebay.batches(session, "SELECT number FROM orders WHERE shop = 2")
    assert empty.columns == ("number",)
    assert list(empty) == []
    with pytest.raises(ValueError, match="the cursor has no result"):
        forebay.batches(session, "INSERT INTO orders (shop, number) VALUES (3, 1)")


@pytest.mark.parametrize("factory", ["dict_factory", "tuple_factory"])
def test_row_factories_make_no_difference(session, factory):
    import cassandra.query

    default = session.cluster.profile_manager.default
    before, default.row_factory = default.row_factory, getattr(cassandra.query, factory)
    try:
        assert rows_of(forebay.batches(session, ALL + " AND number < 3")) == [expected(number) for number in range(3)]
    finally:
        default.row_factory = before


def test_errors_of_the_driver_are_raised(session):
    from cassandra import InvalidRequest

    with pytest.raises(InvalidRequest):
        forebay.batches(session, "SELECT nothing FROM orders")


def test_what_is_neither_is_refused_with_what_to_give(session):
    with pytest.raises(TypeError, match="batches\\(\\) takes a session and a query, or a ResultSet, not Session"):
        forebay.batches(session)
    with pytest.raises(TypeError, match="a query needs a session"):
        forebay.batches(session.execute(ALL), ALL)


def test_arrow_reads_it(session):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(forebay.batches(session, "SELECT number, mark FROM orders WHERE shop = 1"))
    assert table.num_rows == COUNT
    assert table.column("number").to_pylist() == list(range(COUNT))
