# SPDX-License-Identifier: Apache-2.0
"""What becomes of pools in the child of a fork."""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Callable
from typing import Any

pools_of_process: weakref.WeakSet[Any] = weakref.WeakSet()


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


def _after_fork_in_child() -> None:
    for pool in list(pools_of_process):
        pool._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
