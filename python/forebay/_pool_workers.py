# SPDX-License-Identifier: Apache-2.0
"""The background of a Pool: threads that create, close, and look what got too old.

A worker asks the pool what there is to do, so nothing depends on which call woke it.
There are none until the first need, and none are kept that have nothing to wait for."""

from __future__ import annotations

import _thread
import math
import queue
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from forebay._pool_background import LINGER, LONGEST_SLEEP, Background
from forebay._pool_log import logger

if TYPE_CHECKING:
    from forebay._pool import Pool
    from forebay._pool_base import Left


class Workers(Background):
    def __init__(self, pool: Pool[Any]) -> None:
        super().__init__(pool, self._pool_is_gone)
        self.calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.threads: set[threading.Thread] = set()
        self.idle: set[threading.Thread] = set()
        self.left: deque[Left] = deque()

    def _pool_is_gone(self, _: object) -> None:
        for _thread in range(self.most):
            self.calls.put(None)

    def wake_later(self) -> None:
        """wake() from a destructor: this very thread may be in the middle of starting one."""
        self.calls.put(None)
        if not self.threads:
            with suppress(RuntimeError):  # the interpreter is ending
                _thread.start_new_thread(self.wake, ())

    def wake(self) -> None:
        """There may be something to do.  Never waits."""
        self.calls.put(None)
        if self.idle or len(self.threads) >= self.most:
            return
        thread = threading.Thread(target=self._work, name=f"{self.name}-worker", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or no thread is to be had
            self._work_here()

    def close_left(self, left: Left) -> None:
        """From the destructor of the pool."""
        self.left.append(left)
        self.wake_later()

    def _work_here(self) -> None:
        pool = self.pool()
        while pool is not None and (job := pool._next_job(False)) is not None:
            self._do(pool, job)

    # ---- in the threads ----

    def _work(self) -> None:
        me = threading.current_thread()
        self.threads.add(me)
        while len(self.threads) <= self.most:
            self._do_what_there_is()
            self._close_what_is_left()
            if not self._wait(me) and self._may_leave(me):
                return
        self.threads.discard(me)  # two calls at once began one too many

    def _may_leave(self, me: threading.Thread) -> bool:
        self.threads.discard(me)
        has_work = bool(self.left) or not (self.calls.empty() and (self.idle or self._due() == math.inf))
        if not has_work or (not self.left and self._is_over()):
            return True
        self.threads.add(me)  # who called meanwhile saw this thread
        return False

    def _wait(self, me: threading.Thread) -> bool:
        """False: there was nothing to do for long, or there will not be."""
        due = self._due()
        if self._is_over():
            return False
        is_for_timers = not self.idle and due != math.inf  # one thread sees to them
        self.idle.add(me)
        try:
            self.calls.get(timeout=min(due, LONGEST_SLEEP) + 0.0005 if is_for_timers else LINGER)
        except queue.Empty:
            return is_for_timers
        finally:
            self.idle.discard(me)
        return True

    def _do_what_there_is(self) -> None:
        while (pool := self.pool()) is not None:
            pool._tell_of_leaks()
            job = pool._next_job(pool._may_try())
            if job is None:
                return
            if pool._has_more_to_do():
                self._get_help()
            self._do(pool, job)
            del pool, job

    def _get_help(self) -> None:
        """Hooks may take long: another thread does what there is, too."""
        if self.idle or len(self.threads) < self.most:
            self.wake()

    def _do(self, pool: Pool[Any], job: Any) -> None:
        if job is True:
            self._create_with_permit(pool)
        else:
            self._close(pool, *job)

    def _close(self, pool: Pool[Any], found: Any, permit: bytes | None) -> None:
        pool._closing_now[id(found)] = found
        try:
            pool._close(found)
        except Exception as error:
            logger.warning("pool %r: closing an object failed: %r", self.name, error)
        finally:
            pool._closing_now.pop(id(found), None)
            del found
            pool._give_back(permit)
            pool._closed()

    def _close_what_is_left(self) -> None:
        while self.left:
            left = self.left.popleft()
            for found, permit in left.jobs:
                try:
                    left.close(found)
                except Exception as error:
                    logger.warning("pool %r: closing an object failed: %r", self.name, error)
                left.give_back(permit)

    def _create_with_permit(self, pool: Pool[Any]) -> None:
        permit = None
        try:
            if pool._limit is not None and (permit := pool._limit.take()) is None:
                pool._create_failed(False)
                pool._await_permits()
                return
        except Exception as error:  # the limit was dropped
            pool._create_failed(True)
            self._note_failure(pool, error)
            return
        self.create(pool, permit)

    def create(self, pool: Pool[Any], permit: bytes | None) -> None:
        """After the pool counted it as being created."""
        begun = time.monotonic()
        try:
            with pool._gate:
                found = pool._create()
                pool._created(found, permit, time.monotonic() - begun)
        except BaseException as error:
            pool._give_back(permit)
            pool._create_failed(True)
            if not isinstance(error, Exception):  # SystemExit, in a thread
                raise
            self._note_failure(pool, error)
            return
        self.attempts.note_success()
        pool._error = None
        pool._watch_for_others()

    def _note_failure(self, pool: Pool[Any], error: Exception) -> None:
        pool._error = error
        if self.attempts.log_failure(self.name, error) and pool._reconnect_failed is not None:
            try:
                pool._reconnect_failed(pool)
            except Exception:
                logger.exception("pool %r: reconnect_failed failed", self.name)
