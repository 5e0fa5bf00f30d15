# SPDX-License-Identifier: Apache-2.0
"""Loads of single keys, joined into batches and remembered: a DataLoader for asyncio.

    from forebay.batch import DataLoader

    async def users_of(ids):
        rows = await database.users(ids)
        return [rows.get(id) for id in ids]

    users = DataLoader(users_of)
    ada, grace = await asyncio.gather(users.load(1), users.load(2))  # one call: users_of([1, 2])

In place of aiodataloader's class of this name: same arguments, same methods.
Make one for each request; for what all requests and processes share there is

    users = DataLoader.of(cache)  # a forebay.Cache made with load= or load_many=

A DataLoader belongs to one event loop at a time and is used in its thread only.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import reprlib
from asyncio import AbstractEventLoop, Future, Task, _get_running_loop
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Set
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from forebay._core import Cache

__all__ = ["DataLoader"]

K = TypeVar("K")
V = TypeVar("V")
_V_co = TypeVar("_V_co", covariant=True)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_tasks: set[Task[Any]] = set()  # loops hold theirs weakly only


class _FetchesMany(Protocol[_Key, _V_co]):
    """What DataLoader.of() needs of a forebay.Cache."""

    def afetch_many(self, keys: list[_Key], /) -> Awaitable[Mapping[_Key, _V_co]]:
        """The values of those keys that have one."""


class DataLoader(Generic[K, V]):
    """Joins loads of single keys into calls of a batch function, and remembers what came.

    batch_load_fn: an async function that takes a list of keys and returns a list
    with a value for each, in their order; an exception in that list is raised for
    its key only.  Or a subclass has a method of this name.  Keys come in the
    order in which they were first loaded.

    batch: False calls it for each key by itself, at once.  max_batch_size: longer
    batches are split, and the parts run together; None: no limit.  cache: False
    forgets each value when it is delivered, and loads a key as often as asked.
    These three may also be attributes of a subclass.  get_cache_key (or a method of
    this name): what stands for a key that is not hashable, or is not what makes
    it the same.  cache_map: where futures are remembered, a dict unless given.
    loop: for use outside of it; else the running one.  Once that has ended, the
    next takes its place, with the values that have come; pending loads are left.

    TypeError, ValueError: for arguments that cannot be meant.  RuntimeError: a
    method is called in another loop or thread than that of the loop in use.
    """

    batch: bool = True
    max_batch_size: int | None = None
    cache: bool | None = True

    def __init__(
        self,
        batch_load_fn: Callable[[list[K]], Awaitable[Iterable[V | Exception]]] | None = None,
        batch: bool | None = None,
        max_batch_size: int | None = None,
        cache: bool | None = None,
        get_cache_key: Callable[[K], Any] | None = None,
        cache_map: MutableMapping[Any, Future[V]] | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> None:
        if isinstance(cache, Cache) or isinstance(cache_map, Cache):
            raise TypeError("a forebay.Cache keeps values, not futures: DataLoader.of(cache) loads from it")
        if batch_load_fn is not None:
            self.batch_load_fn = batch_load_fn  # type: ignore[method-assign]
        if batch is not None:
            self.batch = batch
        if max_batch_size is not None:
            self.max_batch_size = max_batch_size
        if cache is not None:
            self.cache = cache
        if get_cache_key is not None:
            self.get_cache_key = get_cache_key  # type: ignore[method-assign]
        self._check()
        self._cache_map: MutableMapping[Any, Future[V]] = {} if cache_map is None else cache_map
        self._queue: list[_Load[K, V]] = []
        self._loop_given = loop is not None
        self._loop = loop or _get_running_loop()

    def _check(self) -> None:
        if getattr(self.batch_load_fn, "__func__", None) is DataLoader.batch_load_fn:
            raise TypeError(
                "DataLoader needs a batch function: DataLoader(batch_load_fn), "
                "or a subclass with `async def batch_load_fn(self, keys)`"
            )
        if not callable(self.batch_load_fn):
            raise TypeError(f"batch_load_fn must be an async function, not {type(self.batch_load_fn).__name__}")
        if not callable(self.get_cache_key):
            raise TypeError(f"get_cache_key must be a function, not {type(self.get_cache_key).__name__}")
        if self.max_batch_size is not None and self.max_batch_size < 0:
            raise ValueError(f"max_batch_size must be a positive number or None, not {self.max_batch_size}")

    @classmethod
    def of(
        cls,
        shared: _FetchesMany[_Key, _Value],
        /,
        *,
        batch: bool | None = None,
        max_batch_size: int | None = None,
        cache: bool | None = None,
        get_cache_key: Callable[[_Key], Any] | None = None,
        cache_map: MutableMapping[Any, Future[_Value | None]] | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> DataLoader[_Key, _Value | None]:
        """A DataLoader of what the forebay.Cache `shared` has or loads: None for what there is not.

        One for each request, the cache for the whole machine: keys that a request
        wants together are one `await shared.afetch_many(keys)`, and a request sees
        one value of a key, whatever others do to it, until it calls clear().  That
        forgets it here only; shared.invalidate(key) does so for everybody.

        The options are those of the class.  TypeError: `shared` is not such a cache.
        """
        if not callable(getattr(shared, "afetch_many", None)):
            raise TypeError(
                f"DataLoader.of() takes a forebay.Cache made with load= or load_many=, not {type(shared).__name__}"
            )

        async def fetched(keys: list[_Key]) -> list[_Value | None]:
            found = await shared.afetch_many(list(dict.fromkeys(keys)))
            return [found.get(key) for key in keys]

        make = cast("type[DataLoader[_Key, _Value | None]]", cls)
        return make(fetched, batch, max_batch_size, cache, get_cache_key, cache_map, loop)

    def batch_load_fn(self, keys: list[K], /) -> Awaitable[Iterable[V | Exception]]:
        """The batch function: the constructor's argument, or a subclass's method."""
        raise NotImplementedError

    def get_cache_key(self, key: K, /) -> Any:
        """What stands for a key in cache_map: the key itself, unless the constructor or a subclass says otherwise."""
        return key

    @property
    def loop(self) -> AbstractEventLoop:
        """The event loop in use.  RuntimeError: another one is running here, or this one in another thread."""
        running = _get_running_loop()
        bound = self._loop
        if running is not None and running is bound:
            return running
        if bound is not None and (bound.is_running() or self._loop_given and running is not None):
            raise RuntimeError(
                "this DataLoader belongs to another event loop or thread: make one for each request, where it is used"
            )
        if bound is None or running is not None or bound.is_closed() and not self._loop_given:
            bound = self._loop = running or asyncio.get_event_loop()
            self._queue = []  # the old one's dispatch, if it still comes, has its own reference
        return bound

    def load(self, key: K) -> Future[V]:
        """A future of the value of a key: remembered, on its way, or asked for in the next batch.

        The batch begins when the loop has run what is ready now, and what that
        makes ready.  Futures of the same load are equal; each may be cancelled
        without a change for the others, and the load goes on without any.

        A failed batch raises its error for each of its keys and is not remembered.
        An exception for a single key is remembered, until clear().

        TypeError: the key is None, or not hashable while there is no get_cache_key.
        """
        if key is None:
            raise TypeError("load() takes a key, not None")
        loop = self._loop
        if loop is None or loop is not _get_running_loop():
            loop = self.loop
        cache_key = self.get_cache_key(key)
        known = self._known(loop, cache_key) if self.cache else None
        if known is not None:
            return known.joined() if isinstance(known, _Load) else known
        load: _Load[K, V] = _Load(loop, key, cache_key)
        if self.cache:
            self._cache_map[cache_key] = load
        try:
            self._enqueue(load)
        except BaseException:  # the loop is closed
            self._forget(load)
            raise
        return load

    def load_many(self, keys: Iterable[K]) -> Future[list[V]]:
        """A future of the list of the keys' values, in their order; of the first error, if there is one.

        TypeError: `keys` is not iterable, or load() refuses one of them.
        """
        if not isinstance(keys, Iterable):
            raise TypeError(f"load_many() takes an iterable of keys, not {type(keys).__name__}; load() takes one key")
        loads = [self.load(key) for key in keys]
        if not loads:
            nothing: Future[list[V]] = self.loop.create_future()
            nothing.set_result([])
            return nothing
        values = asyncio.gather(*loads)
        values.add_done_callback(_see_error)
        return values

    def clear(self, key: K) -> Self:
        """Forget a key, so that the next load asks again; what waits for it now still gets it.  Returns the loader."""
        self._cache_map.pop(self.get_cache_key(key), None)
        return self

    def clear_all(self) -> Self:
        """Forget all keys.  Returns the loader."""
        self._cache_map.clear()
        return self

    def prime(self, key: K, value: V | Exception) -> Self:
        """Remember a value (an exception: to be raised) unless something is known of the key.  Returns the loader."""
        loop = self.loop
        cache_key = self.get_cache_key(key)
        if self._known(loop, cache_key) is None:
            self._remember(loop, cache_key, value)
        return self

    def _known(self, loop: AbstractEventLoop, cache_key: Any) -> Future[V] | None:
        """The remembered future that can be waited for in this loop."""
        try:
            future = self._cache_map.get(cache_key)
        except TypeError as error:
            raise TypeError(f"{error}; keys that are not hashable need get_cache_key=, or cache=False") from error
        if future is None:
            return None
        if future.get_loop() is not loop:
            return self._brought(loop, cache_key, future)
        if future.cancelled() and not (isinstance(future, _Load) and future.under_way):
            return None
        return future

    def _brought(self, loop: AbstractEventLoop, cache_key: Any, future: Future[V]) -> Future[V] | None:
        """What came in another loop, which has ended; what had not come by then never will."""
        if future.cancelled() or not future.done():
            return None
        error = future.exception()
        return self._remember(loop, cache_key, future.result() if error is None else error)

    def _remember(self, loop: AbstractEventLoop, cache_key: Any, value: V | BaseException) -> Future[V]:
        future: Future[V] = loop.create_future()
        _settle(future, value)
        self._cache_map[cache_key] = future
        return future

    def _enqueue(self, load: _Load[K, V]) -> None:
        loop = load.get_loop()
        if not self.batch:
            self._begin(loop, [load])
            return
        if not self._queue:  # soon after soon: what tasks load that are ready now, or made by these, comes along
            loop.call_soon(loop.call_soon, self._dispatch, loop, self._queue)
        self._queue.append(load)

    def _dispatch(self, loop: AbstractEventLoop, queue: list[_Load[K, V]]) -> None:
        if queue is self._queue:
            self._queue = []
        size = self.max_batch_size or len(queue)
        for start in range(0, len(queue), size):
            self._begin(loop, queue[start : start + size])

    def _begin(self, loop: AbstractEventLoop, loads: list[_Load[K, V]]) -> None:
        task = loop.create_task(self._run(loads))
        _tasks.add(task)
        task.add_done_callback(functools.partial(self._end, loads))

    async def _run(self, loads: list[_Load[K, V]]) -> None:
        answer = await self._answer([load.key for load in loads])
        if isinstance(answer, Exception):
            for load in loads:
                load.settle(answer)
                self._forget(load)
            return
        for load, value in zip(loads, answer, strict=True):
            load.settle(value)
            if load.cancelled() and self._remembers(load):
                self._remember(load.get_loop(), load.cache_key, value)

    def _end(self, loads: list[_Load[K, V]], task: Task[None]) -> None:
        """A callback, so that it is called even for a task that is cancelled before it begins."""
        _tasks.discard(task)
        _see_error(task)
        for load in loads:
            if load.under_way:  # cancelled, or the interpreter is about to end
                load.give_up()
                self._forget(load)

    async def _answer(self, keys: list[K]) -> list[V | Exception] | Exception:
        """Returns errors: one that is raised further keeps the frames alive that it goes through, and so the loads."""
        try:
            return await self._values(keys)
        except Exception as error:
            return error

    async def _values(self, keys: list[K]) -> list[V | Exception]:
        """What the batch function returns for the keys, checked."""
        wanted = len(keys)
        answer = self.batch_load_fn(keys)
        if not inspect.isawaitable(answer):
            raise TypeError(
                f"batch_load_fn returned {type(answer).__name__}, which cannot be awaited: "
                "it must be an `async def` function that returns a list"
            )
        values = await answer
        if isinstance(values, (Mapping, Set, str, bytes)) or not isinstance(values, Iterable):
            raise TypeError(
                f"batch_load_fn returned {type(values).__name__}: it must return a list with a value for each key, "
                "in the order of the keys, for example [found.get(key) for key in keys]"
            )
        values = list(values)
        if len(values) != wanted:
            raise TypeError(
                f"batch_load_fn returned {len(values)} values for {wanted} keys: it must return one for each, "
                "in the order of the keys, None or an exception where there is none; "
                f"keys: {reprlib.repr(keys)}, values: {reprlib.repr(values)}"
            )
        return values

    def _remembers(self, load: _Load[K, V]) -> bool:
        """Still, and not another in its place."""
        return bool(self.cache) and self._cache_map.get(load.cache_key) is load

    def _forget(self, load: _Load[K, V]) -> None:
        if self._remembers(load):
            self._cache_map.pop(load.cache_key, None)


class _Load(Future[V], Generic[K, V]):
    """A key that is loaded, and the future of the caller who began it.  Others join with futures of their own:
    asyncio cancels the future that a cancelled task waits for, which must not be theirs."""

    def __init__(self, loop: AbstractEventLoop, key: K, cache_key: Any) -> None:
        super().__init__(loop=loop)
        self.key = key
        self.cache_key = cache_key
        self.under_way = True
        self.waiters: list[_Waiter[V]] = []

    def joined(self) -> Future[V]:
        """For another caller to wait for."""
        if not self.under_way:
            return self
        waiter = _Waiter(self)
        self.waiters.append(waiter)
        return waiter

    def settle(self, value: V | Exception) -> None:
        for future in self._pending_ones():
            _settle(future, value)

    def give_up(self) -> None:
        for future in self._pending_ones():
            future.cancel()

    def _pending_ones(self) -> list[Future[V]]:
        futures = [future for future in (self, *self.waiters) if not future.done()]
        self.under_way = False
        self.waiters.clear()
        return futures


class _Waiter(Future[V]):
    """What one caller waits for; equal to the others of its load, as if load() had returned the same future."""

    def __init__(self, load: _Load[Any, V]) -> None:
        super().__init__(loop=load.get_loop())
        self._load = load

    def __eq__(self, other: object) -> bool:
        return self._load is (other._load if isinstance(other, _Waiter) else other)

    def __hash__(self) -> int:
        return hash(self._load)


def _settle(future: Future[V], value: V | BaseException) -> None:
    """A value, or an exception to raise."""
    if isinstance(value, StopIteration):  # futures do not take it
        reason, value = value, RuntimeError(f"StopIteration for a key: {value!r}")
        value.__cause__ = reason
    if isinstance(value, Exception):
        future.set_exception(value)
        _see_error(future)
    else:
        future.set_result(cast(V, value))


def _see_error(future: Future[Any]) -> None:
    """Nothing is printed when nobody ever waits for it."""
    if not future.cancelled():
        future.exception()
