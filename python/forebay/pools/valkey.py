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
from forebay.pools._redis_pool import RedisPool, Seconds, split

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

    def _make_ready(self, connection: Any) -> None:
        connection.connect()
        try:
            self._require_silence(connection)
        except (ConnectionError, OSError):
            connection.disconnect()
            connection.connect()
            self._require_silence(connection)

    def _require_silence(self, connection: Any) -> None:
        """An answer that nobody read, or an end; an invalidation of the client's cache is neither."""
        if connection.can_read() and connection.client_cache is None:
            raise ConnectionError("the connection has something to be read that belongs to an earlier command")


class BlockingConnectionPool(ConnectionPool):
    """ConnectionPool with the arguments of valkey.BlockingConnectionPool."""

    def __init__(
        self,
        max_connections: int = 50,
        timeout: Seconds | None = 20,
        connection_class: type[Any] = Connection,
        queue_class: Any = None,
        **arguments: Any,
    ) -> None:
        super().__init__(connection_class, max_connections, timeout=timeout, **arguments)
