# SPDX-License-Identifier: Apache-2.0
"""A session on a cluster: one connection to each of its primaries, which say what changes of their own slots.

A primary that nobody listens to could change entries unheard.  So each ping also asks all
primaries who the primaries are, and the session is lost as soon as one of them says
otherwise than at its beginning: then there is another one, and caches begin anew.  An old
primary that is cut off from the others goes on answering; but these say that it is none."""

from __future__ import annotations

import contextlib
import importlib
import selectors
from typing import TYPE_CHECKING, Any

from forebay.buses._events import Changed, Event, Everything, Pong
from forebay.buses._redis_sessions import Tracked, connection_like, kind_and_options

if TYPE_CHECKING:
    from forebay.buses._redis_bus import Server

Topology = frozenset[tuple[str, int, str]]  # of primaries: host, port, slots


def nodes_of(client: Any) -> list[tuple[str, int]]:
    """Of a client for threads or asyncio: where to ask."""
    nodes = list(client.nodes_manager.nodes_cache.values()) or list(client.nodes_manager.startup_nodes.values())
    return [(node.host, node.port) for node in nodes]


def options_of(client: Any) -> tuple[type, dict[str, Any]]:
    """Of the connections to its nodes."""
    manager = client.nodes_manager
    options = dict(getattr(manager, "connection_kwargs", None) or getattr(client, "connection_kwargs", {}))
    for node in [*manager.nodes_cache.values(), *manager.startup_nodes.values()]:
        pool = getattr(getattr(node, "redis_connection", None), "connection_pool", None)
        if pool is not None:
            return pool.connection_class, {**pool.connection_kwargs}
        if getattr(node, "connection_class", None) is not None:
            return node.connection_class, {**options, **getattr(node, "connection_kwargs", {})}
    return options.pop("connection_class", object), options


def twin_of(driver: str, client: Any) -> Any:
    """A client for threads of the cluster that an asyncio client is of."""
    module = importlib.import_module(f"{driver}.cluster")
    _, options = kind_and_options(driver, *options_of(client))
    for name in ("host", "port", "path", "db", "protocol"):
        options.pop(name, None)
    startup = [module.ClusterNode(host, port) for host, port in nodes_of(client)]
    return getattr(module, f"{driver.capitalize()}Cluster")(startup_nodes=startup, **options)


def topology_of(text: bytes | str) -> Topology:
    """Of what CLUSTER NODES says.  Slots that are on the move are still with whom they were."""
    if isinstance(text, bytes):
        text = text.decode()
    primaries = set()
    for line in text.splitlines():
        words = line.split()
        flags = words[2].split(",")
        if "master" in flags and not {"fail", "noaddr", "handshake"} & set(flags):
            address = words[1].partition("@")[0]
            host, _, port = address.rpartition(":")
            slots = " ".join(sorted(word for word in words[8:] if not word.startswith("[")))
            primaries.add((host, int(port), slots))
    return frozenset(primaries)


class Node:
    """One primary: whom it says that the primaries are, and what changes there."""

    def __init__(self, server: Server, host: str, port: int, prefixes: list[bytes]) -> None:
        kind, options = options_of(server.client)
        self._asked = connection_like(server.driver, kind, options, host=host, port=port)
        self.pongs = 0
        try:
            self._asked.connect()
            self.tracked = Tracked(connection_like(server.driver, kind, options, host=host, port=port), prefixes)
        except BaseException:
            self._asked.disconnect()
            raise

    def ask(self) -> None:
        self._asked.send_command("CLUSTER", "NODES")

    def answer(self) -> Topology:
        return topology_of(self._asked.read_response())

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._asked.disconnect()
        self.tracked.close()


class ClusterSession:
    def __init__(self, server: Server, prefixes: list[bytes]) -> None:
        self._nodes: list[Node] = []
        self._selector = selectors.DefaultSelector()
        self._topology = self._ask_any(server)
        try:
            for host, port, _ in self._topology:
                node = Node(server, host, port, prefixes)
                self._nodes.append(node)
                self._selector.register(node.tracked, selectors.EVENT_READ, node)
            self._check()  # while the connections were made
        except BaseException:
            self.close()
            raise

    def _ask_any(self, server: Server) -> Topology:
        kind, options = options_of(server.client)
        failed: BaseException = OSError("the client knows no node of the cluster")
        for host, port in nodes_of(server.client):
            connection = connection_like(server.driver, kind, options, host=host, port=port)
            try:
                connection.connect()
                connection.send_command("CLUSTER", "NODES")
                if topology := topology_of(connection.read_response()):
                    return topology
            except server.errors as error:
                failed = error
            finally:
                connection.disconnect()
        raise failed

    def _check(self) -> None:
        for node in self._nodes:
            node.ask()
        for node in self._nodes:
            if node.answer() != self._topology:
                raise OSError("the cluster's primaries are others, or other slots are theirs")

    def fileno(self) -> int:
        return self._selector.fileno()

    def ping(self) -> None:
        self._check()
        for node in self._nodes:
            node.pongs = 0
            node.tracked.ping()

    def read(self, seconds: float) -> list[Event]:
        events: list[Event] = []
        for key, _ in self._selector.select(max(seconds, 0)):
            node: Node = key.data
            for event in node.tracked.read():
                if isinstance(event, Pong):
                    node.pongs += 1
                    if node.pongs == 1 and all(each.pongs for each in self._nodes):
                        events.append(event)
                elif isinstance(event, (Changed, Everything)):
                    events.append(event)
        return events

    def close(self) -> None:
        self._selector.close()
        for node in self._nodes:
            node.close()
