# SPDX-License-Identifier: Apache-2.0
"""`python bench tiers`: caches that machines share, on real servers.

`cluster`: fetch_many of 1,000 keys that only the tier has, a Redis Cluster of six nodes
(three of them primaries), beside as many single gets of redis-py's client and its
mget_nonatomic; and what each sends to each node.  `hit`: get and fetch of what is here,
of a cache with a tier and of one without, in turn.  `cold`: eight processes that start
together and read the same rows of PostgreSQL, each with a dict of its own and by Forebay.
`staleness`: two machines on one Redis, 1,000 changes a second, and how far behind reads
were.  `recovery`: a primary of a cluster of six nodes is killed (recovery.py).  --only
chooses.  Writes build/bench/tiers.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import dataset
import forebay
import peer_servers
import timing
from forebay.testing import servers
from forebay.testing.staleness.history import percentile
from forebay.testing.staleness.world import Machine, World
from recovery import measure_recovery

KEYS = 1000
TIMEOUTS = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}  # a busy machine
WORKERS = 8
PAGE = 50  # rows of a fetch_many of the cold start
CHANGES = 1000  # a second
READERS = 2  # of each machine
PARTS_OF_ALL = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@contextlib.contextmanager
def folder_of_servers() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        yield peer_servers.let_pass(Path(folder))


# ------------------------------------------------------------------- cluster


def value_of(key: str) -> dict[str, Any]:
    return {"key": key, "rest": "x" * 380}


def no_source(keys: list[Any]) -> NoReturn:
    raise AssertionError(f"the tier does not have {len(keys)} keys")


@contextlib.contextmanager
def sends_counted() -> Iterator[Counter[int]]:
    """How often anything was sent, by the server's port."""
    from redis.connection import AbstractConnection

    counts: Counter[int] = Counter()
    plain = AbstractConnection.send_packed_command

    def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        counts[self.port] += 1
        return plain(self, *arguments, **options)

    AbstractConnection.send_packed_command = counting  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        AbstractConnection.send_packed_command = plain  # type: ignore[method-assign]


def commands_of(node: servers.ClusterNode) -> int:
    """Reads that it has done since CONFIG RESETSTAT."""
    lines = node.call("INFO", "commandstats").decode().splitlines()
    wanted = ("cmdstat_get:calls=", "cmdstat_mget:calls=")
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines if line.startswith(wanted))


def sent_by(way: Callable[[], object], cluster: servers.RedisCluster) -> dict[str, list[int]]:
    """Commands and sends of one round, for each primary."""
    primaries = sorted(cluster.masters, key=lambda node: node.port)
    for node in primaries:
        node.call("CONFIG", "RESETSTAT")
    with sends_counted() as sends:
        way()
    return {"commands": [commands_of(node) for node in primaries], "sends": [sends[node.port] for node in primaries]}


def measure_cluster(rounds: int) -> dict[str, Any]:
    import redis

    keys = [f"key {number}" for number in range(KEYS)]
    with folder_of_servers() as folder, servers.start_redis_cluster(folder) as cluster, forebay.open(None, "64MiB") as arena:
        client = redis.RedisCluster(*cluster.addresses[0], **TIMEOUTS)
        # Not coherent: nobody else talks to the servers while what is sent is counted.
        tier = forebay.tiers.Redis(client, coherent=False)
        shared = arena.cache("rows", tier=tier, load_many=no_source)
        here = arena.cache("rows")  # the same entries, without the tier
        shared.set_many({key: value_of(key) for key in keys})
        for key in keys:
            client.set(key, json.dumps(value_of(key)))
        clear: dict[str, Callable[[], object]] = {"fetch_many": here.clear}
        ways: dict[str, Callable[[], object]] = {
            "fetch_many": lambda: shared.fetch_many(keys),
            "single gets of redis-py": lambda: [client.get(key) for key in keys],
            "mget_nonatomic of redis-py": lambda: client.mget_nonatomic(keys),
        }
        ms: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                clear.get(name, lambda: None)()
                begun = time.perf_counter()
                found = way()
                if number:  # the first one connects
                    ms[name].append((time.perf_counter() - begun) * 1000)
                assert len(found) == KEYS and None not in found  # type: ignore[arg-type,operator]
        here.clear()
        sent = {name: sent_by(way, cluster) for name, way in ways.items()}
        client.close()
    ours = timing.median(ms["fetch_many"])
    medians = {name: timing.median(spans) for name, spans in ms.items()}
    return {"keys": KEYS, "nodes": len(cluster.nodes), "ms": medians, "sent": sent, "rounds": rounds,
            "ratio": {name: median / ours for name, median in medians.items()}}  # fmt: skip


