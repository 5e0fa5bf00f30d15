# SPDX-License-Identifier: Apache-2.0
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

import forebay
from forking import fork_to_run, wait_for

@pytest.fixture(params=["file", "anonymous"])
def shared(request, path):
    with forebay.open(path if request.param == "file" else None, "16MiB") as arena:
        yield arena


def test_a_forked_child_shares_the_arena_both_ways(shared):
    cache = shared.cache("c")
    cache["parent"] = {"from": "parent"}

    def child():
        assert cache["parent"] == {"from": "parent"}
        cache["child"] = {"from": "child"}
        shared.cache("made by the child")

    wait_for(fork_to_run(child))
    assert cache["child"] == {"from": "child"}
    assert "made by the child" in shared.caches()
    assert shared.verify() == []


def test_a_child_has_a_row_of_its_own_and_gives_it_up(shared):
    cache = shared.cache("c")
    ready, go = os.pipe(), os.pipe()

    def child():
        cache["k"] = 1
        os.write(ready[1], b"x")
        os.read(go[0], 1)

    pid = fork_to_run(child)
    os.read(ready[0], 1)
    assert {row["pid"] for row in shared.rows() if row["alive"]} == {os.getpid(), pid}
    os.write(go[1], b"x")
    wait_for(pid)
    for fd in (*ready, *go):
        os.close(fd)
    assert {row["pid"] for row in shared.rows() if row["alive"]} == {os.getpid()}


def test_a_child_that_closes_leaves_the_parents_arena_open(shared):
    cache = shared.cache("c")
    cache["k"] = 1

    def child():
        shared.close()
        assert shared.closed

    wait_for(fork_to_run(child))
    assert cache["k"] == 1
    assert shared.verify() == []


def test_a_parent_that_closes_leaves_the_childs_arena_open(path):
    arena = forebay.open(None, "1MiB")
    cache = arena.cache("c")
    cache["k"] = 1
    go = os.pipe()

    def child():
        os.read(go[0], 1)
        assert cache["k"] == 1
        cache["k"] = 2
        assert cache["k"] == 2

    pid = fork_to_run(child)
    arena.close()
    os.write(go[1], b"x")
    wait_for(pid)
    for fd in go:
        os.close(fd)


def test_grandchildren_work_too(shared):
    cache = shared.cache("c")

    def grandchild():
        cache.incr("n")

    def child():
        cache.incr("n")
        for _ in range(3):
            wait_for(fork_to_run(grandchild))

    for _ in range(3):
        wait_for(fork_to_run(child))
    assert cache["n"] == 12


def test_increments_of_processes_add_up(shared):
    cache = shared.cache("c")

    def child():
        for _ in range(3000):
            cache.incr("n")

    pids = [fork_to_run(child) for _ in range(4)]
    for pid in pids:
        wait_for(pid)
    assert cache["n"] == 12_000


def test_children_killed_at_random_moments_harm_nobody(shared):
    cache = shared.cache("c")

    def child():
        turn = 0
        while True:
            turn += 1
            key = turn % 300
            cache.set(key, {"key": key, "text": f"{key}," * (turn % 200)})
            cache.set_many({(key, i): f"{key}:{i}" for i in range(20)})
            cache.delete((key, 3))
            cache.incr("n")

    for turn in range(25):
        pids = [fork_to_run(child) for _ in range(2)]
        time.sleep(0.01 + turn % 5 * 0.004)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            wait_for(pid, -signal.SIGKILL)
        begun = time.monotonic()
        for key in range(300):
            value = cache.get(key)
            assert value is None or (value["key"] == key and set(value["text"].split(",")) <= {str(key), ""})
        for key in cache.get_many([(key, i) for key in range(300) for i in range(20)]).items():
            assert key[1] == f"{key[0][0]}:{key[0][1]}"
        cache.set("alive", turn)
        assert cache["alive"] == turn
        assert time.monotonic() - begun < 5
    assert shared.verify() == []
    assert len([row for row in shared.rows() if row["alive"]]) == 1


def test_a_stopped_child_holds_nobody_up(shared):
    cache = shared.cache("c")

    def child():
        while True:
            cache.set("hot", b"x" * 1000)
            cache.incr("n")

    for turn in range(20):
        pid = fork_to_run(child)
        time.sleep(0.005 + turn % 4 * 0.003)
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        begun = time.monotonic()
        for i in range(2000):
            cache.set("hot", b"y" * 1000)
            assert cache["hot"] == b"y" * 1000
            cache.incr("n")
        assert time.monotonic() - begun < 5
        os.kill(pid, signal.SIGKILL)
        wait_for(pid, -signal.SIGKILL)
    assert shared.verify() == []


def test_the_arena_is_warm_after_all_its_processes_were_killed(path):
    def child():
        cache = forebay.open(path, "2MiB").cache("c")
        cache.set_many({i: str(i) for i in range(100)})
        os.kill(os.getpid(), signal.SIGKILL)

    wait_for(fork_to_run(child), -signal.SIGKILL)
    with forebay.open(path) as arena:
        assert arena.cache("c").get_many(range(100)) == {i: str(i) for i in range(100)}
        assert arena.verify() == []


SPAWNED = """
import os, forebay

def use_arena(path, key):
    forebay.open(path).cache("c")[key] = os.getpid()
"""


def use_inherited(arena, cache, key):
    assert arena.cache("c")["parent"] == 1
    cache[key] = os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_open_the_arena_by_its_path(path, method, folder, monkeypatch):
    context = multiprocessing.get_context(method)
    (folder / f"spawned_by_{method}.py").write_text(SPAWNED)
    monkeypatch.syspath_prepend(folder)
    use_arena = importlib.import_module(f"spawned_by_{method}").use_arena
    with forebay.open(path, "2MiB") as arena:
        workers = [context.Process(target=use_arena, args=(path, i)) for i in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
            assert worker.exitcode == 0
        assert arena.cache("c").get_many(range(3)) == {i: worker.pid for i, worker in enumerate(workers)}


def check_workers_use(arena, method):
    context = multiprocessing.get_context(method)
    cache = arena.cache("c")
    cache["parent"] = 1
    workers = [context.Process(target=use_inherited, args=(arena, cache, i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert cache.get_many(range(3)) == {i: worker.pid for i, worker in enumerate(workers)}


def test_multiprocessing_fork_workers_inherit_the_arena(shared):
    check_workers_use(shared, "fork")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_workers_take_an_arena_and_its_caches_along_by_pickle(arena, method):
    check_workers_use(arena, method)


def test_a_program_started_with_exec_inherits_no_descriptor(arena, path):
    listing = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n > '2' and os.path.exists(f'/proc/self/fd/{n}')])"
    output = subprocess.run(
        [sys.executable, "-c", listing], close_fds=False, capture_output=True, text=True, check=True
    )
    assert path.name not in output.stdout
    assert "memfd" not in output.stdout


def test_exec_in_a_child_frees_its_row(shared):
    def child():
        shared.cache("c")["k"] = 1
        os.execv(sys.executable, [sys.executable, "-c", "pass"])

    wait_for(fork_to_run(child))
    assert shared.cache("c")["k"] == 1
    assert [row["pid"] for row in shared.rows() if row["alive"]] == [os.getpid()]


def test_racing_processes_create_one_arena(path):
    def child():
        arena = forebay.open(path, "2MiB")
        arena.cache("c").incr("n")

    for _ in range(10):
        pids = [fork_to_run(child) for _ in range(6)]
        for pid in pids:
            wait_for(pid)
        with forebay.open(path) as arena:
            assert arena.cache("c")["n"] == 6
            assert arena.verify() == []
        path.unlink()
