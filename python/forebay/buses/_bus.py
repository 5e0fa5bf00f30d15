# SPDX-License-Identifier: Apache-2.0
"""What all buses have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from forebay.buses._events import Session
from forebay.buses._listening import BEAT, Listener, listener_of

BEGIN = 0.5  # seconds for somebody to listen: what is loaded before that is forgotten


class Bus:
    """Over it machines tell each other which entries changed.  Made by forebay.buses.Redis, or a tier's own.

    Threads may share it, and the children of a fork."""

    errors: tuple[type[BaseException], ...] = (OSError,)
    asynchronous = False  # tell() is not to be used, but atell()
    beat = BEAT

    def __init__(self, kind: str, prefix: str, server: str, max_stale: float | None, more: str = "") -> None:
        place = hashlib.sha256(f"{prefix}\0{server}{more}".encode()).hexdigest()[:12]
        self.channel = f"{kind}:{prefix[:20]}:{place}"
        self.describe = f"{kind} {server}"
        self.max_stale = max_stale

    def follow(self, cache: Any) -> Listener:
        """The cache's entries are those that this bus tells of.  By Arena.cache()."""
        listener = listener_of(cache.arena, self)
        most = None if self.max_stale is None else round(self.max_stale * 1000)
        cache._follow(listener.channel, most)
        listener.begin(cache)
        listener.wait(BEGIN)
        return listener

    def tell(self, cache: Any, keys: Iterable[Any]) -> None:
        """Entries of the cache changed: say so to the other machines."""
        raise NotImplementedError

    async def atell(self, cache: Any, keys: Iterable[Any]) -> None:
        """tell(), of a task."""
        import asyncio

        await asyncio.to_thread(self.tell, cache, list(keys))

    def owe(self, cache: Any, keys: Iterable[Any]) -> None:
        """Tell of them later: whoever wrote them was cut short."""

    def look_after(self) -> None:
        """Now and then, by a thread of each process that follows: what is due.  Raises nothing of the server's."""

    def subscribe(self) -> Session:
        """Raises one of `errors`."""
        raise NotImplementedError

    def release(self, arena: Any) -> None:
        """Nobody of this process listens for the arena any more."""

    def forget(self, arena: Any, names: Sequence[bytes], at_once: bool) -> list[bytes]:
        """Delete these entries here; returns names that are to be looked at again in a moment, unless at_once."""
        raise NotImplementedError
