# SPDX-License-Identifier: Apache-2.0
"""Rows of Cassandra or ScyllaDB, by key, through cassandra-driver."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from forebay._batch_sources import driver_of
from forebay._cassandra_values import plain
from forebay.sources._shape import Batch, Names, Shape, SourceError, missing_driver, parse, quoted

_COLUMNS = "SELECT column_name, kind, position FROM system_schema.columns WHERE keyspace_name = %s AND table_name = %s"
_KINDS = ("partition_key", "clustering", "static", "regular")


class Cassandra:
    """Rows of Cassandra as dicts, by key: for `load_many=`.

        users = arena.cache("users", load_many=forebay.sources.Cassandra(session, table="users", key="id"))

    session: of cassandra-driver (or scylla-driver); or a function that makes one, which is
    called once in each process: a session does not survive a fork.

    table: its name in the session's keyspace, or ("keyspace", "name"); key: the name of the
    column, or of several, and then keys are tuples in that order; together they contain
    the partition key.  columns: those of the dicts; None: all that there are at the first
    call.  Names are exactly as they are in the database.  Or query: a SELECT of your own
    for one key, with a ? for each column of it.

    A statement for each key, prepared once, is sent to a node that has the key, at most
    `concurrency` at a time; an error of the driver is the outcome of that key, and is
    raised if all fail.  consistency: the level, by its name, LOCAL_QUORUM if not given:
    with writes at LOCAL_QUORUM or more a read after a write sees it.

    many: a list of rows for each key, in the order of clustering, instead of an error
    where there are two; row(dict): makes the value that is cached.  Any thread may call it."""

    def __init__(
        self,
        session: Any,
        *,
        table: Names | None = None,
        key: Names,
        columns: Sequence[str] | None = None,
        query: str | None = None,
        consistency: str = "LOCAL_QUORUM",
        concurrency: int = 32,
        many: bool = False,
        row: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        try:
            import cassandra.concurrent  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError as error:
            raise missing_driver("Cassandra", "cassandra-driver", "cassandra") from error
        self._execute = cassandra.concurrent.execute_concurrent
        self._session_of = _sessions(session)
        self._shape = parse(table, query, key, columns, many, row)
        self._consistency = _level(consistency)
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f"concurrency is 1 or more, not {concurrency!r}")
        self._concurrency = concurrency
        self._prepared: dict[int, _Prepared] = {}  # by process

    def __call__(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """What there is of these keys."""
        batch = Batch(self._shape, keys)
        if not batch.asked:
            return batch.found
        session, statement = self._ready()
        bound = self._bind(batch, statement)
        outcomes = self._execute(
            session, [(each, None) for each in bound.values()], concurrency=self._concurrency, raise_on_first_error=False
        )
        errors = [self._take(batch, key, outcome) for key, outcome in zip(bound, outcomes)]
        if errors and None not in errors:
            raise errors[0]  # type: ignore[misc]  # all are errors
        return batch.found

    def _ready(self) -> tuple[Any, Any]:
        """The session of this process and its statement."""
        prepared = self._prepared.setdefault(os.getpid(), _Prepared())
        with prepared.turn:
            if prepared.statement is None:
                prepared.session = self._session_of()
                prepared.statement = prepared.session.prepare(_statement(self._shape, prepared.session))
                prepared.statement.consistency_level = self._consistency
        return prepared.session, prepared.statement

    def _bind(self, batch: Batch, statement: Any) -> dict[Any, Any]:
        """A statement for each key; one that is of another type than its column has the error as its outcome."""
        bound = {}
        for key, parts in batch.asked.items():
            try:
                bound[key] = statement.bind(parts)
            except Exception as error:
                batch.found[key] = error
        return bound

    def _take(self, batch: Batch, key: Any, outcome: Any) -> Exception | None:
        """The rows of this key, or what went wrong with it."""
        success, result = outcome
        try:
            if not success:
                raise result
            rows = list(_dicts(result))  # further pages are fetched
        except SourceError:
            raise
        except Exception as error:
            batch.found[key] = error
            return error
        for row in rows:
            batch.add_value(key, row)
        return None


@dataclass(slots=True)
class _Prepared:
    """Of one process."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    session: Any = None
    statement: Any = None


def _sessions(session: Any) -> Callable[[], Any]:
    if driver_of(session) == "cassandra" and hasattr(session, "prepare"):
        process = os.getpid()

        def same() -> Any:
            if os.getpid() != process:
                raise SourceError("a session does not survive a fork: give Cassandra() a function that makes one")
            return session

        return same
    if callable(session) and not hasattr(session, "connect"):
        return session  # type: ignore[no-any-return]
    raise TypeError(
        "Cassandra() reads with a session of cassandra-driver, as Cluster().connect() gives it, or a function that makes one, "
        f"not with {type(session).__module__}.{type(session).__qualname__}"
    )


def _level(name: str) -> int:
    from cassandra import ConsistencyLevel  # type: ignore[import-untyped,import-not-found,unused-ignore]

    level = ConsistencyLevel.name_to_value.get(name) if isinstance(name, str) else None
    if level is None:
        raise ValueError(f"consistency is the name of a level, as 'LOCAL_QUORUM', not {name!r}")
    return int(level)


def _statement(shape: Shape, session: Any) -> str:
    """Columns are always named: a prepared `SELECT *` of a table that got another column is misread, before Cassandra 4."""
    if shape.table is None:
        return str(shape.query)
    keyspace, table = shape.table if len(shape.table) == 2 else (session.keyspace, *shape.table)
    if keyspace is None:
        raise ValueError(f'the session has no keyspace: table=("keyspace", {table!r})')
    columns = shape.columns if shape.columns is not None else _columns(session, keyspace, table)
    wanted = " AND ".join(f"{quoted(name)} = ?" for name in shape.key)
    return f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(keyspace)}.{quoted(table)} WHERE {wanted}"


def _columns(session: Any, keyspace: str, table: str) -> list[str]:
    rows = [tuple(row.values()) for row in _dicts(session.execute(_COLUMNS, (keyspace, table)))]
    if not rows:
        raise SourceError(f"there is no table {table!r} in the keyspace {keyspace!r}; names are exactly as in the database")
    return [name for name, _, _ in sorted(rows, key=lambda row: (_KINDS.index(row[1]), row[2], row[0]))]


def _dicts(result: Any) -> Iterator[dict[str, Any]]:
    """Rows, whichever of the driver's row factories the session has."""
    for row in result:
        if isinstance(row, tuple):
            row = dict(zip(result.column_names, row))
        if not isinstance(row, dict):
            raise SourceError(f"the session's row_factory makes {type(row).__name__} of rows: it is to make tuples or dicts")
        yield {name: plain(value) for name, value in row.items()}
