# SPDX-License-Identifier: Apache-2.0
"""A way through to a server that counts round trips: how often the client waited for an answer."""

import select
import socket
import tempfile
import threading
from pathlib import Path

GATHER_SECONDS = 0.01  # what a client sends within it, without an answer, is one turn


class Forwarder:
    """Listens on a unix socket, or with `tcp` on a port of loopback; `target` is where it forwards to."""

    def __init__(self, target, *, tcp=False):
        self.target = target
        self.turns = 0
        self._folder = None if tcp else tempfile.TemporaryDirectory(prefix="forebay-forwarder-")
        self._listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        self._listener.bind(("127.0.0.1", 0) if tcp else str(Path(self._folder.name) / "socket"))
        self._listener.listen()
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client):
        with client, socket.socket(socket.AF_INET if isinstance(self.target, tuple) else socket.AF_UNIX) as server:
            server.connect(self.target)
            try:
                while True:
                    ready, _, _ = select.select([client, server], [], [])
                    if server in ready:
                        data = server.recv(1 << 20)
                        if not data:
                            return
                        client.sendall(data)
                    elif not self._turn(client, server):
                        return
            except OSError:
                return

    def _turn(self, client, server):
        """All that the client has to say before it waits."""
        said = []
        while not said or select.select([client], [], [], GATHER_SECONDS)[0]:
            data = client.recv(1 << 20)
            if not data:
                return False
            said.append(data)
        self.turns += 1
        server.sendall(b"".join(said))
        return True

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self.close()


def turns_of(forwarders, call, *arguments):
    """How many round trips the call took with each."""
    before = [forwarder.turns for forwarder in forwarders]
    call(*arguments)
    return [forwarder.turns - count for forwarder, count in zip(forwarders, before)]
