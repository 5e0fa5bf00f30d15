# SPDX-License-Identifier: Apache-2.0
"""What a subscription says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Changed:
    """Of a message: the entries that are not what they were, by the names that the bus has for them."""

    names: Sequence[bytes]


class Everything:
    """Messages may be missing, or all entries are gone."""


class Pong:
    """The answer to the last ping; all messages before it were read."""


Event = Changed | Everything | Pong


class Session(Protocol):
    """A subscription.  One thread uses it."""

    def fileno(self) -> int:
        """Readable when something came."""

    def ping(self) -> None:
        """Have a Pong come behind all that was said until now."""

    def read(self, seconds: float) -> list[Event]:
        """What came; waits for it for so long."""

    def close(self) -> None: ...
