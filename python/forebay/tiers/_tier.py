# SPDX-License-Identifier: Apache-2.0
"""A tier: what a cache asks on a miss before its source, and fills after it.

docs/guides/tiers.md is the protocol.  In short, for the keys of one load, whose leases are held:

1. get_many: what the tier has is stored here.
2. place_many: a placeholder with a token of our own where there is nothing, so that an
   invalidation from now on finds something to remove.
3. The source loads the rest.
4. replace_many: values where our placeholders still are.  What is gone was invalidated
   meanwhile, so what was loaded may be old: it goes to the callers and is stored nowhere.
   (R. Nishtala et al.: Scaling Memcache at Facebook, NSDI 2013, section 3.2.1.)

A tier whose servers cannot compare and set at once ("plain") has values set in 4, if the
lease is still held, and removed if it is not held after that."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn

from forebay._core import ABSENT, FullError, TooBigError
from forebay._loading_flights import Arrived, Failed, Flight
from forebay._loading_options import OMITTED, TIER_BATCH, Options, seconds_of
from forebay._log import tiers as log
from forebay.tiers._arena_records import ArenaRecord, ArenaRecords
from forebay.tiers._breaker import Breaker
from forebay.tiers._debts import Debts
from forebay.tiers._dictionaries import Dictionaries
from forebay.tiers._envelope import HEAD, PLACEHOLDER, VALUE, Envelope, head_of, new_token, open_envelope, seal, too_big
from forebay.tiers._marks import Mark, Marks
from forebay.tiers._names import Names, check_prefix, text_of
from forebay.tiers._steps import Ask, Load, Steps, arun, run
from forebay.tiers._store import AsyncStore, Item, Store, check_timeouts, store_of

_COUNTERS = {
    "hits": "Keys that the tier had.",
    "misses": "Keys that the tier did not have.",
    "errors": "Calls that failed.",
    "stored": "Values that were stored in the tier.",
    "refused": "Values that were invalidated while they were loaded.",
    "too_big": "Values that are too big for the tier.",
    "unreadable": "Values in the tier that another program or version wrote.",
    "forgotten": "Invalidations that the tier never had.",
    "skipped": "Calls that were not made, as the tier was left alone.",
    "opened": "How often the tier was left alone.",
}
DEFAULT_PREFIX = "forebay:"
_SPARE = 0.9  # of item_max: what the server needs for itself
_STORING = ("place_many", "replace_many", "set_many")
_GONE_AFTER = 1  # ms: of what is put in place of something that is to go
_HELD_FOR = 1 / 3  # of load_timeout: after it, what was loaded is committed before more is loaded


class Unusable(Exception):
    """The tier failed, or is left alone: go on without."""


@dataclass(slots=True)
class Wish:
    """A key of one load."""

    flight: Flight
    name: bytes
    prefix: bytes = b""  # what must be there for the value to be stored; empty: it is not to be
    result: Any = None


@dataclass(slots=True)
class Counts:
    """Of this process."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    stored: int = 0
    refused: int = 0  # values that were invalidated while they were loaded
    too_big: int = 0
    unreadable: int = 0
    owed: int = 0  # invalidations that the tier has not had yet
    forgotten: int = 0  # of them, given up
    skipped: int = 0
    opened: int = 0
    state: str = "closed"