# ----------------------------------------------------------------------- hit


def measure_hit(rounds: int) -> dict[str, Any]:
    import redis

    keys = [f"key {n}" for n in range(2000)]
    with folder_of_servers() as folder, servers.start_redis(folder) as server, forebay.open(None, "64MiB") as arena:
        tier = forebay.tiers.Redis(redis.Redis(unix_socket_path=str(server.socket_path), **TIMEOUTS))
        load = {"load": lambda key: bytes(400), "codec": None}
        caches = {"without a tier": arena.cache("plain", **load), "with a tier": arena.cache("shared", tier=tier, **load)}
        calls = {f"{method}, {name}": getattr(cache, method) for method in ("get", "fetch") for name, cache in caches.items()}
        for cache in caches.values():
            cache.fetch_many(keys)
        wait_until_heard(caches["with a tier"], keys[0])
        spans: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                with timing.collector_off():
                    spans[name].append(timing.percentile(timing.singles(call, keys * 50, 0.3), 0.5))
    ratio = {
        method: timing.median([a / b for a, b in zip(spans[f"{method}, with a tier"], spans[f"{method}, without a tier"])])
        for method in ("get", "fetch")
    }
    return {"p50_ns": {name: timing.median(found) for name, found in spans.items()}, "ratio": ratio, "rounds": rounds}


def wait_until_heard(cache: Any, key: Any, seconds: float = 30.0) -> None:
    """Until somebody listens to the tier's changes: before, reads of what is here are misses."""
    end = time.monotonic() + seconds
    while cache.get(key) is None:
        if time.monotonic() > end:
            raise RuntimeError("nobody listens to the tier")
        cache.fetch(key)
        time.sleep(0.01)


# ---------------------------------------------------------------------- cold


