# SPDX-License-Identifier: Apache-2.0
import random
import time

from ..adapter import MISS
from ..crew import Desk, Failed
from ..suite import Stage, check
from ..values import checked_value, fault

KEYS = 4


def write_for(desk: Desk, keys: list[str], largest: int, seconds: float, seed: int) -> tuple[int, int, str]:
    """Writes done, writes refused, and how one was."""
    source = random.Random(seed)
    made = [(key, checked_value(key, source.getrandbits(32), source.randrange(100, largest))) for key in keys for _ in range(8)]
    end, done, refused, how = time.monotonic() + seconds, 0, 0, ""
    while time.monotonic() < end or not done + refused:
        try:
            desk.cache.set(*source.choice(made))
            done += 1
        except Exception as error:  # a cache may be full; this check is about what is read
            refused += 1
            how = f"{type(error).__name__}: {error}"
    return done, refused, how


def read_for(desk: Desk, keys: list[str], seconds: float) -> tuple[int, str]:
    """Values read, and what was wrong with one of them."""
    end, hits = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for key in keys:
            value = desk.cache.get(key)
            if value is not MISS:
                hits += 1
                if wrong := fault(key, value):
                    return hits, wrong
    return hits, ""


@check()
def a_value_read_is_whole_and_was_written_for_that_key(stage: Stage) -> None:
    """Several processes replace large values of a few keys all the time: what others read meanwhile is always one of these values, whole, and of the key that was asked for."""
    keys = [stage.key(f"large-{number}") for number in range(KEYS)]
    writers, readers = stage.workers[: len(stage.workers) // 2], stage.workers[len(stage.workers) // 2 :]
    seconds = stage.settings.seconds
    for number, writer in enumerate(writers):
        writer.send(write_for, keys, stage.settings.value_bytes, seconds, 1000 * stage.round + number)
    for reader in readers:
        reader.send(read_for, keys, seconds)
    read = stage.results(readers)
    written = stage.results(writers)
    stage.count("writes", sum(done for done, _, _ in written))
    if refused := sum(refused for _, refused, _ in written):
        stage.count("writes refused", refused)
    stage.count("values read", sum(hits for hits, _ in read))
    for _, wrong in read:
        if wrong:
            raise Failed(wrong)
    # at the latest now, on a machine so busy that nothing was read before
    hits, wrong = stage.call(readers[0], read_for, keys, 0.01)
    if wrong or not stage.figures["values read"] + hits:
        raise Failed(wrong or "no value was ever read" + next((f"; a write was refused: {how}" for _, _, how in written if how), ""))
