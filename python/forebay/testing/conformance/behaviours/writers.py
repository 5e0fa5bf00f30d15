# SPDX-License-Identifier: Apache-2.0
"""Writers are killed and stopped in the midst of writing."""

import random
import time

from ..adapter import MISS
from ..crew import Desk, Failed, Worker, results
from ..events import events, note
from ..suite import Stage, check
from ..values import checked_value, fault
from .shared import put_some, wrong_among

HOT = 4  # keys that are being written to
STABLE = 16  # values that were written before, by each process
STOPS = 4  # in each round
WRITING = 0.1  # seconds, of which the writer spends some stopped
HANG = 2  # pause limits that a process may take for all it does


def large_values(keys: list[str], largest: int, seed: int) -> list[tuple[str, bytes]]:
    source = random.Random(seed)
    return [(key, checked_value(key, source.getrandbits(32), source.randrange(100, largest))) for key in keys for _ in range(8)]


def write_so_much(desk: Desk, keys: list[str], largest: int, seed: int, total: int, log: str) -> float:
    """Large values, so many bytes of them; returns the seconds it took."""
    made = large_values(keys, largest, seed)
    note(log, "begin")
    begin, written, writes = time.monotonic(), 0, 0
    while written < total:
        key, value = made[writes % len(made)]
        desk.cache.set(key, value)
        written += len(value)
        writes += 1
    note(log, "end")
    return time.monotonic() - begin


def write_for(desk: Desk, keys: list[str], largest: int, seed: int, seconds: float) -> None:
    made = large_values(keys, largest, seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, value in made:
            desk.cache.set(key, value)


def go_on(desk: Desk, hot: list[str], own: str) -> tuple[float, str]:
    """Read and replace the keys that were being written to, and another; returns the longest pause, and what is wrong."""
    pause, wrong = 0.0, ""
    for number, key in enumerate([*hot, own]):
        begin = time.monotonic()
        found = desk.cache.get(key)
        desk.cache.set(key, checked_value(key, number, 5000))
        value = desk.cache.get(key)
        pause = max(pause, time.monotonic() - begin)
        wrong = wrong or next((fault(key, read) for read in (found, value) if read is not MISS), "")
    return pause, wrong


def others_go_on(stage: Stage, others: list[Worker], hot: list[str]) -> list[str]:
    """What is wrong, if anything."""
    for number, other in enumerate(others):
        other.send(go_on, hot, stage.key(f"own-{number}"))
    wrongs = []
    for pause, wrong in results(others, HANG * stage.settings.pause_limit):
        stage.longest("longest pause", pause)
        wrongs.append(wrong)
        if pause > stage.settings.pause_limit:
            wrongs.append(f"a read and a write took {pause:.3f} s")
    return list(filter(None, wrongs))


def kill_while_it_writes(writer: Worker, log: str, seconds: float) -> bool:
    """At a moment of the given seconds, which it takes to write; says whether it was still writing."""
    while not (begun := events(log, "begin")):
        if writer.pipe.poll():
            writer.result(0)  # raises what went wrong
    while time.monotonic() < begun[0].at + seconds:
        pass  # sleeping is not exact enough
    writer.kill()
    writer.process.join()
    return not events(log, "end")


@check()
def values_outlive_a_writer_killed_in_the_midst_of_writing(stage: Stage) -> None:
    """A process that writes large values is killed (SIGKILL): values written before are there, and the others read and write without a long pause."""
    stage.move()  # half full in the end
    hot = [stage.key(f"hot-{number}") for number in range(HOT)]
    stable = [stage.key(f"stable-{number}") for number in range(STABLE)]
    writer, others = stage.one_and_others()
    stage.call(others[0], put_some, stable)
    how = hot, stage.settings.value_bytes, stage.round, stage.settings.budget_bytes // 4
    seconds: float = stage.call(writer, write_so_much, *how, stage.path("rehearsal"))
    writer.send(write_so_much, *how, stage.path("killed"))
    midst = kill_while_it_writes(writer, stage.path("killed"), seconds * random.Random(stage.round).random())
    wrongs = others_go_on(stage, others, hot)
    stage.replace(writer)
    for wrong in stage.everywhere(wrong_among, stable):
        wrongs += [wrong] if wrong else []
    if wrongs:
        raise Failed(wrongs[0])
    stage.count("kills", 1)
    stage.count("in the midst", int(midst))


@check()
def a_writer_that_is_stopped_does_not_stop_the_others(stage: Stage) -> None:
    """A process that writes large values is stopped (SIGSTOP) now and then: the others read and write without a long pause meanwhile."""
    hot = [stage.key(f"hot-{number}") for number in range(HOT)]
    writer, others = stage.one_and_others()
    chance = random.Random(stage.round)
    for _ in range(STOPS):
        writer.send(write_for, hot, stage.settings.value_bytes, stage.round, WRITING)
        time.sleep(chance.uniform(0.2, 0.8) * WRITING)
        writer.stop()
        try:
            wrongs = others_go_on(stage, others, hot)
        except Failed as failed:
            raise Failed(f"while another was stopped, {failed}") from failed
        finally:
            writer.resume()
        writer.result(stage.settings.patience)
        if wrongs:
            raise Failed(wrongs[0])
    stage.count("stops", STOPS)
