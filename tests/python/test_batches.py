# SPDX-License-Identifier: Apache-2.0
"""forebay.batches(): rows come out as they went in, in batches of bounded bytes."""

import collections
import datetime as dt
import ipaddress
import sqlite3
import threading
import uuid
import zoneinfo
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import forebay
from forebay._core import BatchBuilder

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
UTC = dt.timezone.utc
EAST = dt.timezone(dt.timedelta(hours=2))


class Cursor:
    """A DB-API cursor over rows in memory, which says what is done to it."""

    def __init__(self, names, rows, fail_at=None):
        self.description = [(name, None, None, None, None, None, None) for name in names]
        self.left = list(rows)
        self.sizes = []
        self.closed = False
        self.given = 0
        self.fail_at = fail_at

    def fetchmany(self, size):
        assert not self.closed
        self.sizes.append(size)
        if self.fail_at is not None and self.given + size > self.fail_at:
            size = self.fail_at - self.given
            if size == 0:
                raise OSError("the server went away")
        rows, self.left = self.left[:size], self.left[size:]
        self.given += len(rows)
        return rows

    def close(self):
        self.closed = True


def cursor_of(*values, name="x"):
    return Cursor([name], [(value,) for value in values])


def out(*values, **options):
    """What comes out of a column of these values."""
    return [row[0] for batch in forebay.batches(cursor_of(*values), **options) for row in batch.to_tuples()]


def exact(value):
    """Everything that tells values apart, for comparing."""
    if isinstance(value, float):
        return "float", value.hex()
    if isinstance(value, Decimal):
        return "Decimal", str(value)
    if isinstance(value, (dt.datetime, dt.time)):
        return type(value).__name__, repr(value), value.fold
    return type(value).__name__, value


# ---- values

VALUES = {
    "bool": [True, False],
    "int64": [0, -1, 2**63 - 1, -(2**63)],
    "float64": [0.0, -0.0, 1.5, float("inf"), float("nan"), 5e-324],
    "text": ["", "a", "ä€😀", "x" * 70_000],
    "binary": [b"", b"\0\xff" * 40_000],
    "date": [dt.date.min, dt.date(1970, 1, 1), dt.date(2024, 2, 29), dt.date.max],
    "time": [dt.time.min, dt.time(12, 34, 56, 789), dt.time.max],
    "timestamp": [dt.datetime.min, dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime.max],
    "timestamp[UTC]": [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2024, 7, 1, 12, tzinfo=UTC)],
    "timestamp[+02:00]": [dt.datetime.min.replace(tzinfo=EAST), dt.datetime.max.replace(tzinfo=EAST)],
    "timestamp[Europe/Berlin]": [
        dt.datetime(2024, 7, 1, tzinfo=BERLIN),
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
        dt.datetime(1800, 1, 1, tzinfo=BERLIN),
    ],
    "duration": [dt.timedelta(0), dt.timedelta(microseconds=-1), dt.timedelta(days=100_000_000)],
    "decimal(38, 2)": [Decimal("0.00"), Decimal("-1.10"), Decimal("9" * 36 + ".99")],
    "decimal(38, 0)": [Decimal(0), Decimal(-7), Decimal("9" * 38)],
    "uuid": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "null": [],
}


@pytest.mark.parametrize("type_", VALUES)
@pytest.mark.parametrize("nulls", [False, True], ids=["without NULL", "with NULL"])
def test_a_column_of_one_type_is_stored_as_that_and_comes_out_exactly(type_, nulls):
    values = VALUES[type_] * 3
    if nulls or not values:
        values = [None, *(each for value in values for each in (value, None)), None]
    (batch,) = forebay.batches(cursor_of(*values))
    assert batch.column("x").type == type_
    assert [exact(v) for v in batch.column(0)] == [exact(v) for v in values]


ODD = {
    "int and float": [1, 2.5, 3],
    "int and text": [None, 1, "one", None],
    "bool and int": [True, 1, 0, False],
    "big ints": [1, 2**63, -(2**200)],
    "text with surrogates": ["a", "\ud800"],
    "lists and dicts": [[1, {"a": [None]}], {"b": (1, 2)}],
    "decimals of several scales": [Decimal("1.1"), Decimal("1.10"), Decimal("1E+5")],
    "decimals that are no numbers": [Decimal("1.0"), Decimal("NaN"), Decimal("-Infinity")],
    "negative zero": [Decimal("0.00"), Decimal("-0.00")],
    "too many digits": [Decimal("1." + "1" * 38)],
    "several zones": [dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, tzinfo=EAST)],
    "aware and naive": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=UTC)],
    "a time that clocks never show": [dt.datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN)],
    "zones that differ by name": [
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "A")),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "B")),
    ],
    "fold": [dt.datetime(2024, 1, 1, fold=1), dt.datetime(2024, 1, 1)],
    "aware times": [dt.time(1, 2, tzinfo=UTC), dt.time(1, 2)],
    "long durations": [dt.timedelta.max, dt.timedelta.min, dt.timedelta(1)],
    "a date and a datetime": [dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)],
    "uuids that are safe": [uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)],
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_what_has_no_column_of_its_own_comes_out_exactly(values):
    (batch,) = forebay.batches(cursor_of(*values))
    assert batch.column("x").type == "packed"
    assert [exact(v) for v in batch.column("x")] == [exact(v) for v in values]


