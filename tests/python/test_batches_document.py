# SPDX-License-Identifier: Apache-2.0
"""docs/batches.md does what it says."""

import doctest
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/batches.md"


def test_the_page_on_batches_does_what_it_says():
    pytest.importorskip("pyarrow")
    for block in DOCUMENT.read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    outcome = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert outcome.attempted >= 25
    assert outcome.failed == 0
