# SPDX-License-Identifier: Apache-2.0
"""Pools of psycopg 3 connections, with the arguments and methods of psycopg_pool's.

    from forebay.pools.psycopg import ConnectionPool

    pool = ConnectionPool("dbname=shop", max_size=8, arena=arena, host_max=40, name="shop")
    with pool.connection() as connection:
        connection.execute("SELECT 1")

docs/guides/driver-pools.md says what is different.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar, cast

import forebay
from forebay._pool import Pool
from forebay._pool_async import AsyncPool
from forebay._pool_async_workers import call
from forebay._pool_log import logger
from forebay.pools._hang_up import another_end, await_end, wait_for_end
from forebay.pools._missing import missing

try:
    import psycopg
    import psycopg.rows
    from psycopg.pq import TransactionStatus
except ImportError as error:
    raise missing("psycopg", "psycopg") from error

__all__ = ["AsyncConnectionPool", "ConnectionPool", "PoolClosed", "PoolTimeout", "TooManyRequests"]

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # psycopg needs it

C = TypeVar("C", bound="psycopg.Connection[Any]", default="psycopg.Connection[psycopg.rows.TupleRow]")
AC = TypeVar("AC", bound="psycopg.AsyncConnection[Any]", default="psycopg.AsyncConnection[psycopg.rows.TupleRow]")
Conninfo = str | Callable[[], str]
Kwargs = dict[str, Any] | Callable[[], dict[str, Any]] | None
Seconds = float | timedelta
IDLE, UNKNOWN = TransactionStatus.IDLE, TransactionStatus.UNKNOWN
OPEN_TRANSACTION = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class PoolTimeout(psycopg.OperationalError, forebay.PoolTimeoutError):
    """No connection was to be had in time."""


class PoolClosed(psycopg.OperationalError, forebay.PoolClosedError):
    """The pool was closed, or is not open yet."""


class TooManyRequests(psycopg.OperationalError, forebay.TooManyRequestsError):
    """As many requests wait already as max_waiting allows."""


class _Home:
    """What psycopg keeps as the pool of a connection; the pool itself would never be collected."""

    def __init__(self, pool: ConnectionPool[Any] | AsyncConnectionPool[Any], close_returns: bool) -> None:
        self._pool = weakref.ref(pool)
        self.name = pool.name
        self.close_returns = close_returns

    def putconn(self, connection: Any) -> Any:
        """None, or what is to be awaited."""
        pool = self._pool()
        if pool is not None:
            return pool.putconn(connection)
        connection._pool = None
        return connection.close()


def _require_idle(connection: psycopg.BaseConnection[Any], function: Any) -> None:
    status = connection.pgconn.transaction_status
    if status != IDLE:
        raise psycopg.ProgrammingError(
            f"{function!r} left the connection in the state {TransactionStatus(status).name}: it is to commit or to roll back"
        )


def _outcome(error: BaseException | None) -> tuple[Any, Any, Any]:
    """What __exit__ gets."""
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


def _sizes(min_size: int, max_size: int | None) -> dict[str, Any]:
    if min_size == 0 and max_size is None:
        raise ValueError("with min_size 0 there is to be a max_size")
    return {"min_size": min_size, "max_size": min_size if max_size is None else max_size}


def _setting(name: str) -> Any:
    return property(lambda pool: pool._settings[name], doc="As it was given; it stays.")


class _Described:
    """What both pools know about themselves."""

    _timeout_error: ClassVar[type[forebay.PoolTimeoutError]] = PoolTimeout
    _closed_error: ClassVar[type[forebay.PoolClosedError]] = PoolClosed
    _too_many_error: ClassVar[type[forebay.TooManyRequestsError]] = TooManyRequests

    conninfo: Any
    kwargs: Any
    connection_class: Any
    _configure_hook: Any
    _reset_hook: Any

    def _describe(self, conninfo: Any, kwargs: Any, connection_class: Any, configure: Any, reset: Any, settings: dict[str, Any]) -> None:
        for name, function in (("configure", configure), ("reset", reset)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} is a function that takes a connection, not {type(function).__name__}")
        self.conninfo, self.kwargs, self.connection_class = conninfo, kwargs, connection_class
        self._configure_hook, self._reset_hook = configure, reset
        self._settings = settings

    timeout = _setting("timeout")
    max_waiting = _setting("max_waiting")
    max_lifetime = _setting("max_lifetime")
    max_idle = _setting("max_idle")


class ConnectionPool(_Described, Pool[C]):
    """A forebay.Pool of psycopg connections; `psycopg_pool.ConnectionPool`'s arguments.

    conninfo, kwargs: for connection_class.connect(), or functions that give them anew for
    each connection.  configure(connection): after it was made; check(connection): before
    it is handed out, as ConnectionPool.check_connection; reset(connection): after it came
    back, idle.  A `with pool.connection()` block commits at its end, or rolls back if it
    raised; a transaction that is open when a connection comes back is rolled back.
    close_returns: connection.close() gives it back to the pool.

    min_size (4), max_size (min_size if None), timeout, max_waiting, max_lifetime,
    max_idle, reconnect_timeout, reconnect_failed, num_workers, name, open and, beyond
    psycopg_pool, leak_after, arena, host_max and update: forebay.Pool's."""

    def __init__(
        self,
        conninfo: Conninfo = "",
        *,
        connection_class: type[C] = cast("type[C]", psycopg.Connection),
        kwargs: Kwargs = None,
        min_size: int = 4,
        max_size: int | None = None,
        open: bool | None = None,
        configure: Callable[[C], object] | None = None,
        check: Callable[[C], object] | None = None,
        reset: Callable[[C], object] | None = None,
        name: str | None = None,
        close_returns: bool = False,
        timeout: Seconds = 30.0,
        max_waiting: int = 0,
        max_lifetime: Seconds | None = 3600.0,
        max_idle: Seconds | None = 600.0,
        reconnect_timeout: Seconds = 300.0,
        reconnect_failed: Callable[[Any], object] | None = None,
        num_workers: int = 3,
        leak_after: Seconds | None = None,
        arena: forebay.Arena | None = None,
        host_max: int | None = None,
        update: bool = False,
    ) -> None:
        self._describe(conninfo, kwargs, connection_class, configure, reset,
                       {"timeout": timeout, "max_waiting": max_waiting, "max_lifetime": max_lifetime, "max_idle": max_idle})  # fmt: skip
        me = weakref.ref(self)
        super().__init__(
            lambda: _pool_of(me)._connect(), **_sizes(min_size, max_size), check=check, end=_end, reset=lambda c: _pool_of(me)._make_idle(c),
            close=lambda c: _close(c, host_max is not None), timeout=timeout, max_waiting=max_waiting, max_lifetime=max_lifetime, max_idle=max_idle,
            reconnect_timeout=reconnect_timeout, reconnect_failed=reconnect_failed, num_workers=num_workers, name=name,
            leak_after=leak_after, arena=arena, host_max=host_max, update=update, open=False,
        )  # fmt: skip
        self.close_returns = close_returns
        self._home = _Home(self, close_returns)
        if open is not False:
            self.open()

    @staticmethod
    def check_connection(conn: psycopg.Connection[Any]) -> None:
        """Ask the server something; raises if it does not answer.  Begins no transaction."""
        if conn.autocommit:
            conn.execute("")
            return
        conn.autocommit = True
        try:
            conn.execute("")
        finally:
            if not conn.closed:
                conn.autocommit = False

    def _connect(self) -> C:
        conninfo = self.conninfo() if callable(self.conninfo) else self.conninfo or ""
        kwargs = self.kwargs() if callable(self.kwargs) else self.kwargs or {}
        connection: C = self.connection_class.connect(conninfo, **kwargs)
        connection._pool = cast(Any, self._home)
        try:
            if self._configure_hook is not None:
                self._configure_hook(connection)
                _require_idle(connection, self._configure_hook)
        except BaseException:
            _close(connection, False)
            raise
        return connection

    def _make_idle(self, connection: C) -> bool:
        """Bring it to the idle state, if it can be."""
        if connection.pgconn.transaction_status != IDLE and not self._roll_back(connection):
            return False
        if self._reset_hook is not None:
            self._reset_hook(connection)
            _require_idle(connection, self._reset_hook)
        return True

    def _roll_back(self, connection: C) -> bool:
        if connection.pgconn.transaction_status not in OPEN_TRANSACTION:
            _tell_of_unusable(self.name, connection)
            return False
        logger.warning("pool %r: rolling back a connection that came back in a transaction: %s", self.name, connection)
        connection.rollback()
        return connection.pgconn.transaction_status == IDLE


