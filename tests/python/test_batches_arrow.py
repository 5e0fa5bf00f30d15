# SPDX-License-Identifier: Apache-2.0
"""Batches and streams of them by the Arrow PyCapsule interface."""

import datetime as dt
import gc
import sqlite3
import subprocess
import sys
import threading
import uuid
from decimal import Decimal

import pytest
from test_batches import BERLIN, EAST, UTC, VALUES, Cursor, cursor_of

import forebay

pa = pytest.importorskip("pyarrow")

TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "text": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamp[UTC]": pa.timestamp("us", "UTC"),
    "timestamp[+02:00]": pa.timestamp("us", "+02:00"),
    "timestamp[Europe/Berlin]": pa.timestamp("us", "Europe/Berlin"),
    "duration": pa.duration("us"),
    "decimal(38, 2)": pa.decimal128(38, 2),
    "decimal(38, 0)": pa.decimal128(38, 0),
    "uuid": pa.uuid(),
    "null": pa.null(),
}


def batch_of(*values, **options):
    (batch,) = forebay.batches(cursor_of(*values), **options)
    return batch


def same(left, right):
    return left == right or (left != left and right != right)


@pytest.mark.parametrize("type_", VALUES)
@pytest.mark.parametrize("nulls", [False, True], ids=["without NULL", "with NULL"])
def test_each_type_is_arrows(type_, nulls):
    values = VALUES[type_] * 3
    if nulls or not values:
        values = [*(each for value in values for each in (value, None)), None]
    exported = pa.record_batch(batch_of(*values))
    exported.validate(full=True)
    assert exported.schema == pa.schema([("x", TYPES[type_])])
    assert exported["x"].null_count == values.count(None)
    if type_ in ("timestamp[UTC]", "timestamp[+02:00]", "timestamp[Europe/Berlin]"):
        found = exported["x"].cast(pa.int64()).to_pylist()
        epoch = dt.datetime(1970, 1, 1, tzinfo=UTC)
        wanted = [v if v is None else (v - v.utcoffset()).replace(tzinfo=UTC) - epoch if v.year > 1 and v.year < 9999 else v for v in values]
        wanted = [v // dt.timedelta(microseconds=1) if isinstance(v, dt.timedelta) else v for v in wanted]
        assert all(f == w for f, w in zip(found, wanted) if not isinstance(w, dt.datetime))
    else:
        assert all(map(same, exported["x"].to_pylist(), values))


def test_offsets_of_seconds_are_exported_as_utc():
    odd = dt.timezone(dt.timedelta(seconds=90))
    exported = pa.record_batch(batch_of(dt.datetime(2024, 1, 1, 0, 1, 30, tzinfo=odd)))
    assert exported.schema.field("x").type == pa.timestamp("us", "UTC")
    assert exported["x"][0].as_py() == dt.datetime(2024, 1, 1, tzinfo=UTC)


def test_columns_with_rows_taken_back_are_valid():
    for limit in range(100, 900, 13):
        values = [None, "a" * 90, None, "b" * 90, "", None, "c" * 90, "d" * 90]
        for batch in forebay.batches(Cursor("xy", [(v, v is None) for v in values]), max_bytes=limit):
            exported = pa.record_batch(batch)
            exported.validate(full=True)
            assert exported["x"].to_pylist() == batch.column("x").to_list()
            assert exported["y"].to_pylist() == batch.column("y").to_list()


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
        ([1, 2**70], pa.decimal128(38, 0), [Decimal(1), Decimal(2**70)]),
        ([Decimal("1.1"), Decimal("2.25"), Decimal("1E+2")], pa.decimal128(38, 2), [Decimal("1.10"), Decimal("2.25"), Decimal("100.00")]),
        ([Decimal("1.5"), 2], pa.decimal128(38, 1), [Decimal("1.5"), Decimal("2.0")]),
        ([dt.datetime(2024, 1, 1, 2, tzinfo=EAST), dt.datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"), [dt.datetime(2024, 1, 1, tzinfo=UTC)] * 2),
        ([dt.datetime(2024, 1, 1, fold=1)], pa.timestamp("us"), [dt.datetime(2024, 1, 1)]),
        ([dt.time(1, 2, fold=1)], pa.time64("us"), [dt.time(1, 2)]),
        ([uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)], pa.uuid(), [uuid.UUID(int=5)]),
    ],
)  # fmt: skip
def test_mixtures_are_exported_as_what_holds_them_all_exactly(values, type_, expected):
    batch = batch_of(*values)
    exported = pa.record_batch(batch)
    exported.validate(full=True)
    assert exported.schema.field("x").type == type_
    assert exported["x"].to_pylist() == expected
    assert batch.column("x").to_list() == values


