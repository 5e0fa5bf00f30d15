# SPDX-License-Identifier: Apache-2.0
"""The built command, run as users run it, on real arenas.

The command is $FOREBAY_COMMAND, else the one beside the interpreter, else that of PATH.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import forebay
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what tests share


def find_command():
    beside = Path(sys.executable).parent / "forebay"
    found = os.environ.get("FOREBAY_COMMAND") or (str(beside) if beside.exists() else shutil.which("forebay"))
    assert found, "no forebay command: set FOREBAY_COMMAND to the built one"
    return found


@pytest.fixture(scope="session")
def command():
    return find_command()


@pytest.fixture
def run(command):
    """Run the command; `.stdout` and `.stderr` are str."""

    def run(*arguments, code=0, **options):
        options = {"capture_output": True, "text": True, "timeout": 60} | options
        done = subprocess.run([command, *map(os.fspath, arguments)], **options)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def run_json(run):
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options).stdout)


@pytest.fixture
def refused(run):
    """Run the command, which must refuse: one line on stderr, nothing on stdout.  The line."""

    def refused(*arguments, code, **options):
        done = run(*arguments, code=code, **options)
        assert done.stdout == ""
        assert done.stderr.startswith("forebay") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    return refused


@pytest.fixture
def folder():
    """An empty folder in memory; must be left empty but for what the test itself made."""
    path = Path(tempfile.mkdtemp(prefix="forebay-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def path(folder):
    """Of an arena of 2 MiB without caches."""
    forebay.open(folder / "arena", size="2MiB").close()
    return folder / "arena"


@pytest.fixture
def filled(path):
    """Of an arena with the caches "users" (ttl 300, 3 entries) and "plain" (1 entry)."""
    with forebay.open(path) as arena:
        arena.cache("users", ttl=300).set_many({1: "one", "two": [2], b"\x03": None})
        arena.cache("plain").set("key", b"\x00value\xff")
    return path


HOLD = """
import sys, forebay
arena = forebay.open(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holding():
    """A context manager: another process that has the arena open; gives the Popen."""

    @contextlib.contextmanager
    def holding(path):
        words = [sys.executable, "-c", HOLD, os.fspath(path)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "open\n"
                yield process
            finally:
                process.kill()

    return holding
