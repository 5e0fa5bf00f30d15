# SPDX-License-Identifier: Apache-2.0
"""Ready-made loaders: where a cache gets what it does not have.

    users = arena.cache("users", ttl=300, load_many=forebay.sources.Postgres(pool, table="users", key="id"))
    users.fetch_many([1, 2, 3])

    SQLite       sqlite3: a pool, a connection, or a function that makes one
    Postgres     psycopg 3 and asyncpg: a pool, or a function that makes a connection
    Cassandra    cassandra-driver: a session; Cassandra and ScyllaDB
    Redis        redis-py and valkey-py: a client; as a database, not as a cache

A source is a function of a list of keys, and returns a dict of those that are there; for
asynchronous drivers it is a coroutine function.  A key that cannot be asked for, such as
a str where the column is a number, has the exception as its value.  Each reads the
primary, in a statement that begins after the call.  Drivers are imported when they are
used; docs/guides/sources.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.sources._from_cassandra import Cassandra
    from forebay.sources._from_postgres import Postgres
    from forebay.sources._from_redis import Redis
    from forebay.sources._from_sqlite import SQLite
    from forebay.sources._shape import SourceError

__all__ = ["Cassandra", "Postgres", "Redis", "SQLite", "SourceError"]

_HOMES = {
    "Cassandra": "_from_cassandra", "Postgres": "_from_postgres", "Redis": "_from_redis", "SQLite": "_from_sqlite",
    "SourceError": "_shape",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forebay.sources' has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(f"forebay.sources.{_HOMES[name]}"), name)
    found.__module__ = "forebay.sources"
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
