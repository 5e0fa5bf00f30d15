# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import importlib
import importlib.metadata
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forebay.testing import servers

from ..adapter import BUDGET, LOAD, MISS, OVERTAKE, Adapter, AdapterFactory, Found, Place

LEAST_MEMORY = 64 << 20  # memcached's own default; far below it has not a page for each size of items


class DogpileAdapter(Adapter):
    """dogpile.cache over memcached, by pymemcache, with its distributed lock."""

    offers = frozenset({LOAD, OVERTAKE, BUDGET})
    usable_after_fork = False  # a connection cannot be shared

    def __init__(self, place: Place, server: str, budget: int) -> None:
        dogpile: Any = importlib.import_module("dogpile.cache")
        pymemcache: Any = importlib.import_module("pymemcache")
        self.prefix = os.path.basename(place.folder)
        self.budget = budget
        self.absent = dogpile.api.NO_VALUE
        self.server = pymemcache.Client(f"unix:{server}")
        lock_timeout = math.ceil(place.load_timeout) + 1  # memcached counts whole seconds, and may round down
        self.region = dogpile.make_region(key_mangler=self.mangled).configure(
            "dogpile.cache.pymemcache",
            arguments={"url": [f"unix:{server}"], "distributed_lock": True, "lock_timeout": lock_timeout},
        )

    def mangled(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def get(self, key: str) -> Found:
        value: Any = self.region.get(key)
        if value is self.absent:
            return MISS
        return bytes(value)

    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self.region.set(key, value)

    def delete(self, key: str) -> None:
        self.region.delete(key)

    def get_or_load(self, key: str, load: Callable[[], bytes], timeout: float) -> bytes:
        return bytes(self.region.get_or_create(key, load))

    @property
    def budget_bytes(self) -> int:
        return self.budget

    def used_bytes(self) -> int:
        """What -m of the server is about: the slabs."""
        return int(self.server.stats("slabs")[b"total_malloced"])

    def close(self) -> None:
        self.server.close()


def version() -> str:
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("dogpile.cache", "pymemcache")]
    return ", ".join([*packages, servers.version(servers.find("memcached"))])


@contextmanager
def with_a_server(budget_bytes: int) -> Iterator[AdapterFactory]:
    """A memcached of its own, on a socket in a temporary folder."""
    budget_bytes = max(budget_bytes, LEAST_MEMORY)
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        with servers.start_memcached(Path(folder), "-m", str(budget_bytes >> 20)) as server:
            yield functools.partial(DogpileAdapter, server=str(server.socket_path), budget=budget_bytes)
