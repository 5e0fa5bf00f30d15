# SPDX-License-Identifier: Apache-2.0
"""Results of cassandra-driver as cursors, for forebay.batches(): a page is fetched when its rows are wanted."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from forebay._cassandra_values import plain

Row = tuple[Any, ...]


def cursor_of(source: Any, query: Any, params: Any) -> _OfSession | _OfResult:
    """Of a session and a query, or of a ResultSet; TypeError says what to give."""
    if query is not None:
        if not hasattr(source, "prepare"):
            raise TypeError(f"a query needs a session to be executed on, not {type(source).__name__}")
        return _OfSession(source, query, params)
    if not hasattr(source, "has_more_pages"):
        kind = type(source).__name__
        raise TypeError(f"with cassandra-driver, batches() takes a session and a query, or a ResultSet, not {kind}")
    return _OfResult(source)


class _Cursor:
    """What batches need of DB-API's cursors."""

    description: list[tuple[str]] | None

    def fetchmany(self, count: int) -> list[Row]:
        raise NotImplementedError

    def close(self) -> None:
        """The server keeps nothing of a result between its pages: no more of them are asked for."""
        raise NotImplementedError


class _OfResult(_Cursor):
    """Pages of the size that the statement was executed with."""

    def __init__(self, result: Any) -> None:
        self.description = _description(result)
        self._rows = _tuples(result, result)

    def fetchmany(self, count: int) -> list[Row]:
        return list(itertools.islice(self._rows, count))

    def close(self) -> None:
        self._rows = iter(())


class _OfSession(_Cursor):
    """Pages of as many rows as are wanted."""

    def __init__(self, session: Any, query: Any, params: Any) -> None:
        self._session = session
        self._statement, self._params = _statement(query, params)
        self._state: Any = None
        self._rows: Iterator[Row] = iter(())
        self._closed = False
        self.description = _description(self._next_page(1))

    def _next_page(self, size: int) -> Any:
        self._statement.fetch_size = size
        result = self._session.execute(self._statement, self._params, paging_state=self._state)
        self._rows = _tuples(result, list(result.current_rows))
        self._state = result.paging_state
        self._closed = not self._state
        return result

    def fetchmany(self, count: int) -> list[Row]:
        rows = list(itertools.islice(self._rows, count))
        while not rows and not self._closed:  # a page may be empty, and not the last
            self._next_page(count)
            rows = list(itertools.islice(self._rows, count))
        return rows

    def close(self) -> None:
        self._closed = True
        self._rows = iter(())


def _statement(query: Any, params: Any) -> tuple[Any, Any]:
    """One of our own, as its fetch_size changes; and what is left of the parameters."""
    if isinstance(query, str):
        from cassandra.query import SimpleStatement  # type: ignore[import-untyped,import-not-found,unused-ignore]

        return SimpleStatement(query), params
    if hasattr(query, "bind") and not hasattr(query, "prepared_statement"):  # a prepared one, not yet bound
        return query.bind(params or ()), None
    return copy.copy(query), params


def _description(result: Any) -> list[tuple[str]] | None:
    names = result.column_names
    return None if names is None else [(name,) for name in names]


def _tuples(result: Any, rows: Any) -> Iterator[Row]:
    names: Sequence[str] = result.column_names or ()
    for row in rows:
        yield tuple(map(plain, (row[name] for name in names) if isinstance(row, dict) else row))
