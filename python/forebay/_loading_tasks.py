# SPDX-License-Identifier: Apache-2.0
"""Loading in event loops: no loop is ever blocked.

Coroutine functions run in tasks of their own, begun at the next tick of the
loop, so that neither one caller's cancellation nor that of all stops a load.
Other functions run in the loop's default executor, together with what threads
want loaded.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from forebay._core import LoadError
from forebay._loading_flights import (
    AGAIN,
    LOOK_AGAIN,
    NEVER,
    OVERDUE_LOOK,
    Deadline,
    Failed,
    Flight,
    Flights,
    Mark,
    Order,
    Queue,
    Request,
    State,
    Wanted,
    shown,
    without_outcome,
)
from forebay._loading_threads import Crew, Threads

_FIRST_LOOK, _LAST_LOOK = 0.001, 0.010  # seconds between looks at others' leases


class Alarm:
    """One timer of a loop for all who sleep until they are woken: thousands of timers would take longer than loads."""

    __slots__ = ("_loop", "_sleepers", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sleepers: set[Sleeper] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sleeper: Sleeper) -> None:
        """Wake it in LOOK_AGAIN seconds at the latest."""
        self._sleepers.add(sleeper)
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_AGAIN, self._ring)

    def discard(self, sleeper: Sleeper) -> None:
        self._sleepers.discard(sleeper)
        if not self._sleepers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        sleepers, self._sleepers = self._sleepers, set()
        for sleeper in sleepers:
            sleeper.wake()


class Sleeper:
    """A task that waits."""

    __slots__ = ("_alarm", "_future", "_is_awake", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop, alarm: Alarm) -> None:
        self._loop = loop
        self._alarm = alarm
        self._thread = threading.get_ident()
        self._future: asyncio.Future[None] | None = None
        self._is_awake = False  # woken before it slept

    def wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._set()
            return
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:
            pass  # the loop is closed: nobody sleeps there any more

    def _set(self) -> None:
        if self._future is None:
            self._is_awake = True
        elif not self._future.done():
            self._future.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """asyncio.wait() would cost twice as much."""
        if self._is_awake:
            self._is_awake = False
            return
        self._future = self._loop.create_future()
        timer = self._loop.call_later(max(seconds, 0.0), self._set) if seconds < LOOK_AGAIN else None
        if timer is None:
            self._alarm.add(self)
        try:
            await self._future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()
            else:
                self._alarm.discard(self)


class Tasks:
    """Loads of one handle's flights for callers in event loops."""

    def __init__(self, flights: Flights, threads: Threads) -> None:
        self._flights = flights
        self._threads = threads
        self._options = flights.options
        self.forget()

    def forget(self) -> None:
        """In the child of a fork."""
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Loop] = weakref.WeakKeyDictionary()

    def here(self) -> Loop:
        """RuntimeError if no task of asyncio runs."""
        loop = _running_loop()
        here = self._loops.get(loop)
        if here is None:
            for closed in [each for each in self._loops.keys() if each.is_closed()]:
                del self._loops[closed]
            here = self._loops[loop] = Loop(self._flights, self._threads, Alarm(loop))
        return here

    async def load(
        self,
        cache: Any,
        keys: Mapping[bytes, Any],
        deadline: Deadline = NEVER,
        order: Order | None = None,
        anew: bool = False,
    ) -> dict[bytes, Any]:
        """The values, or ABSENT, of keys that were missing; anew: or that are to be replaced."""
        here = self.here()
        Mark.refuse(cache, keys)
        wanted = Wanted(cache, keys, self._options.absence, anew)
        while wanted.missing:
            leases = wanted.collect(await self._fly(cache, here, wanted, deadline, order))
            if leases:
                await here.wait_for(cache, leases, wanted, deadline)
            wanted.look()
        return wanted.found

    async def _fly(
        self, cache: Any, here: Loop, wanted: Wanted, deadline: Deadline, order: Order | None
    ) -> list[Flight]:
        """Flights of all that is missing, each with an outcome."""
        sleeper, request = here.sleeper(), Request()
        flights: list[Flight] = []
        begun = False
        try:
            self._flights.join(
                cache,
                wanted,
                sleeper,
                request,
                flights,
                order=order,
                queue=here.queue_for(order),
            )
            left = flights
            while left := without_outcome(left):
                deadline.check(cache, (flight.key for flight in left))
                here.bring_on(cache, left)
                begun = True
                until = max(min(flight.due for flight in left) - time.monotonic(), OVERDUE_LOOK)
                await sleeper.sleep(min(until, deadline.left()))
                for flight in left:
                    self._flights.overtake(cache, flight)
        finally:
            try:
                self._leave(begun, request, flights, sleeper)
            except BaseException:  # an interrupt
                self._leave(begun, request, flights, sleeper)
                raise
        return flights

    def _leave(self, begun: bool, request: Request, flights: Sequence[Flight], sleeper: Sleeper) -> None:
        """What is begun comes to its end without this caller."""
        if not begun:
            self._flights.resolve([(flight, AGAIN) for flight in list(request.flights) if flight.waits])
        self._flights.leave(flights, sleeper)


