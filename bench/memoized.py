# SPDX-License-Identifier: Apache-2.0
"""`python bench memoize`: a hit of Arena.memoize against one of functools.lru_cache.

Both hold the results of the same function of one str; in each round they take
turns.  The keys are zipfian over the whole set, or 200 in a hot loop; the
results a short str, or a small dict: lru_cache gives the same object each time,
the arena a fresh copy.  Writes build/bench/memoize.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset
import forebay
import timing

HOT_KEYS = 200


def text_of(key: str) -> str:
    return f"the price of {key}"


def record_of(key: str) -> dict[str, Any]:
    return {"name": key, "population": len(key) * 1000, "country": "XX", "tags": ["a", "b"]}


def measure(function: Callable[[str], Any], keys: list[str], order: list[str], options: argparse.Namespace) -> dict[str, Any]:
    with forebay.open(None, "256MiB") as arena:
        ways = {"lru_cache": functools.lru_cache(maxsize=None)(function), "memoize": arena.memoize(function)}
        spans: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            for key in keys:
                way(key)
                assert way(key) == function(key)
        for _ in range(options.rounds):
            for name, way in ways.items():
                with timing.collector_off():
                    spans[name].append(timing.percentile(timing.singles(way, order, options.seconds), 0.5))
        assert ways["memoize"].cache_info().misses == len(keys)
    p50 = {name: timing.median(found) for name, found in spans.items()}
    ratio = timing.median([ours / theirs for ours, theirs in zip(spans["memoize"], spans["lru_cache"])])
    return {"p50_ns": p50, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench memoize", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each turn")
    parser.add_argument("--keys", type=int, default=60_000)
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "memoize.json")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    keys = [f"item-{number}" for number in range(options.keys)]
    zipfian = [keys[index] for index in dataset.zipf_indices(len(keys), 400_000, 1).tolist()]
    hot = list(dict.fromkeys(zipfian))[:HOT_KEYS] * 2000
    outcome = {}
    for result, function in ("text", text_of), ("record", record_of):
        for name, order in ("whole set", zipfian), ("hot", hot):
            found = outcome[f"{result}, {name}"] = measure(function, keys, order, options)
            figures = ", ".join(f"{way} {ns:.0f} ns" for way, ns in found["p50_ns"].items())
            print(f"{result}, {name}: p50 {figures}: {found['ratio']:.2f} x", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"keys": options.keys, "rounds": options.rounds, "ways": outcome}, indent=1))
