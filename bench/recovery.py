# SPDX-License-Identifier: Apache-2.0
"""How two machines get over the death of a primary of the Redis Cluster between them.

A primary of six nodes is killed under load.  Counted from then: when the cluster answers
for all slots again (one of its replicas has taken over); when a change of a key of the dead
primary was acknowledged, so the tier has taken it; and when both machines were served from
their arenas for good.  All reads are in the history, which says how far behind each was."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forebay.testing import servers
from forebay.testing.staleness.history import percentile
from forebay.testing.staleness.world import Machine, World

CHANGES = 100  # a second
NODE_TIMEOUT_MS = 1000  # cluster-node-timeout: how long a node is silent until the others take it for dead
QUIET_SECONDS = 3.0  # served for so long without a pause: for good
PATIENCE = 60.0


class Recovery:
    """Seconds from the death until each thing was so, for good."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.since: dict[str, float | None] = {}

    def look(self, what: str, is_so: bool) -> None:
        if not is_so:
            self.since[what] = None
        elif self.since.get(what) is None:
            self.since[what] = time.monotonic() - self.begun

    def is_over(self, whats: list[str]) -> bool:
        now = time.monotonic() - self.begun
        return all((moment := self.since.get(what)) is not None and now - moment >= QUIET_SECONDS for what in whats)


def is_whole(cluster: servers.RedisCluster) -> bool:
    with contextlib.suppress(TimeoutError):
        cluster.wait_until_ok(timeout=0)
        return True
    return False


def recovery_round(folder: Path, shm: Path) -> dict[str, Any]:
    with servers.start_redis_cluster(folder, node_timeout=NODE_TIMEOUT_MS) as cluster, World(shm, changes=CHANGES) as world:
        url = "cluster:{}:{}".format(*cluster.addresses[0])
        machines = [Machine(world, name, url, 2) for name in ("a", "b")]
        world.wait_for_reads(*machines)
        world.start("change", machines[0], seed=1)
        world.wait_for_changes(50)
        world.wait_until(lambda: all(machine.is_heard() for machine in machines))
        world.stop_changes()  # Redis replicates after it acknowledged: what was acknowledged reaches the replicas
        time.sleep(0.5)
        killed = cluster.master_of("forebay:rows:0")
        lost = [key for key in range(world.keys) if cluster.master_of(f"forebay:rows:{key}").port == killed.port]
        before = {key: world.history.version(key) for key in lost}
        cluster.kill(killed)
        recovery = Recovery()
        world.start("change", machines[0], seed=2)
        looks: dict[str, Callable[[], bool]] = {
            "the cluster answers for all slots": lambda: is_whole(cluster),
            "a change of a key of the dead primary is acknowledged": lambda: any(
                world.history.acknowledged(key, version + 1) for key, version in before.items()
            ),
            **{f"machine {machine.name} is served from its arena": machine.is_heard for machine in machines},
        }
        while not recovery.is_over(list(looks)):
            world.check()
            if time.monotonic() - recovery.begun > PATIENCE:
                raise RuntimeError(f"not recovered after {PATIENCE:g} seconds: {recovery.since}")
            for what, look in looks.items():
                recovery.look(what, look())
            time.sleep(0.005)
        world.end()
        behind = [percentile(machine.figures(), 1.0) for machine in machines]
    return {"seconds": recovery.since, "most_behind_seconds": max(behind)}


def measure_recovery(rounds: int) -> dict[str, Any]:
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder, tempfile.TemporaryDirectory(dir="/dev/shm", prefix="forebay-bench-") as shm:
            Path(folder).chmod(0o711)  # servers that refuse to be root pass through
            found.append(recovery_round(Path(folder), Path(shm)))
    return {"rounds": found, "node_timeout_ms": NODE_TIMEOUT_MS, "changes_per_second": CHANGES}
