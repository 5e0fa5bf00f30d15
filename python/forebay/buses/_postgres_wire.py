# SPDX-License-Identifier: Apache-2.0
"""A connection of psycopg's, through libpq's calls that do not wait: so nothing here takes longer than it may."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

_TIMEOUT = 2.0  # seconds for what is asked
_CONNECT_TIMEOUT = 3  # unless the user says otherwise


class ConnectError(OSError):
    """The user's function raised."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _connection(connect: str | Callable[[], Any]) -> Any:
    import psycopg

    if isinstance(connect, str):
        from psycopg.conninfo import conninfo_to_dict

        more: dict[str, Any] = {} if "connect_timeout" in conninfo_to_dict(connect) else {"connect_timeout": _CONNECT_TIMEOUT}
        return psycopg.connect(connect, autocommit=True, **more)
    try:
        connection = connect()
    except (psycopg.Error, OSError):
        raise
    except Exception as error:
        raise ConnectError(f"connect() raised {type(error).__name__}: {error}") from error
    if not isinstance(connection, psycopg.Connection):
        raise TypeError(f"connect() must give a psycopg.Connection, not {type(connection).__module__}.{type(connection).__qualname__}")
    return connection


class Wire:
    """One thread uses it at a time."""

    def __init__(self, connect: str | Callable[[], Any]) -> None:
        from psycopg.pq import TransactionStatus

        self._connection = _connection(connect)
        try:
            if self._connection.info.transaction_status != TransactionStatus.IDLE:
                self._connection.commit()  # what connect() has set, say
            self._connection.autocommit = True
            self._libpq = self._connection.pgconn
            self._libpq.nonblocking = 1
        except BaseException:
            self._connection.close()
            raise
        self._is_busy = False
        self._notified: list[tuple[bytes, bytes]] = []

    def close(self) -> None:
        with suppress(Exception):
            self._connection.close()

    def fileno(self) -> int:
        return int(self._libpq.socket)

    def ask(self, command: bytes, arguments: Sequence[bytes] = (), seconds: float = _TIMEOUT) -> None:
        """Until it is done; an error of psycopg's."""
        end = time.monotonic() + seconds
        self._send(command, arguments, end)
        self._finish(end)

    def send(self, command: bytes, arguments: Sequence[bytes]) -> None:
        """What comes of it is looked at by notified()."""
        self._send(command, arguments, time.monotonic() + _TIMEOUT)

    def notified(self, seconds: float) -> list[tuple[bytes, bytes]]:
        """Channel and payload of each notification that came; waits for one for so long."""
        if not self._notified:
            self._read(seconds)
        found, self._notified = self._notified, []
        return found

    def _send(self, command: bytes, arguments: Sequence[bytes], end: float) -> None:
        self._finish(end)
        if arguments:
            self._libpq.send_query_params(command, arguments)
        else:
            self._libpq.send_query(command)
        self._is_busy = True
        while self._libpq.flush():
            self._wait(end, True)
            self._libpq.consume_input()  # it may take no more before somebody reads

    def _finish(self, end: float) -> None:
        """Have all answers."""
        while self._is_busy:
            self._read(max(end - time.monotonic(), 0.0))
            if self._is_busy and time.monotonic() >= end:
                raise _operational_error("the server did not answer in time")

    def _wait(self, end: float, writes: bool = False) -> bool:
        """Something came, or may be written; False: time is up."""
        socket = self._libpq.socket
        seen = select.poll()
        seen.register(socket, select.POLLIN | (select.POLLOUT if writes else 0))
        found = bool(seen.poll(max(end - time.monotonic(), 0.0) * 1000))
        if writes and not found:
            raise _operational_error("the server takes nothing")
        return found

    def _read(self, seconds: float) -> None:
        """What came: notifications, and answers, of which only errors matter."""
        self._wait(time.monotonic() + seconds)
        self._libpq.consume_input()
        while self._is_busy and not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                self._is_busy = False
            elif result.error_message:
                raise _error_of(result)
        while (notify := self._libpq.notifies()) is not None:
            self._notified.append((notify.relname, notify.extra))


def _operational_error(text: str) -> Exception:
    import psycopg

    return psycopg.OperationalError(text)


def _error_of(result: Any) -> Exception:
    from psycopg.errors import error_from_result

    return error_from_result(result)
