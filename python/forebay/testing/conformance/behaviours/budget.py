# SPDX-License-Identifier: Apache-2.0
import os
import random
import time

from ..adapter import BUDGET, MISS
from ..crew import Desk, Failed
from ..events import POLL
from ..suite import Stage, check, touch
from ..values import checked_value, fault

FILLED = 3  # times the budget is written
LARGEST = 64 << 10  # bytes of a value
RECENT = 8  # values a writer looks for after its last write


def fill(desk: Desk, name: str, total: int, seed: int) -> tuple[int, int, str]:
    """Write so many bytes; returns the writes, how many of the last ones are there, what is wrong with one."""
    source, written, writes = random.Random(seed), 0, 0
    keys: list[str] = []
    while written < total:
        key = f"{name}-{writes}"
        value = checked_value(key, source.getrandbits(32) | 1, int(100 * (LARGEST / 100) ** source.random()))
        desk.cache.set(key, value)
        keys = [*keys[-RECENT + 1 :], key]
        written += len(value)
        writes += 1
    found = [(key, desk.cache.get(key)) for key in keys]
    there = [(key, value) for key, value in found if value is not MISS]
    return writes, len(there), next(filter(None, (fault(key, value) for key, value in there)), "")


def budget_of(desk: Desk) -> int:
    return desk.cache.budget_bytes


def watch(desk: Desk, until: str) -> int:
    """The most that the cache took until that file was there."""
    most = desk.cache.used_bytes()
    while not os.path.exists(until):
        most = max(most, desk.cache.used_bytes())
        time.sleep(POLL)
    return max(most, desk.cache.used_bytes())


@check(BUDGET)
def the_cache_never_takes_more_than_its_budget(stage: Stage) -> None:
    """Several processes write more than the budget, values of all sizes: what the cache takes, looked at all the time, never exceeds it, no write fails, and recent values are there."""
    done = stage.path("done")
    watcher, writers = stage.one_and_others()
    budget: int = stage.call(watcher, budget_of)
    watcher.send(watch, done)
    for number, writer in enumerate(writers):
        total = FILLED * budget // len(writers)
        writer.send(fill, stage.key(f"filler-{number}"), total, 1000 * stage.round + number)
    try:
        filled = stage.results(writers)
    finally:
        touch(done)
    most: int = watcher.result(stage.settings.patience)
    stage.figures["most bytes taken"] = max(most, int(stage.figures.get("most bytes taken", 0)))
    stage.figures["budget"] = budget
    stage.count("writes", sum(writes for writes, _, _ in filled))
    for _, _, wrong in filled:
        if wrong:
            raise Failed(wrong)
    if most > budget:
        raise Failed(f"{most:,} bytes were taken; the budget is {budget:,}")
    if not any(there for _, there, _ in filled):
        raise Failed("none of the values that were written last is there")
