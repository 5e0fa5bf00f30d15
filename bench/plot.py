# SPDX-License-Identifier: Apache-2.0
"""`python bench plot RESULTS -o FOLDER`: latency.svg, memory.svg, miss_ratio.svg and staleness.svg, of what `python bench results` wrote."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import plot_style as style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from results import OPS

KINDS = {  # where what is cached is kept: its words, its colour
    "forebay": ("Forebay", style.TEAL),
    "process": ("in each process", style.GREY),
    "file": ("in a file or shared memory", style.PURPLE),
    "server": ("in a server", style.ORANGE),
}
POLICIES = {  # of the reference: colour, marker
    "LRU": (style.GREY, "o"),
    "ARC": (style.BLUE, "s"),
    "S3FIFO": (style.ORANGE, "^"),
    "Sieve": (style.PURPLE, "v"),
    "WTinyLFU": (style.RED, "D"),
    "Belady": (style.GREEN, "x"),
}
WAYS = {"dict": ("a dict in each worker", style.GREY), "arena": ("Forebay", style.BLUE), "tier": ("Forebay and a tier", style.TEAL)}
PERCENTILES = {"p50": "p50", "p99": "p99", "p99_9": "p99.9", "max": "most"}
MIB = 1 << 20


class PlotError(Exception):
    """The results cannot be drawn; the text says why and what to do."""


def plain(value: float, _: Any = None) -> str:
    return f"{value:,.10g}"


def logarithmic(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())


def kind_legend(drawn: Figure, kinds: set[str]) -> None:
    handles = [Line2D([], [], marker="o", linewidth=0, color=colour, label=words) for kind, (words, colour) in KINDS.items() if kind in kinds]
    drawn.legend(handles=handles, loc="outside upper right", ncols=len(handles))


# ------------------------------------------------------------------- latency


def latency(found: dict[str, Any]) -> Figure:
    peers = sorted(found["get"], key=lambda peer: -found["get"][peer]["p50_ns"])
    drawn = style.figure(10, 1.6 + 0.24 * len(peers))
    panels = drawn.subplots(1, len(OPS), sharey=True)
    for axes, op in zip(panels, OPS):
        latency_panel(axes, op, peers, found)
    panels[0].set_yticks(range(len(peers)), peers)
    for label in panels[0].get_yticklabels():
        own = found["kinds"][label.get_text()] == "forebay"
        label.set(color=style.TEAL if own else style.INK, fontweight="bold" if own else "normal")
    kind_legend(drawn, set(found["kinds"].values()))
    style.titled(drawn, "A get and a set", f"Dot: p50, line: up to p99. {found['records']:,} records, zipfian keys, one process; {found['rounds']} rounds, {found['date']}.")
    return drawn


def latency_panel(axes: Axes, op: str, peers: list[str], found: dict[str, Any]) -> None:
    for at, peer in enumerate(peers):
        if peer not in found[op]:
            continue
        middle, most = (found[op][peer][key] / 1000 for key in ("p50_ns", "p99_ns"))
        colour = KINDS[found["kinds"][peer]][1]
        axes.plot([middle, most], [at, at], color=colour, linewidth=1.5, alpha=0.5, solid_capstyle="round")
        axes.plot([middle], [at], marker="o", markersize=5, color=colour)
    axes.set(xscale="log", xlabel=f"{op}, us", ylim=(-0.6, len(peers) - 0.4))
    logarithmic(axes.xaxis)
    style.ruled(axes, "both")


# -------------------------------------------------------------------- memory


def memory(found: dict[str, Any]) -> Figure:
    drawn = style.figure(10, 6)
    axes = drawn.subplots()
    ends = {}
    for peer, held in found["bytes"].items():
        counts = sorted(map(int, held))
        sizes = [held[str(count)] / MIB for count in counts]
        kind = found["kinds"][peer]
        axes.plot(counts, sizes, marker="o", markersize=4, color=KINDS[kind][1], linewidth=2.4 if kind == "forebay" else 1.2)
        ends[peer] = sizes[-1]
    workers = sorted({int(count) for held in found["bytes"].values() for count in held})
    axes.set(yscale="log", xlabel="workers", ylabel="MiB, all processes and files", xlim=(workers[0] - 0.2, workers[-1] * 1.5))
    axes.set_xticks(workers)
    logarithmic(axes.yaxis)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    style.ruled(axes, "y")
    label_ends(axes, workers[-1], ends, found["kinds"])
    kind_legend(drawn, {found["kinds"][peer] for peer in ends})
    style.titled(drawn, "Memory by number of workers", f"{found['records']:,} records, all of them held; private memory and the blocks of files; {found['date']}.")
    return drawn


def spread(wanted: list[float], apart: float) -> list[float]:
    """Rising numbers, moved as little as it takes to be `apart`: those that are too near share the way."""
    groups: list[list[float]] = []  # each: the sum of its numbers less their steps, how many they are
    for number in wanted:
        groups.append([number, 1])
        while len(groups) > 1 and groups[-1][0] / groups[-1][1] < groups[-2][0] / groups[-2][1] + groups[-2][1] * apart:
            total, count = groups.pop()
            groups[-1] = [groups[-1][0] + total - count * groups[-1][1] * apart, groups[-1][1] + count]
    return [total / count + step * apart for total, count in groups for step in range(int(count))]


def label_ends(axes: Axes, at: int, ends: dict[str, float], kinds: dict[str, str], apart: float = 0.036) -> None:
    """Names beside the ends of lines, apart where they would overlap; `apart` is a share of the axis."""
    to_share = axes.transData + axes.transAxes.inverted()
    rising = sorted(ends.items(), key=lambda item: item[1])
    heights = spread([to_share.transform((at, end))[1] for _, end in rising], apart)
    for (peer, end), height in zip(rising, heights):
        kind = kinds[peer]
        axes.annotate(
            peer, xy=(at, end), xytext=(0.715, height), textcoords="axes fraction", va="center", fontsize=8,
            color=KINDS[kind][1], fontweight="bold" if kind == "forebay" else "normal",
            arrowprops={"arrowstyle": "-", "color": style.GRID, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip


# ---------------------------------------------------------------- miss ratio


def miss_ratio(found: dict[str, Any]) -> Figure:
    traces = list(dict.fromkeys(point["trace"] for point in found["points"]))
    columns = 4
    rows = len(traces) // columns + 1  # one place for the legend
    drawn = style.figure(10, 1.2 + 2.3 * rows)
    places = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axes, trace in zip(places, traces):
        miss_ratio_panel(axes, trace, [point for point in found["points"] if point["trace"] == trace])
    for axes in places[len(traces) :]:
        axes.axis("off")
    places[len(traces)].legend(handles=miss_ratio_lines(), loc="center left")
    drawn.supylabel("miss ratio", fontsize=9)
    style.titled(drawn, "Miss ratio by the cache's size, as a share of the trace's keys",
                 f"Equal numbers of entries, from 500 on for Forebay; policies: libCacheSim; Belady knows the future. {found['date']}.")  # fmt: skip
    return drawn


def miss_ratio_panel(axes: Axes, trace: str, points: list[dict[str, Any]]) -> None:
    for policy, (colour, marker) in POLICIES.items():
        known = [(float(point["fraction"]), point["policies"][policy]) for point in points if policy in point["policies"]]
        if known:
            axes.plot(*zip(*known), color=colour, marker=marker, markersize=3.5, linewidth=1)
    own = [(float(point["fraction"]), point["forebay"]) for point in points if point["forebay"] is not None]
    if own:
        axes.plot(*zip(*own), color=style.TEAL, marker="o", markersize=6, linewidth=2.4)
    sizes = sorted({float(point["fraction"]) for point in points})
    axes.set(xscale="log", xlim=(sizes[0] * 0.7, sizes[-1] * 1.4))
    axes.set_title(trace, loc="left", fontsize=9)
    axes.set_xticks(sizes, [f"{100 * size:g}%" for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    style.ruled(axes, "y")


def miss_ratio_lines() -> list[Line2D]:
    own = Line2D([], [], color=style.TEAL, marker="o", markersize=6, linewidth=2.4, label="Forebay")
    return [own] + [Line2D([], [], color=colour, marker=marker, markersize=3.5, linewidth=1, label=name) for name, (colour, marker) in POLICIES.items()]


# ----------------------------------------------------------------- staleness


def staleness(found: dict[str, Any]) -> Figure:
    ways = [way for way in WAYS if way in found["ways"]]
    drawn = style.figure(10, 1.3 + 0.3 * (len(ways) + 0.7) * len(PERCENTILES))
    axes = drawn.subplots()
    least, middles = 0.05, []  # ms: half of what the demo can tell
    for group, percentile in enumerate(PERCENTILES):
        first = group * (len(ways) + 0.7)
        middles.append(first + (len(ways) - 1) / 2)
        for number, way in enumerate(ways):
            ms = found["ways"][way][percentile]
            axes.barh(first + number, max(ms - least, 0), left=least, height=0.8, color=WAYS[way][1])
            axes.text(max(ms, least) * 1.1, first + number, f"{ms:,.0f} ms" if ms >= 10 else f"{plain(round(ms, 1))} ms", va="center", fontsize=8)
    axes.set(xscale="log", xlim=(least, 30_000), xlabel="ms behind what had been acknowledged")
    axes.set_yticks(middles, PERCENTILES.values())
    axes.invert_yaxis()
    logarithmic(axes.xaxis)
    style.ruled(axes, "x")
    handles = [Line2D([], [], marker="s", linewidth=0, color=WAYS[way][1], label=WAYS[way][0]) for way in ways]
    drawn.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    style.titled(drawn, "How far behind reads were",
                 f"{found['machines']} machines on {found['origin']}, tier: {found['tier']}, ttl {found['ttl_seconds']:g} s; reads of rows that change. {found['date']}.")  # fmt: skip
    return drawn


# ---------------------------------------------------------------- the command

PLOTS: dict[str, tuple[Callable[[dict[str, Any]], Figure], str]] = {
    "latency": (latency, "python bench speed"),
    "memory": (memory, "python bench speed"),
    "miss_ratio": (miss_ratio, "TRACES=FOLDER python bench traces"),
    "staleness": (staleness, "forebay demo --origin postgres --tier redis-cluster --json > build/bench/demo.json"),
}


def read(path: Path) -> dict[str, Any]:
    """The results in a file, by part; PlotError if they are no results, or of parts that nobody draws."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PlotError(f"{path} cannot be read as JSON: {error}; python bench results writes it") from None
    if not isinstance(found, dict):
        raise PlotError(f"{path} has no parts by name; python bench results writes it")
    unknown = sorted(set(found) - set(PLOTS))
    if unknown:
        raise PlotError(f"{path} has {', '.join(unknown)}, which is no plot; there are {', '.join(PLOTS)}")
    return found


def draw(part: str, found: dict[str, Any]) -> Figure:
    """PlotError if the part is not there, or not whole."""
    make, command = PLOTS[part]
    again = f"run {command}, then python bench results"
    if part not in found:
        raise PlotError(f"there is no {part} in the results: {again}")
    try:
        with matplotlib.rc_context(style.SETTINGS):
            return make(found[part])
    except (KeyError, TypeError) as error:
        raise PlotError(f"{part} is not whole, {error!r}: {again}") from error


def plot(results: Path, folder: Path, parts: list[str]) -> list[Path]:
    """The files that were written: all, or none if one cannot be drawn."""
    found = read(results)
    drawn = {folder / f"{part}.svg": draw(part, found) for part in parts}
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(style.SETTINGS):
        for path, one in drawn.items():
            style.save(one, path)
    return list(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench plot", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder of the SVG files")
    parser.add_argument("--only", choices=PLOTS, action="append", help="this plot; more than once: these (default: all)")
    options = parser.parse_args()
    try:
        for path in plot(options.results, options.output, options.only or list(PLOTS)):
            print(path)
    except PlotError as error:
        sys.exit(f"bench plot: {error}")
