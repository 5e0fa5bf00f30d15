# SPDX-License-Identifier: Apache-2.0
"""Processes that do what the suite tells them: half of them spawned, half forked.

They live from check to check; one that was killed is replaced."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from .adapter import Adapter, AdapterFactory, Place

PR_SET_PDEATHSIG = 1
METHODS = ("spawn", "fork")


class Failed(Exception):
    """What was seen is not what should be."""


class Desk:
    """What a worker has at hand: the cache, as opened in this process."""

    def __init__(self) -> None:
        self.opened: Adapter | None = None
        self.factory: AdapterFactory | None = None
        self.place: Place | None = None

    @property
    def cache(self) -> Adapter:
        assert self.opened is not None
        return self.opened

    def open(self, factory: AdapterFactory, place: Place) -> None:
        self.factory, self.place = factory, place
        self.opened = factory(place)

    def open_anew(self) -> None:
        """In a forked child, without touching what the parent opened."""
        assert self.factory is not None and self.place is not None
        self.opened = self.factory(self.place)

    def close(self) -> None:
        opened, self.opened = self.opened, None
        if opened is not None:
            opened.close()


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(pipe: Connection) -> None:
    """A worker's life: one order after another.  An order is a function, called with the desk, and its arguments."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the suite, which ends its workers
    desk = Desk()
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            reply = True, function(desk, *arguments)
        except Exception as error:
            reply = False, (f"{type(error).__name__}: {error}", traceback.format_exc())
        pipe.send(reply)


class Worker:
    """One process, from outside."""

    def __init__(self, method: str) -> None:
        context: Any = multiprocessing.get_context(method)
        self.method = method
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.pid: int = self.process.pid

    def send(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.pipe.send((function, arguments))

    def result(self, within: float) -> Any:
        """What the last order came to.  Failed: it raised, the process is gone, or it takes longer."""
        if not wait([self.pipe, self.process.sentinel], within):
            raise Failed(f"a process did not come back within {within:.3g} s")
        try:
            good, reply = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise Failed(f"a process ended by itself (exit code {self.process.exitcode})") from None
        if not good:
            text, trace = reply
            failed = Failed(f"a call raised {text}")
            failed.add_note(trace)
            raise failed
        return reply

    def call(self, function: Callable[..., Any], *arguments: Any, within: float) -> Any:
        self.send(function, *arguments)
        return self.result(within)

    def kill(self) -> float:
        """SIGKILL; returns the time just before."""
        at = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)
        return at

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """At once, whatever it does; stopped ones, too."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


class Crew:
    """So many workers; `with` ends them."""

    def __init__(self, size: int) -> None:
        self.workers: list[Worker] = []
        try:
            for number in range(size):
                self.workers.append(Worker(METHODS[number % len(METHODS)]))
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def replace(self, worker: Worker) -> Worker:
        place = self.workers.index(worker)
        worker.end()
        self.workers[place] = Worker(worker.method)
        return self.workers[place]

    def replace_all(self) -> None:
        for worker in list(self.workers):
            self.replace(worker)

    def end(self) -> None:
        while self.workers:
            self.workers.pop().end()


def results(workers: Iterable[Worker], within: float) -> list[Any]:
    """Of all of them, in the same order, within so many seconds altogether."""
    end = time.monotonic() + within
    return [worker.result(max(0.0, end - time.monotonic())) for worker in workers]
