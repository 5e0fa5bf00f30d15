# SPDX-License-Identifier: Apache-2.0
"""What a server could not be told, to be told when it answers again.  One of each process: what a process owes ends with it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

MOST = 100_000
PORTION = 1000


class Debts:
    """Names; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def owe(self, names: Iterable[bytes], most: int = MOST) -> list[bytes]:
        """Returns those that there is no room for."""
        with self._lock:
            rest: list[bytes] = []
            for name in names:
                if len(self._names) < most:
                    self._names[name] = None
                elif name not in self._names:
                    rest.append(name)
            return rest

    def portion(self) -> list[bytes]:
        """Some of them, for one call."""
        with self._lock:
            return [name for name, _ in zip(self._names, range(PORTION))]

    def paid(self, names: Sequence[bytes]) -> None:
        with self._lock:
            for name in names:
                self._names.pop(name, None)

    def in_child(self) -> None:
        """Of a fork: a thread of the parent's may have had the lock; what is owed is the parent's to pay."""
        self.__init__()  # type: ignore[misc]
