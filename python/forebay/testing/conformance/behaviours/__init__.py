# SPDX-License-Identifier: Apache-2.0
"""The checks, a file for each behaviour."""

from ..suite import REGISTRY, Check
from . import shared, one_load, killed_loader, stopped_loader, raising_loader, late_values, deadline, forked, torn_reads, budget, writers  # noqa: F401, I001


def checks() -> list[Check]:
    """All checks, in the order in which they are run; what comes first needs least."""
    return list(REGISTRY)
