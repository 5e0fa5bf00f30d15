# SPDX-License-Identifier: Apache-2.0
"""Buses: over them machines tell each other which entries changed.

    users = arena.cache("users", load_many=load_users, bus=forebay.buses.Redis(client))

A tier on Redis needs none: its servers say what changes.  docs/coherence.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.buses._bus import Bus as Bus
    from forebay.buses._redis import Redis as Redis

__all__ = ["Bus", "Redis"]

_LATE = {"Bus": "forebay.buses._bus", "Redis": "forebay.buses._redis"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return found
