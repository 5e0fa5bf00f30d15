# SPDX-License-Identifier: Apache-2.0
"""Forebay beside other caches, in one run: speed, two processes, memory, collector, C library.

Rounds are interleaved: in each round every peer takes its turn at every
operation; what is reported is the median of the rounds.  Writes
build/bench/speed.json and prints the tables; bench/report.py makes
docs/internals/measurements.md of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dataset
import memory
import peer_servers
import report
import stopping
from forebay.testing import servers
from peers import SHARED_MEMORY, Peer, absent, all_peers
from report_tables import as_markdown
from timing import median

HERE = Path(__file__).resolve().parent
BATCH_OPS = ("get", "hot", "get_many")
TOGETHER = ("dict", "forebay, bytes", "dict of dicts", "forebay, dict", "lmdb, one long transaction")
MEMORY = (
    "dict of dicts", "dict", "cachebox.LRUCache", "theine.Cache", "UltraDict", "multiprocessing.Manager dict",
    "lmdb, one long transaction", "sqlite3", "diskcache", "pymemcache, server on the other core", "redis-py, server on the other core",
    "redis-py, client-side cache", "lmdb + zstd by the client", "redis-py + zstd by the client",
    "forebay, bytes", "forebay, dict", "forebay, packed",
)  # fmt: skip
EVICTING = "forebay, evicting"


class Process:
    """A worker.py: one order, one answer."""

    def __init__(self, script: str, orders: dict[str, Any]) -> None:
        self.child = subprocess.Popen([sys.executable, str(HERE / script), json.dumps(orders)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: Any) -> None:
        self.child.kill()
        self.child.wait()

    def answer(self) -> Any:
        line = self.child.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"a measured process ended with exit code {self.child.wait()}")
        return json.loads(line)

    def send(self, **order: Any) -> None:
        print(json.dumps(order), file=self.child.stdin, flush=True)

    def ask(self, **order: Any) -> Any:
        self.send(**order)
        return self.answer()["result"]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def chosen_peers(options: argparse.Namespace) -> dict[str, type[Peer]]:
    return {name: peer for name, peer in all_peers().items() if not options.only or name in options.only}


Servers = dict[str, servers.Server]


def place_server(running: Servers, peer: type[Peer], cpus: list[int]) -> None:
    if peer.server is not None:
        running[peer.server].run_on({cpus[peer.server_cpu % len(cpus)]})


def round_of_speed(worker: Process, running: Servers, found: dict[str, type[Peer]], options: argparse.Namespace, turn: int) -> list[dict[str, Any]]:
    rows = []
    for op in BATCH_OPS:
        for name, peer in found.items():
            if name == EVICTING or (op == "get_many" and not peer.has_batches):
                continue
            place_server(running, peer, options.cpus)
            figures = worker.ask(do="measure", peer=name, op=op, turn=turn, seconds=options.seconds)
            rows.append({"op": op, "peer": name, "round": turn, **figures})
    for name, peer in found.items():
        if not peer.can_set:
            continue
        place_server(running, peer, options.cpus)
        figures = worker.ask(do="measure_set", peer=name, turn=turn, seconds=options.seconds)
        rows.append({"op": "set", "peer": name, "round": turn, **figures})
    return rows


def go_together(workers: list[Process], peer: str, turn: int, seconds: float) -> float:
    """Gets per second of these processes at once."""
    for worker in workers:
        worker.send(do="together", peer=peer, turn=turn, seconds=seconds)
    for worker in workers:
        assert worker.answer() == "ready"
    for worker in workers:
        print(file=worker.child.stdin, flush=True)
    return sum(worker.answer()["result"]["per_second"] for worker in workers)


def round_of_two(workers: list[Process], options: argparse.Namespace, turn: int) -> list[dict[str, Any]]:
    rows = []
    for name in TOGETHER:
        if options.only and name not in options.only:
            continue
        alone = [go_together([worker], name, turn, options.seconds) for worker in workers]
        both = go_together(workers, name, turn, options.seconds)
        rows.append({"op": "two processes", "peer": name, "round": turn, "alone_per_second": median(alone),
                     "both_per_second": both, "scaling": both / sum(alone)})  # fmt: skip
    return rows


def measure_speed(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    found = chosen_peers(options)
    with ExitStack() as stack:
        kinds = sorted({peer.server for peer in found.values() if peer.server is not None})
        running = {kind: stack.enter_context(peer_servers.start(kind, folder)) for kind in kinds}
        names = list(found)
        workers = []
        for number, cpu in enumerate((options.cpus[0], options.cpus[-1])):
            orders = {"number": number, "cpu": cpu, "folder": str(folder), "kind": options.data, "peers": names}
            worker = stack.enter_context(Process("worker.py", orders))
            assert worker.answer() == "started"
            progress(f"process {number + 1} of 2 fills its stores")
            worker.ask(do="open", fill_shared=number == 0)
            workers.append(worker)
        for name in names:
            for worker in workers:
                there = worker.ask(do="touch", peer=name)
            options.entries[name] = there
        rows = []
        for turn in range(options.rounds):
            progress(f"round {turn + 1} of {options.rounds}")
            rows += round_of_speed(workers[0], running, found, options, turn)
            rows += round_of_two(workers, options, turn)
        return rows


# -------------------------------------------------------------------- memory


def measure_memory(options: argparse.Namespace, folder: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    chosen = chosen_peers(options)
    for count in options.workers:
        for name in MEMORY:
            if name not in chosen:
                continue
            progress(f"memory: {name}, {count} worker{'s' * (count > 1)}")
            inner = peer_servers.let_pass(Path(tempfile.mkdtemp(dir=folder)))
            rows.append({"op": "memory", "peer": name, "workers": count, **hold(name, count, options, inner, facts)})
            shutil.rmtree(inner)
    return rows


def hold(name: str, count: int, options: argparse.Namespace, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    orders = {"peer": name, "folder": str(folder), "kind": options.data, "count": facts["records"],
              "bytes": facts["value_bytes"] + int(facts["mean_key_bytes"] * facts["records"])}  # fmt: skip
    with ExitStack() as stack:
        server, server_before = None, 0
        kind = all_peers()[name].server
        if kind is not None:
            server = stack.enter_context(peer_servers.start(kind, folder))
            server_before = memory.private_bytes(str(server.process.pid))
        results = []
        for number in range(count):
            worker = stack.enter_context(Process("memory.py", orders | {"fill": number == 0}))
            results.append(worker.answer())
        private = sum(result["private_bytes"] for result in results)
        if server:
            private += memory.private_bytes(str(server.process.pid)) - server_before
    if any(result["found"] != facts["records"] for result in results):
        progress(f"{name}: only {min(result['found'] for result in results):,} of {facts['records']:,} records were held")
    return {
        "private_bytes": private, "file_bytes": results[-1]["file_bytes"],
        "bytes": private + results[-1]["file_bytes"], "found": min(result["found"] for result in results),
        "collect_empty_ms": median([result["collect_empty_ms"] for result in results]),
        "collect_ms": median([result["collect_ms"] for result in results]),
    }  # fmt: skip


# --------------------------------------------------------------- the library


def measure_library(options: argparse.Namespace, folder: Path) -> dict[str, Any] | None:
    if not options.library.exists():
        progress(f"{options.library} is not built: the C library is left out")
        return None
    records, _ = dataset.paths(options.data)
    indices = folder / "zipf"
    count = len(dataset.load(options.data).keys)
    dataset.zipf_indices(count, 1_000_000, 99).tofile(open(indices, "wb"))
    run = subprocess.run([options.library, "--records", records, "--indices", indices, "--arena", folder / "library",
                          "--rounds", str(options.rounds)], check=True, stdout=subprocess.PIPE)  # fmt: skip
    return json.loads(run.stdout)


# ------------------------------------------------------------------- the run


def machine() -> dict[str, Any]:
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": ".".join(platform.release().split(".")[:2]), "python": platform.python_version(),
            "load_before": os.getloadavg()[0]}  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each peer's turn at an operation")
    parser.add_argument("--only", action="append", metavar="PEER", help="measure this peer and those of other --only; ratios need dict and dict of dicts")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="processes that hold the set when memory is counted (default 1 2 4 8)")
    parser.add_argument("--data", choices=sorted(dataset.DOCUMENTS), default="regions")
    parser.add_argument("--quick", action="store_true", help="two short rounds: does it run at all?")
    parser.add_argument("--library", type=Path, default=dataset.BUILD.parent / "release" / "bench" / "bench_c",
                        help="the built bench_c")  # fmt: skip
    parser.add_argument("--output", type=Path, default=dataset.BUILD / "speed.json")
    options = parser.parse_args()
    unknown = set(options.only or ()) - set(all_peers())
    if unknown:
        parser.error(f"no such peer here: {', '.join(sorted(unknown))}; there are: {'; '.join(all_peers())}")
    if options.quick:
        options.rounds, options.seconds = 2, 0.05
    options.cpus = sorted(os.sched_getaffinity(0))[:2]
    options.entries = {}
    return options


def list_peers() -> None:
    """`python bench peers`: what is compared, how it is used, and what is not installed."""
    print(as_markdown(report.peers_table([peer.about() for peer in all_peers().values()], absent())))


def main() -> None:
    options = parse_arguments()
    stopping.end_on_sigterm()
    about = machine()
    progress("making the data set")
    facts = dataset.load(options.data).facts
    began = time.monotonic()
    folder = peer_servers.let_pass(Path(tempfile.mkdtemp(prefix="forebay-bench-", dir="/dev/shm")))
    try:
        inner = folder / "speed"
        inner.mkdir()
        rows = measure_speed(options, inner)
        shutil.rmtree(inner)
        rows += measure_memory(options, folder, facts)
        library = measure_library(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for block in SHARED_MEMORY.glob(f"*{folder.name}-*"):  # of processes that were killed
            block.unlink()
    outcome = {
        "command": "make bench", "date": time.strftime("%Y-%m-%d"), "arguments": sys.argv[1:], "machine": about, "data": facts, "rounds": options.rounds,
        "peers": [peer.about() for peer in chosen_peers(options).values()],
        "absent": absent(), "seconds_per_turn": options.seconds, "entries": options.entries, "rows": rows, "library": library,
        "total_seconds": round(time.monotonic() - began),
    }  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(outcome, indent=1))
    print(report.speed_text(outcome))


if __name__ == "__main__":
    main()
