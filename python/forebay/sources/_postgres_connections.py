# SPDX-License-Identifier: Apache-2.0
"""Who lends a source of PostgreSQL its connection, and one statement on it, in a transaction of its own.

A connection is given back as it was, or closed: its pool replaces it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from forebay._batch_sources import driver_of
from forebay.sources._postgres_sql import Question
from forebay.sources._shape import SourceError, missing_driver

Answer = tuple[list[str], list[Sequence[Any]]]  # names of columns, rows

WANTED = (
    "a pool of psycopg 3 or asyncpg connections (psycopg_pool's, asyncpg's, forebay.pools', a forebay.Pool or AsyncPool), "
    "or a function that makes a connection"
)
_IN_TRANSACTION = (
    "the connection is in a transaction, or in the midst of a command, and would show what was when that began: "
    "give Postgres() a pool, or a function that makes a connection"
)
_ON_STANDBY = (
    "the connection leads to a standby, which may show the past: connect to the primary "
    "(with libpq target_session_attrs=read-write)"
)


class Reader:
    """Lends connections of psycopg."""

    def __init__(self, lend: Callable[[], AbstractContextManager[Any]]) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise missing_driver("Postgres", "psycopg", "postgres") from error
        self._lend = lend

    @contextlib.contextmanager
    def connection(self) -> Iterator[PsycopgAsker]:
        with self._lend() as connection:
            if driver_of(connection) != "psycopg" or _is_async(getattr(connection, "execute", None)):
                raise _unknown(connection)
            yield PsycopgAsker(connection)


class AsyncReader:
    """Lends connections of psycopg's AsyncConnection, or of asyncpg."""

    def __init__(self, lend: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._lend = lend

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncPsycopgAsker | AsyncpgAsker]:
        async with self._lend() as connection:
            driver = driver_of(connection)
            if driver == "asyncpg":
                yield AsyncpgAsker(connection)
            elif driver == "psycopg" and _is_async(connection.execute):
                yield AsyncPsycopgAsker(connection)
            else:
                raise _unknown(connection)


def _is_async(method: Any) -> bool:
    return inspect.iscoroutinefunction(method)


def _unknown(connection: Any) -> TypeError:
    if inspect.iscoroutine(connection):
        connection.close()
        return TypeError("the function gave a coroutine: Postgres() takes it for asynchronous if it is an `async def`")
    kind = type(connection)
    return TypeError(
        f"Postgres() reads with connections of psycopg 3, or, asynchronously, of psycopg's AsyncConnection or asyncpg; "
        f"it was given {kind.__module__}.{kind.__qualname__}"
    )


def reader_of(source: Any) -> Reader | AsyncReader:
    """TypeError says what to give."""
    if not isinstance(source, type) and hasattr(source, "getconn") and hasattr(source, "connection"):
        return AsyncReader(source.connection) if _is_async(source.getconn) else Reader(source.connection)
    if driver_of(source) == "asyncpg" and hasattr(source, "acquire"):
        return AsyncReader(source.acquire)
    if _is_async(source):
        return AsyncReader(lambda: _amade(source))
    if callable(source) and not hasattr(source, "cursor"):
        return Reader(lambda: _made(source))
    kind = type(source)
    raise TypeError(f"Postgres() reads with {WANTED}, not with {kind.__module__}.{kind.__qualname__}")


@contextlib.contextmanager
def _made(connect: Callable[[], Any]) -> Iterator[Any]:
    connection = connect()
    try:
        yield connection
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def _amade(connect: Callable[[], Any]) -> AsyncIterator[Any]:
    connection = await connect()
    try:
        yield connection
    finally:
        closing = connection.close()
        if inspect.isawaitable(closing):  # else it is another kind of connection, which is said already
            await closing


# ---- psycopg ----


class _OfPsycopg:
    driver = "psycopg"

    def __init__(self, connection: Any) -> None:
        from psycopg.pq import TransactionStatus

        self._connection = connection
        self._idle = TransactionStatus.IDLE
        if not self._is_idle() and not connection.closed:  # a closed one says so itself
            raise SourceError(_IN_TRANSACTION)
        if connection.info.parameter_status("in_hot_standby") == "on":  # told by the server, also when it changes
            raise SourceError(_ON_STANDBY)

    def _is_idle(self) -> bool:
        return bool(self._connection.pgconn.transaction_status == self._idle)

    def _close_unless_as_it_was(self, autocommit: bool) -> None:
        if not self._is_idle() or self._connection.autocommit != autocommit:
            self._connection.pgconn.finish()  # close() may give it back to its pool as it is

    def _names(self, cursor: Any) -> list[str]:
        if cursor.description is None:
            raise SourceError("the query gives no rows: it is to be a SELECT")
        return [column.name for column in cursor.description]


class PsycopgAsker(_OfPsycopg):
    """With autocommit a statement is one round trip, and its transaction begins and ends with it."""

    def ask(self, question: Question) -> Answer:
        autocommit = self._connection.autocommit
        try:
            self._connection.autocommit = True
            with self._cursor(question) as cursor:
                cursor.execute(question.statement, question.parameters, prepare=question.prepare)
                answer = self._names(cursor), cursor.fetchall()
            self._connection.autocommit = autocommit
        except BaseException:
            try:
                if self._is_idle():
                    self._connection.autocommit = autocommit
            finally:
                self._close_unless_as_it_was(autocommit)
            raise
        return answer

    def _cursor(self, question: Question) -> Any:
        import psycopg
        from psycopg.rows import tuple_row

        if question.ours:  # the connection's cursors may have other placeholders
            return psycopg.Cursor(self._connection, row_factory=tuple_row)
        return self._connection.cursor(row_factory=tuple_row)


class AsyncPsycopgAsker(_OfPsycopg):
    async def ask(self, question: Question) -> Answer:
        autocommit = self._connection.autocommit
        try:
            await self._connection.set_autocommit(True)
            async with self._cursor(question) as cursor:
                await cursor.execute(question.statement, question.parameters, prepare=question.prepare)
                answer = self._names(cursor), await cursor.fetchall()
            await self._connection.set_autocommit(autocommit)
        except BaseException:
            try:
                if self._is_idle():
                    await self._connection.set_autocommit(autocommit)
            finally:
                self._close_unless_as_it_was(autocommit)
            raise
        return answer

    def _cursor(self, question: Question) -> Any:
        import psycopg
        from psycopg.rows import tuple_row

        if question.ours:
            return psycopg.AsyncCursor(self._connection, row_factory=tuple_row)
        return self._connection.cursor(row_factory=tuple_row)


# ---- asyncpg ----


class AsyncpgAsker:
    driver = "asyncpg"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        if connection.is_in_transaction():
            raise SourceError(_IN_TRANSACTION)
        if getattr(connection.get_settings(), "in_hot_standby", None) == "on":
            raise SourceError(_ON_STANDBY)

    async def ask(self, question: Question) -> Answer:
        rows = await self._connection.fetch(question.statement, *question.parameters)
        return (list(rows[0].keys()) if rows else []), [tuple(row.values()) for row in rows]
