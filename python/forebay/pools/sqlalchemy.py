# SPDX-License-Identifier: Apache-2.0
"""Pools for SQLAlchemy engines.

    from forebay.pools.sqlalchemy import ForebayPool, poolclass

    engine = create_engine(url, poolclass=ForebayPool, pool_size=5, max_overflow=0)
    engine = create_engine(url, poolclass=poolclass(arena=arena, host_max=40, name="shop"))
    engine = create_async_engine(url, poolclass=poolclass(arena=arena, host_max=40, name="shop", asyncio=True))

A pooled object is a place for a connection, which SQLAlchemy fills when it is taken: so
events, pre_ping, recycle, invalidation and errors are SQLAlchemy's own.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, TypedDict

import forebay
from forebay._pool import Pool
from forebay._pool_async import AsyncPool
from forebay.pools._hang_up import another_end, await_end, wait_for_end
from forebay.pools._missing import missing

try:
    import sqlalchemy.exc
    import sqlalchemy.pool
    import sqlalchemy.util
    from sqlalchemy.pool.base import _ConnectionRecord
except ImportError as error:
    raise missing("sqlalchemy", "sqlalchemy") from error

__all__ = ["AsyncForebayPool", "ForebayPool", "poolclass"]

Seconds = float | timedelta
ANY_NUMBER = 2**31 - 1


class Options(TypedDict, total=False):
    """Of forebay.Pool, what an engine has no argument for."""

    max_waiting: int
    max_idle: Seconds | None
    leak_after: Seconds | None
    name: str | None
    arena: forebay.Arena | None
    host_max: int | None
    update: bool


def _descriptor(record: Any) -> int | None:
    """The socket of a record's connection, as far as its driver tells."""
    if record.dbapi_connection is None:
        return None
    driver = record.driver_connection
    fileno = getattr(driver, "fileno", None)
    if callable(fileno):
        return int(fileno())
    transport = getattr(driver, "_transport", None)  # asyncpg
    found = transport.get_extra_info("socket") if transport is not None else getattr(driver, "_sock", None)  # PyMySQL
    return None if found is None else int(found.fileno())


