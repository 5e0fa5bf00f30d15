# SPDX-License-Identifier: Apache-2.0
"""For the tests of programs that use Forebay: a throw-away arena and a clock.

In a conftest.py:

    pytest_plugins = ["forebay.testing"]

Then a test takes the fixture forebay_arena, an empty arena of 16 MiB in a file
of its own that is gone after the test, and forebay_clock, which makes its time
go ahead.  Without pytest: throwaway_arena() and Clock.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import forebay

__all__ = ["Clock", "throwaway_arena"]


class Clock:
    """The time of an arena, for all processes that use it: it goes on as always, and ahead on demand."""

    def __init__(self, arena: forebay.Arena) -> None:
        self._arena = arena

    def advance(self, seconds: float | timedelta) -> None:
        """Go ahead: entries whose ttl ends in between have expired.  It never goes back."""
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"seconds must be a number or a timedelta, not {type(seconds).__name__}")
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"time goes ahead only, not by {seconds} seconds")
        self._arena._advance_clock(round(seconds * 1000))


@contextmanager
def throwaway_arena(size: int | str = "16MiB") -> Iterator[forebay.Arena]:
    """An empty arena in a file of its own, on /dev/shm where there is one; both are gone at the end."""
    home = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="forebay-testing-", dir=home) as folder:
        with forebay.open(os.path.join(folder, "arena"), size) as arena:
            yield arena


try:
    import pytest
except ImportError:  # then without fixtures
    pass
else:
    __all__ += ["forebay_arena", "forebay_clock"]

    @pytest.fixture
    def forebay_arena() -> Iterator[forebay.Arena]:
        """A throw-away arena of 16 MiB."""
        with throwaway_arena() as arena:
            yield arena

    @pytest.fixture
    def forebay_clock(forebay_arena: forebay.Arena) -> Clock:
        """The clock of forebay_arena."""
        return Clock(forebay_arena)
