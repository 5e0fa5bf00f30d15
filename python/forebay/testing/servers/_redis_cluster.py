# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster on loopback whose nodes can be killed, held and started again, and whose slots can be moved."""

from __future__ import annotations

import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from forebay.testing.servers._ports import HOST, on_free_ports
from forebay.testing.servers._redis import RedisServer, redis_command
from forebay.testing.servers._resp import ReplyError

SLOTS = 16_384
OK_SECONDS = 60.0  # a loaded machine; it takes about three
POLL_SECONDS = 0.05
MOVE_MILLISECONDS = 5000
KEYS_AT_ONCE = 100
UNSOUND = {"fail", "fail?", "handshake", "noaddr"}

_Result = TypeVar("_Result")


def key_slot(key: str | bytes) -> int:
    """The slot of a key, of which only what is between the first { and the next } counts if there is something."""
    data = key.encode() if isinstance(key, str) else key
    start = data.find(b"{")
    end = data.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        data = data[start + 1 : end]
    return binascii.crc_hqx(data, 0) % SLOTS


class ClusterNode(RedisServer):
    """A node of a cluster; `address` is where clients reach it."""

    port: int

    def __init__(self, command: Sequence[str], folder: Path, socket_path: Path, port: int, bus_port: int) -> None:
        self.bus_port = bus_port
        self.id = ""
        super().__init__(command, folder, socket_path=socket_path, port=port)

    def _answers(self) -> bool:
        if not super()._answers():
            return False
        self.id = self.call("CLUSTER", "MYID").decode()
        return True

    def __repr__(self) -> str:
        return f"<ClusterNode {self.host}:{self.port}>"

    @property
    def answering(self) -> bool:
        """Neither ended nor held."""
        return self.running and not self.held

    @property
    def role(self) -> str:
        """What it takes itself for now: "master", "replica", or "down" if it has ended or is held."""
        if not self.answering:
            return "down"
        return "master" if self.call("ROLE")[0] == b"master" else "replica"

    def view(self) -> dict[str, NodeView]:
        """The cluster as this node sees it: the nodes by their ids."""
        lines = self.call("CLUSTER", "NODES").decode().splitlines()
        return {view.id: view for view in map(_parse, lines)}


@dataclass(frozen=True)
class NodeView:
    """A node as another sees it; `master` is the id of a replica's master."""

    id: str
    flags: frozenset[str]
    master: str | None
    epoch: int
    slots: frozenset[int]


def _parse(line: str) -> NodeView:
    """A line of CLUSTER NODES: id, address, flags, master, ping, pong, epoch, link, slots; slots that move are in brackets."""
    id, _, flags, master, _, _, epoch, _, *places = line.split()
    slots: set[int] = set()
    for place in places:
        if not place.startswith("["):
            first, _, last = place.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
    return NodeView(id, frozenset(flags.split(",")), None if master == "-" else master, int(epoch), frozenset(slots))


def _wait(what: Callable[[], str | None], seconds: float) -> None:
    """Until what() finds nothing that is missing; TimeoutError with what is."""
    end = time.monotonic() + seconds
    while (missing := what()) is not None:
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s {missing}")
        time.sleep(POLL_SECONDS)


