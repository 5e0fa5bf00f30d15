# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to Redis and Valkey servers: CLIENT TRACKING in broadcasting mode.

https://redis.io/docs/latest/develop/reference/client-side-caching/.  A connection of its
own in RESP2, whose messages go to itself (REDIRECT to its own id), so that they and the
answers to PING come in one order, with every version of the drivers.  It is made as the
client's own connections are: address, credentials, TLS."""

from __future__ import annotations

import contextlib
import importlib
import selectors
from typing import Any

from forebay.buses._events import Changed, Event, Everything, Pong

_TOPIC = b"__redis__:invalidate"
_UNFIT = (  # of a client's connections: what is of no use to one that listens
    "retry", "retry_on_timeout", "retry_on_error", "redis_connect_func", "parser_class", "event_dispatcher", "single_connection_client",
    "himport_registry", "cache", "cache_config", "maint_notifications_config", "maint_notifications_pool_handler",
    "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout", "legacy_responses",
)  # fmt: skip
_TIMEOUT = 1.0  # seconds for what is asked before it listens


def kind_and_options(driver: str, kind: type, options: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    """The class for threads, and what it takes, of connections as a client's pool makes them, which may be for asyncio."""
    module = importlib.import_module(f"{driver}.connection")
    name = next((k.__name__ for k in kind.__mro__ if hasattr(module, k.__name__)), "Connection")
    wanted = {key: value for key, value in options.items() if key not in _UNFIT}
    wanted.update(protocol=2, decode_responses=False, health_check_interval=0)
    return getattr(module, name), wanted


def connection_like(driver: str, kind: type, options: dict[str, Any], **more: Any) -> Any:
    """A connection for threads as a client's pool makes them."""
    kind, wanted = kind_and_options(driver, kind, options)
    return kind(**{**wanted, "socket_timeout": _TIMEOUT, **more})


class Tracked:
    """One server."""

    def __init__(self, connection: Any, prefixes: list[bytes]) -> None:
        self.connection = connection
        try:
            connection.connect()
            number = self._ask("CLIENT", "ID")
            words: list[Any] = ["CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST"]
            for prefix in prefixes:
                words += ["PREFIX", prefix]
            self._ask(*words)
            self._ask("SUBSCRIBE", _TOPIC)
        except BaseException:
            self.close()
            raise

    def _ask(self, *words: Any) -> Any:
        self.connection.send_command(*words)
        return self.connection.read_response()

    def fileno(self) -> int:
        return int(self.connection._sock.fileno())

    def ping(self) -> None:
        self.connection.send_command("PING", check_health=False)

    def read(self) -> list[Event]:
        """What is there; it does not wait for more than the rest of a message."""
        events: list[Event] = []
        while self.connection.can_read(timeout=0):
            answer = self.connection.read_response()
            if not isinstance(answer, list):
                continue
            if answer[0] == b"message":
                events.append(Everything() if answer[2] is None else Changed(answer[2]))
            elif answer[0] == b"pong":
                events.append(Pong())
        return events

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.connection.disconnect()


class ServerSession:
    """A session on one server."""

    def __init__(self, connection: Any, prefixes: list[bytes]) -> None:
        self._server = Tracked(connection, prefixes)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)

    def fileno(self) -> int:
        return self._server.fileno()

    def ping(self) -> None:
        self._server.ping()

    def read(self, seconds: float) -> list[Event]:
        return self._server.read() if self._selector.select(max(seconds, 0)) else []

    def close(self) -> None:
        self._selector.close()
        self._server.close()
