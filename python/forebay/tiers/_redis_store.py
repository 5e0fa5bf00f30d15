# SPDX-License-Identifier: Apache-2.0
"""Stores on the clients for threads of redis-py and valkey-py.

They use the connections of the client's pools, and on a cluster its map of slots, but
not its methods, because those

- send the nodes of a cluster what is theirs one after another, or name by name;
- try a command again that was not answered, so that one of many names takes many times
  `timeout`;
- ask a cluster which of the words of EVALSHA are keys, once for each of them;
- decode what is stored, where the client has decode_responses.

So what counts is the client's address, credentials, TLS, protocol, timeouts, and size
of the pool; its Retry when it connects (Facts.retries).

Of redis-py 4, the clients for asyncio raise AttributeError instead of a TimeoutError on
a unix socket, and do not see that a server was restarted; with 5 and later they do."""

from __future__ import annotations

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
    """What one server is to do, by one connection."""

    def __init__(self, server: str, pool: Any) -> None:
        self.server, self.pool = server, pool
        self.commands: list[Command] = []
        self.connection: Any = None
        self.silent = True  # no answer is under way

    def open(self) -> None:
        self.connection = self.pool.get_connection(*arguments_of_get_connection(self.pool))

    def write(self) -> None:
        self.silent = False
        self.connection.send_packed_command(redis.packed(self.commands))

    def read(self, response_error: type[Exception]) -> None:
        for command in self.commands:
            if command.ask is not None:
                self._read_one(response_error)
            command.answer = self._read_one(response_error)
        self.silent = True

    def _read_one(self, response_error: type[Exception]) -> Any:
        try:
            return self.connection.read_response(disable_decoding=True)
        except response_error as error:  # of this command; the connection goes on
            return error

    def close(self) -> None:
        """Give the connection back; not with answers in it that nobody will read."""
        if self.connection is None:
            return
        try:
            if not self.silent:
                self.connection.disconnect()
        finally:
            self.pool.release(self.connection)


