# SPDX-License-Identifier: Apache-2.0
"""Flights: the keys that are being loaded in this process, and their leases.

A key that is missing has one flight here, which all callers of this process
join, and one lease in the arena, which keeps other processes from loading it
too.  Threads (_loading_threads) and tasks (_loading_tasks) bring flights from
QUEUED over TAKEN and LOADING to their outcome; whatever happens to whoever
loads, a flight gets an outcome, and those who wait for it are woken.

Clean-up is written so that it may run twice, and does if an interrupt (Ctrl-C)
comes in the middle of it.  That is written out where it is done: in a helper the
interrupt could come before its first line.  What is done `with` a lock has no loop
that skips elements: since 3.12 CPython does not see that an interrupt at the jump
back is within the `with`, and leaves the lock locked.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from forebay import _tracing
from forebay._core import ABSENT, MISSING, Cache, Error, FullError, LoadError, RecursiveLoadError, TimeoutError, TooBigError
from forebay._log import loading as _log
from forebay._loading_options import OMITTED, Options, seconds_of

ALONE_NOTE: Final = b""  # what was loaded is not to be stored: load for yourself
ABSENT_NOTE: Final = b"\0absent"  # there is none, and that is not stored
LOOK_AGAIN = 1.0  # seconds, for those whose waker was cut short by a second interrupt
OVERDUE_LOOK = 0.01  # seconds between looks at a lease that should be over
_SHOWN = 100  # characters of a key in a message
_ERRORS_RECORDED = 5  # of a batch, on its span


class State(Enum):
    QUEUED = "nobody does anything for it yet"
    TAKEN = "somebody is about to load it"
    LOADING = "its loader runs"


class Loaded(NamedTuple):
    value: Any
    stored: bool
    as_read: bool = False  # the value is what get() gives
    lost: bool = False  # it would have been stored, had nobody changed the key meanwhile


@dataclass(frozen=True, slots=True)
class Failed:
    error: BaseException


class Arrived(NamedTuple):
    """What came of a load with a tier, which says for how long it may be kept, and whether at all."""

    value: Any
    seconds: float | None
    keep: bool
    payload: tuple[int, bytes] | None = None  # kind, and the value as it is stored
    as_read: bool = False  # the value was made of the payload


@dataclass(frozen=True, slots=True)
class Foreign:
    """Somebody else has the lease: wait for it."""

    lease: bytes


class Again:
    """Look at the cache again; if it is not there, begin anew."""


AGAIN: Final = Again()
Outcome = Loaded | Failed | Foreign | Again


class Waiter(Protocol):
    """Who waits for flights."""

    def wake(self) -> None:
        """Called by any thread."""


@dataclass(frozen=True, slots=True)
class Order:
    """How to load a key, where the cache has no loader: call() it; keep(result): is it to be stored, ttl, tags."""

    call: Callable[[], Any]
    keep: Callable[[Any], tuple[bool, Any, Iterable[Any]]]
    tags: tuple[Any, ...] = ()  # known before: what invalidates them during the call, counts
    asynchronous: bool = False


class Flight:
    """A key being loaded."""

    __slots__ = (
        "alone",
        "asynchronous",
        "background",
        "due",
        "key",
        "lease",
        "marks",
        "name",
        "order",
        "outcome",
        "replaces",
        "sole",
        "state",
        "waiters",
    )

    def __init__(
        self, name: bytes, key: Any, order: Order | None, asynchronous: bool, marks: tuple[Mark, ...] = ()
    ) -> None:
        self.name = name
        self.key = key
        self.order = order
        self.asynchronous = asynchronous
        self.marks = marks  # of the loads that the caller is a part of
        self.state = State.QUEUED
        self.lease: bytes | None = None
        self.alone = False  # to be loaded without a lease
        self.replaces = False  # an entry that is there is no reason not to load
        self.background = False  # nobody is told of a failure but the log
        self.due = math.inf  # time.monotonic() from when on nobody waits for it any longer
        self.outcome: Outcome | None = None
        self.sole = True  # one caller gets the outcome: no two have waited at once
        self.waiters: tuple[Waiter, ...] = ()  # of most flights one, and the same tuple for all that one call begins

    @property
    def waits(self) -> bool:
        """For somebody to take it."""
        return self.outcome is None and self.state is State.QUEUED


def waiting(flights: Iterable[Flight]) -> list[Flight]:
    return [flight for flight in flights if flight.waits]


class Request:
    """Flights that one caller began."""

    __slots__ = ("flights",)

    def __init__(self) -> None:
        self.flights: deque[Flight] = deque()

    def take(self, count: int, into: list[Flight]) -> None:
        """The first that wait; those before them that do not are dropped."""
        flights = self.flights
        while flights and count > 0:
            flight = flights[0]
            if flight.outcome is None and flight.state is State.QUEUED:  # it waits
                into.append(flight)  # first: a flight may be in two places, but not in none
                flight.state = State.TAKEN
                count -= 1
            flights.popleft()


class Queue:
    """Requests that wait; Flights.lock is held for all of it."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()

    def add(self, request: Request) -> None:
        self._requests.append(request)

    def put_back(self, flights: Sequence[Flight]) -> None:
        for flight in reversed(flights):
            request = Request()
            request.flights.append(flight)
            self._requests.appendleft(request)

    def remove(self, request: Request) -> None:
        with contextlib.suppress(ValueError):
            self._requests.remove(request)

    def take(self, count: int, into: list[Flight]) -> None:
        """Of each request in turn, so that one key does not wait behind a thousand of another caller."""
        end = len(into) + count
        while self._requests and len(into) < end:
            request = self._requests[0]
            request.take(end - len(into) if len(self._requests) == 1 else 1, into)
            if request.flights:
                self._requests.rotate(-1)
            else:
                self._requests.popleft()

    def __bool__(self) -> bool:
        return any(flight.waits for request in self._requests for flight in request.flights)

    def __len__(self) -> int:
        return sum(1 for request in self._requests for flight in request.flights if flight.waits)


