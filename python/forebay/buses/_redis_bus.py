# SPDX-License-Identifier: Apache-2.0
"""Buses on Redis and Valkey."""

from __future__ import annotations

import importlib
import os
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from forebay._log import buses as log
from forebay._core import _encode_key
from forebay._loading_options import Options
from forebay.buses._bus import Bus
from forebay.buses._events import Session
from forebay.buses._listening import BEAT
from forebay.buses._listening import followers_of
from forebay.buses._redis_sessions import ServerSession, connection_like, kind_and_options
from forebay.buses._telling import EVERY, Message, TellingBus, message_of
from forebay.tiers._names import check_prefix
from forebay.tiers._store import Item, Store, check_timeouts, driver_of, modules_of, store_of

if TYPE_CHECKING:
    from forebay.tiers._tier import Tier, TierOfCache


_MILLISECONDS = 3000  # a message has been sent long before it goes
_SEEN_MOST = 50_000


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
            from forebay.buses._cluster_session import ClusterSession

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
            from forebay.buses._cluster_session import twin_of

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
        if self._server.is_cluster:
            self.beat = 2 * BEAT  # each asks all primaries

    def tell(self, cache: Any, keys: Iterable[Any]) -> None:
        """The tier was told, and tells."""

    async def atell(self, cache: Any, keys: Iterable[Any]) -> None:
        """As tell()."""

    def settle(self) -> None:
        """Have the tier delete what this process owes it; OSError: it did not."""
        tier = self._tier()
        if tier is not None and not tier.settle(self._store_for_threads()):
            raise OSError(f"{self.describe} has not deleted what is to go")

    def _store_for_threads(self) -> Store:
        if self._store is None:
            self._store = self._server.store()
        return self._store

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
        verdicts = part.verdicts(self._store_for_threads(), cache, keys)
        for name, verdict in verdicts.items():
            if verdict == "forget" or (verdict == "wait" and at_once):
                cache.delete(keys[name])
            elif verdict == "wait":
                cache._expel(keys[name])
        return [] if at_once else [name for name, verdict in verdicts.items() if verdict == "wait"]

    def _cache(self, arena: Any, tier: Tier, place: tuple[str, int]) -> tuple[Any, TierOfCache]:
        """A handle that reads whatever was heard."""
        followed = self._followed.setdefault(arena, {})
        found = followed.get(place)
        if found is None:
            cache = arena.cache(place[0], version=place[1])
            found = followed[place] = (cache, tier.bind(cache, Options()))
        return found


class Redis(TellingBus):
    """A bus on Redis or Valkey: a client of redis-py or valkey-py, for threads or asyncio, of one server or a cluster.

    For caches without a tier, and for tiers that cannot tell: Memcached.  The client must
    have timeouts; it remains the user's.

    prefix: what the names of messages begin with: keys without a value, which go after some seconds.
    watch: what the names of keys begin with of which the servers are to say when they change: where Redis is the
    database.  key: a function that gets such a name, as a str, and returns the key of the caches whose entry is to go, or
    None.  Every cache that follows the bus drops it.
    max_stale: as of forebay.tiers.Redis."""

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "forebay:bus:",
        watch: str | None = None,
        key: Callable[[str], Any] | None = None,
        max_stale: float | timedelta | None = 1.0,
    ) -> None:
        if driver_of(client) not in ("redis", "valkey"):
            kind = type(client)
            raise TypeError(f"forebay.buses.Redis takes a client of redis-py or valkey-py, not {kind.__module__}.{kind.__qualname__}")
        check_prefix(prefix)
        _check_watch(prefix, watch, key)
        self._server = Server(client)
        self._store = store_of(client)
        check_timeouts(self._store, "a bus")
        self._twin: Store | None = None if self._store.asynchronous else self._store  # type: ignore[assignment]
        self._prefix = prefix.encode()
        self._watch = None if watch is None else watch.encode()
        self._key = key
        self._seen = Seen()
        self.asynchronous = self._store.asynchronous
        self.errors = self._server.errors
        self.told_errors = self._store.errors
        super().__init__("redis-bus", prefix, self._store.describe, max_stale, "" if watch is None else f"\0{watch}")

    def subscribe(self) -> Session:
        return self._server.session([self._prefix] if self._watch is None else [self._prefix, self._watch])

    # ---- telling ----

    def _items(self, origin: str, items: Sequence[bytes]) -> list[Item]:
        """Each call has a number of its own, by which a message is told from its own expiry."""
        head = b"%s%s.%s:" % (self._prefix, origin.encode(), os.urandom(6).hex().encode())
        return [(head + item, b"", _MILLISECONDS) for item in items]

    def _send(self, origin: str, items: Sequence[bytes]) -> None:
        self._store.set_many(self._items(origin, items))

    async def _asend(self, origin: str, items: Sequence[bytes]) -> None:
        await self._store.set_many(self._items(origin, items))  # type: ignore[misc]

    def _send_owed(self, origin: str, items: Sequence[bytes]) -> None:
        if self._twin is None:
            self._twin = self._server.store()
        self._twin.set_many(self._items(origin, items))

    # ---- listening ----

    def _messages(self, arena: Any, name: bytes) -> Iterable[Message]:
        if self._watch is not None and name.startswith(self._watch):
            return self._of_watched(arena, name)
        head, _, item = name.removeprefix(self._prefix).partition(b":")
        origin, number, _ = head.partition(b".")
        if not number:  # of another program: it may say the same again under the same name
            return [message_of(item)]
        return [message_of(item, origin.decode("ascii"))] if self._seen.is_new(arena, name) else []

    def _of_watched(self, arena: Any, name: bytes) -> Iterable[Message]:
        assert self._key is not None
        text = name.decode("utf-8", "surrogateescape")
        try:
            key = self._key(text)
            if key is not None:
                _encode_key(key)
        except Exception:  # what changed is not known
            log.exception("%s: key(%r) failed: all entries of the caches that follow go", self.describe, text)
            key = EVERY
        return [] if key is None else [Message(cache, key) for cache in followers_of(arena, self.heard_by)]


def _check_watch(prefix: str, watch: Any, key: Any) -> None:
    if watch is None and key is None:
        return
    if not isinstance(watch, str) or not watch or not callable(key):
        raise TypeError("watch= and key= go together: what the names of the database's keys begin with, a str, and a function")
    if watch.startswith(prefix) or prefix.startswith(watch):
        raise ValueError(f"the database's keys and the bus's own must be told apart: watch is {watch!r}, prefix is {prefix!r}")


class Seen:
    """Names of messages that came of late; what comes again is the expiry.  Of one that is forgotten, it costs a miss."""

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[Any, OrderedDict[bytes, None]] = weakref.WeakKeyDictionary()

    def is_new(self, arena: Any, name: bytes) -> bool:
        """By the thread that listens for the arena."""
        names = self._names.get(arena)
        if names is None:
            names = self._names[arena] = OrderedDict()
        if names.pop(name, self) is None:
            return False
        names[name] = None
        if len(names) > _SEEN_MOST:
            names.popitem(last=False)
        return True
