# SPDX-License-Identifier: Apache-2.0
"""A process of a machine: it reads rows, or it is the one that changes them."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import forebay
from forebay.demo import origins
from forebay.demo.data import SEED, read_ids
from forebay.demo.engines import Engine
from forebay.demo.worker_orders import report, wait_for_go, work
from forebay.testing.staleness.history import History

MACHINES = 2
WORKERS = 2  # of a machine
TTL = 5.0  # seconds
WANTED = 1000  # rows that are read
CHANGED = 200  # of them, the most read ones
CHANGES = 100  # a second
PAGE = 100  # reads one after another
PACE = 0.05  # seconds from the begin of a page to that of the next
LATE = 1.0  # seconds that a process may lag behind its pace, and make up for it
TICK = 0.0001  # seconds: how exactly it is counted how far behind reads were
TIMEOUT = 1.0  # seconds, of the tier: a busy machine

Fetch = Callable[[int], origins.Row]


@dataclass
class Places:
    """The files of this part of the demo."""

    folder: Path

    @property
    def changed(self) -> Path:
        return self.folder / "changed"

    def reads(self, number: int) -> Path:
        return self.folder / f"reads-{number}"

    def history(self, way: str) -> Path:
        return self.folder / f"history-{way}"


class OwnDict:
    """What a worker has without Forebay: rows that it loaded within the ttl."""

    def __init__(self, source: origins.Counted) -> None:
        self.source = source
        self.kept: dict[int, tuple[float, origins.Row]] = {}

    def fetch(self, key: int) -> origins.Row:
        now = time.monotonic()
        found = self.kept.get(key)
        if found is None or found[0] < now:
            found = self.kept[key] = now + TTL, self.source([key])[key]
        return found[1]


def tier_of(engine: Engine, prefix: str) -> Any:
    """None: there is none."""
    if engine.kind == "none":
        return None
    if engine.kind == "memcached":
        return forebay.tiers.Memcached(_memcached(engine.url), prefix=prefix)
    import redis

    timeouts: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    if engine.kind == "redis":
        return forebay.tiers.Redis(redis.Redis.from_url(engine.url, **timeouts), prefix=prefix)
    place = urlsplit(engine.url)
    client = redis.RedisCluster(host=place.hostname, port=place.port or 6379, username=place.username, password=place.password, **timeouts)
    return forebay.tiers.Redis(client, prefix=prefix)


def _memcached(url: str) -> Any:
    """memcached://host:port[,host:port]"""
    import pymemcache  # type: ignore[import-untyped,import-not-found,unused-ignore]

    options = {"timeout": TIMEOUT, "connect_timeout": TIMEOUT}
    places = url.removeprefix("memcached://").rstrip("/").split(",")
    return pymemcache.HashClient(places, **options) if len(places) > 1 else pymemcache.Client(places[0], **options)


@dataclass
class Machine:
    """What a worker has of it."""

    way: str
    source: origins.Counted
    arena: Any = None
    tier: Any = None
    cache: Any = None

    @property
    def fetch(self) -> Fetch:
        if self.cache is None:
            return OwnDict(self.source).fetch
        return self.cache.fetch  # type: ignore[no-any-return]

    def invalidate(self, row: origins.Row, replace: bool) -> bool:
        """False: the tier has not heard of it yet."""
        if self.cache is None:
            return True
        if replace:
            self.cache.set(row[origins.KEY], row)
        else:
            self.cache.delete(row[origins.KEY])
        return self.tier is None or not self.tier.stats()["owed"]

    def tier_figures(self) -> dict[str, int]:
        stats = {} if self.tier is None else self.tier.stats()
        return {f"tier_{name}": stats.get(name, 0) for name in ("hits", "misses", "errors")}


def machine_of(spec: dict[str, Any], origin: origins.Origin) -> Machine:
    """The one that changes rows is of the first machine."""
    machine = Machine(spec["way"], origins.Counted(origin.source()))
    if machine.way == "dict":
        return machine
    path = spec["arenas"][spec["number"] // WORKERS % MACHINES]
    machine.arena = forebay.open(path, size=spec["size"])
    shared = {}
    if machine.way == "tier":
        machine.tier = shared["tier"] = tier_of(Engine(*spec["tier"]), spec["prefix"])
    machine.cache = machine.arena.cache("cities", ttl=TTL, load_many=machine.source, **shared)
    return machine


class Pace:
    """So many turns a second, whatever a turn takes, until it ends."""

    def __init__(self, period: float, seconds: float) -> None:
        self.period = period
        self.begin = self.due = time.monotonic()
        self.last = self.begin + seconds

    def next(self) -> bool:
        """Wait for the next turn; False: the time is over."""
        now = time.monotonic()
        self.due = max(self.due + self.period, now - LATE)
        time.sleep(max(min(self.due, self.last) - now, 0))
        return time.monotonic() < self.last


# ---------------------------------------------------------------------- reading


def read(machine: Machine, ids: list[int], changed: dict[int, int], history: History, seconds: float) -> dict[str, Any]:
    fetch, clock = machine.fetch, time.monotonic
    behind: Counter[int] = Counter()
    reads = 0
    pace = Pace(PACE, seconds)
    while pace.next():
        for _ in range(PAGE):
            key = ids[reads % len(ids)]
            began = clock()
            row = fetch(key)
            reads += 1
            if (place := changed.get(key)) is not None:
                behind[round(history.behind(place, row["version"], began) / TICK)] += 1
    return {"reads": reads, "queries": machine.source.queries, "rows": machine.source.rows, "behind": behind,
            "begin": pace.begin, "end": clock()} | machine.tier_figures()  # fmt: skip


# --------------------------------------------------------------------- changing


def change(machine: Machine, origin: origins.Origin, changed: dict[int, int], history: History, seconds: float) -> dict[str, Any]:
    """The database first, then the cache; then it is acknowledged."""
    rows = {key: dict(row) for key, row in machine.source.source(list(changed)).items()}
    chance = random.Random(SEED)
    keys = list(changed)
    weights = [1 / rank for rank in range(1, len(keys) + 1)]
    changes = 0
    pace = Pace(1 / CHANGES, seconds)
    while pace.next():
        (key,) = chance.choices(keys, weights)
        version = history.write(changed[key])
        origin.change(key, version)
        rows[key]["version"] = version
        if machine.invalidate(rows[key], replace=chance.random() < 0.5):
            history.acknowledge(changed[key], version)
        changes += 1
    return {"changes": changes, "begin": pace.begin, "end": time.monotonic()}


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    places = Places(Path(spec["places"]))
    changed = {key: place for place, key in enumerate(read_ids(places.changed))}
    history = History(places.history(spec["way"]), len(changed))
    origin = origins.connect(Engine(*spec["origin"]))
    machine = machine_of(spec, origin)
    reader = spec["number"] < MACHINES * WORKERS
    ids = read_ids(places.reads(spec["number"])).tolist() if reader else []
    report(ready=True)
    wait_for_go()
    if reader:
        return read(machine, ids, changed, history, spec["seconds"])
    return change(machine, origin, changed, history, spec["seconds"])


if __name__ == "__main__":
    sys.exit(work(serve))
