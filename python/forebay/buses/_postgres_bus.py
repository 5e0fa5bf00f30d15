# SPDX-License-Identifier: Apache-2.0
"""A bus on PostgreSQL: LISTEN and NOTIFY, https://www.postgresql.org/docs/current/sql-notify.html.

Notifications come in the order in which transactions were committed, one's own among
them: so a notification of a number, by the connection that listens, comes back after
all that was committed before it."""

from __future__ import annotations

import json
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from forebay._core import _decode_key, _encode_key
from forebay.buses._events import Changed, Event, Pong, Session
from forebay.buses._postgres_wire import Wire, quoted
from forebay.buses._telling import EVERY, Message, TellingBus, message_of

if TYPE_CHECKING:
    import psycopg

PAYLOAD_MAX = 7999  # bytes: PostgreSQL's
_NAME_MAX = 63
_BEAT = 0.2  # seconds: each NOTIFY wakes all connections of the database that listen
_TIMEOUT = 2.0  # seconds for what is told

_TELL = b"SELECT pg_catalog.pg_notify($1, told) FROM pg_catalog.json_array_elements_text($2::pg_catalog.json) AS told"
_PING = b"SELECT pg_catalog.pg_notify($1, $2)"


class Postgres(TellingBus):
    """A bus on PostgreSQL, through psycopg 3: triggers of the database tell (install_trigger), and so do the writes of caches.

    connect: what psycopg.connect() takes as a str, or a function that gives a new psycopg.Connection, which
    becomes the bus's: one to listen, in up to two processes of the machine, and one in each process that tells.  To
    the primary, and not through a pooler that gives connections to transactions or statements.
    channel: of NOTIFY.
    server: a name for the database, the same in all processes, where connect is a function; its own name if omitted.
    max_stale: as of forebay.tiers.Redis."""

    beat = _BEAT

    def __init__(
        self,
        connect: str | Callable[[], psycopg.Connection[Any]],
        *,
        channel: str = "forebay",
        server: str | None = None,
        max_stale: float | timedelta | None = 1.0,
    ) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise ImportError(
                "forebay.buses.Postgres needs psycopg, which is not installed: pip install 'forebay[psycopg]'", name="psycopg"
            ) from error
        if not isinstance(connect, str) and not callable(connect):
            raise TypeError(f"connect must be a str for psycopg.connect(), or a function, not {type(connect).__name__}")
        check_channel(channel)
        self._connect = connect
        self._channel = channel
        self.errors = self.told_errors = (psycopg.Error, OSError)
        super().__init__("postgres", channel, server or _server_of(connect), max_stale)
        self._sender = Sender(connect)
        weakref.finalize(self, self._sender.close)

    def subscribe(self) -> Session:
        return PostgresSession(Wire(self._connect), self._channel)

    def _send(self, origin: str, items: Sequence[bytes]) -> None:
        self._sender.send(self._channel, [payload_of(message_of(item, origin)) for item in items])

    def _messages(self, arena: Any, name: bytes) -> Iterable[Message]:
        return [read_payload(name)]


def check_channel(channel: Any) -> None:
    if not isinstance(channel, str) or not channel or "\0" in channel or len(channel.encode()) > _NAME_MAX:
        raise ValueError(f"channel must be a str of 1 to {_NAME_MAX} bytes, not {channel!r}")


def _server_of(connect: str | Callable[[], Any]) -> str:
    """The same in all processes, and without user and password."""
    if isinstance(connect, str):
        from psycopg.conninfo import conninfo_to_dict

        options = conninfo_to_dict(connect)
        places = (options.get(name) for name in ("service", "host", "hostaddr", "port", "dbname"))
        return "/".join(str(place) for place in places if place is not None) or "default"
    return f"{getattr(connect, '__module__', '')}.{getattr(connect, '__qualname__', type(connect).__qualname__)}"


# ---- payloads: JSON, [cache], or [cache, key], or [cache, key or null, {"from": ..., ...}] ----


