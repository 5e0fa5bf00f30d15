# SPDX-License-Identifier: Apache-2.0
import random
import sys
import threading
import time

import pytest

import forebay


@pytest.fixture(autouse=True)
def switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def run_threads(count, work):
    """Run work(i) in `count` threads; raise what any of them raised."""
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def set_if_there_is_room(cache, key, value):
    """A set never waits: it may find every stretch of memory that is long enough in use by others."""
    try:
        cache.set(key, value)
    except forebay.FullError:
        pass


def value_for(key, version):
    return {"key": key, "version": version, "padding": f"{key}:{version}," * (version % 50)}


def test_threads_that_read_and_write_see_whole_values_only(path):
    with forebay.open(path, "2MiB") as arena:
        cache = arena.cache("c")

        def work(seed):
            choose = random.Random(seed)
            for version in range(1500):
                key = choose.randrange(200)
                action = choose.random()
                if action < 0.4:
                    cache.set(key, value_for(key, version))
                elif action < 0.45:
                    cache.delete(key)
                elif action < 0.5:
                    cache.set_many({k: value_for(k, version) for k in range(key, key + 20)})
                elif action < 0.55:
                    for k, value in cache.get_many(range(key, key + 50)).items():
                        assert value == value_for(k, value["version"])
                else:
                    value = cache.get(key)
                    assert value is None or value == value_for(key, value["version"])

        run_threads(6, work)
        assert arena.verify() == []


def test_more_threads_than_lanes_work_at_once_on_large_values(path):
    with forebay.open(path, "64MiB") as arena:
        cache = arena.cache("c")
        large = {i: bytes([i]) * (2_000_000 + i * 1000) for i in range(3)}

        def work(i):
            for turn in range(15):
                key = (i + turn) % 3
                if i % 4 == 0:
                    set_if_there_is_room(cache, key, large[key])
                value = cache.get(key)
                assert value is None or value == large[key]

        run_threads(20, work)
        assert arena.verify() == []


def test_a_large_value_that_changes_its_size_is_read_whole(path):
    with forebay.open(path, "64MiB") as arena:
        cache = arena.cache("c")
        stop = threading.Event()
        sizes = [1_100_000, 1_300_000, 2_500_000, 500]

        def work(i):
            if i == 0:
                try:
                    for turn in range(300):
                        size = sizes[turn % 4]
                        set_if_there_is_room(cache, "k", bytes([size % 251]) * size)
                finally:
                    stop.set()
                return
            while not stop.is_set():
                value = cache.get("k", b"")
                assert len(value) in (0, *sizes)
                assert value == bytes([len(value) % 251]) * len(value)

        run_threads(4, work)


def test_one_of_many_threads_that_add_a_key_succeeds(cache):
    winners = []

    def work(i):
        for key in range(500):
            if cache.add(key, i):
                winners.append(key)

    run_threads(6, work)
    assert sorted(winners) == list(range(500))


def test_closing_while_threads_are_inside_is_safe(path):
    for turn in range(30):
        arena = forebay.open(path, "16MiB")
        cache = arena.cache("c")
        started = threading.Barrier(6)
        large = b"x" * 1_500_000

        def work(i):
            started.wait(60)
            if i == 0:
                time.sleep(0.001 * (turn % 5))
                arena.close()
                return
            with pytest.raises(forebay.ClosedError, match="closed"):
                while True:
                    if i == 1:
                        set_if_there_is_room(cache, "large", large)
                    elif i == 2:
                        value = cache.get("large")
                        assert value is None or value == large
                    elif i == 3:
                        cache.set_many({k: [k] for k in range(2000)})
                        cache.clear()
                    elif i == 4:
                        arena.info()
                        arena.rows()
                        arena.cache("other").set("k", {"a": 1})
                    else:
                        arena.verify()

        run_threads(6, work)
        assert arena.closed
        path.unlink()


def test_a_reader_is_not_held_up_by_a_large_write(path):
    """Copies of more than 1 MiB let other threads run."""
    with forebay.open(path, "256MiB") as arena:
        cache = arena.cache("c")
        cache["small"] = 1
        large = b"x" * (arena.max_entry - 100)
        done = threading.Event()
        during = 0

        def write():
            try:
                for _ in range(10):
                    cache.set("large", large)
            finally:
                done.set()

        thread = threading.Thread(target=write)
        thread.start()
        while not done.is_set():
            during += cache["small"]
        thread.join()
        assert during > 10


def test_threads_open_and_drop_caches_at_once(arena):
    def work(i):
        for turn in range(100):
            name = f"cache {turn % 5}"
            try:
                arena.cache(name)[i] = turn
            except forebay.ClosedError:  # dropped by another thread
                pass
            if turn % 10 == i:
                arena.drop(name)
            arena.caches()
            arena.stats()

    run_threads(4, work)
    assert arena.verify() == []


def test_threads_that_open_one_path_make_one_arena(path):
    arenas = []

    def work(i):
        arena = forebay.open(path, "2MiB")
        arena.cache("c")[i] = i
        arenas.append(arena)

    run_threads(8, work)
    for arena in arenas:
        assert arena.cache("c").get_many(range(8)) == {i: i for i in range(8)}
    for arena in arenas:
        arena.close()
