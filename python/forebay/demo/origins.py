# SPDX-License-Identifier: Apache-2.0
"""Where the rows of the demo's machines are: filled, read by a source, changed.

Each row is a city with a "version", which is 0 at first.  What is in a server of the
user's has names that begin with "forebay_demo", and is taken away at the end.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import forebay
from forebay.demo.data import COLUMNS
from forebay.demo.engines import Engine

Row = dict[str, Any]
NAMES = (*COLUMNS, "version")
KEY = NAMES[0]
TABLE = "forebay_demo_city"
SELECTED = ", ".join(NAMES)
TYPES = ("bigint", "text", "double precision", "double precision", "text", "bigint", "text", "text", "text", "integer")
PATIENCE = 10.0  # seconds


class Origin:
    """A database with the rows; one of each process, for one thread."""

    def fill(self, rows: Iterable[Row]) -> None:
        raise NotImplementedError

    def source(self) -> Callable[[list[int]], Any]:
        """For load_many=."""
        raise NotImplementedError

    def change(self, key: int, version: int) -> None:
        """Committed when it returns."""
        raise NotImplementedError

    def drop(self) -> None:
        """Take away what fill() made."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class SQLite(Origin):
    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, timeout=PATIENCE)
        self.connection.execute("PRAGMA journal_mode=WAL")  # the one that changes rows keeps nobody from reading
        self.connection.execute("PRAGMA synchronous=OFF")

    def fill(self, rows: Iterable[Row]) -> None:
        self.connection.execute(f"CREATE TABLE {TABLE} ({KEY} INTEGER PRIMARY KEY, {', '.join(NAMES[1:])})")
        self.connection.executemany(f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(NAMES))})", (tuple(row.values()) for row in rows))
        self.connection.commit()

    def source(self) -> Callable[[list[int]], Any]:
        return forebay.sources.SQLite(self.connection, table=TABLE, key=KEY)

    def change(self, key: int, version: int) -> None:
        with self.connection:
            self.connection.execute(f"UPDATE {TABLE} SET version = ? WHERE {KEY} = ?", (version, key))

    def drop(self) -> None:
        self.connection.execute(f"DROP TABLE IF EXISTS {TABLE}")

    def close(self) -> None:
        self.connection.close()


class Postgres(Origin):
    def __init__(self, url: str) -> None:
        import psycopg

        self.pool = forebay.Pool(lambda: psycopg.connect(url, autocommit=True), max_size=1, timeout=PATIENCE)

    def _execute(self, statement: Any, values: Sequence[Any] = ()) -> None:
        with self.pool.connection() as connection:
            connection.execute(statement, values)

    def fill(self, rows: Iterable[Row]) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(NAMES, TYPES))
        self._execute(f"CREATE TABLE {TABLE} ({columns}, PRIMARY KEY ({KEY}))")
        with self.pool.connection() as connection, connection.cursor() as cursor:
            with cursor.copy(f"COPY {TABLE} ({SELECTED}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(tuple(row.values()))

    def source(self) -> Callable[[list[int]], Any]:
        return forebay.sources.Postgres(self.pool, table=TABLE, key=KEY)

    def change(self, key: int, version: int) -> None:
        self._execute(f"UPDATE {TABLE} SET version = %s WHERE {KEY} = %s", (version, key))

    def drop(self) -> None:
        self._execute(f"DROP TABLE IF EXISTS {TABLE}")

    def close(self) -> None:
        self.pool.close()


class Cassandra(Origin):
    KEYSPACE = "forebay_demo"
    PLACE = f"{KEYSPACE}.{TABLE}"

    def __init__(self, url: str) -> None:
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from cassandra.policies import RoundRobinPolicy  # type: ignore[import-untyped,import-not-found,unused-ignore]

        place = urlsplit(url)
        profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=PATIENCE)
        self.cluster = Cluster([place.hostname], place.port or 9042, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
        self.session = self.cluster.connect()
        self._update: Any = None

    def fill(self, rows: Iterable[Row]) -> None:
        from cassandra.concurrent import execute_concurrent_with_args  # type: ignore[import-untyped,import-not-found,unused-ignore]

        self.session.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {self.KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        kinds = {"double precision": "double", "integer": "int"}
        columns = ", ".join(f"{name} {kinds.get(kind, kind)}" for name, kind in zip(NAMES, TYPES))
        self.session.execute(f"CREATE TABLE {self.PLACE} ({columns}, PRIMARY KEY ({KEY}))")
        insert = self.session.prepare(f"INSERT INTO {self.PLACE} ({SELECTED}) VALUES ({', '.join('?' * len(NAMES))})")
        execute_concurrent_with_args(self.session, insert, [tuple(row.values()) for row in rows])

    def source(self) -> Callable[[list[int]], Any]:
        return forebay.sources.Cassandra(self.session, table=(self.KEYSPACE, TABLE), key=KEY)

    def change(self, key: int, version: int) -> None:
        if self._update is None:
            self._update = self.session.prepare(f"UPDATE {self.PLACE} SET version = ? WHERE {KEY} = ?")
        self.session.execute(self._update, (version, key))

    def drop(self) -> None:
        self.session.execute(f"DROP KEYSPACE IF EXISTS {self.KEYSPACE}")

    def close(self) -> None:
        self.cluster.shutdown()


class Redis(Origin):
    NAME = f"{TABLE}:{{}}"
    SOME = 1000  # in a pipeline
    NUMBERS = {"geonameid": int, "latitude": float, "longitude": float, "population": int, "version": int}

    def __init__(self, url: str) -> None:
        import redis

        self.client = redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)

    def fill(self, rows: Iterable[Row]) -> None:
        left = iter(rows)
        while some := list(itertools.islice(left, self.SOME)):
            with self.client.pipeline(transaction=False) as pipeline:
                for row in some:
                    pipeline.hset(self.NAME.format(row[KEY]), mapping=dict(row))  # type: ignore[arg-type,unused-ignore]  # str, int, float
                pipeline.execute()

    def source(self) -> Callable[[list[int]], Any]:
        return forebay.sources.Redis(self.client, key=self.NAME, row=self._typed)

    def _typed(self, row: Row) -> Row:
        return {name: self.NUMBERS.get(name, str)(value) for name, value in row.items()}

    def change(self, key: int, version: int) -> None:
        self.client.hset(self.NAME.format(key), "version", str(version))

    def drop(self) -> None:
        names: list[bytes] = []
        for name in self.client.scan_iter(self.NAME.format("*"), count=self.SOME):
            names.append(name)
            if len(names) == self.SOME:
                self.client.unlink(*names)
                names = []
        if names:
            self.client.unlink(*names)

    def close(self) -> None:
        self.client.close()


CLASSES: dict[str, Callable[[str], Origin]] = {"sqlite": SQLite, "postgres": Postgres, "cassandra": Cassandra, "redis": Redis}


def connect(engine: Engine) -> Origin:
    return CLASSES[engine.kind](engine.url)


class Counted:
    """A source that counts what it is asked for: calls, which are queries (with Cassandra and Redis one round trip for
    all keys), and rows that it gave."""

    def __init__(self, source: Callable[[list[int]], Any]) -> None:
        self.source = source
        self.queries = self.rows = 0

    def __call__(self, keys: Iterable[int]) -> dict[int, Any]:
        found: dict[int, Any] = self.source(list(keys))
        self.queries += 1
        self.rows += len(found)
        return found
