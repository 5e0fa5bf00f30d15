# SPDX-License-Identifier: Apache-2.0
"""A cache that machines share: behind it a tier, or a bus over which they tell each other what changed.

Arena.cache() makes one where tier= or bus= is given.  Reads are those of every cache,
in C; what writes tells the other machines, so it is here.  docs/tiers.md,
docs/coherence.md."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from forebay._core import Cache, MissError
from forebay._loading_options import OMITTED

if TYPE_CHECKING:
    from forebay._loading import Loading
    from forebay.tiers._tier import TierOfCache

_OMITTED_DEFAULT: Any = object()
_parts: weakref.WeakKeyDictionary[Any, _Parts] = weakref.WeakKeyDictionary()


class _Parts:
    """What belongs to one SharedCache: it has no room for attributes."""

    __slots__ = ("bus", "tier")

    def __init__(self, tier: TierOfCache | None, bus: Any) -> None:
        self.tier = tier
        self.bus = bus


def _pairs(items: Any) -> list[tuple[Any, Any]]:
    if isinstance(items, Mapping) or hasattr(items, "keys"):
        return [(key, items[key]) for key in items.keys()]  # noqa: SIM118: what dict.update() asks
    return [(key, value) for key, value in items]


class SharedCache(Cache[Any, Any]):
    """A cache of an arena whose entries other machines have, too.  See Cache for what it reads.

    set, set_many, delete, delete_many, invalidate and pop reach the tier, or the bus, before
    they return, and never fail because of it: what could not be told is told later, and entries have a
    maximum age.  What changes an entry by what it is here (add, replace, incr, cas, touch, ...) is
    refused: other machines may have another value."""

    __slots__ = ()

    def _attach(self, loading: Loading) -> None:
        options = loading.options
        tier = None if options.tier is None else options.tier.bind(self, options)
        loading.flights.tier = tier
        _parts[self] = _Parts(tier, options.bus)
        if options.bus is not None:
            loading.flights.listener = options.bus.follow(self)

    def _delete_here(self, key: Any) -> bool:
        return Cache.delete(self, key)

    # ---- writes ----

    def set(self, key: Any, value: Any, /, *, ttl: Any = OMITTED, tags: Iterable[Any] | None = ()) -> None:
        """Cache.set(), for all machines; without tags."""
        _refuse_tags(tags)
        self._write([(key, value)], ttl)

    def set_many(self, items: Any, /, *, ttl: Any = OMITTED, tags: Iterable[Any] | None = ()) -> None:
        """Cache.set_many(), for all machines, in one round trip; without tags."""
        _refuse_tags(tags)
        if pairs := _pairs(items):
            self._write(pairs, ttl)

    def delete(self, key: Any, /) -> bool:
        """Cache.delete(), for all machines: True if there was one here."""
        return self.delete_many([key]) > 0

    def delete_many(self, keys: Iterable[Any], /) -> int:
        """Cache.delete_many(), for all machines, in one round trip: how many were here."""
        keys = _list_of(keys)
        parts = _parts[self]
        if parts.tier is None:
            count = Cache.delete_many(self, keys)
        else:
            _refuse_asynchronous(parts.tier, "delete", "adelete")
            count = parts.tier.delete(self, keys)
        self._tell(keys)
        return count

    def invalidate(self, key: Any, /) -> bool:
        """delete(): what any machine is loading for the key now is not stored."""
        return self.delete(key)

    def pop(self, key: Any, default: Any = _OMITTED_DEFAULT, /) -> Any:
        """Cache.pop(): the value that was here; the key is gone from all machines."""
        found = self.get(key, _OMITTED_DEFAULT)
        self.delete(key)
        if found is not _OMITTED_DEFAULT:
            return found
        if default is _OMITTED_DEFAULT:
            raise MissError(f"no entry for the key {key!r} in cache {self.name!r}")
        return default

    async def aset(self, key: Any, value: Any, /, *, ttl: Any = OMITTED) -> None:
        """set() for a tier on an asyncio client."""
        await self.aset_many([(key, value)], ttl=ttl)

    async def aset_many(self, items: Any, /, *, ttl: Any = OMITTED) -> None:
        """set_many() for a tier on an asyncio client."""
        tier = _parts[self].tier
        if tier is None or not tier.tier.asynchronous:
            self.set_many(items, ttl=ttl)
        elif pairs := _pairs(items):
            await tier.awrite(self, pairs, ttl)
            self._tell([key for key, _ in pairs])

    async def adelete(self, key: Any, /) -> bool:
        """delete() for a tier on an asyncio client."""
        return await self.adelete_many([key]) > 0

    async def adelete_many(self, keys: Iterable[Any], /) -> int:
        """delete_many() for a tier on an asyncio client."""
        keys = _list_of(keys)
        tier = _parts[self].tier
        if tier is None or not tier.tier.asynchronous:
            return self.delete_many(keys)
        count = await tier.adelete(self, keys)
        self._tell(keys)
        return count

    async def ainvalidate(self, key: Any, /) -> bool:
        """invalidate() for a tier on an asyncio client."""
        return await self.adelete(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Any) -> None:
        if not self.delete(key):
            raise MissError(f"no entry for the key {key!r} in cache {self.name!r}")

    def _write(self, pairs: list[tuple[Any, Any]], ttl: Any) -> None:
        parts = _parts[self]
        if parts.tier is None:
            Cache.set_many(self, pairs, ttl=ttl)
        else:
            _refuse_asynchronous(parts.tier, "set", "aset")
            parts.tier.write(self, pairs, ttl)
        self._tell([key for key, _ in pairs])

    def _tell(self, keys: list[Any]) -> None:
        bus = _parts[self].bus
        if bus is not None:
            bus.tell(self, keys)

    # ---- refused ----

    def add(self, key: Any, value: Any, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("add")

    def replace(self, key: Any, value: Any, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("replace")

    def incr(self, key: Any, delta: int = 1, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("incr")

    def decr(self, key: Any, delta: int = 1, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("decr")

    def touch(self, key: Any, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("touch")

    def cas(self, key: Any, value: Any, token: Any, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("cas")

    def get_or_set(self, key: Any, default: Any, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("get_or_set", "fetch() with load= is the way")

    def setdefault(self, key: Any, default: Any = None, /) -> NoReturn:
        """Refused."""
        self._refuse("setdefault", "fetch() with load= is the way")

    def set_absent(self, key: Any, /, **options: Any) -> NoReturn:
        """Refused."""
        self._refuse("set_absent", "absent_ttl= with load= is the way")

    def popitem(self) -> NoReturn:
        """Refused."""
        self._refuse("popitem")

    def prime(self, items: Any, *, ttl: Any = OMITTED) -> NoReturn:
        """Refused."""
        self._refuse("prime", "set_many() is the way")

    def invalidate_tag(self, tag: Any, /) -> NoReturn:
        """Refused."""
        self._refuse("invalidate_tag", "tags are one machine's")

    def clear(self) -> NoReturn:
        """Refused."""
        self._refuse("clear", "open the cache with another version=, or use a tier with another prefix=")

    def _refuse(self, method: str, advice: str = "set() and delete() reach them all") -> NoReturn:
        raise TypeError(f"{method}() is for caches of one machine, and others share {self.name!r}: {advice}")


def _list_of(keys: Iterable[Any]) -> list[Any]:
    if isinstance(keys, (str, bytes)):
        raise TypeError(f"delete_many() takes an iterable of keys, not one {type(keys).__name__}")
    return list(keys)


def _refuse_tags(tags: Iterable[Any] | None) -> None:
    if tags is not None and list(tags):
        raise TypeError("tags are one machine's: a cache that others share takes none")


def _refuse_asynchronous(tier: TierOfCache, method: str, instead: str) -> None:
    if tier.tier.asynchronous:
        raise TypeError(f"the client of the tier is for asyncio: use `await cache.{instead}()` for {method}()")
