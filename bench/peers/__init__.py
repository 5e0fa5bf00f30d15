# SPDX-License-Identifier: Apache-2.0
"""The caches that are compared: a module and about ten lines for each.

A peer opens, or attaches to, its store in `place` and has `get`, `set` and
`get_many` as attributes, so that the timed loop calls the library's own
function wherever that is possible.  A module whose library is not installed
is left out of all_peers(), and absent() says why.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import peer_servers

MODULES = (
    "plain_dict", "functools_lru", "cachetools_lru", "cachebox_lru", "theine_cache", "manager_dict", "shared_memory_dictionary",
    "ultra_dict", "lmdb_env", "sqlite_file", "diskcache_cache", "memcached_server", "redis_server", "redis_client_cache",
    "client_packed", "forebay_arena",
)  # fmt: skip
SHARED_MEMORY = Path("/dev/shm")  # where Linux has the blocks of multiprocessing.shared_memory


class Place(NamedTuple):
    folder: Path  # in /dev/shm, the same for all processes of a run
    count: int  # records of the whole set
    bytes: int  # their keys and values


class Peer:
    name = ""
    decoded = False  # values go in and come out as dictionaries, not as bytes
    packages: tuple[str, ...] = ()  # the distributions whose versions are told; none: it is Python's own
    mode = ""  # how it is used here
    shares = "nothing"  # between processes
    lacks = ""  # what a cache of several processes may be expected to do, and it does not
    shared = True  # False: each process fills a copy of its own
    server: str | None = None  # the kind of server that it needs, see peer_servers.py
    server_cpu = 1  # the CPU that server is to run on

    most: int | None = None  # records that it is given; None: all
    can_set = True
    has_batches = True  # False: its users would write the loop, and get_many() is not measured
    may_miss = False  # bounded: an absent record is a miss, counted and reported, not an error

    get: Callable[[Any], Any]
    set: Callable[[Any, Any], Any]
    get_many: Callable[[list[Any]], Any]

    def __init__(self, place: Place) -> None:
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        """Of the packages, or of Python, and of the server."""
        found = [f"{name} {importlib.metadata.version(name)}" for name in cls.packages] or [f"Python {platform.python_version()}"]
        server = peer_servers.version(cls.server) if cls.server else ""
        return ", ".join([*found, server] if server else found)

    @classmethod
    def about(cls) -> dict[str, str]:
        """A row of the table of peers."""
        return {"peer": cls.name, "version": cls.version(), "mode": cls.mode, "shares": cls.shares, "lacks": cls.lacks}

    def key(self, key: str) -> Any:
        return key

    def value(self, packed: bytes) -> Any:
        return msgpack.unpackb(packed) if self.decoded else packed

    def fill(self, items: Iterable[tuple[str, bytes]]) -> None:
        for key, packed in items:
            self.set(self.key(key), self.value(packed))

    def ready(self) -> None:
        """Called once in each process when the store is filled."""

    def before_sets(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Called before each measurement of set, with the whole set."""

    def file_bytes(self) -> int:
        """Blocks of the files the store lives in; 0 if it is in private memory."""
        return 0

    def files(self) -> str:
        """Mappings whose path holds this are counted by file_bytes(), not as private."""
        return ""

    def close(self) -> None:
        pass


def one_by_one(get: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    """get_many() of what has none: the loop that its users would write."""

    def get_many(keys: list[Any]) -> list[Any]:
        return [get(key) for key in keys]

    return get_many


def block_name(place: Place, kind: str) -> str:
    """For a block of multiprocessing.shared_memory: the same in all processes of a run, no other run's."""
    return "-".join((*place.folder.parts[-2:], kind))


def blocks_of_shared_memory(pattern: str) -> int:
    return sum(blocks(path) for path in SHARED_MEMORY.glob(pattern))


def blocks(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)


@functools.cache
def imported() -> tuple[dict[str, type[Peer]], dict[str, str]]:
    """Peers by name, and why modules are left out, by module."""
    found: dict[str, type[Peer]] = {}
    left_out: dict[str, str] = {}
    for module in MODULES:
        try:
            peers = importlib.import_module(f"peers.{module}").PEERS
        except ImportError as error:
            left_out[module] = str(error)
            continue
        found.update((peer.name, peer) for peer in peers)
    return found, left_out


def all_peers() -> dict[str, type[Peer]]:
    return imported()[0]


def absent() -> dict[str, str]:
    """The modules whose library cannot be imported here, and the reason."""
    return imported()[1]
