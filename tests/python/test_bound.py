# SPDX-License-Identifier: Apache-2.0
"""The hard bound: the file's blocks never exceed the arena's size, and a process holds a small constant beside it."""

import multiprocessing
import os
import time

import forebay

SIZE = 64 << 20
# Under AddressSanitizer: it must not keep freed memory aside in the workers.
NO_QUARANTINE = ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"


def private_bytes(path):
    """Of all mappings but the arena's: its pages that only one process has touched yet count as private."""
    total, of_arena = 0, False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            word = line.split(maxsplit=1)[0]
            if not word.endswith(":"):
                of_arena = line.rstrip().endswith(path)
            elif word.startswith("Private_") and not of_arena:
                total += 1024 * int(line.split()[1])
    return total


def write_until(path, seconds, seed, results):
    with forebay.open(path) as arena:
        cache = arena.cache("endless")
        cache.set("warm", b"x")
        before = private_bytes(path)
        number, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(500):
                number += 1
                cache.set((seed, number), bytes(number % 2000))
        results.put((number, private_bytes(path) - before))


def test_four_processes_that_write_for_ever_never_take_more_than_the_size(path, monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + NO_QUARANTINE)
    with forebay.open(path, SIZE) as arena:
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        workers = [context.Process(target=write_until, args=(str(path), 3, seed, results)) for seed in range(4)]
        for worker in workers:
            worker.start()
        most = 0
        while any(worker.is_alive() for worker in workers):
            most = max(most, os.stat(path).st_blocks * 512)
            time.sleep(0.01)
        written = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        assert arena.verify() == []
        assert sum(number for number, _ in written) * 1000 > 2 * SIZE  # it had to evict
        assert most <= SIZE
        assert all(grown < 16 << 20 for _, grown in written), written