def test_zones_that_are_equal_objects_share_a_column():
    values = [dt.datetime(2024, 1, day, tzinfo=dt.timezone(dt.timedelta(hours=5))) for day in (1, 2)]
    (batch,) = forebay.batches(cursor_of(*values))
    assert batch.column("x").type == "timestamp[+05:00]"
    assert batch.column("x").to_list() == values


def test_a_column_changes_its_form_in_the_middle_of_a_batch():
    values = [*range(1000), None, "one", *range(1000)]
    assert out(*values) == values


def test_memoryviews_and_subclasses_of_uuid_come_out_as_what_they_are_of():
    class DriverUUID(uuid.UUID):
        pass

    assert out(memoryview(b"ab"), bytearray(b"c")) == [b"ab", b"c"]
    value = DriverUUID(int=7)
    (found,) = out(value)
    assert found == value and type(found) is uuid.UUID
    assert out("a", memoryview(b"b"), value) == ["a", b"b", value]


def test_a_value_that_cannot_be_kept_is_an_error_that_names_column_row_and_remedy():
    cursor = Cursor(["id", "address"], [(1, None), (2, ipaddress.ip_address("10.0.0.1"))])
    batches = forebay.batches(cursor)
    assert next(batches).to_tuples() == [(1, None)]
    with pytest.raises(TypeError, match=r"column 'address', row 1: .*IPv4Address.*types=\{'address': \"text\"\}"):
        next(batches)
    assert cursor.closed
    assert list(batches) == []


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates(), st.times(), st.timedeltas(),
    st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(BERLIN)), st.decimals(), st.uuids(),
)  # fmt: skip
columns = st.one_of(
    *(st.lists(st.one_of(st.none(), each), min_size=20, max_size=20) for each in (
        st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(), st.binary(), st.dates(), st.times(),
        st.datetimes(), st.datetimes(timezones=st.just(BERLIN)), st.decimals(places=2, allow_nan=False, allow_infinity=False),
        st.uuids(), scalars, st.recursive(scalars, st.lists, max_leaves=5),
    ))
)  # fmt: skip


def exact_deep(value):
    return [exact_deep(each) for each in value] if isinstance(value, list) else exact(value)


@settings(deadline=None, max_examples=150)
@given(st.lists(columns, min_size=1, max_size=4), st.integers(1, 3000), st.integers(1, 30))
def test_random_tables_come_out_exactly(table, max_bytes, max_rows):
    rows = list(zip(*table))
    cursor = Cursor([f"c{i}" for i in range(len(table))], rows)
    found = [
        row for batch in forebay.batches(cursor, max_bytes=max_bytes, max_rows=max_rows) for row in batch.to_tuples()
    ]
    assert [[exact_deep(v) for v in row] for row in found] == [[exact_deep(v) for v in row] for row in rows]


# ---- batches

ROWS = [(i, f"name {i}", i / 4, None if i % 3 else "x") for i in range(5000)]


@pytest.mark.parametrize("max_bytes", [1, 100, 5000, "64KiB", "8MiB"])
def test_no_batch_is_larger_than_max_bytes_unless_it_is_one_row(max_bytes):
    limit = {"64KiB": 65536, "8MiB": 8 << 20}.get(max_bytes, max_bytes)
    found = list(forebay.batches(Cursor("abcd", ROWS[:500] if limit < 1000 else ROWS), max_bytes=max_bytes))
    assert all(batch.nbytes <= limit or len(batch) == 1 for batch in found)
    assert sum(map(len, found)) == (500 if limit < 1000 else 5000)
    assert limit > 5000 or min(map(len, found[:-1])) * 2 > max(map(len, found)) or limit == 1


def test_a_row_larger_than_max_bytes_is_a_batch_of_its_own():
    rows = ["a", "b", "x" * 10_000, "c", "y" * 10_000, "z" * 10_000]
    found = [batch.column(0).to_list() for batch in forebay.batches(cursor_of(*rows), max_bytes=1000)]
    assert found == [["a", "b"], [rows[2]], ["c"], [rows[4]], [rows[5]]]


