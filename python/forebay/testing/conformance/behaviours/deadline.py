# SPDX-License-Identifier: Apache-2.0
from ..adapter import DEADLINE, LOAD
from ..crew import Failed
from ..orders import Answer, ask, look
from ..suite import Stage, check, touch

WAIT = 0.2  # seconds that the impatient caller waits


@check(LOAD, DEADLINE)
def a_caller_waits_no_longer_than_it_said_and_the_load_goes_on(stage: Stage) -> None:
    """A caller that waits for another's load with a timeout gets an error when that is over; the load, and others who wait, are not disturbed."""
    go = stage.path("go")
    load = stage.load("slow", "loaded", until=go)
    loader, (patient, *impatient) = stage.one_and_others()
    loader.send(ask, load, stage.settings.patience)
    stage.wait_for_begin(load)
    patient.send(ask, load, stage.settings.patience)
    for worker in impatient:
        worker.send(ask, load, WAIT)
    left: list[Answer] = stage.results(impatient)
    touch(go)
    stayed: list[Answer] = stage.results([loader, patient])
    for answer in left:
        if answer.value is not None:
            raise Failed(f"a caller got {answer.value!r} before it was loaded")
        stage.longest("past the deadline", max(answer.seconds - WAIT, 0.0))
        if answer.seconds > WAIT + stage.settings.pause_limit:
            raise Failed(f"a caller that waits for {WAIT:g} s came back after {answer.seconds:.3f} s")
    for answer in stayed:
        if answer.value != load.value:
            raise Failed(f"a caller that stayed got {answer.error or answer.value!r}")
    if len(load.events("begin")) != 1:
        raise Failed(f"{len(load.events('begin'))} loads")
    if stage.call(impatient[0], look, load.key) != load.value:
        raise Failed("what was loaded is not stored")
