# SPDX-License-Identifier: Apache-2.0
"""Buses: over them machines tell each other which entries changed.

    users = arena.cache("users", load_many=load_users, bus=forebay.buses.Redis(client))

Or a PostgreSQL database tells, by triggers, of changes that anybody makes:

    forebay.buses.install_trigger(connection, "users", "id", cache="users")
    users = arena.cache("users", load_many=load_users, bus=forebay.buses.Postgres("dbname=shop"))

A tier on Redis needs none for what changes in it; for what changes behind it there may be one, too.  No driver is imported before
it is used.  docs/guides/coherence.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.buses._bus import Bus as Bus
    from forebay.buses._postgres_bus import Postgres as Postgres
    from forebay.buses._postgres_triggers import install_trigger as install_trigger
    from forebay.buses._postgres_triggers import remove_trigger as remove_trigger
    from forebay.buses._redis_bus import Redis as Redis

__all__ = ["Bus", "Postgres", "Redis", "install_trigger", "remove_trigger"]

_LATE = {
    "Bus": "forebay.buses._bus",
    "Postgres": "forebay.buses._postgres_bus",
    "Redis": "forebay.buses._redis_bus",
    "install_trigger": "forebay.buses._postgres_triggers",
    "remove_trigger": "forebay.buses._postgres_triggers",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return found