def payload_of(message: Message) -> str:
    """Of a key that is too long, everything of the cache is told."""
    options: dict[str, Any] = {"from": message.origin}
    if message.version:
        options["version"] = message.version
    if message.healed:
        options["healed"] = True
    parts = [message.cache, None if message.key is EVERY else _json_of(message.key), options]
    text = json.dumps(parts, separators=(",", ":"))
    if len(text) > PAYLOAD_MAX:
        text = json.dumps([message.cache, None, options], separators=(",", ":"))
    return text


def _json_of(key: Any) -> Any:
    kind = type(key)
    if kind in (bool, int, str):
        return key
    if kind is tuple:
        return [_json_of(part) for part in key]
    if kind is UUID and key.is_safe.value is None:
        return {"uuid": str(key)}
    if kind is date:
        return {"date": key.isoformat()}
    return {"key": _encode_key(key).hex()}


def read_payload(data: bytes) -> Message:
    """ValueError: it is of something else."""
    try:
        return _message_of(json.loads(data))
    except (TypeError, AttributeError, RecursionError) as error:  # anybody may notify
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _message_of(parts: Any) -> Message:
    if not isinstance(parts, list) or not 1 <= len(parts) <= 3 or not isinstance(parts[0], str):
        raise ValueError("a message is [cache], [cache, key] or [cache, key, options]")
    cache, key, options = [*parts, None, None][:3]
    options = options or {}
    return Message(
        cache, EVERY if key is None else _key_of(key), int(options.get("version", 0)), str(options.get("from", "")),
        options.get("healed") is True,
    )  # fmt: skip


def _key_of(part: Any) -> Any:
    if isinstance(part, list):
        return tuple(_key_of(each) for each in part)
    if not isinstance(part, dict):
        return part
    ((kind, text),) = part.items()
    if kind == "uuid":
        return UUID(text)
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "key":
        return _decode_key(bytes.fromhex(text))
    raise ValueError(f"no key is written as {kind!r}")


# ---- connections ----


class PostgresSession:
    def __init__(self, wire: Wire, channel: str) -> None:
        self._wire = wire
        self._pings = f"forebay_ping_{secrets.token_hex(8)}"
        self._sent = 0
        try:
            wire.ask(f"SET client_encoding = 'UTF8'; LISTEN {quoted(channel)}; LISTEN {quoted(self._pings)}".encode())
        except BaseException:
            wire.close()
            raise

    def fileno(self) -> int:
        return self._wire.fileno()

    def ping(self) -> None:
        self._sent += 1
        self._wire.send(_PING, [self._pings.encode(), str(self._sent).encode()])

    def read(self, seconds: float) -> list[Event]:
        events: list[Event] = []
        names: list[bytes] = []
        for channel, payload in self._wire.notified(seconds):
            if channel != self._pings.encode():
                names.append(payload)
            elif payload == str(self._sent).encode():
                events.append(Pong())
        return [Changed(names), *events] if names else events

    def close(self) -> None:
        self._wire.close()


class Sender:
    """The connection of this process that tells, made when it is needed."""

    def __init__(self, connect: str | Callable[[], Any]) -> None:
        self._connect = connect
        self._wire: Wire | None = None
        self._lock = threading.Lock()
        _senders.add(self)

    def send(self, channel: str, payloads: Sequence[str]) -> None:
        with self._lock:
            done = False
            try:
                if self._wire is None:
                    self._wire = Wire(self._connect)
                self._wire.ask(_TELL, [channel.encode(), json.dumps(payloads).encode()], _TIMEOUT)
                done = True
            finally:
                if not done:
                    self._close()

    def _close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def close(self) -> None:
        with self._lock:
            self._close()

    def in_child(self) -> None:
        """Of a fork: the connection is the parent's, and to be neither used nor closed."""
        if self._wire is not None:
            _inherited.append(self._wire)
        self._wire = None
        self._lock = threading.Lock()


_senders: weakref.WeakSet[Sender] = weakref.WeakSet()
_inherited: list[Wire] = []


def _in_child() -> None:
    for sender in list(_senders):
        sender.in_child()


os.register_at_fork(after_in_child=_in_child)
