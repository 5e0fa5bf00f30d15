# SPDX-License-Identifier: Apache-2.0
from ..adapter import LOAD, MISS, OVERTAKE
from ..crew import Failed
from ..orders import Answer, ask, look
from ..suite import Stage, check, touch

EARLY = 0.95  # of the timeout; clocks have ticks


@check(LOAD, OVERTAKE, short_leases=True)
def a_stopped_loader_is_overtaken_and_its_late_value_is_not_stored(stage: Stage) -> None:
    """A loader is stopped (SIGSTOP): after load_timeout one of those who wait loads, exactly one; what the first one has in the end is not stored."""
    go = stage.path("go")
    late = stage.load("stopped", "late", until=go)
    load = stage.load("stopped", "loaded", seconds=0.02)
    loader, others = stage.one_and_others()
    loader.send(ask, late, stage.settings.patience)
    stage.wait_for_begin(late)
    loader.stop()
    try:
        for other in others:
            other.send(ask, load, stage.settings.patience)
        answers: list[Answer] = stage.results(others)
    finally:
        touch(go)
        loader.resume()
    loader.result(stage.settings.patience)  # its caller may get the late value, or the other one

    first, *begins = load.events("begin")
    if not begins:
        raise Failed("nobody loaded after the one that was stopped")
    overtaken = begins[0].at - first.at
    stage.longest("from the stopped load to the next", overtaken)
    for answer in answers:
        if answer.value != load.value:
            raise Failed(f"a caller got {answer.error or answer.value!r}")
    if len(begins) != 1:
        raise Failed(f"{len(begins)} loads began after the one that was stopped")
    if overtaken < EARLY * stage.place.load_timeout:
        raise Failed(f"overtaken after {overtaken:.3f} s; it may take {stage.place.load_timeout:g} s")
    if overtaken > stage.place.load_timeout + stage.settings.pause_limit:
        raise Failed(f"overtaken only after {overtaken:.3f} s; it may take {stage.place.load_timeout:g} s")
    for other in others:
        if stage.call(other, look, load.key) not in (load.value, MISS):
            raise Failed("the late value was stored over the newer one")
