# SPDX-License-Identifier: Apache-2.0
"""A measured process: takes orders as JSON lines on stdin, answers on stdout.

Order: {"do": name of a function of Worker, ...its arguments}; answer: what the
function returns.  together() answers "ready" first and begins at the next line,
so that two processes begin at once.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import dataset
import timing
from peers import Peer, Place, all_peers

HOT_KEYS = 200
BATCH = 100
CHECKED = 100  # keys whose values are compared before each measurement
SEQUENCE = 200_000  # the longest loop of one turn


def answer(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Worker:
    def __init__(self, number: int, folder: str, kind: str, peers: list[str]) -> None:
        self.number = number
        self.data = dataset.load(kind)
        # keys of its own, as a request brings them: equal to the stored ones, not the same objects
        self.keys = [key.encode().decode() for key in self.data.keys]
        total = sum(map(len, self.data.values)) + sum(map(len, self.data.keys))
        self.place = Place(Path(folder), len(self.keys), total)
        self.names = peers
        self.peers: dict[str, Peer] = {}

    def open(self, fill_shared: bool) -> None:
        """One worker fills the shared stores; every worker fills its private ones, and reads all once."""
        found = all_peers()
        for name in self.names:
            peer = self.peers[name] = found[name](self.place)
            if fill_shared or not peer.shared:
                peer.fill(islice(zip(self.data.keys, self.data.values), peer.most))
            peer.ready()

    def touch(self, peer: str) -> int:
        """Read the whole set once: maps its pages; returns how many were there."""
        store = self.peers[peer]
        return sum(store.get(store.key(key)) is not None for key in self.keys[: store.most])

    def check(self, store: Peer, indices: list[int]) -> None:
        for index in indices[:CHECKED]:
            found, wanted = store.get(store.key(self.keys[index])), store.value(self.data.values[index])
            if found != wanted and not (found is None and store.may_miss):
                raise AssertionError(f"{store.name}: {self.keys[index]} gave {found!r}, not {wanted!r}")

    @functools.lru_cache(maxsize=4)  # noqa: B019: one Worker, as long as the process
    def indices(self, turn: int, length: int) -> list[int]:
        return dataset.zipf_indices(len(self.keys), length, 1 + 2 * turn + self.number).tolist()

    def indices_for(self, store: Peer, turn: int, length: int) -> list[int]:
        """Of the records that it was given."""
        chosen = self.indices(turn, length)
        return chosen if store.most is None else [index % store.most for index in chosen]

    # each returns a callable of one argument, its arguments, and keys per call

    def plan_get(self, store: Peer, turn: int, length: int) -> tuple[Callable, list, int]:
        chosen = self.indices_for(store, turn, length)
        self.check(store, chosen)
        native = {index: store.key(self.keys[index]) for index in set(chosen)}
        return store.get, [native[index] for index in chosen], 1

    def plan_hot(self, store: Peer, turn: int, length: int) -> tuple[Callable, list, int]:
        hot = list(dict.fromkeys(self.indices_for(store, turn, 20 * HOT_KEYS)))[:HOT_KEYS]
        self.check(store, hot)
        keys = [store.key(self.keys[index]) for index in hot]
        for key in keys:
            store.get(key)
        return store.get, keys * (length // HOT_KEYS), 1

    def plan_get_many(self, store: Peer, turn: int, length: int) -> tuple[Callable, list, int]:
        call, keys, _ = self.plan_get(store, turn, length)
        batches = []
        for at in range(0, len(keys) - BATCH + 1, BATCH):
            batches.append(keys[at : at + BATCH])
        return store.get_many, batches, BATCH

    def measure(self, peer: str, op: str, turn: int, seconds: float, length: int = SEQUENCE) -> dict[str, float]:
        store = self.peers[peer]
        call, arguments, per_call = getattr(self, f"plan_{op}")(store, turn, length)
        with timing.collector_off():
            mean, calls = timing.loop(call, arguments, seconds)
            spans = timing.singles(call, arguments, seconds / 2)
        return {"mean_ns": mean / per_call, "keys": calls * per_call,
                "p50_ns": timing.percentile(spans, 0.5) / per_call,
                "p99_ns": timing.percentile(spans, 0.99) / per_call}  # fmt: skip

    def together(self, peer: str, turn: int, seconds: float) -> dict[str, float]:
        """Gets for so long, from a go that all processes get at once; keys come round again."""
        store = self.peers[peer]
        get, keys, _ = self.plan_get(store, turn, SEQUENCE // 4)
        answer("ready")
        sys.stdin.readline()
        clock, calls, at = time.perf_counter, 0, 0
        with timing.collector_off():
            begin = clock()
            while clock() - begin < seconds:
                for key in keys[at : at + timing.CHUNK]:
                    get(key)
                calls += timing.CHUNK
                at = (at + timing.CHUNK) % len(keys)
            spent = clock() - begin
        return {"per_second": calls / spent}

    def measure_set(self, peer: str, turn: int, seconds: float, length: int = SEQUENCE) -> dict[str, float]:
        store = self.peers[peer]
        store.before_sets(zip(self.data.keys, self.data.values))
        chosen = self.indices_for(store, turn, length)
        values = {index: store.value(self.data.values[index]) for index in set(chosen)}
        pairs = [(store.key(self.keys[index]), values[index]) for index in chosen]
        with timing.collector_off():
            mean, calls = timing.loop2(store.set, pairs, seconds)
            spans = timing.singles2(store.set, pairs, seconds)
        found = {f"p{name}_ns": timing.percentile(spans, share)
                 for name, share in (("50", 0.5), ("99", 0.99), ("999", 0.999))}  # fmt: skip
        return {"mean_ns": mean, "keys": calls, "timed": len(spans), "max_ns": spans[-1], **found}


def main() -> None:
    orders = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {orders["cpu"]})
    worker = Worker(orders["number"], orders["folder"], orders["kind"], orders["peers"])
    answer("started")
    for line in sys.stdin:
        order = json.loads(line)
        answer({"result": getattr(worker, order.pop("do"))(**order)})


if __name__ == "__main__":
    main()
