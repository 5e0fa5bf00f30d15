# SPDX-License-Identifier: Apache-2.0
"""What tests of loading in event loops share."""

import asyncio
import gc
import threading
import time

import pytest
from loading_calls import LONG


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine in a new loop, and see that the loop had nothing to complain of."""
    factory = None if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    complaints = []

    async def watched(main):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        result = await asyncio.wait_for(main, LONG)
        gc.collect()  # what was never retrieved is complained of now
        await asyncio.sleep(0)
        return result

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(watched(main))
        gc.collect()
        assert not complaints
        return result

    return run


class Loader:
    """load= or load_many= as coroutine functions: 10 times the key.  They say when they run, and wait."""

    def __init__(self, answer=lambda key: key * 10):
        self.answer = answer
        self.batches = []
        self.may_go_on = None  # an asyncio.Event
        self.cancelled = 0

    def stop(self):
        self.may_go_on = asyncio.Event()

    def go_on(self):
        self.may_go_on.set()

    async def note(self, keys):
        self.batches.append(keys)
        try:
            if self.may_go_on is None:
                await asyncio.sleep(0)
            else:
                await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def load(self, key):
        await self.note([key])
        return self.answer(key)

    async def load_many(self, keys):
        assert type(keys) is list
        await self.note(list(keys))
        return [self.answer(key) for key in keys]


class Blocking:
    """A load_many that notes its threads."""

    def __init__(self, answer=lambda key: key * 10):
        self.answer = answer
        self.batches, self.threads = [], set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def load(self, key):
        return self.load_many([key])[0]

    def load_many(self, keys):
        self.batches.append(list(keys))
        self.threads.add(threading.current_thread())
        assert self.may_go_on.wait(LONG)
        return [self.answer(key) for key in keys]


async def eventually(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


def assert_nothing_is_left(cache, *keys):
    loading = cache._loading
    assert loading.flights.table == {} and len(loading.flights.queue) == 0 and loading.threads._batch is None
    for here in loading.tasks._loops.values():
        assert len(here.queue) == 0 and not here._tasks and not here._watched
    for key in keys:
        taken, lease = cache._lease_take(key, 10_000)
        assert taken == 1, f"somebody still has the lease of {key!r}"
        cache._lease_end(lease)


def settled(cache):
    """Tasks leave their sets one tick after they end."""
    return eventually(lambda: all(not here._tasks for here in cache._loading.tasks._loops.values()))