class RedisStore:
    """On a Redis or Valkey client: one server, by TCP, TLS, a unix socket, or found by Sentinel."""

    asynchronous = False
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
        return f"<{type(self).__name__} {self.describe}>"

    # ---- of a store ----

    def get_many(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        return redis.values(self._run(redis.reads(self._groups(names))))

    def get_heads(self, names: Sequence[bytes], length: int) -> dict[bytes, bytes]:
        return redis.filled(self._run(redis.heads(names, length)))

    def place_many(self, names: Sequence[bytes], placeholder: bytes, milliseconds: int) -> set[bytes]:
        return redis.done(self._run(redis.sets([(name, placeholder, milliseconds) for name in names], b"NX")))

    def replace_many(self, items: Sequence[Item], prefix: bytes) -> set[bytes]:
        redis.check_prefix(prefix)
        return redis.done(self._run(redis.replaces(items, prefix)))

    def set_many(self, items: Sequence[Item]) -> None:
        redis.raise_first(self._run(redis.sets(items)))

    def delete_many(self, names: Sequence[bytes]) -> None:
        redis.raise_first(self._run(redis.deletes(self._groups(names))))

    def ping(self) -> None:
        lanes = self._all_lanes()
        for lane in lanes:
            lane.commands.append(Command((b"PING",), ()))
        self._exchange(lanes)
        for lane in lanes:
            redis.raise_first(lane.commands)

    # ---- rounds ----

    def _run(self, commands: list[Command]) -> list[Command]:
        """Send them, follow what redirects, and return them, or what took their place, with their answers."""
        answered: list[Command] = []
        for _ in range(redis.ROUNDS):
            if not commands:
                break
            self._exchange(self._lanes(commands))
            now, again = self._errors.sort(commands, self._moved)
            answered += now
            last, commands = commands, again
        else:
            answered += [command for command in last if isinstance(command.answer, Exception)]
        return answered

    def _exchange(self, lanes: list[Lane]) -> None:
        """Write to all servers, then read from them.  The first that fails ends it."""
        try:
            for lane in lanes:
                self._attempt(lane, lane.open)
                self._attempt(lane, lane.write)
            for lane in lanes:
                self._attempt(lane, lambda lane=lane: lane.read(self._errors.response))
        finally:
            for lane in lanes:
                lane.close()

    def _attempt(self, lane: Lane, step: Any) -> None:
        try:
            step()
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

    def _lanes(self, commands: list[Command]) -> list[Lane]:
        (lane,) = self._all_lanes()
        lane.commands = commands
        return [lane]

    def _all_lanes(self) -> list[Lane]:
        return [Lane("", self._client.connection_pool)]

    def _moved(self, error: Any) -> None:
        """A slot is elsewhere.  A server that says so is of a cluster, which the client does not know."""
        raise error

    def _lost(self, server: str) -> None:
        """A server is not there, or does not answer."""


class ClusterStore(RedisStore):
    """On a RedisCluster or ValkeyCluster client: each primary gets what is its own.

    After a node was lost, the next call first asks the others who has its slots: so the
    call that notices takes no longer than `timeout`."""

    def __init__(self, client: Any, driver: str) -> None:
        self._slot_of = sys.modules[f"{driver}.crc"].key_slot
        self._client_of = getattr(client, f"get_{driver}_connection")
        self._gone: set[str] = set()  # nodes that were lost since the map of slots was read
        super().__init__(client, driver)

    def _address(self, driver: str) -> Address:
        pool = self._pool_of(self._client.get_default_node())
        return Address(driver, pool.connection_class(**pool.connection_kwargs), clustered=True)

    def _pool_of(self, node: Any) -> Any:
        return self._client_of(node).connection_pool

    def _groups(self, names: Sequence[bytes]) -> list[Sequence[bytes]]:
        return redis.by_slot(names, self._slot_of)

    def _run(self, commands: list[Command]) -> list[Command]:
        if self._gone and commands:
            self._look_again()
        answered = super()._run(commands)
        if any(isinstance(command.answer, self._errors.down) for command in answered):
            self._gone.add("")
        return answered

    def _lanes(self, commands: list[Command]) -> list[Lane]:
        lanes: dict[str, Lane] = {}
        for command in commands:
            node = self._node_of(command)
            lane = lanes.get(node.name)
            if lane is None:
                lane = lanes[node.name] = Lane(node.name, self._pool_of(node))
            lane.commands.append(command)
        # In one order: who waits for a connection has none that the other waits for.
        return [lanes[name] for name in sorted(lanes)]

    def _all_lanes(self) -> list[Lane]:
        if self._gone:
            self._look_again()
        nodes = {node.name: node for node in self._client.get_primaries()}
        return [Lane(name, self._pool_of(nodes[name])) for name in sorted(nodes)]

    def _node_of(self, command: Command) -> Any:
        nodes = self._client.nodes_manager
        if command.ask is None:
            slot = self._slot_of(command.names[0])
            if owners := nodes.slots_cache.get(slot):  # the first is the primary; get_node_from_slot() takes 1 us
                return owners[0]
            try:
                return nodes.get_node_from_slot(slot)
            except self._errors.uncovered:
                self._gone.add("")
                raise
        host, port = as_reached(nodes, *command.ask)
        node = nodes.get_node(host, port)
        if node is None:  # a node that has joined since the map was read
            nodes.initialize()
            node = nodes.get_node(host, port)
        if node is None:
            raise self._errors.connection(f"{self.describe} has no node {host}:{port}, to which it refers")
        return node

    def _moved(self, error: Any) -> None:
        nodes = self._client.nodes_manager
        error.host, error.port = as_reached(nodes, error.host, error.port)
        if hasattr(nodes, "move_slot"):
            nodes.move_slot(error)
        else:  # before redis-py 7, and valkey-py: noted, and done when a slot is next looked for
            nodes.update_moved_exception(error)
            nodes.get_node_from_slot(error.slot_id)

    def _lost(self, server: str) -> None:
        self._gone.add(server)

    def _look_again(self) -> None:
        """Read the map of slots anew, not from those that were lost if there are others."""
        gone, self._gone = self._gone, set()
        try:
            initialize(self._client.nodes_manager, gone)
        except BaseException:
            self._gone |= gone
            raise
