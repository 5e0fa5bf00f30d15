# SPDX-License-Identifier: Apache-2.0
"""A worker whose threads take connections from its pool, many of them when it is its turn."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forebay
from forebay.demo.data import FILE, read_ids
from forebay.demo.worker_orders import report, wait_for_go, work

BUSY = 8  # threads that work while it is the worker's turn, and the most its pool may have
QUIET = 2  # of them, at other times
PHASE = 0.5  # seconds until it is the next worker's turn
HELD = 0.005  # seconds that a request keeps its connection: SQLite itself answers at once
THINK = 0.005  # seconds between two requests of a thread
PATIENCE = 5.0  # seconds after which a request is refused


@dataclass
class Connections:
    """Opens and closes them, and writes down when."""

    folder: Path
    log: int
    opened: int = 0

    def note(self, change: int) -> None:
        """In one piece, whoever else writes: before one is opened, after it is closed."""
        os.write(self.log, f"{time.monotonic_ns()} {change:+d}\n".encode())

    def open(self) -> sqlite3.Connection:
        self.note(+1)
        self.opened += 1
        return sqlite3.connect(f"file:{self.folder / FILE}?mode=ro", uri=True, check_same_thread=False)

    def close(self, connection: sqlite3.Connection) -> None:
        connection.close()
        self.note(-1)


@dataclass
class Requests:
    """What one thread asked for."""

    waits: list[float] = field(default_factory=list)
    refused: int = 0


def pool_of(connections: Connections, spec: dict[str, Any]) -> forebay.Pool[sqlite3.Connection]:
    shared: dict[str, Any] = {}
    if spec["way"] == "host_max":
        shared = {"arena": forebay.open(spec["arena"], size=spec["size"]), "host_max": spec["host_max"]}
    return forebay.Pool(connections.open, close=connections.close, name="cities", min_size=1, max_size=BUSY,
                        timeout=PATIENCE, **shared)  # fmt: skip


def is_at_work(thread: int, spec: dict[str, Any], passed: float) -> bool:
    turn = int(passed / PHASE) % int(spec["workers"])
    return thread < QUIET or turn == spec["number"]


def ask(pool: forebay.Pool[sqlite3.Connection], number: int, requests: Requests) -> None:
    begin = time.monotonic()
    try:
        with pool.connection() as connection:
            requests.waits.append(time.monotonic() - begin)
            connection.execute("SELECT name FROM city WHERE geonameid = ?", (number,)).fetchone()
            time.sleep(HELD)
    except forebay.PoolTimeoutError:
        requests.refused += 1


def work_in_turn(pool: forebay.Pool[sqlite3.Connection], thread: int, spec: dict[str, Any], begin: float) -> Requests:
    requests = Requests()
    ids = read_ids(Path(spec["folder"]) / f"reads-{spec['number']}")
    while (passed := time.monotonic() - begin) < spec["seconds"]:
        if is_at_work(thread, spec, passed):
            ask(pool, ids[len(requests.waits)], requests)
        time.sleep(THINK)
    return requests


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    connections = Connections(Path(spec["folder"]), log)
    with pool_of(connections, spec) as pool, ThreadPoolExecutor(BUSY) as threads:
        report(ready=True)
        wait_for_go()
        begin = time.monotonic()
        asked = [threads.submit(work_in_turn, pool, n, spec, begin) for n in range(BUSY)]
        requests = [thread.result() for thread in asked]
        end = time.monotonic()
    return {"opened": connections.opened, "refused": sum(r.refused for r in requests),
            "waits": [wait for r in requests for wait in r.waits], "begin": begin, "end": end}  # fmt: skip


if __name__ == "__main__":
    sys.exit(work(serve))
