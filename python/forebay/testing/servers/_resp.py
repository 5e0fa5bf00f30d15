# SPDX-License-Identifier: Apache-2.0
"""Redis's protocol, as much of it as starting and steering servers takes: no driver is needed for that."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, BinaryIO

CALL_SECONDS = 10.0  # longer than any command here takes on a loaded machine


class ReplyError(RuntimeError):
    """The server's answer is an error."""


def call(path: Path, *words: str | bytes | int, timeout: float = CALL_SECONDS) -> Any:
    """The answer to one command, asked on a connection of its own to the unix socket.

    str for status lines, bytes for strings, int, None, lists of these; ReplyError for
    an error, OSError if it does not answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(_request(words))
        with connection.makefile("rb") as stream:
            return _answer(stream)


def _request(words: tuple[str | bytes | int, ...]) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _answer(stream: BinaryIO) -> Any:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        raise ReplyError(rest.decode(errors="replace"))
    if kind == b":":
        return int(rest)
    size = int(rest)
    if size < 0:
        return None
    if kind == b"*":
        return [_answer(stream) for _ in range(size)]
    text = stream.read(size + 2)
    if len(text) != size + 2:
        raise ConnectionResetError("the server closed the connection")
    return text[:-2]
