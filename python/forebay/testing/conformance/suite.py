# SPDX-License-Identifier: Apache-2.0
"""Checks, what they get to work with, and how they are run."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from .adapter import CAPABILITIES, AdapterFactory, Place
from .crew import Crew, Desk, Failed, Worker, results
from .events import POLL, Load

SETTLE = 0.05  # seconds given to callers that have begun to call, to be waiting


@dataclass(frozen=True)
class Settings:
    """How much is checked, and what is still accepted.  The defaults take seconds and pass on a slow machine."""

    rounds: int = 2  # of each check
    processes: int = 8  # half of them spawned, half forked
    threads: int = 8  # in each process, where many callers are wanted
    budget_bytes: int = 16 << 20
    value_bytes: int = 256 << 10  # of the largest values
    seconds: float = 0.5  # of reading and writing in a round, where it is a matter of chance
    load_timeout: float = 1.5  # after which a stopped loader is to be overtaken
    takeover_limit: float = 0.5  # from the kill of a loader to the next load
    pause_limit: float = 5.0  # for a read or a write while somebody is stopped or was killed; for a caller past its deadline
    patience: float = 30.0  # whoever takes longer hangs

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.processes < 3 or self.threads < 1:
            raise ValueError("a suite needs 1 round, 3 processes and 1 thread at least")


@dataclass(frozen=True)
class Outcome:
    """What a check came to."""

    check: str
    status: Literal["passed", "failed", "not offered"]
    seen: str  # in words: what was counted and timed, or what was wrong
    figures: dict[str, float] = field(default_factory=dict)  # times in seconds: the longest of all rounds; counts: of all rounds together
    rounds: int = 0  # begun
    seconds: float = 0.0
    detail: str = ""  # where it was raised, in a process of the suite


class Stage:
    """A check's folder, processes and figures."""

    def __init__(self, factory: AdapterFactory, settings: Settings, crew: Crew, place: Place, offers: frozenset[str]) -> None:
        self.factory = factory
        self.settings = settings
        self.crew = crew
        self.place = place
        self.offers = offers
        self.round = 0
        self.figures: dict[str, float] = {}
        self.notes = os.path.dirname(place.folder)  # for files of the suite: the cache's folder is its own

    @property
    def workers(self) -> list[Worker]:
        return self.crew.workers

    def one_and_others(self) -> tuple[Worker, list[Worker]]:
        """Another one in each round."""
        one = self.workers[self.round % len(self.workers)]
        return one, [worker for worker in self.workers if worker is not one]

    def replace(self, worker: Worker) -> None:
        """A new process in the place of one that was killed."""
        self.crew.replace(worker).call(open_cache, self.factory, self.place, within=self.settings.patience)

    def move(self) -> None:
        """To an empty cache, in all processes: in a full one any entry may have been evicted."""
        left = self.place.folder
        self.everywhere(close_cache)
        shutil.rmtree(left, ignore_errors=True)
        self.place = replace(self.place, folder=os.path.join(self.notes, f"cache-{self.round}-{os.path.basename(self.notes)}"))
        os.mkdir(self.place.folder)
        self.everywhere(open_cache, self.factory, self.place)

    def key(self, name: str) -> str:
        return f"{name}-{self.round}"

    def path(self, name: str) -> str:
        return os.path.join(self.notes, self.key(name))

    def load(self, name: str, value: str, **how: Any) -> Load:
        """A loader of key(name); all loaders of a key write to the same file of events."""
        return Load(self.key(name), value.encode(), self.path(f"{name}.events"), **how)

    def call(self, worker: Worker, function: Callable[..., Any], *arguments: Any) -> Any:
        return worker.call(function, *arguments, within=self.settings.patience)

    def results(self, workers: Iterable[Worker]) -> list[Any]:
        return results(workers, self.settings.patience)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The same order for all workers at once."""
        for worker in self.workers:
            worker.send(function, *arguments)
        return self.results(self.workers)

    def wait_for(self, condition: Callable[[], Any], what: str, within: float | None = None) -> None:
        within = self.settings.patience if within is None else within
        end = time.monotonic() + within
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {within:g} s")
            time.sleep(POLL)

    def wait_for_begin(self, load: Load) -> None:
        self.wait_for(lambda: load.events("begin"), "a load begins")

    def wait_for_callers(self, load: Load, count: int) -> None:
        """So many have called, and have had a moment to be waiting."""
        self.wait_for(lambda: len(load.events("call")) >= count, f"{count} callers have called")
        time.sleep(SETTLE)

    def longest(self, name: str, seconds: float) -> None:
        self.figures[name] = max(seconds, self.figures.get(name, 0.0))

    def count(self, name: str, number: float) -> None:
        self.figures[name] = self.figures.get(name, 0) + number


def touch(path: str) -> None:
    with open(path, "w"):
        pass


Round = Callable[[Stage], None]
AnyRound = TypeVar("AnyRound", bound=Round)


@dataclass(frozen=True)
class Check:
    """A sentence that is true of a cache, and a function that tries it once, raising Failed if it is not."""

    name: str
    text: str
    needs: frozenset[str]
    one_round: Round
    short_leases: bool  # loads may take Settings.load_timeout only

    def __call__(self, factory: AdapterFactory, settings: Settings | None = None) -> Outcome:
        """Run this one alone, with processes of its own."""
        return run(factory, checks=[self], settings=settings)[0]

    def __repr__(self) -> str:
        return f"<check {self.name}>"


REGISTRY: list[Check] = []


def check(*needs: str, short_leases: bool = False) -> Callable[[AnyRound], AnyRound]:
    """The function is one round of a check; its docstring is the text."""
    assert CAPABILITIES.issuperset(needs)

    def decorate(function: AnyRound) -> AnyRound:
        text = " ".join((function.__doc__ or "").split())
        REGISTRY.append(Check(function.__name__, text, frozenset(needs), function, short_leases))
        return function

    return decorate


def open_cache(desk: Desk, factory: AdapterFactory, place: Place) -> None:
    desk.open(factory, place)


def close_cache(desk: Desk) -> None:
    desk.close()


def describe(desk: Desk) -> frozenset[str]:
    return desk.cache.offers


@contextmanager
def new_place(settings: Settings, load_timeout: float) -> Iterator[Place]:
    home = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    top = tempfile.mkdtemp(prefix="conformance-", dir=home)
    try:
        folder = os.path.join(top, f"cache-{os.path.basename(top)}")
        os.mkdir(folder)
        yield Place(folder, settings.budget_bytes, load_timeout)
    finally:
        shutil.rmtree(top, ignore_errors=True)  # killed ones may leave anything


def close_everywhere(crew: Crew, within: float) -> None:
    for worker in crew.workers:
        worker.send(close_cache)
    results(crew.workers, within)


def rounds_of(one: Check, stage: Stage) -> None:
    for stage.round in range(stage.settings.rounds):
        one.one_round(stage)
    close_everywhere(stage.crew, stage.settings.patience)


def in_words(figures: dict[str, float]) -> str:
    return ", ".join(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value:.3g} s" for name, value in figures.items())


def run_one(one: Check, factory: AdapterFactory, crew: Crew, settings: Settings) -> Outcome:
    load_timeout = settings.load_timeout if one.short_leases else 2 * settings.patience
    begin = time.monotonic()
    with new_place(settings, load_timeout) as place:
        stage = None
        try:
            for worker in crew.workers:
                worker.send(open_cache, factory, place)
            results(crew.workers, settings.patience)
            offers = crew.workers[0].call(describe, within=settings.patience)
            if missing := sorted(one.needs - offers):
                close_everywhere(crew, settings.patience)
                return Outcome(one.name, "not offered", "no " + ", no ".join(missing))
            stage = Stage(factory, settings, crew, place, offers)
            rounds_of(one, stage)
        except Failed as failed:
            crew.replace_all()  # whatever state they are in
            notes = "".join(getattr(failed, "__notes__", ()))
            figures, rounds = (stage.figures, stage.round + 1) if stage else ({}, 0)
            return Outcome(one.name, "failed", str(failed), figures, rounds, time.monotonic() - begin, notes)
        return Outcome(one.name, "passed", in_words(stage.figures), stage.figures, settings.rounds, time.monotonic() - begin)


def run(
    factory: AdapterFactory,
    *,
    checks: Iterable[Check] | None = None,
    settings: Settings | None = None,
    progress: Callable[[Outcome], object] = lambda outcome: None,
) -> list[Outcome]:
    """Run checks (default: all) against the cache that `factory` opens; returns what each came to, in the same order.

    `factory` is called with a Place in processes that are spawned and forked, so it
    must be possible to pickle it: an Adapter class, say, or a functools.partial.
    `progress` is called with each outcome as it comes."""
    settings = settings or Settings()
    outcomes = []
    with Crew(settings.processes) as crew:
        for one in REGISTRY if checks is None else checks:
            outcomes.append(run_one(one, factory, crew, settings))
            progress(outcomes[-1])
    return outcomes
