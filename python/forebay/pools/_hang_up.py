# SPDX-License-Identifier: Apache-2.0
"""Closing a connection so that its server has forgotten it when the next one is made.

A client may close and another process connect before the server has seen the end: it
would count one more than host_max.  So whoever gives a permit back waits, in the
background, until the server has hung up, too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import time

PATIENCE = 1.0  # seconds; a server that is stopped or unreachable does not keep the permit


def another_end(descriptor: int | None) -> socket.socket | None:
    """The same connection once more, so that it can be listened to after it was closed here."""
    if descriptor is None or descriptor < 0:
        return None
    try:
        end = socket.socket(fileno=os.dup(descriptor))
        end.setblocking(False)
    except OSError:
        return None
    return end


def wait_for_end(end: socket.socket | None) -> None:
    """Say no more, and wait until the server has hung up; closes `end`."""
    if end is None:
        return
    with end:
        _say_no_more(end)
        until = time.monotonic() + PATIENCE
        poll = select.poll()
        poll.register(end, select.POLLIN)
        while (left := until - time.monotonic()) > 0 and poll.poll(left * 1000):
            if _is_over(end):
                return


def _say_no_more(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is not connected any more
        end.shutdown(socket.SHUT_WR)


def _is_over(end: socket.socket) -> bool:
    try:
        return end.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def await_end(end: socket.socket | None) -> None:
    """wait_for_end() for tasks."""
    if end is None:
        return
    _say_no_more(end)
    try:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while await asyncio.get_running_loop().sock_recv(end, 4096):
                    pass
    except asyncio.CancelledError:  # the loop is ending; the permit goes to another process next
        wait_for_end(end)
        raise
    finally:
        end.close()


def hang_up(sock: socket.socket | None) -> None:
    """End a connection whose protocol needs no farewell, and wait for the server's end of it."""
    if sock is not None:
        wait_for_end(another_end(sock.fileno()))


async def ahang_up(sock: socket.socket | None) -> None:
    """hang_up() for tasks."""
    if sock is not None:
        await await_end(another_end(sock.fileno()))
