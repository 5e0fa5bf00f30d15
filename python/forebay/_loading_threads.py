# SPDX-License-Identifier: Apache-2.0
"""Loading in threads: who finds no batch running leads one, for all that wait.

The others sleep until their flights have an outcome or the lead is free.  A
caller leads only while it waits for flights that nobody has taken.
"""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
    Request,
    State,
    UnderWay,
    Wanted,
    marks_here,
    shown,
    waiting,
)

_FOREIGN_LOOK = 500  # milliseconds that a wait for a lease lasts before the deadline is looked at


class Sleeper:
    """A thread that waits.  No lock of Python's own is in it, which an interrupt could leave locked."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wake(self) -> None:
        self._tokens.put(None)

    def sleep(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._tokens.get(timeout=min(max(seconds, 0.0), LOOK_AGAIN))
            while True:
                self._tokens.get_nowait()


class Batch:
    """What is loaded at once; the lead, for as long as it lasts."""

    __slots__ = ("due", "flights", "gathers", "sleeper")

    def __init__(self, due: float, sleeper: Sleeper) -> None:
        self.due = due  # time.monotonic() from when on another may lead
        self.sleeper = sleeper
        self.gathers = False  # the leader waits for more keys
        self.flights: list[Flight] = []


class Threads:
    """Loads of one handle's flights by a function that is no coroutine function."""

    def __init__(self, flights: Flights) -> None:
        self.flights = flights
        self._options = flights.options
        self.joins = flights.options.load_many is not None  # batches: one at a time
        self.forget()

    def forget(self) -> None:
        """In the child of a fork."""
        self._batch: Batch | None = None
        self._idle: set[Sleeper] = set()  # wait for the lead

    # -- callers

    def load(
        self,
        cache: Any,
        keys: Mapping[bytes, Any],
        deadline: Deadline = NEVER,
        order: Order | None = None,
        anew: bool = False,
    ) -> dict[bytes, Any]:
        """The values, or ABSENT, of keys that were missing; anew: or that are to be replaced."""
        Mark.refuse(cache, keys)
        wanted = Wanted(cache, keys, self._options.absence, anew)
        while wanted.missing:
            for lease in wanted.collect(self._fly(cache, wanted, deadline, order)):
                self._wait_for(cache, lease, wanted, deadline)
            wanted.look()
        return wanted.found

    def _fly(self, cache: Any, wanted: Wanted, deadline: Deadline, order: Order | None) -> list[Flight]:
        """Flights of all that is missing, each with an outcome."""
        sleeper, request = Sleeper(), Request()
        flights: list[Flight] = []
        try:
            self.flights.join(
                cache,
                wanted,
                sleeper,
                request,
                flights,
                order=order,
                queue=self.flights.queue if self.joins else None,
            )
            self.call_more()
            under_way = UnderWay(flights)
            while left := under_way.look():
                deadline.check(cache, (flight.key for flight in left))
                if not self.lead(cache, left, sleeper, deadline) and (left := under_way.look_at_all()):
                    self._sleep(cache, left, sleeper, deadline)
        finally:
            try:
                self._leave(request, flights, sleeper)
            except BaseException:  # an interrupt
                self._leave(request, flights, sleeper)
                raise
        return flights

    def _leave(self, request: Request, flights: Sequence[Flight], sleeper: Sleeper) -> None:
        """Nobody is left to bring on what this caller began: those who joined it begin by themselves."""
        with self.flights.lock:
            self.flights.queue.remove(request)
            self._idle.discard(sleeper)
            abandoned = waiting(request.flights)
        self.flights.resolve([(flight, AGAIN) for flight in abandoned])
        self.flights.leave(flights, sleeper)

    def until_lead(self) -> float:
        """Seconds after which a leader is overdue."""
        batch = self._batch
        return max(batch.due - time.monotonic(), 0.0) if batch is not None else 0.0

    def _sleep(self, cache: Any, flights: Collection[Flight], sleeper: Sleeper, deadline: Deadline) -> None:
        until = min(flight.due for flight in flights) - time.monotonic()
        if any(flight.waits for flight in flights):
            until = min(until, self.until_lead())
        sleeper.sleep(min(max(until, OVERDUE_LOOK), deadline.left()))
        for flight in flights:
            self.flights.overtake(cache, flight)

    def _wait_for(self, cache: Any, lease: bytes, wanted: Wanted, deadline: Deadline) -> None:
        pause = 0.001
        while not cache._lease_wait(lease, 0 if _is_gevent() else _milliseconds(deadline.left())):
            deadline.check(cache, list(wanted.missing.values()))
            if _is_gevent():  # a wait in C would stop all greenlets
                time.sleep(min(pause, deadline.left()))
                pause = min(pause * 1.5, 0.01)

    # -- leaders

    def lead(
        self, cache: Any, mine: Collection[Flight], sleeper: Sleeper, deadline: Deadline = NEVER, background: bool = False
    ) -> bool | None:
        """Load a batch.  False: another leads, and the sleeper is woken when that ends; None: nothing of `mine` waits.

        background: there is no caller to get an interrupt; the flights get it.
        """
        if not any(_for_threads(flight) for flight in mine):
            return None
        batch = Batch(time.monotonic() + self._options.load_timeout + self._options.max_wait, sleeper)
        shared = self.joins and not Mark.inside(self.flights)  # a load within a load cannot wait for its end
        try:
            if shared and not self._take_lead(batch):
                return False
            if shared:
                self._gather(batch, deadline)
            loaded = self._fill(cache, batch, None if shared else mine)
            if loaded:
                self._load(cache, batch, loaded, background)
        except BaseException as error:
            told = background or isinstance(error, Exception)
            outcome = Failed(error) if told else AGAIN
            try:
                self.flights.abandon(cache, batch.flights, outcome)
            except BaseException:  # an interrupt
                self.flights.abandon(cache, batch.flights, outcome)
                raise
            if not told or not batch.flights:
                raise
        finally:
            try:
                self._give_lead_back(batch)
            except BaseException:  # an interrupt
                self._give_lead_back(batch)
                raise
        return True

    def _take_lead(self, batch: Batch) -> bool:
        with self.flights.lock:
            if self._batch is not None and time.monotonic() < self._batch.due:
                self._idle.add(batch.sleeper)
                return False
            self._batch = batch
            return True

    def _give_lead_back(self, batch: Batch) -> None:
        with self.flights.lock:
            if self._batch is not batch:  # it was not taken, or somebody overtook it
                return
            for sleeper in self._idle:
                sleeper.wake()
            self._idle.clear()
            self._batch = None

    def call_more(self) -> None:
        """There are more keys: a leader who waits for them looks."""
        batch = self._batch
        if batch is not None and batch.gathers:
            batch.sleeper.wake()

    def _gather(self, batch: Batch, deadline: Deadline) -> None:
        end = time.monotonic() + min(self._options.max_wait, deadline.left())
        batch.gathers = True
        while (left := end - time.monotonic()) > 0:
            with self.flights.lock:
                if len(self.flights.queue) >= self._options.max_batch:
                    break
            batch.sleeper.sleep(left)
        batch.gathers = False

    def _fill(self, cache: Any, batch: Batch, mine: Collection[Flight] | None) -> list[Flight]:
        queue = self.flights.queue if mine is None else None
        take = queue.take if queue is not None else functools.partial(_take_own, mine)
        loaded, left_over = self.flights.fill(cache, take, batch.flights, at_least_one=True)
        if left_over:
            for waiter in self.flights.put_back(left_over, queue):
                waiter.wake()  # to see to it that somebody takes them
        batch.due = time.monotonic() + self._options.load_timeout
        return loaded

    def _load(self, cache: Any, batch: Batch, loaded: Sequence[Flight], background: bool) -> None:
        for flight in loaded:
            flight.state = State.LOADING
        mark = Mark(self.flights, cache, loaded, marks_here())
        started = time.monotonic()
        try:
            mark.begin()
            results = self._results(loaded, cache, background)
        finally:
            try:
                mark.end()
            except BaseException:  # an interrupt
                mark.end()
                raise
        self.flights.took(time.monotonic() - started)
        self.flights.settle(cache, loaded, results)

    def _results(self, loaded: Sequence[Flight], cache: Any, background: bool) -> list[Any]:
        try:
            return self.flights.call(cache, loaded)
        except Exception as error:
            return [Failed(error)] * len(loaded)
        except BaseException as error:
            if not background:
                raise
            # SystemExit, say, in a thread that is not the caller's
            failed = LoadError(
                f"loading {shown(loaded[0].key)} of cache {cache.name!r} was ended by {type(error).__name__}: {error}"
            )
            failed.__cause__ = error
            return [Failed(failed)] * len(loaded)


