# SPDX-License-Identifier: Apache-2.0
"""Checks that any cache shared by processes can be run against.

Each check is a sentence: one load for many callers, a killed loader is replaced, a
value read is whole.  They work with real processes, spawned and forked, which are
killed and stopped for real.

    python -m forebay.testing.conformance --adapter forebay

runs them against Forebay.  For a cache of your own, write an Adapter in a module
that can be imported, and

    from forebay.testing import conformance

    outcomes = conformance.run(MyAdapter)

or, with pytest, a test for each check:

    @pytest.mark.parametrize("check", conformance.checks(), ids=lambda check: check.name)
    def test_conformance(check):
        outcome = check(MyAdapter)
        if outcome.status == "not offered":
            pytest.skip(outcome.seen)
        assert outcome.status == "passed", outcome.seen

Processes are spawned: a script that calls run() does so under
`if __name__ == "__main__":`.
"""

from .adapter import BUDGET, DEADLINE, LOAD, MISS, OVERTAKE, TTL, Adapter, AdapterFactory, Found, Miss, NotOffered, Place
from .behaviours import checks
from .suite import Check, Outcome, Settings, run

__all__ = [
    "BUDGET", "DEADLINE", "LOAD", "MISS", "OVERTAKE", "TTL", "Adapter", "AdapterFactory", "Check", "Found", "Miss",
    "NotOffered", "Outcome", "Place", "Settings", "checks", "run",
]  # fmt: skip
