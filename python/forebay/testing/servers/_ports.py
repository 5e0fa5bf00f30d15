# SPDX-License-Identifier: Apache-2.0
"""Free ports of loopback for servers, and another try where one was taken meanwhile."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

HOST = "127.0.0.1"
FIRST = 10_240
CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")  # where the kernel takes the ports of clients from
TRIES = 5
TAKEN = re.compile("[Aa]ddress already in use|in use by another process")

_Started = TypeVar("_Started")


def _candidates() -> range:
    """Ports that no client is given, so that a server finds its own again after a restart."""
    first_of_clients = int(CLIENTS.read_text().split()[0])
    return range(FIRST, first_of_clients if first_of_clients > FIRST + 1000 else 65_536)


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nobody has now; RuntimeError if none is to be found."""
    ports: list[int] = []
    candidates = _candidates()
    with ExitStack() as held:
        for _ in range(100 * count):
            port = random.choice(candidates)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"{count} free ports between {candidates.start} and {candidates.stop} were not found")


def on_free_ports(count: int, start: Callable[..., _Started]) -> _Started:
    """What start(*ports) gives; again with others if it raises RuntimeError or OSError since one is in use after all."""
    for left in reversed(range(TRIES)):
        try:
            return start(*free_ports(count))
        except (RuntimeError, OSError) as error:
            if not left or not TAKEN.search(str(error)):
                raise
    raise AssertionError("the last try ends above")
