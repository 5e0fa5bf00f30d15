# SPDX-License-Identifier: Apache-2.0
"""forebay.batches(): results in batches of bounded bytes."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, overload

from forebay import _batch_types
from forebay._batch_sources import AsyncRows, Rows, async_rows_of, is_async, rows_of
from forebay._batch_types import Type
from forebay._core import Batch, BatchBuilder, BatchColumn, BatchRow, _arrow_stream
from forebay._open import parse_size

Mapping.register(BatchRow)
Sequence.register(BatchColumn)

_ROWS_MAX = 2**31 - 1
_BYTES_MAX = 2**31 - 1  # Arrow's offsets have 31 bits
_RESERVE_PART = 6  # of max_bytes: for the rows that are not packed yet, and what the driver keeps


class Updated(Protocol):
    """Progress bars: tqdm's, and what else has its update()."""

    def update(self, n: int, /) -> object: ...


Progress = Callable[[int, int], object] | Updated


class AsyncFetched(Protocol):
    """Cursors and connections of asyncio."""

    def execute(self, query: Any, /) -> Awaitable[Any]: ...


class AsyncCursor(Protocol):
    """asyncpg's cursors."""

    def fetch(self, n: int, /) -> Awaitable[Any]: ...


def parse_types(types: Mapping[str, str] | None) -> dict[str, Type]:
    if types is None:
        return {}
    if not isinstance(types, Mapping):
        raise TypeError(f'types must be a mapping such as {{"price": "decimal(12, 2)"}}, not {type(types).__name__}')
    return {name: _batch_types.parse(text) for name, text in types.items()}


def parse_rows(max_rows: int | None) -> int:
    if max_rows is None:
        return _ROWS_MAX
    if isinstance(max_rows, bool) or not isinstance(max_rows, int):
        raise TypeError(f"max_rows must be an int or None, not {type(max_rows).__name__}")
    if not 1 <= max_rows <= _ROWS_MAX:
        raise ValueError(f"max_rows must be 1 to {_ROWS_MAX}, or None for no limit: {max_rows}")
    return max_rows


def parse_bytes(max_bytes: int | str) -> int:
    number = parse_size(max_bytes, "max_bytes")
    if number > _BYTES_MAX:
        raise ValueError(f"max_bytes must be less than 2 GiB: {max_bytes!r}")
    return number


def reporter(progress: Progress | None) -> Callable[[int, int, int], object] | None:
    """A function of the rows of a batch, of all rows and of all bytes so far."""
    if progress is None:
        return None
    update = getattr(progress, "update", None)
    if callable(update):
        return lambda rows, all_rows, all_bytes: update(rows)
    if callable(progress):
        return lambda rows, all_rows, all_bytes: progress(all_rows, all_bytes)
    raise TypeError(f"progress must be a function of rows and bytes, or have tqdm's update(), not {type(progress).__name__}")


