# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker: a tier that fails is left alone for a while, then tried by one caller.

M. Nygard: Release It!, 2007.  One of each process: what fails for one may work for another."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from forebay._log import tiers as log

FAILURES = 2  # in a row
PAUSE_MIN, PAUSE_MAX = 0.1, 5.0  # seconds; doubled each time, with jitter


class Breaker:
    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.opened = 0  # so often
        self.skipped = 0  # calls that were not made
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = PAUSE_MIN
        self._until: float | None = None  # it is open
        self._error = ""

    @property
    def state(self) -> str:
        """closed: all is well; open: not used; half-open: somebody tries."""
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half-open"

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
            return True

    def succeeded(self) -> None:
        if self._failures == 0 and self._until is None:
            return
        with self._lock:
            was_open = self._until is not None
            self._failures, self._until, self._pause = 0, None, PAUSE_MIN
        if was_open:
            log.info("%s answers again", self.name)

    def failed(self, error: BaseException) -> None:
        with self._lock:
            self._failures += 1
            was_open = self._until is not None
            if not was_open and self._failures < FAILURES:
                return
            self._until = self._clock() + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(self._pause * 2, PAUSE_MAX)
            if not was_open:
                self.opened += 1
        if not was_open:
            log.warning("%s is left out: %s: %s", self.name, type(error).__name__, error)
