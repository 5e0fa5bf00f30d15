# SPDX-License-Identifier: Apache-2.0
"""Connection pools for redis-py, to be given to redis.Redis(connection_pool=...).

    from forebay.pools.redis import ConnectionPool

    pool = ConnectionPool.from_url("redis://localhost", max_connections=8, arena=arena, host_max=40, name="redis")
    client = redis.Redis(connection_pool=pool)

Those for redis.asyncio: forebay.pools.redis_asyncio.
"""

from __future__ import annotations

from typing import Any

import forebay
from forebay.pools._missing import missing
from forebay.pools._redis_pool import RedisPool, Seconds, split

try:
    import redis
    from redis.connection import Connection
    from redis.event import AfterConnectionReleasedEvent
    from redis.exceptions import ConnectionError, MaxConnectionsError, TimeoutError
except ImportError as error:
    raise missing("redis", "redis") from error

__all__ = ["BlockingConnectionPool", "ConnectionPool", "PoolTimeout"]

_Base: Any = redis.ConnectionPool


class PoolTimeout(MaxConnectionsError, forebay.PoolTimeoutError):
    """No connection was to be had in time: a redis.exceptions.MaxConnectionsError."""


class ConnectionPool(RedisPool, _Base):  # type: ignore[misc]  # not typed
    """A redis.ConnectionPool whose connections are in a forebay.Pool.

    connection_class, max_connections (100), and whatever connections take: as redis-py's.
    timeout: seconds that a command waits for a connection if max_connections are in use
    (20; None: for ever), where redis.ConnectionPool raises at once: PoolTimeout, which is
    a redis.exceptions.MaxConnectionsError.  max_waiting, max_lifetime, max_idle,
    leak_after, name, arena, host_max, update: forebay.Pool's.

    The connection is made, and found out to be alive, when it is taken, as redis-py does."""

    _none_left = PoolTimeout

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
        except (ConnectionError, TimeoutError, OSError):
            connection.disconnect()
            connection.connect()
            self._require_silence(connection)

    def _require_silence(self, connection: Any) -> None:
        """An answer that nobody read, or an end; what a server says of its own accord is neither."""
        if connection.can_read() and self.cache is None and not self.maint_notifications_enabled():
            raise ConnectionError("the connection has something to be read that belongs to an earlier command")

    def _put_in_order(self, connection: Any) -> None:
        if connection.should_reconnect():
            connection.disconnect()
        self._event_dispatcher.dispatch(AfterConnectionReleasedEvent(connection))  # type: ignore[no-untyped-call]

    def re_auth_callback(self, token: Any) -> None:
        """Of redis-py: other credentials for all connections."""
        with self._idle_ones:
            for connection in self._idle_ones.objects:
                _authenticate(connection, token)
        for connection in self._in_use_connections:
            connection.set_re_auth_token(token)


def _authenticate(connection: Any, token: Any) -> None:
    def ask() -> None:
        connection.send_command("AUTH", token.try_get("oid"), token.get_value())
        connection.read_response()

    try:
        connection.retry.call_with_retry(ask, lambda error: None)
    except Exception:
        connection.disconnect()  # and connects with the credentials there are then
        raise


class BlockingConnectionPool(ConnectionPool):
    """ConnectionPool with the arguments of redis.BlockingConnectionPool."""

    def __init__(
        self,
        max_connections: int = 50,
        timeout: Seconds | None = 20,
        connection_class: type[Any] = Connection,
        queue_class: Any = None,
        **arguments: Any,
    ) -> None:
        super().__init__(connection_class, max_connections, timeout=timeout, **arguments)