class _Packing:
    """What sync and async streams share: the builder, and counting."""

    def __init__(self, max_bytes: int, max_rows: int, types: dict[str, Type], progress: Progress | None) -> None:
        self._types = types
        self._limits = max(max_bytes - max_bytes // _RESERVE_PART, 1), max_rows
        self._report = reporter(progress)
        self._builder: BatchBuilder | None = None
        self._error: Exception | None = None  # to be raised when what came before it is delivered
        self._ended = self._closed = False
        self._rows_given = self._bytes_given = 0
        self._pid = os.getpid()

    @property
    def rows(self) -> int:
        """Rows delivered so far."""
        return self._rows_given

    @property
    def bytes(self) -> int:
        """Bytes of the batches delivered so far."""
        return self._bytes_given

    @property
    def closed(self) -> bool:
        """After close(), an error, or the end."""
        return self._closed or self._ended

    def _is_mine(self) -> bool:
        """Not in the child of a fork, which has no business with its parent's connection."""
        return os.getpid() == self._pid

    def _check_process(self) -> None:
        if not self._is_mine():
            raise RuntimeError("batches cannot be fetched in the child of a fork: the connection is the parent's")

    def _begin(self, names: tuple[str, ...]) -> BatchBuilder:
        if unknown := self._types.keys() - set(names):
            raise ValueError(f"types: there is no column {min(unknown)!r}; there are {', '.join(map(repr, names))}")
        self._builder = BatchBuilder(names, tuple(self._types.get(name) for name in names), *self._limits)
        return self._builder

    def _take(self, builder: BatchBuilder, end: type[Exception]) -> Batch:
        """The rows that the builder has; `end` is raised if it has none."""
        if self.closed:
            builder.retire()
        if not builder.rows:
            raise end
        return builder.finish()

    def _count(self, batch: Batch) -> Batch:
        self._rows_given += len(batch)
        self._bytes_given += batch.nbytes
        if self._report is not None:
            self._report(len(batch), self._rows_given, self._bytes_given)
        return batch


class Batches(_Packing):
    """An iterator over the batches of a result; forebay.batches() makes it.

    A context manager: leaving the block closes the cursor.  One thread at a time;
    not across fork.  By the Arrow PyCapsule interface pyarrow, polars and duckdb
    read all that is left, a batch at a time, without a copy.
    """

    def __init__(
        self, source: Rows, max_bytes: int, max_rows: int, types: dict[str, Type], progress: Progress | None
    ) -> None:
        super().__init__(max_bytes, max_rows, types, progress)
        self._source = source
        self._turn = threading.Lock()
        self._stream: _Stream | None = None
        self._begin(source.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._source.names

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        self._check_process()
        if not self._turn.acquire(blocking=False):
            raise RuntimeError("another thread is fetching the next batch, or the cursor's own code asks for it")
        try:
            if self._stream is not None and (first := self._stream.take_first()) is not None:
                return first
            return self._count(self._fetch())
        except StopIteration:
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._turn.release()

    def _fetch(self) -> Batch:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self.closed or self._builder is None:
            raise StopIteration
        try:
            if not self._source.fill(self._builder):
                self._ended = True
                self._source.end()
        except Exception as error:
            if not self._builder.rows:
                raise
            self.close()
            self._error = error
        return self._take(self._builder, StopIteration)

    def close(self) -> None:
        """Close the cursor; what is left of the result is given up.  Safe to call twice.

        Batches that were delivered stay good.  After the last batch it does nothing
        to a cursor that was passed in, nor does it in the child of a fork.
        """
        if not self.closed:
            self._closed = True
            if self._is_mine():
                self._source.close()
        self._error = None

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """close()."""
        self.close()

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None and not self.closed and self._is_mine():
            self._closed = True
            try:
                source.end()  # a cursor that was passed in is its owner's
            except Exception:
                pass

    def __repr__(self) -> str:
        return f"<forebay.Batches, {self.rows} rows so far{', closed' if self.closed else ''}>"

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """All batches that are left as a stream: an Arrow PyCapsule.

        The schema is that of the first batch, with types= and what the driver says of
        columns that have nothing but NULL there.  Another one is not made.  The next
        batch is fetched when the reader asks for it; its end closes the cursor.
        """
        if self._stream is None:
            self._stream = _Stream(self)
        return _arrow_stream(_Reading(self._stream))

    def _make_empty(self) -> Batch:
        assert self._builder is not None
        return self._builder.finish()


class _Stream:
    """The source of a result's Arrow streams: batches of one schema.

    Some readers (duckdb) ask for a stream to see its schema, drop it, and ask for
    another to read: only one that was read from closes the cursor at its end.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._first: Batch | None = None
        self._types: tuple[Type, ...] | None = None
        self._empty: Batch | None = None

    def schema(self) -> Batch:
        if self._empty is None:
            self._begin()
        assert self._empty is not None
        return self._empty

    def _begin(self) -> None:
        """Fetch the first batch: it gives the schema."""
        first = next(self._batches, None)
        found = _batch_types.exportable(first if first is not None else self._batches._make_empty())
        self._types = _batch_types.schema_of(found, self._batches._source.hints)
        if first is not None:
            self._first = _batch_types.fitted(found, self._types, 0)
        declared = tuple(None if each == _batch_types.NULL else each for each in self._types)
        self._empty = BatchBuilder(found.columns, declared, 1, 1).finish()

    def take_first(self) -> Batch | None:
        """The batch that was fetched for the schema, once."""
        first, self._first = self._first, None
        return first

    def next(self) -> Batch | None:
        if self._types is None:
            self._begin()
        assert self._types is not None
        if (first := self.take_first()) is not None:
            return first
        first_row = self._batches.rows
        found = next(self._batches, None)
        return None if found is None else _batch_types.fitted(found, self._types, first_row)

    def close(self) -> None:
        self._first = None
        self._batches.close()


class _Reading:
    """One of the streams."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._began = False
        self.schema = stream.schema

    def next(self) -> Batch | None:
        self._began = True
        return self._stream.next()

    def close(self) -> None:
        if self._began:
            self._stream.close()


class AsyncBatches(_Packing):
    """An asynchronous iterator over the batches of a result; forebay.batches() makes it.

    Use `async with`, or aclose(), if you may leave the loop early.  One task at a time.
    """

    def __init__(
        self, source: AsyncRows, max_bytes: int, max_rows: int, types: dict[str, Type], progress: Progress | None
    ) -> None:
        super().__init__(max_bytes, max_rows, types, progress)
        self._source = source
        self._fetching = False

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None before the first batch was asked for."""
        return self._source.names

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        self._check_process()
        if self._fetching:
            raise RuntimeError("another task is fetching the next batch")
        self._fetching = True
        try:
            batch = await self._fetch()
            return self._count(batch)
        except StopAsyncIteration:
            raise
        except BaseException:
            await self._close(False)
            raise
        finally:
            self._fetching = False

    async def _fetch(self) -> Batch:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self.closed:
            raise StopAsyncIteration
        builder = self._builder or self._begin(await self._source.begin())
        try:
            if not await self._source.fill(builder):
                self._ended = True
                await self._source.end()
        except Exception as error:
            if not builder.rows:
                raise
            await self._close(False)
            self._error = error
        return self._take(builder, StopAsyncIteration)

    async def _close(self, good: bool) -> None:
        if not self.closed:
            self._closed = True
            if self._is_mine():
                await self._source.close(good)
        self._error = None

    async def aclose(self) -> None:
        """Close the cursor; what is left of the result is given up.  Safe to call twice."""
        await self._close(True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(error is None)

    def __repr__(self) -> str:
        return f"<forebay.AsyncBatches, {self.rows} rows so far{', closed' if self.closed else ''}>"


@overload
def batches(
    source: AsyncFetched | AsyncCursor,
    query: Any = None,
    params: Any = None,
    *,
    max_bytes: int | str = "8MiB",
    max_rows: int | None = None,
    types: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    prefetch: bool = False,
) -> AsyncBatches: ...
@overload
def batches(
    source: Any,
    query: Any = None,
    params: Any = None,
    *,
    max_bytes: int | str = "8MiB",
    max_rows: int | None = None,
    types: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    prefetch: bool = False,
) -> Batches: ...
def batches(
    source: Any,
    query: Any = None,
    params: Any = None,
    *,
    max_bytes: int | str = "8MiB",
    max_rows: int | None = None,
    types: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    prefetch: bool = False,
) -> Batches | AsyncBatches:
    """Read a result in batches of bounded bytes: an iterator over Batch.

    source: a DB-API cursor on which a query was executed; or a connection, to
    execute query with params on: then with a cursor on the server where the driver
    has one (psycopg, psycopg2, pymysql, MySQLdb, asyncpg), so that the client never
    holds the whole result; a session and a query, or a ResultSet, of cassandra-driver,
    which is read page by page.  Cursors and connections of asyncio (asyncpg, psycopg,
    aiosqlite) give an AsyncBatches for `async for`.

    max_bytes: the most that a batch takes, packed, as an int or "8MiB".  While you
    hold one batch and the next is made, all together takes less than twice that,
    beside what the driver itself keeps; a row larger than that is a batch of its own.
    max_rows: the most rows of a batch.

    types: what columns are to be, by name: "bool", "int64", "float64", "text",
    "binary", "date", "time", "timestamp", "timestamp[ZONE]", "duration", "uuid" or
    "decimal(PRECISION, SCALE)".  Values are converted where that loses nothing; if
    it would, TypeError.  Other columns take what comes, of any type and mixture.

    progress: called with all rows and all bytes so far after each batch; or an
    object with an update(rows of the batch), such as tqdm's.  What it raises is
    raised.  prefetch: a thread fetches the rows after those that are being packed;
    for drivers whose connections may be used by any thread.

    An error of the driver, or of a value, is raised after the rows before it were
    delivered, and closes the cursor.
    """
    limits = parse_bytes(max_bytes), parse_rows(max_rows)
    declared = parse_types(types)
    reporter(progress)
    if is_async(source):
        if prefetch:
            raise ValueError("prefetch=True is for cursors without asyncio")
        return AsyncBatches(async_rows_of(source, query, params, limits[0]), *limits, declared, progress)
    rows = rows_of(source, query, params, limits[0], bool(prefetch))
    try:
        return Batches(rows, *limits, declared, progress)
    except BaseException:
        rows.end()
        raise
