# SPDX-License-Identifier: Apache-2.0
"""What stores look at in clients of redis-py (from 4.5) and valkey-py, for threads or for asyncio.

Nothing here asks a server."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from typing import Any

VALUE_MAX = 512 * 1024 * 1024  # the servers' proto-max-bulk-len, of names and of values


def check(client: Any) -> None:
    """TypeError, ValueError unless the client is one that a store can be for."""
    kind = type(client).__qualname__
    if hasattr(client, "command_stack") or hasattr(client, "subscribed"):
        raise TypeError(f"a tier takes the client itself, not a {kind} of it")
    if hasattr(client, "nodes_manager"):
        if getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None):
            raise ValueError(
                "a tier reads from primaries only, since a replica may not have what was just written: it takes no client with "
                "read_from_replicas or load_balancing_strategy"
            )
        return
    if not hasattr(client, "connection_pool"):
        raise TypeError(f"a tier takes a client with a connection pool, not {type(client).__module__}.{kind}")
    if getattr(client, "connection", None) is not None or getattr(client, "single_connection_client", False):
        raise ValueError("a tier is used by several threads or tasks at once: it takes no client with a single connection")
    if getattr(client.connection_pool, "is_master", True) is False:
        raise ValueError("a tier writes, and reads from primaries only: it takes sentinel.master_for(), not slave_for()")


def errors_of(driver: str) -> tuple[type[BaseException], ...]:
    """That the server cannot be reached, is slow, or refuses (READONLY, OOM, NOPERM, ... are ResponseErrors)."""
    exceptions = sys.modules[f"{driver}.exceptions"]
    clusters = getattr(exceptions, f"{driver.capitalize()}ClusterException")
    return (
        exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse, exceptions.ResponseError,
        exceptions.ClusterError, clusters, OSError,
    )  # fmt: skip


_arguments: dict[Any, tuple[str, ...]] = {}


def arguments_of_get_connection(pool: Any) -> tuple[str, ...]:
    """What newer drivers warn of and older ones require."""
    kind = type(pool)
    if kind not in _arguments:
        name = inspect.signature(kind.get_connection).parameters.get("command_name")
        _arguments[kind] = ("PIPELINE",) if name is not None and name.default is inspect.Parameter.empty else ()
    return _arguments[kind]


class Address:
    """Of a client's connections: where they go, and how long they wait."""

    def __init__(self, driver: str, sample: Any, clustered: bool = False, service: str | None = None) -> None:
        """`sample`: a connection as the client makes them, which is not connected."""
        self.timeout: float | None = sample.socket_timeout
        self.connect_timeout: float | None = getattr(sample, "socket_connect_timeout", sample.socket_timeout)
        retry = getattr(sample, "retry", None)
        self.retries = max(int(getattr(retry, "_retries", 0)), 0)
        self.text = _text(driver, sample, clustered, service)


def _text(driver: str, sample: Any, clustered: bool, service: str | None) -> str:
    if service is not None:
        return f"{driver}+sentinel://{service}/{sample.db}"
    if (path := getattr(sample, "path", None)) is not None:
        return f"unix://{path}?db={sample.db}"
    scheme = driver + "s" * any("SSL" in kind.__name__ for kind in type(sample).__mro__)
    host = f"[{sample.host}]" if ":" in str(sample.host) else sample.host
    return f"{scheme}+cluster://{host}:{sample.port}" if clustered else f"{scheme}://{host}:{sample.port}/{sample.db}"


def address_of_pool(driver: str, pool: Any) -> Address:
    """Of what a client's pool connects to."""
    sample = pool.connection_class(**pool.connection_kwargs)
    service = getattr(pool, "service_name", None)
    return Address(driver, sample, service=service)


# ---- the map of slots of a cluster's client ----


def as_reached(nodes: Any, host: str, port: int) -> tuple[str, int]:
    """A node's address as the client reaches it, from what a node says: address_remap=."""
    found: tuple[str, int] = nodes.remap_host_port(host, port) if hasattr(nodes, "remap_host_port") else (host, port)
    return found


def initialize(nodes: Any, gone: Iterable[str]) -> Any:
    """nodes.initialize(), which for asyncio is to be awaited; those that are gone are asked last."""
    last = None
    for server in gone:
        if server in nodes.startup_nodes:
            nodes.startup_nodes[server] = nodes.startup_nodes.pop(server)
            last = server
    if "last_failed_node_name" in inspect.signature(nodes.initialize).parameters:
        return nodes.initialize(last_failed_node_name=last)
    return nodes.initialize()