@pytest.mark.parametrize("values", [[1, "one"], [[1]], [{"a": 1}], [2**53 + 1, 0.5], [True, 1], ["\ud800"], [dt.time(1, tzinfo=UTC)], [Decimal("NaN")], [dt.timedelta.max], [2**200]])  # fmt: skip
def test_mixtures_without_a_type_are_errors_that_say_what_to_do(values):
    batch = batch_of(*values)
    with pytest.raises(TypeError, match="column 'x'.*(types=|convert it in the query)"):
        batch.__arrow_c_array__()
    with pytest.raises(TypeError, match="column 'x'"):
        batch.__arrow_c_schema__()


def test_mixtures_declared_as_text_are_exported_as_that():
    exported = pa.record_batch(batch_of(1, "one", None, {"a": [1]}, types={"x": "text"}))
    assert exported["x"].to_pylist() == ["1", "one", None, '{"a": [1]}']


def test_names_that_columns_share_stay():
    (batch,) = forebay.batches(Cursor(["id", "id", "ä"], [(1, 2, 3)]))
    assert pa.record_batch(batch).schema.names == ["id", "id", "ä"]


def test_the_export_copies_nothing_and_outlives_batch_and_stream():
    exported, addresses = [], []
    for batch in forebay.batches(Cursor("ab", [(i, "x" * 50) for i in range(9000)]), max_bytes="256KiB"):
        exported.append(pa.record_batch(batch))
        again = pa.record_batch(batch)
        addresses.append(again["b"].buffers()[2].address == exported[-1]["b"].buffers()[2].address)
    del batch, again
    gc.collect()
    assert all(addresses) and len(addresses) > 1
    table = pa.Table.from_batches(exported)
    table.validate(full=True)
    assert table["a"].to_pylist() == list(range(9000))
    assert set(table["b"].to_pylist()) == {"x" * 50}


def test_exports_may_be_dropped_by_threads_without_the_gil():
    batches = [pa.record_batch(batch) for batch in forebay.batches(Cursor("a", [("x" * 100,)] * 5000), max_bytes="64KiB")]
    table = pa.Table.from_batches(batches)
    del batches
    threads = [threading.Thread(target=lambda t: t.group_by("a").aggregate([("a", "count")]), args=[table]) for _ in range(4)]
    del table
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_capsules_that_nobody_takes_are_freed():
    batch = batch_of(1, None, 3)
    for _ in range(100):
        batch.__arrow_c_array__()
        batch.__arrow_c_schema__()
        batch.__arrow_c_stream__()
        forebay.batches(cursor_of(1)).__arrow_c_stream__(None)
    with pytest.raises(TypeError):
        batch.__arrow_c_array__(requested=5)
    with pytest.raises(TypeError):
        batch.__arrow_c_stream__(5, 6)


# ---- streams


def rows_of(count):
    return [(i, None if i % 7 else f"name {i}") for i in range(count)]


def test_a_stream_is_read_whole():
    cursor = Cursor("ab", rows_of(5000))
    table = pa.table(forebay.batches(cursor, max_bytes="16KiB"))
    table.validate(full=True)
    assert table.column("a").num_chunks > 4
    assert list(zip(table["a"].to_pylist(), table["b"].to_pylist())) == rows_of(5000)


def test_a_stream_is_fetched_as_far_as_it_is_read_and_then_closed():
    cursor = Cursor("ab", rows_of(5000))
    reader = pa.RecordBatchReader.from_stream(forebay.batches(cursor, max_rows=100))
    reader.read_next_batch()
    assert 0 < cursor.given < 400 and not cursor.closed
    del reader
    gc.collect()
    assert cursor.closed


def test_a_stream_asked_for_its_schema_alone_is_still_to_be_read():
    batches = forebay.batches(Cursor("ab", rows_of(5000)), max_rows=100)
    assert pa.RecordBatchReader.from_stream(batches).schema.names == ["a", "b"]
    assert pa.table(batches).num_rows == 5000
    batches = forebay.batches(Cursor("ab", rows_of(5000)), max_rows=100)
    assert pa.RecordBatchReader.from_stream(batches).schema.names == ["a", "b"]
    assert [row for batch in batches for row in batch.to_tuples()] == rows_of(5000)


