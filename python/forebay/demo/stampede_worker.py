# SPDX-License-Identifier: Apache-2.0
"""A worker whose threads read one hot key."""

from __future__ import annotations

import functools
import sys
import threading
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from forebay.demo.data import connect
from forebay.demo.orders import report, wait_for_go, work

TTL = 0.5  # seconds that the hot key's value is good
STALE = 2.0  # seconds that it may be served after them, while it is loaded anew
PAUSE = 0.002  # seconds that a thread does something else between two reads of the hot key
HOT_KEY = "timezones"
HOT_QUERY = """
    SELECT timezone, count(*), count(DISTINCT admin1code), sum(population) AS people, max(population)
    FROM city GROUP BY timezone ORDER BY people DESC LIMIT 20
"""  # looks at every city

Reader = Callable[[], object]


class HotQuery:
    """A query that takes long; each thread has a connection of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local = threading.local()
        self.begun: list[None] = []  # len() of it counts; append() needs no lock

    def __call__(self, key: str = HOT_KEY) -> list[list[Any]]:
        self.begun.append(None)
        if not hasattr(self.local, "connection"):
            self.local.connection = connect(self.folder)
        return [list(row) for row in self.local.connection.execute(HOT_QUERY)]


def reader_without_leases(arena: Any, query: HotQuery) -> Reader:
    hot = arena.cache("hot", ttl=TTL)

    def read() -> object:
        found = hot.get(HOT_KEY)
        if found is None:
            found = query()
            hot.set(HOT_KEY, found)
        return found

    return read


def reader_by_fetch(arena: Any, query: HotQuery) -> Reader:
    return functools.partial(arena.cache("hot", ttl=TTL, load=query).fetch, HOT_KEY)


def reader_with_stale(arena: Any, query: HotQuery) -> Reader:
    return functools.partial(arena.cache("hot", ttl=TTL, load=query, stale=STALE).fetch, HOT_KEY)


READERS = {"get_set": reader_without_leases, "fetch": reader_by_fetch, "stale": reader_with_stale}


def read_hot_key(read: Reader, end: float, spans: array[float]) -> None:
    begin = time.monotonic()
    while not spans or begin < end:
        read()
        spans.append(time.monotonic() - begin)
        time.sleep(PAUSE)
        begin = time.monotonic()


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    import forebay

    query = HotQuery(Path(spec["folder"]))
    read = READERS[spec["way"]](forebay.open(spec["arena"], size=spec["size"]), query)
    spans: list[array[float]] = [array("d") for _ in range(spec["threads"])]
    report(ready=True)
    wait_for_go()
    begin = time.monotonic()
    end = begin + spec["seconds"]
    with ThreadPoolExecutor(len(spans)) as pool:
        for thread in [pool.submit(read_hot_key, read, end, own) for own in spans]:
            thread.result()
    return {"queries": len(query.begun), "spans": [span for own in spans for span in own],
            "begin": begin, "end": time.monotonic()}  # fmt: skip


if __name__ == "__main__":
    sys.exit(work(serve))
