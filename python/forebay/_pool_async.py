# SPDX-License-Identifier: Apache-2.0
"""forebay.AsyncPool: as Pool, for the tasks of one event loop."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar, Unpack

import forebay
from forebay._core import Held
from forebay._pool_async_workers import AsyncWorkers, call
from forebay._pool_base import Left, PoolBase, PoolOptions, T, _seconds
from forebay._pool_limit import HostLimit

Self = TypeVar("Self", bound="AsyncPool[Any]")


class AsyncConnection(Generic[T]):
    """What AsyncPool.connection() returns: an async context."""

    __slots__ = ("_held", "_pool", "_timeout")

    def __init__(self, pool: AsyncPool[T], timeout: float | timedelta | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._held: Held | None = None

    async def __aenter__(self) -> T:
        if self._held is not None:
            raise forebay.PoolError("this connection() was entered already: call pool.connection() for each async with")
        self._held = await self._pool._get_held(self._timeout)
        found: T = self._held.hand_out(False)
        return found

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._pool._bring_back(held, error, True)


class AsyncPool(PoolBase[T]):
    """At most max_size objects, shared by the tasks of one event loop.

        async with forebay.AsyncPool(connect, max_size=8) as pool:
            async with pool.connection(timeout=3) as connection:
                ...

    Arguments are Pool's; create, check, reset, end, close and reconnect_failed may be
    coroutine functions.  It is opened by `async with` or `await pool.open()`, in the loop
    that it belongs to from then on.  A task that is cancelled leaves the queue, and loses
    no object."""

    def __init__(
        self, create: Callable[[], Awaitable[T]] | Callable[[], T], *, open: bool = False, **options: Unpack[PoolOptions[T]]
    ) -> None:
        super().__init__(create, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start_anew()
        if open:
            self._bind()
            self._begin()

    def _hooks_in_c(self) -> tuple[Any, Any, Any]:
        return None, None, None

    def _start_anew(self) -> None:
        self._loop = None
        self._workers = AsyncWorkers(self)
        self._attempts = self._workers.attempts
        self._host = HostLimit(self, self._limit, self._workers.create_from_thread) if self._limit is not None else None

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._workers.loop = weakref.ref(loop)
        elif self._loop is not loop:
            raise forebay.PoolError(f"the pool {self.name!r} belongs to another event loop: open one in each")

    # ---- opening and closing ----

    async def open(self, wait: bool = False, timeout: float | timedelta = 30.0) -> None:
        """Let it be used, in this event loop; wait: until there are min_size objects."""
        self._bind()
        self._begin()
        if wait:
            await self.wait(timeout)

    async def wait(self, timeout: float | timedelta = 30.0) -> None:
        """Until there are min_size objects; PoolTimeoutError, and the pool is closed."""
        end = time.monotonic() + _seconds(timeout, "timeout")
        if self.closed:
            self._count_request()  # raises
        self._bind()
        self._attempts.ask_again()
        self._filling += 1
        try:
            self._need_worker()
            while not self._is_filled() and time.monotonic() < end:
                await asyncio.sleep(0.002)
        finally:
            self._filling -= 1
        if not self._is_filled():
            text, cause = self._explain_fill(_seconds(timeout, "timeout")), self._error
            await self.close(timeout=0)
            raise self._timeout_error(text) from cause

    async def close(self, timeout: float | timedelta = 5.0) -> None:
        """Refuse who waits and who comes, close what is idle; the rest is closed on return."""
        seconds = _seconds(timeout, "timeout")
        if self._finish():
            self._tell_of_out_at_close()
        if self._is_closing():  # also what a close() that was interrupted left
            self._need_worker()
        end = time.monotonic() + seconds
        while self._is_closing() and time.monotonic() < end:
            await asyncio.sleep(0.001)

    async def __aenter__(self: Self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- objects ----

    def connection(self, timeout: float | timedelta | None = None) -> AsyncConnection[T]:
        """An async context: an object of the pool, brought back at the end of the block."""
        return AsyncConnection(self, timeout)

    async def getconn(self, timeout: float | timedelta | None = None) -> T:
        """An object of the pool, to be given back by putconn()."""
        held = await self._get_held(timeout)
        found: T = held.hand_out(True)
        return found

    async def putconn(self, conn: T) -> None:
        """Give back what getconn() gave.  PoolError: it is not out of this pool."""
        held = self._held_of(conn)
        if held is not None:
            await self._bring_back(held, None, False)

    async def _get_held(self, timeout: float | timedelta | None) -> Held:
        seconds = self._timeout if timeout is None else _seconds(timeout, "timeout")
        begun, order = time.monotonic_ns(), 0
        self._count_request()
        self._bind()
        while True:
            held = self._take_idle() or await self._wait_for_held(begun, seconds, order)
            order = begun  # a request whose object was dead does not begin at the end of the queue
            if held.fresh or self._hooks[0] is None or not await self._is_dead(held):
                return held

    async def _is_dead(self, held: Held) -> bool:
        """By check=; then it is discarded."""
        held.suspect(True)  # a cancelled check leaves it in any state
        try:
            is_dead = await call(self._hooks[0], held.object) is False
        except Exception:
            is_dead = True
        except BaseException:
            held.abandon()
            raise
        if is_dead:
            held.discard(True)
            self._need_worker()
        else:
            held.suspect(False)
        return is_dead

    async def _wait_for_held(self, begun: int, seconds: float, order: int) -> Held:
        """Whatever interrupts this, the waiter leaves the queue and passes on what it was given."""
        timeout = max(0.0, seconds - (time.monotonic_ns() - begun) / 1e9)
        self._reclaim_lost()
        future = asyncio.get_running_loop().create_future()
        waiter = self._enqueue(self._wake_of(future), order)
        try:
            self._attempts.ask_again()
            self._need_worker()
            if timeout > 0:
                await asyncio.wait([future], timeout=None if timeout == float("inf") else timeout)
            self._require_given(waiter, seconds)
            return self._held_by(waiter)
        except BaseException:
            waiter.abandon()
            raise

    def _wake_of(self, future: asyncio.Future[None]) -> Callable[[], None]:
        """Called in the loop, but for destructors in other threads."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(end_wait, future)

        return wake

    async def _bring_back(self, held: Held, error: BaseException | None, ends_block: bool) -> None:
        """Hooks, and back; whatever interrupts them, the object is closed."""
        try:
            failure = await self._end_block(held, error) if ends_block else None
            if not held.take_back():
                return  # a parent's, before a fork
            held.suspect(True)
            if failure is None and await self._is_sound(held):
                held.settle()
            else:
                held.discard(False)
        finally:
            held.abandon()  # nothing, unless it was interrupted
            if self._counts[2]:
                self._need_worker()
        if failure is not None and error is None:
            raise failure

    async def _end_block(self, held: Held, error: BaseException | None) -> Exception | None:
        """What end= raised."""
        try:
            if self._hooks[2] is not None:
                await call(self._hooks[2], held.object, error)
        except Exception as failure:
            return failure
        return None

    async def _is_sound(self, held: Held) -> bool:
        """By reset=."""
        if self._hooks[1] is None or self.closed:
            return True
        try:
            return await call(self._hooks[1], held.object) is not False
        except Exception as failure:
            self._note_bad_reset(held.object, failure)
            return False

    # ---- what is there ----

    async def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Other sizes; what is too many is closed, now if it is idle, else when it comes back."""
        self._resize(min_size, max_size)

    async def check(self) -> None:
        """Look at each idle object with check=; the dead are closed, and made anew."""
        for _ in range(self._counts[0]):
            held = self._take_oldest()
            if held is None:
                return
            if self._hooks[0] is None or not await self._is_dead(held):
                held.settle()

    async def drain(self) -> None:
        """Use no object again that there is now."""
        self._drain()
        self._need_worker()

    def _need_worker(self) -> None:
        self._workers.wake()

    def _need_worker_later(self) -> None:
        self._workers.wake()

    def _close_left(self, left: Left) -> None:
        self._workers.close_left(left)


def end_wait(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
