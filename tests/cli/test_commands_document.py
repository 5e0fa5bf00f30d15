# SPDX-License-Identifier: Apache-2.0
"""docs/reference/commands.md has all commands, and no others; tests/python/test_pages.py runs its examples."""

import re
from pathlib import Path

from test_command_tool import COMMANDS

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md").read_text()


def test_each_command_has_an_example():
    typed = "\n".join(re.findall(r"^\$ (.*)", DOCUMENT, re.M))
    assert set(COMMANDS) <= set(re.findall(r"\bforebay (\w+)", typed))


def test_each_command_that_is_named_exists(run):
    for name in set(re.findall(r"`forebay (\w+)", DOCUMENT)) - {"COMMAND", "help"}:
        assert f"\n  {name} " in run("--help").stdout
