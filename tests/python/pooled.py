# SPDX-License-Identifier: Apache-2.0
"""What the tests of pools put into them, and how they wait."""

import threading
import time


class Connection:
    """Says what was done to it."""

    def __init__(self, number):
        self.number = number
        self.closed = False
        self.broken = False
        self.resets = 0

    def close(self):
        assert not self.closed, "closed twice"
        self.closed = True

    def ping(self):
        if self.broken or self.closed:
            raise ConnectionError("it is broken")

    def reset(self):
        self.ping()
        self.resets += 1

    def __repr__(self):
        return f"<connection {self.number}>"


class Server:
    """Makes connections; may be down, slow, or stand still."""

    def __init__(self):
        self.made = []
        self.attempts = 0
        self.down = False
        self.seconds = 0.0
        self.gate = threading.Event()
        self.gate.set()

    def connect(self):
        self.attempts += 1
        self.gate.wait(30)
        time.sleep(self.seconds)
        if self.down:
            raise ConnectionError(f"attempt {self.attempts}: the server is down")
        self.made.append(Connection(len(self.made) + 1))
        return self.made[-1]

    async def aconnect(self):
        import asyncio

        self.attempts += 1
        while not self.gate.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(self.seconds)
        if self.down:
            raise ConnectionError(f"attempt {self.attempts}: the server is down")
        self.made.append(Connection(len(self.made) + 1))
        return self.made[-1]

    def open(self):
        return [c for c in self.made if not c.closed]


def until(condition, seconds=20.0):
    """Wait for something that is to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


class Call(threading.Thread):
    """A call in a thread; result() is what it returned or raised."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.work = lambda: function(*arguments)
        self.value = self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.work()
        except BaseException as error:
            self.error = error

    def result(self, seconds=30.0):
        self.join(seconds)
        assert not self.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.value
