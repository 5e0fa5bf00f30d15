# SPDX-License-Identifier: Apache-2.0
"""Stores on pylibmc's clients.

libmemcached reads many names in one round trip to each server.  It writes one name
after another, each a round trip (measured: 100 in set_multi() are 100), unless the
client's own behaviors say otherwise; replace_many() takes two for each name.

pylibmc's get_multi() leaves out what a server that does not answer would have had.
libmemcached then knows that the server is down; so where names are missing, one of
them is asked for again, which raises if its server is down: one more round trip.  With
several servers that name may be of another one; then reads find nothing on the one
that is down, and writes raise.  It is left alone for the client's retry_timeout."""

from __future__ import annotations

import os
import queue
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from forebay.tiers._memcached_store import ITEM_MAX, NAME_MAX, OVERHEAD, PROBES, by_expiry, check_prefix, cut, expire_of
from forebay.tiers._store import Item

_stores: weakref.WeakSet[PylibmcStore] = weakref.WeakSet()
_clones: weakref.WeakSet[Any] = weakref.WeakSet()  # of all stores and threads
_parents: list[Any] = []  # in a child, the clones of the parent: to free one would say good-bye on the parent's connection


class PylibmcStore:
    """On a pylibmc.Client, ClientPool or ThreadMappedPool.

    A Client is not safe for threads: each thread uses a clone of it, with a connection
    of its own.  From a pool, clients are reserved; a fork is the pool's affair."""

    asynchronous = False
    name_max = NAME_MAX
    item_max = ITEM_MAX - OVERHEAD  # libmemcached does not say what the server was started with
    retries = 0

    def __init__(self, client: Any) -> None:
        self._pool: Any = client if hasattr(client, "reserve") else None
        if self._pool is None and not hasattr(client, "clone"):
            raise TypeError(f"a tier takes pylibmc's Client, ClientPool or ThreadMappedPool, not {type(client).__qualname__}")
        self._client = client
        self._cloning = threading.Lock()
        self._clones = threading.local()
        self._driver = sys.modules["pylibmc"]
        self.errors: tuple[type[BaseException], ...] = (self._driver.Error, OSError, queue.Empty)
        with self._use() as sample:
            check_serializer(sample)
            self.timeout = _seconds(sample.behaviors["_poll_timeout"])
            self.connect_timeout = _seconds(sample.behaviors["connect_timeout"])
            self.describe = "memcached://" + ",".join(str(address) for address in sample.addresses)
        _stores.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe}>"

    @contextmanager
    def _use(self) -> Iterator[Any]:
        if self._pool is None:
            yield self._clone()
            return
        waits = {"block": True} if hasattr(self._pool, "fill") else {}  # a ClientPool, until one is back
        with self._pool.reserve(**waits) as client:
            yield client

    def _clone(self) -> Any:
        found = getattr(self._clones, "client", None)
        if found is None:
            with self._cloning:
                found = self._clones.client = self._client.clone()
                _clones.add(found)
        return found

    # ---- of a store ----

    def get_many(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        if not names:
            return {}
        with self._use() as client:
            found = client.get_multi(names)
            missing = next((name for name in names if name not in found), None)
            if missing is not None:
                client.get(missing)  # raises if its server is down
        return {name: value for name, value in found.items() if type(value) is bytes}

    def get_heads(self, names: Sequence[bytes], length: int) -> dict[bytes, bytes]:
        return cut(self.get_many(names), length)

    def place_many(self, names: Sequence[bytes], placeholder: bytes, milliseconds: int) -> set[bytes]:
        if not names:
            return set()
        with self._use() as client:
            there = client.add_multi(dict.fromkeys(names, placeholder), time=expire_of(milliseconds))
        return set(names).difference(there)

    def replace_many(self, items: Sequence[Item], prefix: bytes) -> set[bytes]:
        check_prefix(prefix)
        with self._use() as client:
            before = client.behaviors["cas"]
            client.behaviors["cas"] = True
            try:
                return {item[0] for item in items if self._replace(client, item, prefix)}
            finally:
                client.behaviors["cas"] = before

    def _replace(self, client: Any, item: Item, prefix: bytes) -> bool:
        name, data, milliseconds = item
        old, token = client.gets(name)
        if type(old) is not bytes or not old.startswith(prefix):
            return False
        try:
            return bool(client.cas(name, data, token, time=expire_of(milliseconds)))
        except self._driver.NotFound:
            return False

    def set_many(self, items: Sequence[Item]) -> None:
        failed: list[bytes] = []
        with self._use() as client:
            for expire, values in by_expiry(items).items():
                failed += client.set_multi(values, time=expire)
        if failed:
            raise self._driver.Error(f"{self.describe} did not store {len(failed)} of {len(items)} values")

    def delete_many(self, names: Sequence[bytes]) -> None:
        if names:
            with self._use() as client:
                client.delete_multi(names)

    def ping(self) -> None:
        with self._use() as client:
            client.get_stats()

    def _forked(self) -> None:
        """In the child: the clones' connections are the parent's."""
        self._clones = threading.local()
        self._cloning = threading.Lock()


def check_serializer(client: Any) -> None:
    """ValueError unless the client leaves bytes as they are."""
    for probe in PROBES:
        data, flags = client.serialize(probe)
        if data != probe or type(client.deserialize(data, flags)) is not bytes:
            raise ValueError(f"a tier stores bytes as they are, and {type(client).__qualname__}.serialize() changes them")


def _seconds(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds >= 0 else None


def _before_fork() -> None:
    _parents.extend(_clones)  # those of other threads, too, which the child ends before it calls anything


def _after_fork_in_parent() -> None:
    _parents.clear()


def _after_fork_in_child() -> None:
    _clones.clear()
    for store in list(_stores):
        store._forked()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
