# SPDX-License-Identifier: Apache-2.0
import diskcache

from peers import Peer, Place, blocks, one_by_one


class DiskCache(Peer):
    name = "diskcache"
    packages = ("diskcache",)
    mode = "Cache, in /dev/shm, size_limit above all records"
    shares = "files: SQLite, large values beside it"
    lacks = "reads of many keys at once"

    def __init__(self, place: Place) -> None:
        self.path = place.folder / "diskcache"
        self.store = diskcache.Cache(str(self.path), size_limit=8 * place.bytes)
        self.get, self.set = self.store.get, self.store.set
        self.get_many = one_by_one(self.get)

    def fill(self, items) -> None:
        with self.store.transact():
            super().fill(items)

    def file_bytes(self) -> int:
        return blocks(self.path)

    def close(self) -> None:
        self.store.close()


PEERS = [DiskCache]
