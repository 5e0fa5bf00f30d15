# SPDX-License-Identifier: Apache-2.0
"""What a cache with load= or load_many= does on a miss, and when an entry grows old.

_core calls these functions for the methods of Cache of the same name; hits of
caches that refresh nothing do not come here.  How one load is made of many
callers' wishes: _loading_flights.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import os
import random
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from forebay import _tracing
from forebay._core import ABSENT, MISSING, Cache, FullError, TooBigError
from forebay._loading_flights import Deadline, Flight, Flights, Mark, Order, traced_load, ttl_of
from forebay._loading_options import OMITTED, Options, parse
from forebay._loading_tasks import Tasks
from forebay._loading_threads import Crew, Threads

_REFRESHERS = 4  # threads for all caches of a process


class Loading:
    """The loads of one Cache object, which owns it and is given to each call."""

    __slots__ = ("__weakref__", "_refreshers", "flights", "given", "options", "refreshes", "shares", "tasks", "threads")

    def __init__(self, options: Options, given: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.options = options
        self.given = dict(given)  # to Arena.cache(), which gets them again from a pickle
        self.refreshes = options.stale is not None or options.early is not None
        self.flights = Flights(options)
        self.threads = Threads(self.flights)
        self.tasks = Tasks(self.flights, self.threads)
        self._refreshers = Crew(self.threads, _refresh_pool.submit)
        self.shares = options.tier is not None or options.bus is not None
        _all.add(self)

    @property
    def cache_type(self) -> type[Cache[Any, Any]]:
        """Of the caches that load so."""
        if not self.shares:
            return Cache
        from forebay._shared import SharedCache

        return SharedCache

    def attach(self, cache: Any) -> None:
        """The cache was opened; it is of cache_type."""
        if self.shares:
            cache._attach(self)

    def forget(self) -> None:
        """In the child of a fork: flights, and the threads and tasks that were at work on them, are the parent's."""
        self.flights.forget()
        self.threads.forget()
        self.tasks.forget()
        self._refreshers = Crew(self.threads, _refresh_pool.submit)

    def is_due(self, cache: Any, key: Any) -> bool:
        """Is an entry that is there to be loaded anew?"""
        left_ms: int | None = cache._ttl_left(key)
        if left_ms is None or left_ms < 0:
            return False
        if self._is_limited(left_ms / 1000):
            return False
        left = left_ms / 1000 - (self.options.stale or 0.0)
        return left < 0 or (self.options.early is not None and left < self._ahead(self.options.early))

    def _is_limited(self, left: float) -> bool:
        """Was the entry kept for a moment only, as the tier is left out?  It is loaded when it has expired."""
        if self.flights.tier is None:
            return False
        limit = self.flights.tier.limits
        return limit is not None and left <= limit

    def _ahead(self, beta: float) -> float:
        """Seconds before its end that an entry is loaded anew: another figure for each caller.

        XFetch: A. Vattani, F. Chierichetti, K. Lowenstein: Optimal Probabilistic
        Cache Stampede Prevention, PVLDB 8(8), 2015.
        """
        return -self.flights.load_time * beta * math.log(1.0 - random.random())

    def refresh_due(self, cache: Any, keys: Mapping[bytes, Any]) -> list[Flight]:
        """Flights for those that are due and that nobody else refreshes; they have their leases."""
        flights = []
        for name, key in keys.items():
            if not self.is_due(cache, key):
                continue
            taken, lease = self.flights.ask_lease(cache, key)
            if taken <= 0:
                continue
            if not self.is_due(cache, key):  # somebody did, between the two looks
                cache._lease_end(lease)
                continue
            flight = Flight(name, key, None, self.options.asynchronous)
            flight.lease = lease
            flight.replaces = flight.background = True
            flights.append(flight)
        return flights

    def refresh_in_threads(self, cache: Any, keys: Mapping[bytes, Any]) -> None:
        flights = self.refresh_due(cache, keys)
        if flights:
            self.flights.add(flights, self.flights.queue if self.threads.joins else None)
            self._refreshers.load(cache, flights)

    def refresh_in_tasks(self, cache: Any, keys: Mapping[bytes, Any]) -> None:
        if not self.options.asynchronous:
            self.refresh_in_threads(cache, keys)
            return
        flights = self.refresh_due(cache, keys)
        if flights:
            here = self.tasks.here()
            self.flights.add(flights, here.queue)
            here.schedule(cache)


