# SPDX-License-Identifier: Apache-2.0
"""Operations take no more instructions than recorded.json says, but for what the seeds of hashes and compilers vary."""

import json

import count
import pytest

TOLERANCE = 1.03


@pytest.fixture(scope="session")
def counted():
    return count.count_all()


@pytest.mark.parametrize("operation", count.OPERATIONS)
def test_no_operation_takes_more_instructions_than_recorded(operation, counted):
    recorded = json.loads(count.RECORDED.read_text())[operation]
    assert 0 < counted[operation] <= recorded * TOLERANCE, (
        f"{operation}: {counted[operation]} instructions, recorded {recorded}; find out why, or, where it is worth "
        "it, run tests/instructions/count.py --record and say so in the commit"
    )


def test_an_operation_nobody_knows_fails():
    with pytest.raises(KeyError):
        count.count("no such operation")