class Crew:
    """Has flights loaded by threads of an executor, for those who cannot wait themselves."""

    def __init__(self, threads: Threads, submit: Callable[..., object]) -> None:
        self._threads = threads
        self.flights = threads.flights
        self._submit = submit
        self._handed: dict[Flight, None] = {}
        self._at_work = False

    def load(self, cache: Any, flights: Sequence[Flight]) -> None:
        """See to it that these flights come to an outcome."""
        try:
            self._hand_over(cache, flights)
        except BaseException:  # an interrupt
            self._at_work = False  # if somebody is, two will be
            raise

    def _hand_over(self, cache: Any, flights: Sequence[Flight]) -> None:
        joins = self._threads.joins
        with self.flights.lock:
            new = _not_in(self._handed, flights)
            self._handed.update(dict.fromkeys(new))
            if joins and self._at_work:
                return
            self._at_work = True
        if joins:
            self._start(cache, self._handed)
        else:
            for flight in new:
                self._start(cache, {flight: None})

    def _start(self, cache: Any, flights: dict[Flight, None]) -> None:
        try:
            self._submit(self._work, cache, flights)
        except RuntimeError as error:  # the executor, or the interpreter, shuts down
            self._stop(cache, flights, error)

    def _work(self, cache: Any, flights: dict[Flight, None]) -> None:
        sleeper = Sleeper()
        try:
            while left := self._waiting(flights):
                if self._threads.lead(cache, left, sleeper, background=True) is False:
                    sleeper.sleep(self._threads.until_lead())
        except BaseException as error:
            self._stop(cache, flights, error)

    def _waiting(self, flights: dict[Flight, None]) -> list[Flight]:
        with self.flights.lock:
            left = waiting(flights)
            for flight in _not_in(left, flights):
                flights.pop(flight, None)
                self._handed.pop(flight, None)
            if not self._handed:
                self._at_work = False
            return left

    def _stop(self, cache: Any, flights: dict[Flight, None], error: BaseException) -> None:
        with self.flights.lock:
            left = waiting(flights)
            for flight in list(flights):
                self._handed.pop(flight, None)
            self._at_work = False
        self.flights.abandon(cache, left, Failed(error))


def _not_in(some: Collection[Flight], flights: Iterable[Flight]) -> list[Flight]:
    some = set(some)
    return [flight for flight in flights if flight not in some]


def _for_threads(flight: Flight) -> bool:
    return flight.waits and not flight.asynchronous


def _take_own(mine: Collection[Flight] | None, room: int, into: list[Flight]) -> None:
    for flight in mine or ():
        if room > 0 and _for_threads(flight):
            into.append(flight)
            flight.state = State.TAKEN
            room -= 1


def _milliseconds(seconds: float) -> int:
    return min(math.ceil(seconds * 1000), _FOREIGN_LOOK) if seconds < math.inf else _FOREIGN_LOOK


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("time"))
