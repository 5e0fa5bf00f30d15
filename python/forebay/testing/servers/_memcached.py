# SPDX-License-Identifier: Apache-2.0
"""memcached, on a unix socket or on ports of loopback."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from forebay.testing.servers._ports import HOST, on_free_ports
from forebay.testing.servers._programs import find, own_folder, server_user
from forebay.testing.servers._server import Server, ServerList

PROBE_SECONDS = 0.5  # then it is asked again


class MemcachedServer(Server):
    """A memcached that answers on socket_path or on port."""

    def _answers(self) -> bool:
        """On a port another process may be the one that answers: memcached says which it is."""
        if self.port is None:
            return super()._answers()
        try:
            with socket.create_connection(self.address, PROBE_SECONDS) as probe:
                probe.sendall(b"stats\r\nquit\r\n")
                with probe.makefile("rb") as answer:
                    found = re.search(rb"STAT pid (\d+)", answer.read())
        except OSError:
            return False
        return found is not None and int(found[1]) == self.process.pid


def start_memcached(folder: Path, *options: str, port: int | None = None) -> MemcachedServer:
    """On folder/memcached/memcached.sock, or on `port` of loopback instead (0: a free one); `options` as on its command line."""
    return _start(folder, "memcached", options, port)


def _start(folder: Path, name: str, options: Sequence[str], port: int | None) -> MemcachedServer:
    user = server_user("memcache")
    own = own_folder(folder, name, user)

    def start(port: int | None) -> MemcachedServer:
        path = own / "memcached.sock" if port is None else None
        place = ["-s", str(path), "-a", "0700"] if port is None else ["-l", HOST, "-p", str(port)]
        return MemcachedServer([find("memcached"), *place, "-t", "1", *options], own, user, socket_path=path, port=port)

    return on_free_ports(1, start) if port == 0 else start(port)


def start_memcacheds(folder: Path, count: int = 3, *options: str) -> ServerList[MemcachedServer]:
    """So many, in folder/memcached-1 and so on, each on a free port of loopback; the list closes them all."""
    servers: ServerList[MemcachedServer] = ServerList()
    try:
        for number in range(1, count + 1):
            servers.append(_start(folder, f"memcached-{number}", options, 0))
    except BaseException:
        servers.close()
        raise
    return servers
