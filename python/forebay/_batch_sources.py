# SPDX-License-Identifier: Apache-2.0
"""Where the rows of batches come from: the drivers' cursors, fetched from in small chunks.

No driver is imported here: they are told by their objects.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from forebay._batch_types import Type
from forebay._core import BatchBuilder

# A chunk of rows as Python objects takes some 10 times what it takes packed: a
# tenth of a batch.
_CHUNK_PART = 400
_CHUNK_ROWS = 10_000
_GROWTH = 4

_numbers = itertools.count(1)

# By the numbers PostgreSQL has for its types; those whose Python type depends on a
# setting or on the driver (numeric, json, ranges) are left out.
_TYPES_OF_POSTGRES: dict[int, Type] = {
    number: (kind, 0, 0, None)
    for kind, numbers in {
        "bool": [16],
        "int64": [20, 21, 23, 26],
        "float64": [700, 701],
        "text": [25, 1042, 1043],
        "binary": [17],
        "date": [1082],
        "time": [1083],
        "timestamp": [1114],
        "duration": [1186],
        "uuid": [2950],
    }.items()
    for number in numbers
}


class Rows(Protocol):
    """A result that is fetched from."""

    names: tuple[str, ...]
    hints: tuple[Type | None, ...]

    def fill(self, builder: BatchBuilder) -> bool:
        """Put rows into the builder until it is full (True) or there are no more (False)."""

    def close(self) -> None:
        """Free the cursor."""

    def end(self) -> None:
        """All rows were fetched: free the cursor unless it was the caller's."""


def driver_of(thing: Any) -> str:
    """The top package of the driver that a cursor or connection is of."""
    for kind in type(thing).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in ("sqlite3", "psycopg", "psycopg2", "asyncpg", "pymysql", "MySQLdb", "cassandra"):
            return package
    return type(thing).__module__.partition(".")[0]


def names_of(cursor: Any) -> tuple[str, ...]:
    description = cursor.description
    if description is None:
        raise ValueError("the cursor has no result: batches() wants one on which a query was executed")
    return tuple(str(column[0]) for column in description)


def hints_of(cursor: Any, count: int) -> tuple[Type | None, ...]:
    if driver_of(cursor) not in ("psycopg", "psycopg2"):
        return (None,) * count
    return tuple(_TYPES_OF_POSTGRES.get(column[1]) for column in cursor.description)