class Loop:
    """What is loaded for the callers in one event loop."""

    def __init__(self, flights: Flights, threads: Threads, alarm: Alarm) -> None:
        self._flights = flights
        self._threads = threads
        self._options = flights.options
        self._alarm = alarm
        self.queue = Queue()  # for coroutine functions
        self._tasks: set[asyncio.Task[None]] = set()  # a loop itself keeps no task alive
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        self._for_crew: list[Flight] = []
        self._crew = Crew(threads, _in_executor)
        self._watched: dict[bytes, set[Sleeper]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._pause = _FIRST_LOOK

    def sleeper(self) -> Sleeper:
        """For a task of this loop."""
        return Sleeper(asyncio.get_running_loop(), self._alarm)

    def queue_for(self, order: Order | None) -> Queue | None:
        if order.asynchronous if order is not None else self._options.asynchronous:
            return self.queue
        return self._flights.queue if self._threads.joins else None

    def bring_on(self, cache: Any, flights: Iterable[Flight]) -> None:
        """See to it that those come to an outcome that nobody has taken."""
        waiting = [flight for flight in flights if flight.waits]
        for_crew = [flight for flight in waiting if not flight.asynchronous]
        if for_crew:
            if not self._for_crew:  # at the next tick: more may come in this one
                asyncio.get_running_loop().call_soon(self._hand_over, cache)
            self._for_crew += for_crew
            self._threads.call_more()
        if len(for_crew) < len(waiting):
            due = time.monotonic() + self._options.max_wait + self._options.load_timeout
            for flight in waiting:
                if flight.asynchronous and flight.lease is None:
                    flight.due = min(flight.due, due)
            self.schedule(cache)

    def _hand_over(self, cache: Any) -> None:
        flights, self._for_crew = self._for_crew, []
        self._crew.load(cache, list(dict.fromkeys(flight for flight in flights if flight.waits)))

    # -- coroutine functions

    def schedule(self, cache: Any) -> None:
        """Load what is queued at the next tick, or after max_wait."""
        if not self._is_full():
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._options.max_wait, self._dispatch, cache)
        elif not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._dispatch, cache)

    def _is_full(self) -> bool:
        """Enough that there is nothing to wait for."""
        if not self._options.max_wait:
            return True
        with self._flights.lock:
            return len(self.queue) >= self._options.max_batch

    def _dispatch(self, cache: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._soon = False
        while self._dispatch_batch(cache):
            pass

    def _dispatch_batch(self, cache: Any) -> bool:
        """True: there may be more."""
        taken: list[Flight] = []
        try:
            loaded, left_over = self._flights.fill(cache, self.queue.take, taken, at_least_one=not self._tasks)
            if left_over:  # until a task ends, and with it leases
                self._flights.put_back(left_over, self.queue)
            if loaded:
                self._begin(cache, loaded)
            return bool(taken) and not left_over
        except BaseException as error:
            outcome = Failed(error) if isinstance(error, Exception) else AGAIN
            try:
                self._flights.abandon(cache, taken, outcome)
            except BaseException:  # an interrupt
                self._flights.abandon(cache, taken, outcome)
                raise
            if outcome is AGAIN:
                raise
            return bool(taken)

    def _begin(self, cache: Any, loaded: Sequence[Flight]) -> None:
        task = asyncio.get_running_loop().create_task(self._load(cache, loaded), name="forebay load")
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, cache, loaded))

    def _ended(self, cache: Any, loaded: Sequence[Flight], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        unfinished = [flight for flight in loaded if flight.outcome is None]
        if unfinished:  # cancelled before it began
            self._flights.abandon(cache, unfinished)
        with self._flights.lock:
            more = bool(self.queue)
        if more:
            self.schedule(cache)

    async def _load(self, cache: Any, loaded: Sequence[Flight]) -> None:
        mark = Mark(self._flights, cache, loaded)
        started = time.monotonic()
        try:
            for flight in loaded:
                flight.state = State.LOADING
            try:
                mark.begin()
                results = await self._results(cache, loaded)
            finally:
                try:
                    mark.end()
                except BaseException:  # an interrupt
                    mark.end()
                    raise
            self._flights.took(time.monotonic() - started)
            self._flights.settle(cache, loaded, results)
        except BaseException:
            try:
                self._flights.abandon(cache, loaded)
            except BaseException:  # an interrupt
                self._flights.abandon(cache, loaded)
                raise
            raise

    async def _results(self, cache: Any, loaded: Sequence[Flight]) -> list[Any]:
        try:
            return await self._flights.call_async(cache, loaded)
        except Exception as error:
            return [Failed(error)] * len(loaded)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # something that the loader waited for was cancelled, not the load
            failed = LoadError(f"loading {shown(loaded[0].key)} of cache {cache.name!r} was cancelled by its loader")
            failed.__cause__ = error
            return [Failed(failed)] * len(loaded)

    # -- others' leases

    async def wait_for(self, cache: Any, leases: Sequence[bytes], wanted: Wanted, deadline: Deadline) -> None:
        sleeper = self.sleeper()
        for lease in leases:
            self._watched.setdefault(lease, set()).add(sleeper)
        self._pause = _FIRST_LOOK
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(cache), name="forebay wait")
            self._watcher.add_done_callback(self._watched_all)
        try:
            while any(sleeper in self._watched.get(lease, ()) for lease in leases):
                deadline.check(cache, list(wanted.missing.values()))
                await sleeper.sleep(deadline.left())
        finally:
            for lease in leases:
                self._watched.get(lease, set()).discard(sleeper)

    async def _watch(self, cache: Any) -> None:
        """One for all callers in this loop."""
        while self._watched:
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 1.5, _LAST_LOOK)
            for lease, sleepers in list(self._watched.items()):
                if not sleepers or cache._lease_wait(lease, 0):
                    self._over(lease)

    def _over(self, lease: bytes) -> None:
        for sleeper in self._watched.pop(lease, ()):
            sleeper.wake()

    def _watched_all(self, watcher: asyncio.Task[None]) -> None:
        """Also when it was cancelled, or the arena closed: who waits looks, and goes on from there."""
        self._watcher = None
        if not watcher.cancelled():
            watcher.exception()
        for lease in list(self._watched):
            self._over(lease)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        loop = asyncio.get_running_loop()
        inside = asyncio.current_task(loop) is not None
    except RuntimeError:
        inside = False
    if not inside:
        raise RuntimeError("this needs a running task of asyncio (uvloop and anyio on asyncio are that; trio is not)")
    return loop


def _in_executor(function: Callable[..., None], *arguments: Any) -> object:
    context = contextvars.copy_context()
    return asyncio.get_running_loop().run_in_executor(None, functools.partial(context.run, function, *arguments))
