# SPDX-License-Identifier: Apache-2.0
"""What tests of loading share: loaders that can be held, calls in threads, interrupts at any line."""

import linecache
import sys
import threading
import time

import forebay
import pytest
from forebay import _loading_tasks, _loading_threads


LONG = 30  # seconds that no test takes unless something hangs


@pytest.fixture
def arena():
    with forebay.open(None, "16MiB") as arena:
        yield arena


class Loader:
    """load= or load_many=: 10 times the key.  Says when it runs, and waits until it may go on."""

    def __init__(self, answer=lambda key: key * 10):
        self.answer = answer
        self.batches = []
        self.runs = threading.Semaphore(0)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.lock = threading.Lock()

    def note(self, keys):
        with self.lock:
            self.batches.append(keys)
        self.runs.release()
        assert self.may_go_on.wait(LONG)

    def load(self, key):
        self.note([key])
        return self.answer(key)

    def load_many(self, keys):
        assert type(keys) is list
        self.note(list(keys))
        return [self.answer(key) for key in keys]

    def stop(self):
        self.may_go_on.clear()

    def go_on(self):
        self.may_go_on.set()

    def wait_until_it_runs(self):
        assert self.runs.acquire(timeout=LONG)


class Call(threading.Thread):
    """A function in a thread of its own."""

    def __init__(self, function, *arguments, **options):
        super().__init__(daemon=True)
        self.function, self.arguments, self.options = function, arguments, options
        self.value = self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.function(*self.arguments, **self.options)
        except BaseException as error:
            self.error = error

    def ended(self):
        self.join(LONG)
        assert not self.is_alive(), "it hangs"
        return self

    def result(self):
        self.ended()
        if self.error is not None:
            raise self.error
        return self.value


def eventually(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)


def waiters(cache, key):
    flight = cache._loading.flights.table.get(cache._key(key))
    return len(flight.waiters) if flight is not None else 0


def tell_of_waits(monkeypatch, tell):
    """Call tell() before anybody waits for another process's lease."""
    for who, name in ((_loading_threads.Threads, "_wait_for"), (_loading_tasks.Loop, "wait_for")):
        wait = getattr(who, name)

        def told(*arguments, wait=wait):
            tell()
            return wait(*arguments)

        monkeypatch.setattr(who, name, told)


def assert_nothing_is_left(cache, *keys):
    """No flight, no request, no lead, and no lease of these keys."""
    loading = cache._loading
    assert loading.flights.table == {}
    assert len(loading.flights.queue) == 0
    assert loading.threads._batch is None
    for key in keys:
        taken, lease = cache._lease_take(key, 10_000)
        assert taken == 1, f"somebody still has the lease of {key!r}"
        cache._lease_end(lease)


class Stop(BaseException):
    """As KeyboardInterrupt, without the meaning that it has for the test's runner."""


def interrupt_at(number, interrupt=Stop):
    """A trace function that raises an exception at the n-th step of the modules of loading: a call, or a line.

    Not at `try:`, nor at the end of a `with lock:`: lines for tracers, but nothing at which the interpreter
    looks for signals.
    """
    left = number

    def trace(frame, event, argument):
        nonlocal left
        code = frame.f_code
        if "/_loading" not in code.co_filename or code.co_name == "<genexpr>":  # closing one swallows exceptions
            return None
        line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        if event == "call" or (event == "line" and line != "try:" and not line.endswith("lock:")):
            left -= 1
            if left == 0:
                raise interrupt
        return trace

    return trace, lambda: left > 0


def interrupted_at(number, call, interrupt=Stop):
    """Run the call with an interrupt at its n-th step, as interrupt_at() counts them; False: it has not so many."""
    trace, not_reached = interrupt_at(number, interrupt)
    sys.settrace(trace)
    try:
        call()
    except interrupt:
        pass
    finally:
        sys.settrace(None)
    return not not_reached()
