# SPDX-License-Identifier: Apache-2.0
"""Stores on the clients for asyncio of redis-py and valkey-py; _redis_store.py says what of them is used, and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from forebay.tiers import _redis_commands as redis
from forebay.tiers._redis_clients import (
    VALUE_MAX,
    Address,
    address_of_pool,
    arguments_of_get_connection,
    as_reached,
    errors_of,
    initialize,
)
from forebay.tiers._redis_commands import Command
from forebay.tiers._store import Item


class Lane:
    """What one server is to do, by one connection of a client's pool."""

    def __init__(self, server: str, source: Any) -> None:
        self.server, self.source = server, source
        self.commands: list[Command] = []

    async def _take(self) -> Any:
        return await self.source.get_connection(*arguments_of_get_connection(self.source))

    async def _give(self, connection: Any) -> None:
        await self.source.release(connection)

    async def exchange(self, response_error: type[Exception]) -> None:
        """Write and read; cancelled or failed, the connection is ended."""
        connection = await self._take()
        done = False
        try:
            await connection.send_packed_command(redis.packed(self.commands))
            for command in self.commands:
                if command.ask is not None:
                    await _read_one(connection, response_error)
                command.answer = await _read_one(connection, response_error)
            done = True
        finally:
            try:
                if not done:
                    await connection.disconnect(nowait=True)
            finally:
                await self._give(connection)


class NodeLane(Lane):
    """By a connection of a cluster's node, which keeps them itself, and does not look whether they have ended."""

    async def _take(self) -> Any:
        connection = self.source.acquire_connection()
        try:
            if hasattr(self.source, "disconnect_if_needed"):
                await self.source.disconnect_if_needed(connection)
            if connection.is_connected and await _has_ended(connection):
                await connection.disconnect(nowait=True)
        except BaseException:
            await self._give(connection)
            raise
        return connection

    async def _give(self, connection: Any) -> None:
        if hasattr(self.source, "release"):
            self.source.release(connection)
        else:  # before redis-py 7, and valkey-py
            self.source._free.append(connection)


async def _read_one(connection: Any, response_error: type[Exception]) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except response_error as error:  # of this command; the connection goes on
        return error


async def _has_ended(connection: Any) -> bool:
    """By the server, or there is something in it that nobody has read."""
    look = connection.can_read if hasattr(connection, "can_read") else connection.can_read_destructive
    try:
        return bool(await look())
    except Exception:  # its sign for a connection that has ended: OSError, or an error of the driver's
        return True


