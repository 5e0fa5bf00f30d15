# SPDX-License-Identifier: Apache-2.0
"""`python bench buffers`: pooled buffers and objects beside fresh ones.

`alone`: a buffer is taken and given back, untouched.  `receive`: as many bytes as
the buffer has come out of a socket pair into it, 64 KiB a call; what the same
takes with one bytearray that is kept is the floor.  `together`: 32 buffers filled
from a file in memory and held at the same time, as by 32 connections; with page
faults.  `objects`: ObjectPool beside making an object for each use.  Medians of
rounds in which the ways take turns.  Writes build/bench/buffers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset
import forebay
import timing

SIZES = [4096, 65536, 1 << 20]
PIECE = 65536  # what a socket takes at once
TOGETHER = 32

Ways = dict[str, Callable[[], None]]


def us_in_turns(ways: Ways, rounds: int, seconds: float) -> dict[str, float]:
    """Microseconds of each, the median of rounds; each round gives each way so many seconds."""
    spans: dict[str, list[float]] = {name: [] for name in ways}
    counts = {}
    for name, way in ways.items():
        begun, counts[name] = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            way()
            counts[name] += 1
    for _ in range(rounds):
        for name, way in ways.items():
            with timing.collector_off():
                begun = time.perf_counter()
                for _ in range(counts[name]):
                    way()
                spans[name].append((time.perf_counter() - begun) / counts[name] * 1e6)
    return {name: timing.median(found) for name, found in spans.items()}


def alone(size: int, rounds: int) -> dict[str, float]:
    pool = forebay.BufferPool("64MiB")

    def with_block() -> None:
        with pool.buffer(size):
            pass

    def acquire() -> None:
        pool.acquire(size).release()

    def fresh() -> None:
        bytearray(size)

    return us_in_turns({"with pool.buffer()": with_block, "acquire, release": acquire, "bytearray": fresh}, rounds, 0.05)


def receive(size: int, rounds: int) -> dict[str, float]:
    pool = forebay.BufferPool("64MiB")
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE)
    piece, kept = bytes(min(size, PIECE)), bytearray(size)

    def fill(buffer: Any) -> None:
        view, at = memoryview(buffer), 0
        while at < size:
            theirs.sendall(piece)
            end = at + len(piece)
            while at < end:
                at += ours.recv_into(view[at:end])

    def pooled() -> None:
        with pool.buffer(size) as buffer:
            fill(buffer)

    with ours, theirs:
        ways: Ways = {"pool": pooled, "bytearray": lambda: fill(bytearray(size)), "one kept": lambda: fill(kept)}
        return us_in_turns(ways, rounds, 0.1)


def faults_of(way: Callable[[], None], times: int = 20) -> float:
    way()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        way()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times / TOGETHER


def together(size: int, rounds: int) -> dict[str, float]:
    """Of each of the buffers: microseconds and page faults."""
    pool = forebay.BufferPool("64MiB", max_buffer="1MiB")
    source = os.memfd_create("source")
    os.write(source, bytes(size))

    def fill_all(make: Callable[[int], Any]) -> list[Any]:
        held = [make(size) for _ in range(TOGETHER)]
        for buffer in held:
            os.preadv(source, [buffer], 0)
        return held

    def pooled() -> None:
        for buffer in fill_all(pool.acquire):
            buffer.release()

    def fresh() -> None:
        fill_all(bytearray)

    ways: Ways = {"pool": pooled, "bytearray": fresh}
    spans = {f"{name}, us": us / TOGETHER for name, us in us_in_turns(ways, rounds, 0.2).items()}
    faults = {f"{name}, page faults": faults_of(way) for name, way in ways.items()}
    os.close(source)
    return spans | faults


def borrowed(create: Callable[[], Any], use: Callable[[Any], object], rounds: int, reset: Any = None) -> dict[str, float]:
    pool = forebay.ObjectPool(create, reset=reset)

    def pooled() -> None:
        with pool.borrow() as thing:
            use(thing)

    return us_in_turns({"pool": pooled, "fresh": lambda: use(create())}, rounds, 0.05)


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    for number in range(30):
        parser.add_argument(f"--option{number}", type=int, default=number)
    return parser


def scratch() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.executescript("create table a(x, y); create index i on a(x)")
    return database


def group(database: sqlite3.Connection) -> None:
    database.executemany("insert into a values (?, ?)", [(i % 7, i) for i in range(20)])
    database.execute("select x, sum(y) from a group by x").fetchall()


def objects(rounds: int) -> dict[str, dict[str, float]]:
    import zstandard

    text = json.dumps([{"number": i, "text": "x" * 20} for i in range(40)])
    packed = zstandard.ZstdCompressor().compress(text.encode())
    return {
        "nothing, of a class": borrowed(type("Thing", (), {}), id, rounds),
        "zstandard.ZstdCompressor, 2 kB": borrowed(zstandard.ZstdCompressor, lambda z: z.compress(text.encode()), rounds),
        "zstandard.ZstdDecompressor, 2 kB": borrowed(zstandard.ZstdDecompressor, lambda z: z.decompress(packed), rounds),
        "sqlite3 in memory, one table": borrowed(scratch, group, rounds, sqlite3.Connection.rollback),
        "argparse, 30 options": borrowed(command_line, lambda parser: parser.parse_args(["--option3", "4"]), rounds),
        "json.JSONDecoder, 2 kB": borrowed(json.JSONDecoder, lambda decoder: decoder.decode(text), rounds),
    }


def show(title: str, figures: dict[str, float]) -> None:
    print(f"{title:38}", "  ".join(f"{name} {figure:.2f}" for name, figure in figures.items()), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench buffers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "buffers.json")
    options = parser.parse_args()
    parts: dict[str, Callable[[int, int], dict[str, float]]] = {
        "alone": alone, "receive": receive, "together": together,
    }  # fmt: skip
    outcome: dict[str, Any] = {"date": time.strftime("%Y-%m-%d")}
    for name, part in parts.items():
        outcome[name] = {str(size): part(size, options.rounds) for size in SIZES}
        for size, figures in outcome[name].items():
            show(f"{name}, {size} bytes, us", figures)
    outcome["objects"] = objects(options.rounds)
    for name, figures in outcome["objects"].items():
        show(f"{name}, us", figures)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
