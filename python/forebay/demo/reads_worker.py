# SPDX-License-Identifier: Apache-2.0
"""A worker that warms up, waits for "go", reads for some seconds and measures."""

from __future__ import annotations

import functools
import gc
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.demo.data import Database, Record, read_ids
from forebay.demo.orders import report, wait_for_go, work

CHUNK = 256  # reads between two looks at the clock
TIMED_CHUNKS = 4  # in one chunk of so many each read is timed; the others give the rate
BUCKET_NS = 8
BUCKETS = 1 << 16  # the last one takes all that is longer: 524 us
PRIVATE = ("Private_Clean:", "Private_Dirty:")
REPORT_EVERY = 8192  # reads of the warm-up

Reader = Callable[[int], Record]


def lru_reader(database: Database, spec: dict[str, Any]) -> Reader:
    return functools.lru_cache(maxsize=None)(database.record)  # room for the whole set: never evicts


def arena_reader(database: Database, spec: dict[str, Any]) -> Reader:
    import forebay

    cities = forebay.open(spec["arena"], size=spec["size"]).cache("cities")
    get, put, query = cities.get, cities.set, database.record

    def read(number: int) -> Record:
        record = get(number)
        if record is None:
            record = query(number)
            put(number, record)
        return record

    return read


READERS = {"lru_cache": lru_reader, "arena": arena_reader}


def private_lines(path: str) -> int:
    """Bytes in the Private_ lines of a file of /proc."""
    with open(path, encoding="ascii", errors="replace") as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(PRIVATE))


def mapping_private_bytes(path: str) -> int:
    """Private pages of the mappings of a file: those no other process has touched."""
    total, inside = 0, False
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.split(maxsplit=1)[0].endswith(":"):  # range, rights, offset, device, inode, path
                inside = line.rstrip().endswith(path)
            elif inside and line.startswith(PRIVATE):
                total += int(line.split()[1]) * 1024
    return total


def private_bytes(arena: str) -> int:
    """Without the arena's pages: its blocks are counted once for all processes."""
    return private_lines("/proc/self/smaps_rollup") - mapping_private_bytes(arena)


def timer_cost() -> int:
    """Nanoseconds that two looks at the clock take when nothing is between them."""
    clock = time.perf_counter_ns
    costs = []
    for _ in range(2000):
        begin = clock()
        costs.append(clock() - begin)
    costs.sort()
    return costs[len(costs) // 2]


def percentile(histogram: list[int], share: float) -> float:
    """Microseconds; the middle of the bucket that holds it."""
    left = share * sum(histogram)
    for bucket, count in enumerate(histogram):
        left -= count
        if left <= 0:
            break
    return (bucket + 0.5) * BUCKET_NS / 1000


class CollectorTime:
    """Seconds spent in the garbage collector since it was made."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.begin = 0.0
        gc.callbacks.append(self.note)

    def note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.begin = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self.begin


def warm_up(read: Reader, ids: array[int]) -> float:
    begin = time.perf_counter()
    for done, number in enumerate(ids):
        read(number)
        if done % REPORT_EVERY == 0:
            report(done=done)
    return time.perf_counter() - begin


def timed_chunk(read: Reader, ids: list[int], timer: int, histogram: array[int]) -> None:
    clock = time.perf_counter_ns
    spans = []
    for number in ids:
        begin = clock()
        read(number)
        spans.append(clock() - begin)
    for span in spans:
        histogram[min(max(span - timer, 0) // BUCKET_NS, BUCKETS - 1)] += 1


def measure(read: Reader, ids: array[int], seconds: float, timer: int, histogram: array[int]) -> tuple[int, float]:
    """Read for so long; returns the reads of the untimed chunks and their seconds."""
    clock = time.perf_counter
    end = clock() + seconds
    reads, spent, turn, position = 0, 0.0, 0, 0
    while clock() < end:
        chunk = ids[position : position + CHUNK].tolist()
        position = (position + CHUNK) % len(ids)
        turn += 1
        if turn % TIMED_CHUNKS == 0:
            timed_chunk(read, chunk, timer, histogram)
            continue
        begin = clock()
        for number in chunk:
            read(number)
        spent += clock() - begin
        reads += len(chunk)
    return reads, spent


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    folder = Path(spec["folder"])
    warm = read_ids(folder / f"warm-{spec['number']}")
    ids = read_ids(folder / f"reads-{spec['number']}")
    histogram: array[int] = array("q", bytes(8 * BUCKETS))
    timer = timer_cost()
    database = Database(folder)
    collector = CollectorTime()
    gc.collect()
    collector.seconds = 0.0
    before = private_bytes(spec["arena"])

    read = READERS[spec["way"]](database, spec)
    warm_seconds = warm_up(read, warm)
    queries_warm_up = database.queries
    report(ready=True)
    wait_for_go()
    reads, spent = measure(read, ids, spec["seconds"], timer, histogram)

    memory = private_bytes(spec["arena"]) - before
    gc_seconds = collector.seconds
    begin = time.perf_counter()
    gc.collect()
    collect_ms = (time.perf_counter() - begin) * 1000
    return {
        "private_bytes": memory, "reads": reads, "reads_per_second": reads / spent if spent else 0.0,
        "queries_warm_up": queries_warm_up, "queries_measured": database.queries - queries_warm_up,
        "warm_up_seconds": warm_seconds, "gc_seconds": gc_seconds, "gc_collect_ms": collect_ms,
        "timer_ns": timer, "histogram": histogram.tolist(),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(work(serve))
