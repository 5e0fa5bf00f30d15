# SPDX-License-Identifier: Apache-2.0
"""Connections: what all workers together hold open.

Each worker has a pool of its own, and they are busy in turn: eight threads of one
want a connection at once while two of each other one do.  Every pool then grows to
what its worker needs at its busiest, and keeps it.  With host_max= the pools of the
machine share one limit, and connections go where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.demo.connections_worker import BUSY, HELD, PHASE, QUIET, THINK
from forebay.demo.processes import Run, duration, lost, results_of
from forebay.demo.tables import count, print_lost, print_table

WAYS = {"own": "a pool each", "host_max": "and host_max="}
PER_WORKER = 3  # connections of host_max= for each worker


def most_at_once(log: Path) -> int:
    """A connection is noted before it is opened and after it is closed: at most so many were open."""
    events = sorted((int(moment), int(change)) for moment, change in map(str.split, log.read_text().splitlines()))
    most = now = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most


def run_way(way: str, run: Run) -> dict[str, Any]:
    title = f"connections, {WAYS[way]}"
    seconds = max(run.options.seconds, run.options.workers * PHASE)
    log = run.folder / f"connections-{way}"
    orders = {"way": way, "seconds": seconds, "log": str(log), "workers": run.options.workers,
              "host_max": host_max(run)}  # fmt: skip
    stage = f"{title}: {seconds:g} s of requests"
    workers = run.serve(title, "forebay.demo.connections_worker", orders, lambda _: (stage, ""))
    results = results_of(workers)
    waits = sorted(wait for r in results for wait in r["waits"])
    return {
        "workers_measured": len(results),
        "workers_lost": lost(workers),
        "most_at_once": most_at_once(log),
        "opened": sum(r["opened"] for r in results),
        "requests": len(waits),
        "refused": sum(r["refused"] for r in results),
        "p50_us": waits[len(waits) // 2] * 1e6,
        "p99_ms": waits[len(waits) * 99 // 100] * 1000,
        "longest_ms": waits[-1] * 1000,
        "duration_seconds": duration(results),
    }


def host_max(run: Run) -> int:
    workers: int = run.options.workers
    return PER_WORKER * workers


def measure(run: Run) -> dict[str, Any]:
    ways = {way: run_way(way, run) for way in WAYS}
    return {"max_size": BUSY, "host_max": host_max(run), "held_ms": HELD * 1000, "ways": ways}


def print_report(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in WAYS]

    def row(title: str, key: str, text: Callable[[Any], str]) -> list[str]:
        return [title, *(text(way[key]) for way in ways)]

    print(f"Connections: a pool in each worker, max_size={outcome['max_size']}; {BUSY} threads of one worker after the other want a connection for")
    print(f"{outcome['held_ms']:g} ms, {QUIET} of each other one, {THINK * 1000:g} ms between two requests of a thread; host_max={outcome['host_max']}\n")
    print_table(["", *WAYS.values()], [
        row("connections open at once, all workers", "most_at_once", count),
        row("connections opened", "opened", count),
        row("requests", "requests", count),
        row("p50 of the wait for a connection", "p50_us", lambda us: f"{us:,.1f} us"),
        row("p99", "p99_ms", lambda ms: f"{ms:,.1f} ms"),
        row("longest", "longest_ms", lambda ms: f"{ms:,.0f} ms"),
        row("requests refused", "refused", count),
        row("duration", "duration_seconds", lambda s: f"{s:.1f} s"),
    ])  # fmt: skip
    print_lost([text for way in ways for text in way["workers_lost"]])
