# SPDX-License-Identifier: Apache-2.0
"""What forebay.pools.redis_asyncio and forebay.pools.valkey_asyncio have in common."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import forebay
from forebay._pool_async import AsyncPool
from forebay.pools._hang_up import ahang_up
from forebay.pools._redis_drivers import FOR_EVER, DriversPool, Options, Seconds

if TYPE_CHECKING:
    from forebay._core import Held


def socket_of(connection: Any) -> Any:
    """None: it is not connected."""
    writer = getattr(connection, "_writer", None)
    return None if writer is None else writer.get_extra_info("socket")


def descriptor_of(connection: Any) -> int | None:
    found = socket_of(connection)
    return None if found is None else int(found.fileno())


class IdleOnes:
    """A lock of a pool: while it is held, no task is given what was idle at its beginning."""

    def __init__(self, objects: AsyncPool[Any]) -> None:
        self._objects = objects
        self._lock = asyncio.Lock()
        self._held: list[Held] = []

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        for _ in range(self._objects._counts[0]):
            if (held := self._objects._take_oldest()) is not None:
                self._held.append(held)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, []
        for one in held:
            one.settle()
        self._lock.release()

    @property
    def objects(self) -> list[Any]:
        return [held.object for held in self._held] if self._lock.locked() else self._objects._idle()


class AsyncRedisPool(DriversPool):
    """Overrides of redis.asyncio.ConnectionPool and valkey.asyncio.ConnectionPool."""

    if TYPE_CHECKING:

        async def ensure_connection(self, connection: Any) -> None: ...

    def _set_up(self, max_connections: int | None, timeout: Seconds | None, options: Options) -> None:
        me = weakref.ref(self)
        waits_for_server = options.get("host_max") is not None

        def create() -> Any:
            pool = me()
            if pool is None:
                raise forebay.PoolClosedError("the pool is gone")
            return pool.make_connection()

        async def reset(connection: Any) -> bool:
            pool = me()
            if pool is not None:
                await pool._put_in_order(connection)
            return pool is not None

        async def close(connection: Any) -> None:
            if waits_for_server:
                await ahang_up(socket_of(connection))
            await connection.disconnect()

        self._end = close
        self._objects: AsyncPool[Any] = AsyncPool(
            create, min_size=0, max_size=self._most if max_connections is None else max_connections, reset=reset, close=close, fileno=descriptor_of,
            timeout=FOR_EVER if timeout is None else timeout, **options,
        )  # fmt: skip
        self._idle_ones = IdleOnes(self._objects)
        self.timeout = timeout

    async def _put_in_order(self, connection: Any) -> None:
        """A connection came back."""

    # ---- of the driver's pool ----

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A connection that is connected; waits for it up to `timeout` seconds."""
        if self._objects.closed:
            await self._objects.open()
        try:
            connection = await self._objects.getconn()
        except (forebay.PoolTimeoutError, forebay.TooManyRequestsError) as error:
            raise self._none_left(str(error)) from error
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """Back.  forebay.PoolError: it is not out of this pool."""
        await self._objects.putconn(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Disconnect what is idle, and what is in use, too, unless that is False."""
        async with self._idle_ones:
            await _together(map(self._end, self._idle_ones.objects))
        if inuse_connections:
            await _together(connection.disconnect() for connection in self._in_use_connections)
            await self._objects.drain()  # and gives their permits back

    async def aclose(self) -> None:
        """disconnect(); the pool may be used again, in the same event loop."""
        on_close = getattr(self, "_on_close", None)
        if on_close is not None:
            await on_close()
        await self.disconnect()

    def reset(self) -> None:
        """Use no connection again."""
        self._objects._drain()
        self._objects._need_worker()

    def can_get_connection(self) -> bool:
        """Whether one can be had without waiting."""
        idle, out, _, _ = self._objects._counts
        return idle > 0 or out < self._objects.max_size


async def _together(works: Iterable[Any]) -> None:
    """All of them, whatever one raises."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
