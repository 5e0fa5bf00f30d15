# SPDX-License-Identifier: Apache-2.0
"""What tests of buffer pools share."""

import threading

import forebay
import pytest

LONG = 60  # seconds: what a test waits for that must happen


@pytest.fixture
def pool():
    with forebay.BufferPool("64KiB", max_buffer="64KiB") as pool:
        yield pool


def figures(pool, *names):
    stats = pool.stats()
    return tuple(stats[name] for name in names)


def in_thread(work):
    """Start it; what it returns or raises is in the list that is returned with the thread."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def until(condition):
    """What other threads do is seen in figures only."""
    pause = threading.Event()
    for _ in range(LONG * 1000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never came true")
