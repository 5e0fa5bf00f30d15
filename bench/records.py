# SPDX-License-Identifier: Apache-2.0
"""`python bench records`: what decoding costs, whole, one field, or not at all.

Values are the benchmarks' records, dicts with dicts in a list.  In each round the
ways take turns; figures are medians of single calls, ratios medians of the
rounds'.  "In hand" begins with bytes that are there already; the others begin
with a key.  Writes build/bench/records.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset
import forebay
import msgpack
import msgspec
import timing
from forebay._core import _record

HOT_KEYS = 200
FIELD = "admin1"
LARGE_FIELDS = 4000


class Hub:
    """All that the ways need, of one set of records."""

    def __init__(self, count: int) -> None:
        data = dataset.load()
        chosen = random.Random(1).sample(range(len(data.keys)), count)
        self.encoded = {data.keys[n]: data.values[n] for n in chosen}
        self.keys = list(self.encoded)
        self.plain = {key: msgpack.unpackb(value) for key, value in self.encoded.items()}
        self.texts = {key: json.dumps(value) for key, value in self.plain.items()}
        self.arena = forebay.open(None, "256MiB")
        self.cache = self.arena.cache("records", codec=None, memo="4MiB")
        self.bare = self.arena.cache("records", codec=None, memo=None)
        self.cache.set_many(self.plain)
        self.large = {f"field-{n}": n for n in range(LARGE_FIELDS)} | {FIELD: "x"}
        self.cache["large"] = self.large
        self.large_bytes = msgpack.packb(self.large)


Ways = dict[str, Callable[[Any], Any]]


def whole(hub: Hub) -> Ways:
    encoded, texts, cache, unpack, spec = hub.encoded, hub.texts, hub.cache, msgpack.unpackb, msgspec.msgpack.Decoder()
    return {
        "msgpack.unpackb, in hand": lambda key: unpack(encoded[key]),
        "msgspec, in hand": lambda key: spec.decode(encoded[key]),
        "json.loads, in hand": lambda key: json.loads(texts[key]),
        "record.materialize(), in hand": lambda key: _record(encoded[key]).materialize(),
        "cache.get": cache.get,
    }


def one_field(hub: Hub) -> Ways:
    encoded, texts, unpack, spec = hub.encoded, hub.texts, msgpack.unpackb, msgspec.msgpack.Decoder()
    cache, bare = hub.cache, hub.bare

    class Only(msgspec.Struct):
        admin1: str

    typed = msgspec.msgpack.Decoder(Only)
    return {
        "msgpack.unpackb, in hand": lambda key: unpack(encoded[key])[FIELD],
        "msgspec, in hand": lambda key: spec.decode(encoded[key])[FIELD],
        "msgspec Struct of that field, in hand": lambda key: typed.decode(encoded[key]).admin1,
        "json.loads, in hand": lambda key: json.loads(texts[key])[FIELD],
        "record, in hand": lambda key: _record(encoded[key])[FIELD],
        "cache.get": lambda key: cache.get(key)[FIELD],
        "cache.lazy, no memo": lambda key: bare.lazy(key)[FIELD],
        "cache.lazy, in the memo": lambda key: cache.lazy(key)[FIELD],
    }


def hot_object(hub: Hub) -> Ways:
    return {
        "dict of dicts": hub.plain.__getitem__,
        "cache.lazy, in the memo": hub.cache.lazy,
        "cache.lazy, no memo": hub.bare.lazy,
        "cache.get": hub.cache.get,
    }


def large_value(hub: Hub) -> Ways:
    cache, data = hub.cache, hub.large_bytes
    return {
        "msgpack.unpackb, in hand": lambda key: msgpack.unpackb(data)[FIELD],
        "cache.get": lambda key: cache.get("large")[FIELD],
        "cache.lazy, in place": lambda key: cache.lazy("large")[FIELD],
        "cache.view, opened and closed": lambda key: cache.view("large").release(),
    }


# part: what makes its ways, what the others are compared with
PARTS: dict[str, tuple[Callable[[Hub], Ways], str]] = {
    "a whole record": (whole, "msgpack.unpackb, in hand"),
    "one field": (one_field, "msgpack.unpackb, in hand"),
    "a hot record": (hot_object, "dict of dicts"),
    "one field of a large value": (large_value, "msgpack.unpackb, in hand"),
}


def measure(ways: Ways, base: str, order: list[str], options: argparse.Namespace) -> dict[str, Any]:
    spans: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        for key in order[: 20 * HOT_KEYS]:
            way(key)
    for _ in range(options.rounds):
        for name, way in ways.items():
            with timing.collector_off():
                spans[name].append(timing.loop(way, order, options.seconds)[0])
    return {
        name: {
            "ns": timing.median(found),
            "ratio": timing.median([mine / theirs for mine, theirs in zip(found, spans[base])]),
        }
        for name, found in spans.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench records", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "records.json")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    hub = Hub(options.records)
    for key in hub.keys[:100]:
        assert hub.cache.lazy(key) == hub.cache.get(key) == _record(hub.encoded[key]) == hub.plain[key]
    hot = hub.keys[:HOT_KEYS] * 2000
    random.Random(2).shuffle(hot)
    parts = {}
    for part, (make, base) in PARTS.items():
        parts[part] = measure(make(hub), base, hot, options)
        print(f"{part}:", file=sys.stderr)
        for name, found in parts[part].items():
            print(f"    {name:40} {found['ns']:10.0f} ns {found['ratio']:8.3f}", file=sys.stderr)
    facts = {"hot_keys": HOT_KEYS, "rounds": options.rounds, "large_bytes": len(hub.large_bytes),
             "mean_bytes": sum(map(len, hub.encoded.values())) / len(hub.encoded)}  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(facts | {"parts": parts}, indent=1))
    hub.arena.close()
