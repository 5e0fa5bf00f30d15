# SPDX-License-Identifier: Apache-2.0
"""What forebay.pools.redis and forebay.pools.valkey have in common."""

from __future__ import annotations

import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

import forebay
from forebay._pool import Pool
from forebay.pools._hang_up import hang_up
from forebay.pools._redis_drivers import FOR_EVER, DriversPool, Options, Seconds

if TYPE_CHECKING:
    from types import TracebackType

    from forebay._core import Held

def socket_of(connection: Any) -> socket.socket | None:
    """None: it is not connected."""
    found = getattr(connection, "_sock", None)
    return found if isinstance(found, socket.socket) else None


def descriptor_of(connection: Any) -> int | None:
    found = socket_of(connection)
    return None if found is None else found.fileno()


class IdleOnes:
    """A lock of a pool: while it is held, nobody is given what was idle at its beginning.

    A driver that disconnects, or sends something on, idle connections holds it.  It may be
    held several times by one thread."""

    def __init__(self, objects: Pool[Any]) -> None:
        self._objects = objects
        self._lock = threading.RLock()
        self._depth = 0
        self._held: list[Held] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        for _ in range(self._objects._counts[0] if self._depth == 1 else 0):
            if (held := self._objects._take_oldest()) is not None:
                self._held.append(held)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0:
            held, self._held = self._held, []
            for one in held:
                one.settle()
        self._lock.release()

    @property
    def objects(self) -> list[Any]:
        """What is idle; safe to work with while the lock is held."""
        return [held.object for held in self._held] if self._depth else self._objects._idle()


class RedisPool(DriversPool):
    """Overrides of redis.ConnectionPool and valkey.ConnectionPool."""

    _broken: Any  # the driver's ConnectionError
    _signs_of_death: tuple[Any, ...]  # what it raises of a connection that ended while it was idle

    if TYPE_CHECKING:
        pid: int

        def _checkpid(self) -> None: ...

    def _set_up(self, max_connections: int | None, timeout: Seconds | None, options: Options) -> None:
        me = weakref.ref(self)
        waits_for_server = options.get("host_max") is not None

        def create() -> Any:
            pool = me()
            if pool is None:
                raise forebay.PoolClosedError("the pool is gone")
            return pool.make_connection()

        def reset(connection: Any) -> bool:
            pool = me()
            if pool is not None:
                pool._put_in_order(connection)
            return pool is not None

        def close(connection: Any) -> None:
            if waits_for_server:
                hang_up(socket_of(connection))
            connection.disconnect()

        self._end = close
        self._objects: Pool[Any] = Pool(
            create, min_size=0, max_size=self._most if max_connections is None else max_connections, reset=reset, close=close, fileno=descriptor_of,
            timeout=FOR_EVER if timeout is None else timeout, **options,
        )  # fmt: skip
        self._idle_ones = IdleOnes(self._objects)
        self.timeout = timeout

    def _put_in_order(self, connection: Any) -> None:
        """A connection came back."""

    def _make_ready(self, connection: Any) -> None:
        """A connection was taken; raises if it cannot be used."""
        connection.connect()
        try:
            self._require_silence(connection)
        except self._signs_of_death:
            connection.disconnect()
            connection.connect()
            self._require_silence(connection)

    def _require_silence(self, connection: Any) -> None:
        """An answer that nobody read, or an end, are none."""
        if connection.can_read() and not self._may_be_told_things(connection):
            raise self._broken("the connection has something to be read that belongs to an earlier command")

    def _may_be_told_things(self, connection: Any) -> bool:
        """The server may say something of its own accord."""
        raise NotImplementedError

    # ---- of the driver's pool ----

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A connection that is connected; waits for it up to `timeout` seconds."""
        self._checkpid()
        try:
            connection = self._objects.getconn()
        except forebay.PoolError as error:
            raise self._none_left(str(error)) from error
        try:
            self._make_ready(connection)
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        """Back; what is not of this pool is left alone."""
        self._checkpid()
        try:
            self._objects.putconn(connection)
        except forebay.PoolError:
            return

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Disconnect what is idle, and what is in use, too, unless that is False."""
        self._checkpid()
        with self._idle_ones:
            for connection in self._idle_ones.objects:
                self._end(connection)
        if inuse_connections:
            for connection in self._in_use_connections:
                connection.disconnect()
            self._objects.drain()  # and gives their permits back

    def close(self) -> None:
        """disconnect(); the pool may be used again."""
        self.disconnect()

    def reset(self) -> None:
        """Of the driver: in the child of a fork, and at first.  Otherwise use no connection again."""
        if getattr(self, "pid", None) == os.getpid():
            self._objects.drain()
        else:
            self._idle_ones = IdleOnes(self._objects)
            self.pid = os.getpid()

    @property
    def _created_connections(self) -> int:
        return 0  # how many there may be is not for make_connection() to decide

    @_created_connections.setter
    def _created_connections(self, number: int) -> None:
        pass

    @property
    def _lock(self) -> Any:
        self._checkpid()
        return self._idle_ones

    @_lock.setter
    def _lock(self, lock: Any) -> None:
        pass
