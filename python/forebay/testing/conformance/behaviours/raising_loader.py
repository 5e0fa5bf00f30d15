# SPDX-License-Identifier: Apache-2.0
from ..adapter import LOAD, MISS
from ..crew import Failed
from ..orders import Answer, ask, ask_in_threads, look
from ..suite import Stage, check, touch


@check(LOAD)
def a_loader_that_raises_is_an_error_for_all_who_wait_and_the_next_call_loads_again(stage: Stage) -> None:
    """A loader raises: each caller that waits gets an error, nothing is stored, and the next call loads again."""
    go = stage.path("go")
    failing = stage.load("raises", "", until=go, error="on purpose")
    threads = min(stage.settings.threads, 2)
    for worker in stage.workers:
        worker.send(ask_in_threads, failing, stage.settings.patience, threads)
    stage.wait_for_callers(failing, threads * len(stage.workers))
    touch(go)
    answers: list[Answer] = sum(stage.results(stage.workers), [])
    failed_loads = len(failing.events("begin"))
    for answer in answers:
        if answer.value is not None:
            raise Failed(f"a caller got {answer.value!r} of a loader that raised")
    one, others = stage.one_and_others()
    if (found := stage.call(one, look, failing.key)) is not MISS:
        raise Failed(f"{found!r} is stored for a loader that raised")

    load = stage.load("raises", "loaded")
    again: Answer = stage.call(one, ask, load, stage.settings.patience)
    if again.value != load.value:
        raise Failed(f"the next call got {again.error or again.value!r}")
    if (more := len(load.events("begin")) - failed_loads) != 1:
        raise Failed(f"{more} loads for the next call")
    stage.count("callers", len(answers))
    stage.count("loads that raised", failed_loads)