def test_a_row_that_goes_to_the_next_batch_leaves_nothing_behind():
    values = [None, "a" * 300, None, "b" * 300, True, 1, "c" * 300, [1], 2.5, None, "d" * 300]
    for limit in range(100, 1500, 7):
        assert out(*values, max_bytes=limit) == values


def test_max_rows_bounds_batches():
    assert [len(b) for b in forebay.batches(Cursor("abcd", ROWS), max_rows=1999)] == [1999, 1999, 1002]


def test_chunks_are_small_beside_a_batch_and_grow_from_one():
    cursor = Cursor("abcd", ROWS)
    list(forebay.batches(cursor, max_bytes="64KiB"))
    assert cursor.sizes[0] == 1
    assert max(cursor.sizes) * 30 < 65536 / 20
    wide = Cursor("a", [("x" * 50_000,)] * 20)
    list(forebay.batches(wide, max_bytes="1MiB"))
    assert set(wide.sizes) == {1}


def test_an_empty_result_has_no_batches_but_columns():
    batches = forebay.batches(Cursor("ab", []))
    assert batches.columns == ("a", "b")
    assert list(batches) == []
    assert batches.closed


def test_batches_are_fetched_only_when_they_are_asked_for():
    cursor = Cursor("abcd", ROWS)
    batches = forebay.batches(cursor, max_rows=10)
    assert cursor.given == 0
    next(batches)
    assert cursor.given < 200


def test_rows_may_be_lists_dicts_named_tuples_and_other_sequences():
    Pair = collections.namedtuple("Pair", "a b")
    rows = [[1, "x"], {"b": "y", "a": 2}, Pair(3, "z"), collections.deque([4, "w"])]
    (batch,) = forebay.batches(Cursor("ab", rows))
    assert batch.to_tuples() == [(1, "x"), (2, "y"), (3, "z"), (4, "w")]


@pytest.mark.parametrize(
    ("row", "error", "text"),
    [
        ((1,), ValueError, "row 1 has 1 values; there are 2 columns"),
        ({"a": 1}, ValueError, "row 1 has no value of column 'b'"),
        ("ab", TypeError, "rows are tuples, lists or dicts, not str"),
        (5, TypeError, "rows are tuples, lists or dicts, not int"),
    ],
)
def test_rows_of_a_wrong_form_are_errors(row, error, text):
    batches = forebay.batches(Cursor("ab", [(1, 2), row]))
    assert len(next(batches)) == 1
    with pytest.raises(error, match=text):
        next(batches)


def test_a_driver_that_fails_is_heard_after_the_rows_before():
    cursor = Cursor("abcd", ROWS, fail_at=1234)
    found = []
    with pytest.raises(OSError, match="went away"):
        for batch in forebay.batches(cursor, max_rows=1000):
            found += batch.to_tuples()
    assert found == ROWS[:1234]
    assert cursor.closed


def test_an_interrupt_is_raised_at_once_and_closes_the_cursor():
    cursor = Cursor("abcd", ROWS)
    fetch = cursor.fetchmany

    def interrupted(size):
        if cursor.given > 100:
            raise KeyboardInterrupt
        return fetch(size)

    cursor.fetchmany = interrupted
    with pytest.raises(KeyboardInterrupt):
        next(forebay.batches(cursor))
    assert cursor.closed


def test_close_closes_the_cursor_and_batches_stay_good():
    cursor = Cursor("abcd", ROWS)
    with forebay.batches(cursor, max_rows=100) as batches:
        batch = next(batches)
    assert cursor.closed and batches.closed
    assert list(batches) == []
    batches.close()
    assert batch.to_tuples() == ROWS[:100]


def test_a_cursor_that_was_passed_in_stays_open_after_the_last_row():
    cursor = Cursor("abcd", ROWS)
    for _ in forebay.batches(cursor):
        pass
    assert not cursor.closed


def test_one_thread_at_a_time():
    cursor = Cursor("abcd", ROWS)
    fetch, inside, go_on = cursor.fetchmany, threading.Event(), threading.Event()

    def slow(size):
        inside.set()
        assert go_on.wait(30)
        return fetch(size)

    cursor.fetchmany = slow
    batches = forebay.batches(cursor)
    thread = threading.Thread(target=next, args=[batches])
    thread.start()
    assert inside.wait(30)
    with pytest.raises(RuntimeError, match="another thread"):
        next(batches)
    go_on.set()
    thread.join()
    assert batches.rows == 5000


