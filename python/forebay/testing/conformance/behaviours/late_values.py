# SPDX-License-Identifier: Apache-2.0
"""What happens to a key while it is being loaded wins over the load."""

from ..adapter import LOAD, MISS
from ..crew import Failed
from ..events import Load
from ..orders import Answer, ask, look, put, remove
from ..suite import Stage, check, touch

ENOUGH = 0.3  # seconds in which a caller that is going to load has begun


def begin_load(stage: Stage, name: str) -> Load:
    """One worker loads the value "old", until stage.path("go") is there."""
    old = stage.load(name, "old", until=stage.path("go"))
    stage.one_and_others()[0].send(ask, old, stage.settings.patience)
    stage.wait_for_begin(old)
    return old


def end_load(stage: Stage, old: Load) -> None:
    """It comes to its end; its own caller may have the old value."""
    touch(stage.path("go"))
    answer: Answer = stage.one_and_others()[0].result(stage.settings.patience)
    if answer.value is None:
        raise Failed(f"the loading caller got {answer.error}")


@check(LOAD)
def a_key_deleted_during_its_load_is_loaded_anew(stage: Stage) -> None:
    """A key is deleted while it is being loaded: the value, which may be from before, is served to nobody who asks after the load."""
    old = begin_load(stage, "deleted")
    other = stage.one_and_others()[1][0]
    stage.call(other, remove, old.key)
    end_load(stage, old)
    if stage.call(other, look, old.key) is not MISS:
        raise Failed("the value from before the deletion is stored")
    new = stage.load("deleted", "new")
    answer: Answer = stage.call(other, ask, new, stage.settings.patience)
    if answer.value != new.value:
        raise Failed(f"the next call got {answer.error or answer.value!r}")


@check(LOAD)
def who_asks_after_a_deletion_does_not_get_a_load_from_before(stage: Stage) -> None:
    """A key is deleted while it is being loaded, and asked for again before that load ends: the answer, and what is stored, is of a load begun after the deletion."""
    old = begin_load(stage, "asked")
    other, another = stage.one_and_others()[1][:2]
    stage.call(another, remove, old.key)
    new = stage.load("asked", "new")
    other.send(ask, new, stage.settings.patience)
    stage.wait_for_callers(new, 2)
    try:
        stage.wait_for(lambda: len(new.events("begin")) > 1, "", within=ENOUGH)
        stage.wait_for(other.pipe.poll, "", within=stage.settings.pause_limit)  # so that the old one is the later of the two
    except Failed:
        pass  # it waits for the old one; wrong only if it gets its value
    end_load(stage, old)
    answer: Answer = other.result(stage.settings.patience)
    if answer.value != new.value:
        raise Failed(f"who asked after the deletion got {answer.error or answer.value!r}")
    if stage.call(another, look, old.key) not in (new.value, MISS):
        raise Failed("the value from before the deletion is stored")


@check(LOAD)
def a_value_set_during_a_load_stays(stage: Stage) -> None:
    """A key is set while it is being loaded: the loaded value, which may be older, does not replace it."""
    old = begin_load(stage, "set")
    other, another = stage.one_and_others()[1][:2]
    stage.call(other, put, old.key, b"set")
    end_load(stage, old)
    if (found := stage.call(another, look, old.key)) not in (b"set", MISS):
        raise Failed(f"{found!r} was stored over what had been set meanwhile")
