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
from forebay.pools._redis_drivers import BlockingArguments
from forebay.pools._redis_pool import RedisPool

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

    _connection_class = Connection
    _none_left = PoolTimeout
    _broken = ConnectionError
    _signs_of_death = (ConnectionError, TimeoutError, OSError)

    def _may_be_told_things(self, connection: Any) -> bool:
        return self.cache is not None or bool(self.maint_notifications_enabled())

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


class BlockingConnectionPool(BlockingArguments, ConnectionPool):
    """ConnectionPool with the arguments of redis.BlockingConnectionPool."""