class _Pool:
    """Threads that refresh, made when they are first needed."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None

    def submit(self, function: Callable[..., object], /, *arguments: Any) -> object:
        with self._lock:
            if self._executor is None:
                self._executor = concurrent.futures.ThreadPoolExecutor(_REFRESHERS, "forebay-refresh")
        return self._executor.submit(function, *arguments)


_refresh_pool = _Pool()
_all: weakref.WeakSet[Loading] = weakref.WeakSet()
_of_orders: weakref.WeakKeyDictionary[Any, dict[float, Loading]] = weakref.WeakKeyDictionary()


def _forget_all() -> None:
    _refresh_pool.forget()
    for loading in list(_all):
        loading.forget()


os.register_at_fork(after_in_child=_forget_all)


def make(**options: Any) -> Loading:
    """For Arena.cache(), with the options that it was given."""
    return Loading(parse(**options), options)


# ---- methods of Cache


def fetch(cache: Any, key: Any, default: Any = None, *, timeout: float | timedelta | None = None) -> Any:
    """The value; loaded if it is not there.  `default` if there is none, says the loader."""
    loading, deadline = _loading_of(cache), Deadline(timeout)
    value = cache._look(key) if loading.refreshes else cache._peek(key)  # Cache.fetch() has looked
    if value is MISSING:
        keys = {cache._key(key): key}
        value = _in_threads(loading, "fetch").load(cache, keys, deadline).popitem()[1]
    elif loading.refreshes and value is not ABSENT and not loading.options.asynchronous:
        loading.refresh_in_threads(cache, {cache._key(key): key})
    return default if value is ABSENT else value


def fetch_many(cache: Any, keys: Iterable[Any], *, timeout: float | timedelta | None = None) -> dict[Any, Any]:
    """The values of those keys for which there is one."""
    loading, deadline = _loading_of(cache), Deadline(timeout)
    keys = _list_of(keys, "fetch_many")
    found, missing = _look_at(cache, keys)
    if loading.refreshes and not loading.options.asynchronous:
        loading.refresh_in_threads(cache, _named(cache, _present(found)))
    if missing:
        loaded = _in_threads(loading, "fetch_many").load(cache, missing, deadline)
        for name, value in loaded.items():
            found[missing[name]] = value
    return _in_order(keys, found)


async def afetch(cache: Any, key: Any, default: Any = None, *, timeout: float | timedelta | None = None) -> Any:
    """fetch() for tasks of asyncio."""
    loading, deadline = _loading_of(cache), Deadline(timeout)
    value = cache._look(key)
    if value is MISSING:
        value = (await loading.tasks.load(cache, {cache._key(key): key}, deadline)).popitem()[1]
    elif loading.refreshes and value is not ABSENT:
        loading.refresh_in_tasks(cache, {cache._key(key): key})
    return default if value is ABSENT else value


async def afetch_many(
    cache: Any, keys: Iterable[Any], *, timeout: float | timedelta | None = None
) -> dict[Any, Any]:
    """fetch_many() for tasks of asyncio."""
    loading, deadline = _loading_of(cache), Deadline(timeout)
    keys = _list_of(keys, "afetch_many")
    found, missing = _look_at(cache, keys)
    if loading.refreshes:
        loading.refresh_in_tasks(cache, _named(cache, _present(found)))
    if missing:
        loaded = await loading.tasks.load(cache, missing, deadline)
        for name, value in loaded.items():
            found[missing[name]] = value
    return _in_order(keys, found)


def refresh(cache: Any, key: Any, default: Any = None, *, timeout: float | timedelta | None = None) -> Any:
    """The value, loaded anew: what is there, and what others are loading, may be older than this call."""
    loading, deadline = _loading_of(cache), Deadline(timeout)
    loaded = _in_threads(loading, "refresh").load(cache, {cache._key(key): key}, deadline, anew=True)
    value = loaded.popitem()[1]
    return default if value is ABSENT else value


async def arefresh(cache: Any, key: Any, default: Any = None, *, timeout: float | timedelta | None = None) -> Any:
    """refresh() for tasks of asyncio."""
    loading, deadline = _loading_of(cache), Deadline(timeout)
    loaded = await loading.tasks.load(cache, {cache._key(key): key}, deadline, anew=True)
    value = loaded.popitem()[1]
    return default if value is ABSENT else value


def prime(cache: Any, items: Any, *, ttl: Any = OMITTED) -> None:
    """Add what was loaded elsewhere; an entry that is there stays."""
    loading: Loading | None = cache._loading
    options = loading.options if loading is not None else None
    lifetime = ttl_of(options, ttl, cache)
    for key, value in items.items() if hasattr(items, "keys") else items:
        if value is not ABSENT:
            cache.add(key, value, ttl=lifetime)
        elif options is not None and options.absent_ttl is not None:
            _add_absent(cache, options, key, options.shortened(options.absent_ttl))


def invalidate(cache: Any, key: Any) -> bool:
    """Delete the entry; what is being loaded now will not be stored."""
    return bool(cache.delete(key))


def _add_absent(cache: Any, options: Options, key: Any, ttl: float) -> None:
    taken, lease = cache._lease_take(key, math.ceil(options.load_timeout * 1000))
    if taken > 0 and cache._peek(key) is MISSING:
        cache._lease_store(key, ABSENT, lease, ttl=ttl)
    elif taken > 0:
        cache._lease_end(lease)


def _loading_of(cache: Any) -> Loading:
    loading: Loading | None = cache._loading
    if loading is None or not loading.options.loads:
        raise TypeError(f"this cache has no loader: arena.cache({cache.name!r}, load=...) or load_many=...")
    return loading


def _in_threads(loading: Loading, method: str) -> Threads:
    if loading.options.asynchronous:
        name = "load" if loading.options.load is not None else "load_many"
        raise TypeError(f"{name} of this cache is a coroutine function: use `await cache.a{method}()`")
    return loading.threads


def _list_of(keys: Iterable[Any], function: str) -> list[Any]:
    if isinstance(keys, (str, bytes)):
        raise TypeError(f"{function}() takes an iterable of keys, not one {type(keys).__name__}")
    return list(keys)


def _look_at(cache: Any, keys: Sequence[Any]) -> tuple[dict[Any, Any], dict[bytes, Any]]:
    """What is there, by key, and what is not, by name."""
    found = cache._look_many(keys)
    return found, _named(cache, [key for key in keys if key not in found] if found else keys)


def _named(cache: Any, keys: Iterable[Any]) -> dict[bytes, Any]:
    return {cache._key(key): key for key in keys}


def _present(found: Mapping[Any, Any]) -> list[Any]:
    return [key for key, value in found.items() if value is not ABSENT]


def _in_order(keys: Sequence[Any], found: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value for key in keys if (value := found.get(key, ABSENT)) is not ABSENT}


# ---- for memoize()


def fetch_with(
    cache: Any,
    key: Any,
    call: Callable[[], Any],
    store: Callable[[Any], tuple[bool, Any, Iterable[Any]]],
    *,
    tags: Iterable[Any] = (),
    load_timeout: float = 10.0,
) -> Any:
    """The result of call(), of one caller's for all who want this key now; the entry was missing just now.

    store(result) says whether to store it, its ttl (... for the cache's) and its
    tags.  Where these are known before they are given as tags=, too: one that is
    invalidated during the call invalidates the result.
    """
    loading = _loading_with_orders(cache, load_timeout)
    keys, order = {cache._key(key): key}, Order(call, store, tuple(tags))
    if Mark.inside(loading.flights):
        Mark.refuse(cache, keys)
        return _load_nested(loading.flights, cache, key, order)
    return loading.threads.load(cache, keys, order=order).popitem()[1]


def _load_nested(flights: Flights, cache: Any, key: Any, order: Order) -> Any:
    """For functions that call themselves: no flight, whose frames would soon be too many, and no wait."""
    taken, lease = flights.ask_lease(cache, key, order.tags)
    try:
        result = order.call() if _tracing.tracer is None else _traced_call(cache, order)
        kept, ttl, tags = order.keep(result)
        if kept and taken > 0:
            with contextlib.suppress(FullError, TooBigError):  # the result is good all the same
                cache._lease_store(key, result, lease, ttl=ttl, tags=tags)
    finally:
        if taken > 0:
            cache._lease_end(lease)
    return result


def _traced_call(cache: Any, order: Order) -> Any:
    with traced_load(cache, 1) as results:
        results.append(order.call())
    return results[0]


async def afetch_with(
    cache: Any,
    key: Any,
    call: Callable[[], Awaitable[Any]],
    store: Callable[[Any], tuple[bool, Any, Iterable[Any]]],
    *,
    tags: Iterable[Any] = (),
    load_timeout: float = 10.0,
) -> Any:
    """fetch_with() for coroutine functions: the call runs in a task of its own."""
    loading = _loading_with_orders(cache, load_timeout)
    order = Order(call, store, tuple(tags), asynchronous=True)
    return (await loading.tasks.load(cache, {cache._key(key): key}, order=order)).popitem()[1]


def _loading_with_orders(cache: Any, load_timeout: float) -> Loading:
    by_timeout = _of_orders.setdefault(cache, {})
    loading = by_timeout.get(load_timeout)
    if loading is None:
        loading = by_timeout.setdefault(load_timeout, Loading(Options(absence=False, load_timeout=load_timeout)))
    return loading