def test_a_cursor_that_asks_for_batches_of_itself_is_refused():
    cursor = Cursor("abcd", ROWS)
    batches = forebay.batches(cursor)
    cursor.fetchmany = lambda size: next(batches)
    with pytest.raises(RuntimeError, match="cursor's own code"):
        next(batches)
    builder = BatchBuilder(("a",), (None,), 100, 100)

    def rows():
        yield (1,)
        builder.drain(iter([(2,)]))

    with pytest.raises(RuntimeError, match="being filled already"):
        builder.drain(rows())
    assert builder.finish().to_tuples() == [(1,)]


def test_prefetch_gives_the_same_and_leaves_no_thread():
    threads = threading.active_count()
    cursor = Cursor("abcd", ROWS)
    rows = [row for batch in forebay.batches(cursor, prefetch=True, max_bytes="16KiB") for row in batch.to_tuples()]
    assert rows == ROWS
    with forebay.batches(Cursor("abcd", ROWS), prefetch=True, max_rows=10) as batches:
        next(batches)
    failing = Cursor("abcd", ROWS, fail_at=77)
    with pytest.raises(OSError, match="went away"):
        for _ in forebay.batches(failing, prefetch=True):
            pass
    assert failing.closed
    assert threading.active_count() == threads


# ---- progress


def test_progress_is_called_with_all_rows_and_bytes():
    calls = []
    batches = forebay.batches(Cursor("abcd", ROWS), max_rows=2000, progress=lambda rows, size: calls.append((rows, size)))
    sizes = [batch.nbytes for batch in batches]
    assert calls == [(2000, sum(sizes[:1])), (4000, sum(sizes[:2])), (5000, sum(sizes))]
    assert (batches.rows, batches.bytes) == calls[-1]


def test_progress_bars_are_updated_by_the_rows_of_each_batch():
    class Bar:
        steps = []

        def update(self, count):
            self.steps.append(count)

    list(forebay.batches(Cursor("abcd", ROWS), max_rows=2000, progress=Bar()))
    assert Bar.steps == [2000, 2000, 1000]


def test_what_progress_raises_is_raised():
    cursor = Cursor("abcd", ROWS)
    with pytest.raises(ZeroDivisionError):
        next(forebay.batches(cursor, max_rows=10, progress=lambda rows, size: 1 / 0))
    assert cursor.closed


# ---- types=


@pytest.mark.parametrize(
    ("type_", "given", "expected"),
    [
        ("float64", [1, 2.5], [1.0, 2.5]),
        ("int64", [1, 2.0, True], [1, 2, 1]),
        ("bool", [0, 1, True], [False, True, True]),
        ("text", [1, "a", dt.date(2024, 1, 2), {"a": 1}], ["1", "a", "2024-01-02", '{"a": 1}']),
        ("decimal(10, 2)", [1, Decimal("2.5"), Decimal("-3")], [Decimal("1.00"), Decimal("2.50"), Decimal("-3.00")]),
        ("date", ["2024-02-29"], [dt.date(2024, 2, 29)]),
        ("time", ["12:30"], [dt.time(12, 30)]),
        ("timestamp", ["2024-02-29 12:30"], [dt.datetime(2024, 2, 29, 12, 30)]),
        ("timestamp[UTC]", [dt.datetime(2024, 1, 1, 2, tzinfo=EAST)], [dt.datetime(2024, 1, 1, tzinfo=UTC)]),
        ("uuid", [str(uuid.UUID(int=3))], [uuid.UUID(int=3)]),
        ("binary", [bytearray(b"x")], [b"x"]),
        ("duration", [None], [None]),
    ],
)
def test_declared_types_convert_what_loses_nothing(type_, given, expected):
    (batch,) = forebay.batches(cursor_of(*given), types={"x": type_})
    assert [exact(v) for v in batch.column("x")] == [exact(v) for v in expected]
    assert batch.column("x").type == type_.replace("decimal(10", "decimal(10")


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int64", 2.5), ("int64", 2**63), ("int64", "1"), ("float64", 2**53 + 1), ("float64", "x"), ("bool", 2),
        ("text", b"x"), ("text", "\ud800"), ("decimal(4, 2)", Decimal("100")), ("decimal(4, 2)", Decimal("1.234")),
        ("decimal(4, 2)", Decimal("NaN")), ("date", "yesterday"), ("date", dt.datetime(2024, 1, 1)),
        ("timestamp", dt.datetime(2024, 1, 1, tzinfo=UTC)), ("timestamp[UTC]", dt.datetime(2024, 1, 1)), ("uuid", "x"),
        ("duration", 5), ("binary", "x"), ("time", 5),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_a_declared_type_is_an_error(type_, value):
    batches = forebay.batches(cursor_of(None, value), types={"x": type_})
    assert next(batches).to_tuples() == [(None,)]
    with pytest.raises(TypeError, match=r"column 'x', row 1: .* does not fit the column's type"):
        next(batches)


