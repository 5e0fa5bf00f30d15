# SPDX-License-Identifier: Apache-2.0
"""The background of an AsyncPool: one task that sees what there is to do, and up to
num_workers tasks that do it."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forebay._pool_attempts import Attempts
from forebay._pool_log import logger

if TYPE_CHECKING:
    from forebay._pool_async import AsyncPool

LINGER = 10.0
LONGEST_SLEEP = 86400.0


async def call(hook: Callable[..., Any], *arguments: Any) -> Any:
    """A hook may be a function or a coroutine function."""
    found = hook(*arguments)
    return await found if inspect.isawaitable(found) else found


class AsyncWorkers:
    def __init__(self, pool: AsyncPool[Any]) -> None:
        self.pool = weakref.ref(pool)
        self.name = pool.name
        self.most = pool.num_workers
        self.attempts = Attempts(pool.reconnect_timeout)
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
            loop.call_soon_threadsafe(lambda: self._start(self.create(pool, permit)))

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

    def _is_over(self) -> bool:
        """The pool is gone, or closed and nothing of it is left to be closed."""
        pool = self.pool()
        return pool is None or (pool.closed and not any(pool._counts[1:]))

    def _due(self) -> float:
        pool = self.pool()
        if pool is None or self._is_over():
            return math.inf
        return min(pool._due(), pool._until_leak(), self.attempts.delay_left())

    def _begin_what_there_is(self) -> None:
        pool = self.pool()
        if pool is None:
            return
        pool._tell_of_leaks()
        while len(self.tasks) < self.most:
            job = pool._next_job(self.attempts.may_create() and not pool._is_awaiting_permits())
            if job is None:
                return
            self._start(self._create_with_permit(pool) if job is True else self._close(pool, *job))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}-worker")
        self.tasks.add(task)
        task.add_done_callback(self._end)

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
        if pool._limit is not None:
            permit = pool._limit.take()
            if permit is None:
                pool._create_failed(False)
                pool._await_permits()
                return
        await self.create(pool, permit)

    async def create(self, pool: AsyncPool[Any], permit: bytes | None) -> None:
        begun = time.monotonic()
        try:
            found = await call(pool._create)
        except BaseException as error:
            pool._give_back(permit)
            pool._create_failed(True)
            if not isinstance(error, Exception):
                raise
            await self._note_failure(pool, error)
            return
        self.attempts.note_success()
        pool._error = None
        pool._created(found, permit, time.monotonic() - begun)
        pool._watch_for_others()

    async def _note_failure(self, pool: AsyncPool[Any], error: Exception) -> None:
        pool._error = error
        if self.attempts.log_failure(self.name, error) and pool._reconnect_failed is not None:
            try:
                await call(pool._reconnect_failed, pool)
            except Exception:
                logger.exception("pool %r: reconnect_failed failed", self.name)
