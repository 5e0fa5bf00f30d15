# SPDX-License-Identifier: Apache-2.0
"""Values of cassandra-driver as those that caches and batches take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.sources._values import STORED
from forebay.sources._values import plain as plain_of_others


def plain(value: Any) -> Any:
    """Sets as lists, maps and user-defined types as dicts, Date and Time as date and time where those can say it.

    What has no counterpart (duration, dates beyond the year 9999, nanoseconds) stays as it is."""
    kind = type(value)
    if kind in STORED:
        return value
    if kind is list or isinstance(value, (set, frozenset)) or kind.__name__ == "SortedSet":
        return [plain(each) for each in value]
    if kind is tuple:
        return tuple(plain(each) for each in value)
    if isinstance(value, Mapping):
        return {_hashable(plain(name)): plain(each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(each) for name, each in zip(value._fields, value)}
    if kind.__module__ == "cassandra.util":
        return _moment(value)
    return plain_of_others(value)


def _moment(value: Any) -> Any:
    name = type(value).__name__
    if name == "Time" and value.nanosecond_time % 1000 == 0:
        return value.time()
    if name == "Date":
        try:
            return value.date()
        except (ValueError, OverflowError):
            return value
    return value


def _hashable(name: Any) -> Any:
    """Maps may have collections as keys."""
    if isinstance(name, (list, tuple)):
        return tuple(_hashable(each) for each in name)
    if isinstance(name, dict):
        return tuple((_hashable(part), _hashable(value)) for part, value in name.items())
    return name
