# SPDX-License-Identifier: Apache-2.0
"""Types of columns of batches: what their names mean, what values become in them, which one values have in common.

A type is a tuple (kind, precision, scale, time zone or None): what the extension
declares a column with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from forebay._core import Batch, BatchColumn, _arrow_stream

Type = tuple[str, int, int, tzinfo | None]

_PLAIN = ("bool", "int64", "float64", "text", "binary", "date", "time", "timestamp", "duration", "uuid")
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)", re.ASCII)
_ZONED = re.compile(r"timestamp\[(.+)\]")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)
_DIGITS = 38
NULL: Type = ("null", 0, 0, None)
_KIND_OF: dict[type, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "text",
    bytes: "binary",
    date: "date",
    time: "time",
    datetime: "timestamp",
    timedelta: "duration",
    UUID: "uuid",
}


def parse(text: str) -> Type:
    """The type of a name such as "int64", "decimal(12, 2)" or "timestamp[UTC]"."""
    if not isinstance(text, str):
        raise TypeError(f'a type is a str such as "int64", not {type(text).__name__}')
    if text in _PLAIN:
        return text, 0, 0, None
    if found := _DECIMAL.fullmatch(text):
        precision, scale = int(found[1]), int(found[2])
        if not 1 <= precision <= _DIGITS or scale > precision:
            raise ValueError(f"{text!r}: a decimal has 1 to {_DIGITS} digits, and no more than those after the point")
        return "decimal", precision, scale, None
    if found := _ZONED.fullmatch(text):
        return "timestamp", 0, 0, _zone(found[1])
    names = ", ".join(_PLAIN)
    raise ValueError(f"unknown type {text!r}; there are {names}, timestamp[ZONE] and decimal(PRECISION, SCALE)")


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc
    if found := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(-offset if found[1] == "-" else offset)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        raise ValueError(f"unknown time zone {name!r}") from None


def name_of(found: Type) -> str:
    kind, precision, scale, zone = found
    if kind == "decimal":
        return f"decimal({precision}, {scale})"
    return f"timestamp[{zone}]" if zone is not None else kind


# ---- values that are not of their column's kind


def convert(wanted: Type, value: Any) -> Any:
    """The value as the declared type has it; as it is if that would lose something."""
    kind, zone = wanted[0], wanted[3]
    if kind == "text":
        return _as_text(value)
    if kind == "timestamp":
        return _as_timestamp(value, zone)
    if kind == "float64" and type(value) is int and abs(value) < 2**1000 and float(value) == value:
        return float(value)
    if kind == "int64" and (isinstance(value, int) or type(value) is float and value.is_integer()):
        return int(value)
    if kind == "bool" and type(value) is int and value in (0, 1):
        return bool(value)
    if kind == "decimal" and isinstance(value, int):
        return Decimal(int(value))
    if kind == "date" and type(value) is str:
        return date.fromisoformat(value)
    if kind == "time":
        return time.fromisoformat(value) if type(value) is str else _without_fold(value)
    if kind == "uuid":
        return UUID(value) if type(value) is str else UUID(int=value.int) if isinstance(value, UUID) else value
    return value


def _as_text(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    if isinstance(value, (dict, list)):
        import json

        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _as_timestamp(value: Any, zone: tzinfo | None) -> Any:
    if type(value) is str:
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime) or (value.tzinfo is None) != (zone is None):
        return value
    return _without_fold(value) if zone is None else value.astimezone(zone)


def _without_fold(value: Any) -> Any:
    """Arrow has none."""
    return value.replace(fold=0) if isinstance(value, (time, datetime)) and value.tzinfo is None else value


def misfit(wanted: Type, value: Any, column: str, row: int) -> NoReturn:
    """Raise the TypeError of a value that its column cannot take."""
    kind = type(value).__name__ if type(value).__module__ == "builtins" else f"{type(value).__module__}.{type(value).__name__}"
    where = f"column {column!r}, row {row}"
    if wanted[0] in ("packed", "null"):
        raise TypeError(
            f"{where}: a value of type {kind} would not come back as it is; "
            f'pass types={{{column!r}: "text"}} to take its str(), or convert it in the query'
        )
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    remedy = "convert it in the query" if wanted[0] == "text" else f'pass types={{{column!r}: "text"}} or another type that all values fit'
    raise TypeError(f"{where}: {shown} of type {kind} does not fit the column's type {name_of(wanted)}; {remedy}")


# ---- one type for all values of a column


def exportable(batch: Batch) -> Batch:
    """The batch, its packed columns converted to what their values have in common."""
    found = batch._types()
    wanted = [_common(batch.column(i)) if found[i][0] == "packed" else None for i in range(len(found))]
    return batch._converted(tuple(wanted), 0)


def _common(column: BatchColumn) -> Type:
    kinds = {type(value) for value in column} - {type(None)}
    if kinds == {int, float}:
        return "float64", 0, 0, None
    if kinds == {datetime} and all(value.tzinfo is not None for value in column if value is not None):
        return "timestamp", 0, 0, timezone.utc
    if kinds == {int}:
        return _type_of_ints(column)
    if kinds in ({Decimal}, {Decimal, int}):
        return _type_of_decimals(column)
    if len(kinds) == 1 and (kind := _KIND_OF.get(next(iter(kinds)))):
        return kind, 0, 0, None
    names = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise TypeError(
        f"column {column.name!r} has values of type {names}, for which Arrow has no type: "
        f'pass types={{{column.name!r}: "text"}} to take their str(), or convert them in the query'
    )


def _type_of_ints(column: BatchColumn) -> Type:
    small = all(value is None or -(2**63) <= value < 2**63 for value in column)
    return ("int64", 0, 0, None) if small else ("decimal", _DIGITS, 0, None)


def _type_of_decimals(column: BatchColumn) -> Type:
    exponents = [value.as_tuple().exponent for value in column if isinstance(value, Decimal)]
    scale = max((-each for each in exponents if isinstance(each, int)), default=0)
    return "decimal", _DIGITS, min(max(scale, 0), _DIGITS), None


def schema_of(batch: Batch, hints: Sequence[Type | None]) -> tuple[Type, ...]:
    """The types that a stream's batches are to have, from its first one."""
    return tuple(hint if found == NULL and hint is not None else found for found, hint in zip(batch._types(), hints))


def fitted(batch: Batch, schema: Iterable[Type], first_row: int) -> Batch:
    """The batch in these types; TypeError if it does not fit them."""
    wanted: list[Type | None] = []
    for i, (found, type_) in enumerate(zip(batch._types(), schema)):
        if type_ == NULL and found != NULL:
            name = batch.columns[i]
            raise TypeError(
                f"column {name!r} had nothing but NULL in the first batch, which gave the stream its schema, and has "
                f"{name_of(found)} from row {first_row} on; pass types={{{name!r}: {name_of(found)!r}}}"
            )
        wanted.append(None if found == type_ else type_)
    return batch if not any(wanted) else batch._converted(tuple(wanted), first_row)


class _One:
    """The source of a stream of one batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch: Batch | None = batch
        self._schema = batch

    def schema(self) -> Batch:
        return self._schema

    def next(self) -> Batch | None:
        batch, self._batch = self._batch, None
        return batch

    def close(self) -> None:
        self._batch = None


def stream_of_one(batch: Batch) -> Any:
    return _arrow_stream(_One(exportable(batch)))
