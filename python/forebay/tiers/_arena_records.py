# SPDX-License-Identifier: Apache-2.0
"""What all processes of a machine had from a tier, and who leaves it out: a record in each arena whose caches ask it.

`forebay top`, `forebay stat` and Arena.tiers() show it.  Nothing is decided by it: each process has breakers of its own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from forebay._core import Error, TierRecord
from forebay._log import tiers as log

COUNTED = frozenset(("hits", "misses", "stored", "errors", "skipped", "opened"))
_NAME_MAX = 63  # bytes: FOREBAY_TIER_NAME_MAX


def name_in_arena(text: str) -> str:
    """`text`; if there is no room for all of it, without its middle."""
    data = text.encode("utf-8", "backslashreplace")
    parts = (data,) if len(data) <= _NAME_MAX else (data[:20], b"...", data[-(_NAME_MAX - 23) :])
    return "".join(part.decode("utf-8", "ignore") for part in parts)


class ArenaRecord:
    """The tier's record in one arena; its caches there hold it."""

    def __init__(self, arena: Any, name: str) -> None:
        self.arena = arena
        self._name = name
        self._state = (False, False)
        self._record: TierRecord | None = arena._tier(name)

    def add(self, what: str, number: int) -> None:
        record = self._record
        if record is not None and not record.add(what, number) and (record := self._opened_again()) is not None:
            record.add(what, number)

    def say(self, left_out: bool, not_stored: bool) -> None:
        self._state = left_out, not_stored
        if self._record is not None and not self._record.say(left_out, not_stored):
            self._opened_again()

    def _opened_again(self) -> TierRecord | None:
        """Eight other tiers came while this process did not use it.  Tried once: nobody is to wait for it again and again."""
        try:
            self._record = self.arena._tier(self._name)
            self._record.say(*self._state)
        except Error as error:
            self._record = None
            log.debug("%s", error)
        return self._record


class ArenaRecords:
    """A tier's records in the arenas of this process: what it has is counted in each of them."""

    def __init__(self, name: str, state: Callable[[], tuple[bool, bool]]) -> None:
        self._name = name_in_arena(name)
        self._state_of = state  # of the breakers: is the tier left out, is nothing stored in it
        self._told = (False, False)
        self._records: tuple[weakref.ref[ArenaRecord], ...] = ()  # replaced, never changed
        self.forked()

    def forked(self) -> None:
        """In the child of a fork: who held the lock is in the parent."""
        self._lock = threading.RLock()  # a finalizer that the collector runs may count, too

    def of(self, arena: Any) -> ArenaRecord | None:
        """To be held for as long as it is to be counted there; None: the arena keeps account of no more tiers."""
        with self._lock:
            for record in self._all():
                if record.arena is arena:
                    return record
            try:
                record = ArenaRecord(arena, self._name)
            except Error as error:
                log.info("%s", error)
                return None
            self._records = (*(ref for ref in self._records if ref() is not None), weakref.ref(record))
            record.say(*self._told)
            return record

    def _all(self) -> Iterator[ArenaRecord]:
        return (record for ref in self._records if (record := ref()) is not None)

    def add(self, what: str, number: int) -> None:
        if what in COUNTED:
            for record in self._all():
                record.add(what, number)

    def say(self) -> None:
        """What has become of the breakers."""
        if self._state_of() == self._told:
            return
        with self._lock:
            while (state := self._state_of()) != self._told:
                self._told = state
                for record in self._all():
                    record.say(*state)
