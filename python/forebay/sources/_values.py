# SPDX-License-Identifier: Apache-2.0
"""Values of drivers as those that a cache stores."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

STORED = frozenset({type(None), bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID})


def plain(value: Any) -> Any:
    """Buffers as bytes, drivers' UUIDs as UUID, named tuples as dicts, and so within lists, tuples and dicts.

    What a cache cannot store stays as it is: the cache says so, and where it is."""
    kind = type(value)
    if kind in STORED:
        return value
    if kind is list:
        return [plain(each) for each in value]
    if kind is dict:
        return {name: plain(each) for name, each in value.items()}
    if kind is tuple:
        return tuple(plain(each) for each in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(each) for name, each in zip(value._fields, value)}
    if isinstance(value, (memoryview, bytearray)):
        return bytes(value)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    return value


def is_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


def is_text(value: str) -> bool:
    """Can it be written as UTF-8?"""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
