# SPDX-License-Identifier: Apache-2.0
"""Tables of what the benchmarks measured: for the terminal, and docs/internals/measurements.md.

`python bench/report.py` reads build/bench/*.json and writes docs/internals/measurements.md.
It contains no figure that is not in one of these files.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from report_tables import Table, as_markdown, as_text, mib, us
from timing import median

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
DOCUMENT = BUILD.parent.parent / "docs" / "internals" / "measurements.md"
RAW, DICT, PACKED, LMDB = "forebay, bytes", "forebay, dict", "forebay, packed", "lmdb, one long transaction"
REDIS = ("redis-py, server on the same core", "redis-py, server on the other core")
OP_TITLES = {
    "get": "get, zipfian over the whole set",
    "hot": "get, hot loop over 200 keys",
    "get_many": "get_many, batches of 100, whole set, per key",
    "set": "set of a present key, zipfian over the whole set",
}
EVICTING = "forebay, evicting"


# --------------------------------------------------------------------- speed


class Speed:
    """Medians over the rounds of a speed.json."""

    def __init__(self, outcome: dict[str, Any]) -> None:
        self.outcome = outcome
        self.rows = outcome["rows"]

    def peers(self, op: str) -> list[str]:
        return list(dict.fromkeys(row["peer"] for row in self.rows if row["op"] == op))

    def figure(self, op: str, peer: str, key: str = "mean_ns", **same: Any) -> float:
        found = [
            row[key]
            for row in self.rows
            if row["op"] == op and row["peer"] == peer and all(row[k] == v for k, v in same.items())
        ]
        if not found:
            raise KeyError(f"{op} of {peer}")
        return median(found)

    def best(self, op: str, peers: Iterable[str]) -> float:
        return min(self.figure(op, peer) for peer in peers)


PEERS_LEAD = (
    "What Forebay is measured beside, all in one run. Each has room for all records, but where it says otherwise, and is asked by the function that its users would call; what it shares and lacks "
    "is said, as a cache of one process and a server are no substitutes for each other."
)


def peers_table(about: list[dict[str, str]], absent: dict[str, str]) -> Table:
    rows = [[row[name] for name in ("peer", "version", "mode", "shares", "lacks")] for row in about]
    rows += [[module, "not installed", reason, "", ""] for module, reason in absent.items()]
    return Table("What is compared", ["", "version", "how it is used here", "processes share", "what it has not"], rows, is_prose=True)


def op_table(speed: Speed, op: str) -> Table:
    rows = []
    base = speed.figure(op, "dict") if "dict" in speed.peers(op) else None
    for peer in speed.peers(op):
        mean = speed.figure(op, peer)
        tail = us(speed.figure(op, peer, "p999_ns")) if op == "set" else ""
        row = [peer, us(mean), us(speed.figure(op, peer, "p50_ns")), us(speed.figure(op, peer, "p99_ns"))]
        rows.append(row + ([tail] if op == "set" else []) + ["" if base is None else f"{mean / base:.1f}"])
    header = ["", "mean us", "p50 us", "p99 us"] + (["p99.9 us"] if op == "set" else []) + ["mean / dict"]
    note = "p50 and p99 are of whole batches, divided by 100." if op == "get_many" else ""
    return Table(OP_TITLES[op], header, rows, note)


def two_table(speed: Speed) -> Table:
    rows = []
    base = speed.figure("two processes", "dict", "scaling") if "dict" in speed.peers("two processes") else None
    for peer in speed.peers("two processes"):
        both, scaling = (speed.figure("two processes", peer, key) for key in ("both_per_second", "scaling"))
        rows.append([peer, f"{both:,.0f}", f"{scaling:.3f}", "" if base is None else f"{scaling / base:.3f}"])
    return Table("Two processes at once, gets over the whole set",
                 ["", "gets/s together", "together / sum of each alone", "the same, over dict's"], rows)  # fmt: skip


def memory_table(speed: Speed) -> Table:
    rows = []
    counts = sorted({row["workers"] for row in speed.rows if row["op"] == "memory"})
    for peer in speed.peers("memory"):
        for workers in counts:
            total, private, files, collect, empty = (
                speed.figure("memory", peer, key, workers=workers)
                for key in ("bytes", "private_bytes", "file_bytes", "collect_ms", "collect_empty_ms")
            )
            of_dicts = f"1/{speed.figure('memory', 'dict of dicts', 'bytes', workers=workers) / total:.1f}" if "dict of dicts" in speed.peers("memory") else ""
            rows.append([peer, str(workers), mib(total), mib(private), mib(files), of_dicts,
                         f"{collect:.2f}", f"{empty:.2f}"])  # fmt: skip
    header = ["", "workers", "MiB", "private MiB", "file MiB", "of dicts of dicts", "gc.collect() ms", "before, empty, ms"]
    return Table("Memory with the whole set held and read once, and the collector", header, rows,
                 "Server processes count with their private memory, less what they had when empty.")  # fmt: skip


def library_table(library: dict[str, Any]) -> Table:
    rows = [[row["name"], f"{median(row['per_second']):,.0f}", f"{1e9 / median(row['per_second']):.1f}"] for row in library["rows"]]
    note = f"{library['held']:,} records held; {library['misses']:,} of these gets were misses." if library["misses"] else ""
    return Table("The C library alone, one thread", ["", "per second", "ns each"], rows, note)


class Target(NamedTuple):
    what: str
    target: float
    at_most: bool  # else at least
    reached: Callable[[Speed], float]


TARGETS = (
    Target("get of bytes / dict", 1.5, True, lambda s: s.figure("get", RAW) / s.figure("get", "dict")),
    Target("get of bytes, hot / dict, hot", 2.5, True, lambda s: s.figure("hot", RAW) / s.figure("hot", "dict")),
    Target("lmdb in one long transaction / get of bytes", 3, False, lambda s: s.figure("get", LMDB) / s.figure("get", RAW)),
    Target("diskcache / get of bytes", 30, False, lambda s: s.figure("get", "diskcache") / s.figure("get", RAW)),
    Target("redis-py (the faster placement) / get of bytes", 60, False, lambda s: s.best("get", REDIS) / s.figure("get", RAW)),
    Target("get of a dict / lmdb + msgpack", 1, True, lambda s: s.figure("get", DICT) / s.figure("get", "lmdb + msgpack")),
    Target("get_many per key / get, bytes", 0.6, True, lambda s: s.figure("get_many", RAW) / s.figure("get", RAW)),
    Target("redis-py's MGET (the faster placement) / get_many", 20, False,
           lambda s: s.best("get_many", REDIS) / s.figure("get_many", RAW)),
    Target("set of bytes, mean, us", 1, True, lambda s: s.figure("set", RAW) / 1000),
    Target("set of bytes while evicting, mean, us", 1, True, lambda s: s.figure("set", EVICTING) / 1000),
    Target("set of bytes while evicting, p99.9, us", 50, True, lambda s: s.figure("set", EVICTING, "p999_ns") / 1000),
    Target("C library, one thread, hot keys: million gets/s", 10, False, lambda s: library_rate(s, "get, hot") / 1e6),
    Target("C library, one thread, hot keys: million sets/s", 2, False, lambda s: library_rate(s, "set, hot") / 1e6),
    Target("two processes: scaling / that of dicts", 0.95, False,
           lambda s: s.figure("two processes", RAW, "scaling") / s.figure("two processes", "dict", "scaling")),
    Target("memory, 4 workers, records as dicts / four dicts of dicts", 1 / 8, True,
           lambda s: s.figure("memory", DICT, "bytes", workers=4) / s.figure("memory", "dict of dicts", "bytes", workers=4)),
    Target("set of a packed value, mean, us", 14, True, lambda s: s.figure("set", PACKED) / 1000),
    Target("get from a cache that packs, zipfian, mean, us", 1.2, True, lambda s: s.figure("get", PACKED) / 1000),
    Target("memory, 4 workers, packed / four dicts of dicts", 1 / 20, True,
           lambda s: s.figure("memory", PACKED, "bytes", workers=4) / s.figure("memory", "dict of dicts", "bytes", workers=4)),
    Target("memory, 4 workers, packed / lmdb", 1 / 2.5, True,
           lambda s: s.figure("memory", PACKED, "bytes", workers=4) / s.figure("memory", LMDB, "bytes", workers=4)),
    Target("memory, 4 workers, packed / redis", 1 / 2.5, True,
           lambda s: s.figure("memory", PACKED, "bytes", workers=4) / s.figure("memory", REDIS[1], "bytes", workers=4)),
    Target("gc.collect() with the set held / empty", 1.1, True,
           lambda s: s.figure("memory", DICT, "collect_ms", workers=4) / s.figure("memory", DICT, "collect_empty_ms", workers=4)),
)  # fmt: skip


def library_rate(speed: Speed, name: str) -> float:
    for row in (speed.outcome["library"] or {"rows": []})["rows"]:
        if row["name"] == name:
            return median(row["per_second"])
    raise KeyError(name)


def target_table(speed: Speed) -> Table:
    rows = []
    for target in TARGETS:
        goal = f"{'at most' if target.at_most else 'at least'} {target.target:g}"
        try:
            value = target.reached(speed)
        except KeyError:
            rows.append([target.what, goal, "not measured", ""])
            continue
        good = value <= target.target if target.at_most else value >= target.target
        rows.append([target.what, goal, f"{value:.3g}", "reached" if good else "MISSED"])
    return Table("Targets", ["", "target", "measured", ""], rows)


def speed_tables(outcome: dict[str, Any]) -> list[Table]:
    speed = Speed(outcome)
    tables = [op_table(speed, op) for op in OP_TITLES]
    tables += [two_table(speed), memory_table(speed)]
    if outcome["library"]:
        tables.append(library_table(outcome["library"]))
    return [*tables, target_table(speed)]


def data_sentence(facts: dict[str, Any]) -> str:
    how = {"regions": "cities of one admin region joined until a document has at least 300 bytes",
           "single": "cities that have 300 to 900 bytes by themselves"}[facts["kind"]]  # fmt: skip
    return (
        f"Data: {facts['cities']:,} cities of GeoNames; {facts['records']:,} records of 300-900 bytes as MessagePack "
        f"({how}; {facts['left_out_below_300']:,} shorter and {facts['left_out_above_900']:,} longer ones left out), "
        f"mean value {facts['mean_value_bytes']} bytes, mean key {facts['mean_key_bytes']} bytes. Keys zipfian, s = 0.99."
    )


def speed_lead(outcome: dict[str, Any]) -> list[str]:
    about = outcome["machine"]
    held = outcome["entries"].get(RAW, 0)
    return [
        data_sentence(outcome["data"]),
        f"{outcome['rounds']} interleaved rounds of {outcome['seconds_per_turn']:g} s per peer and operation; medians of the rounds; "
        "the timer's and the loop's own cost taken off; the collector off while timing.",
        f"{about['cpus']} CPUs ({about['cpu']}), Linux {about['kernel']}, Python {about['python']}; load before: {about['load_before']:.2f}. "
        f"Forebay held {held:,} of the {outcome['data']['records']:,} records.",
    ]


def speed_text(outcome: dict[str, Any]) -> str:
    return "\n".join([*speed_lead(outcome), "", *map(as_text, speed_tables(outcome))])


# ------------------------------------------------------------ the whole page


def read(name: str) -> dict[str, Any] | None:
    path = BUILD / name
    return json.loads(path.read_text()) if path.exists() else None


def section(title: str, command: str, lead: list[str], tables: list[Table]) -> str:
    body = [f"## {title}", "", "```sh", command, "```", "", *(f"{line}\n" for line in lead), *map(as_markdown, tables)]
    return "\n".join(body)


def missing(title: str, command: str) -> str:
    return "\n".join([f"## {title}", "", "```sh", command, "```", "", "Not measured yet.", ""])


def demo_table(outcome: dict[str, Any]) -> Table:
    usual, arena = outcome["memory"]["ways"]["lru_cache"], outcome["memory"]["ways"]["arena"]
    shown = (
        ("memory of all processes together, MiB", "memory_bytes", mib),
        ("private memory, MiB", "private_bytes", mib),
        ("blocks of the arena's file, MiB", "arena_block_bytes", mib),
        ("reads per second, all workers", "reads_per_second", lambda v: f"{v:,.0f}"),
        ("p50 of a read, us", "p50_us", lambda v: f"{v:.2f}"),
        ("p99 of a read, us", "p99_us", lambda v: f"{v:.2f}"),
        ("database queries in the warm-up", "queries_warm_up", lambda v: f"{v:,}"),
        ("database queries while measured", "queries_measured", lambda v: f"{v:,}"),
        ("garbage collector, all workers, ms", "gc_seconds", lambda v: f"{v * 1000:,.0f}"),
        ("gc.collect() at the end, per worker, ms", "gc_collect_ms", lambda v: f"{v:.1f}"),
    )
    rows = [[title, text(usual[key]), text(arena[key])] for title, key, text in shown]
    return Table("Four workers, one database", ["", "own lru_cache each", "one arena"], rows)


def cold_start_table(outcome: dict[str, Any]) -> Table:
    usual, arena = outcome["ways"]["lru_cache"], outcome["ways"]["arena"]
    shown = (
        ("database queries, all workers", "queries", lambda v: f"{v:,}"),
        ("records read from the database", "records_read", lambda v: f"{v:,}"),
        ("until all workers are done, s", "duration_seconds", lambda v: f"{v:.2f}"),
    )
    rows = [[title, text(usual[key]), text(arena[key])] for title, key, text in shown]
    title = (f"Cold start of all workers at once: {outcome['pages_per_worker']:,} pages of {outcome['page']} zipfian records each, "
             f"{outcome['records_wanted']:,} different ones together")  # fmt: skip
    return Table(title, ["", "own lru_cache each", "fetch_many"], rows,
                 "SQLite answers inside the worker: there is no round trip to a server, which each query would cost.")  # fmt: skip


def stampede_table(outcome: dict[str, Any]) -> Table:
    shown = (
        ("database queries, all workers", "queries", lambda v: f"{v:,}"),
        ("reads", "reads", lambda v: f"{v:,}"),
        ("p50 of a read, us", "p50_us", lambda v: f"{v:.1f}"),
        ("longest wait of a reader, ms", "longest_ms", lambda v: f"{v:,.0f}"),
        ("duration, s", "duration_seconds", lambda v: f"{v:.1f}"),
    )
    ways = [outcome["ways"][way] for way in ("get_set", "fetch", "stale")]
    rows = [[title, *(text(way[key]) for way in ways)] for title, key, text in shown]
    title = (f"Stampede on one hot key: {outcome['threads_per_worker']} threads of each worker, ttl {outcome['ttl_seconds']:g} s, "
             f"a query of {outcome['query_ms']:.0f} ms")  # fmt: skip
    return Table(title, ["", "get, query, set", "fetch", "fetch, stale="], rows,
                 f"A thread pauses for {outcome['pause_seconds'] * 1000:g} ms between two reads; the value is there at the start. The query computes: "
                 "those that run at once share the processors.")  # fmt: skip


def demo_section() -> str:
    command = "forebay demo --json > build/bench/demo.json"
    outcome = read("demo.json")
    if outcome is None:
        return missing("The main job", command)
    lead = [f"{outcome['date']}; {outcome['records']:,} cities of GeoNames in SQLite, {outcome['workers']} workers, {outcome['seconds']:g} s of zipfian reads "
            f"after every worker has read every record once; Python {outcome['python']}."]  # fmt: skip
    tables = [demo_table(outcome), cold_start_table(outcome["cold_start"]), stampede_table(outcome["stampede"])]
    return section("The main job", command, lead, tables)


def peers_section() -> str:
    outcome = read("speed.json")
    if outcome is None:
        return missing("Peers", "python bench peers")
    return section("Peers", "python bench peers", [PEERS_LEAD], [peers_table(outcome["peers"], outcome["absent"])])


def speed_section() -> str:
    outcome = read("speed.json")
    if outcome is None:
        return missing("Speed and memory", "make bench")
    return section("Speed and memory", "make bench", speed_lead(outcome), speed_tables(outcome))


def memoize_section() -> str:
    outcome = read("memoize.json")
    if outcome is None:
        return missing("Memoize", "python bench memoize")
    lead = [f"A hit of `Arena.memoize` against one of `functools.lru_cache`, of {outcome['keys']:,} results: p50 of single calls, medians of "
            f"{outcome['rounds']} interleaved rounds. lru_cache gives the same object each time, the arena a fresh copy."]  # fmt: skip
    rows = [[name, *(f"{found['p50_ns'][way] / 1000:.3f}" for way in ("lru_cache", "memoize")), f"{found['ratio']:.2f}"]
            for name, found in outcome["ways"].items()]  # fmt: skip
    table = Table("A hit, us", ["result, keys", "lru_cache", "memoize", "ratio"], rows)
    return section("Memoize", "python bench memoize", lead, [table])


def pools_section() -> str:
    outcome = read("pools.json")
    if outcome is None:
        return missing("Pools", "python bench pools")
    lead = [f"{outcome['date']}. A checkout and return of an idle object that costs nothing and talks to nobody, one thread, medians. Then four threads that hold "
            "two objects for half a millisecond each."]  # fmt: skip
    spans = Table("A checkout and return", ["pool", "us", "ratio"], [[name, f"{us:.2f}", f"{outcome['ratio'][name]:.1f}"] for name, us in outcome["us"].items()])
    threads = Table("Four threads, two objects", ["pool", "checkouts a second"], [[name, f"{rate:,.0f}"] for name, rate in outcome["threads"].items()])
    return section("Pools", "python bench pools", lead, [spans, threads])


def loading_section() -> str:
    outcome = read("loading.json")
    if outcome is None:
        return missing("Loading", "python bench loading")
    processes, hit = outcome["processes"], outcome["hit"]
    lead = [f"{outcome['date']}. Loads (calls of `load_many`) that it takes when {outcome['callers']} want the same {outcome['keys']:,} keys at once, in batches of "
            f"at most {processes['max_batch']}: {processes['ideal']} are ideal. Each takes {outcome['load_ms']:g} ms. {len(processes['loads'])} rounds."]  # fmt: skip
    ways = [["processes, fetch_many", processes["loads"], None]]
    ways += [[f"tasks of one loop, {name}", found["loads"], median(found["ms"])] for name, found in outcome["loop"].items()]
    rows = [[name, f"{median(loads):g}", f"{max(loads)}", "" if ms is None else f"{ms:.1f}"] for name, loads, ms in ways]
    loads = Table("Loads", ["who wants them", "loads, median", "most", "until all have them, ms"], rows)
    hits = Table("A hit, p50 in us", ["", "get", "fetch", "ratio"],
                 [["bytes, 2,000 keys", f"{hit['get_p50_ns'] / 1000:.3f}", f"{hit['fetch_p50_ns'] / 1000:.3f}", f"{hit['ratio']:.2f}"]])  # fmt: skip
    return section("Loading", "python bench loading", lead, [loads, hits])


def stream_table(source: str, outcome: dict[str, Any]) -> Table:
    ways = outcome["stream"]
    own = ways["forebay.batches"]
    rows = [[way, *(text for key in ("seconds", "cpu_seconds") for text in (
                f"{median(found[key]):.2f}", f"{median([b / a for a, b in zip(own[key], found[key])]):.2f}")), mib(max(found["bytes"]))]
            for way, found in ways.items()]  # fmt: skip
    return Table(f"The whole result, {source}", ["", "s", "/ batches", "CPU s", "/ batches", "most MiB"], rows)


def table_table(source: str, outcome: dict[str, Any]) -> Table:
    rows = []
    for job, title in (("table", "fetched and made"), ("export", "made of rows that are there, a tenth of them")):
        if outcome[job]:
            own, other = (median(outcome[job][way]["seconds"]) for way in ("forebay.batches", "pyarrow, from tuples"))
            rows.append([title, f"{own:.3f}", f"{other:.3f}", f"{other / own:.1f}"])
    return Table(f"A pyarrow.Table, {source}", ["", "from batches, s", "from tuples, s", "ratio"], rows)


def batches_section() -> str:
    outcome = read("batches.json")
    if outcome is None:
        return missing("Result batches", "python bench batches")
    lead = [f"{outcome['date']}; {outcome['rows']:,} rows of two ints, a float and two texts, one of them NULL in a fourth of the rows; max_bytes {outcome['max_bytes']}. "
            "Each way in a process of its own, in turn; memory is private memory above what the process had before the query."]  # fmt: skip
    tables = [make(source, outcome[source]) for source in ("sqlite", "postgres") if source in outcome for make in (stream_table, table_table)]
    return section("Result batches", "python bench batches", lead, tables)


def cluster_table(found: dict[str, Any]) -> Table:
    rows = [[name, f"{ms:.1f}", f"{found['ratio'][name]:.1f}", ", ".join(map(str, found["sent"][name]["commands"])),
             ", ".join(map(str, found["sent"][name]["sends"]))] for name, ms in found["ms"].items()]  # fmt: skip
    return Table(f"{found['keys']:,} keys of a Redis Cluster of {found['nodes']} nodes", ["", "ms", "/ fetch_many", "commands, by primary", "sends, by primary"], rows)


def tier_hit_table(found: dict[str, Any]) -> Table:
    spans = found["p50_ns"]
    rows = [[method, *(us(spans[f"{method}, {name}"]) for name in ("without a tier", "with a tier")), f"{ratio:.2f}"]
            for method, ratio in found["ratio"].items()]  # fmt: skip
    return Table("A hit, p50 in us", ["", "without a tier", "with a tier", "ratio"], rows)


def tier_cold_table(found: dict[str, Any]) -> Table:
    rows = [[title, *(f"{median(way[key][name]):,.0f}" for key in ("queries", "rows") for name in ("dict", "forebay")), f"{way['ratio']:.1f}"]
            for title, way in found["ways"].items()]  # fmt: skip
    return Table(f"Cold start of {found['workers']} workers, {found['keys']:,} rows of PostgreSQL",
                 ["", "queries, a dict each", "Forebay", "rows, a dict each", "Forebay", "queries, ratio"], rows)  # fmt: skip


def staleness_table(found: dict[str, Any]) -> Table:
    rows = [[name, f"{own['reads']:,}", f"{own['behind']:,}", *(f"{ms:.1f}" for ms in own["ms"].values())] for name, own in found["machines"].items()]
    first = next(iter(found["machines"].values()))
    note = f"Milliseconds that reads were behind what had been acknowledged; machine a makes the changes. Load average {found['load_average']:.0f}."
    return Table(f"{found['changes_per_second']:,.0f} changes a second ({found['asked_per_second']:,} asked for), {found['seconds']:g} s, two machines of {found['readers']} readers",
                 ["machine", "reads", "behind", *first["ms"]], rows, note)  # fmt: skip


def recovery_table(found: dict[str, Any]) -> Table:
    whats = found["rounds"][0]["seconds"]
    spans = {what: sorted(one["seconds"][what] for one in found["rounds"]) for what in whats}
    rows = [[what, f"{median(own):.2f}", f"{own[-1]:.2f}"] for what, own in spans.items()]
    behind = max(one["most_behind_seconds"] for one in found["rounds"])
    note = (f"Seconds from the kill on until it was so for good, {len(found['rounds'])} rounds; cluster-node-timeout {found['node_timeout_ms']} ms, "
            f"{found['changes_per_second']} changes a second. No read was further behind than {behind * 1000:.0f} ms.")  # fmt: skip
    return Table("A primary of a Redis Cluster of six nodes is killed", ["", "median, s", "most, s"], rows, note)


def tiers_tables(outcome: dict[str, Any]) -> list[Table]:
    makers = {"cluster": cluster_table, "hit": tier_hit_table, "cold": tier_cold_table, "staleness": staleness_table, "recovery": recovery_table}
    return [make(outcome[name]) for name, make in makers.items() if name in outcome]


def tiers_section() -> str:
    outcome = read("tiers.json")
    if outcome is None:
        return missing("Tiers", "python bench tiers")
    lead = [f"{outcome['date']}; real servers on the same machine, medians. fetch_many finds nothing here and all in the tier; its values are decoded dicts that are "
            "then kept here, redis-py's are bytes."]  # fmt: skip
    return section("Tiers", "python bench tiers", lead, tiers_tables(outcome))


def records_section() -> str:
    outcome = read("records.json")
    if outcome is None:
        return missing("Records", "python bench records")
    lead = [f"{outcome['hot_keys']} records of GeoNames, {outcome['mean_bytes']:.0f} bytes as MessagePack in the mean, in a hot loop; "
            f"the large value has {outcome['large_bytes']:,} bytes. Medians of {outcome['rounds']} interleaved rounds, ratios of "
            "each to the first row."]  # fmt: skip
    tables = [Table(f"{part[0].upper()}{part[1:]}, us", ["", "time", "ratio"],
                    [[name, f"{found['ns'] / 1000:.3f}", f"{found['ratio']:.2f}"] for name, found in rows.items()])
              for part, rows in outcome["parts"].items()]  # fmt: skip
    return section("Records", "python bench records", lead, tables)


def codecs_section() -> str:
    import codecs_run

    title, command = "Dictionaries: how they are trained", "python bench codecs"
    outcome = read("codecs.json")
    if outcome is None:
        return missing(title, command)
    return section(title, command, codecs_run.LEAD, codecs_run.tables(outcome))


def codecs_in_cache_tables(kinds: dict[str, Any]) -> list[Table]:
    tables = []
    for kind, found in kinds.items():
        names = ["set", "get", "get, zipfian, mean", "get, decoded", "set, random bytes", "get, random bytes"]
        rows = [[codec if codec != "None" else "none", f"{row['ratio']:.2f}" if "ratio" in row else "1.00",
                 *(f"{row[name]:.2f}" for name in names)] for codec, row in found["codecs"].items()]  # fmt: skip
        note = f"zstd -3 with a dictionary of 110 KiB trained beforehand from a tenth of all records: {found['offline_ratio']:.2f}."
        tables.append(Table(f"{kind}: {found['records']:,} records of {found['mean_bytes']:.0f} bytes, us", ["codec", "ratio", *names], rows, note))
    return tables


def temperature_tables(orders: dict[str, Any]) -> list[Table]:
    tables = []
    for order, found in orders.items():
        rows = [[way, f"{row['misses']:.4f}", f"{row['unpacked_hits']:.0%}", f"{row['get_ns']:.0f}", f"{row['set_ns']:.0f}",
                 *(f"{(row['get_ns'] * (1 - row['misses']) + row['misses'] * (row['set_ns'] + load * 1000)) / 1000:.2f}" for load in (50, 200, 1000))]
                for way, row in found["ways"].items()]  # fmt: skip
        title = f"{order} of the set's bytes ({found['size'] / 2**20:.1f} MiB)"
        tables.append(Table(title, ["kept unpacked", "misses", "hits unpacked", "hit, ns", "set, ns", "us a read, loads of 50 us", "200 us", "1 ms"], rows))
    return tables


def compression_section() -> str:
    outcome = read("compression.json")
    if outcome is None:
        return missing("Packed values", "python bench compression")
    lead = ["The time of a get of a packed value is p50 of reading each key once, in random order; the zipfian mean is with what was kept "
            "unpacked by then. Records decoded are dicts.",
            "By temperature, in C, one thread: records by zipfian order or by the keys of real traces, in arenas of a part of what they take. "
            "A read costs the hit, or the miss, the load and the set; the share of the room that unpacked entries may take is 1/32 by default: "
            "with loads of 200 us a read costs 18 to 75 % less than with all values as they are, and between 4 % less and 10 % more than with all packed, "
            "for hits that are up to a third faster. Single runs: the misses of the zipfian reads in half of the set's bytes differ from run to run by more than from share to share."]  # fmt: skip
    tables = codecs_in_cache_tables(outcome.get("codecs", {})) + temperature_tables(outcome.get("temperature", {}))
    return section("Packed values", "TRACES=FOLDER python bench compression", lead, tables)


def traces_section() -> str:
    import traces

    command = "TRACES=path/to/traces make bench"
    outcome = read("traces.json")
    if outcome is None:
        return missing("Miss ratios", command)
    return section("Miss ratios", command, traces.lead(outcome), traces.tables(outcome))


PLOTS = {
    "latency": "p50 and p99 of a get and of a set, by peer",
    "memory": "memory of 1 to 8 workers, by peer",
    "miss_ratio": "miss ratio by the size of the cache, on recorded traces, beside other policies",
    "staleness": "how far behind reads were, with dicts, with Forebay, and with a tier",
}


def plots_section() -> str:
    """The plots that are in docs/plots: `make plots` makes them of bench/results.json."""
    folder = DOCUMENT.parent.parent / "plots"
    there = [f"![{words}](../plots/{name}.svg)\n" for name, words in PLOTS.items() if (folder / f"{name}.svg").exists()]
    return "\n".join(["## Plots", "", "```sh", "make plots", "```", "", *there]) if there else ""


INTRODUCTION = """# Measurements

Tables are written by `python bench/report.py` from the JSON files that the commands below leave in `build/bench/`; what is said between them, and dates of older runs, are by hand.

<!-- sh not run here: benchmarks of minutes to hours -->
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    sections = [plots_section(), demo_section(), peers_section(), speed_section(), memoize_section(), loading_section(), pools_section(), batches_section(), tiers_section(), records_section(), codecs_section(), compression_section(), traces_section()]
    options.output.write_text("\n".join([INTRODUCTION, *filter(None, sections)]))


if __name__ == "__main__":
    main()
