# SPDX-License-Identifier: Apache-2.0
"""Connection pools for redis.asyncio.

    from forebay.pools.redis_asyncio import ConnectionPool

    pool = ConnectionPool.from_url("redis://localhost", max_connections=8, arena=arena, host_max=40, name="redis")
    client = redis.asyncio.Redis(connection_pool=pool)
"""

from __future__ import annotations

from typing import Any

from forebay.pools._redis_drivers import BlockingArguments
from forebay.pools._redis_pool_asyncio import AsyncRedisPool
from forebay.pools.redis import PoolTimeout

import redis.asyncio
from redis.asyncio.connection import Connection
from redis.event import AsyncAfterConnectionReleasedEvent

__all__ = ["BlockingConnectionPool", "ConnectionPool", "PoolTimeout"]

_Base: Any = redis.asyncio.ConnectionPool


class ConnectionPool(AsyncRedisPool, _Base):  # type: ignore[misc]  # not typed
    """A redis.asyncio.ConnectionPool whose connections are in a forebay.AsyncPool.

    Arguments as forebay.pools.redis.ConnectionPool's.  It belongs to the event loop in
    which it is first used."""

    _connection_class = Connection
    _none_left = PoolTimeout

    async def _put_in_order(self, connection: Any) -> None:
        if connection.should_reconnect():
            await connection.disconnect()
        await self._event_dispatcher.dispatch_async(AsyncAfterConnectionReleasedEvent(connection))  # type: ignore[no-untyped-call]


class BlockingConnectionPool(BlockingArguments, ConnectionPool):
    """ConnectionPool with the arguments of redis.asyncio.BlockingConnectionPool."""
