# SPDX-License-Identifier: Apache-2.0
"""Views of records: what Record.values() and Record.items() return."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any

from forebay._core import Record, RecordList, RecordTuple

Mapping.register(Record)
Sequence.register(RecordList)
Sequence.register(RecordTuple)


class RecordValues(ValuesView[Any]):
    """The values of a record."""

    _mapping: Any

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._iter_values()  # type: ignore[no-any-return]

    def __contains__(self, value: object) -> bool:
        return any(value is each or value == each for each in self)


class RecordItems(ItemsView[Any, Any]):
    """The pairs of key and value of a record."""

    _mapping: Any

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._iter_items()  # type: ignore[no-any-return]

    @classmethod
    def _from_iterable(cls, items: Iterable[Any]) -> Any:
        return set(items)
