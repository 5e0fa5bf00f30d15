# SPDX-License-Identifier: Apache-2.0
"""The history that decides how far behind reads were must not be wrong itself."""

import time

from forebay.testing.staleness.history import VERSIONS, History
from forking import fork_to_run, wait_for

WRITES = 100_000


def test_versions_go_up_for_whoever_reads_while_they_are_written(folder):
    history = History(folder / "history", 2)

    def write():
        for _ in range(WRITES):
            history.write(1)

    writer, last = fork_to_run(write), 0
    while last < WRITES:
        version = history.version(1)
        assert version >= last
        last = version
    wait_for(writer)
    assert history.version(0) == 0
    history.close()


def test_behind_is_how_long_ago_the_next_version_was_acknowledged(folder):
    history, other = History(folder / "history", 3), History(folder / "history", 3)
    began = time.monotonic()
    for version in (1, 2, 3):
        assert history.write(2) == version
    assert other.behind(2, 1, began) == 0.0  # nothing is acknowledged yet
    history.acknowledge(2, 2)
    assert [other.acknowledged(2, version) for version in (1, 2, 3, 4)] == [True, True, False, False]
    acknowledged = time.monotonic()
    assert other.behind(2, 1, began) == 0.0  # it began before that
    assert 1.0 <= other.behind(2, 1, acknowledged + 1) <= 1.0 + acknowledged - began
    assert other.behind(2, 2, acknowledged + 1) == 0.0
    assert other.behind(2, 3, acknowledged + 1) == 0.0
    assert other.version(0) == other.version(1) == 0
    history.close()
    other.close()


def test_more_versions_than_have_room_take_the_places_of_the_oldest(folder):
    history = History(folder / "history", 1)
    for version in range(1, VERSIONS + 3):
        assert history.write(0) == version
    history.acknowledge(0, VERSIONS + 2)
    assert history.behind(0, VERSIONS + 1, time.monotonic() + 1) >= 1.0
    history.close()
