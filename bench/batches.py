# SPDX-License-Identifier: Apache-2.0
"""`python bench batches`: results streamed by forebay.batches(), beside fetchmany() and pyarrow.

`sqlite`: a file of --rows rows; `postgres`: generate_series on a server that is
started here, by psycopg with a cursor on the server.  Each way runs in a process of
its own, in turn, --rounds times: seconds for the whole result, and the most private
memory (RssAnon, looked at every millisecond by another process) above what the same
process had with its imports and connection, before the query.  `arrow`: the same
table made by pyarrow from batches and from tuples that fetchmany() gave, both from
rows that are fetched already, and both with the fetching.  Writes
build/bench/batches.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dataset
import forebay
import timing
from forebay.testing import servers

MAX_BYTES = "8MiB"
CHUNKS = {"fetchmany, 1,000 rows": 1000, "fetchmany, 10,000 rows": 10_000, "fetchmany, as many rows as a batch": 150_000}
PACKED = {"forebay.batches": False}
PREFETCHED = {"forebay.batches, prefetch": True}
LOOK = 0.001  # seconds between looks at a process's memory
NAMES = "id, name, price, quantity, city"
SERIES = """
    SELECT n AS id, 'customer ' || n * 7919::bigint % 1000003 AS name, n * 0.25::float8 AS price, n % 100 AS quantity,
        CASE WHEN n % 4 > 0 THEN 'Berlin' END AS city
    FROM generate_series(1, {rows}) AS n
