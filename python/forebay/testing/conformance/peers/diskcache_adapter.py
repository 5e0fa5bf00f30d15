# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..adapter import BUDGET, LOAD, MISS, OVERTAKE, TTL, Adapter, Found, Place


class DiskcacheAdapter(Adapter):
    """diskcache.Cache; a load is done under a diskcache.Lock, as its barrier() does, with an expiry."""

    offers = frozenset({LOAD, OVERTAKE, TTL, BUDGET})

    def __init__(self, place: Place) -> None:
        self.diskcache: Any = importlib.import_module("diskcache")
        self.cache = self.diskcache.Cache(place.folder, size_limit=place.budget_bytes)
        self.budget = place.budget_bytes
        self.load_timeout = place.load_timeout

    def get(self, key: str) -> Found:
        found: Found = self.cache.get(key, MISS)
        return found

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self.cache.set(key, value, expire=ttl)

    def delete(self, key: str) -> None:
        self.cache.delete(key)

    def get_or_load(self, key: str, load: Callable[[], bytes], timeout: float) -> bytes:
        value = self.get(key)
        if value is MISS:
            with self.diskcache.Lock(self.cache, f"lock of {key}", expire=self.load_timeout):
                value = self.get(key)
                if value is MISS:
                    value = load()
                    self.set(key, value)
        return value

    @property
    def budget_bytes(self) -> int:
        return self.budget

    def used_bytes(self) -> int:
        """By its own account: the database and the files, without the write-ahead log."""
        return int(self.cache.volume())

    def close(self) -> None:
        self.cache.close()


def version() -> str:
    return f"diskcache {importlib.import_module('diskcache').__version__}"
