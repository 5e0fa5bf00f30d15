# SPDX-License-Identifier: Apache-2.0
"""Hashes and strings of Redis or Valkey, where it is the database, by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from forebay._core import ABSENT
from forebay.sources._shape import SourceError, shown

Template = str | Callable[[Any], str | bytes]

_FORMS = ("hash", "json", "bytes")
_CLIENTS = "redis.Redis, redis.RedisCluster, those of redis.asyncio, or the same of valkey"


class Redis:
    """Hashes, or strings, of Redis or Valkey, by key: for `load_many=`.

        users = arena.cache("users", load_many=forebay.sources.Redis(client, key="user:{}"))

    client: a Redis or RedisCluster of redis-py, a Valkey or ValkeyCluster of valkey-py; with
    those of redis.asyncio and valkey.asyncio the source is a coroutine function.

    key: the server's key, with {} for the cache's, or several for keys that are tuples
    ("user:{}:{}"; braces are doubled); or a function that makes it.  form: "hash": a dict
    of a hash; "json": what is in a string as JSON; "bytes": the string.  fields: of a hash,
    all if None; those that it does not have are None, and one that has none of them is
    absent.  encoding: of names and values of hashes that the client gives as bytes; with
    None values stay bytes.  row(value): makes the value that is cached.

    One pipeline for each call, with a cluster one for each node.  What is wrong with one
    key (WRONGTYPE, JSON that is none) is the outcome of that key alone.

    SourceError: the server is a replica, which may show the past.  So may what a client
    reads from replicas: ValueError."""

    def __init__(
        self,
        client: Any,
        *,
        key: Template,
        form: Literal["hash", "json", "bytes"] = "hash",
        fields: Sequence[str] | None = None,
        encoding: str | None = "utf-8",
        row: Callable[[Any], Any] | None = None,
    ) -> None:
        self.__class__ = _AsyncRedis if _is_async(client) else _SyncRedis
        _refuse_replicas(client)
        self._client = client
        self._name_of = _naming(key)
        self._command = _command(form, fields)
        self._read = _reading(form, fields, encoding)
        self._row = row
        self._asks_role = not _is_cluster(client)  # nodes of a cluster send those who ask a replica to the primary
        if row is not None and not callable(row):
            raise TypeError(f"row is a function that takes a value, not {type(row).__name__}")

    def __call__(self, keys: Iterable[Any]) -> Any:
        """What there is of these keys."""
        raise NotImplementedError

    def _names(self, keys: Iterable[Any], found: dict[Any, Any]) -> dict[Any, str | bytes]:
        """The server's keys; for keys that have none, TypeErrors are found."""
        names: dict[Any, str | bytes] = {}
        for key in keys:
            try:
                names[key] = self._name_of(key)
            except TypeError as error:
                found[key] = error
        return names

    def _fill(self, pipeline: Any, names: Iterable[str | bytes]) -> None:
        if self._asks_role:
            pipeline.role()
        for name in names:
            self._command(pipeline, name)

    def _gather(self, keys: Iterable[Any], answers: list[Any], found: dict[Any, Any]) -> dict[Any, Any]:
        if self._asks_role:
            _require_primary(answers.pop(0))
        for key, answer in zip(keys, answers):
            value = answer if isinstance(answer, Exception) else self._value_of(key, answer)
            if value is not ABSENT:
                found[key] = value
        return found

    def _value_of(self, key: Any, answer: Any) -> Any:
        """ABSENT: there is none; an exception: it is not what the form says."""
        try:
            value = self._read(answer)
        except ValueError as error:
            error.add_note(f"in the value of the key {shown(key)}")
            return error
        return value if value is ABSENT or self._row is None else self._row(value)


