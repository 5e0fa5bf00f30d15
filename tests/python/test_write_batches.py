# SPDX-License-Identifier: Apache-2.0
"""forebay.write_batches(): rows grouped by their measured bytes."""

import asyncio
import contextlib
import datetime as dt
import sqlite3

import pytest
from test_batches import Cursor

import forebay
from forebay._core import _measure


def written(rows, **options):
    """The batches that are written, and what is returned."""
    batches = []
    return batches, forebay.write_batches(rows, batches.append, **options)


def test_rows_go_in_batches_of_at_most_max_rows():
    batches, total = written(((i, "x") for i in range(2500)))
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert [row for batch in batches for row in batch] == [(i, "x") for i in range(2500)]
    assert total == (2500, 3, total.bytes) and total.rows == 2500 and total.batches == 3
    assert total.bytes == 2500 * _measure((1, "x"))


def test_rows_go_in_batches_of_at_most_max_bytes_and_larger_ones_alone():
    rows = [("a" * 40,), ("b" * 40,), ("c" * 500,), ("d" * 40,)]
    batches, _ = written(rows, max_bytes=100, max_rows=None)
    assert batches == [rows[:2], rows[2:3], rows[3:]]
    assert all(sum(map(_measure, batch)) <= 100 or len(batch) == 1 for batch in batches)


def test_no_rows_write_nothing():
    assert written([]) == ([], (0, 0, 0))


def test_batches_and_their_rows_are_written_as_tuples_and_others_as_they_are():
    (batch,) = forebay.batches(Cursor("ab", [(1, "x"), (2, "y")]))
    batches, _ = written([batch, batch[1], {"a": 3}, [4, "z"]])
    assert batches == [[(1, "x"), (2, "y"), (2, "y"), {"a": 3}, [4, "z"]]]


def test_from_one_database_to_another():
    with contextlib.closing(sqlite3.connect(":memory:")) as source, contextlib.closing(sqlite3.connect(":memory:")) as target:
        copy_a_table(source, target)


def copy_a_table(source, target):
    source.execute("CREATE TABLE t (id, name)")
    source.executemany("INSERT INTO t VALUES (?, ?)", ((i, f"name {i}") for i in range(5000)))
    target.execute("CREATE TABLE t (id, name)")
    with forebay.batches(source, "SELECT * FROM t", max_bytes="32KiB") as batches:
        total = forebay.write_batches(batches, lambda rows: target.executemany("INSERT INTO t VALUES (?, ?)", rows))
    assert total.rows == 5000
    assert target.execute("SELECT * FROM t").fetchall() == source.execute("SELECT * FROM t").fetchall()


def test_rows_are_read_only_as_far_as_they_are_needed():
    read = []

    def rows():
        for i in range(100):
            read.append(i)
            yield (i,)

    seen = []
    forebay.write_batches(rows(), lambda batch: seen.append((batch[-1][0], read[-1])), max_rows=10)
    assert seen == [(last, min(last + 1, 99)) for last in range(9, 100, 10)]


def test_a_failing_batch_says_how_many_rows_were_written_before():
    def execute_many(rows):
        if rows[0][0] == 20:
            raise sqlite3.IntegrityError("no")

    with pytest.raises(sqlite3.IntegrityError) as caught:
        forebay.write_batches(((i,) for i in range(100)), execute_many, max_rows=10)
    assert caught.value.rows_written == 20
    assert caught.value.__notes__ == [
        "forebay.write_batches: 20 rows in 2 batches were written before; this batch was rows 20 to 29"
    ]


def test_progress_is_told_of_each_batch():
    calls = []
    forebay.write_batches(((1,) for _ in range(25)), list, max_rows=10, progress=lambda *seen: calls.append(seen))
    size = _measure((1,))
    assert calls == [(10, 10 * size), (20, 20 * size), (25, 25 * size)]


def test_the_measure_is_near_what_is_sent():
    assert _measure(("ä" * 100,)) == 4 + 4 + 200
    assert _measure((b"x" * 10, bytearray(5), memoryview(b"abc"))) == 4 + 14 + 9 + 7
    assert _measure((1, 1.5, None, True, dt.date.min)) == 4 + 8 + 8 + 1 + 1 + 16
    assert _measure({"a": "x", "b": [1, 2]}) == 4 + 5 + 4 + 16
    nested = []
    nested.append(nested)
    assert _measure(nested) > 0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (([], 5), {}, TypeError, "execute_many must be a function"),
        ((5, list), {}, TypeError, "rows must be an iterable"),
        (("abc", list), {}, TypeError, "rows must be an iterable"),
        (([], list), {"max_rows": 0}, ValueError, "max_rows"),
        (([], list), {"max_bytes": -1}, ValueError, "max_bytes"),
        (([], list), {"progress": 1}, TypeError, "progress"),
        (([], list), {"rows_max": 1}, TypeError, "rows_max"),
    ],
)
def test_wrong_arguments_are_refused(arguments, options, error, text):
    with pytest.raises(error, match=text):
        forebay.write_batches(*arguments, **options)
    with pytest.raises(error, match=text):
        asyncio.run(forebay.awrite_batches(*arguments, **options))


def test_a_coroutine_function_is_for_awrite_batches():
    async def execute_many(rows):
        pass

    with pytest.raises(TypeError, match="use awrite_batches"):
        forebay.write_batches([(1,)], execute_many)


def test_asyncio_writes_what_comes_of_iterables_of_both_kinds():
    async def main():
        seen = []

        async def execute_many(rows):
            await asyncio.sleep(0)
            if (99,) in rows:
                raise OSError("no")
            seen.append(len(rows))

        async def rows():
            for i in range(25):
                yield (i,)

        assert await forebay.awrite_batches(rows(), execute_many, max_rows=10) == (25, 3, 25 * _measure((1,)))
        assert (await forebay.awrite_batches([(1,), (2,)], execute_many)).rows == 2
        assert seen == [10, 10, 5, 2]
        with pytest.raises(OSError) as caught:
            await forebay.awrite_batches([(1,), (99,)], execute_many, max_rows=1)
        assert caught.value.rows_written == 1

    asyncio.run(main())
