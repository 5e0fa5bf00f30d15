# SPDX-License-Identifier: Apache-2.0
"""Machines, their processes, and what happens to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forebay
from forebay.testing.staleness.history import Figures, History, percentile

_STARTED = 30.0  # seconds for all to read


class Machine:
    """An arena and its workers."""

    def __init__(self, world: World, name: str, tier: str, workers: int) -> None:
        self.world, self.name, self.tier = world, name, tier
        self.arena = world.folder / f"{name}.forebay"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._begun = 0
        self._opened: Any = None
        world.machines.append(self)
        for _ in range(workers):
            self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """One more worker that reads."""
        self._begun += 1
        figures = self.world.folder / f"{self.name}-{self._begun}.figures"
        worker = self.world.start("read", self, figures=str(figures), seed=self._begun)
        self.workers.append(worker)
        return worker

    def kill(self, pid: int) -> None:
        """One of the workers, by SIGKILL."""
        for worker in self.workers:
            if worker.pid == pid:
                worker.kill()
                worker.wait()
                self.workers.remove(worker)
                return
        raise ValueError(f"{pid} is no worker of {self.name}")

    def _look(self) -> Any:
        """The arena, as one process more has it."""
        if self._opened is None:
            self._opened = forebay.open(self.arena)
        return self._opened

    def listeners(self) -> list[int]:
        """Pids of those who listen."""
        return [pid for channel in self._look().channels().values() for pid in channel["listeners"]]

    def is_heard(self) -> bool:
        """Does somebody listen, and hear?"""
        return any(channel["age"] is not None and channel["age"] < 1 for channel in self._look().channels().values())

    def hits(self) -> int:
        return int(self._look().stats()["rows"]["hits"])

    def entries(self) -> int:
        return int(self._look().stats()["rows"]["entries"])

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def figures(self) -> array[float]:
        """How far behind its reads were, sorted."""
        together: array[float] = array("d")
        for path in self.world.folder.glob(f"{self.name}-*.figures"):
            together += Figures.read(path)
        return array("d", sorted(together))


class World:
    """All machines on one tier.  A context manager: leaving it ends all processes."""

    def __init__(
        self,
        folder: Path,
        *,
        keys: int = 100,
        max_stale: float | None = 1.0,
        changes: float = 200,
        load_seconds: float = 0.002,
        database: str | None = None,
    ) -> None:
        """database: of PostgreSQL, over which machines are told of changes, by "notify" processes."""
        self.folder = folder
        self.keys = keys
        self._orders: dict[str, Any] = {"keys": keys, "max_stale": max_stale, "changes": changes, "load_seconds": load_seconds}
        self._orders["database"] = database
        self._orders["history"] = str(folder / "history")
        self.history = History(folder / "history", keys)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.machines: list[Machine] = []
        self._changers: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, machine: Machine, **orders: Any) -> subprocess.Popen[bytes]:
        orders = {**self._orders, **orders, "role": role, "arena": str(machine.arena), "tier": machine.tier}
        process = subprocess.Popen([sys.executable, "-m", "forebay.testing.staleness.staleness_worker", json.dumps(orders)], stdin=subprocess.DEVNULL)
        self.processes.append(process)
        if role in ("change", "notify"):
            self._changers.append(process)
        return process

    def wait_for_reads(self, *machines: Machine) -> None:
        """Until all machines have read something."""
        end = time.monotonic() + _STARTED
        while not all(len(machine.figures()) > 0 for machine in machines):
            self.check()
            if time.monotonic() > end:
                raise RuntimeError("the workers do not read")
            time.sleep(0.05)

    def changes(self) -> int:
        """So many so far."""
        return sum(self.history.version(key) for key in range(self.keys))

    def wait_for_changes(self, count: int) -> None:
        before = self.changes()
        self.wait_until(lambda: self.changes() >= before + count)

    @staticmethod
    def wait_until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _STARTED
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"not within {_STARTED:g} seconds")
            time.sleep(0.05)

    def stop_changes(self) -> None:
        """End the processes that change rows."""
        for process in self._changers:
            process.terminate()
            process.wait()
        self._changers.clear()

    def check(self) -> None:
        """RuntimeError if a process ended by an error of its own."""
        for process in self.processes:
            if process.poll() not in (None, 0, -signal.SIGKILL, -signal.SIGTERM):
                raise RuntimeError(f"a worker ended by itself: {process.args!r}")

    def end(self) -> None:
        """All processes, whatever state they are in, by SIGTERM, then SIGKILL."""
        for process in self.processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *unused: object) -> None:
        self.end()
        for machine in self.machines:
            machine.close()
        self.history.close()


def summary(figures: array[float]) -> str:
    """Of sorted figures, in milliseconds."""
    parts = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    behind = sum(1 for figure in figures if figure > 0)
    text = ", ".join(f"{name} {percentile(figures, part) * 1000:.1f}" for name, part in parts.items())
    return f"{len(figures)} reads, {behind} behind; ms behind: {text}"
