# SPDX-License-Identifier: Apache-2.0
"""A worker that goes over the whole table and watches its memory."""

from __future__ import annotations

import gc
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forebay
from forebay.demo.data import COLUMNS, connect
from forebay.demo.worker_orders import report, wait_for_go, work

MAX_BYTES = "4MiB"
QUERY = f"SELECT {', '.join(COLUMNS)} FROM city"
PEOPLE = COLUMNS.index("population")
NAME = COLUMNS.index("name")


def private_bytes() -> int:
    """Of this process: memory that no file backs."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Sums:
    """What is made of the rows, and how much memory there was at its highest."""

    def __init__(self) -> None:
        self.rows = self.people = self.letters = 0
        self.before = self.highest = private_bytes()

    def add(self, people: list[int], names: list[str]) -> None:
        self.rows += len(people)
        self.people += sum(people)
        self.letters += sum(map(len, names))
        self.highest = max(self.highest, private_bytes())


def by_fetchall(cursor: sqlite3.Cursor, sums: Sums) -> None:
    rows = cursor.fetchall()
    sums.add([row[PEOPLE] for row in rows], [row[NAME] for row in rows])


def by_batches(cursor: sqlite3.Cursor, sums: Sums) -> None:
    for batch in forebay.batches(cursor, max_bytes=MAX_BYTES):
        sums.add(list(batch.column("population")), list(batch.column("name")))


READERS: dict[str, Callable[[sqlite3.Cursor, Sums], None]] = {"fetchall": by_fetchall, "batches": by_batches}


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    connection = connect(Path(spec["folder"]))
    gc.collect()
    report(ready=True)
    wait_for_go()
    begin = time.monotonic()
    sums = Sums()
    READERS[spec["way"]](connection.execute(QUERY), sums)
    return {"rows": sums.rows, "people": sums.people, "letters": sums.letters,
            "private_bytes": sums.highest - sums.before, "begin": begin, "end": time.monotonic()}  # fmt: skip


if __name__ == "__main__":
    sys.exit(work(serve))
