# SPDX-License-Identifier: Apache-2.0
"""The tiers by what they are on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from forebay.tiers._store import driver_of
from forebay.tiers._tier import DEFAULT_PREFIX, Tier


class Redis(Tier):
    """A tier on Redis or Valkey: a client of redis-py or valkey-py, for threads or asyncio, of one server or a cluster.

    The client must have timeouts; it remains the user's.

    prefix: what the names of all keys begin with; one tier has all of these.
    max_age: seconds after which an entry goes, here and in the tier, whatever its ttl (a day).
    max_stale: seconds that a read may be behind what any machine wrote when nobody here has heard of
    changes (one second); after that an entry is a miss until somebody does.  None: it is served for as long as its
    ttl, and max_age, allow.
    compress: values go compressed, as the cache's codec says.
    coherent: False: nobody listens to what changes, entries live for their ttl."""

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = DEFAULT_PREFIX,
        max_age: float | timedelta = 86400.0,
        max_stale: float | timedelta | None = 1.0,
        compress: bool = True,
        coherent: bool = True,
    ) -> None:
        _check(client, ("redis", "valkey"), "forebay.tiers.Redis takes a client of redis-py or valkey-py")
        super().__init__(client, prefix=prefix, max_age=max_age, max_stale=max_stale, compress=compress)
        if coherent:
            from forebay.buses._redis_bus import TrackingBus

            self.bus = TrackingBus(self)


class Memcached(Tier):
    """A tier on memcached: a client of pymemcache (HashClient too) or pylibmc.

    As Redis, but memcached does not say what changes: entries of other machines live for their ttl,
    unless bus= of Arena.cache() is given, over which machines tell each other."""

    guarded = False

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = DEFAULT_PREFIX,
        max_age: float | timedelta = 86400.0,
        max_stale: float | timedelta | None = 1.0,
        compress: bool = True,
    ) -> None:
        _check(client, ("pymemcache", "pylibmc"), "forebay.tiers.Memcached takes a client of pymemcache or pylibmc")
        super().__init__(client, prefix=prefix, max_age=max_age, max_stale=max_stale, compress=compress)


def _check(client: Any, drivers: tuple[str, ...], what: str) -> None:
    if driver_of(client) not in drivers:
        raise TypeError(f"{what}, not {type(client).__module__}.{type(client).__qualname__}")
