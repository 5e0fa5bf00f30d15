# SPDX-License-Identifier: Apache-2.0
"""Machines: two of them, one database, and rows that somebody changes all the time.

A machine is an arena and its workers.  They read rows, some more than others; one more process of the
first machine changes rows of the database and invalidates them in its cache.  The same
with a dict of each worker's own, by Forebay, and by Forebay with a tier that both
machines have, all with the same ttl: how often is the database asked, and how far
behind it is what workers read?
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from forebay.demo import engines, origins
from forebay.demo.data import COLUMNS, FILE, SEED, SEQUENCE_LENGTH, ZIPF_EXPONENT
from forebay.demo.engines import Engine
from forebay.demo.machines_worker import CHANGED, CHANGES, MACHINES, PACE, PAGE, TICK, TTL, WANTED, WORKERS, Places, tier_of
from forebay.demo.processes import DemoError, Run, duration, lost, results_of
from forebay.demo.tables import count, print_lost, print_table, ratio

WAYS = {"dict": "a dict each", "arena": "Forebay", "tier": "Forebay and tier"}
FACTOR = 2.5  # of --seconds
MOST_ROWS = {"cassandra": 20_000}  # which takes its time to be filled
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "max": 1.0}


# ---------------------------------------------------------------- what is read


def rows_of(run: Run, most: int | None) -> Iterator[origins.Row]:
    database = sqlite3.connect(run.folder / FILE)
    try:
        for row in database.execute(f"SELECT {', '.join(COLUMNS)} FROM city LIMIT ?", (-1 if most is None else most,)):
            yield dict(zip(origins.NAMES, (*row, 0)))
    finally:
        database.close()


def write_sequences(places: Places, ids: list[int]) -> list[int]:
    """What each worker reads; returns the ids that are changed: the most read ones."""
    chance = random.Random(SEED)
    wanted = chance.sample(ids, min(WANTED, len(ids)))
    weights = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, len(wanted) + 1)))
    for number in range(MACHINES * WORKERS):
        reads = chance.choices(wanted, cum_weights=weights, k=SEQUENCE_LENGTH)
        places.reads(number).write_bytes(array("q", reads).tobytes())
    places.changed.write_bytes(array("q", wanted[:CHANGED]).tobytes())
    return wanted[:CHANGED]


def fill(run: Run, origin: origins.Origin, kind: str) -> list[int]:
    """The rows into the database; returns their ids."""
    run.progress.show(f"loading the cities into {kind}")
    ids: list[int] = []

    def noted() -> Iterator[origins.Row]:
        for row in rows_of(run, MOST_ROWS.get(kind)):
            ids.append(row[origins.KEY])
            yield row

    origin.drop()  # of a demo that was killed
    origin.fill(noted())
    return ids


@contextlib.contextmanager
def answering(what: str) -> Iterator[None]:
    """DemoError instead of a driver's exceptions, whichever driver it is."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())
        raise DemoError(f"the {what} does not answer: {type(error).__name__}: {text}") from error


def require_tier(engine: Engine) -> None:
    with answering("tier"):
        tier = tier_of(engine, "forebay-demo:")
        if tier is not None:
            tier.store.ping()
            tier.client.close()


# ------------------------------------------------------------------- measuring


def percentile(counts: Counter[int], part: float) -> float:
    """Milliseconds, of how often each number of ticks was seen."""
    wanted = min(int(counts.total() * part), counts.total() - 1)
    for ticks in sorted(counts):
        wanted -= counts[ticks]
        if wanted < 0:
            return ticks * TICK * 1000
    return 0.0


def run_way(way: str, run: Run, places: Places, origin: Engine, tier: Engine) -> dict[str, Any]:
    title = f"machines, {WAYS[way]}"
    seconds = run.options.seconds * FACTOR
    arenas = [run.path.with_name(f"machine-{number}") for number in range(MACHINES)]
    orders = {"way": way, "seconds": seconds, "places": str(places.folder), "origin": origin, "tier": tier,
              "arenas": list(map(str, arenas)), "size": run.options.size // MACHINES,
              "prefix": f"forebay-demo-{run.folder.name}:"}  # fmt: skip
    try:
        workers = run.serve(title, "forebay.demo.machines_worker", orders, lambda _: (f"{title}: {seconds:g} s", ""),
                            count=MACHINES * WORKERS + 1)  # fmt: skip
    finally:
        for path in arenas:
            path.unlink(missing_ok=True)
        places.history(way).unlink(missing_ok=True)
    results = results_of(workers)
    readers = [result for result in results if "reads" in result]
    if not readers:
        raise DemoError("no worker was left: " + "; ".join(lost(workers)))
    changes = sum(result.get("changes", 0) for result in results)
    return {"workers_measured": len(results), "workers_lost": lost(workers)} | figures_of(readers, changes)


