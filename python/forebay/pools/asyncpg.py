# SPDX-License-Identifier: Apache-2.0
"""A pool of asyncpg connections, with the arguments and methods of asyncpg.create_pool()'s.

    import forebay.pools.asyncpg

    async with forebay.pools.asyncpg.create_pool(dsn, max_size=8, arena=arena, host_max=40, name="shop") as pool:
        async with pool.acquire() as connection:
            await connection.fetch("SELECT 1")
        await pool.fetchval("SELECT 1")

docs/guides/driver-pools.md says what is different.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any

import forebay
from forebay._pool_async import AsyncPool
from forebay._pool_async_workers import call
from forebay.pools._hang_up import another_end, await_end
from forebay.pools._missing import missing

try:
    import asyncpg  # type: ignore[import-untyped]
except ImportError as error:
    raise missing("asyncpg", "asyncpg") from error

__all__ = ["Pool", "create_pool"]

Seconds = float | timedelta
CLOSE_SECONDS = 5.0
RESET_SECONDS = 10.0  # a command whose cancellation the server missed goes on, and the reset waits for it


def _descriptor(connection: Any) -> int | None:
    transport = getattr(connection, "_transport", None)
    found = None if transport is None else transport.get_extra_info("socket")
    return None if found is None else int(found.fileno())


class Acquired:
    """What Pool.acquire() returns: to be awaited, or an async context."""

    __slots__ = ("_connection", "_pool", "_timeout")

    def __init__(self, pool: Pool, timeout: Seconds | None) -> None:
        self._pool, self._timeout = pool, timeout
        self._connection: Any = None

    def __await__(self) -> Generator[Any, None, Any]:
        return self._pool._acquire(self._timeout).__await__()

    async def __aenter__(self) -> Any:
        if self._connection is not None:
            raise forebay.PoolError("this acquire() was entered already: call pool.acquire() for each async with")
        self._connection = await self._pool._acquire(self._timeout)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        await self._pool.release(connection)


class Pool(AsyncPool[Any]):
    """A forebay.AsyncPool of asyncpg connections; asyncpg.create_pool()'s arguments.

    dsn and what is not named here: for asyncpg.connect(), or for connect=.  min_size (10, or
    max_size if that is less), max_size (10); max_queries: a connection is closed after so many;
    max_inactive_connection_lifetime: seconds, down to min_size; 0: for ever.
    setup(connection): before each use; init(connection): after it was made;
    reset(connection): after each use, instead of connection.reset().

    check(connection): before it is handed out again; what it raises is not the caller's,
    who gets another one; a closed one is not handed out in any case.  acquire_timeout:
    seconds that acquire() waits without a timeout= of its own (None: for ever); timeout is
    connect()'s.  max_waiting, max_lifetime, reconnect_timeout, leak_after, name, arena,
    host_max, update: forebay.AsyncPool's.

    acquire() gives the asyncpg.Connection itself, without a proxy: do not use it after
    release()."""

    def __init__(
        self,
        dsn: str | None = None,
        *,
        min_size: int | None = None,
        max_size: int = 10,
        max_queries: int = 50000,
        max_inactive_connection_lifetime: Seconds = 300.0,
        connect: Callable[..., Awaitable[Any]] | None = None,
        setup: Callable[[Any], object] | None = None,
        init: Callable[[Any], object] | None = None,
        reset: Callable[[Any], object] | None = None,
        check: Callable[[Any], object] | None = None,
        acquire_timeout: Seconds | None = 30.0,
        max_waiting: int = 0,
        max_lifetime: Seconds | None = 3600.0,
        reconnect_timeout: Seconds = 300.0,
        leak_after: Seconds | None = None,
        name: str | None = None,
        arena: forebay.Arena | None = None,
        host_max: int | None = None,
        update: bool = False,
        **connect_kwargs: Any,
    ) -> None:
        for hook, value in (("setup", setup), ("init", init), ("connect", connect), ("check", check), ("reset", reset)):
            if value is not None and not callable(value):
                raise TypeError(f"{hook} is a function, not {type(value).__name__}")
        if isinstance(max_queries, bool) or not isinstance(max_queries, int) or max_queries < 1:
            raise ValueError(f"max_queries is 1 or more, not {max_queries!r}")
        make = connect or asyncpg.connect

        async def create() -> Any:
            connection = await make(dsn, **connect_kwargs)
            try:
                if init is not None:
                    await call(init, connection)
            except BaseException:
                connection.terminate()
                raise
            return connection

        async def is_alive(connection: Any) -> bool:
            if connection.is_closed():
                return False
            return check is None or await call(check, connection) is not False

        async def put_in_order(connection: Any) -> bool:
            if connection.is_closed() or _queries(connection) >= max_queries:
                return False
            async with asyncio.timeout(RESET_SECONDS):
                if reset is None:
                    await connection.reset()
                else:
                    await connection._reset()  # the transaction and the listeners, as asyncpg's pool does
                    await call(reset, connection)
            return True

        async def close(connection: Any) -> None:
            end = another_end(_descriptor(connection)) if host_max is not None else None
            try:
                with contextlib.suppress(TimeoutError):  # then it was ended without a farewell
                    await connection.close(timeout=CLOSE_SECONDS)
            finally:
                await await_end(end)

        super().__init__(
            create, min_size=min(max_size, 10) if min_size is None else min_size, max_size=max_size, check=is_alive, reset=put_in_order, close=close, fileno=_descriptor,
            timeout=float("inf") if acquire_timeout is None else acquire_timeout, max_waiting=max_waiting, max_lifetime=max_lifetime,
            max_idle=max_inactive_connection_lifetime or None, reconnect_timeout=reconnect_timeout,
            leak_after=leak_after, name=name, arena=arena, host_max=host_max, update=update,
        )  # fmt: skip
        self._setup = setup

    def __await__(self) -> Generator[Any, None, Pool]:
        return self._opened().__await__()

    async def _opened(self) -> Pool:
        await self.open()
        return self

    # ---- connections ----

    def acquire(self, *, timeout: Seconds | None = None) -> Acquired:
        """A connection, by `await` or `async with`; forebay.PoolTimeoutError, a TimeoutError."""
        return Acquired(self, timeout)

    async def release(self, connection: Any, *, timeout: Seconds | None = None) -> None:
        """Give back what acquire() gave: it is reset.  forebay.PoolError: it is not out of this pool."""
        await self.putconn(connection)

    async def _acquire(self, timeout: Seconds | None) -> Any:
        connection = await self.getconn(timeout)
        try:
            if self._setup is not None:
                await call(self._setup, connection)
        except BaseException:
            connection.terminate()  # in whatever state setup left it
            await self.putconn(connection)
            raise
        return connection

    def terminate(self) -> None:
        """End all connections at once, those in use, too, and close the pool."""
        for connection in [*self._idle(), *(out.object for out in self.checked_out())]:
            connection.terminate()
        if self._finish():
            self._need_worker()

    async def expire_connections(self) -> None:
        """drain(): no connection of now is used again."""
        await self.drain()

    def is_closing(self) -> bool:
        """Whether it was closed, or is not open yet."""
        return self.closed

    def get_size(self) -> int:
        """Connections there are."""
        return self.get_stats()["pool_size"]

    def get_idle_size(self) -> int:
        return self.get_stats()["pool_available"]

    def get_min_size(self) -> int:
        return self.min_size

    def get_max_size(self) -> int:
        return self.max_size

    # ---- one connection for one call ----

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Connection.execute() on a connection of the pool; the others likewise."""
        async with self.acquire() as connection:
            status: str = await connection.execute(query, *args, timeout=timeout)
            return status

    async def executemany(self, command: str, args: Iterable[Any], *, timeout: float | None = None) -> Any:
        async with self.acquire() as connection:
            return await connection.executemany(command, args, timeout=timeout)

    async def fetch(self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None) -> list[Any]:
        async with self.acquire() as connection:
            rows: list[Any] = await connection.fetch(query, *args, timeout=timeout, record_class=record_class)
            return rows

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchval(query, *args, column=column, timeout=timeout)

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *args, timeout=timeout, record_class=record_class)

    async def fetchmany(
        self, query: str, args: Iterable[Any], *, timeout: float | None = None, record_class: Any = None
    ) -> list[Any]:
        async with self.acquire() as connection:
            rows: list[Any] = await connection.fetchmany(query, args, timeout=timeout, record_class=record_class)
            return rows

    async def copy_from_table(self, table_name: str, **arguments: Any) -> str:
        return await self._copy("copy_from_table", table_name, **arguments)

    async def copy_from_query(self, query: str, *args: Any, **arguments: Any) -> str:
        return await self._copy("copy_from_query", query, *args, **arguments)

    async def copy_to_table(self, table_name: str, **arguments: Any) -> str:
        return await self._copy("copy_to_table", table_name, **arguments)

    async def copy_records_to_table(self, table_name: str, **arguments: Any) -> str:
        return await self._copy("copy_records_to_table", table_name, **arguments)

    async def _copy(self, method: str, *args: Any, **arguments: Any) -> str:
        async with self.acquire() as connection:
            status: str = await getattr(connection, method)(*args, **arguments)
            return status


def _queries(connection: Any) -> int:
    """How many it has been asked; 0 where this asyncpg does not say."""
    return int(getattr(getattr(connection, "_protocol", None), "queries_count", 0))


def create_pool(dsn: str | None = None, **arguments: Any) -> Pool:
    """Pool(dsn, ...), to be opened by `await` or `async with`, as asyncpg.create_pool()."""
    return Pool(dsn, **arguments)
