# SPDX-License-Identifier: Apache-2.0
"""Who listens to a bus: a thread in two processes of the machine, which the arena's channel chooses.

include/forebay/channel.h says what a listener owes; docs/guides/coherence.md what follows from it."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from forebay._core import Error
from forebay._log import buses as log
from forebay.buses._events import Changed, Everything, Pong

if TYPE_CHECKING:
    from forebay.buses._bus import Bus
from forebay.buses._events import Session

POLL = 0.1  # seconds between looks whether a listener is needed
BEAT = 0.05  # between pings
GATHER = 0.002  # after a message, for others to come: they are looked at together
QUIET_MS = 500  # after which a listener that lives, but may be stopped, is replaced
JOIN = 0.25  # for the other listener to be heard
PONG = 2.0  # for an answer
PAUSE_MAX = 2.0  # after a session that failed
WAITS = 6  # looks at a name whose writer has not stored it here yet


class Lost(Exception):
    """The session is not to be gone on with."""


class Listener:
    """Of one bus and one arena, in this process."""

    def __init__(self, arena: Any, bus: Bus) -> None:
        self.channel = arena._channel(bus.channel)
        self.sessions = 0  # begun in this process
        self._tried = threading.Event()  # one was begun, or could not be
        self.listens = False
        self._bus = bus
        self._failures: tuple[type[BaseException], ...] = (*bus.errors, Lost)
        self._arena = weakref.ref(arena)
        self._caches: weakref.WeakSet[Any] = weakref.WeakSet()
        self._new_life()

    def _new_life(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.listens = False

    def begin(self, cache: Any) -> None:
        """Listen, if nobody else does, as long as the cache is there."""
        with self._lock:
            self._caches.add(cache)
        self.ensure()

    def caches(self) -> list[Any]:
        """Of this process, that follow."""
        with self._lock:
            return list(self._caches)

    def ensure(self) -> None:
        """In the child of a fork the thread is not there."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="forebay-listen", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until somebody listens, this process or another, or it cannot be done now."""
        end = time.monotonic() + seconds
        while not self.is_heard(QUIET_MS / 1000) and not self._tried.wait(0.005) and time.monotonic() < end:
            pass

    def is_heard(self, seconds: float | None) -> bool:
        """By whatever process, at most so long ago; None: whenever."""
        age = self.channel.age()
        return seconds is None or (age is not None and age <= seconds * 1000)

    def stop(self) -> None:
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    # ---- the thread ----

    def _is_wanted(self) -> bool:
        arena = self._arena()
        return not self._stop.is_set() and arena is not None and not arena.closed and len(self._caches) > 0

    def _run(self) -> None:
        pause, failing = BEAT, False
        try:
            while self._is_wanted():
                self._bus.look_after()
                claimed = self.channel.claim(QUIET_MS)
                if claimed is None:
                    self._stop.wait(POLL)
                    continue
                try:
                    self._hold(claimed)
                    pause, failing = BEAT, False
                except self._failures as error:
                    if not failing:
                        log.warning("%s is not heard: %s: %s", self._bus.describe, type(error).__name__, error)
                    failing = True
                    self._tried.set()
                    pause = min(pause * 2, PAUSE_MAX)
                finally:
                    self.listens = False
                    with contextlib.suppress(Error):
                        self.channel.leave(claimed)
                self._stop.wait(pause * random.uniform(0.5, 1.0))
        except Error:  # the arena was closed, or the channel dropped
            pass
        except Exception:
            log.exception("the listener of %s ended", self._bus.describe)
        finally:
            _ended(self)

    def _hold(self, claimed: bytes) -> None:
        session = self._bus.subscribe()
        try:
            self._listen(session, claimed)
        finally:
            session.close()

    def _listen(self, session: Session, claimed: bytes) -> None:
        work = Work(self, session, claimed)
        joined = work.join(self.channel.now())
        if not joined and not self.channel.begin(claimed):
            return
        self.sessions += 1
        self.listens = True
        log.info("%s is heard%s", self._bus.describe, ", as by another process" if joined else "")
        while self._is_wanted():
            sent = self.channel.now()
            session.ping()
            work.read_until_pong(time.monotonic() + PONG)
            work.look_again()
            self._bus.look_after()
            if not work.beat(sent):
                return
            self._tried.set()
            end = time.monotonic() + self._bus.beat
            while (left := end - time.monotonic()) > 0 and not self._stop.is_set():
                events = session.read(left)
                if events and not isinstance(events[0], Pong):
                    time.sleep(GATHER)
                    events += session.read(0)
                work.handle(events)