class _SyncRedis(Redis):
    def __call__(self, keys: Iterable[Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        names = self._names(keys, found)
        if not names:
            return found
        with _pipeline(self._client) as pipeline:
            self._fill(pipeline, names.values())
            return self._gather(names, pipeline.execute(raise_on_error=False), found)


class _AsyncRedis(Redis):
    async def __call__(self, keys: Iterable[Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        names = self._names(keys, found)
        if not names:
            return found
        async with _pipeline(self._client) as pipeline:
            self._fill(pipeline, names.values())
            return self._gather(names, await pipeline.execute(raise_on_error=False), found)


# ---- clients ----


def _is_async(client: Any) -> bool:
    """TypeError: it is none of the clients."""
    for kind in type(client).__mro__:
        driver, _, rest = kind.__module__.partition(".")
        if driver in ("redis", "valkey") and hasattr(client, "pipeline") and not hasattr(client, "execute"):
            return rest.startswith("asyncio")
    raise TypeError(f"Redis() reads with {_CLIENTS}, not with {type(client).__module__}.{type(client).__qualname__}")


def _is_cluster(client: Any) -> bool:
    return any(kind.__name__ in ("RedisCluster", "ValkeyCluster") for kind in type(client).__mro__)


def _refuse_replicas(client: Any) -> None:
    if getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None):
        raise ValueError(
            "this client reads from replicas, which may show the past: what was changed would be cached as it was before; "
            "give Redis() a client without read_from_replicas and load_balancing_strategy"
        )


def _require_primary(role: Any) -> None:
    """role: the answer to ROLE; an error where a user or a proxy may not ask."""
    if not isinstance(role, (list, tuple)) or not role:
        return
    name = role[0].decode() if isinstance(role[0], bytes) else role[0]
    if name in ("slave", "replica"):
        raise SourceError("the server is a replica, which may show the past: connect to the primary")


def _pipeline(client: Any) -> Any:
    return client.pipeline() if _is_cluster(client) else client.pipeline(transaction=False)


# ---- names, commands, answers ----


def _naming(key: Template) -> Callable[[Any], str | bytes]:
    if not isinstance(key, str):
        if not callable(key):
            raise TypeError(f"key is a template such as 'user:{{}}', or a function, not {type(key).__name__}")
        return key
    count = _count_of_places(key)

    def name_of(value: Any) -> str:
        parts = value if isinstance(value, tuple) else (value,)
        if len(parts) != count or (isinstance(value, tuple) and count == 1):
            wanted = "one value" if count == 1 else f"a tuple of {count}"
            raise TypeError(f"the key {shown(value)} is not {wanted}, as {key!r} takes it")
        if any(isinstance(part, bytes) for part in parts):
            raise TypeError(f"the key {shown(value)} has bytes, which a template does not take: give a function as key=")
        return key.format(*parts)

    return name_of


def _count_of_places(template: str) -> int:
    import string

    places = [place for _, place, form, conversion in string.Formatter().parse(template) if place is not None]
    if not places or any(place != "" for place in places):
        raise ValueError(f"key has {{}} for the cache's key, once for each of its parts, as 'user:{{}}': {template!r}")
    return len(places)


def _command(form: Any, fields: Sequence[str] | None) -> Callable[[Any, str | bytes], Any]:
    """What is put into the pipeline for each key."""
    if form not in _FORMS:
        raise ValueError(f"form is one of {', '.join(map(repr, _FORMS))}, not {form!r}")
    if fields is None:
        return (lambda pipeline, name: pipeline.hgetall(name)) if form == "hash" else (lambda pipeline, name: pipeline.get(name))
    if form != "hash":
        raise TypeError("fields= are those of a hash: form='hash'")
    if isinstance(fields, str) or not fields:
        raise ValueError(f"fields is a list of names, one or more: {fields!r}")
    names = list(fields)
    return lambda pipeline, name: pipeline.hmget(name, names)


def _reading(form: str, fields: Sequence[str] | None, encoding: str | None) -> Callable[[Any], Any]:
    """What makes a value, or ABSENT, of an answer."""
    if form == "bytes":
        return lambda answer: ABSENT if answer is None else answer
    if form == "json":
        return lambda answer: ABSENT if answer is None else json.loads(answer)

    def text(value: Any) -> Any:
        return value.decode(encoding) if encoding is not None and isinstance(value, bytes) else value

    def name(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else value

    def read_all(answer: Any) -> Any:
        return {name(field): text(value) for field, value in answer.items()} or ABSENT

    def read_some(answer: Any) -> Any:
        values = [text(value) for value in answer]
        return ABSENT if all(value is None for value in values) else dict(zip(fields or (), values))

    return read_all if fields is None else read_some
