# SPDX-License-Identifier: Apache-2.0
"""What makes a cache a mapping: views of its keys, values and items, and namespaces.

A cache changes while it is gone through, for other processes use it too; what
is gone by the time it is looked at is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Set, ValuesView
from datetime import timedelta
from typing import Any, Final

from forebay._core import Cache, MissError, View

MISSING: Final = object()


def _pairs(mapping: Any) -> Iterator[tuple[Any, Any]]:
    """One by one: 1 and True are two keys here, which no dict of a batch could hold."""
    for key in mapping:
        value = mapping.get(key, MISSING)
        if value is not MISSING:
            yield key, value


def popitem(mapping: Any) -> tuple[Any, Any]:
    """Cache.popitem()."""
    for key in mapping:
        value = mapping.pop(key, MISSING)
        if value is not MISSING:
            return key, value
    raise MissError(f"{mapping!r} is empty")


def setdefault(mapping: Any, key: Any, default: Any = None) -> Any:
    """Cache.setdefault(): as get_or_set(), but never calls `default`."""
    return mapping.get_or_set(key, lambda: default)


def update(mapping: Any, *items: Any, **more: Any) -> None:
    """Cache.update()."""
    if len(items) > 1:
        raise TypeError(f"update() takes at most 1 positional argument, {len(items)} given")
    for each in (*items, more):
        mapping.set_many(each)


class CacheKeys(KeysView[Any]):
    """The keys of a cache or namespace."""


class CacheValues(ValuesView[Any]):
    """The values of a cache or namespace."""

    _mapping: Any

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in _pairs(self._mapping))

    def __contains__(self, value: object) -> bool:
        return any(value is each or value == each for each in self)


class CacheItems(Set[Any]):
    """The pairs of key and value of a cache or namespace."""

    def __init__(self, mapping: Any) -> None:
        self._mapping = mapping

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return _pairs(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        value = self._mapping.get(item[0], MISSING)
        return value is item[1] or bool(value == item[1])

    @classmethod
    def _from_iterable(cls, items: Iterable[Any]) -> Any:
        return set(items)

    def __repr__(self) -> str:
        return f"CacheItems({self._mapping!r})"


class Namespace:
    """The entries of a cache whose keys are tuples (prefix, key), by those keys alone.

    Made by Cache.namespace().  Everything else is the cache's: its limits, its
    options, its tags.  len() and clear() go through the whole cache.
    """

    __slots__ = ("_cache", "_prefix")

    def __init__(self, cache: Cache[Any, Any], prefix: Any) -> None:
        cache.get((prefix, 0))  # a prefix that is no key is refused here
        self._cache = cache
        self._prefix = prefix

    @property
    def cache(self) -> Cache[Any, Any]:
        """The cache this is a part of."""
        return self._cache

    @property
    def prefix(self) -> Any:
        """What all its keys begin with."""
        return self._prefix

    def namespace(self, prefix: Any, /) -> Namespace:
        """The part whose keys begin with `prefix` in turn: in the cache, (self.prefix, (prefix, key))."""
        return _Nested(self, prefix)

    def _full(self, key: Any) -> Any:
        return (self._prefix, key)

    def _own(self, key: Any) -> Any:
        """The key without the prefix; MISSING if it is not of this namespace."""
        if type(key) is tuple and len(key) == 2 and type(key[0]) is type(self._prefix) and key[0] == self._prefix:
            return key[1]
        return MISSING

    def get(self, key: Any, /, default: Any = None) -> Any:
        return self._cache.get(self._full(key), default)

    def lazy(self, key: Any, /, default: Any = None) -> Any:
        return self._cache.lazy(self._full(key), default)

    def gets(self, key: Any, /) -> tuple[Any, int]:
        return self._cache.gets(self._full(key))

    def set(self, key: Any, value: Any, /, **options: Any) -> None:
        self._cache.set(self._full(key), value, **options)

    def add(self, key: Any, value: Any, /, **options: Any) -> bool:
        return self._cache.add(self._full(key), value, **options)

    def replace(self, key: Any, value: Any, /, **options: Any) -> bool:
        return self._cache.replace(self._full(key), value, **options)

    def cas(self, key: Any, value: Any, token: int, /, **options: Any) -> bool:
        return self._cache.cas(self._full(key), value, token, **options)

    def get_or_set(self, key: Any, default: Callable[[], Any] | Any, /, **options: Any) -> Any:
        return self._cache.get_or_set(self._full(key), default, **options)

    def set_absent(self, key: Any, /, **options: Any) -> None:
        self._cache.set_absent(self._full(key), **options)

    def is_absent(self, key: Any, /) -> bool:
        return self._cache.is_absent(self._full(key))

    def delete(self, key: Any, /) -> bool:
        return self._cache.delete(self._full(key))

    def pop(self, key: Any, /, *default: Any) -> Any:
        return self._cache.pop(self._full(key), *default)

    def touch(self, key: Any, /, *, ttl: float | timedelta | None = ...) -> bool:  # type: ignore[assignment]
        return self._cache.touch(self._full(key), ttl=ttl)

    def incr(self, key: Any, delta: int = 1, /, **options: Any) -> int:
        return self._cache.incr(self._full(key), delta, **options)

    def decr(self, key: Any, delta: int = 1, /, **options: Any) -> int:
        return self._cache.decr(self._full(key), delta, **options)

    def get_many(self, keys: Iterable[Any], /) -> dict[Any, Any]:
        full = {self._full(key): key for key in _no_single_key(keys, "get_many")}
        return {full[key]: value for key, value in self._cache.get_many(list(full)).items()}

    def set_many(self, items: Mapping[Any, Any] | Iterable[tuple[Any, Any]], /, **options: Any) -> None:
        pairs = items.items() if isinstance(items, Mapping) else items
        self._cache.set_many([(self._full(key), value) for key, value in pairs], **options)

    def delete_many(self, keys: Iterable[Any], /) -> int:
        return self._cache.delete_many([self._full(key) for key in _no_single_key(keys, "delete_many")])

    def invalidate_tag(self, tag: Any, /) -> None:
        """The tags are those of the whole cache."""
        self._cache.invalidate_tag(tag)

    def clear(self) -> None:
        """Delete the entries of this namespace; goes through the whole cache.

        TypeError: the cache is shared by machines, of which each has other entries."""
        loading = self._cache._loading
        if loading is not None and loading.shares:
            raise TypeError(f"clear() is for caches of one machine, and others share {self._cache.name!r}")
        for key in self:
            self.delete(key)

    def view(self, key: Any, /) -> View:
        return self._cache.view(self._full(key))

    def keys(self) -> CacheKeys:
        return CacheKeys(self)

    def values(self) -> CacheValues:
        return CacheValues(self)

    def items(self) -> CacheItems:
        return CacheItems(self)

    def popitem(self) -> tuple[Any, Any]:
        return popitem(self)

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        return setdefault(self, key, default)

    def update(self, *items: Any, **more: Any) -> None:
        update(self, *items, **more)

    def __getitem__(self, key: Any) -> Any:
        return self._cache[self._full(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._cache[self._full(key)] = value

    def __delitem__(self, key: Any) -> None:
        del self._cache[self._full(key)]

    def __contains__(self, key: Any) -> bool:
        return self._full(key) in self._cache

    def __iter__(self) -> Iterator[Any]:
        return (own for key in self._cache if (own := self._own(key)) is not MISSING)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<forebay.Namespace {self._prefix!r} of {self._cache!r}>"


class _Nested(Namespace):
    """A namespace in a namespace."""

    __slots__ = ("_outer",)

    def __init__(self, outer: Namespace, prefix: Any) -> None:
        super().__init__(outer.cache, prefix)
        self._outer = outer

    def _full(self, key: Any) -> Any:
        return self._outer._full((self._prefix, key))

    def _own(self, key: Any) -> Any:
        return super()._own(self._outer._own(key))


def _no_single_key(keys: Iterable[Any], function: str) -> Iterable[Any]:
    if isinstance(keys, (str, bytes)):
        raise TypeError(f"{function}() takes an iterable of keys, not one {type(keys).__name__}")
    return keys
