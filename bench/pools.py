# SPDX-License-Identifier: Apache-2.0
"""`python bench pools`: a checkout and return, beside other pools.

The objects cost nothing and talk to nobody, so that what is measured is the pool; one
thread, an idle object there.  psycopg_pool and redis-py want connections of their own
kinds: they get ones that are never connected.  `threads`: four threads share two
objects, each held for a moment, so that most have to wait.  Writes
build/bench/pools.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dataset
import forebay
import timing

CALLS = 2000  # in a sample
Way = Callable[[], object]


class Object:
    """What is pooled."""

    def close(self) -> None:
        pass


def with_block(connection: Callable[[], Any]) -> Way:
    def use() -> None:
        with connection():
            pass

    return use


@contextmanager
def forebay_pool() -> Iterator[Way]:
    with forebay.Pool(Object, max_size=4) as pool:
        yield with_block(pool.connection)


@contextmanager
def forebay_getconn() -> Iterator[Way]:
    with forebay.Pool(Object, max_size=4) as pool:

        def use() -> None:
            pool.putconn(pool.getconn())

        yield use


@contextmanager
def forebay_host_max() -> Iterator[Way]:
    with forebay.open(None, "4MiB") as arena, forebay.Pool(Object, max_size=4, name="bench", arena=arena, host_max=4) as pool:
        yield with_block(pool.connection)


@contextmanager
def psycopg_pool() -> Iterator[Way]:
    import psycopg
    from psycopg_pool import ConnectionPool

    class PgConn:
        transaction_status = psycopg.pq.TransactionStatus.IDLE

    class Idle(psycopg.Connection[Any]):
        """As a connection that is idle looks to the pool."""

        def __init__(self) -> None:
            self.pgconn = PgConn()  # type: ignore[assignment]
            self._pool = None

        @classmethod
        def connect(cls, *arguments: Any, **options: Any) -> Any:
            return cls()

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def close(self) -> None:
            pass

        def __del__(self) -> None:
            pass

    with ConnectionPool("", connection_class=Idle, min_size=4, open=True) as pool:
        pool.wait()
        yield with_block(pool.connection)


@contextmanager
def redis_py() -> Iterator[Way]:
    import redis

    class Idle(redis.Connection):
        def connect(self) -> None:
            pass

        def can_read(self, *arguments: Any, **options: Any) -> bool:
            return False

        def disconnect(self, *arguments: object) -> None:
            pass

    pool = redis.ConnectionPool(connection_class=Idle, max_connections=4)

    def use() -> None:
        pool.release(pool.get_connection())

    yield use


@contextmanager
def sqlalchemy_pool() -> Iterator[Way]:
    from sqlalchemy.pool import QueuePool

    class Connection(Object):
        def rollback(self) -> None:
            pass

    pool = QueuePool(Connection, pool_size=4)

    def use() -> None:
        pool.connect().close()

    yield use
    pool.dispose()


@contextmanager
def pymemcache_pool() -> Iterator[Way]:
    from pymemcache.pool import ObjectPool

    pool = ObjectPool(Object, max_size=4)
    yield with_block(pool.get_and_release)


WAYS = {
    "forebay.Pool, with": forebay_pool,
    "forebay.Pool, getconn and putconn": forebay_getconn,
    "forebay.Pool, with, host_max": forebay_host_max,
    "psycopg_pool, with": psycopg_pool,
    "redis-py ConnectionPool": redis_py,
    "SQLAlchemy QueuePool": sqlalchemy_pool,
    "pymemcache ObjectPool, with": pymemcache_pool,
}


def sample(use: Way) -> float:
    """us for each."""
    begun = time.perf_counter()
    for _ in range(CALLS):
        use()
    return (time.perf_counter() - begun) / CALLS * 1e6


def single(rounds: int) -> dict[str, float]:
    """Median us, all ways in turn."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        uses = {name: stack.enter_context(way()) for name, way in WAYS.items()}
        for use in uses.values():
            sample(use)
        found: dict[str, list[float]] = {name: [] for name in uses}
        for _ in range(rounds):
            for name, use in uses.items():
                with timing.collector_off():
                    found[name].append(sample(use))
    return {name: timing.median(spans) for name, spans in found.items()}


def contended(seconds: float) -> dict[str, float]:
    """Checkouts a second of four threads on two objects."""
    from sqlalchemy.pool import QueuePool

    class Connection(Object):
        def rollback(self) -> None:
            pass

    outcome = {}
    with forebay.Pool(Object, min_size=2, max_size=2) as pool:
        pool.wait()
        outcome["forebay.Pool"] = hold_in_threads(pool.connection, seconds)
    queue = QueuePool(Connection, pool_size=2, max_overflow=0)

    @contextmanager
    def connection() -> Iterator[Any]:
        found = queue.connect()
        try:
            yield found
        finally:
            found.close()

    outcome["SQLAlchemy QueuePool"] = hold_in_threads(connection, seconds)
    return outcome


def hold_in_threads(connection: Callable[[], Any], seconds: float) -> float:
    counts = [0] * 4
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            with connection():
                time.sleep(0.0005)
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench pools", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "pools.json")
    options = parser.parse_args()
    spans = single(options.rounds)
    ours = spans["forebay.Pool, with"]
    outcome = {"date": time.strftime("%Y-%m-%d"), "us": spans, "ratio": {name: us / ours for name, us in spans.items()},
               "threads": contended(2.0)}  # fmt: skip
    for name, us in spans.items():
        print(f"{name:36} {us:6.2f} us  {us / ours:5.1f} x", file=sys.stderr)
    print(f"four threads, two objects, checkouts a second: {outcome['threads']}", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))
