# SPDX-License-Identifier: Apache-2.0
"""Cold start: all workers begin at the same moment, with nothing cached.

Each worker reads pages of records, as the list pages of a service do, the same
ids both ways: one query for each record that its lru_cache lacks, or
fetch_many(), which asks for all that a page lacks at once, and for nothing that
another worker is just loading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forebay.demo.cold_start_worker import PAGE
from forebay.demo.data import read_ids
from forebay.demo.processes import Run, Worker, duration, lost, results_of
from forebay.demo.tables import compared, count, print_lost, print_table

WAYS = {"lru_cache": "own lru_cache", "arena": "fetch_many"}
PAGES = 500  # of each worker


def run_way(way: str, run: Run) -> dict[str, Any]:
    title = f"cold start, {WAYS[way]}"

    def stage(workers: list[Worker]) -> tuple[str, str]:
        share = sum(PAGES if worker.result else worker.done for worker in workers) / (len(workers) * PAGES)
        return f"{title}: every worker reads {PAGES:,} pages", f"{share:4.0%}"

    workers = run.serve(title, "forebay.demo.cold_start_worker", {"way": way, "pages": PAGES}, stage)
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


def measure(run: Run) -> dict[str, Any]:
    ways = {way: run_way(way, run) for way in WAYS}
    return {"pages_per_worker": PAGES, "page": PAGE, "records_wanted": different_ids(run.folder, run.options.workers),
            "ways": ways}  # fmt: skip


def print_report(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in WAYS]
    print(f"Cold start: all workers begin at once, each reads {outcome['pages_per_worker']:,} pages of {outcome['page']} zipfian records;")
    print(f"together they want {outcome['records_wanted']:,} different records\n")
    print_table(["", *WAYS.values(), ""], [
        compared(ways, "database queries, all workers", "queries", count),
        compared(ways, "records read from the database", "records_read", count),
        compared(ways, "until all workers are done", "duration_seconds", lambda s: f"{s:.2f} s"),
    ])  # fmt: skip
    print("\nSQLite answers inside the worker, within microseconds: there is no round trip to a server, which each query would cost.")
    print_lost([text for way in ways for text in way["workers_lost"]])
