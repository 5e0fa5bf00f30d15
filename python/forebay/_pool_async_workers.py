# SPDX-License-Identifier: Apache-2.0
"""The background of an AsyncPool: one task that sees what there is to do, and up to
num_workers tasks that do it."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from forebay._pool_background import LINGER, LONGEST_SLEEP, Background
from forebay._pool_log import logger

if TYPE_CHECKING:
    from forebay._pool_async import AsyncPool
    from forebay._pool_base import Left


async def call(hook: Callable[..., Any], *arguments: Any) -> Any:
    """A hook may be a function or a coroutine function."""
    found = hook(*arguments)
    return await found if inspect.isawaitable(found) else found


class AsyncWorkers(Background):
    def __init__(self, pool: AsyncPool[Any]) -> None:
        super().__init__(pool)
        self.loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self.called: asyncio.Event | None = None
        self.leader: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be something to do.  From any thread; never waits."""
        loop = self.loop() if self.loop is not None else None
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._lead)

    def create_from_thread(self, pool: AsyncPool[Any], permit: bytes) -> None:
        """With a permit that was waited for; the pool counted it as being created."""
        loop = self.loop() if self.loop is not None else None
        if loop is None or loop.is_closed():
            pool._give_back(permit)
            pool._create_failed(False)
        else:
            loop.call_soon_threadsafe(self._start, self.create(pool, permit), partial(self._give_up, pool, permit))

    # ---- in the loop ----

    def _lead(self) -> None:
        if self.called is None:
            self.called = asyncio.Event()
        self.called.set()
        if self.leader is None or self.leader.done():
            self.leader = asyncio.get_running_loop().create_task(self._see_to_it(), name=f"{self.name}-leader")

    async def _see_to_it(self) -> None:
        assert self.called is not None
        while True:
            self.called.clear()
            self._begin_what_there_is()
            due = self._due()
            try:
                # not wait_for(): that of 3.11 loses a cancellation that comes with the call
                async with asyncio.timeout(LINGER if due == math.inf else min(due, LONGEST_SLEEP) + 0.001):
                    await self.called.wait()
            except asyncio.TimeoutError:
                if due == math.inf and not self.tasks and not self.called.is_set():
                    return
            if self._is_over() and not self.tasks:
                return

    def _begin_what_there_is(self) -> None:
        pool = self.pool()
        if pool is None:
            return
        pool._tell_of_leaks()
        while len(self.tasks) < self.most:
            job = pool._next_job(pool._may_try())
            if job is None:
                return
            if job is True:
                self._start(self._create_with_permit(pool), partial(self._give_up, pool, None))
            else:
                self._start(self._close(pool, *job), partial(self._leave_open, pool, job[1]))

    def _start(self, work: Coroutine[Any, Any, None], undo: Callable[[], None]) -> None:
        """undo: if the task is cancelled before it begins."""
        has_begun = False

        async def begin() -> None:
            nonlocal has_begun
            has_begun = True
            await work

        def end(task: asyncio.Task[None]) -> None:
            if not has_begun:
                work.close()
                undo()
            self._end(task)

        task = asyncio.get_running_loop().create_task(begin(), name=f"{self.name}-worker")
        self.tasks.add(task)
        task.add_done_callback(end)

    @staticmethod
    def _give_up(pool: AsyncPool[Any], permit: bytes | None) -> None:
        pool._give_back(permit)
        pool._create_failed(False)

    @staticmethod
    def _leave_open(pool: AsyncPool[Any], permit: bytes | None) -> None:
        """The loop ends, and the object with it."""
        pool._give_back(permit)
        pool._closed()

    def close_left(self, left: Left) -> None:
        """From the destructor of the pool."""
        loop = self.loop() if self.loop is not None else None
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: self._start(self._close_what_is_left(left), lambda: None))
        else:
            left.end_unclosed()

    async def _close_what_is_left(self, left: Left) -> None:
        for found, permit in left.jobs:
            try:
                await call(left.close, found)
            except Exception as error:
                logger.warning("pool %r: closing an object failed: %r", self.name, error)
            finally:
                left.give_back(permit)

    def _end(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("pool %r: a worker failed: %r", self.name, task.exception())
        self._lead()

    async def _close(self, pool: AsyncPool[Any], found: Any, permit: bytes | None) -> None:
        pool._closing_now[id(found)] = found
        try:
            await call(pool._close, found)
        except Exception as error:
            logger.warning("pool %r: closing an object failed: %r", self.name, error)
        finally:
            pool._closing_now.pop(id(found), None)
            pool._give_back(permit)
            pool._closed()

    async def _create_with_permit(self, pool: AsyncPool[Any]) -> None:
        permit = None
        try:
            if pool._limit is not None and (permit := pool._limit.take()) is None:
                pool._create_failed(False)
                pool._await_permits()
                return
        except Exception as error:  # the limit was dropped
            pool._create_failed(True)
            await self._note_failure(pool, error)
            return
        await self.create(pool, permit)

    async def create(self, pool: AsyncPool[Any], permit: bytes | None) -> None:
        begun = time.monotonic()
        try:
            found = await call(pool._create)
            pool._created(found, permit, time.monotonic() - begun)
        except BaseException as error:
            pool._give_back(permit)
            pool._create_failed(True)
            if not isinstance(error, Exception):
                raise
            await self._note_failure(pool, error)
            return
        self.attempts.note_success()
        pool._error = None
        pool._watch_for_others()

    async def _note_failure(self, pool: AsyncPool[Any], error: Exception) -> None:
        pool._error = error
        if self.attempts.log_failure(self.name, error) and pool._reconnect_failed is not None:
            try:
                await call(pool._reconnect_failed, pool)
            except Exception:
                logger.exception("pool %r: reconnect_failed failed", self.name)
