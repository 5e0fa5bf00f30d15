# SPDX-License-Identifier: Apache-2.0
"""python -m forebay.testing.conformance: check a cache, print a table; exit status 1 if a check fails."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import sys

from . import Outcome, Settings, checks, run
from .peers import PEERS

PARAMETERS = {field.name: field.default for field in dataclasses.fields(Settings)}
HELP = {
    "rounds": "of each check; 1000 for hours",
    "processes": "half of them spawned, half forked",
    "threads": "in each process, where many callers are wanted",
    "budget_bytes": "what the cache may take",
    "value_bytes": "of the largest values",
    "seconds": "of reading and writing in a round of torn reads",
    "load_timeout": "seconds after which a stopped loader is to be overtaken",
    "takeover_limit": "seconds from the kill of a loader to the next load",
    "pause_limit": "seconds that a read or a write may take while another process is stopped",
    "patience": "seconds; who takes longer hangs",
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m forebay.testing.conformance", description="Check a cache shared by processes.")
    parser.add_argument("--adapter", choices=PEERS, default="forebay", help="the cache to check (default %(default)s)")
    parser.add_argument("--check", action="append", metavar="PART", help="only checks with this in their name; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    for name, default in PARAMETERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"{HELP[name]} (default %(default)s)")
    return parser.parse_args(arguments)


def print_outcome(outcome: Outcome) -> None:
    print(f"{outcome.status:<12} {outcome.check.replace('_', ' ')}", flush=True)
    if outcome.seen:
        print(f"{'':<12}   {outcome.seen}" + (f" (round {outcome.rounds})" if outcome.status == "failed" else ""), flush=True)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        settings = Settings(**{name: getattr(options, name) for name in PARAMETERS})
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    chosen = [one for one in checks() if not options.check or any(part in one.name for part in options.check)]
    with PEERS[options.adapter](settings) as (factory, version):
        about = f"{version}, Python {platform.python_version()}, {datetime.date.today()}"
        if not options.json:
            print(about, flush=True)
        outcomes = run(factory, checks=chosen, settings=settings, progress=print_outcome if not options.json else lambda _: None)
    if options.json:
        found = {"about": about, "settings": dataclasses.asdict(settings), "outcomes": [dataclasses.asdict(one) for one in outcomes]}
        print(json.dumps(found, indent=2))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
