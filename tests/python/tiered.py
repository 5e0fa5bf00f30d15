# SPDX-License-Identifier: Apache-2.0
"""What tests of tiers share: arenas as machines, a source that counts, and how they wait."""

import threading
import time

import forebay

LONG = 30  # seconds that no test takes unless something hangs


class Source:
    """The database: what loaders of all machines read.  It may be held, and asked how often it was read."""

    def __init__(self, value_of=lambda key: {"id": key, "text": f"value of {key}"}):
        self.rows = {}
        self.value_of = value_of
        self.asked = []
        self.runs = threading.Semaphore(0)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error = None

    def read(self, keys):
        """As load_many=: what there is when it is asked; it answers when it may go on."""
        self.asked.append(list(keys))
        found = {key: self.rows.get(key, self.value_of(key)) for key in keys}
        self.runs.release()
        assert self.may_go_on.wait(LONG)
        if self.error is not None:
            raise self.error
        return {key: value for key, value in found.items() if value is not forebay.ABSENT}

    async def aread(self, keys):
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, self.read, keys)

    def one(self, key):
        """As load=."""
        return self.read([key]).get(key, forebay.ABSENT)

    @property
    def keys(self):
        """That were asked for, of all calls."""
        return [key for keys in self.asked for key in keys]

    def forget(self):
        self.asked.clear()

    def stop(self):
        self.may_go_on.clear()
        while self.runs.acquire(blocking=False):
            pass

    def wait_until_it_runs(self):
        assert self.runs.acquire(timeout=LONG)


class Machine:
    """An arena with a cache on a tier."""

    def __init__(self, tier, source, name="users", size="16MiB", loads=True, arena=None, **options):
        self.tier = tier
        self.source = source
        self.arena = forebay.open(None, size) if arena is None else arena
        loader = {"load_many": source.aread if tier.asynchronous else source.read} if loads else {}
        self.cache = self.arena.cache(name, **{"ttl": 300, "tier": tier, **loader, **options})
        self.listener = self.cache._loading.flights.listener
        if self.listener is not None:
            self.hears()

    def hears(self):
        """Wait until reads find what is there."""
        until(lambda: (age := self.listener.channel.age()) is not None and age < 300)

    def name(self, key):
        return self.cache._loading.flights.tier.name_of(key)

    def close(self):
        self.cache = None
        if self.listener is not None:
            self.listener.stop()
        self.arena.close()


def until(condition, seconds=LONG):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