class Deadline:
    """When a caller stops waiting."""

    __slots__ = ("_at", "_timeout")

    def __init__(self, timeout: float | timedelta | None) -> None:
        self._timeout = math.inf
        if timeout is not None:
            self._timeout = seconds_of(timeout, "timeout")
            if self._timeout == 0:
                raise ValueError("timeout must be more than 0 seconds; None waits as long as it takes")
        self._at = time.monotonic() + self._timeout

    def left(self) -> float:
        return max(self._at - time.monotonic(), 0.0)

    def check(self, cache: Any, keys: Iterable[Any]) -> None:
        if self._timeout < math.inf and self.left() == 0:
            keys = list(keys)
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise TimeoutError(
                f"{shown(keys[0])}{more} of cache {cache.name!r} was not loaded within {self._timeout:g} seconds"
            )


NEVER: Final = Deadline(None)


def shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


# ---- who is inside which load


_marks: ContextVar[tuple[Mark, ...]] = ContextVar("forebay: loads under way", default=())
_era = 0  # a forked child is in none of its parent's loads


class Mark:
    """A load under way, for what runs in it: it must not wait for itself."""

    __slots__ = ("_active", "_era", "_flights", "_names", "_outer", "_scope", "_token")

    def __init__(self, flights: Flights, cache: Any, loaded: Sequence[Flight], around: tuple[Mark, ...] = ()) -> None:
        self._flights = flights
        self._scope = _scope_of(cache)
        self._names = {flight.name for flight in loaded}
        self._era = _era
        self._active = True
        self._outer = {mark for marks in (around, *(flight.marks for flight in loaded)) for mark in marks}
        self._token: Token[tuple[Mark, ...]] | None = None

    def begin(self) -> None:
        self._token = _marks.set((*(mark for mark in self._outer if mark._counts()), self))

    def end(self) -> None:
        """Also where begin() was cut short."""
        self._active = False
        token, self._token = self._token, None
        if token is not None:
            with contextlib.suppress(ValueError):  # a coroutine that is thrown away is closed in another context
                _marks.reset(token)

    def _counts(self) -> bool:
        return self._active and self._era == _era

    @staticmethod
    def refuse(cache: Any, wanted: Mapping[bytes, Any]) -> None:
        """RecursiveLoadError if one of these keys is being loaded by a load that this is a part of."""
        marks = [mark for mark in _marks.get() if mark._counts()]
        if not marks:
            return
        scope = _scope_of(cache)
        for mark in marks:
            for name in mark._names & wanted.keys() if mark._scope == scope else ():
                raise RecursiveLoadError(
                    f"loading {shown(wanted[name])} of cache {cache.name!r} needs that very key: "
                    "its loader asks for it, directly or through another load"
                )

    @staticmethod
    def inside(flights: Flights) -> bool:
        """Is this a part of a load of these flights?"""
        return any(mark._flights is flights and mark._counts() for mark in _marks.get())


