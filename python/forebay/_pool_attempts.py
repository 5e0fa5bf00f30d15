# SPDX-License-Identifier: Apache-2.0
"""When a pool tries again to create an object."""

from __future__ import annotations

import math
import random
import time

from forebay._pool_log import logger

FIRST_DELAY = 0.1  # seconds after the first failure to create; then twice as long, and so on
LONGEST_DELAY = 30.0
JITTER = 0.1


class Attempts:
    """Creating again after failures: when, and when no more."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.begun: float | None = None  # the first failure of this row
        self.delay = 0.0
        self.again_at = 0.0
        self.has_given_up = False

    def may_create(self) -> bool:
        return not self.has_given_up and time.monotonic() >= self.again_at

    def delay_left(self) -> float:
        """Seconds until another may be tried; inf: none is waited for."""
        if self.begun is None or self.has_given_up:
            return math.inf
        return max(0.0, self.again_at - time.monotonic())

    def note_success(self) -> None:
        self.begun, self.again_at, self.has_given_up = None, 0.0, False

    def note_failure(self) -> bool:
        """True: that was the last for now."""
        now = time.monotonic()
        if self.begun is None:
            self.begun, self.delay = now, FIRST_DELAY
        else:
            self.delay = min(LONGEST_DELAY, 2 * self.delay)
        delay = self.delay * random.uniform(1 - JITTER, 1 + JITTER)
        self.again_at = now + delay
        if self.again_at - self.begun <= self.patience:
            return False
        self.has_given_up = True
        return True

    def log_failure(self, name: str, error: Exception) -> bool:
        """note_failure(), and say so."""
        if not self.note_failure():
            logger.warning("pool %r: could not create an object, again in %.1f s: %r", name, self.delay, error)
            return False
        logger.error("pool %r: could not create an object for %g s; tried again when one is asked for: %r",
                     name, self.patience, error)  # fmt: skip
        return True

    def ask_again(self) -> None:
        """Somebody needs one: begin anew if it was given up."""
        if self.has_given_up:
            self.note_success()
