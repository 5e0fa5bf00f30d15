# SPDX-License-Identifier: Apache-2.0
"""Batch, BatchRow and BatchColumn: reading what batches() packed."""

import collections.abc
import gc
import pickle
import threading

import pytest
from test_batches import Cursor

import forebay
from forebay._core import BatchBuilder

ROWS = [(i, f"name {i}", None if i % 2 else i / 4) for i in range(10)]


@pytest.fixture
def batch():
    (batch,) = forebay.batches(Cursor(["id", "name", "score"], ROWS))
    return batch


@pytest.fixture
def joined():
    (batch,) = forebay.batches(Cursor(["id", "name", "id"], [(1, "a", 2), (3, "b", 4)]))
    return batch


def test_a_batch_is_its_rows(batch):
    assert len(batch) == 10
    assert batch.columns == ("id", "name", "score")
    assert batch.to_tuples() == ROWS
    assert batch.to_dicts() == [dict(zip(batch.columns, row)) for row in ROWS]
    assert [row.astuple() for row in batch] == ROWS
    assert [row["id"] for row in batch[7:2:-2]] == [7, 5, 3]
    assert batch[-1].astuple() == ROWS[-1]
    assert repr(batch) == "<forebay.Batch of 10 rows, columns ('id', 'name', 'score')>"
    for index in (10, -11, 2**70):
        with pytest.raises(IndexError):
            batch[index]
    with pytest.raises(TypeError, match="columns: column()"):
        batch["id"]


def test_nbytes_is_what_the_buffers_hold(batch):
    assert batch.nbytes == 10 * 8 + (11 * 4 + 10 * 6) + (10 * 8 + 2)


def test_a_row_is_a_mapping_that_takes_numbers_as_well(batch):
    row = batch[4]
    assert isinstance(row, collections.abc.Mapping)
    assert (row["name"], row[1], row[-1]) == ("name 4", "name 4", 1.0)
    assert (row.get("name"), row.get("no"), row.get("no", 5), row.get(0), row.get(7, "none")) == ("name 4", None, 5, 4, "none")
    assert "id" in row and "no" not in row and 0 not in row
    assert list(row) == ["id", "name", "score"] and len(row) == 3
    assert dict(row) == row.materialize() == forebay.plain(row) == {"id": 4, "name": "name 4", "score": 1.0}
    assert list(row.keys()) == list(row)
    assert list(row.values()) == [4, "name 4", 1.0]
    assert ("id", 4) in row.items()
    assert row.astuple() == (4, "name 4", 1.0)
    match row:
        case {"id": id, "name": name}:
            assert (id, name) == (4, "name 4")
    assert repr(row) == "BatchRow(('id', 'name', 'score'): (4, 'name 4', 1.0))"


def test_a_row_refuses_what_it_has_not(batch):
    row = batch[0]
    with pytest.raises(KeyError, match="'no'"):
        row["no"]
    with pytest.raises(IndexError, match="no column 3: there are 3"):
        row[3]
    with pytest.raises(TypeError, match="by its name or number, not by float"):
        row[1.5]
    with pytest.raises(TypeError, match="unhashable"):
        hash(row)
    with pytest.raises(TypeError):
        row["id"] = 5
    with pytest.raises(TypeError):
        row.get()


def test_a_row_equals_the_dict_it_stands_for(batch):
    assert batch[3] == dict(batch[3]) == batch[3]
    assert batch[3] != batch[4] and batch[3] != {"id": 3}
    assert batch[3] != 5 and not batch[3] == [1]
    assert batch[3] == collections.ChainMap(dict(batch[3]))


def test_names_that_columns_share_are_taken_by_number(joined):
    row = joined[0]
    assert (row[0], row["name"], row[2]) == (1, "a", 2)
    for ask in (lambda: row["id"], lambda: dict(row), row.materialize, joined.to_dicts, lambda: joined.column("id"), lambda: row.get("id")):
        with pytest.raises(KeyError, match="several columns are called 'id'"):
            ask()
    assert joined.column(2).to_list() == [2, 4]
    assert row == joined[0] and row != joined[1] and row != {"id": 1, "name": "a"}