def note(log: str, rows: int) -> None:
    """A query, in one piece, whoever else writes."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{rows}\n".encode())
    os.close(descriptor)


def dict_reader(load_many: Callable[[list[int]], dict[int, Any]]) -> Callable[[list[int]], object]:
    """What each worker has without Forebay."""
    kept: dict[int, Any] = {}

    def fetch_many(page: list[int]) -> dict[int, Any]:
        missing = [key for key in page if key not in kept]
        if missing:
            kept.update(load_many(missing))
        return {key: kept[key] for key in page}

    return fetch_many


def read_cold(way: str, page: int, path: str, conninfo: str, log: str, gate: Any) -> None:
    import psycopg

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(conninfo, autocommit=True)

    with forebay.Pool(connect, max_size=1) as pool, forebay.open(path) as arena:
        source = forebay.sources.Postgres(pool, table="item", key="id")
        source([0])  # asks for the types of the columns, too

        def load_many(keys: Iterable[int]) -> dict[int, Any]:
            wanted = list(keys)
            note(log, len(wanted))
            found: dict[int, Any] = source(wanted)
            return found

        read = dict_reader(load_many) if way == "dict" else arena.cache("items", load_many=load_many).fetch_many
        gate.wait()
        for begin in range(0, KEYS, page):
            assert len(read(list(range(begin, begin + page)))) == page  # type: ignore[arg-type]


def cold_round(way: str, page: int, conninfo: str) -> list[int]:
    """The rows of each query."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="forebay-bench-") as folder, forebay.open(f"{folder}/arena", "64MiB"):
        log, gate = f"{folder}/log", context.Barrier(WORKERS)
        arguments = (way, page, f"{folder}/arena", conninfo, log, gate)
        processes = [context.Process(target=read_cold, args=arguments) for _ in range(WORKERS)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a worker failed")
        return [int(line) for line in Path(log).read_text().split()]


def fill_postgres(conninfo: str) -> None:
    import psycopg

    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE item (id integer PRIMARY KEY, name text)")
        connection.execute("INSERT INTO item SELECT n, repeat('x', 400) FROM generate_series(0, %s::integer - 1) AS n", (KEYS,))


def measure_cold(rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with folder_of_servers() as folder, servers.start_postgres(folder) as server:
        fill_postgres(server.conninfo)
        for title, page in (("one by one", 1), (f"in pages of {PAGE}", PAGE)):
            queries: dict[str, list[int]] = {"dict": [], "forebay": []}
            rows: dict[str, list[int]] = {"dict": [], "forebay": []}
            for _ in range(rounds):
                for way in queries:
                    asked = cold_round(way, page, server.conninfo)
                    queries[way].append(len(asked))
                    rows[way].append(sum(asked))
            found[title] = {"queries": queries, "rows": rows,
                            "ratio": timing.median(queries["dict"]) / timing.median(queries["forebay"])}  # fmt: skip
    return {"workers": WORKERS, "keys": KEYS, "rounds": rounds, "ways": found}


# ----------------------------------------------------------------- staleness


def measure_staleness(seconds: float) -> dict[str, Any]:
    with folder_of_servers() as folder, servers.start_redis(folder) as server:
        url = f"unix://{server.socket_path}"
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="forebay-bench-") as shm, World(Path(shm), changes=CHANGES) as world:
            machines = [Machine(world, name, url, READERS) for name in ("a", "b")]
            world.wait_for_reads(*machines)
            world.start("change", machines[0], seed=1)
            wait_for_changes(world)
            begun, changed = time.monotonic(), changes_of(world)
            time.sleep(seconds)
            rate = (changes_of(world) - changed) / (time.monotonic() - begun)
            world.end()
            figures = {machine.name: machine.figures() for machine in machines}
    return {"changes_per_second": rate, "asked_per_second": CHANGES, "seconds": seconds, "readers": READERS, "load_average": os.getloadavg()[0],
            "machines": {name: {"reads": len(own), "behind": sum(1 for figure in own if figure > 0),
                                "ms": {part: percentile(own, share) * 1000 for part, share in PARTS_OF_ALL.items()}}
                         for name, own in figures.items()}}  # fmt: skip


def changes_of(world: World) -> int:
    return sum(world.history.version(key) for key in range(world.keys))


def wait_for_changes(world: World, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not changes_of(world):
        if time.monotonic() > end:
            raise RuntimeError("nothing is changed")
        time.sleep(0.02)


# ---------------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench tiers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the staleness (default %(default)g)")
    parser.add_argument("--only", choices=("cluster", "hit", "cold", "staleness", "recovery"), action="append")
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "tiers.json")
    options = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "cluster": lambda: measure_cluster(options.rounds),
        "hit": lambda: measure_hit(options.rounds),
        "cold": lambda: measure_cold(min(options.rounds, 3)),
        "staleness": lambda: measure_staleness(options.seconds),
        "recovery": lambda: measure_recovery(min(options.rounds, 5)),
    }
    outcome: dict[str, Any] = {"date": time.strftime("%Y-%m-%d")}
    for name in options.only or parts:
        outcome[name] = parts[name]()
    from report import tiers_tables
    from report_tables import as_text

    for table in tiers_tables(outcome):
        print(as_text(table))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))
