# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Callable

import forebay

from ..adapter import BUDGET, DEADLINE, LOAD, MISS, OVERTAKE, TTL, Adapter, Found, Place


class ForebayAdapter(Adapter):
    """Forebay, with `load=`."""

    offers = frozenset({LOAD, OVERTAKE, DEADLINE, TTL, BUDGET})

    def __init__(self, place: Place) -> None:
        self.loads: dict[str, Callable[[], bytes]] = {}
        self.path = os.path.join(place.folder, "arena")
        self.arena = forebay.open(self.path, place.budget_bytes)
        self.cache: forebay.Cache[str, bytes] = self.arena.cache("conformance", load=self.load, load_timeout=place.load_timeout)

    def load(self, key: str) -> bytes:
        return self.loads[key]()

    def get(self, key: str) -> Found:
        return self.cache.get(key, MISS)

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self.cache.set(key, value, ttl=ttl)

    def delete(self, key: str) -> None:
        self.cache.delete(key)

    def get_or_load(self, key: str, load: Callable[[], bytes], timeout: float) -> bytes:
        self.loads[key] = load  # a cache has one loader for all keys
        return self.cache.fetch(key, b"", timeout=timeout)

    @property
    def budget_bytes(self) -> int:
        return self.arena.size

    def used_bytes(self) -> int:
        return os.stat(self.path).st_blocks * 512

    def close(self) -> None:
        self.arena.close()


def version() -> str:
    return f"Forebay {forebay.__version__}"