class Work:
    """What one session has to do."""

    def __init__(self, listener: Listener, session: Session, claimed: bytes) -> None:
        self._listener = listener
        self._session = session
        self._claimed = claimed
        self._waiting: dict[bytes, tuple[int, int]] = {}  # looks so far, and what was heard before it changed
        self._heard = 0

    def join(self, since: int) -> bool:
        """Go on from what the other listener heard, if there is one that is heard."""
        if not self._listener.channel.is_shared(self._claimed):
            return False
        # Of two that start together one is to begin, and the other to hear it: each that begins makes caches forget.
        end = time.monotonic() + max(JOIN, 3 * self._listener._bus.beat) * random.uniform(0.5, 2.0)
        while time.monotonic() < end:
            joined = self._listener.channel.join(self._claimed, since)
            if joined is None:
                raise Lost("another process listens in its place")
            if joined:
                return True
            self.handle(self._session.read(0.01))
        return False

    def read_until_pong(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            if self.handle(self._session.read(left)):
                return
        raise Lost(f"no answer within {PONG:g} seconds")

    def handle(self, events: list[Any]) -> bool:
        """Is a Pong among them?"""
        has_pong = False
        names: dict[bytes, None] = {}
        for event in events:
            if isinstance(event, Changed):
                names.update(dict.fromkeys(event.names))
            elif isinstance(event, Pong):
                has_pong = True
            elif isinstance(event, Everything) and not self._listener.channel.begin(self._claimed):
                raise Lost("another process listens in its place")
        if names:
            self._forget(list(names), 0, self._heard)
        return has_pong

    def _forget(self, names: list[bytes], tries: int, heard: int) -> None:
        arena = self._listener._arena()
        if arena is None or arena.closed:
            return
        for name in self._listener._bus.forget(arena, names, tries >= WAITS):
            self._waiting[name] = (tries + 1, heard)

    def look_again(self) -> None:
        """At names that were about to be stored here."""
        waiting, self._waiting = self._waiting, {}
        for at in sorted(set(waiting.values())):
            self._forget([name for name, there in waiting.items() if there == at], *at)

    def beat(self, sent: int) -> bool:
        """Everything said before `sent` is done, but for what is to be looked at again."""
        self._heard = min([sent, *(heard for _, heard in self._waiting.values())])
        return self._heard == 0 or bool(self._listener.channel.beat(self._claimed, self._heard))


# ---- of this process ----

_lock = threading.Lock()
_all: weakref.WeakKeyDictionary[Any, dict[str, Listener]] = weakref.WeakKeyDictionary()


def listener_of(arena: Any, bus: Bus) -> Listener:
    with _lock:
        listeners = _all.setdefault(arena, {})
        listener = listeners.get(bus.channel)
        if listener is None or listener._stop.is_set():
            listener = listeners[bus.channel] = Listener(arena, bus)
        return listener


def _listeners_of(arena: Any, buses: Iterable[Bus]) -> list[Listener]:
    """Those that there are."""
    with _lock:
        listeners = _all.get(arena, {})
        return [listeners[channel] for channel in {bus.channel for bus in buses} if channel in listeners]


def ensure_listeners(arena: Any, buses: Iterable[Bus]) -> None:
    for listener in _listeners_of(arena, buses):
        listener.ensure()


def caches_that_follow(arena: Any, buses: Iterable[Bus]) -> list[Any]:
    """Of this process."""
    return [cache for listener in _listeners_of(arena, buses) for cache in listener.caches()]


def followers_of(arena: Any, buses: Iterable[Bus]) -> list[str]:
    """Of all processes: the names of the caches that follow."""
    return [name for listener in _listeners_of(arena, buses) for name in listener.channel.followers()]


def _ended(listener: Listener) -> None:
    """Its thread is over: whoever follows next has a new one."""
    listener._stop.set()
    arena = listener._arena()
    with _lock:
        if arena is not None and _all.get(arena, {}).get(listener._bus.channel) is listener:
            del _all[arena][listener._bus.channel]
            listener._bus.release(arena)
    listener.channel.close()


def _stop_all() -> None:
    for listeners in list(_all.values()):
        for listener in list(listeners.values()):
            listener.stop()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for listeners in list(_all.values()):
        for listener in listeners.values():
            listener._new_life()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_in_child)
