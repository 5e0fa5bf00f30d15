# SPDX-License-Identifier: Apache-2.0
"""Rows of PostgreSQL, by key, through psycopg 3 or asyncpg."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from forebay.sources._postgres_connections import AsyncReader, Reader, reader_of
from forebay.sources._postgres_sql import Question, TypesOfKey, fit_of, question_of_rows, question_of_types, types_in
from forebay.sources._shape import Batch, Names, Shape, parse
from forebay.sources._values import STORED, plain


class Postgres:
    """Rows of PostgreSQL as dicts, by key: for `load_many=`.

        users = arena.cache("users", load_many=forebay.sources.Postgres(pool, table="users", key="id"))

    source: a pool of psycopg 3 connections (psycopg_pool's, forebay.pools.psycopg's, or a
    forebay.Pool of your own), of psycopg's AsyncConnection, or of asyncpg connections
    (asyncpg's, forebay.pools.asyncpg's, a forebay.AsyncPool); or a function, or coroutine
    function, that makes a connection, which is closed after each call.  With what is
    asynchronous the source is a coroutine function.

    table: its name, or ("schema", "name"); key: the name of the column, or of several,
    and then keys are tuples in that order; columns: those of the dicts, all if None.
    Names are exactly as they are in the database.  Or query: a SELECT of your own with a
    parameter for the list of keys, `WHERE id = ANY(%s::bigint[])`, with asyncpg `ANY($1::bigint[])`;
    for several columns a list for each of them, as unnest() takes them.  The columns of
    the key must be among those that it gives.

    many: a list of rows for each key, instead of an error where there are two; row(dict):
    makes the value that is cached.

    Each call is one statement and one round trip, in a transaction of its own (the first
    also asks for the types of the key's columns).  The connection is given back as it was.
    SourceError: the connection is in a transaction, or leads to a standby, which would
    show the past.  Errors of the driver are raised as they are."""

    _shape: Shape
    _types: TypesOfKey | None

    def __init__(
        self,
        source: Any,
        *,
        table: Names | None = None,
        key: Names,
        columns: Sequence[str] | None = None,
        query: Any = None,
        many: bool = False,
        row: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._reader: Any = reader_of(source)
        self.__class__ = _AsyncPostgres if isinstance(self._reader, AsyncReader) else _SyncPostgres
        self._shape = parse(table, query, key, columns, many, row)
        self._types = None

    def __call__(self, keys: Iterable[Any]) -> Any:
        """What there is of these keys."""
        raise NotImplementedError

    def _batch(self, keys: Iterable[Any]) -> Batch:
        return Batch(self._shape, keys, None if self._types is None else fit_of(self._shape, self._types))

    def _question_of_types(self, driver: str) -> Question | None:
        """None: they are known, or not needed."""
        return question_of_types(self._shape, driver) if self._shape.query is None and self._types is None else None

    def _question(self, batch: Batch, driver: str) -> Question | None:
        """None: no key of the batch can be asked for."""
        return question_of_rows(self._shape, self._types, driver, batch.columns()) if batch.asked else None


class _SyncPostgres(Postgres):
    _reader: Reader

    def __call__(self, keys: Iterable[Any]) -> dict[Any, Any]:
        wanted = list(keys)
        if not wanted:
            return {}
        with self._reader.connection() as asker:
            if (first := self._question_of_types(asker.driver)) is not None:
                self._types = types_in(self._shape, asker.ask(first)[1])
            batch = self._batch(wanted)
            if (question := self._question(batch, asker.driver)) is not None:
                batch.add(*asker.ask(question), _plain)
        return batch.found


class _AsyncPostgres(Postgres):
    _reader: AsyncReader

    async def __call__(self, keys: Iterable[Any]) -> dict[Any, Any]:
        wanted = list(keys)
        if not wanted:
            return {}
        async with self._reader.connection() as asker:
            if (first := self._question_of_types(asker.driver)) is not None:
                self._types = types_in(self._shape, (await asker.ask(first))[1])
            batch = self._batch(wanted)
            if (question := self._question(batch, asker.driver)) is not None:
                batch.add(*await asker.ask(question), _plain)
        return batch.found


def _plain(value: Any) -> Any:
    """asyncpg's records of composite types as dicts."""
    if type(value) in STORED:
        return value
    if type(value).__module__.startswith("asyncpg") and hasattr(value, "keys"):
        return {name: _plain(each) for name, each in value.items()}
    if type(value) is list:
        return [_plain(each) for each in value]
    return plain(value)
