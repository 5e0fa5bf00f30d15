# SPDX-License-Identifier: Apache-2.0
"""What the threads of a Pool and the tasks of an AsyncPool have in common."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forebay._pool_attempts import Attempts

if TYPE_CHECKING:
    from forebay._pool_base import PoolBase

LINGER = 10.0  # seconds that a worker waits for more to do
LONGEST_SLEEP = 86400.0


class Background:
    """Of one pool, which it does not keep alive."""

    def __init__(self, pool: PoolBase[Any], when_gone: Callable[[object], None] | None = None) -> None:
        self.pool: Callable[[], Any] = weakref.ref(pool, when_gone)
        self.name = pool.name
        self.most = pool.num_workers
        self.attempts = Attempts(pool.reconnect_timeout)

    def _is_over(self) -> bool:
        """The pool is gone, or closed and nothing of it is left to be closed."""
        pool = self.pool()
        return pool is None or (pool.closed and not any(pool._counts[1:]))

    def _due(self) -> float:
        """Seconds until there may be something to do."""
        pool = self.pool()
        if pool is None or self._is_over():
            return math.inf
        return float(min(pool._due(), pool._until_leak(), pool._until_try()))
