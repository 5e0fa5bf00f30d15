# SPDX-License-Identifier: Apache-2.0
"""How a cache loads what is missing: the options of Arena.cache(), looked at once."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

OMITTED: Any = ...
_SECONDS_MAX = (2**32 - 1) / 1000  # the library counts milliseconds in 32 bits
_SHORTEST = 0.001  # a ttl is more than 0
TIER_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """Either load or load_many, or neither where every call brings its own function."""

    load: Callable[[Any], Any] | None = None
    load_many: Callable[[list[Any]], Any] | None = None
    asynchronous: bool = False  # the function is a coroutine function
    absence: bool = True  # a negative entry is an answer
    absent_ttl: float | None = None
    stale: float | None = None
    early: float | None = None
    jitter: float = 0.0
    max_batch: int = 1
    max_wait: float = 0.0
    load_timeout: float = 10.0
    tier: Any = None
    bus: Any = None

    @property
    def loads(self) -> bool:
        return self.load is not None or self.load_many is not None

    @property
    def batch(self) -> int:
        """Keys that are looked after together: a tier is asked for more than a loader is."""
        return self.max_batch if self.tier is None else max(self.max_batch, TIER_BATCH)

    def lifetime(self, ttl: float | None) -> Any:
        """Seconds that an entry of the cache's `ttl` is kept; OMITTED: as the cache says."""
        if ttl is None or (self.stale is None and not self.jitter):
            return OMITTED
        return self.shortened(ttl) + (self.stale or 0.0)

    def shortened(self, seconds: float) -> float:
        return max(seconds * (1.0 - self.jitter * random.random()), _SHORTEST)


def parse(
    *,
    load: Callable[[Any], Any] | None = None,
    load_many: Callable[[list[Any]], Any] | None = None,
    absent_ttl: float | timedelta | None = None,
    stale: float | timedelta | None = None,
    early: float | None = None,
    jitter: float = 0.0,
    max_batch: int = OMITTED,
    max_wait: float | timedelta = OMITTED,
    load_timeout: float | timedelta = 10.0,
    tier: Any = None,
    bus: Any = None,
) -> Options:
    """TypeError and ValueError say which option is wrong."""
    if tier is not None or bus is not None:
        bus = _bus(tier, bus)
        load, load_many, loads = _loaders(tier, load, load_many)
        max_batch = max_batch if loads or max_batch is not OMITTED else TIER_BATCH
    loader, name = _loader(load, load_many, bus is not None)
    if load is not None and not (max_batch is OMITTED and max_wait is OMITTED):
        raise TypeError("load= takes one key at a time: max_batch= and max_wait= go with load_many=")
    return Options(
        load=load,
        load_many=load_many,
        asynchronous=_is_coroutine_function(loader, name),
        absent_ttl=_more_than_zero(absent_ttl, "absent_ttl") if absent_ttl is not None else None,
        stale=_more_than_zero(stale, "stale") if stale is not None else None,
        early=_more_than_zero(_number(early, "early"), "early") if early is not None else None,
        jitter=_fraction(jitter, "jitter"),
        max_batch=_count(max_batch, "max_batch", 100) if load is None else 1,
        max_wait=seconds_of(max_wait, "max_wait") if max_wait is not OMITTED else 0.0,
        load_timeout=_timeout(load_timeout, "load_timeout"),
        tier=tier,
        bus=bus,
    )


def _bus(tier: Any, bus: Any) -> Any:
    """What tells the machines of changes: what is given, or what the tier can do itself."""
    from forebay.tiers import Bus, Tier

    if tier is not None and not isinstance(tier, Tier):
        raise TypeError(f"tier must be one of forebay.tiers, as forebay.tiers.Redis(client), not {type(tier).__name__}")
    if bus is not None and not isinstance(bus, Bus):
        raise TypeError(f"bus must be one of forebay.buses, as forebay.buses.Redis(client), not {type(bus).__name__}")
    if tier is not None and tier.bus is not None:
        from forebay.buses._united_bus import UnitedBus

        return tier.bus if bus is None else UnitedBus(tier, bus)
    return bus


def _loaders(tier: Any, load: Any, load_many: Any) -> tuple[Any, Any, bool]:
    """load, load_many, and whether one was given: with a tier there may be none.  Loader and tier are of one kind."""
    if tier is None:
        return load, load_many, True
    if load is not None and load_many is not None:
        return load, load_many, True  # refused where that is looked at
    name = "load" if load is not None else "load_many"
    loader = load if load is not None else load_many
    asynchronous = tier.asynchronous if loader is None else _is_coroutine_function(loader, name)
    if asynchronous != tier.asynchronous:
        raise TypeError(
            f"{name} is {'a coroutine' if asynchronous else 'a plain'} function, and the client of the tier is for "
            f"{'asyncio' if tier.asynchronous else 'threads'}: both must be of one kind"
        )
    if loader is None:
        return None, _nothing_async if asynchronous else _nothing, False
    return load, load_many, True


def _nothing(keys: list[Any]) -> Any:
    """Of a cache without a loader: what the tier does not have is absent."""
    return {}


async def _nothing_async(keys: list[Any]) -> Any:
    return {}


def seconds_of(value: float | timedelta, name: str) -> float:
    """Seconds of an argument: a number or a timedelta, not negative."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds (int or float) or a timedelta, not {type(value).__name__}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must not be negative, nor endless: {value!r}")
    return float(value)


def _loader(load: Any, load_many: Any, may_be_none: bool = False) -> tuple[Callable[..., Any] | None, str]:
    if load is not None and load_many is not None:
        raise TypeError("a cache loads by load= or by load_many=, not by both")
    if load is None and load_many is None:
        if may_be_none:
            return None, ""
        raise TypeError("these options are for a cache that loads: give load= or load_many= as well")
    loader, name = (load, "load") if load is not None else (load_many, "load_many")
    if not callable(loader):
        raise TypeError(f"{name} must be a function, not {type(loader).__name__}")
    return loader, name


def _is_coroutine_function(loader: Callable[..., Any] | None, name: str) -> bool:
    if loader is None:
        return False
    if inspect.isasyncgenfunction(loader):
        raise TypeError(f"{name} must return its result, not yield: it is an asynchronous generator")
    return inspect.iscoroutinefunction(loader) or inspect.iscoroutinefunction(getattr(loader, "__call__", None))


def _number(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return value


def _more_than_zero(value: float | timedelta, name: str) -> float:
    seconds = seconds_of(value, name)
    if seconds == 0:
        raise ValueError(f"{name} must be more than 0; leave it out for none")
    return seconds


def _timeout(value: float | timedelta, name: str) -> float:
    seconds = _more_than_zero(value, name)
    if seconds > _SECONDS_MAX:
        raise ValueError(f"{name} may be at most {_SECONDS_MAX:.0f} seconds: {value!r}")
    return seconds


def _fraction(value: float, name: str) -> float:
    if not 0 <= _number(value, name) <= 1:
        raise ValueError(f"{name} must be from 0 to 1: {value!r}")
    return float(value)


def _count(value: Any, name: str, default: int) -> int:
    if value is OMITTED:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1: {value!r}")
    return value
