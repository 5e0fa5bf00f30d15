# SPDX-License-Identifier: Apache-2.0
"""A process that holds the whole data set in one way, and says what that costs it.

Run by run.py.  Its memory is counted from before it opens anything: private
pages (smaps), those of the mapped store left out, as its blocks are counted once
for all processes.
"""

from __future__ import annotations

import gc
import json
import mmap
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dataset
from peers import Peer, Place, all_peers
from timing import median

COLLECTIONS = 5


def private_bytes(pid: str = "self", without: str = "") -> int:
    total, counted = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):  # a mapping's first line: range, rights, offset, device, inode, path
            counted = not without or without not in line
        elif counted and fields[0] in ("Private_Clean:", "Private_Dirty:"):
            total += int(fields[1]) * 1024
    return total


def records(path: Path) -> Iterator[tuple[str, bytes]]:
    """One at a time out of a mapping: leaves nothing behind in private memory."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while at < len(data):
            key_length, value_length = dataset.RECORD.unpack_from(data, at)
            at += dataset.RECORD.size
            value = at + key_length
            yield data[at:value].decode(), data[value : value + value_length]
            at = value + value_length


def collect_ms() -> float:
    spans = []
    for _ in range(COLLECTIONS):
        begin = time.perf_counter()
        gc.collect()
        spans.append((time.perf_counter() - begin) * 1000)
    return median(spans)


def hold(orders: dict[str, Any]) -> tuple[Peer, dict[str, Any]]:
    """The peer, which is to be kept, and what it costs."""
    path, _ = dataset.paths(orders["kind"])
    place = Place(Path(orders["folder"]), orders["count"], orders["bytes"])
    kind = all_peers()[orders["peer"]]
    empty_ms, before = collect_ms(), private_bytes()
    peer = kind(place)
    gc.disable()  # else the collector's walks over the growing store take most of the time
    if orders["fill"] or not peer.shared:
        peer.fill(records(path))
    gc.enable()
    peer.ready()
    found = sum(peer.get(peer.key(key)) is not None for key, _ in records(path))
    return peer, {
        "private_bytes": private_bytes(without=peer.files()) - before,
        "file_bytes": peer.file_bytes(), "found": found,
        "collect_empty_ms": empty_ms, "collect_ms": collect_ms(),
    }  # fmt: skip


def main() -> None:
    _peer, result = hold(json.loads(sys.argv[1]))
    print(json.dumps(result), flush=True)
    sys.stdin.readline()  # the others are still measuring: what is shared must stay shared


if __name__ == "__main__":
    main()
