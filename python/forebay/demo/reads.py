# SPDX-License-Identifier: Apache-2.0
"""Memory and reads: every worker has all records, in an lru_cache of its own or in one arena.

Some cities are read far more often than others (zipfian, s = 0.99).  Both ways
serve the same sequence of ids, return the same dictionaries and begin with the
same warm-up: every worker reads every record once, in an order of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forebay.demo import reads_worker
from forebay.demo.data import ZIPF_EXPONENT
from forebay.demo.processes import Run, Worker, lost, results_of
from forebay.demo.tables import compared, count, mib, print_lost, print_table

WAYS = {"lru_cache": "own lru_cache", "arena": "one arena"}


def run_way(way: str, run: Run) -> list[Worker]:
    title, seconds = WAYS[way], run.options.seconds

    def stage(workers: list[Worker]) -> tuple[str, str]:
        if any(worker.ready or worker.lost for worker in workers):
            return f"{title}: {seconds:g} s of zipfian reads", ""
        share = sum(worker.done for worker in workers) / (len(workers) * run.options.rows)
        return f"{title}: warm-up, every worker reads every record", f"{share:4.0%}"

    return run.serve(title, "forebay.demo.reads_worker", {"way": way, "seconds": seconds}, stage)


def summarize(workers: list[Worker], arena: Path | None) -> dict[str, Any]:
    results = results_of(workers)
    histogram = [sum(counts) for counts in zip(*(r["histogram"] for r in results))]
    private = sum(r["private_bytes"] for r in results)
    blocks = arena.stat().st_blocks * 512 if arena else 0
    return {
        "workers_measured": len(results),
        "workers_lost": lost(workers),
        "private_bytes": private,
        "arena_block_bytes": blocks,
        "memory_bytes": private + blocks,
        "reads": sum(r["reads"] for r in results),
        "reads_per_second": sum(r["reads_per_second"] for r in results),
        "p50_us": reads_worker.percentile(histogram, 0.50),
        "p99_us": reads_worker.percentile(histogram, 0.99),
        "queries_warm_up": sum(r["queries_warm_up"] for r in results),
        "queries_measured": sum(r["queries_measured"] for r in results),
        "warm_up_seconds": max(r["warm_up_seconds"] for r in results),
        "gc_seconds": sum(r["gc_seconds"] for r in results),
        "gc_collect_ms": sum(r["gc_collect_ms"] for r in results) / len(results),
        "timer_ns": sum(r["timer_ns"] for r in results) / len(results),
    }


def measure(run: Run) -> dict[str, Any]:
    ways = {}
    ways["lru_cache"] = summarize(run_way("lru_cache", run), None)
    ways["arena"] = summarize(run_way("arena", run), run.path)
    stats = run.arena.cache("cities").stats()
    ways["arena"]["entries"] = stats["entries"]
    ways["arena"]["packing"] = {name: stats[name] for name in ("value_bytes", "stored_bytes", "ratio", "hits", "packed_hits")}
    return {"seconds": run.options.seconds, "zipf_exponent": ZIPF_EXPONENT, "ways": ways}


def table_rows(ways: list[dict[str, Any]]) -> list[list[str]]:
    return [
        compared(ways, "memory of all processes together", "memory_bytes", mib),
        compared(ways, "  private memory", "private_bytes", mib),
        compared(ways, "  blocks of the arena's file", "arena_block_bytes", mib),
        compared(ways, "reads per second, all workers", "reads_per_second", count, "speed"),
        compared(ways, "p50 of a read", "p50_us", lambda us: f"{us:.2f} us"),
        compared(ways, "p99 of a read", "p99_us", lambda us: f"{us:.2f} us"),
        compared(ways, "database queries in the warm-up", "queries_warm_up", count),
        compared(ways, "database queries while measured", "queries_measured", count),
        compared(ways, "duration of the warm-up", "warm_up_seconds", lambda s: f"{s:.1f} s"),
        compared(ways, "garbage collector, all workers", "gc_seconds", lambda s: f"{s * 1000:,.0f} ms"),
        compared(ways, "gc.collect() at the end, per worker", "gc_collect_ms", lambda ms: f"{ms:.1f} ms"),
    ]


def print_report(outcome: dict[str, Any]) -> None:
    ways = [outcome["ways"][way] for way in WAYS]
    usual, arena = ways
    print(f"Memory: zipfian reads (s = {outcome['zipf_exponent']}) for {outcome['seconds']:g} s after every worker has read every record once;")
    print(f"{arena['entries']:,} entries in the arena at the end\n")
    print_table(["", *WAYS.values(), ""], table_rows(ways))
    packing = arena["packing"]
    if packing["stored_bytes"]:
        print(f"\nValues of {mib(packing['value_bytes'])} were stored in {mib(packing['stored_bytes'])} ({packing['ratio']:.2f} x less), packed with "
              f"a dictionary made of them; {1 - packing['packed_hits'] / max(packing['hits'], 1):.0%} of the hits needed no unpacking.")  # fmt: skip
    print("\nMemory is what is private to the workers (smaps_rollup, less what each had before its first read)")
    print("plus the blocks of the arena's file, counted once. Latencies are without the timer's own cost.")
    print_lost(usual["workers_lost"] + arena["workers_lost"])