def test_an_empty_result_has_a_schema():
    table = pa.table(forebay.batches(Cursor("ab", []), types={"b": "decimal(10, 2)"}))
    assert table.schema == pa.schema([("a", pa.null()), ("b", pa.decimal128(10, 2))])
    assert table.num_rows == 0


def test_a_later_batch_is_converted_to_the_schema_of_the_first():
    values = [1.5] * 10 + [1, 2] * 5 + [None] * 10
    table = pa.table(forebay.batches(cursor_of(*values), max_rows=10))
    assert table["x"].to_pylist() == values and table.schema.field("x").type == pa.float64()
    zones = [dt.datetime(2024, 1, 1, tzinfo=BERLIN), dt.datetime(2024, 7, 1, tzinfo=UTC)]
    table = pa.table(forebay.batches(cursor_of(*zones), max_rows=1))
    assert table["x"].to_pylist() == zones


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 2, 3, 2.5], r"column 'x', row 3: 2.5 of type float does not fit the column's type int64"),
        ([None, None, None, 5], r"column 'x' had nothing but NULL in the first batch.*int64 from row 2 on; pass types="),
        ([Decimal("1.1"), Decimal("2.2"), Decimal("3.33")], r"column 'x', row 2: Decimal\('3.33'\)"),
    ],
)
def test_a_later_batch_that_does_not_fit_the_schema_is_an_error(values, text):
    cursor = cursor_of(*values, *[None] * 100)
    with pytest.raises(Exception, match=text):
        pa.table(forebay.batches(cursor, max_rows=2))
    assert cursor.closed


def test_an_error_of_the_driver_reaches_the_reader():
    cursor = Cursor("ab", rows_of(5000), fail_at=1000)
    reader = pa.RecordBatchReader.from_stream(forebay.batches(cursor, max_rows=300))
    with pytest.raises(OSError, match="OSError: the server went away"):
        for batch in reader:
            assert batch.num_rows in (300, 100)
    assert cursor.closed


def test_a_stream_left_at_exit_does_no_harm():
    code = f"""
import sys; sys.path[:] = {sys.path!r}
import sqlite3, forebay, pyarrow
connection = sqlite3.connect(":memory:")
reader = pyarrow.RecordBatchReader.from_stream(forebay.batches(connection.execute("SELECT 1 UNION SELECT 2"), max_rows=1))
batch = reader.read_next_batch()
sys.modules["kept"] = [reader, batch, forebay.batches(connection.execute("SELECT 1")).__arrow_c_stream__()]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# ---- others that read it


def table_of_everything():
    rows = [(i, f"name {i}", i / 4, None if i % 3 else dt.datetime(2024, 1, 1, i % 24, tzinfo=UTC), Decimal(i).scaleb(-2)) for i in range(300)]
    return ["number", "name", "score", "at", "price"], rows


def test_polars_takes_batches_and_streams():
    pl = pytest.importorskip("polars")
    names, rows = table_of_everything()
    frame = pl.DataFrame(forebay.batches(Cursor(names, rows), max_rows=100))
    assert frame.columns == names and frame.rows() == rows
    for batch in forebay.batches(Cursor(names, rows)):
        assert pl.DataFrame(batch).rows() == rows


def test_pandas_takes_batches_and_streams():
    pd = pytest.importorskip("pandas")
    if not hasattr(pd.DataFrame, "from_arrow"):
        pytest.skip("this pandas takes no Arrow streams")
    names, rows = table_of_everything()
    frame = pd.DataFrame.from_arrow(forebay.batches(Cursor(names, rows), max_rows=100))
    assert list(frame.columns) == names and list(frame["name"]) == [row[1] for row in rows]


def test_duckdb_takes_streams():
    duckdb = pytest.importorskip("duckdb")
    names, rows = table_of_everything()
    stream = forebay.batches(Cursor(names, rows), max_rows=100)
    assert duckdb.sql("SELECT count(*), sum(number), max(price) FROM stream").fetchall() == [
        (300, sum(range(300)), Decimal("2.99"))
    ]
    del stream


def test_duckdb_reads_sqlite_of_any_thread():
    duckdb = pytest.importorskip("duckdb")
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) SELECT i FROM n")
    stream = forebay.batches(connection, "SELECT i FROM t", max_rows=100)
    assert duckdb.sql("SELECT sum(i) FROM stream").fetchall() == [(3000 * 3001 // 2,)]
    del stream
    connection.close()
