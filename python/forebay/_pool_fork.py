# SPDX-License-Identifier: Apache-2.0
"""What becomes of pools in the child of a fork."""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Callable
from typing import Any

pools_of_process: weakref.WeakSet[Any] = weakref.WeakSet()


PATIENCE = 1.0  # seconds that a fork waits for connections that are being made


class ForkGate:
    """Keeps forks out while objects of a pool with host_max= are made.

    A child would have the socket of one that is half made, which nobody in it knows of:
    the server would count it after its parent's death."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside: set[int] = set()
        self.is_closed = False

    def __enter__(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: not self.is_closed, PATIENCE)
            self.inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.inside.discard(threading.get_ident())
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.wait_for(lambda: not self.inside - {threading.get_ident()}, PATIENCE)

    def open(self) -> None:
        with self.changed:
            self.is_closed = False
            self.changed.notify_all()


def descriptor_of(found: Any) -> int | None:
    """What fileno= is where none is given."""
    fileno = getattr(found, "fileno", None)
    number = fileno() if callable(fileno) else None
    return number if isinstance(number, int) else None


def forget_descriptor(found: Any, fileno: Callable[[Any], int | None]) -> None:
    """Take the socket of a parent's object from this process.

    The connection would not end when the parent does, and its server would count it,
    as long as the child has the socket too.  /dev/null takes its place: whatever the
    object would say there at its end is said to nobody."""
    try:
        number = fileno(found)
        if number is None or number < 0 or not stat.S_ISSOCK(os.fstat(number).st_mode):
            return
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, number, inheritable=False)
        os.close(null)
    except Exception:  # it is closed, or has none
        return


def _pools() -> list[Any]:
    while True:
        try:
            return list(pools_of_process)
        except RuntimeError:  # another thread made one meanwhile
            continue


def _after_fork_in_child() -> None:
    for pool in _pools():
        pool._after_fork()


def _before_fork() -> None:
    for pool in _pools():
        if pool._limit is not None:
            pool._gate.close()


def _after_fork_in_parent() -> None:
    for pool in _pools():
        pool._gate.open()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
