# SPDX-License-Identifier: Apache-2.0
"""What a server could not be told, to be told when it answers again.  One of each process: what a process owes ends with it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from itertools import islice

MOST = 100_000
PORTION = 1000


class Debts:
    """Names; threads may share it."""

    def __init__(self) -> None:
        self._names: dict[bytes, object] = {}
        self.forked()

    def forked(self) -> None:
        """In the child of a fork: who held the lock is in the parent."""
        self._lock = threading.Lock()

    def clear(self) -> None:
        self._names = {}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def owe(self, names: Iterable[bytes], most: int | None = None) -> list[bytes]:
        """Returns those that there is no room for; most: MOST."""
        most = MOST if most is None else most
        with self._lock:
            rest: list[bytes] = []
            for name in names:
                if len(self._names) < most or name in self._names:
                    self._names[name] = object()
                else:
                    rest.append(name)
            return rest

    def portion(self) -> dict[bytes, object]:
        """Some of them, for one call; for paid()."""
        with self._lock:
            return dict(islice(self._names.items(), PORTION))

    def paid(self, portion: Mapping[bytes, object]) -> None:
        with self._lock:
            for name, debt in portion.items():
                if self._names.get(name) is debt:  # else it was owed again meanwhile
                    del self._names[name]
