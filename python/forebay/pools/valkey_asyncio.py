# SPDX-License-Identifier: Apache-2.0
"""Connection pools for valkey.asyncio.

    from forebay.pools.valkey_asyncio import ConnectionPool

    pool = ConnectionPool.from_url("valkey://localhost", max_connections=8, arena=arena, host_max=40, name="valkey")
    client = valkey.asyncio.Valkey(connection_pool=pool)
"""

from __future__ import annotations

from typing import Any

from forebay.pools._redis_pool import Seconds, split
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

    _none_left = PoolTimeout
    _most = 2**31 - 1

    def __init__(
        self,
        connection_class: type[Any] = Connection,
        max_connections: int | None = None,
        *,
        timeout: Seconds | None = 20,
        **arguments: Any,
    ) -> None:
        options, of_connections = split(arguments)
        self._set_up(max_connections, timeout, options)
        super().__init__(connection_class=connection_class, max_connections=max_connections, **of_connections)
        self._require_arguments()


class BlockingConnectionPool(ConnectionPool):
    """ConnectionPool with the arguments of valkey.asyncio.BlockingConnectionPool."""

    def __init__(
        self,
        max_connections: int = 50,
        timeout: Seconds | None = 20,
        connection_class: type[Any] = Connection,
        queue_class: Any = None,
        **arguments: Any,
    ) -> None:
        super().__init__(connection_class, max_connections, timeout=timeout, **arguments)
