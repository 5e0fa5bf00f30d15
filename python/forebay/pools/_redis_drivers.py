# SPDX-License-Identifier: Apache-2.0
"""What the pools of redis-py and valkey-py have in common, sync or for asyncio.

A pooled object is a connection object of the driver, which connects when it is taken,
in the thread or task of whoever takes it: so errors, retries and the checks of what is
idle are the driver's own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import forebay

Seconds = float | timedelta
FOR_EVER = float("inf")


class Options(TypedDict, total=False):
    """Of forebay.Pool, what the pools of both drivers take."""

    max_waiting: int
    max_lifetime: Seconds | None
    max_idle: Seconds | None
    leak_after: Seconds | None
    name: str | None
    arena: forebay.Arena | None
    host_max: int | None
    update: bool


def split(arguments: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
    """Those of the pool, and those of its connections."""
    options = {name: arguments.pop(name) for name in Options.__annotations__ if name in arguments}
    return Options(**options), arguments  # type: ignore[typeddict-item]


class DriversPool:
    """Overrides of the driver's ConnectionPool, which comes after it in the class.

    What there is to know of each: the class of connections, how many there may be where
    max_connections is None, and what is raised when none is left."""

    _connection_class: type[Any]
    _most = 100
    _none_left: Any

    _objects: Any  # a forebay.Pool or AsyncPool
    _idle_ones: Any  # a lock of what is idle in it

    if TYPE_CHECKING:

        def make_connection(self) -> Any: ...

    def __init__(
        self,
        connection_class: type[Any] | None = None,
        max_connections: int | None = None,
        *,
        timeout: Seconds | None = 20,
        **arguments: Any,
    ) -> None:
        options, of_connections = split(arguments)
        self._set_up(max_connections, timeout, options)
        super().__init__(  # type: ignore[call-arg]  # the driver's
            connection_class=connection_class or self._connection_class, max_connections=max_connections, **of_connections
        )
        self.make_connection()  # wrong arguments are an error here, not in the background; nothing is connected

    def _set_up(self, max_connections: int | None, timeout: Seconds | None, options: Options) -> None:
        """Before the driver's __init__, which may call reset()."""
        raise NotImplementedError

    @property
    def stats(self) -> dict[str, int]:
        """forebay.Pool.get_stats()."""
        found: dict[str, int] = self._objects.get_stats()
        return found

    # ---- what the driver's other methods look at ----

    @property
    def _available_connections(self) -> list[Any]:
        found: list[Any] = self._idle_ones.objects
        return found

    @_available_connections.setter
    def _available_connections(self, connections: Any) -> None:
        pass

    @property
    def _in_use_connections(self) -> set[Any]:
        return {found for found, *_ in self._objects._out()}

    @_in_use_connections.setter
    def _in_use_connections(self, connections: Any) -> None:
        pass

    @property
    def _lock(self) -> Any:
        return self._idle_ones

    @_lock.setter
    def _lock(self, lock: Any) -> None:
        pass

    def _get_pool_lock(self) -> Any:
        return self._lock

    def _get_free_connections(self) -> Iterable[Any]:
        return self._available_connections

    def _get_in_use_connections(self) -> Iterable[Any]:
        return self._in_use_connections


class BlockingArguments:
    """The arguments of the drivers' BlockingConnectionPools, for a DriversPool after it in the class."""

    def __init__(
        self,
        max_connections: int = 50,
        timeout: Seconds | None = 20,
        connection_class: type[Any] | None = None,
        queue_class: Any = None,
        **arguments: Any,
    ) -> None:
        super().__init__(connection_class, max_connections, timeout=timeout, **arguments)  # type: ignore[call-arg]
