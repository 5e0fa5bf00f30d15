# SPDX-License-Identifier: Apache-2.0
"""Rows of an SQLite database, by key."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from forebay._pool import Pool
from forebay.sources._shape import Batch, Names, Shape, SourceError, parse, quoted, shown
from forebay.sources._values import is_int64, is_text

_LEGACY = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, of Python 3.12


class SQLite:
    """Rows of SQLite as dicts, by key: for `load_many=`.

        users = arena.cache("users", load_many=forebay.sources.SQLite(pool, table="users", key="id"))

    source: a forebay.Pool of sqlite3 connections, such as forebay.pools.sqlite3's; a
    function that makes a connection, which is closed after each call; or a connection,
    which one thread uses at a time (made with check_same_thread=False if several are to).

    table: its name, or ("schema", "name"); key: the name of the column, or of several,
    and then keys are tuples in that order; columns: those of the dicts, all if None.
    Names are exactly as they are in the database.  Or query: a SELECT of your own with one
    parameter, the keys as a JSON array for json_each(?), in which the columns of the key
    are named as in key=.

    many: a list of rows for each key, instead of an error where there are two; row(dict):
    makes the value that is cached.

    Any thread may call it; in the child of a fork, one with a pool or a function.
    SourceError: the connection is in a transaction, which would show the past."""

    def __init__(
        self,
        source: Pool[sqlite3.Connection] | sqlite3.Connection | Callable[[], sqlite3.Connection],
        *,
        table: Names | None = None,
        key: Names,
        columns: Sequence[str] | None = None,
        query: str | None = None,
        many: bool = False,
        row: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._lend = _lender(source)
        self._shape = parse(table, query, key, columns, many, row)
        self._fit = _fit_value if query is None else _fit_json

    def __call__(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """What there is of these keys."""
        batch = Batch(self._shape, keys, self._fit)
        if batch.asked:
            with self._lend() as connection:
                _require_idle(connection)
                for statement, parameters in _statements(self._shape, connection, list(batch.asked.values())):
                    batch.add(*_ask(connection, statement, parameters))
        return batch.found


# ---- connections ----


def _lender(source: Any) -> Callable[[], AbstractContextManager[Any]]:
    if isinstance(source, sqlite3.Connection):
        return _Shared(source).lend
    if isinstance(source, Pool):
        return source.connection
    if callable(source) and not inspect.iscoroutinefunction(source):
        return lambda: _made(source)
    raise TypeError(
        "SQLite() reads with a forebay.Pool of sqlite3 connections, a sqlite3.Connection, or a function that makes one, "
        f"as lambda: sqlite3.connect('shop.db'), not with {type(source).__name__}"
    )


@contextlib.contextmanager
def _made(connect: Callable[[], Any]) -> Iterator[Any]:
    with contextlib.closing(connect()) as connection:
        yield connection


class _Shared:
    """A connection that the caller has, too."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._pid = os.getpid()

    @contextlib.contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._pid:
            raise SourceError("an SQLite connection must not be used in the child of a fork: give SQLite() a pool, or a function")
        with self._turn:
            yield self._connection


def _require_idle(connection: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(f"SQLite() reads with sqlite3 connections, and was given {type(connection).__name__}")
    if getattr(connection, "autocommit", _LEGACY) is False:
        raise SourceError(
            "a connection with autocommit=False is always in a transaction, and may show the past: make it with autocommit=True, "
            "or without saying"
        )
    if connection.in_transaction:
        raise SourceError(
            "the connection is in a transaction, and would show what was then: commit it, or give SQLite() another one"
        )


def _ask(connection: sqlite3.Connection, statement: str, parameters: Sequence[Any]) -> tuple[list[str], list[Any]]:
    cursor = connection.cursor()
    try:
        cursor.row_factory = None
        cursor.execute(statement, parameters)
        if cursor.description is None:
            raise SourceError("the query gives no rows: it is to be a SELECT")
        return [column[0] for column in cursor.description], cursor.fetchall()
    finally:
        cursor.close()
        if connection.in_transaction:  # it was no SELECT
            connection.rollback()


# ---- statements ----


def _statements(shape: Shape, connection: sqlite3.Connection, keys: list[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    if shape.table is None:
        yield shape.query, [json.dumps([key if shape.composite else key[0] for key in keys])]
        return
    most = max(connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(shape.key), 1)
    for begin in range(0, len(keys), most):
        some = keys[begin : begin + most]
        nothing = (None,) * len(shape.key)  # which is equal to nothing
        some += [nothing] * (min(_power_of_two(len(some)), most) - len(some))  # few different statements: they are kept prepared
        yield _select(shape, len(some)), [part for key in some for part in key]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _select(shape: Shape, count: int) -> str:
    """SQLite takes a quoted name that it does not know for a text, unless the table is named with it."""
    columns = "t.*" if shape.selected is None else ", ".join(f"t.{quoted(name)} AS {quoted(name)}" for name in shape.selected)
    table = f"{shape.table_text} AS t"
    if not shape.composite:
        return f"SELECT {columns} FROM {table} WHERE t.{quoted(shape.key[0])} IN ({', '.join('?' * count)})"
    row = f"({', '.join('?' * len(shape.key))})"
    matches = " AND ".join(f"t.{quoted(name)} = k.column{number}" for number, name in enumerate(shape.key, 1))
    # Of (a, b) IN (VALUES ...) it scans the table.
    return f"SELECT {columns} FROM (VALUES {', '.join([row] * count)}) AS k CROSS JOIN {table} ON {matches}"


def _fit_value(key: Any, parts: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """SQLite has no ints of more than 64 bits, nor texts that are not Unicode."""
    for part in parts:
        if isinstance(part, int) and not is_int64(part):
            return None
        if isinstance(part, str) and not is_text(part):
            return None
    return parts


def _fit_json(key: Any, parts: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if any(isinstance(part, bytes) for part in parts):
        raise TypeError(f"the key {shown(key)} has bytes, which cannot be in the JSON array that query= gets; table= takes them")
    if _fit_value(key, parts) is None:
        return None
    return tuple(part if isinstance(part, (int, str)) else str(part) for part in parts)
