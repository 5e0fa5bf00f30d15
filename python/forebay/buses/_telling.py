# SPDX-License-Identifier: Apache-2.0
"""Buses over which Forebay tells other machines itself: what those have in common, however messages go.

What is told is written as an item, printable ASCII:

    [!] CACHE [@VERSION] : KEY

as the names of docs/guides/tiers.md; KEY * is every entry of the cache.  With ! a tier had an
old value, which is gone by now: whoever has read it forgets it, and looks at no tier."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from forebay._log import buses as log
from forebay._core import ClosedError, TooBigError, _encode_key
from forebay._loading_options import seconds_of
from forebay.buses._bus import Bus
from forebay.buses._listening import caches_that_follow, ensure_listeners
from forebay.tiers._breaker import Breaker
from forebay.tiers._debts import MOST, Debts
from forebay.tiers._names import Names, text_of

if TYPE_CHECKING:
    from forebay.tiers._tier import TierOfCache


_NAMES = Names("")
_HEALED: Final = b"!"
_ALL: Final = "*"  # no key has this name
_BOOT = "/proc/sys/kernel/random/boot_id"


class Every:
    """In place of a key: all entries of the cache."""


EVERY: Final = Every()


@dataclass(frozen=True, slots=True)
class Message:
    """An entry changed."""

    cache: str
    key: Any  # or EVERY
    version: int = 0
    origin: str = ""  # of the arena whose cache wrote it; empty: the database, or another program, says so
    healed: bool = False


def item_of(cache: str, version: int, key: Any, healed: bool = False) -> bytes:
    text = _ALL if key is EVERY else text_of(key)
    return _HEALED * healed + (_NAMES.of_cache(cache, version) + text).encode("ascii")


def message_of(item: bytes, origin: str = "") -> Message:
    """ValueError: it is no item."""
    healed = item.startswith(_HEALED)
    item = item.removeprefix(_HEALED)
    every = item.partition(b":")[2] == _ALL.encode()
    cache, version, key = _NAMES.parse(item[:-1] + b"0" if every else item)
    return Message(cache, EVERY if every else key, version, origin, healed)


# ---- an arena, as buses know it ----


class Here:
    """An arena on this machine: who it is to others, and its caches, for one who deletes in them."""

    def __init__(self, arena: Any) -> None:
        self.origin = _origin_of(arena)
        self._caches: dict[str, Any] = {}

    def cache(self, arena: Any, name: str) -> Any:
        """A handle that reads whatever was heard; None: the arena has no cache of this name."""
        found = self._caches.get(name)
        if found is None and name in arena.caches():
            found = self._caches[name] = arena.cache(name)
        return found

    def forget(self, name: str) -> None:
        """The cache was dropped."""
        self._caches.pop(name, None)


def _origin_of(arena: Any) -> str:
    """The same in all processes that have the arena open, and in no others: a copy of its file on another machine has its uuid."""
    with suppress(OSError), open(_BOOT, "rb") as boot:
        return hashlib.sha256(arena.info()["uuid"] + boot.read()).hexdigest()[:16]
    return str(arena.info()["uuid"].hex()[:16])


class TellingBus(Bus):
    """A bus whose messages Forebay sends.  Those that cannot be sent are kept, and sent by the thread that looks after the bus."""

    told_errors: tuple[type[BaseException], ...] = (OSError,)  # of _send

    def __init__(self, kind: str, prefix: str, server: str, max_stale: float | timedelta | None, more: str = "") -> None:
        super().__init__(kind, prefix, server, None if max_stale is None else seconds_of(max_stale, "max_stale"), more)
        self.breaker = Breaker(f"bus {self.describe}")
        self._debts = Debts()
        self._told = 0
        self.heard_by: weakref.WeakSet[Bus] = weakref.WeakSet((self,))  # with the tiers that it is united with
        self._here: weakref.WeakKeyDictionary[Any, Here] = weakref.WeakKeyDictionary()
        _all.add(self)

    def __repr__(self) -> str:
        return f"<forebay.buses.{type(self).__name__} {self.describe}>"

    def stats(self) -> dict[str, Any]:
        """Of this process: told (entries that others were told of), owed (that they are still to be told of), skipped
        (calls while the server was left alone), opened (how often it was), state."""
        breaker = self.breaker
        return {
            "told": self._told, "owed": len(self._debts), "skipped": breaker.skipped, "opened": breaker.opened, "state": breaker.state,
        }  # fmt: skip

    # ---- of each kind ----

    def _send(self, origin: str, items: Sequence[bytes]) -> None:
        """Raises one of told_errors: nobody knows which were sent.  By any thread."""
        raise NotImplementedError

    async def _asend(self, origin: str, items: Sequence[bytes]) -> None:
        """_send() for a bus that is asynchronous."""
        raise NotImplementedError

    def _send_owed(self, origin: str, items: Sequence[bytes]) -> None:
        """_send() by a thread, also where the bus is asynchronous."""
        self._send(origin, items)

    def _messages(self, arena: Any, name: bytes) -> Iterable[Message]:
        """What a name that was heard says.  ValueError: nothing that is known here."""
        raise NotImplementedError

    # ---- telling ----

    def here(self, arena: Any) -> Here:
        found = self._here.get(arena)
        if found is None:
            found = self._here[arena] = Here(arena)
        return found

    def tell(self, cache: Any, keys: Iterable[Any]) -> None:
        items = [item_of(cache.name, cache.version, key) for key in keys]
        if items:
            self._tell(cache.arena, items, self._send)

    async def atell(self, cache: Any, keys: Iterable[Any]) -> None:
        if not self.asynchronous:
            await super().atell(cache, keys)
            return
        items = [item_of(cache.name, cache.version, key) for key in keys]
        if not items:
            return
        if not self.breaker.allows():
            self._owe(cache.arena, items)
            return
        try:
            await self._asend(self.here(cache.arena).origin, items)
        except BaseException as error:
            self._failed(cache.arena, items, error)
        else:
            self._succeeded(items)

    def _tell(self, arena: Any, items: Sequence[bytes], send: Callable[[str, Sequence[bytes]], None]) -> None:
        if not self.breaker.allows():
            self._owe(arena, items)
            return
        try:
            send(self.here(arena).origin, items)
        except BaseException as error:
            self._failed(arena, items, error)
        else:
            self._succeeded(items)

    def _failed(self, arena: Any, items: Sequence[bytes], error: BaseException) -> None:
        """Raises it, unless it is the server's."""
        self._owe(arena, items)
        if not isinstance(error, self.told_errors):
            self.breaker.unknown()
            raise error
        self.breaker.failed(error)

    def _succeeded(self, items: Sequence[bytes]) -> None:
        self.breaker.succeeded()
        self._told += len(items)

    def owe(self, cache: Any, keys: Iterable[Any]) -> None:
        self._owe(cache.arena, [item_of(cache.name, cache.version, key) for key in keys])

    def _owe(self, arena: Any, items: Sequence[bytes]) -> None:
        origin = self.here(arena).origin.encode() + b" "
        rest = self._debts.owe(origin + item for item in items)
        every = {origin + item.removeprefix(_HEALED).partition(b":")[0] + b":*" for item in rest}
        self._debts.owe(every, 2 * MOST)  # there are few caches
        ensure_listeners(arena, self.heard_by)

    def look_after(self) -> None:
        """Tell what could not be told before."""
        while len(self._debts) and self.breaker.allows():
            owed = self._debts.portion()
            try:
                for origin, items in _by_origin(owed):
                    self._send_owed(origin, items)
            except self.told_errors as error:
                self.breaker.failed(error)
                return
            except BaseException:
                self.breaker.unknown()
                raise
            self._debts.paid(owed)
            self._succeeded(list(owed))

    # ---- listening ----

    def release(self, arena: Any) -> None:
        self._here.pop(arena, None)

    def forget(self, arena: Any, names: Sequence[bytes], at_once: bool) -> list[bytes]:
        own = self.here(arena).origin
        by_cache: dict[str, list[Message]] = {}
        for name in names:
            try:
                for message in self._messages(arena, name):
                    if message.key is not EVERY:
                        _encode_key(message.key)  # what other programs say may be no key
                    if message.origin != own:
                        by_cache.setdefault(message.cache, []).append(message)
            except (ValueError, TypeError, TooBigError) as error:
                log.debug("%s: %r is nothing that is known here: %s", self.describe, name, error)
        for cache_name, messages in by_cache.items():
            try:
                self._forget_of(arena, cache_name, messages)
            except ClosedError:  # the cache was dropped; there may be another one of its name
                self.here(arena).forget(cache_name)
                self._forget_of(arena, cache_name, messages)
        return []

    def _forget_of(self, arena: Any, name: str, messages: Sequence[Message]) -> None:
        """Here, then in tiers, then here once more: somebody may have read it from there meanwhile."""
        cache = self.here(arena).cache(arena, name)
        if cache is None:
            return
        if any(message.key is EVERY for message in messages):
            cache.clear()
            messages = [message for message in messages if message.key is not EVERY]
        for message in messages:
            cache.delete(message.key)
        for part in self._parts(arena, name):
            self._heal(arena, cache, part, [message for message in messages if not message.healed])

    def _parts(self, arena: Any, name: str) -> Iterator[TierOfCache]:
        """Of tiers that do not say so themselves; of several handles of a cache with one tier, one."""
        seen = set()
        for cache in caches_that_follow(arena, self.heard_by):
            part = cache._tier_part() if cache.name == name else None
            if part is not None and (id(part.tier), cache.version) not in seen:
                seen.add((id(part.tier), cache.version))
                yield part

    def _heal(self, arena: Any, cache: Any, part: TierOfCache, messages: Sequence[Message]) -> None:
        """Who told of it over this bus has deleted it in the tier, if that was Forebay with a tier that cannot tell
        itself; what this machine was loading then, it may have set there since."""
        own = [message.key for message in messages if part.is_told_by_bus and message.origin and message.version == part.version]
        foreign = [message.key for message in messages if not part.is_told_by_bus or not message.origin or message.version != part.version]
        removed, late = part.remove(foreign, own)
        for key in (*removed, *late):
            cache.delete(key)
        if late:  # other machines may have read that
            items = [item_of(cache.name, part.version, key, healed=True) for key in late]
            self._tell(arena, items, self._send_owed)


def _by_origin(names: Iterable[bytes]) -> list[tuple[str, list[bytes]]]:
    found: dict[str, list[bytes]] = {}
    for name in names:
        origin, _, item = name.partition(b" ")
        found.setdefault(origin.decode(), []).append(item)
    return list(found.items())


_all: weakref.WeakSet[TellingBus] = weakref.WeakSet()


def _in_child() -> None:
    for bus in list(_all):
        bus._debts.forked()
        bus._debts.clear()  # what is owed is the parent's to tell


os.register_at_fork(after_in_child=_in_child)