def marks_here() -> tuple[Mark, ...]:
    return _marks.get()


def _scope_of(cache: Any) -> tuple[Any, str, int]:
    """The same for all handles of a cache."""
    arena = cache.arena
    return arena.path or id(arena), cache.name, cache.version


def _begin_era() -> None:
    global _era
    _era += 1


os.register_at_fork(after_in_child=_begin_era)


# ---- flights


class Flights:
    """The keys that one handle's callers in this process have loaded."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._lease_ms = math.ceil(options.load_timeout * 1000)
        self.listener: Any = None  # buses._listening.Listener: who hears what other machines change
        self.tier: Any = None  # tiers._tier.TierOfCache: between the cache and what loads
        self.forget()

    def forget(self) -> None:
        """In the child of a fork: what the parent loads is the parent's."""
        self.lock = threading.Lock()  # with nothing in it that waits, or calls what users gave us
        self.table: dict[bytes, Flight] = {}
        self.queue = Queue()  # for threads to load
        self.load_time = 0.0  # seconds, a running mean

    def join(
        self,
        cache: Any,
        wanted: Wanted,
        waiter: Waiter,
        request: Request,
        flights: list[Flight],
        *,
        order: Order | None = None,
        queue: Queue | None = None,
    ) -> None:
        """Put a flight for each key into `flights`; those that did not exist also into `request`, and that into `queue`."""
        asynchronous = order.asynchronous if order is not None else self.options.asynchronous
        marks, only = _marks.get(), (waiter,)
        with self.lock:
            wanted.late.clear()
            for name, key in wanted.missing.items():
                flight = self.table.get(name)
                if flight is None or wanted.anew or not self._joinable(cache, flight):
                    flight = Flight(name, key, order, asynchronous, marks)
                    flight.alone = name in wanted.alone
                    flight.replaces = wanted.anew
                    request.flights.append(flight)
                    self.table[name] = flight
                elif flight.state is State.LOADING:
                    wanted.late.add(name)
                if flight.waiters:
                    flight.sole = False
                flight.waiters += only
                flights.append(flight)
            if queue is not None and request.flights:
                queue.add(request)

    def _joinable(self, cache: Any, flight: Flight) -> bool:
        """Whoever comes after an invalidation must not get what was loaded before it."""
        if time.monotonic() >= flight.due:
            return False
        if flight.lease is None:
            return flight.state is not State.LOADING
        return bool(cache._lease_holds(flight.lease))

    def leave(self, flights: Iterable[Flight], waiter: Waiter) -> None:
        only = (waiter,)
        with self.lock:
            for flight in flights:
                flight.waiters = () if flight.waiters == only else _without(flight.waiters, waiter)

    def add(self, flights: Sequence[Flight], queue: Queue | None) -> None:
        """Flights that were not joined but made, in place of any that are there."""
        request = Request()
        with self.lock:
            for flight in flights:
                request.flights.append(flight)
                self.table[flight.name] = flight
            if queue is not None:
                queue.add(request)

    # -- before the load

    def fill(
        self,
        cache: Any,
        take: Callable[[int, list[Flight]], None],
        into: list[Flight],
        at_least_one: bool,
    ) -> tuple[list[Flight], list[Flight]]:
        """take() flights, and their leases, until a batch is full or none are left: those to be loaded.

        All that are taken are put `into` the list.  The second list: flights that wait again, for no lease is free.
        """
        loaded: list[Flight] = []
        while (room := self.options.batch - len(loaded)) > 0:
            before = len(into)
            with self.lock:
                take(room, into)
            if len(into) == before:
                break
            leased, left_over = self.take_leases(cache, into[before:], at_least_one and not loaded)
            loaded += leased
            if left_over:
                return loaded, left_over
        return loaded, []

    def put_back(self, flights: Sequence[Flight], queue: Queue | None) -> set[Waiter]:
        """Flights that could not be loaded now; returns who waits for them."""
        waiters: set[Waiter] = set()
        with self.lock:
            for flight in flights:
                flight.state = State.QUEUED
                waiters.update(flight.waiters)
            if queue is not None:
                queue.put_back(flights)
        return waiters

    def take_leases(
        self, cache: Any, flights: Sequence[Flight], at_least_one: bool
    ) -> tuple[list[Flight], list[Flight]]:
        """Those to be loaded now, and those to be loaded later, for no lease is free.  Others have their outcome.

        at_least_one: if none is free at all, one is to be loaded without, and its value not stored.
        """
        new: list[Flight] = []
        leased: list[Flight] = []
        left_over: list[Flight] = []
        for flight in flights:
            if flight.lease is None and not flight.alone and not flight.replaces:
                new.append(flight)
            elif (has_lease := self._take_lease(cache, flight)) is not False:
                (leased if has_lease else left_over).append(flight)
        if new:
            left_over += self._take_leases_of_new(cache, new, leased)
        if left_over and at_least_one and not leased:
            left_over[0].alone = True
            leased.append(left_over.pop(0))
        due = time.monotonic() + self.options.load_timeout
        for flight in leased:
            flight.due = due
        return leased, left_over

    def _take_leases_of_new(self, cache: Any, flights: list[Flight], leased: list[Flight]) -> list[Flight]:
        """Of flights that are for what is missing.  Returns those for which no lease is free."""
        order = flights[0].order  # flights with an order come alone
        tags = order.tags if order is not None else ()
        taken = cache._leases_take(flights, self._lease_ms, self.options.absence, tags)
        ended: list[tuple[Flight, Outcome]] = []
        for flight, how in zip(flights, taken):
            if how is True:
                leased.append(flight)
            else:  # somebody stored it between the miss and the lease, or loads it
                ended.append((flight, AGAIN if how is False else Foreign(how)))
        if ended:
            self.resolve(ended)
        return flights[len(taken) :]

    def _take_lease(self, cache: Any, flight: Flight) -> bool | None:
        """Whether a flight that is not just for what is missing is to be loaded; False: it has its outcome; None: no lease is free."""
        if flight.lease is not None:  # since it was begun
            if cache._lease_holds(flight.lease):
                return True
            self.resolve([(flight, AGAIN)])
            return False
        if flight.alone:
            return True
        taken, lease = self.ask_lease(cache, flight.key)
        while taken == 0:
            cache._lease_break(flight.key)
            taken, lease = self.ask_lease(cache, flight.key)
        if taken < 0:
            return None
        flight.lease = lease
        return True

    def ask_lease(self, cache: Any, key: Any, tags: tuple[Any, ...] = ()) -> tuple[int, bytes]:
        taken, lease = cache._lease_take(key, self._lease_ms, tags=tags)
        return taken, lease

    # -- the load

    def call(self, cache: Any, flights: Sequence[Flight]) -> list[Any]:
        """Run what loads; the results in the order of the flights, Failed where there is an error for a key."""
        if _tracing.tracer is None:
            return self._call(cache, flights)
        with traced_load(cache, len(flights)) as results:
            results += self._call(cache, flights)
        return results

    def _call(self, cache: Any, flights: Sequence[Flight]) -> list[Any]:
        if self.listener is not None:
            self.listener.ensure()
        if self.tier is not None:
            found: list[Any] = self.tier.load(cache, flights, self._load_parts)
            return found
        return self._load(flights)

    async def call_async(self, cache: Any, flights: Sequence[Flight]) -> list[Any]:
        """call() with a coroutine function."""
        if _tracing.tracer is None:
            return await self._call_async(cache, flights)
        with traced_load(cache, len(flights)) as results:
            results += await self._call_async(cache, flights)
        return results

    async def _call_async(self, cache: Any, flights: Sequence[Flight]) -> list[Any]:
        if self.listener is not None:
            self.listener.ensure()
        if self.tier is not None:
            found: list[Any] = await self.tier.aload(cache, flights, self._load_parts_async)
            return found
        return await self._load_async(flights)

    def _load_parts(self, flights: Sequence[Flight]) -> list[Any]:
        """What the tier does not have, as the loader wants it: max_batch at a time."""
        results: list[Any] = []
        for part in self._parts(flights):
            try:
                results += self._load(part)
            except Exception as error:
                results += [Failed(error)] * len(part)
        return results

    def _parts(self, flights: Sequence[Flight]) -> Iterable[Sequence[Flight]]:
        most = self.options.max_batch
        return (flights[at : at + most] for at in range(0, len(flights), most))

    def _load(self, flights: Sequence[Flight]) -> list[Any]:
        load, load_many = self.options.load, self.options.load_many
        if load_many is not None:
            keys = [flight.key for flight in flights]
            return self.in_order(keys, _no_awaitable(load_many(list(keys)), "load_many"))
        (flight,) = flights
        if flight.order is not None:
            return [flight.order.call()]
        assert load is not None
        return [_no_awaitable(load(flight.key), "load")]

    async def _load_parts_async(self, flights: Sequence[Flight]) -> list[Any]:
        import asyncio  # who calls this has it

        parts = list(self._parts(flights))
        if len(parts) == 1:
            return await self._load_async(parts[0])
        found = await asyncio.gather(*(self._load_async(part) for part in parts), return_exceptions=True)
        results: list[Any] = []
        for part, result in zip(parts, found):
            results += [Failed(result)] * len(part) if isinstance(result, BaseException) else result
        return results

    async def _load_async(self, flights: Sequence[Flight]) -> list[Any]:
        load, load_many = self.options.load, self.options.load_many
        if load_many is not None:
            keys = [flight.key for flight in flights]
            return self.in_order(keys, await load_many(list(keys)))
        (flight,) = flights
        if flight.order is not None:
            return [await flight.order.call()]
        assert load is not None
        return [await load(flight.key)]

    @staticmethod
    def in_order(keys: Sequence[Any], result: Any) -> list[Any]:
        if isinstance(result, Mapping):
            values = [result[key] if key in result else ABSENT for key in keys]
        elif isinstance(result, (list, tuple)):
            if len(result) != len(keys):
                raise ValueError(
                    f"load_many was asked for {len(keys)} keys and returned {len(result)} values: a list must have one "
                    "for each key, in their order (forebay.ABSENT where there is none), or return a mapping"
                )
            values = list(result)
        else:
            raise TypeError(f"load_many must return a mapping or a list, not {type(result).__name__}")
        return [Failed(value) if isinstance(value, BaseException) else value for value in values]

    def took(self, seconds: float) -> None:
        self.load_time = seconds if self.load_time == 0 else self.load_time + (seconds - self.load_time) / 8

    # -- after it

    def settle(self, cache: Any, flights: Sequence[Flight], results: Sequence[Any]) -> None:
        """Store what was loaded and tell everybody."""
        values: list[tuple[Flight, Any, Any]] = []  # and how long they are kept
        payloads: list[tuple[Flight, Arrived]] = []
        outcomes: list[tuple[Flight, Outcome]] = []
        lifetime = self._lifetime(cache)
        for flight, result in zip(flights, results):
            if isinstance(result, Failed):
                outcomes.append((flight, self._fail(cache, flight, result.error)))
            elif isinstance(result, Arrived) and result.keep and flight.lease is not None:
                if result.payload is None:
                    values.append((flight, result.value, result.seconds))
                else:
                    payloads.append((flight, result))
            elif flight.lease is None or flight.order is not None or result is ABSENT or isinstance(result, Arrived):
                outcomes.append((flight, self._settled(cache, flight, result)))
            else:
                values.append((flight, result, self._lifetime(cache) if self.options.jitter else lifetime))
        if values:
            outcomes += self._store_values(cache, values)
        if payloads:
            outcomes += self._store_payloads(cache, payloads)
        self.resolve(outcomes)

    def _lifetime(self, cache: Any) -> Any:
        try:
            return self.options.lifetime(cache.ttl)
        except Error:  # the arena is closed: each store will say so
            return OMITTED

    def _store_values(self, cache: Any, stores: Sequence[tuple[Flight, Any, Any]]) -> list[tuple[Flight, Outcome]]:
        flights, values, ttls = map(list, zip(*stores))
        stored = cache._leases_store(flights, values, ttls)
        return [
            (flight, Loaded(value, True) if how is True else self._outcome(cache, flight, value, how))
            for (flight, value, _), how in zip(stores, stored)
        ]

    def _store_payloads(self, cache: Any, stores: Sequence[tuple[Flight, Arrived]]) -> list[tuple[Flight, Outcome]]:
        flights = [flight for flight, _ in stores]
        payloads, ttls = [arrived.payload for _, arrived in stores], [arrived.seconds for _, arrived in stores]
        stored = cache._leases_store_payloads(flights, payloads, ttls)
        return [
            (flight, Loaded(arrived.value, True, arrived.as_read) if how is True else self._outcome(cache, flight, arrived.value, how))
            for (flight, arrived), how in zip(stores, stored)
        ]

    def _outcome(self, cache: Any, flight: Flight, value: Any, error: bool | Exception) -> Outcome:
        """Of what was not stored: as the lease was taken away (False), or for an error."""
        if isinstance(error, bool):
            return Loaded(value, error, lost=not error)
        if not isinstance(error, (FullError, TooBigError)):
            return self._fail(cache, flight, error)
        self._pass_on(cache, flight)  # it is a cache: the value is good all the same
        return Loaded(value, False)

    def _pass_on(self, cache: Any, flight: Flight) -> None:
        """The value goes to its callers, and is not stored."""
        self._note(cache, flight, ALONE_NOTE)
        if flight.replaces:
            Cache.delete(cache, flight.key)

    def _settled(self, cache: Any, flight: Flight, result: Any) -> Outcome:
        """Of what is not stored, or not together with others."""
        value = result.value if isinstance(result, Arrived) else result
        try:
            if not isinstance(result, Arrived):
                return Loaded(value, self._store(cache, flight, value))
            if value is ABSENT and self.options.absence and self.options.absent_ttl is None:
                return Loaded(value, self._store_absent(cache, flight))
            self._pass_on(cache, flight)
            return Loaded(value, False, lost=result.seconds is not None)
        except Exception as error:
            return self._outcome(cache, flight, value, error)

    def _store(self, cache: Any, flight: Flight, value: Any) -> bool:
        if flight.order is not None:
            keep, ttl, tags = flight.order.keep(value)
        else:
            keep, ttl, tags = True, self.options.lifetime(cache.ttl), ()
        if not keep:
            self._note(cache, flight, ALONE_NOTE)
        elif value is ABSENT and self.options.absence:
            return self._store_absent(cache, flight)
        elif flight.lease is not None:
            return bool(cache._lease_store(flight.key, value, flight.lease, ttl=ttl, tags=tags))
        elif flight.replaces:
            Cache.delete(cache, flight.key)  # what is there is known to be old
        return False

    def _store_absent(self, cache: Any, flight: Flight) -> bool:
        ttl = self.options.absent_ttl
        if ttl is not None and flight.lease is not None:
            return bool(cache._lease_store(flight.key, ABSENT, flight.lease, ttl=self.options.shortened(ttl)))
        if flight.replaces and (flight.lease is None or cache._lease_holds(flight.lease)):
            Cache.delete(cache, flight.key)
        self._note(cache, flight, ABSENT_NOTE)
        return False

    def _fail(self, cache: Any, flight: Flight, error: BaseException) -> Outcome:
        self._note(cache, flight, _note_of(error))
        if flight.background:
            _log.warning("refreshing %s of cache %r failed", shown(flight.key), cache.name, exc_info=error)
        return Failed(error)

    @staticmethod
    def _note(cache: Any, flight: Flight, note: bytes) -> None:
        if flight.lease is not None:
            with contextlib.suppress(Error):  # the arena is closed, say: nobody is left to be told
                cache._lease_fail(flight.lease, note)

    def abandon(self, cache: Any, flights: Sequence[Flight], outcome: Outcome = AGAIN) -> None:
        """End what has no outcome yet, and wake everybody once more."""
        for flight in flights:
            if flight.outcome is None and flight.lease is not None:
                with contextlib.suppress(Error):
                    cache._lease_end(flight.lease)
        self.resolve([(flight, outcome) for flight in flights])

    def overtake(self, cache: Any, flight: Flight) -> bool:
        """Give up on a load that takes too long.  Whoever runs it keeps its result, but cannot store it."""
        if flight.outcome is not None or time.monotonic() < flight.due:
            return False
        if flight.lease is not None and not cache._lease_wait(flight.lease, 0):
            return False
        self.resolve([(flight, AGAIN)])
        return True

    def resolve(self, outcomes: Sequence[tuple[Flight, Outcome]]) -> None:
        woken: set[Waiter] = set()
        with self.lock:
            for flight, outcome in outcomes:
                if flight.outcome is None or flight.outcome is AGAIN:  # it may have been overtaken
                    flight.outcome = outcome
                if self.table.get(flight.name) is flight:
                    del self.table[flight.name]
                woken.update(flight.waiters)
        for waiter in woken:
            waiter.wake()


