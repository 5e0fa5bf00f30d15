# SPDX-License-Identifier: Apache-2.0
"""What was written and read when, by many processes, and how old what was read was.

Versions of a key are 1, 2, 3, ...; who writes one notes when it was acknowledged.  A read
that began at a moment and gave version v was behind by as long as v + 1 had been
acknowledged by then; not at all if it had not.  CLOCK_MONOTONIC is the same in all processes
of a machine, so the notes of all can be compared.

The notes lie in a file that all map, so that they outlive processes that are killed."""

from __future__ import annotations

import mmap
import struct
import time
from array import array
from pathlib import Path

VERSIONS = 32768  # of a key, at most
_MOMENT = struct.Struct("<d")
_VERSION = struct.Struct("<Q")


class History:
    """Of `keys` keys, 0 to keys - 1.  One process writes each of them."""

    def __init__(self, path: Path, keys: int) -> None:
        size = keys * (8 + VERSIONS * 8)
        with open(path, "a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self.keys = keys
        self._moments = keys * 8

    def version(self, key: int) -> int:
        """What the database has: 0 at first."""
        return int(_VERSION.unpack_from(self._map, key * 8)[0])

    def write(self, key: int) -> int:
        """A new version in the database; not acknowledged yet."""
        version = self.version(key) + 1
        _VERSION.pack_into(self._map, key * 8, version)
        return version

    def acknowledge(self, key: int, version: int) -> None:
        _MOMENT.pack_into(self._map, self._at(key, version), time.monotonic())

    def _at(self, key: int, version: int) -> int:
        return self._moments + (key * VERSIONS + version % VERSIONS) * 8

    def behind(self, key: int, version: int, began: float) -> float:
        """Seconds that a read which began then, and gave that version, was behind; 0: it was not."""
        if version >= self.version(key):
            return 0.0
        replaced = _MOMENT.unpack_from(self._map, self._at(key, version + 1))[0]
        return max(began - replaced, 0.0) if replaced else 0.0

    def close(self) -> None:
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
