# SPDX-License-Identifier: Apache-2.0
"""A connection through a proxy: two sockets and what was read from each and not yet written to the other."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE

CHUNK_BYTES = 1 << 18
WAITING_BYTES = 1 << 24  # in one direction of a connection; then its sender has to wait
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() drops what is not yet sent, and sends RST


def reset(sock: socket.socket) -> None:
    """Close it so that its other end has an error, not an end: RST for TCP.  Of a unix socket the other end has the end only."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


class Direction:
    """What all connections of a proxy do in one direction."""

    held = False
    delay = 0.0  # seconds


class Pipe:
    """One direction of a connection, for the proxy's thread only.  Methods raise OSError when an end is broken."""

    def __init__(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        self.source, self.sink, self.direction = source, sink, direction
        self.over = False  # the source's end has been handed on
        self._ended = False  # the source has said its last
        self._waiting: deque[tuple[float, memoryview]] = deque()  # when each is due, and what; empty: the end
        self._size = 0

    @property
    def wants_to_read(self) -> bool:
        """Held: what the sender sends stays in the kernel, until the sender has to wait, too."""
        return not self._ended and not self.direction.held and self._size < WAITING_BYTES

    def due(self) -> float | None:
        """When the next is due, by time.monotonic(); None: there is none, or it is held."""
        return self._waiting[0][0] if self._waiting and not self.direction.held else None

    def wants_to_write(self, now: float) -> bool:
        due = self.due()
        return due is not None and due <= now

    def read(self, now: float) -> None:
        """Take what is there, once."""
        try:
            data = self.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        self._ended = not data
        self._waiting.append((now + self.direction.delay, memoryview(data)))
        self._size += len(data)

    def write(self, now: float) -> None:
        """Hand on what is due, as far as the sink takes it."""
        while self.wants_to_write(now):
            due, data = self._waiting.popleft()
            if not data:
                self.sink.shutdown(socket.SHUT_WR)
                self.over = True
                return
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                sent = 0
            self._size -= sent
            if sent < len(data):
                self._waiting.appendleft((due, data[sent:]))
                return


class Link:
    """A connection: the client's socket, the server's, a pipe each way.  For the proxy's thread only."""

    def __init__(self, client: socket.socket, server: socket.socket, to_client: Direction, to_server: Direction) -> None:
        self.sockets = (client, server)
        self.pipes = (Pipe(client, server, to_server), Pipe(server, client, to_client))
        self.connecting = True

    @property
    def over(self) -> bool:
        return all(pipe.over for pipe in self.pipes)

    def handle(self, sock: socket.socket, events: int, now: float) -> None:
        """What the selector found of one of the sockets; OSError when the connection is broken."""
        if self.connecting:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, "the target does not take the connection")
            self.connecting = False  # it can be written to
        for pipe in self.pipes:
            if sock is pipe.source and events & EVENT_READ and pipe.wants_to_read:
                pipe.read(now)
        self.write(now)

    def write(self, now: float) -> None:
        """Hand on what is due, both ways."""
        for pipe in self.pipes:
            pipe.write(now)

    def wanted(self, sock: socket.socket, now: float) -> int:
        """The events of one of the sockets that are waited for."""
        if self.connecting:
            return EVENT_WRITE if sock is self.sockets[1] else 0
        events = 0
        for pipe in self.pipes:
            if sock is pipe.source and pipe.wants_to_read:
                events |= EVENT_READ
            if sock is pipe.sink and pipe.wants_to_write(now):
                events |= EVENT_WRITE
        return events

    def due(self) -> float | None:
        """When the first that is waiting is due."""
        if self.connecting:
            return None
        return min((due for pipe in self.pipes if (due := pipe.due()) is not None), default=None)
