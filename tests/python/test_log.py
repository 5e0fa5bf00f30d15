# SPDX-License-Identifier: Apache-2.0
"""What goes to the log: which logger, how loud, and nothing anywhere where nobody listens."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

import forebay
from forking import fork_to_run, wait_for
from loading_calls import eventually

PACKAGE = Path(forebay.__file__).parent


def record(n):
    return {"id": n, "name": f"customer {n}", "email": f"customer{n}@example.com", "street": f"Long Street {n % 97}"}


@pytest.fixture
def told(caplog):
    """What was told of dictionaries so far."""
    caplog.set_level(logging.INFO, "forebay")
    return lambda: [each for each in caplog.records if each.name == "forebay.dictionary"]


@pytest.fixture
def trained(arena, path):
    """A cache for which this process has trained a dictionary in the background, which it has not told of yet."""
    cache = arena.cache("packed", codec="zstd", load=lambda key: record(9_999))
    with forebay.open(path) as other:
        watched = other.cache("packed")  # a handle of its own: looking does not tell
        cache.set_many({n: record(n) for n in range(2500)})  # just enough for a first one
        eventually(lambda: watched.stats()["dictionary"] is not None)
    return cache


WAYS = {
    "set": lambda cache: cache.set(1, "value"),
    "setitem": lambda cache: cache.__setitem__(1, b"value"),
    "add": lambda cache: cache.add("new", "value"),
    "set_many": lambda cache: cache.set_many({1: "value"}),
    "cas": lambda cache: cache.cas(1, "value", cache.gets(1)[1]),
    "fetch": lambda cache: cache.fetch("loaded"),
    "stats": lambda cache: cache.stats(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_dictionary_that_has_become_current_is_told_of_once(trained, told, way):
    assert told() == []
    WAYS[way](trained)
    (found,) = told()
    assert found.levelno == logging.INFO
    number = trained.stats()["dictionary"]
    assert re.fullmatch(
        rf"cache 'packed': dictionary {number}, trained by this process, is the current one; it packs [1-9]\d*\.\d\dx",
        found.getMessage(),
    )
    WAYS["set"](trained)
    assert len(told()) == 1


def test_one_trained_by_a_call_is_told_of_at_once(arena, told):
    cache = arena.cache("packed", codec="zstd")
    cache.set_many({n: record(n) for n in range(200)})  # too few for the background
    assert told() == [] and cache.train()
    assert len(told()) == 1


def test_other_processes_do_not_tell(trained, told, path):
    def child():
        trained.set(1, "value")
        trained.stats()
        assert told() == []

    wait_for(fork_to_run(child))
    with forebay.open(path) as other:
        other.cache("packed").set(1, "value")
        assert told() == []
    trained.set(1, "value")
    assert len(told()) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_log_that_fails_fails_no_set(trained, monkeypatch):
    def refuse(record):
        raise LookupError("the log is full")

    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: unraisable.append(found.exc_value))
    logger = logging.getLogger("forebay.dictionary")
    logger.addFilter(refuse)
    logger.setLevel(logging.INFO)
    try:
        trained.set(1, "value")
    finally:
        logger.removeFilter(refuse)
        logger.setLevel(logging.NOTSET)
    assert trained[1] == "value" and [str(error) for error in unraisable] == ["the log is full"]


def test_a_log_that_closes_the_arena_fails_no_set(arena, trained, told, monkeypatch):
    monkeypatch.setattr("forebay._log.dictionary_trained", lambda *_: arena.close())
    trained.set(1, "value")
    assert arena.closed


LOUD = """
import logging
import forebay, forebay._log
for name in ("dictionary", "loading", "pool"):
    getattr(forebay._log, name).error("quiet")
forebay._log.dictionary_trained("c", 1, 2500)
logging.basicConfig(format="%(name)s %(levelname)s %(message)s", level="INFO")
forebay._log.dictionary_trained("c", 1, 2500)
"""


def test_nothing_is_printed_unless_somebody_wants_it():
    code = f"import sys; sys.path[:] = {sys.path!r}\n{LOUD}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == (
        "forebay.dictionary INFO cache 'c': dictionary 1, trained by this process, is the current one; it packs 2.50x\n"
    )


def test_there_is_one_home_of_loggers():
    """Else one of them could be loud where nobody asked for it."""
    assert [file.name for file in sorted(PACKAGE.rglob("*.py")) if "getLogger(" in file.read_text()] == ["_log.py"]
