# SPDX-License-Identifier: Apache-2.0
"""What tests of DataLoader share: event loops that are watched, batch functions that take notes."""

import asyncio
import gc

import pytest


def loop_factories():
    factories = {"asyncio": asyncio.SelectorEventLoop}
    try:
        import uvloop
    except ImportError:
        return factories
    return factories | {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=loop_factories())
def run(request):
    """Runs a coroutine function in a loop of its own, in which nothing may go wrong unseen."""

    def run(main):
        complaints = []

        async def watched():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            result = await asyncio.wait_for(main(), 30)
            gc.collect()
            await asyncio.sleep(0)
            return result

        with asyncio.Runner(loop_factory=loop_factories()[request.param]) as runner:
            result = runner.run(watched())
        gc.collect()
        assert not complaints
        return result

    return run


class Source:
    """A batch function that notes the batches it is called for."""

    def __init__(self, answer=lambda key: key, gate=None):
        self.answer = answer
        self.gate = gate
        self.batches = []

    async def __call__(self, keys):
        self.batches.append(list(keys))
        if self.gate is not None:
            await self.gate.wait()
        return [self.answer(key) for key in keys]


@pytest.fixture
def source():
    return Source()


async def ticks(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


def odd_ones_fail(key):
    return ValueError(f"odd: {key}") if key % 2 else key


def returning(value):
    async def function(keys):
        return value

    return function
