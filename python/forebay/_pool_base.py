# SPDX-License-Identifier: Apache-2.0
"""What Pool and AsyncPool have in common: options, figures, what is out, forks."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypedDict, TypeVar

from forebay._core import Arena, ClosedError, Limit, PoolClosedError, PoolCore, PoolTimeoutError, TooManyRequestsError, Waiter
from forebay._pool_attempts import Attempts
from forebay._pool_fork import ForkGate, descriptor_of, forget_descriptor, pools_of_process
from forebay._pool_log import logger

T = TypeVar("T")

if TYPE_CHECKING:
    from forebay._pool_limit import HostLimit

_numbers = itertools.count(1)
MAX_SIZE = 8  # where none is asked for
_FOLDER = os.path.dirname(__file__)
OWN_CODE = (os.path.join(_FOLDER, "_pool"), os.path.join(_FOLDER, "pools", ""))


class CheckedOut(NamedTuple):
    """An object that is out: where it was taken, and how long ago."""

    object: Any
    file: str
    line: int
    seconds: float


def _seconds(value: float | timedelta, name: str) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, or a timedelta, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{name} is 0 seconds or more, not {value!r}")
    return float(value)


def _hook(value: Any, name: str) -> Any:
    if value is not None and not callable(value):
        raise TypeError(f"{name} is a function, not {type(value).__name__}")
    return value


def _count(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {type(value).__name__}")
    if not least <= value < 2**31:
        raise ValueError(f"{name} is {least} or more, not {value}")
    return value


def _sizes(min_size: int, max_size: int | None) -> tuple[int, int]:
    least = _count(min_size, "min_size", 0)
    most = max(least, MAX_SIZE) if max_size is None else _count(max_size, "max_size", 1)
    if most < least:
        raise ValueError(f"max_size ({most}) is to be min_size ({least}) or more")
    return least, most


def close_of(value: Any) -> Any:
    """What close= is where none is given."""
    close = getattr(value, "close", None)
    return close() if callable(close) else None


def give_back(limit: Limit | None, permit: bytes | None) -> None:
    """What there is of them."""
    if permit is not None and limit is not None:
        with suppress(ClosedError):  # the limit was dropped
            limit.give_back(permit)


class Left(NamedTuple):
    """Objects of a pool that is gone, each with its permit or None."""

    jobs: list[tuple[Any, bytes | None]]
    close: Callable[[Any], Any]
    limit: Limit | None

    def give_back(self, permit: bytes | None) -> None:
        give_back(self.limit, permit)

    def end_unclosed(self) -> None:
        """No loop is there to close them in: their destructors are all there is."""
        permits = [permit for _, permit in self.jobs]
        self.jobs.clear()
        for permit in permits:
            self.give_back(permit)


class PoolOptions(TypedDict, Generic[T], total=False):
    """The keyword arguments of Pool and AsyncPool."""

    min_size: int
    max_size: int | None
    check: Callable[[T], object] | None
    reset: Callable[[T], object] | None
    end: Callable[[T, BaseException | None], object] | None
    close: Callable[[T], object] | None
    timeout: float | timedelta
    max_waiting: int
    max_lifetime: float | timedelta | None
    max_idle: float | timedelta | None
    reconnect_timeout: float | timedelta
    reconnect_failed: Callable[[Any], object] | None
    num_workers: int
    leak_after: float | timedelta | None
    fileno: Callable[[T], int | None] | None
    name: str | None
    arena: Arena | None
    host_max: int | None
    update: bool


class PoolBase(PoolCore, Generic[T]):
    """Options and figures; how to wait and to work in the background is for those below."""

    # What is raised; a driver's pool raises what its users catch, which is these, too.
    _timeout_error: ClassVar[type[PoolTimeoutError]] = PoolTimeoutError
    _closed_error: ClassVar[type[PoolClosedError]] = PoolClosedError
    _too_many_error: ClassVar[type[TooManyRequestsError]] = TooManyRequestsError

    _attempts: Attempts
    _filling = 0  # calls of wait()
    _host: HostLimit | None

    def __init__(
        self,
        create: Callable[[], Any],
        *,
        min_size: int = 1,
        max_size: int | None = None,
        check: Callable[[T], object] | None = None,
        reset: Callable[[T], object] | None = None,
        end: Callable[[T, BaseException | None], object] | None = None,
        close: Callable[[T], object] | None = None,
        timeout: float | timedelta = 30.0,
        max_waiting: int = 0,
        max_lifetime: float | timedelta | None = 3600.0,
        max_idle: float | timedelta | None = 600.0,
        reconnect_timeout: float | timedelta = 300.0,
        reconnect_failed: Callable[[Any], object] | None = None,
        num_workers: int = 3,
        leak_after: float | timedelta | None = None,
        fileno: Callable[[T], int | None] | None = None,
        name: str | None = None,
        arena: Arena | None = None,
        host_max: int | None = None,
        update: bool = False,
    ) -> None:
        if not callable(create):
            raise TypeError(f"create is a function that makes an object, not {type(create).__name__}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name is a str, not {type(name).__name__}")
        least, most = _sizes(min_size, max_size)
        self.name: str = name or f"pool-{next(_numbers)}"
        self.num_workers = _count(num_workers, "num_workers", 1)
        self.reconnect_timeout = _seconds(reconnect_timeout, "reconnect_timeout")
        self.leak_after = math.inf if leak_after is None else _seconds(leak_after, "leak_after")
        self._create = create
        self._close = _hook(close, "close") or close_of
        self._fileno = _hook(fileno, "fileno") or descriptor_of
        self._reconnect_failed = _hook(reconnect_failed, "reconnect_failed")
        self._hooks = (_hook(check, "check"), _hook(reset, "reset"), _hook(end, "end"))
        self._error: BaseException | None = None  # why none could be created the last time
        self._forsaken: list[Any] = []
        self._closing_now: dict[int, Any] = {}
        self._gate = ForkGate()
        self._configure(
            *self._hooks_in_c(),
            _seconds(timeout, "timeout"),
            math.inf if max_lifetime is None else _seconds(max_lifetime, "max_lifetime"),
            math.inf if max_idle is None else _seconds(max_idle, "max_idle"),
            _count(max_waiting, "max_waiting", 0),
            OWN_CODE,
        )
        self._timeout = _seconds(timeout, "timeout")
        self._limit = self._limit_of(arena, host_max, name, update)
        self._arena = arena
        self._set_limit(self._limit)
        self._set_size(least, most)
        pools_of_process.add(self)

    def _hooks_in_c(self) -> tuple[Any, Any, Any]:
        return self._hooks

    @staticmethod
    def _limit_of(arena: Arena | None, host_max: int | None, name: str | None, update: bool) -> Limit | None:
        if (arena is None) != (host_max is None):
            raise ValueError("arena= and host_max= go together: the arena is where the machine's limit is kept")
        if arena is None or host_max is None:
            return None
        if name is None:
            raise ValueError("a pool with host_max= has a name=: pools of one name share the limit")
        return arena._limit(name, _count(host_max, "host_max", 1), update)

    def __repr__(self) -> str:
        idle, out, _, _ = self._counts
        state = " closed" if self.closed else ""
        return f"<forebay.{type(self).__name__} {self.name!r}{state}: {out} out, {idle} idle, at most {self.max_size}>"

    # ---- figures ----

    def get_stats(self) -> dict[str, int]:
        """Figures of this pool in this process.

        pool_min, pool_max: the sizes; pool_size: objects there are or are being made;
        pool_available: idle ones; requests_waiting: now.  Since the start, or the last
        pop_stats(): requests_num, requests_queued (that had to wait), requests_wait_ms (of
        those that got one), requests_errors (that got none), usage_ms (that objects were out),
        returns_bad (came back unusable), connections_num (attempts to make one),
        connections_ms, connections_errors, connections_lost (found dead by a check)."""
        return self._stats(False)

    def pop_stats(self) -> dict[str, int]:
        """get_stats(), and its counters begin at 0 again."""
        return self._stats(True)

    def checked_out(self) -> list[CheckedOut]:
        """The objects that are out, the longest first."""
        return sorted(
            (CheckedOut(found, *place, seconds) for found, place, seconds, _ in self._out()), key=lambda c: -c.seconds
        )

    # ---- sizes ----

    def _resize(self, min_size: int, max_size: int | None) -> None:
        self._set_size(*_sizes(min_size, max_size))
        self._need_worker()

    def _explain_timeout(self, waited: float) -> str:
        idle, out, _, _ = self._counts
        text = f"no object of the pool {self.name!r} got free within {waited:.3g} s: {out} of at most {self.max_size} are out"
        if self._limit is not None and self._arena is not None and not self._arena.closed:
            limit = self._arena.limits().get(self.name)
            if limit is not None and limit["held"] >= limit["most"]:
                holders = ", ".join(f"{p['held']} by process {p['pid']}" for p in limit["processes"] if p["held"])
                text += f"; all {limit['most']} that host_max allows this machine are held: {holders}"
        if self._error is not None:
            text += f"; none could be made: {self._error!r}"
        return text

    def _require_given(self, waiter: Waiter, timeout: float) -> None:
        """At the end of a wait; raises if nothing was given."""
        if waiter.refused:
            self._count_error()
            raise self._closed_error(f"the pool {self.name!r} was closed while this request waited")
        if not waiter.withdraw():
            self._count_error()
            raise self._timeout_error(self._explain_timeout(timeout)) from self._error

    def _is_filled(self) -> bool:
        idle, out, _, _ = self._counts
        return idle + out >= self.min_size

    def _explain_fill(self, waited: float) -> str:
        idle, out, _, _ = self._counts
        text = f"the pool {self.name!r} had {idle + out} of {self.min_size} objects after {waited:.3g} s"
        return text if self._error is None else f"{text}: {self._error!r}"

    def _is_closing(self) -> bool:
        _, _, discarded, closing = self._counts
        return discarded + closing > 0

    # ---- the machine's limit ----

    def _give_back(self, permit: bytes | None) -> None:
        give_back(self._limit, permit)

    def _may_try(self) -> bool:
        """Is there any sense in creating one now, or in asking for a permit?"""
        return self._attempts.may_create() and (self._host is None or self._host.may_try())

    def _until_try(self) -> float:
        """Seconds until there is again; inf: that is told, or there is no need."""
        return min(self._attempts.delay_left(), math.inf if self._host is None else self._host.delay_left())

    def _has_more_to_do(self) -> bool:
        _, _, discarded, _ = self._counts
        return discarded > 0 or (self._wanted and self._may_try())

    def _needs_permit(self) -> bool:
        """Should this pool have a turn among those who wait for permits?"""
        return self._waited_for or (self._filling > 0 and self._wanted)

    def _await_permits(self) -> None:
        if self._host is not None:
            self._host.await_permits()

    def _watch_for_others(self) -> None:
        if self._host is not None:
            self._host.watch_for_others()

    # ---- leaks ----

    def _reclaim_lost(self) -> None:
        """What getconn() gave and nobody has any more is closed, and another one may be made."""
        for file, line in self._reclaim():
            logger.warning(
                "pool %r: an object taken at %s:%d was lost without putconn(); it is closed. Use: with pool.connection()",
                self.name, file, line,
            )  # fmt: skip

    def _tell_of_leaks(self) -> None:
        if self.leak_after == math.inf:
            return
        for found, (file, line), seconds, told in self._out():
            if seconds >= self.leak_after and not told and self._tell(found):
                logger.warning("pool %r: an object taken at %s:%d has been out for %.1f s", self.name, file, line, seconds)

    def _until_leak(self) -> float:
        """Seconds until one will have been out for too long."""
        if self.leak_after == math.inf:
            return math.inf
        left = [self.leak_after - seconds for _, _, seconds, told in self._out() if not told]
        return max(0.0, min(left, default=self.leak_after))

    def _tell_of_out_at_close(self) -> None:
        for out in self.checked_out():
            logger.warning("pool %r is closed while an object taken at %s:%d is out: it is closed when it comes back",
                           self.name, out.file, out.line)  # fmt: skip

    def _note_bad_reset(self, found: Any, error: BaseException) -> None:
        logger.warning("pool %r: reset failed, the object is closed: %r", self.name, error)

    # ---- the end ----

    def __del__(self) -> None:
        """What a pool that was dropped has idle is closed in the background."""
        if sys.is_finalizing():
            return
        self._finish()
        jobs: list[Any] = []
        while (job := self._next_job(False)) is not None:
            jobs.append(job)
        if jobs:
            self._close_left(Left(jobs, self._close, self._limit))

    def _close_left(self, left: Left) -> None:
        raise NotImplementedError

    # ---- forks ----

    def _is_forsaken(self, found: object) -> bool:
        return any(found is other for other in self._forsaken)

    def _after_fork(self) -> None:
        """In the child: the parent's objects are not ours to use, nor to close."""
        forsaken: list[Any] = [*self._closing_now.values()]
        self._forsake(forsaken)
        for found in forsaken:
            forget_descriptor(found, self._fileno)
        self._forsaken += forsaken
        self._error = None
        self._closing_now = {}
        self._gate = ForkGate()
        self._start_anew()

    def _start_anew(self) -> None:
        raise NotImplementedError

    def _need_worker(self) -> None:
        raise NotImplementedError

    def _need_worker_later(self) -> None:
        raise NotImplementedError

