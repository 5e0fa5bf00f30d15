# SPDX-License-Identifier: Apache-2.0
"""A proxy between a client and a server on this machine, to break the network between them.

    with Proxy(("127.0.0.1", 6379)) as proxy:
        client = redis.Redis(*proxy.address)
        proxy.hold()                    # as if packets were lost
        proxy.hold(to_server=False)     # only the answers are
        proxy.go_on()                   # every byte arrives, in order
        proxy.delay(0.05)               # each way
        proxy.refuse()                  # new connections
        proxy.cut()                     # connections there are, with RST
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeAlias, TypeVar

from forebay.testing._proxy_link import Direction, Link, reset
from forebay.testing.servers._ports import on_free_ports

__all__ = ["Address", "Proxy"]

Address: TypeAlias = tuple[str, int] | str | os.PathLike[str]
"""(host, port), or the path of a unix socket."""

BACKLOG = 1024
CALL_SECONDS = 60.0  # for the thread to get to it, on a loaded machine

_Result = TypeVar("_Result")
_proxies: weakref.WeakSet[Proxy] = weakref.WeakSet()


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int] | str]:
    """The family and the address as sockets take it, IPv4 or unix."""
    if isinstance(address, tuple):
        host, port = address
        return socket.AF_INET, (socket.gethostbyname(host), port)
    return socket.AF_UNIX, os.fspath(address)


class Proxy:
    """Takes connections on `address` and hands on what is said to and from `target`, in a thread of its own.

    `target` is (host, port) or the path of a unix socket; each connection looks it up
    again, so it may be changed.  `listen` is the path of a unix socket to make, or
    (host, port); without it a free port of loopback.  If the target takes no
    connection, the client's is reset.

    What a method does is done when it returns; methods may be called from any thread.
    After a fork the child has no part in it: methods raise RuntimeError there."""

    def __init__(self, target: Address, listen: Address = ("127.0.0.1", 0)) -> None:
        self.target = target
        self.accepted = 0
        """How many connections it has taken so far."""
        self._family, self._place = _resolve(listen)
        if isinstance(self._place, tuple) and self._place[1] == 0:
            host = self._place[0]
            self._listener = on_free_ports(1, lambda port: self._listen((host, port)))
        else:
            self._listener = self._listen(self._place)
        self._place = self._listener.getsockname()
        self._to_client, self._to_server = Direction(), Direction()
        self._links: set[Link] = set()
        self._watched: dict[socket.socket, int] = {}
        self._delayed: set[Link] = set()
        self._calls: deque[Callable[[], None]] = deque()
        self._failure: BaseException | None = None
        self._ending = False
        self._pid = os.getpid()
        self._accepts = True
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        _proxies.add(self)
        self._thread = threading.Thread(target=self._run, name="forebay-proxy", daemon=True)
        self._thread.start()

    # ---- for users ----

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) for clients; of a proxy on a unix socket see path."""
        if isinstance(self._place, str):
            raise RuntimeError("this proxy listens on a unix socket: see its path")
        return self._place

    @property
    def path(self) -> str:
        """The unix socket for clients."""
        if not isinstance(self._place, str):
            raise RuntimeError("this proxy listens on a port: see its address")
        return self._place

    @property
    def connections(self) -> int:
        """How many there are now, with those whose ends are not both closed."""
        return len(self._links)

    def cut(self) -> None:
        """Close all connections now, towards both ends: RST for TCP, the end for unix sockets.  What is underway is lost."""
        self._call(self._cut)

    def refuse(self) -> None:
        """From now on new connections are refused; those that there are stay."""
        self._call(self._refuse)

    def accept(self) -> None:
        """End refuse()."""
        self._call(self._accept_again)

    def hold(self, *, to_client: bool = True, to_server: bool = True) -> None:
        """From now on nothing is handed on in these directions: no byte, and no end of a connection.  Connections are still taken.

        A direction that is False stays as it is."""
        self._call(lambda: self._set_held(True, to_client, to_server))

    def go_on(self, *, to_client: bool = True, to_server: bool = True) -> None:
        """End hold() in these directions: all that was sent meanwhile is handed on, in order."""
        self._call(lambda: self._set_held(False, to_client, to_server))

    def delay(self, seconds: float, *, to_client: bool = True, to_server: bool = True) -> None:
        """From now on what arrives is handed on that much later in these directions; the throughput stays.  0: at once."""
        if seconds < 0:
            raise ValueError(f"a delay is not negative: {seconds}")
        self._call(lambda: self._set_delay(seconds, to_client, to_server))

    def close(self) -> None:
        """cut(), and listen no more; closing again does nothing."""
        if self._thread.is_alive() and not self._ending and os.getpid() == self._pid:
            self._call(self._end)
            self._thread.join()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ---- between threads ----

    def _call(self, function: Callable[[], _Result]) -> _Result:
        """function() in the proxy's thread."""
        if os.getpid() != self._pid:
            raise RuntimeError("a proxy belongs to the process that made it")
        if self._ending or self._failure is not None:
            raise RuntimeError("this proxy is closed") from self._failure
        done: Future[_Result] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        self._calls.append(run)
        with contextlib.suppress(BlockingIOError):  # full: it wakes anyway
            self._wake.send(b"!")
        return done.result(CALL_SECONDS)

    # ---- in the thread ----

    def _run(self) -> None:
        try:
            while not self._ending:
                self._turn()
        except BaseException as error:  # the caller's next method says so
            self._failure = error
            self._end()
        while self._calls:
            self._calls.popleft()()
        self._wake.close()
        self._woken.close()
        self._selector.close()

    def _turn(self) -> None:
        ready = self._selector.select(self._timeout())
        now = time.monotonic()
        for key, events in ready:
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is self._woken:
                self._run_calls()
            elif sock is self._listener:
                self._accept_all()
            elif key.data in self._links:
                self._advance(key.data, now, sock, events)
        for link in [link for link in self._delayed if (due := link.due()) is not None and due <= now]:
            self._advance(link, now)

    def _timeout(self) -> float | None:
        """Seconds until the first that is delayed is due."""
        first = min((due for link in self._delayed if (due := link.due()) is not None), default=None)
        return None if first is None else max(first - time.monotonic(), 0)

    def _run_calls(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._calls:
            self._calls.popleft()()

    def _advance(self, link: Link, now: float, sock: socket.socket | None = None, events: int = 0) -> None:
        """Let a connection do what it can, after events of one of its sockets; then wait for what it waits for, or forget it."""
        try:
            if sock is None:
                link.write(now)
            else:
                link.handle(sock, events, now)
        except OSError:
            self._drop(link, reset)
            return
        if link.over:
            self._drop(link, socket.socket.close)
            return
        for sock in link.sockets:
            self._watch(sock, link.wanted(sock, now), link)
        due = link.due()
        if due is not None and due > now:
            self._delayed.add(link)
        else:
            self._delayed.discard(link)

    def _watch(self, sock: socket.socket, events: int, link: Link) -> None:
        before = self._watched.get(sock, 0)
        if events == before:
            return
        if not before:
            self._selector.register(sock, events, link)
        elif events:
            self._selector.modify(sock, events, link)
        else:
            self._selector.unregister(sock)
        self._watched[sock] = events

    def _drop(self, link: Link, close: Callable[[socket.socket], None]) -> None:
        for sock in link.sockets:
            self._watch(sock, 0, link)
            self._watched.pop(sock, None)
            close(sock)
        self._links.discard(link)
        self._delayed.discard(link)

    def _accept_all(self) -> None:
        while self._accepts:
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self.accepted += 1
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        family, place = _resolve(self.target)
        server = socket.socket(family)
        for sock in (client, server):
            sock.setblocking(False)
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(client, server, self._to_client, self._to_server)
        self._links.add(link)
        error = server.connect_ex(place)
        now = time.monotonic()
        if error in (0, errno.EINPROGRESS):
            self._advance(link, now)
        else:
            self._drop(link, reset)

    # ---- what users call, in the thread ----

    def _advance_all(self) -> None:
        now = time.monotonic()
        for link in list(self._links):
            self._advance(link, now)

    def _set_held(self, held: bool, to_client: bool, to_server: bool) -> None:
        for direction, wanted in ((self._to_client, to_client), (self._to_server, to_server)):
            if wanted:
                direction.held = held
        self._advance_all()

    def _set_delay(self, seconds: float, to_client: bool, to_server: bool) -> None:
        for direction, wanted in ((self._to_client, to_client), (self._to_server, to_server)):
            if wanted:
                direction.delay = seconds

    def _cut(self) -> None:
        if self._accepts:
            self._accept_all()
        for link in list(self._links):
            self._drop(link, reset)

    def _listen(self, place: tuple[str, int] | str) -> socket.socket:
        listener = socket.socket(self._family)
        try:
            if self._family == socket.AF_INET:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _refuse(self) -> None:
        if not self._accepts:
            return
        self._accept_all()
        self._accepts = False
        self._selector.unregister(self._listener)
        if self._family == socket.AF_UNIX:
            self._listener.close()  # its file stays, and who connects is refused
        else:
            self._listener.shutdown(socket.SHUT_RD)  # Linux: it listens no more, and keeps a port that bind() was given

    def _accept_again(self) -> None:
        if self._accepts:
            return
        if self._family == socket.AF_UNIX:
            os.unlink(self.path)
            self._listener = self._listen(self._place)
        else:
            self._listener.listen(BACKLOG)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._accepts = True

    def _end(self) -> None:
        self._ending = True
        self._cut()
        self._listener.close()
        if self._family == socket.AF_UNIX:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def _forget(self) -> None:
        """In the child of a fork: its copies must not keep connections open."""
        with contextlib.suppress(AttributeError):  # one that was being made
            for sock in [self._listener, self._wake, self._woken, *(sock for link in self._links for sock in link.sockets)]:
                sock.close()
            self._selector.close()


def _forget_all() -> None:
    for proxy in list(_proxies):
        proxy._forget()


os.register_at_fork(after_in_child=_forget_all)
