# SPDX-License-Identifier: Apache-2.0
from ..adapter import LOAD
from ..crew import Failed
from ..orders import Answer, ask
from ..suite import Stage, check


@check(LOAD, short_leases=True)
def a_killed_loader_is_replaced_at_once(stage: Stage) -> None:
    """A loader is killed while others wait: one of them loads, exactly one, within takeover_limit of the kill, and all get its value."""
    never = stage.load("killed", "never", until=stage.path("never"))
    load = stage.load("killed", "loaded", seconds=0.02)
    loader, others = stage.one_and_others()
    loader.send(ask, never, stage.settings.patience)
    stage.wait_for_begin(never)
    for other in others:
        other.send(ask, load, stage.settings.patience)
    stage.wait_for_callers(load, len(others) + 1)
    killed = loader.kill()
    answers: list[Answer] = stage.results(others)
    stage.replace(loader)

    begins = load.events("begin")[1:]
    if begins and begins[0].at < killed:
        raise Failed(f"{sum(event.at < killed for event in begins)} more loads began while the first one was running")
    takeover = begins[0].at - killed if begins else 0.0
    stage.longest("from the kill to the next load", takeover)
    for answer in answers:
        if answer.value != load.value:
            raise Failed(f"a caller got {answer.error or answer.value!r}")
    if len(begins) != 1:
        raise Failed(f"{len(begins)} loads began after the kill")
    if takeover > stage.settings.takeover_limit:
        raise Failed(f"the next load began {takeover:.3f} s after the kill; {stage.settings.takeover_limit:g} s is the limit")
