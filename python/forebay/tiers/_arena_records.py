# SPDX-License-Identifier: Apache-2.0
"""What all processes of a machine had from a tier, and who leaves it out: a record in each arena whose caches ask it.

`forebay top`, `forebay stat` and Arena.tiers() show it.  Nothing is decided by it: each process has breakers of its own."""

from __future__ import annotations

import contextlib
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

    def __init__(self, owner: ArenaRecords, arena: Any, name: str) -> None:
        self.arena = arena
        self._owner = owner
        self._name = name
        self._record: TierRecord | None = arena._tier(name)  # None: there is none any more

    @property
    def is_there(self) -> bool:
        return self._record is not None

    def add(self, what: str, number: int) -> None:
        record = self._record
        if record is not None and not record.add(what, number):
            self._owner.open_again(self, record)
            if (record := self._record) is not None:
                record.add(what, number)

    def say(self, left_out: bool, not_stored: bool) -> None:
        """Its owner's lock is held."""
        record = self._record
        if record is not None and not record.say(left_out, not_stored):
            self.open_again(record)

    def open_again(self, lost: TierRecord) -> None:
        """Eight other tiers came while this process did not use it.  Tried once: nobody is to wait for it again and again.
        Its owner's lock is held."""
        if self._record is lost:
            record = None
            with contextlib.suppress(Error):
                record = self.arena._tier(self._name)
                record.say(*self._owner.state())
            self._record = record


class ArenaRecords:
    """A tier's records in the arenas of this process: what it has is counted in each of them.

    The lock is held for no loop that skips elements: see _loading_flights."""

    def __init__(self, name: str, state: Callable[[], tuple[bool, bool]]) -> None:
        self._name = name_in_arena(name)
        self.state = state  # of the breakers: is the tier left out, is nothing stored in it
        self._records: tuple[weakref.ref[ArenaRecord], ...] = ()  # replaced, never changed
        self.forked()
        self._told: tuple[bool, bool] | None = (False, False)

    def forked(self) -> None:
        """In the child of a fork: who held the lock, and was about to tell, is in the parent."""
        self._lock = threading.RLock()  # a finalizer that the collector runs may count, too
        self._told = None

    def of(self, arena: Any) -> ArenaRecord | None:
        """To be held for as long as it is to be counted there; None: the arena keeps account of no more tiers."""
        with self._lock:
            record, problem = self._found_or_made(arena)
        if problem is not None:
            log.info("%s", problem)
        return record

    def _found_or_made(self, arena: Any) -> tuple[ArenaRecord | None, Error | None]:
        for record in self._all():
            if record.arena is arena and record.is_there:
                return record, None
        try:
            record = ArenaRecord(self, arena, self._name)
        except Error as error:
            return None, error
        self._records = (*(ref for ref in self._records if ref() is not None), weakref.ref(record))
        if any(state := self.state()):  # else another tier of this name may have said more
            record.say(*state)
        return record, None

    def _all(self) -> Iterator[ArenaRecord]:
        return (record for ref in self._records if (record := ref()) is not None)

    def open_again(self, record: ArenaRecord, lost: TierRecord) -> None:
        with self._lock:
            record.open_again(lost)

    def add(self, what: str, number: int) -> None:
        if what in COUNTED:
            for record in self._all():
                record.add(what, number)

    def say(self) -> None:
        """What has become of the breakers."""
        if self.state() != self._told:
            with self._lock:
                self._say_all()

    def _say_all(self) -> None:
        while (state := self.state()) != self._told:
            for record in self._all():
                record.say(*state)
            self._told = state
