# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/test-servers.md."""

import doctest
from pathlib import Path

import pytest
import redis

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "test-servers.md"


def test_the_document_does_what_it_says(tmp_path):
    outcome = doctest.testfile(str(DOCUMENT), module_relative=False, globs={"folder": tmp_path, "redis": redis})
    assert outcome.attempted >= 25
    assert outcome.failed == 0
