# SPDX-License-Identifier: Apache-2.0
"""A process of a machine: it reads keys all the time, or changes them.

Orders are a JSON object on the command line; it ends by SIGTERM."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import forebay
from forebay.testing.staleness.history import Figures, History


class Ended(BaseException):
    """An interrupt, not an error of a load, which the others who wait for it would get to hear."""


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended


def tier_of(url: str, max_stale: float | None) -> Any:
    import redis

    options: dict[str, Any] = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    if url.startswith("cluster:"):
        host, _, port = url.removeprefix("cluster:").partition(":")
        client: Any = redis.RedisCluster(host, int(port), **options)
    else:
        client = redis.Redis.from_url(url, **options)
    return forebay.tiers.Redis(client, max_stale=max_stale)


def cache_of(orders: dict[str, Any], history: History) -> Any:
    def load_many(keys: list[int]) -> dict[int, dict[str, Any]]:
        versions = {key: history.version(key) for key in keys}
        time.sleep(random.random() * orders["load_seconds"])
        return {key: {"version": version, "rest": "x" * 400} for key, version in versions.items()}

    arena = forebay.open(orders["arena"], orders.get("size", "16MiB"))
    tier = tier_of(orders["tier"], orders["max_stale"])
    bus = forebay.buses.Postgres(orders["database"], max_stale=orders["max_stale"]) if orders["database"] else None
    return arena.cache("rows", ttl=orders.get("ttl", 600), tier=tier, bus=bus, load_many=load_many)


def read(history: History, orders: dict[str, Any]) -> None:
    """Reads as fast as it can, by fetch() and get(), and notes how far behind each was."""
    cache = cache_of(orders, history)
    figures = Figures(Path(orders["figures"]))
    random.seed(orders["seed"])
    try:
        while True:
            key = min(int(random.paretovariate(0.8)) - 1, history.keys - 1)
            began = time.monotonic()
            value = cache.fetch(key) if random.random() < 0.5 else cache.get(key)
            if value is not None:
                figures.add(history.behind(key, value["version"], began))
    finally:
        figures.flush()


def keys_in_time(history: History, orders: dict[str, Any]) -> Iterator[int]:
    """So many a second."""
    random.seed(orders["seed"])
    due = time.monotonic()
    while True:
        due += 1 / orders["changes"]
        time.sleep(max(due - time.monotonic(), 0))
        yield min(int(random.paretovariate(0.8)) - 1, history.keys - 1)


def change(history: History, orders: dict[str, Any]) -> None:
    """Changes keys by delete() and set(), and notes when each was acknowledged."""
    cache = cache_of(orders, history)
    for key in keys_in_time(history, orders):
        version = history.write(key)
        if random.random() < 0.5:
            cache.set(key, {"version": version, "rest": "y" * 400})
        else:
            cache.delete(key)
        if not cache_tier_owes(cache):
            history.acknowledge(key, version)


def notify(history: History, orders: dict[str, Any]) -> None:
    """Changes keys as another program with SQL does: of its commit nobody hears but by the trigger's notification."""
    import psycopg

    with psycopg.connect(orders["database"], autocommit=True) as connection:
        for key in keys_in_time(history, orders):
            version = history.write(key)
            connection.execute("SELECT pg_notify('forebay', %s)", (f'["rows", {key}]',))
            history.acknowledge(key, version)


def cache_tier_owes(cache: Any) -> bool:
    """What the tier has not had is not acknowledged to anybody."""
    return bool(cache._loading.options.tier.stats()["owed"])


ROLES: dict[str, Callable[[History, dict[str, Any]], None]] = {"read": read, "change": change, "notify": notify}


def main() -> None:
    orders = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, _end)
    history = History(Path(orders["history"]), orders["keys"])
    try:
        ROLES[orders["role"]](history, orders)
    except Ended:
        pass


if __name__ == "__main__":
    main()
