# SPDX-License-Identifier: Apache-2.0
import msgpack
import redis

from peers import Peer, Place

BATCH = 1000


class RedisOtherCore(Peer):
    """The server runs already; the harness moves it to the CPU before each turn."""

    name = "redis-py, server on the other core"
    packages = ("redis", "hiredis")
    mode = "unix socket, no persistence, no maxmemory"
    shares = "a server"
    lacks = "reads without a round trip; readers stop with the server"
    server = "redis"

    def __init__(self, place: Place) -> None:
        self.client = redis.Redis(unix_socket_path=str(place.folder / "redis.sock"))
        self.get, self.set, self.get_many = self.client.get, self.client.set, self.client.mget

    def fill(self, items) -> None:
        items = [(key, packed) for key, packed in items]
        for at in range(0, len(items), BATCH):
            self.client.mset(dict(items[at : at + BATCH]))


class RedisSameCore(RedisOtherCore):
    name = "redis-py, server on the same core"
    server_cpu = 0


class RedisMsgpack(RedisOtherCore):
    name = "redis-py + msgpack"
    packages = ("redis", "hiredis", "msgpack")
    mode = "unix socket, each value decoded"
    decoded = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        get, mget, put = self.client.get, self.client.mget, self.client.set
        pack, unpack = msgpack.packb, msgpack.unpackb
        self.get = lambda key: unpack(get(key))
        self.get_many = lambda keys: [unpack(value) for value in mget(keys)]
        self.set = lambda key, value: put(key, pack(value))


PEERS = [RedisSameCore, RedisOtherCore, RedisMsgpack]
