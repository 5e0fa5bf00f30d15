# SPDX-License-Identifier: Apache-2.0
"""Connection pools for valkey.asyncio.

    from forebay.pools.valkey_asyncio import ConnectionPool

    pool = ConnectionPool.from_url("valkey://localhost", max_connections=8, arena=arena, host_max=40, name="valkey")
    client = valkey.asyncio.Valkey(connection_pool=pool)
"""

from __future__ import annotations

from typing import Any

from forebay.pools._redis_drivers import BlockingArguments
from forebay.pools._redis_pool_asyncio import AsyncRedisPool
from forebay.pools.valkey import PoolTimeout

import valkey.asyncio
from valkey.asyncio.connection import Connection

__all__ = ["BlockingConnectionPool", "ConnectionPool", "PoolTimeout"]

_Base: Any = valkey.asyncio.ConnectionPool


class ConnectionPool(AsyncRedisPool, _Base):  # type: ignore[misc]  # not typed
    """A valkey.asyncio.ConnectionPool whose connections are in a forebay.AsyncPool.

    Arguments as forebay.pools.valkey.ConnectionPool's.  It belongs to the event loop in
    which it is first used."""

    _connection_class = Connection
    _none_left = PoolTimeout
    _most = 2**31 - 1


class BlockingConnectionPool(BlockingArguments, ConnectionPool):
    """ConnectionPool with the arguments of valkey.asyncio.BlockingConnectionPool."""
