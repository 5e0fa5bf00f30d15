# SPDX-License-Identifier: Apache-2.0
"""A process fills the cache, forks, and dies; its children use what they inherited."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback

from ..adapter import LOAD
from ..crew import Desk, Failed
from ..events import POLL, Load
from ..suite import Stage, check, touch
from .shared import put_some, wrong_among

CHILDREN = 4
PRELOADED = 64  # entries


class Errand:
    """What the children do, and where they say what came of it.  Can be pickled."""

    def __init__(self, stage: Stage) -> None:
        self.preloaded = [stage.key(f"preloaded-{number}") for number in range(PRELOADED)]
        self.own = [stage.key(f"child-{number}") for number in range(CHILDREN)]
        self.loads = [stage.load(name, name, seconds=0.05) for name in ("forked", "orphaned")] if LOAD in stage.offers else []
        self.reports = [[stage.path(f"child-{number}.{part}") for number in range(CHILDREN)] for part in ("first", "second")]
        self.orphaned = stage.path("orphaned")  # a file that appears when the parent is dead
        self.patience = stage.settings.patience

    def load(self, desk: Desk, load: Load) -> str:
        value = desk.cache.get_or_load(load.key, load, self.patience)
        return "" if value == load.value else f"get_or_load gave {value!r}"

    def first(self, desk: Desk, number: int) -> str:
        """While the parent lives."""
        if not desk.cache.usable_after_fork:
            desk.open_anew()
        wrong = wrong_among(desk, self.preloaded)
        put_some(desk, [self.own[number]])
        for load in self.loads[:1]:
            wrong = wrong or self.load(desk, load)
        return wrong

    def second(self, desk: Desk, number: int) -> str:
        """When it is dead, and all children have done the first part."""
        wrong = wrong_among(desk, self.preloaded + self.own)
        for load in self.loads[1:]:
            wrong = wrong or self.load(desk, load)
        return wrong

    def run(self, desk: Desk, number: int) -> None:
        for part, reports in zip((self.first, self.second), self.reports):
            try:
                wrong = part(desk, number)
            except Exception:
                wrong = traceback.format_exc()
            report(reports[number], wrong)
            while not os.path.exists(self.orphaned):
                time.sleep(POLL)


def report(path: str, wrong: str) -> None:
    with open(path + ".new", "w") as file:
        json.dump(wrong, file)
    os.rename(path + ".new", path)


def preload_and_fork(desk: Desk, errand: Errand) -> None:
    put_some(desk, errand.preloaded)
    for number in range(CHILDREN):
        if os.fork() == 0:
            try:
                signal.alarm(int(3 * errand.patience) + 1)  # nobody else ends it if the suite dies
                errand.run(desk, number)
            finally:
                os._exit(0)


def end_of_host(desk: Desk) -> None:
    desk.close()
    os._exit(0)


def wait_for_reports(stage: Stage, paths: list[str], when: str) -> None:
    stage.wait_for(lambda: all(map(os.path.exists, paths)), f"the children are ready {when}")
    for path in paths:
        with open(path) as file:
            if wrong := json.load(file):
                raise Failed(f"in a forked child {when}: {wrong.splitlines()[-1]}")


@check()
def forked_children_use_the_cache_that_their_parent_filled_and_outlive_it(stage: Stage) -> None:
    """A process opens and fills the cache and forks: the children read and write (and load each key once), also after their parent closed the cache and ended, or was killed."""
    stage.move()
    errand = Errand(stage)
    host = stage.one_and_others()[0]
    try:
        stage.call(host, preload_and_fork, errand)
        wait_for_reports(stage, errand.reports[0], "while the parent lives")
        if stage.round % 2:
            host.send(end_of_host)
        else:
            host.kill()
        # not join(): that waits for the children, which have inherited the pipe by which it sees the end
        stage.wait_for(lambda: host.process.exitcode is not None, "the parent ends")
    finally:
        touch(errand.orphaned)
    wait_for_reports(stage, errand.reports[1], "when the parent is gone")
    stage.replace(host)
    for load in errand.loads:
        if (loads := len(load.events("begin"))) != 1:
            raise Failed(f"{CHILDREN} forked callers, {loads} loads")
    stage.count("children", CHILDREN)
