# SPDX-License-Identifier: Apache-2.0
"""A worker that starts cold and reads pages of records."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.demo.data import Database, Record, read_ids
from forebay.demo.orders import report, wait_for_go, work

PAGE = 50  # records of a list page
REPORT_EVERY = 20  # pages

PageReader = Callable[[list[int]], object]


def lru_reader(database: Database, spec: dict[str, Any]) -> PageReader:
    read = functools.lru_cache(maxsize=None)(database.record)
    return lambda page: {number: read(number) for number in page}


def arena_reader(database: Database, spec: dict[str, Any]) -> PageReader:
    import forebay

    arena = forebay.open(spec["arena"], size=spec["size"])
    cities: forebay.Cache[int, Record] = arena.cache("cities", load_many=database.records)
    return cities.fetch_many


READERS = {"lru_cache": lru_reader, "arena": arena_reader}


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    folder = Path(spec["folder"])
    ids = read_ids(folder / f"reads-{spec['number']}")[: spec["pages"] * PAGE].tolist()
    pages = [ids[at : at + PAGE] for at in range(0, len(ids), PAGE)]
    database = Database(folder)
    read = READERS[spec["way"]](database, spec)
    report(ready=True)
    wait_for_go()
    begin = time.monotonic()
    for done, page in enumerate(pages):
        read(page)
        if done % REPORT_EVERY == 0:
            report(done=done)
    return {"queries": database.queries, "records_read": database.records_read,
            "begin": begin, "end": time.monotonic()}  # fmt: skip


if __name__ == "__main__":
    sys.exit(work(serve))
