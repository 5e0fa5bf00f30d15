# SPDX-License-Identifier: Apache-2.0
"""The guide's examples, and those of docstrings, do what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import forebay

GUIDE = Path(__file__).resolve().parents[2] / "docs/guide.md"


def test_the_guide_does_what_it_says(tmp_path):
    # a fence right after an output would be taken for a part of it
    for block in GUIDE.read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    outcome = doctest.testfile(str(GUIDE), module_relative=False)
    assert outcome.attempted >= 50
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "name", ["forebay", *(f"forebay.{module.name}" for module in pkgutil.iter_modules(forebay.__path__))]
)
def test_examples_of_docstrings_do_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