class RedisCluster:
    """Nodes of a Redis Cluster, all of this process's, in the order in which they were started; made by start_redis_cluster().

    Nodes that are added end with the thread that adds them.  Not for several threads at once."""

    def __init__(self, folder: Path, options: Sequence[str], program: str) -> None:
        self.nodes: list[ClusterNode] = []
        self._folder, self._options, self._program = folder, options, program

    # ---- who is there ----

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of all nodes, those that are down, too."""
        return [node.address for node in self.nodes]

    @property
    def masters(self) -> list[ClusterNode]:
        """Who answers and takes itself for a master now."""
        return [node for node in self.nodes if node.role == "master"]

    def replicas_of(self, master: ClusterNode) -> list[ClusterNode]:
        """Who answers and takes itself for a replica of it now."""
        return [node for node in self._answering() if node.view()[node.id].master == master.id]

    def master_of(self, place: int | str | bytes) -> ClusterNode:
        """Who serves a slot (a number) or the slot of a key now, by its own word; LookupError if nobody does."""
        slot = place if isinstance(place, int) else key_slot(place)
        own = [(node.view()[node.id], node) for node in self._answering()]
        serving = [(view.epoch, node) for view, node in own if slot in view.slots]
        if not serving:
            raise LookupError(f"no node that answers serves slot {slot}")
        return max(serving, key=lambda pair: pair[0])[1]

    def _answering(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.answering]

    # ---- what goes wrong ----

    def kill(self, node: ClusterNode) -> None:
        """SIGKILL, with its end waited for; of a master with replicas one takes over after the cluster-node-timeout."""
        node.close()

    def stop(self, node: ClusterNode) -> None:
        """SIGSTOP: it answers nothing, its connections stay."""
        node.hold()

    def cont(self, node: ClusterNode) -> None:
        """SIGCONT after stop()."""
        node.go_on()

    def start(self, node: ClusterNode) -> None:
        """Start a killed node again, on the same ports and under the same id.

        What keys it has it gets from its master: one that is a master still begins
        without any, and so do its replicas then."""
        node.start()

    def failover(self, replica: ClusterNode, how: str = "", timeout: float = OK_SECONDS) -> None:
        """Make a replica the master, together with its master, or `how`: "FORCE" or "TAKEOVER", without it; return when all agree."""
        replica.call("CLUSTER", "FAILOVER", *([how] if how else []))

        def missing() -> str | None:
            if replica.role != "master" or any("master" not in node.view()[replica.id].flags for node in self._answering()):
                return f"{replica} is not everybody's master"
            return None

        _wait(missing, timeout)

    # ---- slots that move ----

    def begin_move(self, slot: int, to: ClusterNode) -> None:
        """From now on the slot's master sends clients with keys that it has not to `to` (ASK); ValueError if `to` is the master."""
        source = self.master_of(slot)
        if source is to:
            raise ValueError(f"{to} has slot {slot} already")
        to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)

    def move_keys(self, slot: int, to: ClusterNode, count: int | None = None) -> int:
        """Move `count` of the slot's keys (None: all that are there) after begin_move(); how many were moved."""
        source = self.master_of(slot)
        moved = 0
        while count is None or moved < count:
            keys = source.call("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE if count is None else min(count - moved, KEYS_AT_ONCE))
            if not keys:
                break
            source.call("MIGRATE", to.host, to.port, "", 0, MOVE_MILLISECONDS, "KEYS", *keys)
            moved += len(keys)
        return moved

    def finish_move(self, slot: int, to: ClusterNode, timeout: float = OK_SECONDS) -> None:
        """The slot is `to`'s; return when all nodes that answer know."""
        source = self.master_of(slot)
        others = [node for node in self.masters if node not in (source, to)]
        for node in (to, source, *others):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", to.id)

        def missing() -> str | None:
            behind = [node for node in self._answering() if slot not in node.view()[to.id].slots]
            return f"{behind} do not know that slot {slot} has moved" if behind else None

        _wait(missing, timeout)

    def move_slot(self, slot: int, to: ClusterNode) -> int:
        """Move a slot with its keys to another master; how many keys."""
        self.begin_move(slot, to)
        moved = self.move_keys(slot, to)
        self.finish_move(slot, to)
        return moved

    def add_master(self) -> ClusterNode:
        """A new node without slots that all know."""
        node = self._new_node()
        self._meet([node])
        self.wait_until_ok()
        return node

    # ---- all of it ----

    def wait_until_ok(self, timeout: float = OK_SECONDS) -> None:
        """Until the nodes that answer have all slots, call the cluster ok, agree on it, and the replicas are connected; TimeoutError."""
        _wait(self._what_is_missing, timeout)

    def _what_is_missing(self) -> str | None:
        views = {node: node.view() for node in self._answering()}
        if not views:
            return "no node answers"
        for node, view in views.items():
            if missing := self._what_is_missing_for(node, view):
                return missing
        pictures = {frozenset((other.id, other.master, other.slots) for other in view.values()) for view in views.values()}
        return None if len(pictures) == 1 else "the nodes do not agree on who is whose master or who has which slots"

    def _what_is_missing_for(self, node: ClusterNode, view: dict[str, NodeView]) -> str | None:
        if b"cluster_state:ok" not in node.call("CLUSTER", "INFO"):
            return f"{node} does not call the cluster ok"
        if view.keys() != {other.id for other in self.nodes}:
            return f"{node} does not know all nodes"
        for other in self.nodes:
            flags = view[other.id].flags & UNSOUND
            if other.answering and flags:
                return f"{node} calls {other} {','.join(flags)}"
            if not other.answering and view[other.id].slots:
                return f"{other} is down and has slots"
        role, *rest = node.call("ROLE")
        if role == b"slave" and rest[2] != b"connected":
            return f"{node} is not connected to its master: {rest[2].decode()}"
        return None

    def repair(self) -> None:
        """Start or go on with all nodes that are down, and wait_until_ok()."""
        for node in self.nodes:
            if node.held:
                node.go_on()
            elif not node.running:
                node.start()
        self.wait_until_ok()

    def close(self) -> None:
        """End all nodes; closing again does nothing."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> RedisCluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ---- how it is made ----

    def _new_node(self) -> ClusterNode:
        folder = self._folder / str(len(self.nodes) + 1)
        folder.mkdir(mode=0o700, parents=True)
        path = folder / "redis.sock"

        def start(port: int, bus_port: int) -> ClusterNode:
            command = [*redis_command(self._program, folder, path, port), "--cluster-enabled", "yes", "--cluster-port", str(bus_port),
                       "--cluster-config-file", "nodes.conf", "--cluster-announce-ip", HOST, "--repl-diskless-sync-delay", "0",
                       "--cluster-allow-replica-migration", "no", *self._options]  # fmt: skip
            return ClusterNode(command, folder, path, port, bus_port)

        node = on_free_ports(2, start)
        self.nodes.append(node)
        return node

    def _meet(self, new: list[ClusterNode]) -> None:
        """Each new node and each that answers: waiting for what they tell each other takes seconds more."""
        for node in new:
            for other in self._answering():
                if other is not node:
                    node.call("CLUSTER", "MEET", HOST, other.port, other.bus_port)

    def _make(self, masters: int, replicas: int) -> None:
        for _ in range(masters + replicas):
            self._new_node()
        firsts, seconds = self.nodes[:masters], self.nodes[masters:]
        for number, node in enumerate(firsts):
            first, behind = SLOTS * number // masters, SLOTS * (number + 1) // masters
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.call("CLUSTER", "ADDSLOTSRANGE", first, behind - 1)
        self._meet(self.nodes)
        for number, node in enumerate(seconds):
            self._replicate(node, firsts[number % masters])
        self.wait_until_ok()

    def _replicate(self, replica: ClusterNode, master: ClusterNode) -> None:
        """As soon as it knows the master."""

        def missing() -> str | None:
            try:
                replica.call("CLUSTER", "REPLICATE", master.id)
            except ReplyError as error:
                return f"{replica} cannot replicate {master}: {error}"
            return None

        _wait(missing, OK_SECONDS)


def start_redis_cluster(
    folder: Path, masters: int = 3, replicas: int = 3, *options: str, node_timeout: int = 1000, program: str = "redis-server"
) -> RedisCluster:
    """A cluster in folder/redis-cluster, without persistence, on free ports of loopback, all slots shared out, all ok.

    The first `masters` nodes are masters, the others replicas of one after another.
    `node_timeout` in milliseconds; `options` as on the command line, for every node;
    `program`: "valkey-server" for Valkey.  ValueError for fewer than three masters:
    two cannot agree on a failover."""
    if masters < 3:
        raise ValueError(f"a cluster needs three masters, not {masters}, to agree on a failover")
    cluster = RedisCluster(folder / "redis-cluster", ("--cluster-node-timeout", str(node_timeout), *options), program)
    try:
        cluster._make(masters, replicas)
    except BaseException:
        cluster.close()
        raise
    return cluster
