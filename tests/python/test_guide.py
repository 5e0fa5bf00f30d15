# SPDX-License-Identifier: Apache-2.0
"""The examples of documents, and those of docstrings, do what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import forebay

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(("document", "examples"), [("guide.md", 50), ("buffers.md", 30), ("pools.md", 15)])
def test_the_document_does_what_it_says(document, examples):
    # a fence right after an output would be taken for a part of it
    for block in (DOCS / document).read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    outcome = doctest.testfile(str(DOCS / document), module_relative=False)
    assert outcome.attempted >= examples
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "name", ["forebay", *(f"forebay.{module.name}" for module in pkgutil.iter_modules(forebay.__path__))]
)
def test_examples_of_docstrings_do_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
