# SPDX-License-Identifier: Apache-2.0
"""Streaming: each worker goes over the whole table once, as an export would.

fetchall() holds all rows as tuples at once; forebay.batches() holds one or two
batches of bounded size, packed.
"""

from __future__ import annotations

from typing import Any

from forebay.demo.processes import Run, duration, lost, results_of
from forebay.demo.streaming_worker import MAX_BYTES
from forebay.demo.tables import compared, count, mib, print_lost, print_table

WAYS = {"fetchall": "fetchall()", "batches": "forebay.batches()"}


def run_way(way: str, run: Run) -> dict[str, Any]:
    title = f"streaming, {WAYS[way]}"
    workers = run.serve(title, "forebay.demo.streaming_worker", {"way": way}, lambda _: (f"{title}: the whole table", ""))
    results = results_of(workers)
    return {
        "workers_measured": len(results),
        "workers_lost": lost(workers),
        "rows": sum(r["rows"] for r in results),
        "sums": sorted({(r["people"], r["letters"]) for r in results}),
        "private_bytes": sum(r["private_bytes"] for r in results),
        "duration_seconds": duration(results),
    }


def measure(run: Run) -> dict[str, Any]:
    ways = {way: run_way(way, run) for way in WAYS}
    return {"max_bytes": MAX_BYTES, "ways": ways}


def print_report(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in WAYS]
    print(f"Streaming: each worker goes over the whole table once and sums two columns; max_bytes={outcome['max_bytes']!r}\n")
    print_table(["", *WAYS.values(), ""], [
        ["rows, all workers", *(count(way["rows"]) for way in ways), ""],
        compared(ways, "memory at its highest, all workers", "private_bytes", mib),
        compared(ways, "until all workers are done", "duration_seconds", lambda s: f"{s:.2f} s"),
    ])  # fmt: skip
    print_lost([text for way in ways for text in way["workers_lost"]])
