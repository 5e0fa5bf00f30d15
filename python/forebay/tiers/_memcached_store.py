# SPDX-License-Identifier: Apache-2.0
"""Stores on pymemcache's clients; what all stores on memcached have in common.

Round trips to each server that has some of the names:

    get_many, get_heads          1
    set_many                     1 for each number of seconds after which items are to expire
    place_many                   1 for each name: pymemcache can send no several adds at once
    replace_many                 1, and 1 for each name that has the prefix
    delete_many                  1; HashClient: 1 for each name

Servers are asked one after another.  memcached can't cut values, so get_heads() reads
whole ones.  It counts in seconds: what is to expire does so up to a second late.

HashClient: what becomes of a server that does not answer is said by its options.  For
retry_timeout seconds after a failure it does not ask that server: what is read from it
is absent, what is deleted is not, and what is set raises.  After retry_attempts the names
of that server go to others, for dead_timeout seconds; when it is back, it has what it
had, unless it was restarted.  With ignore_exc=True a failed read gives nothing, and a
failed set_many() still raises."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from forebay.tiers._store import Item, modules_of

NAME_MAX = 250
ITEM_MAX = 1024 * 1024  # of memcached, unless it is started with -I: header, name and value
OVERHEAD = 512  # bytes of an item that are not its value, at most; 309 were measured with the longest name
LONGEST_PERIOD = 30 * 24 * 60 * 60  # seconds; a larger number is a time since 1970

PROBES = (b"", bytes(range(256)), b"\x80\x04K\x01.", b"5", b"compressible" * 8192)

_stores: weakref.WeakSet[PymemcacheStore] = weakref.WeakSet()


def expire_of(milliseconds: int) -> int:
    """As memcached counts: whole seconds, of which 0 is never; more than 30 days is a time."""
    seconds = math.ceil(milliseconds / 1000)
    return seconds if seconds <= LONGEST_PERIOD else int(time.time()) + seconds


def by_expiry(items: Iterable[Item]) -> dict[int, dict[bytes, bytes]]:
    found: dict[int, dict[bytes, bytes]] = {}
    for name, data, milliseconds in items:
        found.setdefault(expire_of(milliseconds), {})[name] = data
    return found


def cut(values: dict[bytes, bytes], length: int) -> dict[bytes, bytes]:
    return {name: value[:length] for name, value in values.items() if value}


def check_prefix(prefix: bytes) -> None:
    if not prefix:
        raise ValueError("prefix is empty")


def longest(seconds: Iterable[float | None]) -> float | None:
    """None if one of them is: no limit."""
    known = list(seconds)
    return max((float(found) for found in known if found is not None), default=None) if None not in known else None


def pymemcache_store_of(client: Any) -> PymemcacheStore:
    """For a Client, PooledClient, HashClient, or a RetryingClient around one."""
    return PymemcacheStore(client)


def _without_retries(client: Any) -> Any:
    while any(module.endswith(".retrying") for module in modules_of(client)):
        client = client._client
    return client


class _NoLock:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *details: object) -> None:
        pass


class PymemcacheStore:
    """On a client of pymemcache.

    Client, and HashClient without use_pooling, are not safe for threads: the store lets
    one call at a time through, and nobody else may use that client meanwhile.  A
    RetryingClient tries again as it was told to, which may say of a placeholder that
    it was not placed, although it was."""

    asynchronous = False

    def __init__(self, client: Any) -> None:
        self._client = client
        self._plain = _without_retries(client)
        if not hasattr(self._plain, "gets_many"):
            kind = type(client).__qualname__
            raise TypeError(f"a tier takes pymemcache's Client, PooledClient, HashClient or RetryingClient, not {kind}")
        for server in self._servers:
            check_serde(server.serde)
        exceptions = sys.modules["pymemcache.exceptions"]
        self._broken: type[Exception] = exceptions.MemcacheServerError
        # A pool that has no more clients raises RuntimeError.
        self.errors: tuple[type[BaseException], ...] = (exceptions.MemcacheError, OSError, RuntimeError)
        self._item_max: int | None = None
        self._renew()
        _stores.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe}>"

    @property
    def _servers(self) -> list[Any]:
        """A client for each server."""
        return list(self._plain.clients.values()) if hasattr(self._plain, "clients") else [self._plain]

    def _renew(self) -> None:
        self._lock: Any = _NoLock() if all(hasattr(server, "client_pool") for server in self._servers) else threading.Lock()

    # ---- facts ----

    @property
    def item_max(self) -> int | None:
        if self._item_max is None:
            try:
                self._item_max = self._ask_item_max()
            except self.errors:
                return ITEM_MAX - OVERHEAD  # asked again next time
        return self._item_max

    def _ask_item_max(self) -> int:
        with self._lock:
            found = [server.stats("settings").get(b"item_size_max", ITEM_MAX) for server in self._servers]
        return min(int(size) for size in found) - OVERHEAD

    @property
    def name_max(self) -> int:
        return NAME_MAX - len(self._plain.key_prefix)

    @property
    def timeout(self) -> float | None:
        return longest(server.timeout for server in self._servers)

    @property
    def connect_timeout(self) -> float | None:
        return longest(server.connect_timeout for server in self._servers)

    @property
    def retries(self) -> int:
        return 0 if self._plain is self._client else int(self._client._attempts) - 1

    @property
    def describe(self) -> str:
        return "memcached://" + ",".join(address_text(server.server) for server in self._servers)

    # ---- of a store ----

    def get_many(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        if not names:
            return {}
        with self._lock:
            found: dict[bytes, bytes] = self._client.get_many(names)
        return found

    def get_heads(self, names: Sequence[bytes], length: int) -> dict[bytes, bytes]:
        return cut(self.get_many(names), length)

    def place_many(self, names: Sequence[bytes], placeholder: bytes, milliseconds: int) -> set[bytes]:
        expire = expire_of(milliseconds)
        with self._lock:
            return {name for name in names if self._client.add(name, placeholder, expire=expire, noreply=False)}

    def replace_many(self, items: Sequence[Item], prefix: bytes) -> set[bytes]:
        check_prefix(prefix)
        if not items:
            return set()
        with self._lock:
            there = self._client.gets_many([name for name, _, _ in items])
            return {item[0] for item in items if self._replace(item, prefix, *there.get(item[0], (b"", b"")))}

    def _replace(self, item: Item, prefix: bytes, old: bytes, token: bytes) -> bool:
        name, data, milliseconds = item
        return old.startswith(prefix) and bool(self._client.cas(name, data, token, expire=expire_of(milliseconds), noreply=False))

    def set_many(self, items: Sequence[Item]) -> None:
        failed: list[bytes] = []
        with self._lock:
            for expire, values in by_expiry(items).items():
                failed += self._client.set_many(values, expire=expire, noreply=False)
        if failed:
            raise self._broken(f"{self.describe} did not store {len(failed)} of {len(items)} values")

    def delete_many(self, names: Sequence[bytes]) -> None:
        if names:
            with self._lock:
                self._client.delete_many(names, noreply=False)

    def ping(self) -> None:
        with self._lock:
            for server in self._servers:
                server.version()

    def _forked(self) -> None:
        """In the child: the connections are the parent's, and so is whoever held the lock."""
        self._renew()
        for server in self._servers:
            pool = getattr(server, "client_pool", None)
            if pool is None:
                server.close()
            elif hasattr(pool, "_free_objs"):  # pymemcache's own; forebay.pools sees to itself
                for client in (*pool.free, *pool.used):
                    client.close()


def check_serde(serde: Any) -> None:
    """ValueError unless it leaves bytes as they are: what is stored must be what others read, and compare with."""
    for probe in PROBES:
        data, flags = serde.serialize(b"probe", probe)
        if data != probe or type(serde.deserialize(b"probe", data, flags)) is not bytes:
            raise ValueError(
                f"a tier stores bytes as they are, and {type(serde).__qualname__} changes them: it takes a client without a "
                "serde, serializer or deserializer, or with one that leaves bytes alone, as pymemcache.serde.pickle_serde does"
            )


def address_text(server: Any) -> str:
    if not isinstance(server, tuple):
        return str(server)
    host = f"[{server[0]}]" if ":" in str(server[0]) else server[0]
    return f"{host}:{server[1]}"


def _after_fork() -> None:
    for store in list(_stores):
        store._forked()


os.register_at_fork(after_in_child=_after_fork)
