# SPDX-License-Identifier: Apache-2.0
"""A tier that says what changes in it, and a bus that says what changes behind it, heard as one.

    users = arena.cache("users", tier=forebay.tiers.Redis(client), bus=forebay.buses.Postgres("dbname=shop"))

Both go over one channel of the arena: a session has a subscription to each, and a pong is
one of both.  So the channel's moment is one up to which both were heard, readers look at one
word as ever, and as soon as one of the two is lost caches begin anew.

What the bus says is deleted here, then in the tier, then here once more (TellingBus): a
placeholder goes with it, so that no machine stores there what it began to load before.  A machine that
cannot delete it there has not heard it: its session ends, and another begins once it can."""

from __future__ import annotations

import selectors
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from forebay.buses._bus import Bus
from forebay.buses._events import Changed, Event, Everything, Pong, Session
from forebay.buses._redis_bus import TrackingBus
from forebay.buses._telling import TellingBus

if TYPE_CHECKING:
    from forebay.tiers._tier import Tier

_OF_TIER, _OF_BUS = b"t", b"b"  # what names begin with


class UnitedBus(Bus):
    """Of a tier's own bus and one of the user's.  Nothing is told over it: who writes writes to the tier, which tells."""

    def __init__(self, tier: Tier, bus: Bus) -> None:
        if not isinstance(tier.bus, TrackingBus) or not isinstance(bus, TellingBus):
            raise TypeError(f"bus must be forebay.buses.Redis or forebay.buses.Postgres, not {type(bus).__name__}")
        self._tier_bus, self._bus = tier.bus, bus
        self.errors = (*tier.bus.errors, *bus.errors, OSError)
        self.beat = max(tier.bus.beat, bus.beat)
        bounds = [each.max_stale for each in (tier.bus, bus) if each.max_stale is not None]
        super().__init__("united", tier.names.prefix, f"{tier.bus.channel}\0{bus.channel}", min(bounds, default=None))
        self.describe = f"{tier.bus.describe} with {bus.describe}"

    def follow(self, cache: Any) -> Any:
        self._bus.heard_by.add(self)
        return super().follow(cache)

    def tell(self, cache: Any, keys: Iterable[Any]) -> None:
        """The tier was told, and tells."""

    async def atell(self, cache: Any, keys: Iterable[Any]) -> None:
        """As tell()."""

    def look_after(self) -> None:
        self._bus.look_after()

    def subscribe(self) -> Session:
        self._tier_bus.settle()
        of_bus = self._bus.subscribe()
        try:
            return UnitedSession(self._tier_bus.subscribe(), of_bus)
        except BaseException:
            of_bus.close()
            raise

    def release(self, arena: Any) -> None:
        self._tier_bus.release(arena)
        self._bus.release(arena)

    def forget(self, arena: Any, names: Sequence[bytes], at_once: bool) -> list[bytes]:
        of_bus = [name.removeprefix(_OF_BUS) for name in names if name.startswith(_OF_BUS)]
        if of_bus:
            self._bus.forget(arena, of_bus, at_once)
            self._tier_bus.settle()
        of_tier = [name.removeprefix(_OF_TIER) for name in names if name.startswith(_OF_TIER)]
        return [_OF_TIER + name for name in self._tier_bus.forget(arena, of_tier, at_once)]


class UnitedSession:
    """Two sessions.  A pong comes when both have answered the last ping."""

    def __init__(self, of_tier: Session, of_bus: Session) -> None:
        self._sessions = {_OF_TIER: of_tier, _OF_BUS: of_bus}
        self._silent: set[bytes] = set()  # those that are yet to answer
        self._selector = selectors.DefaultSelector()
        for session in self._sessions.values():
            self._selector.register(session, selectors.EVENT_READ)

    def fileno(self) -> int:
        return self._selector.fileno()

    def ping(self) -> None:
        self._silent = set(self._sessions)
        for session in self._sessions.values():
            session.ping()

    def read(self, seconds: float) -> list[Event]:
        events = self._read()  # some may have come with an answer, and be waited for in vain
        if not events and self._selector.select(max(seconds, 0)):
            events = self._read()
        return events

    def _read(self) -> list[Event]:
        events: list[Event] = []
        answered = False
        for beginning, session in self._sessions.items():
            for event in session.read(0):
                if isinstance(event, Changed):
                    events.append(Changed([beginning + name for name in event.names]))
                elif isinstance(event, Everything):
                    events.append(event)
                elif beginning in self._silent:
                    self._silent.discard(beginning)
                    answered = not self._silent
        return [*events, Pong()] if answered else events

    def close(self) -> None:
        self._selector.close()
        for session in self._sessions.values():
            session.close()
