# SPDX-License-Identifier: Apache-2.0
import cachetools

from peers import Peer, Place, one_by_one

TTL = 3600  # seconds: nothing expires while it is measured


class Cachetools(Peer):
    packages = ("cachetools",)
    shared = False

    def __init__(self, place: Place) -> None:
        self.store = self.make(place.count)
        self.get, self.set = self.store.get, self.store.__setitem__
        self.get_many = one_by_one(self.get)


class CachetoolsLru(Cachetools):
    name = "cachetools.LRUCache"
    mode = "maxsize = all records"
    lacks = "expiry, safety between threads"

    def make(self, count):
        return cachetools.LRUCache(maxsize=count)


class CachetoolsTtl(Cachetools):
    name = "cachetools.TTLCache"
    mode = "maxsize = all records, one ttl for all"
    lacks = "safety between threads"
    has_batches = False

    def make(self, count):
        return cachetools.TTLCache(maxsize=count, ttl=TTL)


PEERS = [CachetoolsLru, CachetoolsTtl]
