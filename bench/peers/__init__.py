# SPDX-License-Identifier: Apache-2.0
"""The caches that are compared: a module and about ten lines for each.

A peer opens, or attaches to, its store in `place` and has `get`, `set` and
`get_many` as attributes, so that the timed loop calls the library's own
function wherever that is possible.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

MODULES = ("plain_dict", "functools_lru", "cachetools_lru", "lmdb_env", "diskcache_cache", "redis_server", "client_packed", "forebay_arena")


class Place(NamedTuple):
    folder: Path  # in /dev/shm, the same for all processes of a run
    count: int  # records of the whole set
    bytes: int  # their keys and values


class Peer:
    name = ""
    decoded = False  # values go in and come out as dictionaries, not as bytes
    shared = True  # False: each process fills a copy of its own
    server_cpu: int | None = None  # the CPU its server is to run on; None: no server

    can_set = True
    may_miss = False  # bounded: an absent record is a miss, counted and reported, not an error

    get: Callable[[Any], Any]
    set: Callable[[Any, Any], Any]
    get_many: Callable[[list[Any]], Any]

    def __init__(self, place: Place) -> None:
        raise NotImplementedError

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


def blocks(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)


def all_peers() -> dict[str, type[Peer]]:
    found: dict[str, type[Peer]] = {}
    for module in MODULES:
        for peer in importlib.import_module(f"peers.{module}").PEERS:
            found[peer.name] = peer
    return found
