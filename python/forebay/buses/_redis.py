# SPDX-License-Identifier: Apache-2.0
"""Buses on Redis and Valkey."""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from forebay._loading_options import Options
from forebay.buses._bus import Bus, Session
from forebay.buses._redis_sessions import ServerSession, connection_like, kind_and_options
from forebay.tiers._store import Store, driver_of, modules_of, store_of

if TYPE_CHECKING:
    from forebay.tiers._tier import Tier, TierOfCache


class Server:
    """Where a client's server or cluster is, for connections of one's own, whatever kind the client is of."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.driver = driver_of(client) or ""
        exceptions = sys.modules[f"{self.driver}.exceptions"]
        self.errors: tuple[type[BaseException], ...] = (getattr(exceptions, f"{self.driver.capitalize()}Error"), OSError)
        self.is_cluster = hasattr(client, "nodes_manager")
        self.is_asynchronous = any(name.startswith(f"{self.driver}.asyncio") for name in modules_of(client))

    def session(self, prefixes: list[bytes]) -> Session:
        if self.is_cluster:
            from forebay.buses._redis_cluster import ClusterSession

            return ClusterSession(self, prefixes)
        pool = self.client.connection_pool
        return ServerSession(connection_like(self.driver, pool.connection_class, pool.connection_kwargs), prefixes)

    def store(self) -> Store:
        """For threads."""
        if not self.is_asynchronous:
            return store_of(self.client)  # type: ignore[return-value]
        return store_of(self._twin())  # type: ignore[return-value]

    def _twin(self) -> Any:
        """A client for threads of what an asyncio client is of."""
        module = importlib.import_module(self.driver)
        if self.is_cluster:
            from forebay.buses._redis_cluster import twin_of

            return twin_of(self.driver, self.client)
        pool = self.client.connection_pool
        kind, options = kind_and_options(self.driver, pool.connection_class, pool.connection_kwargs)
        return getattr(module, self.driver.capitalize())(connection_pool=module.ConnectionPool(connection_class=kind, **options))


class TrackingBus(Bus):
    """Of a tier on Redis: its servers say which keys change, whoever changes them."""

    def __init__(self, tier: Tier) -> None:
        self._server = Server(tier.client)
        self.errors = self._server.errors
        self._tier: weakref.ref[Tier] = weakref.ref(tier)
        self._followed: weakref.WeakKeyDictionary[Any, dict[tuple[str, int], tuple[Any, TierOfCache]]] = weakref.WeakKeyDictionary()
        self._store: Store | None = None
        super().__init__("redis", tier.names.prefix, tier.store.describe, tier.max_stale)

    def tell(self, cache: Any, keys: Iterable[Any]) -> None:
        """The tier was told, and tells."""

    def subscribe(self) -> Session:
        tier = self._tier()
        assert tier is not None
        return self._server.session([tier.names.prefix.encode()])

    def release(self, arena: Any) -> None:
        self._followed.pop(arena, None)

    def forget(self, arena: Any, names: Sequence[bytes], at_once: bool) -> list[bytes]:
        tier = self._tier()
        if tier is None:
            return []
        by_cache: dict[tuple[str, int], dict[bytes, Any]] = {}
        for name in names:
            try:
                cache_name, version, key = tier.names.parse(name)
            except ValueError:  # a dictionary, or something of another program
                continue
            by_cache.setdefault((cache_name, version), {})[name] = key
        again: list[bytes] = []
        for place, keys in by_cache.items():
            again += self._forget_of(arena, tier, place, keys, at_once)
        return again

    def _forget_of(self, arena: Any, tier: Tier, place: tuple[str, int], keys: dict[bytes, Any], at_once: bool) -> list[bytes]:
        if place[0] not in arena.caches():  # other machines have it, and an arena has room for only so many
            return []
        cache, part = self._cache(arena, tier, place)
        if self._store is None:
            self._store = self._server.store()
        verdicts = part.verdicts(self._store, cache, keys)
        for name, verdict in verdicts.items():
            if verdict == "forget" or (verdict == "wait" and at_once):
                cache.delete(keys[name])
        return [] if at_once else [name for name, verdict in verdicts.items() if verdict == "wait"]

    def _cache(self, arena: Any, tier: Tier, place: tuple[str, int]) -> tuple[Any, TierOfCache]:
        """A handle that reads whatever was heard."""
        followed = self._followed.setdefault(arena, {})
        found = followed.get(place)
        if found is None:
            cache = arena.cache(place[0], version=place[1])
            found = followed[place] = (cache, tier.bind(cache, Options()))
        return found
