# SPDX-License-Identifier: Apache-2.0
"""docs/commands.md: what its examples print, and that each command has one."""

import doctest
import os
import re
import subprocess
from pathlib import Path

from test_command_tool import COMMANDS

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()


def examples():
    """Pairs of what is typed and what is printed."""
    for block in re.findall(r"```console\n(.*?)```", DOCUMENT, re.S):
        for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
            typed, _, printed = example.partition("\n")
            yield typed, printed


def test_the_examples_do_what_the_document_says(command, folder):
    environment = os.environ | {"PATH": f"{Path(command).resolve().parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    checker = doctest.OutputChecker()
    for typed, printed in examples():
        done = subprocess.run(
            ["bash", "-c", typed], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60,
        )
        assert checker.check_output(printed, done.stdout, doctest.ELLIPSIS), (typed, done.stdout)


def test_each_command_has_an_example():
    used = {name for typed, _ in examples() for name in re.findall(r"\bforebay (\w+)", typed)}
    assert set(COMMANDS) <= used


def test_each_command_that_is_named_exists(run):
    for name in set(re.findall(r"`forebay (\w+)", DOCUMENT)) - {"COMMAND", "help"}:
        assert f"\n  {name} " in run("--help").stdout
