# SPDX-License-Identifier: Apache-2.0
"""All processes see the same."""

import time

from ..adapter import MISS, TTL
from ..crew import Desk, Failed
from ..orders import look, put, remove
from ..suite import Stage, check
from ..values import checked_value, fault

KEYS = 16  # that each process sets
TTL_SECONDS = 1.0
TICK = 1.2  # whole seconds are fine enough for a ttl


def put_some(desk: Desk, keys: list[str]) -> None:
    for number, key in enumerate(keys):
        desk.cache.set(key, checked_value(key, number, 1000))


def wrong_among(desk: Desk, keys: list[str]) -> str:
    """What is wrong with the values of these keys, all of which should be there; empty: nothing."""
    for key in keys:
        value = desk.cache.get(key)
        if value is MISS:
            return f"{key!r} is missing"
        if wrong := fault(key, value):
            return wrong
    return ""


@check()
def what_one_process_sets_or_deletes_all_others_see(stage: Stage) -> None:
    """Spawned and forked processes that opened the cache by themselves see what each of them sets, and what each of them deletes."""
    stage.move()
    keys = {worker: [stage.key(f"{number}-of-{place}") for number in range(KEYS)] for place, worker in enumerate(stage.workers)}
    for worker in stage.workers:
        worker.send(put_some, keys[worker])
    stage.results(stage.workers)
    for wrong in stage.everywhere(wrong_among, sum(keys.values(), [])):
        if wrong:
            raise Failed(wrong)
    for worker in stage.workers:
        stage.call(worker, remove, keys[worker][0])
    for worker in stage.workers:
        for others in keys.values():
            if stage.call(worker, look, others[0]) is not MISS:
                raise Failed(f"{others[0]!r} is served after it was deleted")
    stage.count("values", KEYS * len(keys))


@check(TTL)
def an_expired_value_is_served_by_no_process(stage: Stage) -> None:
    """A value set with a ttl is a miss in every process when that is over, even if it was read before."""
    key = stage.key("short-lived")
    stage.call(stage.workers[stage.round % len(stage.workers)], put, key, b"value", TTL_SECONDS)
    for found in stage.everywhere(look, key):
        if found not in (b"value", MISS):
            raise Failed(f"{found!r} was read")
    time.sleep(TTL_SECONDS + TICK)
    if any(found is not MISS for found in stage.everywhere(look, key)):
        raise Failed(f"a value that lives for {TTL_SECONDS:g} s is served after {TTL_SECONDS + TICK:g} s")
