# SPDX-License-Identifier: Apache-2.0
from ..adapter import LOAD
from ..crew import Failed
from ..orders import Answer, ask_in_threads
from ..suite import Stage, check


@check(LOAD)
def many_callers_of_a_missing_key_are_one_load(stage: Stage) -> None:
    """Many callers, threads of several processes, want the same missing key at once: it is loaded once, and all get the value."""
    load = stage.load("wanted", "loaded", seconds=0.1)
    threads = stage.settings.threads
    answers: list[Answer] = sum(stage.everywhere(ask_in_threads, load, stage.settings.patience, threads), [])
    loads = len(load.events("begin"))
    for answer in answers:
        if answer.value != load.value:
            raise Failed(f"a caller got {answer.error or answer.value!r}")
    if loads != 1:
        raise Failed(f"{len(answers)} callers, {loads} loads")
    stage.count("callers", len(answers))
    stage.count("loads", loads)
    stage.longest("longest wait", max(answer.seconds for answer in answers))
