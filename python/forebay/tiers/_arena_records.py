# SPDX-License-Identifier: Apache-2.0
"""What all processes of a machine had from a tier, and who leaves it out: a record in each arena whose caches ask it.

`forebay top`, `forebay stat` and Arena.tiers() show it.  Nothing is decided by it: each process has breakers of its own."""

from __future__ import annotations

import weakref
from typing import Any

from forebay._core import Error
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
        self._record = arena._tier(name)

    def add(self, what: str, number: int) -> None:
        if not self._record.add(what, number) and self._opened_again():
            self._record.add(what, number)

    def say(self, left_out: bool, not_stored: bool) -> None:
        self._state = left_out, not_stored
        if not self._record.say(left_out, not_stored):
            self._opened_again()

    def _opened_again(self) -> bool:
        """Eight other tiers came while this process did not use it."""
        try:
            self._record = self.arena._tier(self._name)
        except Error as error:
            log.debug("%s", error)
            return False
        return bool(self._record.say(*self._state))


class ArenaRecords:
    """A tier's records in the arenas of this process."""

    def __init__(self, name: str) -> None:
        self._name = name_in_arena(name)
        self._state = (False, False)
        self._records: weakref.WeakSet[ArenaRecord] = weakref.WeakSet()

    def of(self, arena: Any) -> ArenaRecord | None:
        """To be held for as long as it is to be counted there; None: the arena keeps account of no more tiers."""
        for record in list(self._records):
            if record.arena is arena:
                return record
        try:
            record = ArenaRecord(arena, self._name)
        except Error as error:
            log.info("%s", error)
            return None
        record.say(*self._state)
        self._records.add(record)
        return record

    def add(self, what: str, number: int) -> None:
        if what in COUNTED:
            for record in list(self._records):
                record.add(what, number)

    def say(self, left_out: bool, not_stored: bool) -> None:
        state = left_out, not_stored
        if state != self._state:
            self._state = state
            for record in list(self._records):
                record.say(*state)
