# SPDX-License-Identifier: Apache-2.0
"""What sources have in common: what they are told of tables and keys, and how rows become a dict by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from forebay._core import Error
from forebay.sources._values import plain

Names = str | Sequence[str]
_SHOWN = 100  # characters of a key in a message


class SourceError(Error, RuntimeError):
    """What a database gave, or what a source was given to read with, does not fit; the message says what to do."""

    __module__ = "forebay.sources"


def missing_driver(source: str, package: str, extra: str) -> ImportError:
    text = f"forebay.sources.{source} needs {package}, which is not installed: pip install 'forebay[{extra}]'"
    return ImportError(text, name=package)


def shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def quoted(name: str) -> str:
    """An identifier of SQL or CQL that means exactly this name."""
    return '"' + name.replace('"', '""') + '"'


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} is a name, a str, not {type(value).__name__}")
    if not value or "\0" in value:
        raise ValueError(f"{what}: {value!r} is no name")
    return value


def _names(values: Any, what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, (list, tuple)):
        raise TypeError(f"{what} is a list of names, not {type(values).__name__}")
    names = tuple(_name(value, what) for value in values)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what} is one name or more, all different: {values!r}")
    return names


def _parse_table(table: Any) -> tuple[str, ...]:
    names = (_name(table, "table"),) if isinstance(table, str) else _names(table, "table")
    if len(names) > 2:
        raise ValueError(f'table is a name, or ("schema", "name"): {table!r}')
    return names


def _parse_key(key: Any) -> tuple[str, ...]:
    if isinstance(key, str):
        return (_name(key, "key"),)
    names = _names(key, "key")
    if len(names) == 1:
        raise ValueError(f"key: for one column give its name, {names[0]!r}; several make keys that are tuples")
    return names


@dataclass(frozen=True, slots=True)
class Shape:
    """What is read, by which keys, and what becomes of a row.

    table: as its parts, or None where there is a query.  key: its columns; keys of the
    cache are tuples if there are several.  columns: of the dict; None: all.  many: a
    list of rows for each key.  row: makes the value of a dict."""

    table: tuple[str, ...] | None
    query: Any
    key: tuple[str, ...]
    columns: tuple[str, ...] | None
    many: bool
    row: Callable[[dict[str, Any]], Any] | None

    @property
    def composite(self) -> bool:
        return len(self.key) > 1

    @property
    def selected(self) -> tuple[str, ...] | None:
        """The columns that a row must have: those of the dict and those of the key."""
        if self.columns is None:
            return None
        return (*self.columns, *(name for name in self.key if name not in self.columns))

    @property
    def table_text(self) -> str:
        assert self.table is not None
        return ".".join(map(quoted, self.table))

    def parts(self, key: Any) -> tuple[Any, ...]:
        """A value for each column of the key; TypeError: the key has another form."""
        if not self.composite:
            if isinstance(key, tuple):
                raise TypeError(f"the key {shown(key)} is a tuple, and there is one column, {self.key[0]!r}")
            return (key,)
        if not isinstance(key, tuple) or len(key) != len(self.key):
            raise TypeError(f"the key {shown(key)} is not a tuple of {len(self.key)}: {', '.join(map(repr, self.key))}")
        return key


def parse(
    table: Names | None,
    query: Any,
    key: Names,
    columns: Sequence[str] | None,
    many: bool,
    row: Callable[[dict[str, Any]], Any] | None,
) -> Shape:
    """TypeError and ValueError say which argument is wrong."""
    if (table is None) == (query is None):
        raise TypeError("a source reads by table= or by query=: give one of them")
    if query is not None and columns is not None:
        raise TypeError("columns= goes with table=: a query= says itself what it gives")
    if row is not None and not callable(row):
        raise TypeError(f"row is a function that takes a dict, not {type(row).__name__}")
    return Shape(
        table=None if table is None else _parse_table(table),
        query=query,
        key=_parse_key(key),
        columns=None if columns is None else _names(columns, "columns"),
        many=bool(many),
        row=row,
    )


class Batch:
    """The keys of one call, and what was found of them.

    fit(key, parts): parts as the engine is to get them; None: there can be no such key;
    TypeError: the key cannot be asked for, which is the outcome of that key alone."""

    def __init__(
        self, shape: Shape, keys: Iterable[Any], fit: Callable[[Any, tuple[Any, ...]], tuple[Any, ...] | None] | None = None
    ) -> None:
        self._shape = shape
        self.found: dict[Any, Any] = {}
        self.asked: dict[Any, tuple[Any, ...]] = {}  # by key, in the order of asking
        self._own: dict[Any, Any] = {}  # the caller's object of a key
        for key in keys:
            if key not in self.asked:  # what cannot be asked for may equal what can: True and 1
                self._own.pop(key, None)
                self.found.pop(key, None)
                self._own[key] = key
                self._ask(key, fit)

    def _ask(self, key: Any, fit: Callable[[Any, tuple[Any, ...]], tuple[Any, ...] | None] | None) -> None:
        try:
            parts: tuple[Any, ...] | None = self._shape.parts(key)
            if fit is not None and parts is not None:
                parts = fit(key, parts)
        except TypeError as error:
            self.found[key] = error
            return
        if parts is not None:
            self.asked[key] = parts

    def columns(self) -> list[list[Any]]:
        """A list for each column of the key."""
        return [list(values) for values in zip(*self.asked.values())]

    def add(self, names: Sequence[str], rows: Sequence[Sequence[Any]], convert: Callable[[Any], Any] = plain) -> None:
        """Rows that came back for these keys; SourceError: they do not belong to them, or to one twice."""
        if not names and not rows:
            return  # asyncpg says names with rows only
        places = _places(names, self._shape)
        kept = [number for number, name in enumerate(names) if self._shape.columns is None or name in self._shape.columns]
        for row in rows:
            values = [convert(value) for value in row]
            key = tuple(values[place] for place in places) if self._shape.composite else values[places[0]]
            self.add_value(self._key_of(key), {names[number]: values[number] for number in kept})

    def add_value(self, key: Any, value: dict[str, Any]) -> None:
        """A row of this key, as a dict."""
        shaped = value if self._shape.row is None else self._shape.row(value)
        if self._shape.many:
            self.found.setdefault(key, []).append(shaped)
        elif key in self.found:
            raise SourceError(
                f"there are several rows for the key {shown(key)}: with many=True a key has a list of its rows; "
                "otherwise key= must name columns that are unique together"
            )
        else:
            self.found[key] = shaped

    def _key_of(self, key: Any) -> Any:
        """The caller's own object."""
        if key in self.asked:
            return self._own[key]
        like = next(iter(self.asked), None)
        raise SourceError(
            f"a row came back with the key {shown(key)} ({_kinds(key)}), which is not equal to any that was asked for, such as "
            f"{shown(like)} ({_kinds(like)}): ask with keys that are exactly what the database gives, or use query= and convert "
            "it there"
        )


def _kinds(key: Any) -> str:
    return ", ".join(type(part).__name__ for part in key) if isinstance(key, tuple) else type(key).__name__


def _places(names: Sequence[str], shape: Shape) -> list[int]:
    """Where the columns of the key are."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"there are two columns {twice!r}: give them different names in the query (AS)")
    absent = [name for name in shape.key if name not in names]
    if absent:
        raise SourceError(
            f"the rows have no column {absent[0]!r}, which key= names and rows are told by; they have "
            f"{', '.join(map(repr, names))}"
        )
    return [names.index(name) for name in shape.key]