def test_a_column_is_a_lazy_sequence(batch):
    column = batch.column("name")
    assert isinstance(column, collections.abc.Sequence)
    assert (column.name, column.type, len(column)) == ("name", "text", 10)
    assert column[0] == "name 0" and column[-1] == "name 9"
    assert column.to_list() == list(column) == [row[1] for row in ROWS]
    assert column[2:8][1:][::-2].to_list() == ["name 7", "name 5", "name 3"]
    assert list(reversed(column[::3])) == ["name 9", "name 6", "name 3", "name 0"]
    assert list(reversed(column[5:5])) == []
    assert column.index("name 4") == 4 and column.count("name 4") == 1 and "name 4" in column
    assert repr(column) == "<forebay.BatchColumn 'name' of 10 values, text>"
    for index in (10, -11):
        with pytest.raises(IndexError):
            column[index]
    with pytest.raises(ValueError):
        column.index("no")


def test_rows_and_columns_keep_their_batch():
    def last():
        for batch in forebay.batches(Cursor(["a"], [("x" * 100,)] * 5000), max_bytes="128KiB"):
            yield batch[0], batch.column(0)

    kept = list(last())
    gc.collect()
    assert len(kept) > 3
    assert all(row["a"] == column[-1] == "x" * 100 for row, column in kept)


def test_batches_kept_are_not_written_over_by_later_ones():
    rows = [(i, str(i) * 20) for i in range(60_000)]
    kept, found = [], []
    for n, batch in enumerate(forebay.batches(Cursor("ab", rows), max_bytes="512KiB")):
        kept.append(batch) if n % 2 else found.append(batch.to_tuples())
    assert len(kept) > 2
    for batch in kept:
        first = batch[0][0]
        assert batch.to_tuples() == rows[first : first + len(batch)]


def test_any_thread_may_read_and_drop_batches():
    rows = [(i, f"value {i}") for i in range(30_000)]
    good = []

    def read(batch):
        first = batch[0][0]
        good.append(batch.to_tuples() == rows[first : first + len(batch)])

    threads = [threading.Thread(target=read, args=[batch]) for batch in forebay.batches(Cursor("ab", rows), max_bytes="128KiB")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(good) > 4 and all(good)


def test_the_types_are_made_by_batches_alone(batch):
    for thing in (batch, batch[0], batch.column(0)):
        with pytest.raises(TypeError):
            type(thing)()
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_a_row_is_stored_as_what_materialize_gives(batch, cache):
    with pytest.raises(TypeError, match="materialize"):
        cache.set("row", batch[0])
    cache.set("row", forebay.plain(batch[0]))
    assert cache.get("row") == batch[0]


def test_a_row_that_fails_leaves_nothing_behind():
    builder = BatchBuilder(("flag", "text", "odd"), (None, None, None), 10_000, 100)
    builder.take([(True, "a", None)], 0)
    for _ in range(3):
        with pytest.raises(TypeError, match="column 'odd', row 1"):
            builder.take([(True, "b" * 500, object())], 0)
    with pytest.raises(TypeError):
        builder.take([(1, 2, object())], 0)
    builder.take([(False, "c", 5), (None, None, None)], 0)
    assert builder.finish().to_tuples() == [(True, "a", None), (False, "c", 5), (None, None, None)]


def test_the_builder_refuses_wrong_arguments():
    for arguments in ((["a"], (None,), 1, 1), (("a",), (), 1, 1), (("a",), (None,), -1, 1), (("a",), (None,), 1, 0), ((1,), (None,), 1, 1)):
        with pytest.raises((TypeError, ValueError)):
            BatchBuilder(*arguments)
    with pytest.raises(TypeError):
        BatchBuilder(("a",), (None,), max_bytes=1, max_rows=1)
    builder = BatchBuilder(("a",), (("colour", 0, 0, None),), 1, 1)
    with pytest.raises(ValueError, match="no type of columns"):
        builder.take([(1,)], 0)
    builder = BatchBuilder(("a",), (None,), 100, 100)
    with pytest.raises(TypeError):
        builder.drain([])
    with pytest.raises(TypeError):
        builder.take(iter([]), 0)
    with pytest.raises(TypeError):
        builder.take([], -1)
    assert len(builder.finish()) == 0
