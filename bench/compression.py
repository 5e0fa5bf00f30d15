# SPDX-License-Identifier: Apache-2.0
"""`python bench compression`: what packing costs and what it gains.

Codecs: a cache of each codec beside one that packs nothing, over all records: what
they come to, the time of a set, of a get of a packed value, of its decoded value,
of values that cannot be packed.  Temperature: records in zipfian order, and those
of real traces (`--traces FOLDER`), through arenas of a part of the set's size, for
several shares of entries that are kept unpacked.  Writes build/bench/compression.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import dataset
import forebay
import forebay.codec
import timing

RUN = dataset.BUILD.parent / "release" / "bench" / "packing_run"
CODECS = (None, "auto", "zstd", "zstd:9", "lz4")
WAYS = {"all as they are": ("none", 0), "all packed": ("auto", 4_000_000_000), "1/64": ("auto", 64), "1/32": ("auto", 32),
        "1/16": ("auto", 16), "1/8": ("auto", 8), "1/4": ("auto", 4)}  # fmt: skip
PARTS = (8, 4, 2)  # the set's bytes through the arena's size
TRACES = ("cache2k-web12", "cache2k-orm-busy")
TRACE_RECORD = 20  # bytes: time, key (u64 at 4), size, ttl


def offline_ratio(values: list[bytes]) -> float:
    """zstd -3 with a dictionary of 110 KiB trained from a tenth of all records."""
    dictionary = forebay.codec.train_dictionary(values[::10], 112640)
    packed = [len(forebay.codec.compress(value, "zstd", 3, dictionary)) for value in values[1::10]]
    return sum(map(len, values[1::10])) / sum(packed)


def fill(cache: Any, keys: list[str], values: list[Any]) -> float:
    """Mean microseconds of a set."""
    begin = time.perf_counter()
    for key, value in zip(keys, values):
        cache.set(key, value)
    return (time.perf_counter() - begin) / len(keys) * 1e6


def measure_codec(codec: str | None, keys: list[str], values: list[bytes], decoded: list[Any], noise: list[bytes]) -> dict[str, float]:
    found: dict[str, float] = {}
    with forebay.open(None, "512MiB") as arena:
        cache = arena.cache("packed", codec=codec)
        fill(cache, keys, values)
        while codec is not None and not cache.train() and cache.stats()["dictionary"] is None:
            time.sleep(0.01)
        before = cache.stats()
        found["set"] = fill(cache, keys, values)
        after = cache.stats()
        if codec is not None:
            found["ratio"] = (after["value_bytes"] - before["value_bytes"]) / (after["stored_bytes"] - before["stored_bytes"])
        order = keys.copy()
        random.Random(1).shuffle(order)
        found["get"] = timing.percentile(timing.singles(cache.get, order, 0.5), 0.5) / 1000  # each key once: packed
        zipfian = [keys[index] for index in dataset.zipf_indices(len(keys), 400_000, 1).tolist()]
        timing.loop(cache.get, zipfian, 1.0)
        found["get, zipfian, mean"] = timing.loop(cache.get, zipfian, 0.5)[0] / 1000
        records = arena.cache("records", codec=codec)
        fill(records, keys[:20000], decoded)
        if codec is not None:
            records.train()
            fill(records, keys[:20000], decoded)
        found["get, decoded"] = timing.percentile(timing.singles(records.get, order_of(keys[:20000]), 0.5), 0.5) / 1000
        mixed = arena.cache("noise", codec=codec)
        found["set, random bytes"] = timing.median([fill(mixed, keys[:20000], noise) for _ in range(5)])
        found["get, random bytes"] = timing.percentile(timing.singles(mixed.get, order_of(keys[:20000]), 0.3), 0.5) / 1000
    return found


def order_of(keys: list[str]) -> list[str]:
    order = keys.copy()
    random.Random(2).shuffle(order)
    return order


def codecs_part(options: argparse.Namespace) -> dict[str, Any]:
    import msgpack

    outcome = {}
    for kind in options.kinds:
        data = dataset.load(kind)
        decoded = [msgpack.unpackb(value) for value in data.values[:20000]]
        source = random.Random(3)
        noise = [source.randbytes(len(value)) for value in data.values[:20000]]
        rows: dict[str, dict[str, list[float]]] = {}
        for _ in range(options.rounds):
            for codec in CODECS:
                for name, value in measure_codec(codec, data.keys, data.values, decoded, noise).items():
                    rows.setdefault(str(codec), {}).setdefault(name, []).append(value)
        medians = {codec: {name: timing.median(found) for name, found in row.items()} for codec, row in rows.items()}
        outcome[kind] = {"records": len(data.keys), "mean_bytes": sum(map(len, data.values)) / len(data.values),
                         "offline_ratio": offline_ratio(data.values), "codecs": medians}  # fmt: skip
        print(kind, json.dumps(outcome[kind], indent=1), file=sys.stderr)
    return outcome


def trace_indices(path: Path) -> array[int]:
    """Its keys, numbered in the order they first come."""
    data = subprocess.run(["zstd", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
    numbers: dict[bytes, int] = {}
    keys = (data[at + 4 : at + 12] for at in range(0, len(data), TRACE_RECORD))
    return array("I", (numbers.setdefault(key, len(numbers)) for key in keys))


def run_way(records: Path, size: int, way: str, indices: bytes) -> dict[str, float]:
    codec, part = WAYS[way]
    done = subprocess.run([RUN, records, str(size), codec, str(part)], input=indices, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    return {"misses": 1 - found["hits"] / found["gets"], "unpacked_hits": found["packed_hits"] / max(found["hits"], 1),
            "get_ns": found["get_ns"], "set_ns": found["set_ns"], "entries": found["entries"]}  # fmt: skip


def temperature_part(options: argparse.Namespace) -> dict[str, Any]:
    data = dataset.load("regions")
    records, _ = dataset.paths("regions")
    mean = sum(map(len, data.values)) / len(data.values)
    orders = {"zipfian": dataset.zipf_indices(len(data.keys), 3_000_000, 1)}
    for name in TRACES if options.traces else ():
        orders[name] = trace_indices(options.traces / f"{name}.trc.zst")
    outcome: dict[str, Any] = {}
    for name, indices in orders.items():
        keys = max(indices) + 1
        for part in PARTS:
            size = max(int(keys * mean) // part, 1 << 20)
            rows = {way: run_way(records, size, way, indices.tobytes()) for way in WAYS}
            outcome[f"{name}, 1/{part}"] = {"keys": keys, "size": size, "gets": len(indices), "ways": rows}
            print(name, part, json.dumps(rows), file=sys.stderr)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench compression", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", default=["regions", "debian"])
    parser.add_argument("--traces", type=Path, default=os.environ.get("TRACES"))
    parser.add_argument("--part", choices=("codecs", "temperature"))
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "compression.json")
    options = parser.parse_args()
    
    outcome = json.loads(options.output.read_text()) if options.part and options.output.exists() else {}
    if options.part != "temperature":
        outcome["codecs"] = codecs_part(options)
    if options.part != "codecs":
        outcome["temperature"] = temperature_part(options)
    outcome["rounds"] = options.rounds
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
