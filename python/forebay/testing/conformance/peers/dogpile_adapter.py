# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import importlib
import importlib.metadata
import math
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..adapter import BUDGET, LOAD, MISS, OVERTAKE, Adapter, AdapterFactory, Found, Place

START_SECONDS = 10.0
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


def memcached() -> str:
    path = shutil.which("memcached") or shutil.which("memcached", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if path is None:
        raise RuntimeError("memcached is not installed")
    return path


def version() -> str:
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("dogpile.cache", "pymemcache")]
    server = subprocess.run([memcached(), "-V"], capture_output=True, text=True).stdout.strip()
    return ", ".join([*packages, server])


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@contextmanager
def with_a_server(budget_bytes: int) -> Iterator[AdapterFactory]:
    """A memcached of its own, on a socket in a temporary folder."""
    budget_bytes = max(budget_bytes, LEAST_MEMORY)
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        path = os.path.join(folder, "memcached.sock")
        user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        if user:
            os.chmod(folder, 0o777)
        server = subprocess.Popen([memcached(), "-s", path, "-a", "0777", "-m", str(budget_bytes >> 20), *user], stdin=subprocess.DEVNULL)
        try:
            end = time.monotonic() + START_SECONDS
            while not answers(path):
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("memcached did not start")
                time.sleep(0.02)
            yield functools.partial(DogpileAdapter, server=path, budget=budget_bytes)
        finally:
            server.kill()
            server.wait()
