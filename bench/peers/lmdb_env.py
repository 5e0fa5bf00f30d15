# SPDX-License-Identifier: Apache-2.0
import lmdb
import msgpack

from peers import Peer, Place, blocks


class LmdbTransactionPerGet(Peer):
    name = "lmdb, transaction per get"
    packages = ("lmdb",)
    mode = "writemap, no sync; each get begins and ends a transaction"
    shares = "a mapped file"
    lacks = "eviction, expiry; one writer at a time"

    def __init__(self, place: Place) -> None:
        self.path = place.folder / self.name.replace(" ", "-")
        self.env = lmdb.open(str(self.path), subdir=False, map_size=8 * place.bytes, sync=False,
                             writemap=True, readahead=False)  # fmt: skip

    def key(self, key: str) -> bytes:
        return key.encode()

    def get(self, key):
        with self.env.begin() as transaction:
            return transaction.get(key)

    def set(self, key, value):
        with self.env.begin(write=True) as transaction:
            transaction.put(key, value)

    def get_many(self, keys):
        with self.env.begin() as transaction:
            return transaction.cursor().getmulti(keys)

    def fill(self, items) -> None:
        with self.env.begin(write=True) as transaction:
            for key, value in items:
                transaction.put(self.key(key), value)

    def file_bytes(self) -> int:
        return blocks(self.path)

    def files(self) -> str:
        return str(self.path)

    def close(self) -> None:
        self.env.close()


class LmdbLongTransaction(LmdbTransactionPerGet):
    name = "lmdb, one long transaction"
    mode = "writemap, no sync; one transaction for all gets"
    lacks = "what others write after it began; eviction, expiry"
    can_set = False

    def ready(self) -> None:
        self.transaction = self.env.begin()
        self.get = self.transaction.get
        self.get_many = self.transaction.cursor().getmulti


class LmdbMsgpack(LmdbLongTransaction):
    name = "lmdb + msgpack"
    packages = ("lmdb", "msgpack")
    mode = "one transaction for all gets, each value decoded"
    decoded = True

    def ready(self) -> None:
        super().ready()
        get, getmulti, unpack = self.get, self.get_many, msgpack.unpackb
        self.get = lambda key: unpack(get(key))
        self.get_many = lambda keys: [unpack(value) for _, value in getmulti(keys)]


PEERS = [LmdbLongTransaction, LmdbTransactionPerGet, LmdbMsgpack]
