# SPDX-License-Identifier: Apache-2.0
"""`python bench results`: what the plots show, taken from build/bench/*.json into one small file that is kept in the tree.

latency and memory are of speed.json (`python bench speed`), miss_ratio of traces.json
(`python bench traces`), staleness of demo.json (`forebay demo --origin --tier --json`).  A part
whose file is not there stays as it is in the output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import BUILD, Speed

RESULTS = Path(__file__).resolve().parent / "results.json"
OPS = ("get", "set")


def kind_of(about: dict[str, str]) -> str:
    """Where a peer keeps what it caches: "forebay", "process", "server" or "file" (shared memory is one)."""
    if about["peer"].startswith("forebay"):
        return "forebay"
    if about["shares"] == "nothing":
        return "process"
    return "server" if about["shares"].startswith("a server") else "file"


def facts(outcome: dict[str, Any]) -> dict[str, Any]:
    return {"date": outcome["date"], "records": outcome["data"]["records"], "rounds": outcome["rounds"],
            "kinds": {about["peer"]: kind_of(about) for about in outcome["peers"]}}  # fmt: skip


def latency(outcome: dict[str, Any]) -> dict[str, Any]:
    """Nanoseconds: op -> peer -> p50_ns and p99_ns."""
    speed = Speed(outcome)
    return facts(outcome) | {
        op: {peer: {key: round(speed.figure(op, peer, key), 1) for key in ("p50_ns", "p99_ns")} for peer in speed.peers(op)} for op in OPS
    }


def memory(outcome: dict[str, Any]) -> dict[str, Any]:
    """Bytes of all processes and files together: peer -> number of workers -> bytes."""
    held: dict[str, dict[str, int]] = {}
    for row in outcome["rows"]:
        if row["op"] == "memory":
            held.setdefault(row["peer"], {})[str(row["workers"])] = row["bytes"]
    return facts(outcome) | {"bytes": held}


def miss_ratio(outcome: dict[str, Any]) -> dict[str, Any]:
    """Points: trace, fraction of its keys, policies by name, and forebay where it was measured."""
    own = {(row["trace"], row["fraction"]): row["miss_ratio"] for row in outcome["equal_entries"]}
    points = [point | {"forebay": own.get((point["trace"], point["fraction"]))} for point in outcome["reference"]]
    return {"date": outcome["date"], "points": points}


def staleness(outcome: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds that reads were behind: way -> percentile -> ms."""
    found = outcome["machines"]
    ways = {way: own["behind_ms"] for way, own in found["ways"].items()}
    return {"date": outcome["date"], **{key: found[key] for key in ("origin", "tier", "ttl_seconds", "machines")}, "ways": ways}


PARTS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "latency": ("speed.json", latency),
    "memory": ("speed.json", memory),
    "miss_ratio": ("traces.json", miss_ratio),
    "staleness": ("demo.json", staleness),
}


def collected(folder: Path, before: dict[str, Any]) -> dict[str, Any]:
    """The parts whose files are in `folder`, the others as they were."""
    found = dict(before)
    for part, (name, make) in PARTS.items():
        path = folder / name
        if path.exists():
            found[part] = make(json.loads(path.read_text()))
        else:
            print(f"{part}: there is no {path}, it stays as it was", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=BUILD, help="where the JSON files of the parts are (default build/bench)")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="(default bench/results.json)")
    options = parser.parse_args()
    before = json.loads(options.output.read_text()) if options.output.exists() else {}
    options.output.write_text(json.dumps(collected(options.folder, before), indent=1) + "\n")
