# SPDX-License-Identifier: Apache-2.0
"""Loaders of the checks, and a file in which they say what they do.

Lines are appended with one write each, so that they are whole whoever is killed.
Times are of CLOCK_MONOTONIC, which is the same in all processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import NamedTuple

POLL = 0.002  # seconds
ABANDONED = 600.0  # seconds after which a loader that was forgotten ends by itself


class Event(NamedTuple):
    at: float
    pid: int
    what: str


def note(path: str, what: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, f"{time.monotonic():.9f} {os.getpid()} {what}\n".encode())
    finally:
        os.close(file)


def events(path: str, what: str) -> list[Event]:
    """Those of one sort, in the order in which they were written."""
    found = []
    try:
        with open(path, encoding="ascii") as lines:
            for line in lines:
                at, pid, name = line.split()
                if name == what:
                    found.append(Event(float(at), int(pid), name))
    except FileNotFoundError:
        pass
    return found


class LoaderFailed(Exception):
    """Raised by loaders that are to fail."""


@dataclass(frozen=True)
class Load:
    """A loader of one key that says when it begins.  Can be pickled."""

    key: str
    value: bytes
    log: str  # path of the file of events
    seconds: float = 0.0  # how long it takes
    until: str = ""  # path of a file that it waits for
    error: str = ""  # raised in place of the value

    def __call__(self) -> bytes:
        note(self.log, "begin")
        time.sleep(self.seconds)
        end = time.monotonic() + ABANDONED
        while self.until and not os.path.exists(self.until) and time.monotonic() < end:
            time.sleep(POLL)
        if self.error:
            raise LoaderFailed(self.error)
        return self.value

    def events(self, what: str) -> list[Event]:
        return events(self.log, what)
