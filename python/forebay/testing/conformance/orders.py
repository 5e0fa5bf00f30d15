# SPDX-License-Identifier: Apache-2.0
"""What workers are told to do by more than one check."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from .adapter import Found
from .crew import Desk
from .events import Load, note


class Answer(NamedTuple):
    """What a call of get_or_load came to."""

    value: bytes | None  # None: it raised
    error: str
    seconds: float


def ask(desk: Desk, load: Load, timeout: float) -> Answer:
    """get_or_load; says "call" just before."""
    note(load.log, "call")
    begin = time.monotonic()
    try:
        value = desk.cache.get_or_load(load.key, load, timeout)
    except Exception as error:
        return Answer(None, f"{type(error).__name__}: {error}", time.monotonic() - begin)
    return Answer(value, "", time.monotonic() - begin)


def ask_in_threads(desk: Desk, load: Load, timeout: float, count: int) -> list[Answer]:
    """The same from so many threads at once."""
    answers: list[Answer] = []
    together = threading.Barrier(count)

    def one() -> None:
        together.wait()
        answers.append(ask(desk, load, timeout))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def look(desk: Desk, key: str) -> Found:
    return desk.cache.get(key)


def put(desk: Desk, key: str, value: bytes, ttl: float | None = None) -> None:
    desk.cache.set(key, value, ttl)


def remove(desk: Desk, key: str) -> None:
    desk.cache.delete(key)
