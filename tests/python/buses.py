# SPDX-License-Identifier: Apache-2.0
"""Machines that tell each other over a bus: anonymous arenas of one process, or processes with an arena of their own."""

import contextlib
import time

import forebay
from forebay._shared import _parts
from forebay.buses._listening import listener_of


def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


class Machine:
    """An arena, and a cache "users" (or `name`) in it that follows a bus."""

    def __init__(self, bus, *, arena=None, name="users", **options):
        self.arena = forebay.open(None, "4MiB") if arena is None else arena
        self.cache = self.arena.cache(name, bus=bus, **options)
        self.bus = _parts[self.cache].bus  # with a tier that tells itself: both

    @property
    def listener(self):
        return listener_of(self.arena, self.bus)

    def hears(self):
        """Wait until entries of the cache are hits; they stay so, unless something is lost."""
        until(lambda: self.age() is not None and self.age() < 500)
        return self

    def age(self):
        return self.listener.channel.age()

    def put(self, *keys):
        """Entries that nobody is told of."""
        for key in keys:
            forebay.Cache.set(self.cache, key, f"old {key!r}")
            assert self.cache.get(key) is not None
        return self

    def has(self, *keys):
        """Also where nobody listens."""
        raw = self.arena.cache(self.cache.name, version=self.cache.version)
        return all(key in raw for key in keys)

    def keeps(self, *keys):
        return all(self.cache.get(key) is not None for key in keys)

    def drops(self, *keys):
        """Wait until these are gone, deleted, not only too old to be believed."""
        raw = self.arena.cache(self.cache.name, version=self.cache.version)
        until(lambda: not any(key in raw for key in keys))

    def beats(self):
        """Wait until all that was said before now was heard here."""
        since = self.listener.channel.now()
        until(lambda: (age := self.age()) is not None and self.listener.channel.now() - age > since)

    def close(self):
        with contextlib.suppress(forebay.ClosedError):
            self.listener.stop()
        self.arena.close()


class Machines(contextlib.ExitStack):
    """Closes them."""

    def add(self, bus, **options):
        machine = Machine(bus, **options)
        self.callback(machine.close)
        return machine.hears()
