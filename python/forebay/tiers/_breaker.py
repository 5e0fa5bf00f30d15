# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker: a tier that fails is left alone for a while, then tried by one caller.

M. Nygard: Release It!, 2007.  One of each process: what fails for one may work for another."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable

from forebay._log import tiers as log

FAILURES = 2  # in a row
PAUSE_MIN, PAUSE_MAX = 0.1, 5.0  # seconds; doubled each time, with jitter


class Breaker:
    """Threads share it."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.opened = 0  # so often
        self.skipped = 0  # calls that were not made
        self._clock = clock
        self._failures = 0
        self._pause = PAUSE_MIN
        self._until: float | None = None  # it is open
        self.forked()
        _all.add(self)

    def forked(self) -> None:
        """In the child of a fork: who held the lock, or tried, is in the parent."""
        self._lock = threading.RLock()  # a finalizer that the collector runs may make a call, too
        self._tries = False  # somebody tries; if that is killed, until then

    @property
    def is_open(self) -> bool:
        """Also while somebody tries."""
        return self._until is not None

    @property
    def state(self) -> str:
        """closed: all is well; open: not used; half-open: somebody may try, or does."""
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until and not self._tries else "half-open"

    def allows(self) -> bool:
        """May a call be made?  Whoever may, says what came of it."""
        if self._until is None:
            return True
        with self._lock:
            now = self._clock()
            if self._until is None:
                return True
            if now < self._until:
                self.skipped += 1
                return False
            self._until = now + PAUSE_MAX  # others wait for this one; if it is killed, for so long
            self._tries = True
            return True

    def succeeded(self) -> None:
        if self._failures == 0 and self._until is None:
            return
        with self._lock:
            was_open = self._until is not None
            self._failures, self._until, self._pause, self._tries = 0, None, PAUSE_MIN, False
        if was_open:
            log.info("%s answers again", self.name)

    def failed(self, error: BaseException) -> bool:
        """Did it open now?"""
        with self._lock:
            self._failures += 1
            was_open = self._until is not None
            if was_open and not self._tries:
                return False  # a call from before it opened: of many that wait, one counts
            if not was_open and self._failures < FAILURES:
                return False
            self._until = self._clock() + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(self._pause * 2, PAUSE_MAX)
            self._tries = False
            if not was_open:
                self.opened += 1
        if not was_open:
            log.warning("%s is left out: %s: %s", self.name, type(error).__name__, error)
        return not was_open

    def unknown(self) -> None:
        """The call was cut short: if it was a try, another may try."""
        if self._tries:
            with self._lock:
                if self._tries:
                    self._until, self._tries = self._clock(), False


_all: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _after_fork() -> None:
    for breaker in list(_all):
        breaker.forked()


os.register_at_fork(after_in_child=_after_fork)
