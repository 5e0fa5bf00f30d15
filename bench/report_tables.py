# SPDX-License-Identifier: Apache-2.0
"""Tables, for the terminal and as Markdown."""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    is_prose: bool = False  # cells are words, not figures


def as_text(table: Table) -> str:
    lines = [table.header, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]

    def line_of(cells: list[str]) -> str:
        first, *rest = (cell.ljust(w) if i == 0 or table.is_prose else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))
        return "  ".join([first, *rest]).rstrip()

    ruled = [line_of(table.header), "-" * (sum(widths) + 2 * len(widths) - 2), *map(line_of, table.rows)]
    return "\n".join([table.title, *ruled] + ([table.note] if table.note else [])) + "\n"


def as_markdown(table: Table) -> str:
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.header) + " |"]
    lines.append("|---|" + ("---|" if table.is_prose else "--:|") * (len(table.header) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join(lines + (["", table.note] if table.note else [])) + "\n"


def us(ns: float) -> str:
    return f"{ns / 1000:.3f}"


def mib(count: float) -> str:
    return f"{count / 2**20:.1f}"
