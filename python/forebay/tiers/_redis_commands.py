# SPDX-License-Identifier: Apache-2.0
"""What stores say to Redis and Valkey, and what the answers mean; the same for threads and for asyncio.

A store sends Commands in rounds.  What a node answers with MOVED, ASK, TRYAGAIN or
NOSCRIPT is sent again in the next round, as that answer asks for; all of it in one more
round trip, not name by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Word = bytes | int
ROUNDS = 6  # of redirections, after which a cluster is not in order
MGET_MOST = 1000  # names in one command: the server does nothing else meanwhile
SEND_MOST = 64 * 1024  # bytes that a socket is given at once, but for the end of a command

# Compare and set.  pcall: what is there may be no string, and is not replaced.
SCRIPT = b"""\
local head = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[1] - 1)
if type(head) ~= 'string' or head ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1"""


def _digest(script: bytes) -> bytes:
    import hashlib

    return hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()


SCRIPT_DIGEST = _digest(SCRIPT)


class Command:
    """Words for a server, and its answer: a value, or the driver's error for this command alone."""

    __slots__ = ("answer", "ask", "names", "words")

    def __init__(self, words: Sequence[Word], names: Sequence[bytes], ask: tuple[str, int] | None = None) -> None:
        self.words = words
        self.names = names  # all of one slot, on a cluster
        self.ask = ask  # the node that is to be asked although it does not have the slot yet
        self.answer: Any = None

    @property
    def many(self) -> bool:
        return len(self.names) > 1

    def each(self, ask: tuple[str, int] | None) -> list[Command]:
        """The same by one command for each name."""
        if not self.many:
            return [Command(self.words, self.names, ask)]
        verb = b"GET" if self.words[0] == b"MGET" else self.words[0]
        return [Command((verb, name), (name,), ask) for name in self.names]

    def values(self) -> Iterable[tuple[bytes, Any]]:
        """The answer for each name."""
        if self.words[0] == b"MGET" and not isinstance(self.answer, Exception):
            return zip(self.names, self.answer)
        return [(name, self.answer) for name in self.names]


class Errors:
    """The driver's, and what each asks for."""

    def __init__(self, driver: str) -> None:
        exceptions = sys.modules[f"{driver}.exceptions"]
        self.connection: type[Exception] = exceptions.ConnectionError
        self.timeout: type[Exception] = exceptions.TimeoutError
        self.full: Any = getattr(exceptions, "MaxConnectionsError", ())  # of the client's pool: no server was asked
        self.response: type[Exception] = exceptions.ResponseError
        self.moved: Any = exceptions.MovedError
        self.ask: Any = exceptions.AskError
        self.again: type[Exception] = exceptions.TryAgainError
        self.script: type[Exception] = exceptions.NoScriptError
        self.down: type[Exception] = exceptions.ClusterDownError
        self.uncovered: type[Exception] = exceptions.SlotNotCoveredError

    def sort(self, commands: Iterable[Command], moved: Callable[[Any], None]) -> tuple[list[Command], list[Command]]:
        """Those that are answered, and what is to be sent in the next round; moved(error) for each slot that is elsewhere."""
        answered: list[Command] = []
        again: list[Command] = []
        for command in commands:
            error = command.answer
            if not isinstance(error, Exception):
                answered.append(command)
            elif isinstance(error, self.moved):
                moved(error)
                again.append(Command(command.words, command.names))
            elif isinstance(error, self.ask):
                again += command.each((error.host, error.port))
            elif isinstance(error, self.again):
                again += command.each(command.ask)
            elif isinstance(error, self.script):
                again.append(Command((b"EVAL", SCRIPT, *command.words[2:]), command.names, command.ask))
            else:
                answered.append(command)
        return answered, again


# ---- commands ----


def check_prefix(prefix: bytes) -> None:
    if not prefix:
        raise ValueError("prefix is empty")


def reads(groups: Iterable[Sequence[bytes]]) -> list[Command]:
    """MGET of groups, each in one command."""
    return [Command((b"MGET", *names) if len(names) > 1 else (b"GET", names[0]), names) for names in groups]


def heads(names: Iterable[bytes], length: int) -> list[Command]:
    return [Command((b"GETRANGE", name, 0, length - 1), (name,)) for name in names]


def deletes(groups: Iterable[Sequence[bytes]]) -> list[Command]:
    return [Command((b"UNLINK", *names), names) for names in groups]


def sets(items: Iterable[tuple[bytes, bytes, int]], *options: bytes) -> list[Command]:
    return [
        Command((b"SET", name, data, *options, *((b"PX", milliseconds) if milliseconds else ())), (name,))
        for name, data, milliseconds in items
    ]


def replaces(items: Iterable[tuple[bytes, bytes, int]], prefix: bytes) -> list[Command]:
    return [
        Command((b"EVALSHA", SCRIPT_DIGEST, 1, name, prefix, data, milliseconds), (name,)) for name, data, milliseconds in items
    ]


def packed(commands: Iterable[Command]) -> list[bytes]:
    """Commands as they are sent, in pieces of SEND_MOST bytes and the rest of a command.

    The drivers' own way takes several times as long: words may be of any type there.
    """
    sent: list[bytes] = []
    pieces: list[bytes] = []
    size = 0
    for command in commands:
        if command.ask is not None:
            pieces.append(_packed((b"ASKING",)))
        data = _packed(command.words)
        pieces.append(data)
        size += len(data)
        if size >= SEND_MOST:
            sent.append(b"".join(pieces))
            pieces.clear()
            size = 0
    if pieces:
        sent.append(b"".join(pieces))
    return sent


def _packed(words: Sequence[Any]) -> bytes:
    if len(words) == 2:  # GET, of which there are most: in one step
        verb, name = words
        return b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(verb), verb, len(name), name)
    data = [word if isinstance(word, bytes) else b"%d" % word for word in words]
    return b"*%d\r\n" % len(data) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in data])


def chunks(names: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Groups for one server."""
    if len(names) <= MGET_MOST:
        return [names] if names else []
    return [names[start : start + MGET_MOST] for start in range(0, len(names), MGET_MOST)]


def by_slot(names: Sequence[bytes], slot_of: Callable[[bytes], int]) -> list[Sequence[bytes]]:
    """Groups of which each is of one slot: names with the same {tag}.  Most others are alone."""
    if b"{" not in b"".join(names):
        return [(name,) for name in names]
    slots: dict[int, list[bytes]] = {}
    for name in names:
        slots.setdefault(slot_of(name), []).append(name)
    return [chunk for group in slots.values() for chunk in chunks(group)]


# ---- answers ----


def values(commands: Iterable[Command]) -> dict[bytes, bytes]:
    """What was read.  What another program made something else of is absent; any other error is raised."""
    found: dict[bytes, bytes] = {}
    for command in commands:
        if isinstance(command.answer, bytes):  # most are
            found[command.names[0]] = command.answer
            continue
        for name, answer in command.values():
            if isinstance(answer, Exception):
                if not str(answer).startswith("WRONGTYPE"):
                    raise answer
            elif answer is not None:
                found[name] = answer
    return found


def filled(commands: Iterable[Command]) -> dict[bytes, bytes]:
    """What was read and is not empty: to GETRANGE, absent is as empty."""
    return {name: head for name, head in values(commands).items() if head}


def done(commands: Iterable[Command]) -> set[bytes]:
    """The names of those that did something; an error is raised."""
    raise_first(commands)
    return {command.names[0] for command in commands if command.answer}


def raise_first(commands: Iterable[Command]) -> None:
    for command in commands:
        if isinstance(command.answer, Exception):
            raise command.answer
