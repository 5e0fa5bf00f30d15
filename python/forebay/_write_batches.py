# SPDX-License-Identifier: Apache-2.0
"""forebay.write_batches(): rows to a database in batches of bounded bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple

from forebay._batches import Progress, parse_bytes, parse_rows, reporter
from forebay._core import Batch, BatchRow, _measure


class Written(NamedTuple):
    """What write_batches() and awrite_batches() return: figures of what was written."""

    rows: int
    batches: int
    bytes: int


class _Grouping:
    """Rows on their way: gathered until a batch has its bytes or rows."""

    def __init__(self, max_bytes: int | str, max_rows: int | None, progress: Progress | None) -> None:
        self._max_bytes = parse_bytes(max_bytes)
        self._max_rows = parse_rows(max_rows)
        self._report = reporter(progress)
        self._group: list[Any] = []
        self._size = 0
        self._rows = self._batches = self._bytes = 0

    def add(self, row: Any) -> tuple[list[Any], int] | None:
        """Take a row; a batch, if there is no room for it in the one before."""
        size = _measure(row)
        full = None
        if self._group and (self._size + size > self._max_bytes or len(self._group) >= self._max_rows):
            full = self.rest()
        self._group.append(row)
        self._size += size
        return full

    def rest(self) -> tuple[list[Any], int]:
        group = self._group, self._size
        self._group, self._size = [], 0
        return group

    def written(self, group: list[Any], size: int) -> None:
        self._rows += len(group)
        self._batches += 1
        self._bytes += size
        if self._report is not None:
            self._report(len(group), self._rows, self._bytes)

    def tell(self, error: BaseException, group: list[Any]) -> None:
        """Note with an error how far the writing came."""
        error.add_note(
            f"forebay.write_batches: {self._rows} rows in {self._batches} batches were written before; "
            f"this batch was rows {self._rows} to {self._rows + len(group) - 1}"
        )
        try:
            error.rows_written = self._rows  # type: ignore[attr-defined]
        except AttributeError:
            pass  # a type without a __dict__: the note says it

    def total(self) -> Written:
        return Written(self._rows, self._batches, self._bytes)


def _plain(row: Any) -> Any:
    return row.astuple() if isinstance(row, BatchRow) else row


def _rows_of(item: Any) -> Iterator[Any]:
    if isinstance(item, Batch):
        yield from (row.astuple() for row in item)
    else:
        yield _plain(item)


def _check_iterable(rows: Any) -> None:
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        raise TypeError(f"rows must be an iterable of rows or Batches, not {type(rows).__name__}")


def write_batches(
    rows: Iterable[Any],
    execute_many: Callable[[list[Any]], object],
    *,
    max_bytes: int | str = "1MiB",
    max_rows: int | None = 1000,
    progress: Progress | None = None,
) -> Written:
    """Write rows in batches: execute_many(list of rows) is called for each.

    rows: any iterable of tuples, lists, dicts, BatchRows or whole Batches; the last
    two become tuples.  It is read only as far as the batch that is being written
    needs.  max_bytes and max_rows: the most of a batch; a larger row goes alone.
    What a row takes is measured: texts and bytes by their length in UTF-8, other
    values as some 8 or 16 bytes.  progress: as for batches().

        write_batches(rows, lambda some: cursor.executemany("INSERT INTO t VALUES (?, ?)", some))

    Returns how many rows, batches and bytes were written.  What execute_many
    raises is raised, with a note and an attribute rows_written that say how many
    rows were written before; it is for the caller to commit or to roll back.
    """
    if not callable(execute_many):
        raise TypeError(f"execute_many must be a function of a list of rows, not {type(execute_many).__name__}")
    import inspect

    if inspect.iscoroutinefunction(execute_many):
        raise TypeError("execute_many is a coroutine function: use awrite_batches()")
    _check_iterable(rows)
    groups = _Grouping(max_bytes, max_rows, progress)

    def write(group: list[Any], size: int) -> None:
        try:
            execute_many(group)
        except BaseException as error:
            groups.tell(error, group)
            raise
        groups.written(group, size)

    for item in rows:
        for row in _rows_of(item):
            if full := groups.add(row):
                write(*full)
    group, size = groups.rest()
    if group:
        write(group, size)
    return groups.total()


async def awrite_batches(
    rows: Iterable[Any] | AsyncIterable[Any],
    execute_many: Callable[[list[Any]], Awaitable[object]],
    *,
    max_bytes: int | str = "1MiB",
    max_rows: int | None = 1000,
    progress: Progress | None = None,
) -> Written:
    """write_batches() for asyncio: rows may be an asynchronous iterable, execute_many is awaited."""
    if not callable(execute_many):
        raise TypeError(f"execute_many must be a function of a list of rows, not {type(execute_many).__name__}")
    if not isinstance(rows, AsyncIterable):
        _check_iterable(rows)
    groups = _Grouping(max_bytes, max_rows, progress)

    async def write(group: list[Any], size: int) -> None:
        try:
            await execute_many(group)
        except BaseException as error:
            groups.tell(error, group)
            raise
        groups.written(group, size)

    async for item in _aiter(rows):
        for row in _rows_of(item):
            if full := groups.add(row):
                await write(*full)
    group, size = groups.rest()
    if group:
        await write(group, size)
    return groups.total()


async def _aiter(rows: Iterable[Any] | AsyncIterable[Any]) -> Any:
    if isinstance(rows, AsyncIterable):
        async for item in rows:
            yield item
    else:
        for item in rows:
            yield item
