# SPDX-License-Identifier: Apache-2.0
"""Connection pools for valkey-py, to be given to valkey.Valkey(connection_pool=...).

    from forebay.pools.valkey import ConnectionPool

    pool = ConnectionPool.from_url("valkey://localhost", max_connections=8, arena=arena, host_max=40, name="valkey")
    client = valkey.Valkey(connection_pool=pool)

Those for valkey.asyncio: forebay.pools.valkey_asyncio.
"""

from __future__ import annotations

from typing import Any

import forebay
from forebay.pools._missing import missing
from forebay.pools._redis_drivers import BlockingArguments
from forebay.pools._redis_pool import RedisPool

try:
    import valkey
    from valkey.connection import Connection
    from valkey.exceptions import ConnectionError, MaxConnectionsError
except ImportError as error:
    raise missing("valkey", "valkey") from error

__all__ = ["BlockingConnectionPool", "ConnectionPool", "PoolTimeout"]

_Base: Any = valkey.ConnectionPool


class PoolTimeout(MaxConnectionsError, forebay.PoolTimeoutError):
    """No connection was to be had in time: a valkey.exceptions.MaxConnectionsError."""


class ConnectionPool(RedisPool, _Base):  # type: ignore[misc]  # not typed
    """A valkey.ConnectionPool whose connections are in a forebay.Pool.

    connection_class, max_connections (any number), and whatever connections take: as
    valkey-py's.  timeout: seconds that a command waits for a connection if
    max_connections are in use (20; None: for ever), where valkey.ConnectionPool raises at
    once: PoolTimeout, which is a valkey.exceptions.MaxConnectionsError.  max_waiting,
    max_lifetime, max_idle, leak_after, name, arena, host_max, update: forebay.Pool's.

    The connection is made, and found out to be alive, when it is taken, as valkey-py does."""

    _connection_class = Connection
    _none_left = PoolTimeout
    _broken = ConnectionError
    _signs_of_death = (ConnectionError, OSError)
    _most = 2**31 - 1

    def _may_be_told_things(self, connection: Any) -> bool:
        return connection.client_cache is not None  # what it is to forget


class BlockingConnectionPool(BlockingArguments, ConnectionPool):
    """ConnectionPool with the arguments of valkey.BlockingConnectionPool."""
