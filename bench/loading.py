# SPDX-License-Identifier: Apache-2.0
"""`python bench loading`: how many loads it takes when many want the same keys at once.

`processes`: 8 processes that start together and want the same 1,000 keys, each by
fetch_many(); a load takes 5 ms and is written down.  The ideal is one load for each
max_batch keys.  `loop`: 8 tasks of one event loop that each want the same 1,000
keys, by afetch() of a fresh cache, by forebay.batch.DataLoader and by
aiodataloader's.  `hit`: fetch() beside get(), of what is there.  Writes
build/bench/loading.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset
import forebay
import timing
from forebay.batch import DataLoader

CALLERS = 8
KEYS = 1000
LOAD_SECONDS = 0.005


def note(log: str, keys: list[int]) -> None:
    """Appended in one piece, whoever is killed."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{len(keys)}\n".encode())
    os.close(descriptor)


def want_all(path: str, log: str, max_batch: int, gate: Any, number: int) -> None:
    def load_many(keys: list[int]) -> dict[int, str]:
        note(log, keys)
        time.sleep(LOAD_SECONDS)
        return {key: f"value {key}" for key in keys}

    with forebay.open(path) as arena:
        cache = arena.cache("loading", load_many=load_many, max_batch=max_batch)
        keys = [(number * KEYS // CALLERS + i) % KEYS for i in range(KEYS)]  # each begins elsewhere
        gate.wait()
        assert cache.fetch_many(keys) == {key: f"value {key}" for key in keys}


def by_processes(max_batch: int, rounds: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    loads, loaded = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="forebay-bench-") as folder:
            path, log = f"{folder}/arena", f"{folder}/log"
            with forebay.open(path, "64MiB"):
                gate = context.Barrier(CALLERS)
                processes = [
                    context.Process(target=want_all, args=(path, log, max_batch, gate, n)) for n in range(CALLERS)
                ]
                for process in processes:
                    process.start()
                for process in processes:
                    process.join()
                assert all(process.exitcode == 0 for process in processes)
            batches = [int(line) for line in Path(log).read_text().split()]
        loads.append(len(batches))
        loaded.append(sum(batches))
    ideal = -(-KEYS // max_batch)
    return {"max_batch": max_batch, "ideal": ideal, "loads": loads, "keys_loaded": loaded, "most_to_ideal": max(loads) / ideal}


async def in_loop(load: Callable[[int], Any]) -> float:
    async def caller() -> None:
        await asyncio.gather(*(load(key) for key in range(KEYS)))

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return time.perf_counter() - begun


def by_loop(max_batch: int, rounds: int) -> dict[str, Any]:
    from aiodataloader import DataLoader as Theirs

    calls: list[int] = []

    async def load_many(keys: list[int]) -> list[str]:
        calls.append(len(keys))
        await asyncio.sleep(LOAD_SECONDS)
        return [f"value {key}" for key in keys]

    def afetch() -> Any:
        return arena.cache("loop", load_many=load_many, max_batch=max_batch).afetch

    ways: dict[str, Callable[[], Any]] = {
        "afetch": afetch,
        "forebay.batch.DataLoader": lambda: DataLoader(load_many, max_batch_size=max_batch).load,
        "aiodataloader": lambda: Theirs(load_many, max_batch_size=max_batch).load,
    }
    outcome: dict[str, Any] = {name: {"loads": [], "ms": []} for name in ways}
    with forebay.open(None, "64MiB") as arena:
        for _ in range(rounds):
            for name, make in ways.items():
                arena.cache("loop").clear()
                calls.clear()

                async def main() -> float:
                    return await in_loop(make())

                outcome[name]["ms"].append(asyncio.run(main()) * 1000)
                outcome[name]["loads"].append(len(calls))
    return outcome


def hit(rounds: int) -> dict[str, Any]:
    with forebay.open(None, "64MiB") as arena:
        cache = arena.cache("hit", load=lambda key: bytes(400), codec=None)
        keys = [f"key {n}" for n in range(2000)] * 50
        for key in keys[:2000]:
            cache.fetch(key)
        ways = {"get": cache.get, "fetch": cache.fetch}
        spans: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                with timing.collector_off():
                    spans[name].append(timing.percentile(timing.singles(way, keys, 0.3), 0.5))
    return {f"{name}_p50_ns": timing.median(found) for name, found in spans.items()} | {
        "ratio": timing.median([fetch / get for fetch, get in zip(spans["fetch"], spans["get"])])
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench loading", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-batch", type=int, default=100)
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "loading.json")
    options = parser.parse_args()
    outcome: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "callers": CALLERS, "keys": KEYS, "load_ms": LOAD_SECONDS * 1000,
        "processes": by_processes(options.max_batch, options.rounds),
        "loop": by_loop(options.max_batch, options.rounds),
        "hit": hit(options.rounds),
    }  # fmt: skip
    processes = outcome["processes"]
    print(f"{CALLERS} processes, {KEYS} keys: {processes['loads']} loads, ideal {processes['ideal']}", file=sys.stderr)
    for name, found in outcome["loop"].items():
        print(f"one loop, {name}: {found['loads']} loads, {timing.median(found['ms']):.1f} ms", file=sys.stderr)
    print(f"hit: {outcome['hit']}", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))
