# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL is asked, so that it uses the key's index, and which keys it can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from forebay.sources._shape import Shape, SourceError, quoted, shown
from forebay.sources._values import is_int64, is_text

TypesOfKey = tuple[str, ...]  # as format_type() calls them, of the columns of the key
Placeholders = Callable[[int], str]

# Arrays of bigint work with the indexes of all of these, and go on to do so if a column grows.
_INTEGERS = {"smallint": "bigint", "integer": "bigint"}
_TEXTS = ("text", "character varying", "bpchar", "name")
_KINDS: dict[str, tuple[type[Any], ...]] = {
    "bigint": (int,), "numeric": (int,), "boolean": (bool,), "bytea": (bytes,), "uuid": (UUID,), "date": (date,),
    **{name: (str,) for name in _TEXTS},
}  # fmt: skip

_TYPES = """
    SELECT a.attname::text, format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, -1)
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = {}::text::regclass AND a.attname::text = ANY({}::text[]) AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class Question:
    """A statement and its parameters; ours: it has the placeholders of the driver's plain cursors.

    prepare: psycopg's: False: never; a prepared `SELECT *` fails when the table gets another column."""

    statement: Any
    parameters: Sequence[Any]
    ours: bool
    prepare: bool | None = None


def placeholders(driver: str) -> Placeholders:
    """Of a parameter, by its number."""
    return (lambda number: f"${number}") if driver == "asyncpg" else (lambda number: "%s")


def question_of_types(shape: Shape, driver: str) -> Question:
    place = placeholders(driver)
    return Question(_TYPES.format(place(1), place(2)), [shape.table_text, list(shape.key)], ours=True)


def types_in(shape: Shape, rows: Iterable[Sequence[Any]]) -> TypesOfKey:
    """Of the answer; SourceError: there is no such column."""
    found = {name: _INTEGERS.get(kind, kind) for name, kind in rows}
    absent = [name for name in shape.key if name not in found]
    if absent:
        raise SourceError(f"the table {shape.table_text} has no column {absent[0]!r}, which key= names")
    return tuple(found[name] for name in shape.key)


def question_of_rows(shape: Shape, types: TypesOfKey | None, driver: str, lists: Sequence[Any]) -> Question:
    """lists: of values, one for each column of the key.  types: None where there is a query."""
    if types is None:
        return Question(shape.query, lists, ours=False)
    return Question(select(shape, types, driver), lists, ours=True, prepare=False if shape.columns is None else None)


def select(shape: Shape, types: TypesOfKey, driver: str) -> str:
    """Its parameters are a list for each column of the key."""
    place = placeholders(driver)
    percent = "%" if driver == "asyncpg" else "%%"

    def escaped(name: str) -> str:
        return quoted(name).replace("%", percent)

    table = ".".join(escaped(name) for name in shape.table or ())
    columns = "t.*" if shape.selected is None else ", ".join(f"t.{escaped(name)}" for name in shape.selected)
    lists = [f"{place(number)}::{kind.replace('%', percent)}[]" for number, kind in enumerate(types, 1)]
    if not shape.composite:
        return f"SELECT {columns} FROM {table} AS t WHERE t.{escaped(shape.key[0])} = ANY({lists[0]})"
    names = [f"k{number}" for number in range(1, len(types) + 1)]
    matches = " AND ".join(f"t.{escaped(column)} = k.{name}" for column, name in zip(shape.key, names))
    return f"SELECT {columns} FROM unnest({', '.join(lists)}) AS k({', '.join(names)}) JOIN {table} AS t ON {matches}"


# ---- keys ----


def fit_of(shape: Shape, types: TypesOfKey) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...] | None]:
    """For a Batch: one key that the server would refuse must not fail all others."""

    def fit(key: Any, parts: tuple[Any, ...]) -> tuple[Any, ...] | None:
        for part, kind, column in zip(parts, types, shape.key):
            wanted = _KINDS.get(kind, ())
            if wanted and type(part) not in wanted:
                raise TypeError(
                    f"the key {shown(key)} cannot be asked for: the column {column!r} is of type {kind}, which takes "
                    f"{wanted[0].__name__}, not {type(part).__name__}"
                )
            if not _can_be(part, kind):
                return None
        return parts

    return fit


def _can_be(part: Any, kind: str) -> bool:
    if kind == "bigint":
        return is_int64(part)
    if isinstance(part, str):
        return "\0" not in part and is_text(part)
    return True