class ChunkSize:
    """How many rows to fetch at once: few at first, then by what they turn out to take."""

    def __init__(self, max_bytes: int) -> None:
        self._budget = max(max_bytes // _CHUNK_PART, 1)
        self._rows = 0
        self._width = 1.0

    def next(self, builder: BatchBuilder) -> int:
        if builder.rows:
            self._width = max(builder.nbytes / builder.rows, 1.0)
        most = min(int(self._budget / self._width), _CHUNK_ROWS)
        self._rows = max(min(most, self._rows * _GROWTH), 1)
        return self._rows


class _OfCursor:
    _chunk: Sequence[Any] = ()

    def __init__(self, cursor: Any, owned: bool) -> None:
        self._cursor = cursor
        if cursor.description is None and driver_of(cursor) == "psycopg2" and cursor.name:
            self._chunk = cursor.fetchmany(1)  # psycopg2 knows the columns of named cursors no sooner
        self._owned = owned
        self.names = names_of(cursor)
        self.hints = hints_of(cursor, len(self.names))

    def close(self) -> None:
        self._cursor.close()

    def end(self) -> None:
        if self._owned:
            self.close()


class IteratedRows(_OfCursor):
    """Row by row: where that costs no more than fetchmany(), a row is gone before the next is made."""

    def __init__(self, cursor: Any, owned: bool) -> None:
        super().__init__(cursor, owned)
        self._iterator = iter(cursor)

    def fill(self, builder: BatchBuilder) -> bool:
        return builder.drain(self._iterator)


class FetchedRows(_OfCursor):
    """Chunk by chunk, by fetchmany()."""

    def __init__(self, cursor: Any, owned: bool, max_bytes: int) -> None:
        super().__init__(cursor, owned)
        self._size = ChunkSize(max_bytes)
        self._index = 0

    def fetch(self, count: int) -> Sequence[Any]:
        chunk = self._cursor.fetchmany(count)
        return chunk if isinstance(chunk, (list, tuple)) else list(chunk)

    def fill(self, builder: BatchBuilder) -> bool:
        while True:
            self._index = builder.take(self._chunk, self._index)
            if builder.full or self._index < len(self._chunk):
                return True
            self._chunk = ()
            self._chunk = self.fetch(self._size.next(builder))
            self._index = 0
            if not self._chunk:
                return False


class PrefetchedRows(FetchedRows):
    """A thread fetches the chunk after the one that is being packed."""

    def __init__(self, cursor: Any, owned: bool, max_bytes: int) -> None:
        super().__init__(cursor, owned, max_bytes)
        import queue
        import threading

        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._fetched: queue.SimpleQueue[tuple[Sequence[Any], BaseException | None]] = queue.SimpleQueue()
        self._asked = False
        self._thread = threading.Thread(
            target=_fetch_ahead, args=(cursor, self._wanted, self._fetched), name="forebay.batches", daemon=True
        )
        self._thread.start()

    def fetch(self, count: int) -> Sequence[Any]:
        if not self._asked:
            self._wanted.put(count)
            self._asked = True
        chunk, error = self._fetched.get()
        self._asked = False
        if error is not None:
            raise error
        if chunk:
            self._wanted.put(count)
            self._asked = True
        return chunk

    def close(self) -> None:
        self._stop()
        super().close()

    def end(self) -> None:
        self._stop()
        super().end()

    def _stop(self) -> None:
        self._wanted.put(None)
        self._thread.join()


def _fetch_ahead(cursor: Any, wanted: Any, fetched: Any) -> None:
    while (count := wanted.get()) is not None:
        try:
            chunk = cursor.fetchmany(count)
            fetched.put((chunk if isinstance(chunk, (list, tuple)) else list(chunk), None))
        except BaseException as error:
            fetched.put(((), error))


# ---- cursors of our own: such that the server keeps the rows until they are fetched


def rows_of(source: Any, query: Any, params: Any, max_bytes: int, prefetch: bool) -> Rows:
    """The rows of a cursor, or of a query on a connection."""
    if driver_of(source) == "cassandra":
        from forebay._batch_cassandra import cursor_of

        return (PrefetchedRows if prefetch else FetchedRows)(cursor_of(source, query, params), True, max_bytes)
    owned = query is not None
    if not owned and not hasattr(source, "fetchmany"):
        raise TypeError(
            f"batches() takes a cursor on which a query was executed, or a connection and a query, not {type(source).__name__}"
        )
    cursor = execute(source, query, params) if owned else source
    try:
        if driver_of(cursor) == "sqlite3":
            if prefetch:
                raise ValueError("sqlite3 connections belong to their thread: prefetch=True is for servers")
            return IteratedRows(cursor, owned)
        return (PrefetchedRows if prefetch else FetchedRows)(cursor, owned, max_bytes)
    except BaseException:
        if owned:
            cursor.close()
        raise


def execute(connection: Any, query: Any, params: Any) -> Any:
    """A cursor, server-side where the driver has one, on which the query was executed."""
    if not hasattr(connection, "cursor"):
        raise TypeError(f"a query needs a connection to be executed on, not {type(connection).__name__}")
    cursor = _cursor_of(connection)
    try:
        cursor.execute(query) if params is None else cursor.execute(query, params)
    except BaseException:
        cursor.close()
        raise
    return cursor


def _cursor_of(connection: Any) -> Any:
    driver = driver_of(connection)
    if driver == "psycopg":
        from psycopg.rows import tuple_row

        return connection.cursor(_new_name(), row_factory=tuple_row, withhold=bool(connection.autocommit))
    if driver == "psycopg2":
        return connection.cursor(_new_name(), withhold=bool(connection.autocommit))
    if driver in ("pymysql", "MySQLdb"):
        return connection.cursor(sys.modules[f"{driver}.cursors"].SSCursor)
    return connection.cursor()


def _new_name() -> str:
    return f"forebay_{os.getpid()}_{next(_numbers)}"


# ---- asyncio


class AsyncRows:
    """Chunk by chunk, by awaiting: psycopg's AsyncCursor, asyncpg's cursors, aiosqlite's."""

    def __init__(self, max_bytes: int, start: Callable[[AsyncRows], Awaitable[None]], owned: bool) -> None:
        self.names: tuple[str, ...] | None = None
        self.fetch: Callable[[int], Awaitable[Sequence[Any]]]
        self.finish: Callable[[bool], Awaitable[Any]] = _nothing  # is told whether all went well
        self._owned = owned
        self._start: Callable[[AsyncRows], Awaitable[None]] | None = start
        self._size = ChunkSize(max_bytes)
        self._chunk: Sequence[Any] = ()
        self._index = 0

    async def begin(self) -> tuple[str, ...]:
        """Execute what is to be, and see what columns there are."""
        if self._start is not None:
            start, self._start = self._start, None
            await start(self)
        if self.names is None:
            self._chunk = list(await self.fetch(1))
            self.names = tuple(self._chunk[0].keys()) if self._chunk else ()
        return self.names

    async def fill(self, builder: BatchBuilder) -> bool:
        while True:
            self._index = builder.take(self._chunk, self._index)
            if builder.full or self._index < len(self._chunk):
                return True
            self._chunk = ()
            chunk = await self.fetch(self._size.next(builder))
            self._chunk = chunk if isinstance(chunk, (list, tuple)) else list(chunk)
            self._index = 0
            if not self._chunk:
                return False

    async def close(self, good: bool) -> None:
        finish, self.finish = self.finish, _nothing
        await finish(good)

    async def end(self) -> None:
        if self._owned:
            await self.close(True)


async def _nothing(good: bool) -> None:
    pass


def is_async(source: Any) -> bool:
    return driver_of(source) == "asyncpg" or hasattr(source, "__aenter__") or hasattr(source, "__aiter__")


def async_rows_of(source: Any, query: Any, params: Any, max_bytes: int) -> AsyncRows:
    if driver_of(source) == "asyncpg":
        start = _start_of_asyncpg(source) if query is None else _start_on_asyncpg(source, query, params)
    elif query is not None:
        start = _start_on_connection(source, query, params)
    elif hasattr(source, "fetchmany"):
        start = _start_of_cursor(source)
    else:
        raise TypeError(
            f"batches() takes a cursor on which a query was executed, or a connection and a query, not {type(source).__name__}"
        )
    return AsyncRows(max_bytes, start, query is not None)


def _start_of_cursor(cursor: Any) -> Callable[[AsyncRows], Awaitable[None]]:
    async def start(rows: AsyncRows) -> None:
        rows.names = names_of(cursor)
        rows.fetch = cursor.fetchmany
        rows.finish = lambda good: cursor.close()

    return start


def _start_on_connection(connection: Any, query: Any, params: Any) -> Callable[[AsyncRows], Awaitable[None]]:
    async def start(rows: AsyncRows) -> None:
        cursor = _cursor_of(connection)
        if hasattr(cursor, "__await__"):
            cursor = await cursor
        rows.finish = lambda good: cursor.close()
        await (cursor.execute(query) if params is None else cursor.execute(query, params))
        rows.names = names_of(cursor)
        rows.fetch = cursor.fetchmany

    return start


def _start_of_asyncpg(source: Any) -> Callable[[AsyncRows], Awaitable[None]]:
    """`await connection.cursor(...)`, or what that is before it is awaited."""
    if hasattr(source, "transaction") or not (hasattr(source, "fetch") or hasattr(source, "__await__")):
        raise TypeError("with asyncpg, batches() takes a connection and a query, or connection.cursor(query)")

    async def start(rows: AsyncRows) -> None:
        cursor = source if hasattr(source, "fetch") else await source
        rows.fetch = cursor.fetch

    return start


def _start_on_asyncpg(connection: Any, query: str, params: Any) -> Callable[[AsyncRows], Awaitable[None]]:
    async def start(rows: AsyncRows) -> None:
        transaction = connection.transaction()
        await transaction.start()  # cursors live in transactions; within one, this is a savepoint
        rows.finish = lambda good: transaction.commit() if good else transaction.rollback()
        statement = await connection.prepare(query)
        rows.names = tuple(attribute.name for attribute in statement.get_attributes())
        cursor = await statement.cursor(*(params or ()))
        rows.fetch = cursor.fetch

    return start