"""


def make_file(path: Path, rows: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL, quantity INTEGER, city TEXT)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?)",
            ((n, f"customer {n * 7919 % 1000003}", n * 0.25, n % 100, "Berlin" if n % 4 else None) for n in range(1, rows + 1)),
        )
    connection.close()


# ---- in a process of its own


def open_source(source: str, place: str, rows: int) -> tuple[Any, str]:
    if source == "sqlite":
        return sqlite3.connect(place), f"SELECT {NAMES} FROM t"
    import psycopg

    return psycopg.connect(place), SERIES.format(rows=rows)


def cursor_of(connection: Any, query: str) -> Any:
    if isinstance(connection, sqlite3.Connection):
        return connection.execute(query)
    cursor = connection.cursor("bench")
    cursor.execute(query)
    return cursor


def chunks_of(cursor: Any, count: int) -> Iterator[list[Any]]:
    while chunk := cursor.fetchmany(count):
        yield chunk


def streamed(connection: Any, query: str, way: str) -> Callable[[], int]:
    """Go over the whole result; how many rows there were."""
    if way in CHUNKS:
        return lambda: sum(map(len, chunks_of(cursor_of(connection, query), CHUNKS[way])))
    prefetch = way in PREFETCHED

    def batches() -> int:
        with forebay.batches(connection, query, max_bytes=MAX_BYTES, prefetch=prefetch) as found:
            count = 0
            for batch in found:  # the one before is held while the next is made, as users' loops do
                count += len(batch)
            return count

    return batches


def tables(connection: Any, query: str, way: str) -> Callable[[], int]:
    import pyarrow

    def of_batches() -> int:
        return int(pyarrow.table(forebay.batches(connection, query, max_bytes=MAX_BYTES)).num_rows)

    def of_tuples() -> int:
        parts = []
        for chunk in chunks_of(cursor_of(connection, query), 150_000):
            parts.append(pyarrow.RecordBatch.from_arrays([pyarrow.array(column) for column in zip(*chunk)], NAMES.split(", ")))
        return int(pyarrow.Table.from_batches(parts).num_rows)

    return of_batches if way == "forebay.batches" else of_tuples


def exports(connection: Any, query: str, way: str) -> Callable[[], int]:
    """Of rows that are there: packed, or as tuples."""
    import pyarrow

    if way == "forebay.batches":
        kept = list(forebay.batches(connection, query, max_bytes=MAX_BYTES))
        return lambda: int(pyarrow.Table.from_batches([pyarrow.record_batch(batch) for batch in kept]).num_rows)
    rows = cursor_of(connection, query).fetchall()

    def build() -> int:
        arrays = [pyarrow.array(column) for column in zip(*rows)]
        return int(pyarrow.table(arrays, NAMES.split(", ")).num_rows)

    return build


JOBS = {"stream": streamed, "table": tables, "export": exports}


def measure(job: str, source: str, place: str, rows: int, way: str) -> None:
    """Print seconds; wait for a line on stdin before and after, while memory is looked at."""
    connection, query = open_source(source, place, rows)
    if job != "stream":
        import pyarrow  # noqa: F401
    run = JOBS[job](connection, query, way)
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    found = run()
    print(time.perf_counter() - begun, time.process_time() - begun_cpu, flush=True)
    assert found == rows, (found, rows)
    sys.stdin.readline()


# ---- around it


def private_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def watch(job: str, source: str, place: str, rows: int, way: str) -> tuple[float, float, int]:
    """Seconds, those of the processor in this process, and the most bytes above the beginning."""
    command = [sys.executable, __file__, "--measure", job, source, place, str(rows), way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the measured process failed"
        before = most = private_bytes(process.pid)
        os.set_blocking(process.stdout.fileno(), False)
        process.stdin.write("go\n")
        process.stdin.flush()
        while not (line := process.stdout.readline()):
            if process.poll() is not None:
                raise RuntimeError("the measured process failed")
            most = max(most, private_bytes(process.pid))
            time.sleep(LOOK)
        process.stdin.write("end\n")
        process.stdin.flush()
    seconds, of_processor = map(float, line.split())
    return seconds, of_processor, most - before


def compare(job: str, source: str, place: str, rows: int, ways: list[str], rounds: int) -> dict[str, Any]:
    outcome: dict[str, Any] = {way: {"seconds": [], "cpu_seconds": [], "bytes": []} for way in ways}
    for _ in range(rounds):
        for way in ways:
            seconds, of_processor, most = watch(job, source, place, rows, way)
            outcome[way]["seconds"].append(seconds)
            outcome[way]["cpu_seconds"].append(of_processor)
            outcome[way]["bytes"].append(most)
            print(f"{source}, {job}, {way}: {seconds:.2f} s, {of_processor:.2f} s of the processor, {most / 2**20:.1f} MiB", file=sys.stderr)
    return outcome


def ratio(outcome: dict[str, Any], way: str, other: str, key: str) -> float:
    """How many times faster `way` is: the median over rounds."""
    return timing.median([b / a for a, b in zip(outcome[way][key], outcome[other][key])])


def of_source(source: str, place: str, rows: int, rounds: int) -> dict[str, Any]:
    ways = [*CHUNKS, *PACKED, *(PREFETCHED if source == "postgres" else {})]
    arrow = ["forebay.batches", "pyarrow, from tuples"]
    return {
        "stream": compare("stream", source, place, rows, ways, rounds),
        "table": compare("table", source, place, rows, arrow, rounds),
        "export": compare("export", source, place, rows // 10, arrow, rounds) if source == "postgres" else {},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench batches", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", choices=["sqlite", "postgres"], action="append")
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "batches.json")
    options = parser.parse_args()
    outcome: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "rows": options.rows, "max_bytes": MAX_BYTES}
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        if "sqlite" in (options.source or ["sqlite"]):
            path = Path(folder) / "rows.sqlite"
            make_file(path, options.rows)
            outcome["sqlite"] = of_source("sqlite", str(path), options.rows, options.rounds)
            path.unlink()
        if "postgres" in (options.source or ["postgres"]):
            with servers.start_postgres(Path(folder)) as server:
                outcome["postgres"] = of_source("postgres", server.conninfo, options.rows, options.rounds)
    for source in ("sqlite", "postgres"):
        for other in CHUNKS if source in outcome else ():
            clock, processor = (ratio(outcome[source]["stream"], "forebay.batches", other, key) for key in ("seconds", "cpu_seconds"))
            print(f"{source}: batches is {clock:.2f} x as fast as {other}, by the processor's time {processor:.2f} x", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    assert sys.argv[1] == "--measure", "use python bench batches"
    measure(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6])