def figures_of(readers: list[dict[str, Any]], changes: int) -> dict[str, Any]:
    seconds = duration(readers)
    behind: Counter[int] = Counter()
    for result in readers:
        behind.update({int(ticks): number for ticks, number in result["behind"].items()})
    total = {key: sum(result[key] for result in readers) for key in ("reads", "queries", "rows", "tier_hits", "tier_misses", "tier_errors")}
    asked = total["tier_hits"] + total["tier_misses"]
    return total | {
        "reads_per_second": total["reads"] / seconds,
        "queries_per_second": total["queries"] / seconds,
        "rows_per_second": total["rows"] / seconds,
        "queries_per_1000_reads": 1000 * total["queries"] / max(total["reads"], 1),
        "tier_hit_ratio": total["tier_hits"] / asked if asked else None,
        "changes_per_second": changes / seconds,
        "reads_of_changed_rows": behind.total(),
        "reads_behind": behind.total() - behind[0],
        "behind_ms": {name: percentile(behind, part) for name, part in PERCENTILES.items()},
        "duration_seconds": seconds,
    }


def measure(run: Run) -> dict[str, Any]:
    kind = run.options.tier.kind
    origin = engines.start(run.options.origin, "origin", run.resources, run.progress)
    if origin.kind == "sqlite":
        origin = origin._replace(url=str(run.folder / "machines.sqlite"))
    tier = engines.start(run.options.tier, "tier", run.resources, run.progress)
    places = Places(run.folder / "machines")
    places.folder.mkdir(mode=0o700)
    require_tier(tier)
    with answering("origin"):
        database = origins.connect(origin)
    try:
        with answering("origin"):
            ids = fill(run, database, origin.kind)
        rows = len(ids)
        changed = write_sequences(places, ids)
        ways = {}
        for way in WAYS:
            if way == "tier" and kind == "none":
                continue
            for key in changed:
                database.change(key, 0)
            ways[way] = run_way(way, run, places, origin, tier)
        return {"origin": origin.kind, "tier": kind, "rows": rows, "machines": MACHINES, "workers_per_machine": WORKERS,
                "rows_wanted": min(WANTED, rows), "ttl_seconds": TTL, "changed_rows": len(changed), "ways": ways}  # fmt: skip
    finally:
        if not origin.own:
            with contextlib.suppress(Exception):  # what ended the part may be that it does not answer
                database.drop()
        database.close()


# -------------------------------------------------------------------- the table


def print_report(outcome: dict[str, Any]) -> None:
    ways = outcome["ways"]

    def row(title: str, figure: Callable[[dict[str, Any]], float | None], text: Callable[[Any], str], compare: bool = False) -> list[str]:
        found = [figure(way) for way in ways.values()]
        shown = ["" if value is None else text(value) for value in found]
        return [title, *shown, ratio(found[0] or 0, found[-1] or 0) if compare else ""]

    def behind(name: str) -> Callable[[dict[str, Any]], float]:
        return lambda way: float(way["behind_ms"][name])

    def ms(value: float) -> str:
        return f"{value:,.1f} ms"

    print(f"Machines: {outcome['machines']} of {outcome['workers_per_machine']} workers each; {outcome['rows']:,} rows in {outcome['origin']}; "
          f"tier: {outcome['tier']}; ttl {outcome['ttl_seconds']:g} s;")  # fmt: skip
    print(f"each worker is to read {PAGE / PACE:,.0f} rows a second, one by one, zipfian, of {outcome['rows_wanted']:,}; one process of the first machine makes")
    print(f"{CHANGES} changes a second to the {outcome['changed_rows']} most read ones, and tells its cache by delete() or set(); all begins with nothing cached\n")
    print_table(["", *(WAYS[way] for way in ways), ""], [
        row("reads per second, all workers", lambda way: way["reads_per_second"], count),
        row("database queries per second", lambda way: way["queries_per_second"], lambda v: f"{v:,.1f}"),
        row("rows read from it per second", lambda way: way["rows_per_second"], lambda v: f"{v:,.1f}"),
        row("database queries per 1,000 reads", lambda way: way["queries_per_1000_reads"], lambda v: f"{v:,.1f}", compare=True),
        row("hit ratio of the tier", lambda way: way["tier_hit_ratio"], lambda v: f"{v:.1%}"),
        row("changes per second", lambda way: way["changes_per_second"], count),
        row("reads that were behind", lambda way: way["reads_behind"], count, compare=True),
        *(row(f"behind, {name.replace('_', '.')}", behind(name), ms, compare=name == "max") for name in PERCENTILES),
    ])  # fmt: skip
    print("\nBehind: how long ago, when a read began, the row that it gave had been replaced, with the change acknowledged; of the reads of rows that change.")
    if "tier" not in ways or outcome["tier"] == "memcached":
        print("Nobody tells the second machine what is changed: its entries go after their ttl.")
    print_lost([text for way in ways.values() for text in way["workers_lost"]])