class Tier:
    """A store that machines share.  Made by forebay.tiers.Redis and Memcached; one for all caches of a client.

    Threads may share it, and the children of a fork.  One on an asyncio client belongs to that client's loop."""

    guarded = True  # the store compares and sets at once
    bus: Any = None  # of its own: the store says what changes

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = DEFAULT_PREFIX,
        max_age: float | timedelta = 86400.0,
        max_stale: float | timedelta | None = 1.0,
        compress: bool = True,
    ) -> None:
        check_prefix(prefix)
        self.client = client
        self.store: Store | AsyncStore = store_of(client)
        check_timeouts(self.store, "a tier")
        self.names = Names(prefix)
        self.max_age = seconds_of(max_age, "max_age")
        self.max_stale = None if max_stale is None else seconds_of(max_stale, "max_stale")
        self.compress = compress
        self.breaker = Breaker(f"tier {self.store.describe}")
        self.writing = Breaker(f"storing in tier {self.store.describe}")  # a server that is full, or a replica, can still be read
        self.dictionaries = Dictionaries(self.names)
        self._counts = Counts()
        self._records = ArenaRecords(self._label(), lambda: (self.breaker.is_open, self.writing.is_open))
        self._debts = Debts()  # names that are to be deleted when the tier answers again
        self.forked()
        if self.max_age == 0:
            raise ValueError("max_age must be more than 0 seconds")
        _all.add(self)

    def forked(self) -> None:
        """In the child of a fork: who held the lock is in the parent."""
        self._lock = threading.RLock()  # a finalizer that the collector runs may count, too
        self._debts.forked()
        self.dictionaries.forked()

    def __repr__(self) -> str:
        return f"<forebay.tiers.{type(self).__name__} {self.store.describe} prefix={self.names.prefix!r}>"

    @property
    def asynchronous(self) -> bool:
        return self.store.asynchronous

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled, as its client has connections: make client, tier and cache in each process")

    def _label(self) -> str:
        """Which tier it is, for people."""
        prefix = self.names.prefix
        return self.store.describe if prefix == DEFAULT_PREFIX else f"{self.store.describe} {prefix}"

    def stats(self) -> dict[str, Any]:
        """What this process had from the tier: hits, misses, errors, stored, refused (invalidated while they were
        loaded), too_big, unreadable (of another program or version), owed (invalidations that the tier has not had
        yet), forgotten (of them, given up), skipped (calls while it was left alone), opened (how often it was), state."""
        counts = {name: getattr(self._counts, name) for name in Counts.__slots__}
        breakers = (self.breaker, self.writing)
        state = next((breaker.state for breaker in breakers if breaker.is_open), "closed")
        counts.update(owed=len(self._debts), state=state)
        return counts

    def metrics(self) -> list[tuple[str, str, str, list[tuple[dict[str, str], float]]]]:
        """For forebay.metrics.Collector(more=[tier]): what stats() says, of this process."""
        labels = {"tier": self.store.describe, "prefix": self.names.prefix}
        stats = self.stats()
        samples = [
            (f"forebay_tier_{name}_total", "counter", text, [(labels, float(stats[name]))]) for name, text in _COUNTERS.items()
        ]
        samples.append(("forebay_tier_owed", "gauge", "Invalidations that the tier has not had yet.", [(labels, float(stats["owed"]))]))
        samples.append(("forebay_tier_up", "gauge", "1 unless the tier is left alone.", [(labels, float(stats["state"] == "closed"))]))
        return samples

    def bind(self, cache: Any, options: Options) -> TierOfCache:
        """The tier as one cache uses it."""
        return TierOfCache(self, cache, options)

    # ---- calls that may fail ----

    def ask(self, method: str, *arguments: Any) -> Steps[Any]:
        """What the store says; Unusable: it failed, or is left alone."""
        breaker = self.writing if method in _STORING else self.breaker
        if (breaker is self.writing and self.breaker.state == "open") or not breaker.allows():
            self.count("skipped")
            raise Unusable
        try:
            result = yield Ask(method, arguments)
        except self.store.errors as error:
            self.count("errors")
            if breaker.failed(error):
                self.count("opened")
            self._records.say()
            raise Unusable from error
        except BaseException:  # an interrupt, a cancelled task, a client of another loop
            breaker.unknown()
            raise
        breaker.succeeded()
        self._records.say()
        return result

    @property
    def is_left_out(self) -> bool:
        """For what is to be stored, at least."""
        return self.breaker.is_open or self.writing.is_open

    def pay(self) -> Steps[None]:
        """Delete what could not be deleted before."""
        if not len(self._debts):
            return
        owed = self._debts.portion()
        yield from self.ask("delete_many", list(owed))
        self._debts.paid(owed)

    def settle(self, store: Store) -> bool:
        """pay() for all, by a thread; False: the tier failed, or is left alone."""
        try:
            while len(self._debts):
                run(self.pay(), store, _nothing)
        except Unusable:
            return False
        return True

    def owe(self, names: Iterable[bytes]) -> None:
        self.count("forgotten", len(self._debts.owe(names)))

    def is_owed(self, name: bytes) -> bool:
        return name in self._debts

    def count(self, what: str, number: int = 1) -> None:
        if number:
            with self._lock:
                setattr(self._counts, what, getattr(self._counts, what) + number)
            self._records.add(what, number)

    def record_in(self, arena: Any) -> ArenaRecord | None:
        """What is counted from now on is counted for the machine, too, for as long as the caller holds this."""
        return self._records.of(arena)


