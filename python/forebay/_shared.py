# SPDX-License-Identifier: Apache-2.0
"""A cache that machines share: behind it a tier, or a bus over which they tell each other what changed.

Arena.cache() makes one where tier= or bus= is given.  Reads are those of every cache,
in C; what writes tells the other machines, so it is here.  docs/guides/tiers.md,
docs/guides/coherence.md."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator, Mapping
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
            loading.flights.listener = listener = options.bus.follow(self)
            if tier is not None and self._tier_part() is not None and tier.tier.bus is not None:
                tier.is_believed = lambda: listener.is_heard(options.bus.max_stale)

    def _tier_part(self) -> TierOfCache | None:
        """For a bus: of a tier that does not say itself what the bus says."""
        parts = _parts[self]
        return None if parts.tier is None or parts.tier.tier.bus is parts.bus else parts.tier

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
        _refuse_asynchronous(_parts[self], "delete", "adelete")
        with self._told_later(keys):
            count = self._delete_many(keys)
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
        """set() for a tier, or a bus, on an asyncio client."""
        await self.aset_many([(key, value)], ttl=ttl)

    async def aset_many(self, items: Any, /, *, ttl: Any = OMITTED) -> None:
        """set_many() for a tier, or a bus, on an asyncio client."""
        pairs = _pairs(items)
        if not pairs:
            return
        tier, keys = _parts[self].tier, [key for key, _ in pairs]
        with self._told_later(keys):
            if tier is not None and tier.tier.asynchronous:
                await tier.awrite(self, pairs, ttl)
            else:
                self._set_many(pairs, ttl)
        await self._atell(keys)

    async def adelete(self, key: Any, /) -> bool:
        """delete() for a tier, or a bus, on an asyncio client."""
        return await self.adelete_many([key]) > 0

    async def adelete_many(self, keys: Iterable[Any], /) -> int:
        """delete_many() for a tier, or a bus, on an asyncio client."""
        keys, tier = _list_of(keys), _parts[self].tier
        with self._told_later(keys):
            if tier is not None and tier.tier.asynchronous:
                count = await tier.adelete(self, keys)
            else:
                count = self._delete_many(keys)
        await self._atell(keys)
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
        _refuse_asynchronous(_parts[self], "set", "aset")
        keys = [key for key, _ in pairs]
        with self._told_later(keys):
            self._set_many(pairs, ttl)
        self._tell(keys)

    def _set_many(self, pairs: list[tuple[Any, Any]], ttl: Any) -> None:
        tier = _parts[self].tier
        if tier is None:
            Cache.set_many(self, pairs, ttl=ttl)
        else:
            tier.write(self, pairs, ttl)

    def _delete_many(self, keys: list[Any]) -> int:
        tier = _parts[self].tier
        return Cache.delete_many(self, keys) if tier is None else tier.delete(self, keys)

    # ---- the bus ----

    def _tell(self, keys: list[Any]) -> None:
        bus = _parts[self].bus
        if bus is not None:
            bus.tell(self, keys)

    async def _atell(self, keys: list[Any]) -> None:
        bus = _parts[self].bus
        if bus is not None:
            await bus.atell(self, keys)

    @contextlib.contextmanager
    def _told_later(self, keys: list[Any]) -> Iterator[None]:
        """Cancelled, or by Ctrl-C, a write is cut short: nobody knows how far it came."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            bus = _parts[self].bus
            if bus is not None:
                bus.owe(self, keys)
            raise

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


def _refuse_asynchronous(parts: _Parts, method: str, instead: str) -> None:
    tier = None if parts.tier is None else parts.tier.tier
    for what, part in (("tier", tier), ("bus", parts.bus)):
        if part is not None and part.asynchronous:
            raise TypeError(f"the client of the {what} is for asyncio: use `await cache.{instead}()` for {method}()")
