# SPDX-License-Identifier: Apache-2.0
"""Pools and the limit of the machine: waiting for a permit, and giving objects up.

Two threads at most, each only while there is a need: one waits for its turn while
somebody here waits for an object; one watches for others who wait while objects are
idle here."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import forebay

if TYPE_CHECKING:
    from forebay._core import Limit
    from forebay._pool_base import PoolBase

SLICE = 0.1  # seconds until a thread looks again whether it is needed
LOOKS = 10  # without an object, one after another: then nobody need watch
WITHOUT_NEED = 1.0  # seconds until a permit is tried for again that is only for min_size


class HostLimit:
    """Of one pool in one process."""

    def __init__(self, pool: PoolBase[Any], limit: Limit, use: Callable[[Any, bytes], None]) -> None:
        self.pool = weakref.ref(pool)
        self.limit = limit
        self.use = use  # creates with the permit, or hands it on; in the waiting thread
        self.name = pool.name
        self.waiting: threading.Thread | None = None
        self.watching: threading.Thread | None = None
        self.again_at = 0.0  # for min_size only: who waits has a turn

    def may_try(self) -> bool:
        pool = self.pool()
        return self.waiting is None and pool is not None and (pool._needs_permit() or time.monotonic() >= self.again_at)

    def delay_left(self) -> float:
        """Seconds until a permit is tried for again; inf: not for now."""
        pool = self.pool()
        if self.waiting is not None or pool is None or not pool._wanted:
            return math.inf
        return max(0.0, self.again_at - time.monotonic())

    def await_permits(self) -> None:
        """None is to be had at once."""
        self.again_at = time.monotonic() + WITHOUT_NEED
        if self.waiting is None and self._is_needed():
            self.waiting = threading.Thread(target=self._wait, name=f"{self.name}-permits", daemon=True)
            self.waiting.start()

    def watch_for_others(self) -> None:
        if self.watching is None:
            self.watching = threading.Thread(target=self._watch, name=f"{self.name}-steward", daemon=True)
            self.watching.start()

    # ---- in the thread that waits ----

    def _is_needed(self) -> bool:
        pool = self.pool()
        return pool is not None and pool._needs_permit() and pool._attempts.may_create()

    def _wait(self) -> None:
        try:
            while True:
                while self._is_needed():
                    self._take_turn()
                self.waiting = None
                if not self._is_needed():  # who came meanwhile saw this thread
                    return
                self.waiting = threading.current_thread()
        except forebay.ClosedError:  # the limit was dropped
            self.waiting = None
        except BaseException:
            self.waiting = None
            raise

    def _take_turn(self) -> None:
        """A new turn for each permit: other processes come in between."""
        turn = self.limit.queue()
        try:
            permit = None
            while permit is None and self._is_needed():
                permit = self.limit.wait(turn, SLICE)
        finally:
            self.limit.leave(turn)
        pool = self.pool()
        if permit is None:
            return
        if pool is not None and pool._begin_create():
            self.use(pool, permit)
        else:
            self.limit.give_back(permit)

    # ---- in the thread that watches ----

    def _watch(self) -> None:
        try:
            while True:
                self._watch_for_long()
                self.watching = None
                if not self._look():  # what was made meanwhile saw this thread
                    return
                self.watching = threading.current_thread()
        except forebay.ClosedError:
            self.watching = None
        except BaseException:
            self.watching = None
            raise

    def _watch_for_long(self) -> None:
        looks = 0
        while looks < LOOKS:
            has_any = self._look()
            if has_any is None:
                return
            looks = 0 if has_any else looks + 1
            self.limit.watch(SLICE if self.limit.wanted() else 1.0)

    def _look(self) -> bool | None:
        """Give idle objects up for others; whether there are any; None: the pool is over."""
        pool = self.pool()
        if pool is None or pool.closed:
            return None
        while pool._counts[0] > 0 and self.limit.should_yield(True) and pool._yield_idle():
            pool._need_worker()
        return pool._counts[0] + pool._counts[1] > 0
