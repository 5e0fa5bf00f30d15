# SPDX-License-Identifier: Apache-2.0
"""A second tier under caches: a key-value server that machines share.

    client = redis.Redis("cache.example", socket_timeout=0.2, socket_connect_timeout=0.2)
    users = arena.cache("users", ttl=300, tier=forebay.tiers.Redis(client), load_many=load_users)

On a miss the tier is asked for all keys in one round trip to each of its nodes, then
load_many for the rest, and both are filled.  One object is for all caches on a client.
No driver is imported here: they are told by their objects.  docs/guides/tiers.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.buses._bus import Bus as Bus
    from forebay.tiers._kinds import Memcached as Memcached
    from forebay.tiers._kinds import Redis as Redis
    from forebay.tiers._tier import Tier as Tier

__all__ = ["Memcached", "Redis", "Tier"]

_LATE = {
    "Bus": "forebay.buses._bus",
    "Memcached": "forebay.tiers._kinds",
    "Redis": "forebay.tiers._kinds",
    "Tier": "forebay.tiers._tier",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return found
