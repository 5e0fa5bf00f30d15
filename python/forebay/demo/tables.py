# SPDX-License-Identifier: Apache-2.0
"""The demo's tables, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def mib(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"


def count(value: float) -> str:
    return f"{value:,.0f}"


def ratio(usual: float, ours: float, better: str = "less") -> str:
    """How the second compares: "5.1 x less", "1.3 x more"."""
    if usual <= 0 or ours <= 0:
        return ""
    factor = usual / ours
    if better == "speed":
        factor = 1 / factor
        return f"{factor:.1f} x" if factor >= 1 else f"{factor:.2f} x"
    return f"{factor:.1f} x less" if factor >= 1 else f"{1 / factor:.1f} x more"


def compared(ways: Sequence[dict[str, Any]], title: str, key: str, text: Callable[[Any], str], better: str = "less") -> list[str]:
    """A row: a figure of each way, and how the last compares to the first."""
    figures = [way[key] for way in ways]
    return [title, *map(text, figures), ratio(figures[0], figures[-1], better)]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for n, row in enumerate((header, *rows)):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(cells).rstrip())
        if n == 0:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))


def print_lost(lost: Sequence[str]) -> None:
    for text in lost:
        print(f"INCOMPLETE: {text}; the figures are of the workers that were left")