class ForebayPool(sqlalchemy.pool.Pool):
    """A sqlalchemy.pool.Pool on a forebay.Pool, with the arguments of QueuePool.

    pool_size (5; 0: any number) and max_overflow (10; -1: any number): at most as many
    connections as both together; idle ones are closed after 600 seconds, see poolclass().
    timeout: seconds until sqlalchemy.exc.TimeoutError.  use_lifo is so in any case.

    A pool may be used in the child of a fork, which has connections of its own; there is
    no need of engine.dispose() there."""

    _options: ClassVar[Options] = {}

    def __init__(
        self,
        creator: Callable[..., Any],
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        use_lifo: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(creator, **arguments)
        self._pool_size, self._max_overflow, self._timeout = pool_size, max_overflow, timeout
        self._waits_for_server = self._options.get("host_max") is not None
        self._most = ANY_NUMBER if pool_size == 0 or max_overflow < 0 else pool_size + max_overflow
        self._making = threading.Lock()
        self._made: Any = None

    @property
    def _objects(self) -> Any:
        """Made when it is needed: dispose() makes a new pool, when the arena may be closed already."""
        if self._made is None:
            with self._making:
                self._made = self._made or self._make_objects(self._most, self._timeout)
        return self._made

    def _make_objects(self, most: int, timeout: float) -> Any:
        me = weakref.ref(self)
        return Pool(
            lambda: _ConnectionRecord(_pool_of(me), connect=False), min_size=0, max_size=most, reset=_is_connected, fileno=_descriptor,
            close=lambda record: _close(record, me), timeout=timeout, max_lifetime=None, **self._options,
        )  # fmt: skip

    def _do_get(self) -> Any:
        try:
            return self._objects.getconn()
        except forebay.PoolTimeoutError as error:
            raise sqlalchemy.exc.TimeoutError(str(error), code="3o7r") from error
        except forebay.TooManyRequestsError as error:
            raise sqlalchemy.exc.TimeoutError(str(error)) from error

    def _do_return_conn(self, record: Any) -> None:
        self._objects.putconn(record)

    def recreate(self) -> ForebayPool:
        """Of SQLAlchemy: a new pool with the same arguments."""
        self.logger.info("Pool recreating")
        return self.__class__(
            self._creator, pool_size=self._pool_size, max_overflow=self._max_overflow, timeout=self._timeout, recycle=self._recycle,
            echo=self.echo, logging_name=self._orig_logging_name, reset_on_return=self._reset_on_return, pre_ping=self._pre_ping,
            _dispatch=self.dispatch, dialect=self._dialect,
        )  # fmt: skip

    def dispose(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        if self._made is None:
            return
        for _ in range(self._objects._counts[0]):
            if (held := self._objects._take_oldest()) is not None:
                try:
                    self._end(held.object)
                finally:
                    held.settle()
        self._objects._drain()
        self._objects._need_worker()
        self.logger.info("Pool disposed. %s", self.status())

    def _end(self, record: Any) -> None:
        end = another_end(_descriptor(record)) if self._waits_for_server else None
        record.close()
        wait_for_end(end)

    # ---- what is there ----

    def status(self) -> str:
        """A line for people."""
        return f"Pool size: {self.size()}  Connections in pool: {self.checkedin()} Current Checked out connections: {self.checkedout()}"

    def get_stats(self) -> dict[str, int]:
        """forebay.Pool.get_stats()."""
        figures: dict[str, int] = self._objects.get_stats()
        return figures

    def size(self) -> int:
        """pool_size."""
        return self._pool_size

    def timeout(self) -> float:
        return self._timeout

    def checkedin(self) -> int:
        """Idle ones."""
        return int(self._objects._counts[0])

    def checkedout(self) -> int:
        """Those in use."""
        return int(self._objects._counts[1])

    def overflow(self) -> int:
        """How many more there are than pool_size; negative: fewer."""
        return self.checkedin() + self.checkedout() - self._pool_size


def _pool_of(reference: weakref.ref[Any]) -> Any:
    pool = reference()
    if pool is None:
        raise forebay.PoolClosedError("the pool is gone")
    return pool


def _is_connected(record: Any) -> bool:
    """A place whose connection failed or was invalidated is given up, with its permit."""
    return record.dbapi_connection is not None


def _close(record: Any, pool: weakref.ref[Any]) -> None:
    found = pool()
    if found is None:
        record.close()
    else:
        found._end(record)


class AsyncForebayPool(ForebayPool):
    """ForebayPool for create_async_engine(): on a forebay.AsyncPool, which belongs to the
    event loop in which the engine is first used."""

    _is_asyncio = True

    def _make_objects(self, most: int, timeout: float) -> Any:
        me = weakref.ref(self)

        async def close(record: Any) -> None:
            end = another_end(_descriptor(record)) if self_waits else None
            try:
                await sqlalchemy.util.greenlet_spawn(record.close)
            finally:
                await await_end(end)

        self_waits = self._waits_for_server
        return AsyncPool(
            lambda: _ConnectionRecord(_pool_of(me), connect=False), min_size=0, max_size=most, fileno=_descriptor, close=close,
            timeout=timeout, max_lifetime=None, **self._options,
        )  # fmt: skip

    def _do_get(self) -> Any:
        if self._objects.closed:
            sqlalchemy.util.await_only(self._objects.open())
        try:
            return sqlalchemy.util.await_only(self._objects.getconn())
        except forebay.PoolTimeoutError as error:
            raise sqlalchemy.exc.TimeoutError(str(error), code="3o7r") from error
        except forebay.TooManyRequestsError as error:
            raise sqlalchemy.exc.TimeoutError(str(error)) from error

    def _do_return_conn(self, record: Any) -> None:
        """Without waiting: the garbage collector calls this, too."""
        held = self._objects._held_of(record)
        if held is None or not held.take_back():
            return
        if _is_connected(record):
            held.settle()
        else:
            held.discard(False)
        self._objects._need_worker()


def poolclass(
    *,
    arena: forebay.Arena | None = None,
    host_max: int | None = None,
    name: str | None = None,
    update: bool = False,
    max_idle: Seconds | None = 600.0,
    max_waiting: int = 0,
    leak_after: Seconds | None = None,
    asyncio: bool = False,
) -> type[ForebayPool]:
    """ForebayPool with what an engine has no argument for; asyncio: AsyncForebayPool.

    All engines with the class share these; with arena, host_max and name the limit of the
    machine.  max_idle, max_waiting, leak_after: forebay.Pool's."""
    if (arena is None) != (host_max is None) or (arena is not None and name is None):
        raise ValueError("arena=, host_max= and name= go together: the arena is where the machine's limit of that name is kept")
    options = Options(arena=arena, host_max=host_max, name=name, update=update, max_idle=max_idle, max_waiting=max_waiting, leak_after=leak_after)
    base = AsyncForebayPool if asyncio else ForebayPool
    return type(base.__name__, (base,), {"_options": options, "__module__": __name__, "__doc__": base.__doc__})
