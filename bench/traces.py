# SPDX-License-Identifier: Apache-2.0
"""Miss ratios of the real cache on recorded traces; no simulator runs here.

Beside the reference policies of miss_ratios.csv at equal numbers of entries, and
beside real redis and memcached servers at equal memory with the value sizes of
real records.  The traces are looked for in the folder of --traces or of the
environment's TRACES; writes build/bench/traces.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset
import peer_servers
import stopping
from forebay.testing import servers
from report_tables import Table, as_text

POLICIES = ("LRU", "ARC", "S3FIFO", "Sieve", "WTinyLFU")
LEAST_OBJECTS = 500
FRACTIONS = ("0.001", "0.01", "0.1")
NOT_IN_MEANS = "corda-vault"  # LRU is optimal there: a test of "not worse than LRU"
MEBI = 1 << 20
LEAST_ARENA = MEBI
PAGE = 4096
VALUE = 400  # bytes where the arena may be larger than its minimum
OVERHEAD = 48  # bytes per entry at first guess: key, header, slot, padding
STEPS = (0, 8, 16, 24)  # bytes added to the value in the search for exactly C entries
EQUAL_MEMORY = (4 * MEBI, 16 * MEBI)
SERVER_CACHES = ("forebay", "redis allkeys-lru", "redis allkeys-lfu", "memcached")


class Runner:
    """Starts trace_run; `folder` is in /dev/shm and takes the arenas."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder

    def run(self, *options: Any, trace: Path | None = None) -> dict[str, int]:
        command = [str(self.program), *map(str, options)]
        if trace is None:
            return json.loads(subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout)
        with subprocess.Popen(["zstd", "-dc", "-q", str(trace)], stdout=subprocess.PIPE) as source:
            done = subprocess.run(command, check=True, stdin=source.stdout, stdout=subprocess.PIPE)
            source.kill()  # a limit ends the run before the trace
        return json.loads(done.stdout)

    def arena(self, size: int, *options: Any, trace: Path | None = None) -> dict[str, int]:
        path = self.folder / "arena"
        try:
            return self.run("--cache", "forebay", "--arena", path, "--size", size, *options, trace=trace)
        finally:
            path.unlink(missing_ok=True)

    def most_entries(self, size: int, value: int, capacity: int) -> int:
        """The most that are resident at once while four times as many different keys come in."""
        return self.arena(size, "--value", value, "--fill", 4 * capacity)["entries_most"]


