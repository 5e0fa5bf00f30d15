# SPDX-License-Identifier: Apache-2.0
"""What a cache has to show of itself to be checked: an Adapter."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal


class Miss(enum.Enum):
    """Its one member says that there is no value; it is the same after pickling."""

    MISS = "MISS"


MISS: Final = Miss.MISS
Found = bytes | Literal[Miss.MISS]

# What not every cache has: an adapter names what it offers.
LOAD: Final = "load"  # get_or_load: one caller loads, the others wait for it
OVERTAKE: Final = "overtake"  # a load may take Place.load_timeout seconds, then another caller begins anew
DEADLINE: Final = "deadline"  # get_or_load waits for another's load no longer than it was told
TTL: Final = "ttl"  # set takes a time to live
BUDGET: Final = "budget"  # used_bytes and budget_bytes
CAPABILITIES: Final = frozenset({LOAD, OVERTAKE, DEADLINE, TTL, BUDGET})


class NotOffered(Exception):
    """The cache has nothing like this."""


@dataclass(frozen=True)
class Place:
    """Where a cache lies, the same for all processes of a check; small, and can be pickled."""

    folder: str  # empty at first, the cache's own, on a tmpfs where there is one; its name is new for each check
    budget_bytes: int  # what the cache is to take at most, if it can be told
    load_timeout: float  # seconds that a load may take before it may be overtaken, if it can be told


class Adapter(ABC):
    """A cache as one process sees it, opened by Adapter(place).  Threads of the process share it.

    Keys are str, values bytes.  Whatever the cache raises goes to the caller as it is."""

    offers: ClassVar[frozenset[str]] = frozenset()
    usable_after_fork: ClassVar[bool] = True  # False: forked children open the cache anew

    @abstractmethod
    def __init__(self, place: Place) -> None:
        """Open the cache that lies there; whoever is the first makes it."""

    @abstractmethod
    def get(self, key: str) -> Found: ...

    @abstractmethod
    def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Without TTL among the offers, ttl is always None."""

    @abstractmethod
    def delete(self, key: str) -> None: ...

    def get_or_load(self, key: str, load: Callable[[], bytes], timeout: float) -> bytes:
        """The value; if there is none, load() it, once for all who ask (LOAD).  Waits at most so many seconds for others (DEADLINE)."""
        raise NotOffered

    @property
    def budget_bytes(self) -> int:
        """What used_bytes() must not exceed (BUDGET)."""
        raise NotOffered

    def used_bytes(self) -> int:
        """What the cache takes now: memory or disk, of all processes (BUDGET)."""
        raise NotOffered

    def close(self) -> None:
        """Called once, in a process that goes on."""


AdapterFactory = Callable[[Place], Adapter]
"""Opens the cache in the calling process: an Adapter class, or anything else that can be pickled."""
