# SPDX-License-Identifier: Apache-2.0
import cachetools

from peers import Peer, Place, one_by_one


class CachetoolsLru(Peer):
    name = "cachetools.LRUCache"
    shared = False

    def __init__(self, place: Place) -> None:
        self.store = cachetools.LRUCache(maxsize=place.count)
        self.get, self.set = self.store.get, self.store.__setitem__
        self.get_many = one_by_one(self.get)


PEERS = [CachetoolsLru]
