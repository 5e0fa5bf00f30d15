# SPDX-License-Identifier: Apache-2.0
"""Stores: the user's own client of a shared key-value server, as tiers use it.

A store moves raw bytes by name, many at a time, and knows nothing of what they mean:
one round trip to each server that has some of the names, the servers at the same time
where the driver allows it.  store_of(client) finds the store for a client of redis-py,
valkey-py, pymemcache or pylibmc.  No driver is imported here: whoever has a client has
imported its driver.

Errors.  What the driver raises goes through as it is; those of `errors` say that the
server is not there, is slow, or refuses.  After one of them nothing is known of what
was to be written: all, some or none of it may be.  A single name that cannot be read
as bytes, because another program has made something else of it, is no error: it is
absent, and not replaced by replace_many().

Threads and processes.  A store may be used by all threads, and by the children of a
fork, each with connections of its own.  A store for asyncio belongs to the loop that
its client belongs to: used in another one, the driver's error is what comes.

Ownership.  The client remains the user's: a store changes none of its options, closes
nothing, and may share it with other users, except where the store's class says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Item = tuple[bytes, bytes, int]
"""A name, what is to be stored there, and for how many milliseconds; 0: until it is deleted or evicted."""

DRIVERS = ("redis", "valkey", "pymemcache", "pylibmc")


class Facts(Protocol):
    """What there is to know of a store before it is used; nothing of it asks the server, but for item_max."""

    @property
    def asynchronous(self) -> bool:
        """The methods are coroutine functions."""

    @property
    def item_max(self) -> int | None:
        """Bytes of the largest value that the server takes with a name of any length; None: not known.

        memcached: asked once, at the first look; until it answers, what its default is."""

    @property
    def name_max(self) -> int:
        """Bytes of the longest name.  Names are printable ASCII without spaces."""

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """What the driver raises when the server cannot be reached, is slow, or refuses."""

    @property
    def timeout(self) -> float | None:
        """Seconds for which the client waits for a socket, to be read or written; None: as long as it takes."""

    @property
    def connect_timeout(self) -> float | None:
        """Seconds for which the client waits for a connection; None: as long as it takes."""

    @property
    def retries(self) -> int:
        """How often the client tries again to connect, by itself, each time for up to
        `connect_timeout`, and `timeout` for what is said first.

        Commands are sent once: a store does not try again what failed."""

    @property
    def describe(self) -> str:
        """Which server it is, for messages; without user and password."""


class Store(Facts, Protocol):
    """A client of a shared key-value server: raw bytes by name, many at a time."""

    def get_many(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """What is stored; absent names are left out."""

    def get_heads(self, names: Sequence[bytes], length: int) -> dict[bytes, bytes]:
        """The first `length` bytes of each; absent and empty ones are left out."""

    def place_many(self, names: Sequence[bytes], placeholder: bytes, milliseconds: int) -> set[bytes]:
        """Store the placeholder wherever there is nothing; the names where it was stored."""

    def replace_many(self, items: Sequence[Item], prefix: bytes) -> set[bytes]:
        """Store where what is there begins with `prefix`, which is not empty; the names where it was stored.

        Atomic for each name: of several writers that find the same, one stores."""

    def set_many(self, items: Sequence[Item]) -> None:
        """Store, whatever is there.  Raises unless all are stored."""

    def delete_many(self, names: Sequence[bytes]) -> None:
        """Delete; absent ones are as good as deleted."""

    def ping(self) -> None:
        """Raises if a server (of a cluster, a primary) does not answer."""


class AsyncStore(Facts, Protocol):
    """A Store whose client is one for asyncio."""

    async def get_many(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """As Store's."""

    async def get_heads(self, names: Sequence[bytes], length: int) -> dict[bytes, bytes]:
        """As Store's."""

    async def place_many(self, names: Sequence[bytes], placeholder: bytes, milliseconds: int) -> set[bytes]:
        """As Store's."""

    async def replace_many(self, items: Sequence[Item], prefix: bytes) -> set[bytes]:
        """As Store's."""

    async def set_many(self, items: Sequence[Item]) -> None:
        """As Store's."""

    async def delete_many(self, names: Sequence[bytes]) -> None:
        """As Store's."""

    async def ping(self) -> None:
        """As Store's."""


def modules_of(client: object) -> list[str]:
    """The modules of a client's class and of those that it is derived from."""
    return [kind.__module__ for kind in type(client).__mro__]


def driver_of(client: object) -> str | None:
    """Which of DRIVERS the client is one of."""
    for module in modules_of(client):
        package = module.partition(".")[0]
        if package in DRIVERS:
            return package
    return None


def store_of(client: Any) -> Store | AsyncStore:
    """The store for a client; asks no server.

    TypeError: it is no client that stores are for.  ValueError: it is one that could
    not keep what a store promises, and the message says why."""
    driver = driver_of(client)
    if driver in ("redis", "valkey"):
        return _redis_store_of(client, driver)
    if driver == "pymemcache":
        from forebay.tiers._memcached_store import pymemcache_store_of

        return pymemcache_store_of(client)
    if driver == "pylibmc":
        from forebay.tiers._pylibmc_store import PylibmcStore

        return PylibmcStore(client)
    raise TypeError(f"a tier takes a client of {', '.join(DRIVERS)}, not {type(client).__module__}.{type(client).__qualname__}")


def check_timeouts(store: Store | AsyncStore, what: str) -> None:
    """ValueError: the client waits for ever; `what` it is for, with its article."""
    if store.timeout is None or store.connect_timeout is None:
        raise ValueError(
            f"the client of {store.describe} waits for ever: make it with socket_timeout= and socket_connect_timeout= (or the "
            f"like), as {what} that does not answer must not hold its callers up; 0.2 seconds is a good value in one data centre"
        )


def _redis_store_of(client: Any, driver: str) -> Store | AsyncStore:
    from forebay.tiers._redis_clients import check

    check(client)
    clustered = hasattr(client, "nodes_manager")
    if any(module.startswith(f"{driver}.asyncio") for module in modules_of(client)):
        from forebay.tiers import _redis_store_asyncio as for_asyncio

        return for_asyncio.ClusterStore(client, driver) if clustered else for_asyncio.RedisStore(client, driver)
    from forebay.tiers import _redis_store as for_threads

    return for_threads.ClusterStore(client, driver) if clustered else for_threads.RedisStore(client, driver)