def _without(waiters: tuple[Waiter, ...], waiter: Waiter) -> tuple[Waiter, ...]:
    return tuple(each for each in waiters if each is not waiter)


@contextlib.contextmanager
def traced_load(cache: Any, keys: int) -> Iterator[list[Any]]:
    """A span around a loader that runs; its results are put into the list."""
    results: list[Any] = []
    with _tracing.span("forebay.load", cache=cache.name, keys=keys) as span:
        try:
            yield results
        except BaseException as error:
            span.set(outcome="error" if isinstance(error, Exception) else "cancelled")
            raise
        errors = [result.error for result in results if isinstance(result, Failed)]
        span.set(outcome="ok" if not errors else "error" if len(errors) == keys else "partial", failed=len(errors) or None)
        for failure in errors[:_ERRORS_RECORDED]:
            span.fail(failure)


def _no_awaitable(result: Any, name: str) -> Any:
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(f"{name} returned an awaitable: write it as `async def`, and use afetch()")
    return result


def _note_of(error: BaseException) -> bytes:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    return f"in process {os.getpid()}: {text}".encode(errors="replace")


# ---- what callers make of it


def without_outcome(flights: Iterable[Flight]) -> list[Flight]:
    """None once one has failed, for then the call fails."""
    left = []
    for flight in flights:
        if flight.outcome is None:
            left.append(flight)
        elif isinstance(flight.outcome, Failed):
            return []
    return left