_all: weakref.WeakSet[Tier] = weakref.WeakSet()


def _after_fork() -> None:
    for tier in list(_all):
        tier.forked()
        tier._records.forked()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(slots=True)
class Sealed:
    """A value that is to be written."""

    key: Any
    name: bytes
    kind: int
    payload: bytes
    seconds: float
    data: bytes = b""
    lease: bytes = field(default=b"")


@dataclass(frozen=True, slots=True)
class Seen:
    """Of a key that this machine wrote to the tier of late, what is here."""

    mark: Mark
    lease: int | None  # its token
    stored: tuple[int, bytes, float | None] | None  # kind, payload, seconds left

    @classmethod
    def of(cls, cache: Any, key: Any, mark: Mark) -> Seen:
        return cls(mark, cache._lease_token(key), cache._stored(key))

    @property
    def may_be_kept(self) -> bool:
        """Else there is nothing, or it is being loaded by one who began before the mark was made."""
        return self.stored is not None if self.lease is None else self.lease == self.mark.lease


class TierOfCache:
    """A tier's part for one Cache object."""

    def __init__(self, tier: Tier, cache: Any, options: Options) -> None:
        self.tier = tier
        self._options = options
        self.version = cache.version
        self._beginning = tier.names.of_cache(cache.name, cache.version)
        self._marks = Marks(cache.arena)
        self._record = tier.record_in(cache.arena)
        self._name_max = tier.store.name_max
        self._payload_max = cache.arena.max_entry
        self._twin: Store | None = None  # for threads, of an asynchronous store
        self.is_believed: Callable[[], bool] = _always  # False: others may not have deleted there what changed

    def name_of(self, key: Any) -> bytes:
        name = (self._beginning + text_of(key)).encode("ascii")
        if len(name) > self._name_max:
            raise ValueError(
                f"the key is too long for the tier: {len(name)} bytes with the names of tier and cache, {self._name_max} at most"
            )
        return name

    @property
    def is_told_by_bus(self) -> bool:
        """The tier cannot say what changes in it."""
        return self.tier.bus is None

    @property
    def limits(self) -> float | None:
        """Seconds that entries are kept for now, as the tier is left out; None: as long as they say."""
        return self.tier.max_stale if self.tier.is_left_out else None

    # ---- a load ----

    def load(self, cache: Any, flights: Sequence[Flight], source: Callable[[Sequence[Flight]], Any]) -> list[Any]:
        return run(self._load(cache, flights), self.tier.store, source)

    async def aload(self, cache: Any, flights: Sequence[Flight], source: Callable[[Sequence[Flight]], Any]) -> list[Any]:
        return await arun(self._load(cache, flights), self.tier.store, source)

    def _load(self, cache: Any, flights: Sequence[Flight]) -> Steps[list[Any]]:
        wishes = self._wishes(flights)
        sought = [wish for wish in wishes if wish.result is None]
        token = new_token()
        usable = True
        try:
            yield from self.tier.pay()
            yield from self._look(cache, sought)
            yield from self._place([wish for wish in sought if wish.result is None], token)
        except Unusable:
            usable = False
        yield from self._load_missing(cache, [wish for wish in sought if wish.result is None], token, usable)
        return [wish.result for wish in wishes]

    def _wishes(self, flights: Sequence[Flight]) -> list[Wish]:
        wishes = []
        for flight in flights:
            try:
                wishes.append(Wish(flight, self.name_of(flight.key)))
            except ValueError as error:  # of this key alone
                wishes.append(Wish(flight, b"", result=Failed(error)))
        return wishes

    def _look(self, cache: Any, wishes: Sequence[Wish]) -> Steps[None]:
        sought = [wish for wish in wishes if not wish.flight.replaces and not self.tier.is_owed(wish.name)]
        if not sought or not self.is_believed():
            return
        found = yield from self.tier.ask("get_many", [wish.name for wish in sought])
        opened = [(wish, envelope) for wish in sought if (envelope := self._opened(found.get(wish.name))) is not None]
        dictionaries = yield from self._dictionaries({envelope.digest for _, envelope in opened if envelope.digest})
        now, hits = time.time(), 0
        for wish, envelope in opened:
            if envelope.state != VALUE:
                continue
            if envelope.digest and envelope.digest not in dictionaries:
                if wish.flight.lease is not None:  # nobody will read it again: ours goes in its place
                    wish.prefix = head_of(VALUE, envelope.token)
                continue
            wish.result = self._arrived(cache, wish.flight, envelope, dictionaries, now)
            hits += wish.result is not None
        self.tier.count("hits", hits)
        self.tier.count("misses", len(sought) - hits)

    def _opened(self, data: bytes | None) -> Envelope | None:
        try:
            return None if data is None else open_envelope(data)
        except ValueError as error:
            self.tier.count("unreadable")
            log.debug("%s: %s", self.tier.breaker.name, error)
            return None

    def _dictionaries(self, wanted: set[bytes]) -> Steps[dict[bytes, bytes]]:
        return (yield from self.tier.dictionaries.fetch(self.tier, wanted)) if wanted else {}

    def _arrived(
        self, cache: Any, flight: Flight, envelope: Envelope, dictionaries: dict[bytes, bytes], now: float
    ) -> Arrived | None:
        left = envelope.expires / 1000 - now if envelope.expires else self.tier.max_age
        if left <= 0:
            return None
        payload = envelope.data
        try:
            if envelope.codec:
                payload = envelope.payload(dictionaries.get(envelope.digest), self._payload_max)
            value = cache._from_payload(flight.key, envelope.kind, payload)
        except Exception as error:  # damaged, or what the serializer or a hook of this release does not know
            text = "%s: what is there for key %r of cache %r cannot be read: %s"
            level = logging.DEBUG if self.tier.stats()["unreadable"] else logging.WARNING  # one may stand for many
            log.log(level, text, self.tier.breaker.name, flight.key, cache.name, error)
            self.tier.count("unreadable")
            return None
        return Arrived(value, min(left, self.tier.max_age), True, (envelope.kind, payload), True)

    def _place(self, wishes: Sequence[Wish], token: bytes) -> Steps[None]:
        """Where the tier has nothing, our placeholder; what a refresh is to replace is what is there now."""
        wishes = [wish for wish in wishes if wish.flight.lease is not None]
        if not wishes or not self.tier.guarded:
            return
        self._mark(wishes, token)
        yield from self._place_over([wish for wish in wishes if wish.flight.replaces], token)
        yield from self._place_new([wish for wish in wishes if not wish.prefix], token)

    def _place_over(self, wishes: Sequence[Wish], token: bytes) -> Steps[None]:
        """A value is to be replaced if it is still there; what others load now may be older than what is asked for."""
        if not wishes:
            return
        heads = yield from self.tier.ask("get_heads", [wish.name for wish in wishes], HEAD)
        others = []
        for wish in wishes:
            head = heads.get(wish.name, b"")
            if not head.startswith(head_of(PLACEHOLDER, b"")):
                wish.prefix = head
            elif not wish.flight.background:
                others.append(wish)
        if others:
            placeholder = head_of(PLACEHOLDER, token)
            yield from self.tier.ask("set_many", [(wish.name, placeholder, self._placeholder_ms) for wish in others])
            for wish in others:
                wish.prefix = placeholder

    def _place_new(self, wishes: Sequence[Wish], token: bytes) -> Steps[None]:
        if not wishes:
            return
        placeholder = head_of(PLACEHOLDER, token)
        names = list({wish.name for wish in wishes})
        placed = yield from self.tier.ask("place_many", names, placeholder, self._placeholder_ms)
        for wish in wishes:
            if wish.name in placed:
                wish.prefix = placeholder

    def _place_again(self, wishes: Sequence[Wish], token: bytes) -> Steps[None]:
        """Of a load that takes long: for those whose turn it is only now."""
        wishes = [wish for wish in wishes if wish.flight.lease is not None]
        if not wishes or not self.tier.guarded:
            return
        placeholder = head_of(PLACEHOLDER, token)
        ours = [(wish.name, placeholder, self._placeholder_ms) for wish in wishes if wish.prefix == placeholder]
        kept = (yield from self.tier.ask("replace_many", ours, placeholder)) if ours else set()
        for wish in wishes:
            if wish.prefix == placeholder and wish.name not in kept:
                wish.prefix = b""
        self._mark(wishes, token)
        yield from self._place_new([wish for wish in wishes if not wish.prefix], token)

    @property
    def _placeholder_ms(self) -> int:
        return milliseconds_of(self._options.load_timeout)

    def _mark(self, wishes: Iterable[Wish], token: bytes) -> None:
        pairs = [(wish.name, lease_token(wish.flight.lease)) for wish in wishes if wish.flight.lease is not None]
        self._marks.note(pairs, token, self._options.load_timeout)

    def _load_missing(self, cache: Any, missing: Sequence[Wish], token: bytes, usable: bool) -> Steps[None]:
        """As many at a time as the loader takes, and all into the tier at the end, or before placeholders expire."""
        placed_at = time.monotonic()
        loaded: list[Wish] = []
        parts = self._parts(missing)
        for number, part in enumerate(parts, 1):
            yield from self._load_part(part)
            loaded += part
            late = time.monotonic() - placed_at > self._options.load_timeout * _HELD_FOR
            if number == len(parts) or late:
                usable = yield from self._into_tier(cache, loaded, token, usable)
                loaded = []
            if late and usable and number < len(parts):
                usable = yield from self._usable(self._place_again([wish for rest in parts[number:] for wish in rest], token))
                placed_at = time.monotonic()

    def _parts(self, wishes: Sequence[Wish]) -> list[Sequence[Wish]]:
        if not wishes:
            return []
        most = len(wishes) if self.tier.asynchronous else self._options.max_batch  # tasks load them at the same time
        return [wishes[at : at + most] for at in range(0, len(wishes), most)]

    def _load_part(self, part: Sequence[Wish]) -> Steps[None]:
        try:
            results = yield Load([wish.flight for wish in part])
        except Exception as error:
            results = [Failed(error)] * len(part)
        for wish, result in zip(part, results):
            wish.result = result

    def _usable(self, steps: Steps[None]) -> Steps[bool]:
        try:
            yield from steps
        except Unusable:
            return False
        return True

    def _into_tier(self, cache: Any, loaded: Sequence[Wish], token: bytes, usable: bool) -> Steps[bool]:
        """Is the tier usable still?"""
        if usable:
            usable = yield from self._usable(self._commit(cache, loaded, token))
        if not usable:
            for wish in loaded:
                self._limit(cache, wish)
        return usable

    def _limit(self, cache: Any, wish: Wish) -> None:
        """What the tier does not know of, nobody can invalidate: it is kept for as long as a reader may be behind."""
        if not isinstance(wish.result, (Failed, Arrived)):
            seconds = self._lifetime(cache, wish.result)
            if seconds is not None and self.tier.max_stale is not None:
                seconds = min(seconds, self.tier.max_stale)
            keep = seconds is not None and seconds > 0 and not self.tier.is_owed(wish.name)
            wish.result = Arrived(wish.result, seconds, keep)

    # ---- what was loaded goes to the tier ----

    def _commit(self, cache: Any, wishes: Sequence[Wish], token: bytes) -> Steps[None]:
        sealed: dict[bytes, Sealed] = {}
        for wish in wishes:
            if wish.flight.lease is not None and not isinstance(wish.result, Failed) and not self.tier.is_owed(wish.name):
                if (value := self._sealed(cache, wish)) is not None:
                    sealed[wish.name] = value
        for_tier = [sealed[wish.name] for wish in wishes if wish.name in sealed and (wish.prefix or not self.tier.guarded)]
        yield from self._seal(cache, for_tier, token)
        if self.tier.guarded:
            stored = yield from self._replace(wishes, sealed, token)
        else:
            stored = yield from self._set_plain(cache, wishes, sealed, token)
        for wish in wishes:
            if not isinstance(wish.result, Failed):
                value = sealed.get(wish.name)
                known = wish.name in stored or not wish.prefix  # not ours to replace: another's is there, and says what changes
                if value is None:
                    wish.result = Arrived(wish.result, None, False)
                else:
                    wish.result = Arrived(wish.result, value.seconds, known, (value.kind, value.payload))

    def _sealed(self, cache: Any, wish: Wish) -> Sealed | None:
        """None: not to be stored."""
        seconds = self._lifetime(cache, wish.result)
        if seconds is None or seconds <= 0:
            return None
        try:
            kind, payload = cache._payload(wish.result)
        except Exception as error:  # it cannot be stored: as without a tier
            wish.result = Failed(error)
            return None
        return Sealed(wish.flight.key, wish.name, kind, payload, seconds)

    def _lifetime(self, cache: Any, value: Any) -> float | None:
        """Seconds; None: it is not stored."""
        options = self._options
        if value is ABSENT and options.absence:
            return None if options.absent_ttl is None else self._capped(options.shortened(options.absent_ttl))
        lifetime = options.lifetime(cache.ttl)
        return self._capped(cache.ttl if lifetime is OMITTED else lifetime)

    def _capped(self, seconds: float | None) -> float:
        return self.tier.max_age if seconds is None else min(seconds, self.tier.max_age)

    def _seal(self, cache: Any, values: Sequence[Sealed], token: bytes) -> Steps[None]:
        if not values:
            return
        dictionary = yield from self.tier.dictionaries.current(self.tier, cache)
        item_max = self.tier.store.item_max
        now = time.time()
        for value in values:
            expires = round((now + value.seconds) * 1000)
            fits = len(value.payload) <= self._payload_max
            if fits:
                value.data = seal(token, value.kind, value.payload, expires, dictionary, self.tier.compress)
                fits = item_max is None or len(value.data) + len(value.name) <= item_max * _SPARE
            if not fits:
                self.tier.count("too_big")
                value.data = too_big(token, expires)

    def _replace(self, wishes: Sequence[Wish], sealed: dict[bytes, Sealed], token: bytes) -> Steps[set[bytes]]:
        """Ours, where what we saw is there; and what nothing came of goes: placeholders, and values of what is no more."""
        by_prefix: dict[bytes, list[tuple[bytes, bytes, int]]] = {}
        for wish in wishes:
            value = sealed.get(wish.name)
            if not wish.prefix:
                continue
            if value is not None:
                item = (wish.name, value.data, milliseconds_of(value.seconds))
            elif wish.prefix.startswith(head_of(PLACEHOLDER, b"")) or not isinstance(wish.result, Failed):
                item = (wish.name, head_of(PLACEHOLDER, token), _GONE_AFTER)
            else:
                continue
            by_prefix.setdefault(wish.prefix, []).append(item)
        stored: set[bytes] = set()
        for prefix, items in by_prefix.items():
            stored |= yield from self.tier.ask("replace_many", items, prefix)
        stored &= sealed.keys()
        self.tier.count("stored", len(stored))
        self.tier.count("refused", sum(wish.prefix != b"" for wish in wishes if wish.name in sealed) - len(stored))
        return stored

    def _set_plain(
        self, cache: Any, wishes: Sequence[Wish], sealed: dict[bytes, Sealed], token: bytes
    ) -> Steps[set[bytes]]:
        """Under the lease: before it is set, and once more after it, in case of an invalidation in between."""
        leased = [wish for wish in wishes if wish.name in sealed and cache._lease_holds(wish.flight.lease)]
        if not leased:
            return set()
        self._mark(leased, token)
        values = [sealed[wish.name] for wish in leased]
        try:
            yield from self.tier.ask("set_many", items_of(values))
        except Unusable:  # it may come to be stored all the same
            self.tier.owe(wish.name for wish in leased if not cache._lease_holds(wish.flight.lease))
            raise
        lost = [wish.name for wish in leased if not cache._lease_holds(wish.flight.lease)]
        if lost and not (yield from self._usable(self.tier.ask("delete_many", lost))):
            self.tier.owe(lost)
        self.tier.count("stored", len(leased) - len(lost))
        self.tier.count("refused", len(lost))
        for wish in leased:
            wish.prefix = b"set"
        return {wish.name for wish in leased} - set(lost)

    # ---- writes of the user's ----

    def write(self, cache: Any, items: Sequence[tuple[Any, Any]], ttl: Any) -> None:
        run(self._write(cache, items, ttl), self.tier.store, _nothing)

    async def awrite(self, cache: Any, items: Sequence[tuple[Any, Any]], ttl: Any) -> None:
        await arun(self._write(cache, items, ttl), self.tier.store, _nothing)

    def _write(self, cache: Any, items: Sequence[tuple[Any, Any]], ttl: Any) -> Steps[None]:
        """To the tier, then here, under leases: what others write meanwhile takes them away."""
        seconds = self._capped(cache.ttl if ttl is OMITTED else None if ttl is None else seconds_of(ttl, "ttl"))
        if seconds <= 0:
            raise ValueError("ttl must be more than 0 seconds; None keeps an entry for ever")
        last = {self.name_of(key): (key, value) for key, value in items}  # of several for a key the last
        values = [Sealed(key, name, *self._payload(cache, key, value), seconds) for name, (key, value) in last.items()]
        for at in range(0, len(values), TIER_BATCH):  # there are only so many leases
            yield from self._write_part(cache, values[at : at + TIER_BATCH], seconds)

    def _payload(self, cache: Any, key: Any, value: Any) -> tuple[int, bytes]:
        kind, payload = cache._payload(value)
        if len(payload) > self._payload_max:
            raise TooBigError(f"the value for key {key!r} has {len(payload)} bytes, and an entry of this arena {self._payload_max} at most")
        return kind, payload

    def _write_part(self, cache: Any, values: Sequence[Sealed], seconds: float) -> Steps[None]:
        token = new_token()
        try:
            self._take_leases(cache, values)
            self._mark_writes(values, token)
            if not (yield from self._usable(self._set(cache, values, token))):
                self.tier.owe(value.name for value in values)
                seconds = seconds if self.tier.max_stale is None else min(seconds, self.tier.max_stale)
            self._store_here(cache, values, seconds)
        except BaseException:
            for value in values:  # nobody knows what the tier has
                cache._delete_here(value.key)
            raise

    def _set(self, cache: Any, values: Sequence[Sealed], token: bytes) -> Steps[None]:
        yield from self.tier.pay()
        yield from self._seal(cache, values, token)
        yield from self.tier.ask("set_many", items_of(values))

    def _take_leases(self, cache: Any, values: Sequence[Sealed]) -> None:
        for value in values:
            for _ in range(100):
                taken, lease = cache._lease_take(value.key, 60_000)
                if taken != 0:
                    value.lease = lease if taken > 0 else b""
                    break
                cache._lease_break(value.key)

    def _mark_writes(self, values: Sequence[Sealed], token: bytes) -> None:
        # not in the caller's `try`: 3.12 does not see that an interrupt in a list that is made there is within it
        self._marks.note([(value.name, lease_token(value.lease)) for value in values if value.lease], token)

    def _store_here(self, cache: Any, values: Sequence[Sealed], seconds: float) -> None:
        leased = [value for value in values if value.lease and seconds > 0]
        payloads = [(value.kind, value.payload) for value in leased]
        stored = zip(leased, cache._leases_store_payloads(leased, payloads, [seconds] * len(leased)))
        here = {value.name: how for value, how in stored}
        for value in values:
            how = here.get(value.name)
            if how is not True:
                cache._delete_here(value.key)
            if isinstance(how, Exception) and not isinstance(how, (FullError, TooBigError)):
                raise how

    def delete(self, cache: Any, keys: Sequence[Any]) -> int:
        return run(self._delete(cache, keys), self.tier.store, _nothing)

    async def adelete(self, cache: Any, keys: Sequence[Any]) -> int:
        return await arun(self._delete(cache, keys), self.tier.store, _nothing)

    def _delete(self, cache: Any, keys: Sequence[Any]) -> Steps[int]:
        """From the tier, which tells the other machines, then here."""
        names = [self.name_of(key) for key in keys]
        were_here = [key in cache for key in keys]  # the tier may say so before it answers
        try:
            if not (yield from self._usable(self._delete_there(names))):
                self.tier.owe(names)
            return sum(cache._delete_here(key) or was_here for key, was_here in zip(keys, were_here))
        except BaseException:  # nobody knows whether it was deleted there
            self.tier.owe(names)
            for key in keys:
                cache._delete_here(key)
            raise

    def _delete_there(self, names: Sequence[bytes]) -> Steps[None]:
        yield from self.tier.pay()
        yield from self.tier.ask("delete_many", names)

    # ---- for whoever listens ----

    def remove(self, foreign: Sequence[Any], own: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Of keys that changed elsewhere, what the tier may have that is older: all of `foreign`, which nobody has
        deleted there, and of `own`, which whoever changed them did, what this machine has set there of late.

        Returns the keys that were removed, and those that this machine had set, and others may have read."""
        foreign_names = self._names_of(foreign)
        names = {**foreign_names, **self._names_of(own)}
        marks = {} if self.tier.guarded else self._marks.find(list(names))
        removed, late = run(self._remove(list(foreign_names), marks), self._for_threads(), _nothing) if names else ([], [])
        return [names[name] for name in removed], [names[name] for name in late]

    def _remove(self, foreign: Sequence[bytes], marks: dict[bytes, Mark]) -> Steps[tuple[list[bytes], list[bytes]]]:
        """What another machine has set since is not ours to remove: it told of that."""
        late = list(marks)
        removed = list({**dict.fromkeys(foreign), **dict.fromkeys(late)})
        try:
            heads = (yield from self.tier.ask("get_heads", late, HEAD)) if late else {}
            ours = {name: heads[name] == head_of(heads[name][3:4], marks[name].token) for name in late if name in heads}
            late = [name for name in late if ours.get(name, True)]
            removed = list({**dict.fromkeys(foreign), **dict.fromkeys(name for name in late if name in ours)})
            if removed:
                yield from self.tier.ask("delete_many", removed)
        except Unusable:
            self.tier.owe(removed)
        return removed, late

    def _names_of(self, keys: Iterable[Any]) -> dict[bytes, Any]:
        return {name: key for key in keys if (name := self._name_or_none(key)) is not None}

    def _name_or_none(self, key: Any) -> bytes | None:
        try:
            return self.name_of(key)
        except ValueError:  # too long for it to be there
            return None

    def _for_threads(self) -> Any:
        if not self.tier.asynchronous:
            return self.tier.store
        if self._twin is None:
            from forebay.buses._redis_bus import Server

            self._twin = Server(self.tier.client).store()
        return self._twin

    def verdicts(self, store: Store, cache: Any, keys: dict[bytes, Any]) -> dict[bytes, str]:
        """Of keys that changed in the tier, by name: "forget", "keep", or "wait" (somebody here is about to write it: what is here now goes, and it is looked at again).

        What is here is looked at before what is there: of what comes here after that, the tier tells, too.  And again
        after it, where that is no reason to keep it: it may have been written to the tier before, and here meanwhile."""
        seen = {name: Seen.of(cache, keys[name], mark) for name, mark in self._marks.find(list(keys)).items()}
        seen = {name: here for name, here in seen.items() if here.may_be_kept}
        verdicts = {name: "forget" for name in keys if name not in seen}
        if not seen:
            return verdicts
        there = {name: envelope for name, data in store.get_many(list(seen)).items() if (envelope := self._opened(data)) is not None}
        dictionaries = self._dictionaries_for(store, {envelope.digest for envelope in there.values() if envelope.digest})
        for name, here in seen.items():
            verdicts[name] = self._verdict(here, there.get(name), dictionaries)
            if verdicts[name] != "keep":
                verdicts[name] = self._verdict(Seen.of(cache, keys[name], here.mark), there.get(name), dictionaries)
        return verdicts

    def _dictionaries_for(self, store: Store, digests: set[bytes]) -> dict[bytes, bytes]:
        """Another process of this machine may have packed what is there, and this one not have met its dictionary."""
        try:
            return run(self._dictionaries(digests), store, _nothing)
        except Unusable:
            return {}

    def _verdict(self, here: Seen, there: Envelope | None, dictionaries: dict[bytes, bytes]) -> str:
        if not here.may_be_kept:
            return "forget"
        if here.stored is not None and there is not None and there.state == VALUE and self._is_same(here.stored, there, dictionaries):
            return "keep"
        if here.lease is None:
            return "forget"
        # who wrote the mark is about to write to the tier, or has just done so and is about to store it here
        is_written = there is not None and there.token == here.mark.token
        return "keep" if is_written and here.stored is None else "wait"

    def _is_same(self, here: tuple[int, bytes, float | None], envelope: Envelope, dictionaries: dict[bytes, bytes]) -> bool:
        kind, payload, left = here
        dictionary = dictionaries.get(envelope.digest)
        if kind != envelope.kind or (envelope.digest and dictionary is None):
            return False
        there = envelope.left(time.time())
        if there is not None and (left is None or left > there + 1):  # it would be here for longer than there
            return False
        try:
            return envelope.payload(dictionary, self._payload_max) == payload
        except ValueError:  # CorruptError and TooBigError are
            return False


def _nothing(flights: Sequence[Flight]) -> Any:
    raise AssertionError("a write loads nothing")


def _always() -> bool:
    return True


def items_of(values: Iterable[Sealed]) -> list[Item]:
    return [(value.name, value.data, milliseconds_of(value.seconds)) for value in values]


def lease_token(lease: bytes) -> int:
    return int.from_bytes(lease[:8], "little")


def milliseconds_of(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
