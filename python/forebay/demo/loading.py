# SPDX-License-Identifier: Apache-2.0
"""Loading: all workers start cold at the same moment; one hot key expires again and again.

Cold start: each worker reads pages of records, as the list pages of a service
do, the same ids both ways: one query for each record that its lru_cache lacks,
or fetch_many(), which asks for all that a page lacks at once, and for nothing
that another worker is just loading.

Stampede: several threads in each worker read one key whose value takes a slow
query over all cities.  Without leases whoever finds it expired queries; fetch()
lets one caller of the machine query while the others wait; with stale= the
others are served the old value meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.demo import loading_worker
from forebay.demo.data import read_ids
from forebay.demo.loading_worker import PAGE, PAUSE, STALE, TTL
from forebay.demo.processes import Run, Worker, lost, results_of
from forebay.demo.tables import compared, count, print_lost, print_table

MODULE = "forebay.demo.loading_worker"
COLD_WAYS = {"lru_cache": "own lru_cache", "arena": "fetch_many"}
HOT_WAYS = {"get_set": "get, query, set", "fetch": "fetch", "stale": "fetch, stale="}
PAGES = 500  # of each worker
THREADS = 4  # of each worker
HOT_SHARE = 0.5  # of the seconds asked for, for each of the three ways


def duration(results: list[dict[str, Any]]) -> float:
    """From the first worker's begin to the last one's end: all have one clock."""
    return float(max(r["end"] for r in results) - min(r["begin"] for r in results))


# ---------------------------------------------------------------- cold start


def run_cold_start(way: str, run: Run) -> dict[str, Any]:
    title = f"cold start, {COLD_WAYS[way]}"

    def stage(workers: list[Worker]) -> tuple[str, str]:
        share = sum(PAGES if worker.result else worker.done for worker in workers) / (len(workers) * PAGES)
        return f"{title}: every worker reads {PAGES:,} pages", f"{share:4.0%}"

    workers = run.serve(title, MODULE, {"part": "cold-start", "way": way, "pages": PAGES}, stage)
    results = results_of(workers)
    return {
        "workers_measured": len(results),
        "workers_lost": lost(workers),
        "queries": sum(r["queries"] for r in results),
        "records_read": sum(r["records_read"] for r in results),
        "duration_seconds": duration(results),
    }


def different_ids(folder: Path, workers: int) -> int:
    """How many records the pages of all workers have."""
    return len({number for n in range(workers) for number in read_ids(folder / f"reads-{n}")[: PAGES * PAGE]})


def measure_cold_start(run: Run) -> dict[str, Any]:
    ways = {way: run_cold_start(way, run) for way in COLD_WAYS}
    return {"pages_per_worker": PAGES, "page": PAGE, "records_wanted": different_ids(run.folder, run.options.workers),
            "ways": ways}  # fmt: skip


def print_cold_start(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in COLD_WAYS]
    print(f"Cold start: all workers begin at once, each reads {outcome['pages_per_worker']:,} pages of {outcome['page']} zipfian records;")
    print(f"together they want {outcome['records_wanted']:,} different records\n")
    print_table(["", *COLD_WAYS.values(), ""], [
        compared(ways, "database queries, all workers", "queries", count),
        compared(ways, "records read from the database", "records_read", count),
        compared(ways, "until all workers are done", "duration_seconds", lambda s: f"{s:.2f} s"),
    ])  # fmt: skip
    print("\nSQLite answers inside the worker, within microseconds: there is no round trip to a server, which each query would cost.")
    print_lost([text for way in ways for text in way["workers_lost"]])


# ------------------------------------------------------------------ stampede


def run_stampede(way: str, run: Run) -> dict[str, Any]:
    title = f"stampede, {HOT_WAYS[way]}"
    seconds = run.options.seconds * HOT_SHARE
    orders = {"part": "stampede", "way": way, "seconds": seconds, "threads": THREADS}
    load = loading_worker.READERS[way](run.arena, loading_worker.HotQuery(run.folder))
    workers = run.serve(title, MODULE, orders, lambda _: (f"{title}: {seconds:g} s of reads of the hot key", ""), load)
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
    query = loading_worker.HotQuery(folder)
    query()
    begin = time.monotonic()
    query()
    return time.monotonic() - begin


def measure_stampede(run: Run) -> dict[str, Any]:
    alone = query_seconds(run.folder)
    ways = {way: run_stampede(way, run) for way in HOT_WAYS}
    return {"threads_per_worker": THREADS, "ttl_seconds": TTL, "stale_seconds": STALE, "pause_seconds": PAUSE,
            "query_ms": alone * 1000, "ways": ways}  # fmt: skip


def print_stampede(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in HOT_WAYS]

    def row(title: str, key: str, text: Callable[[Any], str]) -> list[str]:
        return [title, *(text(way[key]) for way in ways)]

    print(f"Stampede: {outcome['threads_per_worker']} threads of each worker read one hot key, whose value is good for {outcome['ttl_seconds']:g} s")
    print(f"and takes a query over all cities of {outcome['query_ms']:.0f} ms; {outcome['pause_seconds'] * 1000:g} ms between two reads of a thread\n")
    print_table(["", *HOT_WAYS.values()], [
        row("database queries, all workers", "queries", count),
        row("reads", "reads", count),
        row("p50 of a read", "p50_us", lambda us: f"{us:,.1f} us"),
        row("longest wait of a reader", "longest_ms", lambda ms: f"{ms:,.0f} ms"),
        row("duration", "duration_seconds", lambda s: f"{s:.1f} s"),
    ])  # fmt: skip
    print(f"\nAll three ways go through the arena, and begin with the value in it. stale= serves it for up to {outcome['stale_seconds']:g} s more while one")
    print("caller of the machine loads it anew in the background.")
    print_lost([text for way in ways for text in way["workers_lost"]])