class UnderWay:
    """The flights of one call that have no outcome, or none: without_outcome().

    A call for thousands of keys looks after each batch, so a look is at the first ones only: those that end out of
    their turn are found when it is their turn, or by look_at_all().
    """

    __slots__ = ("_flights",)

    def __init__(self, flights: Iterable[Flight]) -> None:
        self._flights = deque(flights)

    def look(self) -> deque[Flight]:
        flights = self._flights
        while flights and flights[0].outcome is not None:
            if isinstance(flights[0].outcome, Failed):
                flights.clear()
            else:
                flights.popleft()
        return flights

    def look_at_all(self) -> deque[Flight]:
        self._flights = deque(without_outcome(self._flights))
        return self._flights


class Wanted:
    """The keys of one call: which are still to be had, and what is known of the others."""

    def __init__(self, cache: Any, keys: Mapping[bytes, Any], absence: bool = True, anew: bool = False) -> None:
        self.missing = dict(keys)
        self.found: dict[bytes, Any] = {}
        self.anew = anew  # no flight that exists will do, nor an entry that does
        self.alone: set[bytes] = set()  # another could not store them
        self.late: set[bytes] = set()  # joined when their loader ran already
        self._cache = cache
        self._absence = absence
        self._loaded: dict[bytes, tuple[Any, bool]] = {}  # by name: the value, and whether nobody else gets it
        self._foreign: dict[bytes, bytes] = {}

    def collect(self, flights: Sequence[Flight]) -> list[bytes]:
        """Take the outcomes in, and raise the error if there is one; returns leases to be waited for."""
        failed: list[Failed] = []
        for flight in flights:
            outcome = flight.outcome
            if isinstance(outcome, Loaded):
                if outcome.stored and not (outcome.as_read and flight.sole):  # to be looked at: as get() gives it, and everybody's own
                    self._loaded[flight.name] = outcome.value, flight.sole
                else:
                    self._find(flight.name, self._own(flight.name, outcome.value, flight.sole or not outcome.lost))
            elif isinstance(outcome, Failed):
                failed.append(outcome)
            elif isinstance(outcome, Foreign):
                self._foreign[flight.name] = outcome.lease
        if failed:
            raise failed[0].error
        return list(self._foreign.values())

    def look(self) -> None:
        """Look at all that is missing; what is still missing then is to be joined again."""
        self._look_in_cache()
        for name, (value, sole) in self._loaded.items():
            if name in self.missing and name not in self.late:  # stored, and gone already
                # who came late begins anew: it may have been invalidated before that
                self._find(name, self._own(name, value, sole))
        for name, lease in self._foreign.items():
            if name in self.missing:
                self._heed(name, self._cache._lease_reason(lease))
        self._loaded.clear()
        self._foreign.clear()

    def _own(self, name: bytes, value: Any, sole: bool) -> Any:
        """Of several callers each gets its own, as it would have been read; what is not to be stored, or cannot be, is everybody's."""
        if sole or name not in self.missing:
            return value
        try:
            return self._cache._from_payload(self.missing[name], *self._cache._payload(value))
        except Exception:
            return value

    def _look_in_cache(self) -> None:
        for name, key in list(self.missing.items()):
            if not self.anew or name in self._loaded:
                self._find_if_there(name, self._cache._peek(key))

    def _find_if_there(self, name: bytes, value: Any) -> None:
        if value is not MISSING and (value is not ABSENT or self._absence):
            self._find(name, value)

    def _find(self, name: bytes, value: Any) -> None:
        self.found[name] = value
        self.missing.pop(name, None)

    def _heed(self, name: bytes, note: bytes | None) -> None:
        if note is None:
            return
        if note == ALONE_NOTE:
            self.alone.add(name)
        elif note == ABSENT_NOTE:
            self._find_if_there(name, ABSENT)
        else:
            raise LoadError(f"loading {shown(self.missing[name])} failed {note.decode(errors='replace')}")


def ttl_of(options: Options | None, ttl: Any, cache: Any) -> Any:
    """Of an entry that is put in by hand: as if it had been loaded."""
    if options is None:
        return ttl
    if ttl is OMITTED:
        return options.lifetime(cache.ttl)
    if ttl is None or options.stale is None:
        return ttl
    return seconds_of(ttl, "ttl") + options.stale