def _pool_of(reference: weakref.ref[Any]) -> Any:
    """In a hook, which the pool calls: it is there."""
    pool = reference()
    if pool is None:
        raise forebay.PoolClosedError("the pool is gone")
    return pool


def _tell_of_unusable(name: str, connection: psycopg.BaseConnection[Any]) -> None:
    if connection.pgconn.transaction_status == UNKNOWN:
        logger.warning("pool %r: a connection came back broken: %s", name, connection)
    else:
        logger.warning("pool %r: closing a connection that came back in the midst of a command: %s", name, connection)


def _end(connection: psycopg.Connection[Any], error: BaseException | None) -> None:
    """As psycopg ends a block, but that the connection stays open."""
    connection.__exit__(*_outcome(error))


def _close(connection: psycopg.Connection[Any], until_the_server_has: bool) -> None:
    connection._pool = None  # close() would give it back
    end = another_end(connection.fileno()) if until_the_server_has and not connection.closed else None
    connection.close()
    wait_for_end(end)


# ---- for asyncio ----


class AsyncConnectionPool(_Described, AsyncPool[AC]):
    """A forebay.AsyncPool of psycopg.AsyncConnection; arguments as ConnectionPool's.

    conninfo, kwargs, configure, check and reset may be coroutine functions.  open: None:
    now, if an event loop is running, as psycopg_pool does; better is `async with pool` or
    `await pool.open()`."""

    def __init__(
        self,
        conninfo: str | Callable[[], str] | Callable[[], Awaitable[str]] = "",
        *,
        connection_class: type[AC] = cast("type[AC]", psycopg.AsyncConnection),
        kwargs: dict[str, Any] | Callable[[], dict[str, Any]] | Callable[[], Awaitable[dict[str, Any]]] | None = None,
        min_size: int = 4,
        max_size: int | None = None,
        open: bool | None = None,
        configure: Callable[[AC], object] | None = None,
        check: Callable[[AC], object] | None = None,
        reset: Callable[[AC], object] | None = None,
        name: str | None = None,
        close_returns: bool = False,
        timeout: Seconds = 30.0,
        max_waiting: int = 0,
        max_lifetime: Seconds | None = 3600.0,
        max_idle: Seconds | None = 600.0,
        reconnect_timeout: Seconds = 300.0,
        reconnect_failed: Callable[[Any], object] | None = None,
        num_workers: int = 3,
        leak_after: Seconds | None = None,
        arena: forebay.Arena | None = None,
        host_max: int | None = None,
        update: bool = False,
    ) -> None:
        self._describe(conninfo, kwargs, connection_class, configure, reset,
                       {"timeout": timeout, "max_waiting": max_waiting, "max_lifetime": max_lifetime, "max_idle": max_idle})  # fmt: skip
        me = weakref.ref(self)
        super().__init__(
            lambda: _pool_of(me)._connect(), **_sizes(min_size, max_size), check=check, end=_aend,
            reset=lambda c: _pool_of(me)._make_idle(c),
            close=lambda c: _aclose(c, host_max is not None), timeout=timeout, max_waiting=max_waiting, max_lifetime=max_lifetime, max_idle=max_idle,
            reconnect_timeout=reconnect_timeout, reconnect_failed=reconnect_failed, num_workers=num_workers, name=name,
            leak_after=leak_after, arena=arena, host_max=host_max, update=update, open=False,
        )  # fmt: skip
        self.close_returns = close_returns
        self._home = _Home(self, close_returns)
        if open or (open is None and _is_in_a_loop()):
            self._bind()
            self._begin()

    @staticmethod
    async def check_connection(conn: psycopg.AsyncConnection[Any]) -> None:
        """Ask the server something; raises if it does not answer.  Begins no transaction."""
        if conn.autocommit:
            await conn.execute("")
            return
        await conn.set_autocommit(True)
        try:
            await conn.execute("")
        finally:
            if not conn.closed:
                await conn.set_autocommit(False)

    async def _connect(self) -> AC:
        conninfo = await call(self.conninfo) if callable(self.conninfo) else self.conninfo or ""
        kwargs = await call(self.kwargs) if callable(self.kwargs) else self.kwargs or {}
        connection: AC = await self.connection_class.connect(conninfo, **kwargs)
        connection._pool = cast(Any, self._home)
        try:
            if self._configure_hook is not None:
                await call(self._configure_hook, connection)
                _require_idle(connection, self._configure_hook)
        except BaseException:
            await _aclose(connection, False)
            raise
        return connection

    async def _make_idle(self, connection: AC) -> bool:
        """Bring it to the idle state, if it can be."""
        if connection.pgconn.transaction_status != IDLE and not await self._roll_back(connection):
            return False
        if self._reset_hook is not None:
            await call(self._reset_hook, connection)
            _require_idle(connection, self._reset_hook)
        return True

    async def _roll_back(self, connection: AC) -> bool:
        if connection.pgconn.transaction_status not in OPEN_TRANSACTION:
            _tell_of_unusable(self.name, connection)
            return False
        logger.warning("pool %r: rolling back a connection that came back in a transaction: %s", self.name, connection)
        await connection.rollback()
        return connection.pgconn.transaction_status == IDLE


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _aend(connection: psycopg.AsyncConnection[Any], error: BaseException | None) -> None:
    await connection.__aexit__(*_outcome(error))


async def _aclose(connection: psycopg.AsyncConnection[Any], until_the_server_has: bool) -> None:
    connection._pool = None  # close() would give it back
    end = another_end(connection.fileno()) if until_the_server_has and not connection.closed else None
    await connection.close()
    await await_end(end)
