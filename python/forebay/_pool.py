# SPDX-License-Identifier: Apache-2.0
"""forebay.Pool: objects that are costly to make, as connections, for the threads of a process."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from forebay._core import Held, PoolCore, Waiter
from forebay._pool_base import Left, PoolBase, PoolOptions, T, _seconds
from forebay._pool_limit import HostLimit
from forebay._pool_workers import Workers

Self = TypeVar("Self", bound="Pool[Any]")


class Pool(PoolBase[T]):
    """At most max_size objects that create() makes, shared by the threads of the process.

        pool = forebay.Pool(connect, min_size=1, max_size=8, check=ping)
        with pool.connection(timeout=3) as connection:
            ...

    With arena= and host_max= at most host_max objects of this name= over all processes
    of the machine, whichever of them are killed; docs/guides/pools.md.

    create: makes an object.  min_size: objects that are kept, once the pool is used;
    max_size: the most (8 if None).  check(object): before it is handed out again; if it
    raises or returns False the object is closed and another one taken.  end(object,
    error): at the end of a with block, with its exception or None, to commit or roll
    back.  reset(object): after each return; if it raises or returns False the object is
    closed.  close(object): object.close() if None.

    timeout: seconds to wait for an object (PoolTimeoutError); those who wait get one in
    the order of coming.  max_waiting: more than so many may not (TooManyRequestsError);
    0: any number.  max_lifetime: an object is closed after so many seconds, or up to a
    twentieth earlier.  max_idle: and when it was idle for so long, down to min_size.
    None: for ever.

    Objects are made and closed by up to num_workers threads in the background.  If
    create() fails it is tried again, later and later, for reconnect_timeout seconds; then
    reconnect_failed(pool) is called, and the next request begins anew.

    leak_after: a warning is logged of an object that is out for so many seconds, with the
    line that took it.  fileno(object): its socket, or None; object.fileno() if omitted: in
    the child of a fork it is taken from the parent's objects, which are never used there.

    open: False: open() is called later.  Any thread may use a pool, and the child of a
    fork, which makes objects of its own."""

    def __init__(self, create: Callable[[], T], *, open: bool = True, **options: Unpack[PoolOptions[T]]) -> None:
        super().__init__(create, **options)
        self._start_anew()
        if open:
            self._begin()

    if TYPE_CHECKING:

        def connection(self, timeout: float | None = None) -> AbstractContextManager[T]:
            """A context: an object of the pool, brought back at the end of the block."""

        def getconn(self, timeout: float | None = None) -> T:
            """An object of the pool, to be given back by putconn()."""

        def putconn(self, conn: T, /) -> None:
            """Give back what getconn() gave."""

    else:
        connection = PoolCore._connection
        getconn = PoolCore._getconn
        putconn = PoolCore._putconn

    def _start_anew(self) -> None:
        """At first, and in the child of a fork: without threads."""
        self._workers = Workers(self)
        self._attempts = self._workers.attempts
        self._host = HostLimit(self, self._limit, self._workers.create) if self._limit is not None else None

    # ---- opening and closing ----

    def open(self, wait: bool = False, timeout: float | timedelta = 30.0) -> None:
        """Let it be used; wait: until there are min_size objects, as wait() does.

        Opening again does nothing; PoolClosedError: it was closed."""
        self._begin()
        if wait:
            self.wait(timeout)

    def wait(self, timeout: float | timedelta = 30.0) -> None:
        """Until there are min_size objects; PoolTimeoutError, and the pool is closed."""
        end = time.monotonic() + _seconds(timeout, "timeout")
        if self.closed:
            self._count_request()  # raises
        self._attempts.ask_again()
        self._filling += 1
        try:
            self._need_worker()
            while not self._is_filled() and time.monotonic() < end:
                time.sleep(0.002)
        finally:
            self._filling -= 1
        if not self._is_filled():
            text, cause = self._explain_fill(_seconds(timeout, "timeout")), self._error
            self.close(timeout=0)
            raise self._timeout_error(text) from cause

    def close(self, timeout: float | timedelta = 5.0) -> None:
        """Refuse who waits and who comes, close what is idle; the rest is closed on return.

        timeout: seconds to wait until idle ones are closed.  Closing again does nothing."""
        seconds = _seconds(timeout, "timeout")
        if self._finish():
            self._tell_of_out_at_close()
        if self._is_closing():  # also what a close() that was interrupted left
            self._need_worker()
        end = time.monotonic() + seconds
        while self._is_closing() and time.monotonic() < end:
            time.sleep(0.001)

    def __enter__(self: Self) -> Self:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ---- what is there ----

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Other sizes; what is too many is closed, now if it is idle, else when it comes back."""
        self._resize(min_size, max_size)

    def check(self) -> None:
        """Look at each idle object with check=; the dead are closed, and made anew."""
        for _ in range(self._counts[0]):
            held = self._take_oldest()
            if held is None:
                return
            if self._hooks[0] is not None:
                held.suspect(True)
                if self._is_dead(held):
                    held.discard(True)
                    self._need_worker()
                    continue
                held.suspect(False)
            held.settle()

    def _is_dead(self, held: Held) -> bool:
        try:
            return self._hooks[0](held.object) is False
        except Exception:
            return True
        except BaseException:
            held.abandon()
            raise

    def drain(self) -> None:
        """Use no object again that there is now: as after a change of what create() needs.

        Idle ones are closed and made anew; those that are out when they come back."""
        self._drain()
        self._need_worker()

    # ---- called from C ----

    def _need_worker(self) -> None:
        self._workers.wake()

    def _need_worker_later(self) -> None:
        self._workers.wake_later()

    def _close_left(self, left: Left) -> None:
        self._workers.close_left(left)

    def _wait_for_object(self, timeout: float, order: int) -> Waiter:
        """A waiter that was given an object; whatever interrupts this, it leaves the queue and
        passes on what it was given.  order: of _enqueue()."""
        self._reclaim_lost()
        over = _thread.allocate_lock()
        over.acquire()
        waiter = self._enqueue(over.release, order)
        try:
            self._attempts.ask_again()
            self._need_worker()
            over.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
            self._require_given(waiter, timeout)
            return waiter
        except BaseException:
            waiter.abandon()
            raise
