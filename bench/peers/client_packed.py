# SPDX-License-Identifier: Apache-2.0
"""What a service can do by itself: values compressed before they are stored, with
zstd, level 3, and a dictionary of 110 KiB trained from the first of them."""

from itertools import chain, islice

import zstandard

from peers.lmdb_env import LmdbLongTransaction
from peers.redis_server import RedisOtherCore

SAMPLES = 5000
DICTIONARY = 110 << 10


class ByClient:
    """Compresses on the way in; `unpack` of a bytes object on the way out."""

    def learn(self, items):
        """Train, and give all items back, compressed."""
        items = iter(items)
        first = list(islice(items, SAMPLES))
        dictionary = zstandard.train_dictionary(DICTIONARY, [packed for _, packed in first])
        self.save(dictionary.as_bytes())
        self.use(dictionary)
        return ((key, self.pack(packed)) for key, packed in chain(first, items))

    def use(self, dictionary):
        self.pack = zstandard.ZstdCompressor(level=3, dict_data=dictionary).compress
        self.unpack = zstandard.ZstdDecompressor(dict_data=dictionary).decompress


class LmdbPacked(ByClient, LmdbLongTransaction):
    name = "lmdb + zstd by the client"
    packages = ("lmdb", "zstandard")
    mode = "one transaction for all gets, each value decompressed with a dictionary"

    def save(self, dictionary):
        super().fill([("dictionary", dictionary)])

    def fill(self, items):
        super().fill(self.learn(items))

    def ready(self):
        super().ready()
        get, getmulti = self.get, self.get_many
        self.use(zstandard.ZstdCompressionDict(get(b"dictionary")))
        unpack = self.unpack
        self.get = lambda key: unpack(get(key))
        self.get_many = lambda keys: [unpack(value) for _, value in getmulti(keys)]


class RedisPacked(ByClient, RedisOtherCore):
    name = "redis-py + zstd by the client"
    packages = ("redis", "hiredis", "zstandard")
    mode = "unix socket, each value decompressed with a dictionary"

    def save(self, dictionary):
        self.client.set("dictionary", dictionary)

    def fill(self, items):
        super().fill(("z" + key, packed) for key, packed in self.learn(items))

    def key(self, key):
        return "z" + key  # beside those of the others

    def ready(self):
        get, mget, put = self.client.get, self.client.mget, self.client.set
        self.use(zstandard.ZstdCompressionDict(get("dictionary")))
        pack, unpack = self.pack, self.unpack
        self.get = lambda key: unpack(get(key))
        self.get_many = lambda keys: [unpack(value) for value in mget(keys)]
        self.set = lambda key, value: put(key, pack(value))


PEERS = [LmdbPacked, RedisPacked]