def largest(least: int, most: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number from least to most that fits, if what fits is below what does not."""
    if not fits(least):
        return None
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least


def sized_for(runner: Runner, capacity: int) -> dict[str, int]:
    """Arena and value sizes at which at most `capacity` entries are ever resident, and nearest to it."""
    value = max(VALUE, LEAST_ARENA // capacity - OVERHEAD)
    best = {"size": 0, "value": 0, "held": 0}
    for step in STEPS:
        guess = capacity * (value + step + OVERHEAD)
        lowest, highest = max(LEAST_ARENA, guess * 3 // 4) // PAGE, max(LEAST_ARENA, guess * 2) // PAGE
        held: dict[int, int] = {}

        def fits(pages: int) -> bool:
            held[pages] = runner.most_entries(pages * PAGE, value + step, capacity)
            return held[pages] <= capacity

        pages = largest(lowest, highest, fits)
        if pages is not None and held[pages] > best["held"]:
            best = {"size": pages * PAGE, "value": value + step, "held": held[pages]}
        if best["held"] == capacity:
            break
    if not best["held"]:
        raise RuntimeError(f"no arena holds {capacity} entries or a few less")
    return best


def reference(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(trace, fraction) -> {"capacity", "policies": {name: miss ratio}}, for unit sizes."""
    points: dict[tuple[str, str], dict[str, Any]] = {}
    with open(folder / "miss_ratios.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["unit"] == "objects":
                point = points.setdefault((row["trace"], row["cache_fraction"]), {"capacity": int(row["cache_size"]), "policies": {}})
                point["policies"][row["policy"]] = float(row["miss_ratio"])
    return points


def reference_points(folder: Path) -> list[dict[str, Any]]:
    """What is known of all sizes that are looked at, those that are too small to be measured, too."""
    return [{"trace": trace, "fraction": fraction, **point} for (trace, fraction), point in reference(folder).items() if fraction in FRACTIONS]


def equal_entries(options: argparse.Namespace, runner: Runner) -> list[dict[str, Any]]:
    rows = []
    for (trace, fraction), point in reference(options.traces).items():
        capacity = point["capacity"]
        if capacity < LEAST_OBJECTS or fraction not in FRACTIONS or not options.only.search_in(trace):
            continue
        sized = sized_for(runner, capacity)
        runs = [runner.arena(sized["size"], "--value", sized["value"], trace=options.traces / f"{trace}.trc.zst")
                for _ in range(options.repeats)]  # fmt: skip
        known = {name: ratio for name, ratio in point["policies"].items() if name in POLICIES}
        best = min(known, key=known.__getitem__)
        ratios = [run["misses"] / run["requests"] for run in runs]
        ratio = mean_of(ratios)
        rows.append({"trace": trace, "fraction": fraction, "capacity": capacity, **sized, "runs": runs,
                     "miss_ratio": ratio, "least": min(ratios), "most": max(ratios),
                     "entries_mean": mean_of([run["entries_mean"] for run in runs]),
                     "entries_most": max(run["entries_most"] for run in runs),
                     "best_policy": best, "gap": ratio / known[best] - 1, "policies": point["policies"]})  # fmt: skip
        progress(f"{trace} {fraction}: {ratio:.4f}, best of five {known[best]:.4f} ({best}), gap {rows[-1]['gap']:+.1%}")
    return rows


# -------------------------------------------------------------- equal memory


def start_server(cache: str, folder: Path, size: int) -> servers.Server:
    if cache == "memcached":
        return servers.start_memcached(folder, "-m", str(size // MEBI))
    return servers.start_redis(folder, "--maxmemory", str(size), "--maxmemory-policy", cache.split()[1])


def miss_ratio_at(cache: str, size: int, trace: Path, sizes: Path, options: argparse.Namespace, runner: Runner) -> float:
    common = ("--sizes", sizes, "--limit", options.limit)
    if cache == "forebay":
        done = runner.arena(size, *common, trace=trace)
    else:
        server = start_server(cache, runner.folder, size)
        try:
            done = runner.run("--cache", cache.split()[0], "--socket", server.socket_path, *common, trace=trace)
        finally:
            server.close()
    return done["misses"] / done["requests"]


def write_sizes(path: Path) -> dict[str, Any]:
    data = dataset.load("regions")
    array("I", map(len, data.values)).tofile(open(path, "wb"))
    return data.facts


def equal_memory(options: argparse.Namespace, runner: Runner, sizes: Path, mean: float) -> list[dict[str, Any]]:
    rows = []
    for name, about in json.loads((options.traces / "MANIFEST.json").read_text()).items():
        for size in EQUAL_MEMORY:
            footprint = about["n_keys"] * mean
            if size > 0.75 * footprint or not options.only.search_in(name):
                continue
            path = options.traces / about["file"]
            ratios: dict[str, float] = {}
            for cache in SERVER_CACHES:
                ratios[cache] = miss_ratio_at(cache, size, path, sizes, options, runner)
                progress(f"{name}, {size // MEBI} MiB, {cache}: {ratios[cache]:.4f}")
            rows.append({"trace": name, "size": size, "requests": min(options.limit, about["n_requests"]), "miss_ratios": ratios})
    return rows


# -------------------------------------------------------------------- tables


def mean_of(values: list[float]) -> float:
    return sum(values) / len(values)


def entries_table(rows: list[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        policies = row["policies"]
        lines.append([row["trace"], f"{float(row['fraction']):.1%}", f"{row['capacity']:,}", f"{row['held']:,}",
                      f"{row['entries_mean']:,.0f}", f"{row['entries_most']:,}", f"{row['miss_ratio']:.4f}",
                      f"{row['least']:.4f}-{row['most']:.4f}", *(f"{policies[p]:.4f}" if p in policies else "" for p in (*POLICIES, "Belady")),
                      f"{row['gap']:+.1%}"])  # fmt: skip
    return Table("Miss ratios at equal numbers of entries",
                 ["trace", "of its keys", "C", "held when filled", "mean in the run", "most", "Forebay", "of its runs", *POLICIES, "Belady", "to best of five"],
                 lines)  # fmt: skip


def summary_table(rows: list[dict[str, Any]]) -> Table:
    judged = [row for row in rows if row["trace"] != NOT_IN_MEANS]
    names = sorted({name for row in judged for name in row["policies"]} - {"Belady"})
    lines = []
    for name in names:
        both = [row for row in judged if name in row["policies"]]
        ours, theirs = mean_of([row["miss_ratio"] for row in both]), mean_of([row["policies"][name] for row in both])
        lines.append([f"mean lower than {name}'s ({len(both)} points)", f"{theirs:.4f}", f"{ours:.4f}", "reached" if ours < theirs else "MISSED"])
    worst = max(judged, key=lambda row: row["gap"])
    lines.append([f"worst gap to the best of five ({worst['trace']} {float(worst['fraction']):.1%})", "at most 2%",
                  f"{worst['gap']:+.1%}", "reached" if worst["gap"] <= 0.02 else "MISSED"])  # fmt: skip
    lines.append(["mean gap to the best of five", "", f"{mean_of([row['gap'] for row in judged]):+.2%}", ""])
    for row in rows:
        if row["trace"] == NOT_IN_MEANS:
            lru = row["policies"]["LRU"]
            lines.append([f"{NOT_IN_MEANS} {float(row['fraction']):.1%} no worse than LRU", f"{lru:.4f}", f"{row['miss_ratio']:.4f}",
                          "reached" if row["miss_ratio"] <= lru + 5e-5 else "MISSED"])  # the reference has 4 decimals  # fmt: skip
    return Table("Targets, equal numbers of entries", ["", "target", "Forebay", ""], lines)


def verdict(ours: float, best: float) -> str:
    if abs(ours - best) < 5e-5:  # where every miss is a first request nobody can have fewer
        return "equal"
    return "reached" if ours < best else "MISSED"


def memory_rows(rows: list[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        ratios = row["miss_ratios"]
        best = min(ratio for cache, ratio in ratios.items() if cache != "forebay")
        lines.append([row["trace"], f"{row['size'] // MEBI}", f"{row['requests']:,}", *(f"{ratios[cache]:.4f}" for cache in SERVER_CACHES),
                      f"{ratios['forebay'] / best - 1:+.1%}", verdict(ratios["forebay"], best)])  # fmt: skip
    return Table("Miss ratios at equal memory (size of the arena = maxmemory = -m)",
                 ["trace", "MiB", "requests", *SERVER_CACHES, "to the best server", "fewer misses than all"], lines)  # fmt: skip


def tables(outcome: dict[str, Any]) -> list[Table]:
    found = []
    if outcome["equal_entries"]:
        found += [entries_table(outcome["equal_entries"]), summary_table(outcome["equal_entries"])]
    if outcome["equal_memory"]:
        found.append(memory_rows(outcome["equal_memory"]))
    return found


def lead(outcome: dict[str, Any]) -> list[str]:
    facts = outcome["data"]
    return [
        "Each request is a get, and on a miss a set; reference policies: libCacheSim at its defaults, no metadata charged to them.",
        f"Equal numbers of entries: all values have one size (about {VALUE} bytes, more where the smallest arena of 1 MiB would hold too many); "
        f"the arena's size is searched, in steps of {PAGE} bytes, so that while 4C different keys are inserted the most entries that are ever "
        "resident come as near to C as possible and never above it. Ghosts, samples and miniatures are inside the arena. Points of at least "
        f"{LEAST_OBJECTS} objects; {NOT_IN_MEANS} is kept out of the means. The hash seed is new for each arena, so each "
        f"point is the mean of {outcome['repeats']} runs; the range is shown.",
        f"Equal memory: a key's value has the size of one of {facts['records']:,} real records (300-900 bytes, mean {facts['mean_value_bytes']}), "
        "picked by the key's hash; keys have 16 bytes; servers on unix sockets at their defaults but for the limit and the policy, asked one "
        "request at a time. Redis counts all it allocates, about 0.9 MB when empty; memcached's -m leaves out its hash table. "
        "Redis's LRU clock ticks once a second, so a trace that is replayed in seconds gives it less to go by than real traffic would.",
    ]


# ------------------------------------------------------------------- the run


class Only:
    def __init__(self, text: str) -> None:
        self.names = text.split(",") if text else []

    def search_in(self, name: str) -> bool:
        return not self.names or any(part in name for part in self.names)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=os.environ.get("TRACES"), help="folder of *.trc.zst, MANIFEST.json, miss_ratios.csv")
    parser.add_argument("--program", type=Path, default=dataset.BUILD.parent / "release" / "bench" / "trace_run", help="the built trace_run")
    parser.add_argument("--limit", type=int, default=1_000_000, help="requests of a trace at equal memory (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each point at equal entries (default %(default)s)")
    parser.add_argument("--only", type=Only, default=Only(""), help="parts of trace names, with commas")
    parser.add_argument("--part", choices=("entries", "memory", "both"), default="both")
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "traces.json")
    options = parser.parse_args()
    if options.traces is None or not (options.traces / "miss_ratios.csv").exists():
        parser.exit(3, "no traces: set TRACES or --traces to a folder that has miss_ratios.csv\n")
    return options


def main() -> None:
    options = parse_arguments()
    stopping.end_on_sigterm()
    folder = peer_servers.let_pass(Path(tempfile.mkdtemp(prefix="forebay-traces-", dir="/dev/shm")))
    try:
        runner = Runner(options.program, folder)
        facts = write_sizes(folder / "sizes")
        mean = facts["mean_value_bytes"] + OVERHEAD
        outcome: dict[str, Any] = {"command": "make bench", "date": time.strftime("%Y-%m-%d"), "reference": reference_points(options.traces), "data": facts, "limit": options.limit, "repeats": options.repeats, "equal_entries": [], "equal_memory": []}
        if options.part != "memory":
            outcome["equal_entries"] = equal_entries(options, runner)
        if options.part != "entries":
            outcome["equal_memory"] = equal_memory(options, runner, folder / "sizes", mean)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))
    print("\n".join([*lead(outcome), "", *map(as_text, tables(outcome))]))


if __name__ == "__main__":
    main()
