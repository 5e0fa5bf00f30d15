# SPDX-License-Identifier: Apache-2.0
"""A Redis server, or Valkey's, on a unix socket and, if asked for, on a port of loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forebay.testing.servers import _resp
from forebay.testing.servers._ports import HOST, on_free_ports
from forebay.testing.servers._programs import find
from forebay.testing.servers._server import Server


class RedisServer(Server):
    """A Redis server that answers on socket_path and, if it was given one, on port."""

    @property
    def unix_path(self) -> Path:
        """socket_path, which this server always has."""
        assert self.socket_path is not None
        return self.socket_path

    def _answers(self) -> bool:
        """It listens before all its ports are its own: a command is answered after that.  An error (NOAUTH) is an answer, too."""
        try:
            self.call("PING")
        except _resp.ReplyError as error:
            return not str(error).startswith("LOADING")
        except OSError:
            return False
        return True

    def call(self, *words: str | bytes | int) -> Any:
        """The answer to one command, as str (a status), bytes, int, None or a list; RuntimeError if it is an error."""
        return _resp.call(self.unix_path, *words)


def redis_command(program: str, folder: Path, socket_path: Path, port: int) -> list[str]:
    """Without persistence; port 0: none."""
    return [find(program), "--port", str(port), "--bind", HOST, "--unixsocket", str(socket_path), "--unixsocketperm", "700",
            "--save", "", "--appendonly", "no", "--dir", str(folder)]  # fmt: skip


def start_redis(folder: Path, *options: str, port: int | None = None, program: str = "redis-server") -> RedisServer:
    """On folder/redis.sock, without persistence; `options` as on its command line.

    `port`: on that port of loopback, too; 0: on a free one.  `program`: "valkey-server"
    for Valkey."""
    path = folder / "redis.sock"

    def start(port: int | None) -> RedisServer:
        return RedisServer([*redis_command(program, folder, path, port or 0), *options], folder, socket_path=path, port=port)

    return on_free_ports(1, start) if port == 0 else start(port)
