# SPDX-License-Identifier: Apache-2.0
"""What batches take and leave: memory, threads, forks, signals, and memory that runs out."""

import itertools
import os
import resource
import signal
import subprocess
import sys

import pytest
from forking import fork_to_run, wait_for
from test_batches import Cursor

import forebay
from forebay._core import BatchBuilder

MEMORY = """
import sys; sys.path[:] = {path!r}
import gc, sqlite3, forebay
def private():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
connection = sqlite3.connect(":memory:")
query = '''WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000)
    SELECT i, 'some text ' || i AS t, i / 4.0, CASE WHEN i % 3 THEN 'x' END FROM n'''
gc.collect()
before = most = private()
batches = forebay.batches(connection, query, max_bytes="8MiB")
for batch in batches:
    most = max(most, private())
assert batches.rows == 1000000
del batch
batches.close()
print(most - before, private() - before)
"""


@pytest.mark.long
def test_a_long_result_takes_less_than_twice_max_bytes_and_gives_it_back():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY.format(path=sys.path)], capture_output=True, text=True, check=True
    )
    most, left = map(int, done.stdout.split())
    assert 7 << 20 < most < 16 << 20
    assert left < 3 << 20


NO_MEMORY = """
import sys; sys.path[:] = {path!r}
import resource, forebay
sys.path.insert(0, {tests!r})
from test_batches import Cursor
rows = [("x" * 1000000,)] * 900
cursor = Cursor(["a"], rows)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), used + (300 << 20)))
batches = forebay.batches(cursor, max_bytes="1900MiB")
first = next(batches)
assert 50 < len(first) < 900 and first[-1]["a"] == "x" * 1000000
try:
    next(batches)
except MemoryError:
    print("MemoryError")
assert cursor.closed
"""


@pytest.mark.long
def test_when_memory_runs_out_the_rows_before_are_delivered_first():
    code = NO_MEMORY.format(path=sys.path, tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("MemoryError\n", 0), done.stderr


def test_a_signal_is_heard_while_rows_are_drained():
    def interrupt(number, frame):
        raise KeyboardInterrupt

    builder = BatchBuilder(("a",), (None,), 2**30, 2**31 - 1)
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            builder.drain(itertools.repeat((None,)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert 0 < builder.rows < 2**31 - 1


@pytest.mark.parametrize("prefetch", [False, True])
def test_the_child_of_a_fork_reads_its_batches_and_leaves_the_cursor_alone(prefetch):
    rows = [(i, f"value {i}") for i in range(20_000)]
    cursor = Cursor("ab", rows)
    batches = forebay.batches(cursor, max_bytes="128KiB", prefetch=prefetch)
    batch = next(batches)

    def child():
        assert batch.to_tuples() == rows[: len(batch)]
        with pytest.raises(RuntimeError, match="in the child of a fork"):
            next(batches)
        batches.close()
        batches.__del__()
        assert not cursor.closed

    wait_for(fork_to_run(child))
    assert sum(map(len, batches)) == 20_000 - len(batch)


def test_streams_leave_nothing_open(leaves_nothing_open):
    for _ in range(20):
        with forebay.batches(Cursor("ab", [(1, "x" * 5000)] * 100), max_bytes="64KiB") as batches:
            next(batches)


@pytest.mark.long
def test_many_streams_do_not_grow_the_process():
    def round_of_streams():
        for _ in range(30):
            for batch in forebay.batches(Cursor("abc", [(i, "x" * 200, None) for i in range(2000)]), max_bytes="100KiB"):
                batch[0]["a"], batch.column("b")[-1], batch.__arrow_c_array__(), batch.__arrow_c_stream__()

    round_of_streams()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        round_of_streams()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8192
