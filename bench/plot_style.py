# SPDX-License-Identifier: Apache-2.0
"""How plots look: colours for light and dark, and SVG files that are the same each time they are made.

A plot is drawn in the colours for light; its SVG says what each is where the reader
prefers dark, and has a background of its own, so that it can be read on any page.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

PAPER, INK, SOFT, GRID = "#ffffff", "#1f2328", "#59636e", "#d1d9e0"
TEAL, GREY, PURPLE, ORANGE, BLUE, RED, GREEN = "#00796b", "#6e7781", "#8250df", "#bc4c00", "#0969da", "#cf222e", "#4d7c0f"
IN_THE_DARK = {
    PAPER: "#0d1117", INK: "#e6edf3", SOFT: "#9198a1", GRID: "#30363d", TEAL: "#4dd0b8", GREY: "#8b949e", PURPLE: "#bc8cff",
    ORANGE: "#f0883e", BLUE: "#58a6ff", RED: "#ff7b72", GREEN: "#a3c761",
}  # fmt: skip

SETTINGS = {
    "svg.hashsalt": "forebay", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9,
    "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "axes.facecolor": PAPER,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": SOFT, "ytick.color": SOFT,
    "axes.edgecolor": GRID, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.titlesize": 10,
}  # fmt: skip


def figure(width: float, height: float) -> Figure:
    """Inches; drawn with SETTINGS in force."""
    return Figure(figsize=(width, height), layout="constrained")


def titled(drawn: Figure, title: str, below: str) -> None:
    """A title, and a line under the plot that says when and how it was measured."""
    drawn.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    drawn.supxlabel(below, x=0.01, ha="left", fontsize=8, color=SOFT)


def ruled(axes: Axes, which: str) -> None:
    axes.grid(axis=which)
    axes.tick_params(which="both", length=0)


def dark_rules() -> str:
    rules = [f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for light, dark in IN_THE_DARK.items() for kind in ("fill", "stroke")]
    return "<style>@media (prefers-color-scheme:dark){" + "".join(rules) + "}</style>"


def save(drawn: Figure, path: Path) -> None:
    """As SVG, without the day it was made and with lines that do not end in spaces."""
    text = io.StringIO()
    drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    head, tag, rest = text.getvalue().partition("<defs>")
    svg = head + dark_rules() + "\n " + tag + rest
    path.write_text("".join(f"{line.rstrip()}\n" for line in svg.splitlines()))
