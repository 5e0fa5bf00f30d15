# SPDX-License-Identifier: Apache-2.0
"""What was written and read when, by many processes, and how old what was read was.

Versions of a key are 1, 2, 3, ...; who writes one notes when it was acknowledged.  A read
that began at a moment and gave version v was behind by as long as v + 1 had been
acknowledged by then; not at all if it had not.  CLOCK_MONOTONIC is the same in all processes
of a machine, so the notes of all can be compared.

The notes lie in a file that all map, so that they outlive processes that are killed.  They
are written and read as whole machine words: struct.pack_into() empties the place first, and
who read just then would take version 0 for what the database has."""

from __future__ import annotations

import mmap
import time
from array import array
from pathlib import Path

VERSIONS = 32768  # of a key, at most
_WORD = 8  # bytes of a version, and of a moment


class History:
    """Of `keys` keys, 0 to keys - 1.  One process writes each of them."""

    def __init__(self, path: Path, keys: int) -> None:
        size = keys * (1 + VERSIONS) * _WORD
        with open(path, "a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self.keys = keys
        self._versions = memoryview(self._map)[: keys * _WORD].cast("Q")
        self._moments = memoryview(self._map)[keys * _WORD :].cast("d")

    def version(self, key: int) -> int:
        """What the database has: 0 at first."""
        return self._versions[key]

    def write(self, key: int) -> int:
        """A new version in the database; not acknowledged yet."""
        version = self._versions[key] + 1
        self._versions[key] = version
        return version

    def acknowledge(self, key: int, version: int) -> None:
        self._moments[self._at(key, version)] = time.monotonic()

    def acknowledged(self, key: int, version: int) -> bool:
        """Has this version, or a later one, been?"""
        return any(self._moments[self._at(key, later)] for later in range(version, self.version(key) + 1))

    def _at(self, key: int, version: int) -> int:
        return key * VERSIONS + version % VERSIONS

    def behind(self, key: int, version: int, began: float) -> float:
        """Seconds that a read which began then, and gave that version, was behind; 0: it was not."""
        if version >= self.version(key):
            return 0.0
        replaced = self._moments[self._at(key, version + 1)]
        return max(began - replaced, 0.0) if replaced else 0.0

    def close(self) -> None:
        self._versions.release()
        self._moments.release()
        self._map.close()


class Figures:
    """How far behind reads were: a file of doubles, one a read, that one process appends to."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)
        self._kept: array[float] = array("d")

    def add(self, seconds: float) -> None:
        self._kept.append(seconds)
        if len(self._kept) >= 256:
            self.flush()

    def flush(self) -> None:
        self._file.write(self._kept.tobytes())
        self._kept = array("d")

    @staticmethod
    def read(path: Path) -> array[float]:
        data = path.read_bytes()
        figures: array[float] = array("d")
        figures.frombytes(data[: len(data) // 8 * 8])
        return figures


def percentile(figures: array[float], part: float) -> float:
    """Of sorted figures; 0 if there are none."""
    return figures[min(int(len(figures) * part), len(figures) - 1)] if figures else 0.0