class RedisStore:
    """On a Redis or Valkey client for asyncio: one server, by TCP, TLS, a unix socket, or found by Sentinel."""

    asynchronous = True
    item_max = VALUE_MAX
    name_max = VALUE_MAX

    def __init__(self, client: Any, driver: str) -> None:
        self._client = client
        self._errors = redis.Errors(driver)
        self.errors = errors_of(driver)
        address = self._address(driver)
        self.timeout, self.connect_timeout = address.timeout, address.connect_timeout
        self.retries, self.describe = address.retries, address.text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe} for asyncio>"

    # ---- of a store ----

    async def get_many(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        return redis.values(await self._run(redis.reads(self._groups(names))))

    async def get_heads(self, names: Sequence[bytes], length: int) -> dict[bytes, bytes]:
        return redis.filled(await self._run(redis.heads(names, length)))

    async def place_many(self, names: Sequence[bytes], placeholder: bytes, milliseconds: int) -> set[bytes]:
        return redis.done(await self._run(redis.sets([(name, placeholder, milliseconds) for name in names], b"NX")))

    async def replace_many(self, items: Sequence[Item], prefix: bytes) -> set[bytes]:
        redis.check_prefix(prefix)
        return redis.done(await self._run(redis.replaces(items, prefix)))

    async def set_many(self, items: Sequence[Item]) -> None:
        redis.raise_first(await self._run(redis.sets(items)))

    async def delete_many(self, names: Sequence[bytes]) -> None:
        redis.raise_first(await self._run(redis.deletes(self._groups(names))))

    async def ping(self) -> None:
        lanes = await self._all_lanes()
        for lane in lanes:
            lane.commands.append(Command((b"PING",), ()))
        await self._exchange(lanes)
        for lane in lanes:
            redis.raise_first(lane.commands)

    # ---- rounds ----

    async def _run(self, commands: list[Command]) -> list[Command]:
        """Send them, follow what redirects, and return them, or what took their place, with their answers."""
        answered: list[Command] = []
        for _ in range(redis.ROUNDS):
            if not commands:
                break
            await self._exchange(await self._lanes(commands))
            moved: list[Any] = []
            now, again = self._errors.sort(commands, moved.append)
            for error in moved:
                await self._moved(error)
            answered += now
            last, commands = commands, again
        else:
            answered += [command for command in last if isinstance(command.answer, Exception)]
        return answered

    async def _exchange(self, lanes: list[Lane]) -> None:
        """With all servers at the same time; when all have ended, the first error is raised."""
        if len(lanes) == 1:
            return await self._attempt(lanes[0])
        found = await asyncio.gather(*(self._attempt(lane) for lane in lanes), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException):
                raise error

    async def _attempt(self, lane: Lane) -> None:
        try:
            await lane.exchange(self._errors.response)
        except self.errors as error:
            if not isinstance(error, self._errors.full):
                self._lost(lane.server)
            raise

    # ---- what a cluster does otherwise ----

    def _address(self, driver: str) -> Address:
        return address_of_pool(driver, self._client.connection_pool)

    def _groups(self, names: Sequence[bytes]) -> list[Sequence[bytes]]:
        """Of names, those that one command may have."""
        return redis.chunks(names)

    async def _lanes(self, commands: list[Command]) -> list[Lane]:
        (lane,) = await self._all_lanes()
        lane.commands = commands
        return [lane]

    async def _all_lanes(self) -> list[Lane]:
        return [Lane("", self._client.connection_pool)]

    async def _moved(self, error: Any) -> None:
        """A slot is elsewhere.  A server that says so is of a cluster, which the client does not know."""
        raise error

    def _lost(self, server: str) -> None:
        """A server is not there, or does not answer."""


class ClusterStore(RedisStore):
    """On a RedisCluster or ValkeyCluster client for asyncio: each primary gets what is its own, all at the same time.

    After a node was lost, the next call first asks the others who has its slots."""

    def __init__(self, client: Any, driver: str) -> None:
        self._slot_of = sys.modules[f"{driver}.crc"].key_slot
        self._gone: set[str] = set()  # nodes that were lost since the map of slots was read
        super().__init__(client, driver)

    def _address(self, driver: str) -> Address:
        node = next(iter(self._client.nodes_manager.startup_nodes.values()))
        return Address(driver, node.connection_class(**node.connection_kwargs), clustered=True)

    def _groups(self, names: Sequence[bytes]) -> list[Sequence[bytes]]:
        return redis.by_slot(names, self._slot_of)

    async def _run(self, commands: list[Command]) -> list[Command]:
        if commands:
            await self._make_ready()
        answered = await super()._run(commands)
        if any(isinstance(command.answer, self._errors.down) for command in answered):
            self._gone.add("")
        return answered

    async def _lanes(self, commands: list[Command]) -> list[Lane]:
        lanes: dict[str, Lane] = {}
        for command in commands:
            node = await self._node_of(command)
            lane = lanes.get(node.name)
            if lane is None:
                lane = lanes[node.name] = NodeLane(node.name, node)
            lane.commands.append(command)
        return list(lanes.values())

    async def _all_lanes(self) -> list[Lane]:
        await self._make_ready()
        return [NodeLane(node.name, node) for node in self._client.get_primaries()]

    async def _node_of(self, command: Command) -> Any:
        nodes = self._client.nodes_manager
        if command.ask is None:
            slot = self._slot_of(command.names[0])
            if owners := nodes.slots_cache.get(slot):  # the first is the primary; get_node_from_slot() takes 1 us
                return owners[0]
            try:
                return nodes.get_node_from_slot(slot)
            except (self._errors.uncovered, KeyError) as error:  # a slot that no node has: KeyError with some of the drivers
                self._gone.add("")
                if isinstance(error, KeyError):
                    raise self._errors.uncovered(f"no node of {self.describe} has slot {error}") from None
                raise
        host, port = as_reached(nodes, *command.ask)
        node = nodes.get_node(host, port)
        if node is None:  # a node that has joined since the map was read
            await nodes.initialize()
            node = nodes.get_node(host, port)
        if node is None:
            raise self._errors.connection(f"{self.describe} has no node {host}:{port}, to which it refers")
        return node

    async def _moved(self, error: Any) -> None:
        nodes = self._client.nodes_manager
        error.host, error.port = as_reached(nodes, error.host, error.port)
        if hasattr(nodes, "move_slot"):
            await nodes.move_slot(error)
        else:  # before redis-py 7, and valkey-py: noted, and done when a slot is next looked for
            nodes._moved_exception = error
            nodes.get_node_from_slot(error.slot_id)

    def _lost(self, server: str) -> None:
        self._gone.add(server)

    async def _make_ready(self) -> None:
        """Read the map of slots: at first, and after a node was lost, not from that one if there are others."""
        if self._client._initialize:
            await self._client.initialize()
        if not self._gone:
            return
        gone, self._gone = self._gone, set()
        try:
            await initialize(self._client.nodes_manager, gone)
        except BaseException:
            self._gone |= gone
            raise
