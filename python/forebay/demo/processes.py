# SPDX-License-Identifier: Apache-2.0
"""The demo's worker processes: started, led from step to step, and gone at the end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forebay

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """Ends the demo with a sentence and exit code 1."""


class Resources:
    """All that must be gone at the end, named before it exists."""

    def __init__(self) -> None:
        name = f"forebay-demo-{os.getpid()}"
        self.folder = Path(tempfile.gettempdir(), name)
        self.shm_folder = Path("/dev/shm", name)
        self.workers: list[Worker] = []
        self.engines: list[Any] = []  # servers that were started here

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        for engine in self.engines:
            engine.close()
        for folder in (self.folder, self.shm_folder):
            shutil.rmtree(folder, ignore_errors=True)


class Worker:
    """A worker process: commands down its stdin, reports up its stdout, one JSON line each."""

    def __init__(self, module: str, spec: dict[str, Any]) -> None:
        self.number: int = spec["number"]
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.done = 0
        self.buffer = b""
        self.result: dict[str, Any] | None = None
        self.ready = False
        self.lost: str | None = None

    def reports(self) -> list[dict[str, Any]] | None:
        """The reports that have arrived; None once it has closed its end."""
        data = os.read(self.process.stdout.fileno(), 65536)  # type: ignore[union-attr]
        if not data:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def go(self) -> None:
        try:
            self.process.stdin.write(b"go\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # it died: its closed stdout says so to Run.serve()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()  # type: ignore[union-attr]
            except BrokenPipeError:
                pass
        self.process.wait()


class Progress:
    """One line that is rewritten on a terminal, a line per stage elsewhere."""

    def __init__(self) -> None:
        self.tty = sys.stderr.isatty()
        self.stage = ""

    def show(self, stage: str, detail: str = "") -> None:
        if self.tty:
            print(f"\r\033[K{stage} {detail}", end="", file=sys.stderr, flush=True)
        elif stage != self.stage:
            print(stage, file=sys.stderr, flush=True)
        self.stage = stage

    def note(self, text: str) -> None:
        print(f"\r\033[K{text}" if self.tty else text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Blocked, for children to inherit; and noted where the kernel gives one to another thread of this process (a
    driver's), whereupon the handler would run in this one all the same."""
    noted: list[int] = []
    handlers = {number: signal.signal(number, lambda number, frame: noted.append(number)) for number in SIGNALS}
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


def start_worker(resources: Resources, module: str, spec: dict[str, Any]) -> Worker:
    """Signals wait meanwhile: else a process could start that nobody knows of.

    The child inherits the blocked SIGINT, so Ctrl-C is the parent's alone."""
    with signals_held():
        worker = Worker(module, spec)
        resources.workers.append(worker)
    return worker


def lose(worker: Worker, progress: Progress, title: str) -> None:
    code = worker.process.wait()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    worker.lost = f"{title}: worker {worker.number} (pid {worker.process.pid}) {how}"
    progress.note(worker.lost)


def hear(worker: Worker, progress: Progress, title: str) -> bool:
    """Take in what a worker reports; False when no more is to come."""
    reports = worker.reports()
    if reports is None:
        if worker.result is None:
            lose(worker, progress, title)
        return False
    for report in reports:
        worker.done = report.get("done", worker.done)
        worker.ready = worker.ready or report.get("ready", False)
        worker.result = report.get("result", worker.result)
    return True


@dataclass
class Run:
    """What the parts of the demo are measured with."""

    resources: Resources
    options: argparse.Namespace
    progress: Progress
    arena: forebay.Arena
    path: Path  # of the arena

    @property
    def folder(self) -> Path:
        return self.resources.folder

    def serve(
        self,
        title: str,
        module: str,
        orders: dict[str, Any],
        stage: Callable[[list[Worker]], tuple[str, str]],
        all_ready: Callable[[], object] = lambda: None,
        count: int | None = None,
    ) -> list[Worker]:
        """Let workers follow these orders; each ends with a result or is lost.  count: how many, if not --workers.

        When all that live are ready, all_ready() is called and they go on; when
        all have results they may end."""
        spec = {"folder": str(self.folder), "arena": str(self.path), "size": self.options.size} | orders
        workers = [start_worker(self.resources, module, spec | {"number": n}) for n in range(count or self.options.workers)]
        selector = selectors.DefaultSelector()
        for worker in workers:
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        step = "preparing"
        while selector.get_map():
            for key, _ in selector.select(timeout=0.5):
                if not hear(key.data, self.progress, title):
                    selector.unregister(key.fileobj)
            self.progress.show(*stage(workers))
            alive = [worker for worker in workers if not worker.lost]
            if step == "preparing" and all(worker.ready for worker in alive):
                step = "working"
                all_ready()
                for worker in alive:
                    worker.go()
            if step == "working" and all(worker.result for worker in alive):
                step = "done"  # all have measured memory: only now may any of them go
                for worker in alive:
                    worker.go()
        for worker in workers:
            worker.end()
        return workers


def lost(workers: list[Worker]) -> list[str]:
    return [worker.lost for worker in workers if worker.lost]


def results_of(workers: list[Worker]) -> list[dict[str, Any]]:
    results = [worker.result for worker in workers if worker.result and not worker.lost]
    if not results:
        raise DemoError("no worker was left: " + "; ".join(lost(workers)))
    return results


def duration(results: list[dict[str, Any]]) -> float:
    """From the first worker's begin to the last one's end: all have one clock."""
    return float(max(r["end"] for r in results) - min(r["begin"] for r in results))
