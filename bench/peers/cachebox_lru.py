# SPDX-License-Identifier: Apache-2.0
import cachebox

from peers import Peer, Place


class CacheboxLru(Peer):
    name = "cachebox.LRUCache"
    packages = ("cachebox",)
    mode = "maxsize = all records"
    lacks = "expiry (its TTLCache has it)"
    shared = False
    has_batches = False

    def __init__(self, place: Place) -> None:
        self.store = cachebox.LRUCache(place.count)
        self.get, self.set = self.store.get, self.store.insert


PEERS = [CacheboxLru]
