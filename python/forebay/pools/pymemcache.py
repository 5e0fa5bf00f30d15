# SPDX-License-Identifier: Apache-2.0
"""pymemcache clients with a pool, for threads.

    from forebay.pools.pymemcache import PooledClient

    client = PooledClient(("localhost", 11211), max_pool_size=8, arena=arena, host_max=40, name="memcached")
    client.set("key", "value")

Each call takes a connection for its duration.  HashClient: the same for several servers.
"""

from __future__ import annotations

import socket
import weakref
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import forebay
from forebay._pool import Pool
from forebay.pools._hang_up import hang_up
from forebay.pools._missing import missing

try:
    import pymemcache  # type: ignore[import-untyped]
except ImportError as error:
    raise missing("pymemcache", "pymemcache") from error

__all__ = ["HashClient", "PooledClient"]

Seconds = float | timedelta
_PooledClient: Any = pymemcache.PooledClient
_HashClient: Any = pymemcache.HashClient
OF_POOL = ("acquire_timeout", "max_waiting", "max_lifetime", "leak_after", "name", "arena", "host_max", "update")
LONGEST_NAME = 47  # bytes, of a limit
OF_SERVER = ("max_pool_size", "pool_idle_timeout", *OF_POOL)


def _socket_of(client: Any) -> socket.socket | None:
    found = getattr(client, "sock", None)
    return found if isinstance(found, socket.socket) else None


def _descriptor(client: Any) -> int | None:
    found = _socket_of(client)
    return None if found is None else found.fileno()


def _end(client: Any, error: BaseException | None) -> None:
    """After a failure there may be an answer that nobody has read; it connects anew."""
    if error is not None:
        client.close()


class Clients:
    """What PooledClient uses of a pymemcache.pool.ObjectPool, on a forebay.Pool."""

    def __init__(self, pool: Pool[Any], close: Callable[[Any], None]) -> None:
        self.pool, self._close = pool, close
        self.max_size = pool.max_size

    def get_and_release(self, destroy_on_fail: bool = False) -> AbstractContextManager[Any]:
        return self.pool.connection()

    def get(self) -> Any:
        return self.pool.getconn()

    def release(self, client: Any, silent: bool = True) -> None:
        try:
            self.pool.putconn(client)
        except forebay.PoolError:
            if not silent:
                raise ValueError(f"{client!r} is not out of this pool") from None

    def destroy(self, client: Any, silent: bool = True) -> None:
        client.close()
        self.release(client, silent)

    def clear(self) -> None:
        """End all connections; those in use when they come back."""
        for _ in range(self.pool._counts[0]):
            if (held := self.pool._take_oldest()) is not None:
                self._close(held.object)
                held.settle()
        self.pool.drain()

    @property
    def used(self) -> tuple[Any, ...]:
        return tuple(out.object for out in self.pool.checked_out())

    @property
    def free(self) -> tuple[Any, ...]:
        return tuple(self.pool._idle())


class PooledClient(_PooledClient):  # type: ignore[misc]  # not typed
    """A pymemcache.PooledClient whose connections are in a forebay.Pool.

    server, serde, connect_timeout, timeout, ...: as pymemcache's.  max_pool_size (any
    number if None): connections; pool_idle_timeout: seconds until an idle one is closed;
    0: never.  acquire_timeout: seconds that a call waits for a connection if all are in
    use (20; None: for ever): forebay.PoolTimeoutError, which is a RuntimeError, as what
    pymemcache raises at once.  max_waiting, max_lifetime, leak_after, name, arena,
    host_max, update: forebay.Pool's.

    lock_generator is not used."""

    def __init__(
        self,
        server: Any,
        *,
        max_pool_size: int | None = None,
        pool_idle_timeout: Seconds = 0,
        acquire_timeout: Seconds | None = 20.0,
        max_waiting: int = 0,
        max_lifetime: Seconds | None = 3600.0,
        leak_after: Seconds | None = None,
        name: str | None = None,
        arena: forebay.Arena | None = None,
        host_max: int | None = None,
        update: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(server, **arguments)
        me = weakref.ref(self)
        waits_for_server = host_max is not None

        def create() -> Any:
            """Connects at its first command, in the thread that gives it."""
            client = me()
            if client is None:
                raise forebay.PoolClosedError("the client is gone")
            return client._create_client()

        def close(client: Any) -> None:
            if waits_for_server:
                hang_up(_socket_of(client))
            client.close()

        pool = Pool[Any](
            create, min_size=0, max_size=2**31 - 1 if max_pool_size is None else max_pool_size, end=_end, close=close, fileno=_descriptor,
            timeout=float("inf") if acquire_timeout is None else acquire_timeout, max_waiting=max_waiting, max_lifetime=max_lifetime,
            max_idle=pool_idle_timeout or None, leak_after=leak_after, name=name, arena=arena, host_max=host_max, update=update,
        )  # fmt: skip
        self.client_pool = Clients(pool, close)

    @property
    def stats_of_pool(self) -> dict[str, int]:
        """forebay.Pool.get_stats()."""
        pool: Pool[Any] = self.client_pool.pool
        return pool.get_stats()


class HashClient(_HashClient):  # type: ignore[misc]  # not typed
    """A pymemcache.HashClient with a PooledClient of this module for each server.

    Arguments are pymemcache's and PooledClient's.  max_pool_size and host_max are of each
    server; their limits are called "name host:port", or "name path", or, if that is too
    long for a limit, "name" and the CRC-32 of the rest."""

    def __init__(self, servers: Any, **arguments: Any) -> None:
        self._of_server = {name: arguments.pop(name) for name in OF_SERVER if name in arguments}
        if arguments.pop("use_pooling", True) is not True:
            raise ValueError("use_pooling is True here: for a client without a pool take pymemcache's")
        super().__init__(servers, use_pooling=False, **arguments)

    def add_server(self, server: Any, port: int | None = None) -> None:
        """As pymemcache's."""
        if port is not None:
            server = (server, port)
        key = self._make_client_key(server)
        options = dict(self._of_server)
        if options.get("name") is not None:
            options["name"] = _limit_name(options["name"], str(key))
        client = PooledClient(server, **self.default_kwargs, **options)
        client.client_class = self.client_class
        self.clients[key] = client
        self.hasher.add_node(key)


def _limit_name(name: str, server: str) -> str:
    found = f"{name} {server}"
    return found if len(found.encode()) <= LONGEST_NAME else f"{name} {zlib.crc32(server.encode()):08x}"
