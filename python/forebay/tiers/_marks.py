# SPDX-License-Identifier: Apache-2.0
"""What this machine wrote to a tier of late.

A tier that says what changes says so of one's own writes, too.  A mark tells whoever
listens that a change may be one of these, so that it looks before it forgets an entry
that is as new as the tier's.  It is a hint: where it is lost, the entry goes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from forebay._core import FullError

CACHE = "forebay.tiers"
_SECONDS = 30.0  # beyond the longest load
_LONGEST = 1024  # bytes of a name
_FORM = struct.Struct("<8sQ")


class Mark(NamedTuple):
    token: bytes  # in what was written
    lease: int  # token of the lease under which it is to be stored here


class Marks:
    """Of all tiers of an arena."""

    def __init__(self, arena: Any) -> None:
        self._cache = arena.cache(CACHE, codec="none")

    def note(self, names: Iterable[tuple[bytes, int]], token: bytes, seconds: float = _SECONDS) -> None:
        """Before they are written; pairs of a name and the token of a lease."""
        try:
            self._cache.set_many([(_short(name), _FORM.pack(token, lease)) for name, lease in names], ttl=max(seconds, _SECONDS))
        except FullError:
            pass

    def find(self, names: list[bytes]) -> dict[bytes, Mark]:
        by_short = {_short(name): name for name in names}
        found = self._cache.get_many(list(by_short))
        return {by_short[short]: Mark(*_FORM.unpack(value)) for short, value in found.items() if len(value) == _FORM.size}


def _short(name: bytes) -> bytes:
    """Percent-encoded, a key may be too long for one."""
    return name if len(name) <= _LONGEST else hashlib.sha256(name).digest()