@pytest.mark.parametrize(
    ("types", "error", "text"),
    [
        ({"y": "int64"}, ValueError, "there is no column 'y'; there are 'x'"),
        ({"x": "int"}, ValueError, "unknown type 'int'; there are bool"),
        ({"x": "timestamp[Atlantis]"}, ValueError, "unknown time zone 'Atlantis'"),
        ({"x": "decimal(39, 2)"}, ValueError, "1 to 38 digits"),
        ({"x": "decimal(3, 4)"}, ValueError, "no more than those after the point"),
        ({"x": int}, TypeError, "a type is a str"),
        ("int64", TypeError, "types must be a mapping"),
    ],
)
def test_wrong_types_are_refused(types, error, text):
    with pytest.raises(error, match=text):
        forebay.batches(cursor_of(1), types=types)


# ---- arguments


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_bytes": 0}, ValueError, "max_bytes must be more than 0"),
        ({"max_bytes": "much"}, ValueError, "max_bytes is not understood"),
        ({"max_bytes": "2GiB"}, ValueError, "less than 2 GiB"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes must be an int"),
        ({"max_rows": 0}, ValueError, "max_rows must be 1 to"),
        ({"max_rows": True}, TypeError, "max_rows must be an int or None"),
        ({"progress": 5}, TypeError, "progress must be a function"),
        ({"max_byte": 5}, TypeError, "max_byte"),
    ],
)
def test_wrong_arguments_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        forebay.batches(cursor_of(1), **options)


def test_what_is_no_cursor_is_refused():
    with pytest.raises(TypeError, match="not list"):
        forebay.batches([(1, 2)])
    with pytest.raises(TypeError, match="a query needs a connection"):
        forebay.batches(object(), "SELECT 1")
    cursor = Cursor("a", [])
    cursor.description = None
    with pytest.raises(ValueError, match="the cursor has no result"):
        forebay.batches(cursor)


# ---- sqlite3


@pytest.fixture
def database():
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name, price)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?)", ((i, f"näme {i}", i / 2 if i % 2 else i // 2) for i in range(1000))
        )
        yield connection
    connection.close()


def test_sqlite_gives_what_fetchall_gives(database):
    rows = database.execute("SELECT * FROM t").fetchall()
    cursor = database.execute("SELECT * FROM t")
    assert [row for batch in forebay.batches(cursor, max_bytes=4096) for row in batch.to_tuples()] == rows
    database.row_factory = sqlite3.Row
    cursor = database.execute("SELECT * FROM t")
    assert [row for batch in forebay.batches(cursor, max_bytes=4096) for row in batch.to_tuples()] == rows


def test_a_query_on_a_connection_has_a_cursor_of_its_own(database):
    with forebay.batches(database, "SELECT * FROM t WHERE id < ?", (10,), max_rows=4) as batches:
        assert batches.columns == ("id", "name", "price")
        assert [len(batch) for batch in batches] == [4, 4, 2]
    assert list(forebay.batches(database, "SELECT 1 WHERE 0")) == []
    with pytest.raises(sqlite3.OperationalError):
        forebay.batches(database, "SELECT * FROM nowhere")
    with pytest.raises(ValueError, match="no result"):
        forebay.batches(database, "CREATE TABLE u (x)")


def test_a_stream_that_is_dropped_frees_its_cursor(database):
    batches = forebay.batches(database, "SELECT * FROM t", max_rows=1)
    next(batches)
    del batches
    database.execute("DROP TABLE t")  # sqlite3 refuses it while a statement reads the table


def test_an_error_in_the_middle_of_a_query_comes_after_the_rows_before(database):
    database.create_function("fail_at", 1, lambda n: 1 / 0 if n == 700 else n)
    given, found = [], []
    with pytest.raises(sqlite3.OperationalError):
        for (number,) in database.execute("SELECT fail_at(id) FROM t"):
            given.append(number)  # the driver itself may lose the row before the error
    with pytest.raises(sqlite3.OperationalError):
        for batch in forebay.batches(database, "SELECT fail_at(id) FROM t", max_rows=300):
            found += batch.column(0)
    assert found == given and len(found) >= 699


def test_sqlite_refuses_prefetch(database):
    with pytest.raises(ValueError, match="belong to their thread"):
        forebay.batches(database, "SELECT 1", prefetch=True)
