# SPDX-License-Identifier: Apache-2.0
"""Stampede: one hot key expires again and again.

Several threads in each worker read one key whose value takes a slow query over
all cities.  Without leases whoever finds it expired queries; fetch() lets one
caller of the machine query while the others wait; with stale= the others are
served the old value meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.demo.processes import Run, duration, lost, results_of
from forebay.demo.stampede_worker import PAUSE, READERS, STALE, TTL, HotQuery
from forebay.demo.tables import count, print_lost, print_table

WAYS = {"get_set": "get, query, set", "fetch": "fetch", "stale": "fetch, stale="}
THREADS = 4  # of each worker
SHARE = 0.5  # of the seconds asked for, for each of the three ways


def run_way(way: str, run: Run) -> dict[str, Any]:
    title = f"stampede, {WAYS[way]}"
    seconds = run.options.seconds * SHARE
    orders = {"way": way, "seconds": seconds, "threads": THREADS}
    load = READERS[way](run.arena, HotQuery(run.folder))
    workers = run.serve(title, "forebay.demo.stampede_worker", orders, lambda _: (f"{title}: {seconds:g} s of reads of the hot key", ""), load)
    run.arena.cache("hot").clear()
    results = results_of(workers)
    spans = sorted(span for r in results for span in r["spans"])
    return {
        "workers_measured": len(results),
        "workers_lost": lost(workers),
        "queries": sum(r["queries"] for r in results),
        "reads": len(spans),
        "p50_us": spans[len(spans) // 2] * 1e6,
        "longest_ms": spans[-1] * 1000,
        "duration_seconds": duration(results),
    }


def query_seconds(folder: Path) -> float:
    """Alone, when the file has been read before."""
    query = HotQuery(folder)
    query()
    begin = time.monotonic()
    query()
    return time.monotonic() - begin


def measure(run: Run) -> dict[str, Any]:
    alone = query_seconds(run.folder)
    ways = {way: run_way(way, run) for way in WAYS}
    return {"threads_per_worker": THREADS, "ttl_seconds": TTL, "stale_seconds": STALE, "pause_seconds": PAUSE,
            "query_ms": alone * 1000, "ways": ways}  # fmt: skip


def print_report(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in WAYS]

    def row(title: str, key: str, text: Callable[[Any], str]) -> list[str]:
        return [title, *(text(way[key]) for way in ways)]

    print(f"Stampede: {outcome['threads_per_worker']} threads of each worker read one hot key, whose value is good for {outcome['ttl_seconds']:g} s")
    print(f"and takes a query over all cities of {outcome['query_ms']:.0f} ms; {outcome['pause_seconds'] * 1000:g} ms between two reads of a thread\n")
    print_table(["", *WAYS.values()], [
        row("database queries, all workers", "queries", count),
        row("reads", "reads", count),
        row("p50 of a read", "p50_us", lambda us: f"{us:,.1f} us"),
        row("longest wait of a reader", "longest_ms", lambda ms: f"{ms:,.0f} ms"),
        row("duration", "duration_seconds", lambda s: f"{s:.1f} s"),
    ])  # fmt: skip
    print(f"\nAll three ways go through the arena, and begin with the value in it. stale= serves it for up to {outcome['stale_seconds']:g} s more while one")
    print("caller of the machine loads it anew in the background.")
    print_lost([text for way in ways for text in way["workers_lost"]])
