# SPDX-License-Identifier: Apache-2.0
"""memoize(): the results of functions, kept in a cache that all processes share.

What a hit needs is C (forebay._core._memoized); here is what happens once per
function, and on a miss.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from forebay._core import Arena, Cache, _memoized

_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)

CACHE_NAME = "memoize"
OMITTED: Any = ...


class CacheInfo(NamedTuple):
    """As functools': hits and misses of this process, and how many results all processes hold."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class MemoizedFunction(Protocol[_P, _R_co]):
    """What memoize() makes of a function."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """The result, from the cache if it is there."""

    def __get__(self, instance: Any, owner: Any = None, /) -> Callable[..., _R_co]:
        """A method of `instance`."""

    def cache_info(self) -> CacheInfo:
        """Goes through the keys of the cache."""

    def cache_clear(self) -> None:
        """Forget all results of the function, for all processes, in constant time."""

    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Forget the result of a call with these arguments: True if there was one."""

    def cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> tuple[str, bytes]:
        """Its key in the cache."""


def memoize(
    home: Arena | Cache[Any, Any] | Callable[[], Arena],
    function: Callable[..., Any] | None = None,
    /,
    *,
    ttl: float | timedelta | None | Callable[[Any], float | timedelta | None] = OMITTED,
    key: Callable[..., Any] | None = None,
    typed: bool = False,
    ignore: Iterable[str | int] = (),
    condition: Callable[[Any], bool] | None = None,
    name: str | None = None,
    tags: Iterable[Any] = (),
    lazy: bool = False,
) -> Any:
    """Arena.memoize() and Cache.memoize(); `home` may also be a function that opens the arena."""
    if function is None:
        return functools.partial(
            memoize, home, ttl=ttl, key=key, typed=typed, ignore=ignore, condition=condition, name=name, tags=tags, lazy=lazy
        )
    if not callable(function):
        raise TypeError(f"memoize() takes a function, not {type(function).__name__}; options go by name: memoize(ttl=60)")
    if isinstance(function, (classmethod, staticmethod)):
        raise TypeError("memoize() goes below @classmethod and @staticmethod, next to the function")
    if key is None and _is_method(function):
        raise TypeError(
            f"{function.__qualname__} is a method: memoize(key=...) must say what stands for the arguments, "
            "for example key=lambda self, number: (self.id, number)"
        )
    if isinstance(ignore, str):
        raise TypeError("ignore must be an iterable of names, not one str: ignore=[...]")
    if lazy and isinstance(home, Cache) and home.serializer != "msgpack":
        raise ValueError("memoize(lazy=True) needs a cache of Forebay's own encoding, not one with a serializer")
    skipped = frozenset(ignore)
    if skipped:
        key = _key_without(function, skipped, key)
    name = name if name is not None else f"{function.__module__}.{function.__qualname__}"
    tags = (name, *tags)

    def keep(result: Any) -> tuple[bool, Any, tuple[Any, ...]]:
        """Is it to be stored, for how long, with which tags?"""
        stored = condition is None or condition(result)
        return bool(stored), ttl(result) if stored and callable(ttl) else ttl, tags

    def miss(cache_key: tuple[str, bytes], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from forebay import _loading  # asyncio comes with it

        return _loading.fetch_with(memo.cache, cache_key, lambda: function(*args, **kwargs), keep, tags=tags)

    memo = _memoized(function, name, functools.partial(_resolve, home, lazy), miss, _digest, key, typed)
    wrapper: Any = memo
    if inspect.iscoroutinefunction(function):
        wrapper = _coroutine_function(memo, function, keep, tags)
    functools.update_wrapper(wrapper, function)
    wrapper.cache_info = functools.partial(_cache_info, memo, name)
    wrapper.cache_clear = lambda: Cache.invalidate_tag(memo.cache, name)
    wrapper.invalidate = lambda *args, **kwargs: Cache.delete(memo.cache, memo.cache_key(*args, **kwargs))
    if wrapper is not memo:
        wrapper.cache_key = memo.cache_key
    return wrapper


def _coroutine_function(
    memo: Any, function: Callable[..., Any], keep: Callable[[Any], tuple[bool, Any, Any]], tags: tuple[Any, ...]
) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value_or_key = memo._find(*args, **kwargs)
        if found:
            return value_or_key
        from forebay import _loading

        result: Any = await _loading.afetch_with(memo.cache, value_or_key, lambda: function(*args, **kwargs), keep, tags=tags)
        return memo._as_found(result)

    return wrapper


def _is_method(function: Callable[..., Any]) -> bool:
    """Defined in a class, with a first parameter that is the instance or the class, by its name."""
    qualified = getattr(function, "__qualname__", "").rpartition(".")[0]
    if not qualified or qualified.endswith("<locals>"):
        return False
    return next(iter(inspect.signature(function).parameters), None) in ("self", "cls")


def _key_without(
    function: Callable[..., Any], skipped: frozenset[str | int], key: Callable[..., Any] | None
) -> Callable[..., Any]:
    """A key function that leaves out the arguments of these names or positions."""
    if key is not None:
        raise TypeError("memoize() takes key= or ignore=, not both: leave it out in your key")
    signature = inspect.signature(function)
    names = list(signature.parameters)
    wrong = [each for each in skipped if (each >= len(names) if isinstance(each, int) else each not in names)]
    if wrong:
        raise ValueError(f"{function.__qualname__}() has no parameter {wrong[0]!r} to ignore")
    left_out = {names[each] if isinstance(each, int) else each for each in skipped}

    def key_of(*args: Any, **kwargs: Any) -> list[Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return [[each, value] for each, value in bound.arguments.items() if each not in left_out]

    return key_of


def _resolve(home: Any, lazy: bool) -> Any:
    """The cache for the results, at the first call."""
    if not isinstance(home, (Arena, Cache)):
        home = home()
    if not isinstance(home, Cache):
        return home.cache(CACHE_NAME, lazy=lazy)
    return _lazily(home) if lazy else home


def _lazily(cache: Cache[Any, Any]) -> Cache[Any, Any]:
    """A lazy handle that encodes as this one does; what a decode_hook would get comes as records."""
    _, (arena, name, version, serializer, _, memo, encode_hook, *_) = cache.__reduce__()
    lazy: Cache[Any, Any] = arena.cache(
        name, version=version, serializer=serializer, lazy=True, memo=memo, encode_hook=encode_hook
    )
    return lazy


def _digest(arguments: bytes) -> bytes:
    """Stands for arguments that are too long for a key; as good as unique (RFC 7693)."""
    return b"\xc1" + hashlib.blake2b(arguments, digest_size=32).digest()


def _cache_info(memo: Any, name: str) -> CacheInfo:
    held = sum(1 for key in memo.cache if type(key) is tuple and key[0] == name)
    return CacheInfo(memo._hits, memo._misses, None, held)
