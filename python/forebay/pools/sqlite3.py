# SPDX-License-Identifier: Apache-2.0
"""A pool of sqlite3 connections to one file, for threads.

    from forebay.pools.sqlite3 import ConnectionPool

    pool = ConnectionPool("shop.db", max_size=4, wal=True)
    with pool.connection() as connection:
        connection.execute("INSERT INTO orders VALUES (1)")
"""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypedDict, Unpack, cast

import forebay
from forebay._pool import Pool
from forebay._pool_log import logger

__all__ = ["ConnectionPool"]

Seconds = float | timedelta
ALONE = ("", ":memory:")
NOT_TO_BE_GIVEN = ("reset", "end", "close", "fileno")


class Options(TypedDict, total=False):
    """Of forebay.Pool, what this pool takes."""

    min_size: int
    max_size: int | None
    check: Callable[[sqlite3.Connection], object] | None
    timeout: Seconds
    max_waiting: int
    max_lifetime: Seconds | None
    max_idle: Seconds | None
    reconnect_timeout: Seconds
    reconnect_failed: Callable[[Any], object] | None
    num_workers: int
    leak_after: Seconds | None
    name: str | None
    arena: forebay.Arena | None
    host_max: int | None
    update: bool


class ConnectionPool(Pool[sqlite3.Connection]):
    """A forebay.Pool of sqlite3 connections that any thread may use.

    database: a path, or, with uri=True in connect_kwargs, a URI.  wal: the database is
    put into WAL mode, in which readers do not wait for a writer; read_only: nothing can
    be written.  busy_timeout: seconds that a statement waits for another connection's
    lock; connect_kwargs: for sqlite3.connect().  configure(connection): after it was made,
    for PRAGMAs, row_factory and functions.

    A `with pool.connection()` block commits at its end, or rolls back if it raised; a
    transaction that is open when a connection comes back is rolled back.  Everything else
    that was set on a connection stays.  Further arguments: forebay.Pool's."""

    def __init__(
        self,
        database: str | os.PathLike[str],
        *,
        wal: bool = False,
        read_only: bool = False,
        busy_timeout: Seconds = 5.0,
        connect_kwargs: dict[str, Any] | None = None,
        configure: Callable[[sqlite3.Connection], object] | None = None,
        open: bool = True,
        **options: Unpack[Options],
    ) -> None:
        for name in NOT_TO_BE_GIVEN:
            if name in options:
                raise TypeError(f"{name}= is this pool's own: use forebay.Pool with sqlite3.connect")
        if configure is not None and not callable(configure):
            raise TypeError(f"configure is a function that takes a connection, not {type(configure).__name__}")
        if wal and read_only:
            raise ValueError("wal=True writes to the database: a read_only pool uses it in the mode that it has")
        arguments = {**(connect_kwargs or {}), "check_same_thread": False, "timeout": _seconds(busy_timeout)}
        target = _target(os.fspath(database), arguments, read_only)

        def create() -> sqlite3.Connection:
            connection = cast(sqlite3.Connection, sqlite3.connect(target, **arguments))
            try:
                if wal:
                    _use_wal(connection)
                if configure is not None:
                    configure(connection)
            except BaseException:
                connection.close()
                raise
            return connection

        super().__init__(create, open=open, reset=_roll_back, end=_end, fileno=lambda connection: None, **options)


def _seconds(value: Seconds) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _target(database: str, arguments: dict[str, Any], read_only: bool) -> str:
    """What sqlite3.connect() is to open."""
    if database in ALONE:
        raise ValueError(f"each connection to {database!r} has a database of its own: use a file, or "
                         "'file:name?mode=memory&cache=shared' with connect_kwargs={'uri': True}")  # fmt: skip
    if not read_only:
        return database
    if not arguments.get("uri"):
        arguments["uri"] = True
        database = f"file:{urllib.parse.quote(database)}"
    return f"{database}{'&' if '?' in database else '?'}mode=ro"


def _use_wal(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"this database cannot be put into WAL mode; it stays in {mode!r}")


def _end(connection: sqlite3.Connection, error: BaseException | None) -> None:
    if error is None:
        connection.commit()
    else:
        connection.rollback()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        logger.warning("a connection came back in a transaction, which is rolled back: %r", connection)
        connection.rollback()
