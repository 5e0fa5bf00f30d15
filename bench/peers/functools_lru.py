# SPDX-License-Identifier: Apache-2.0
import functools

from peers import Peer, Place, one_by_one


class LruCache(Peer):
    name = "functools.lru_cache"
    mode = "maxsize = all records: what is measured is a hit"
    lacks = "expiry, sets, removal of one entry"
    shared = False
    can_set = False

    def __init__(self, place: Place) -> None:
        self.source: dict = {}
        self.get = functools.lru_cache(maxsize=place.count)(self.source.__getitem__)
        self.get_many = one_by_one(self.get)

    def fill(self, items) -> None:
        self.source.update(items)
        for key in self.source:
            self.get(key)


PEERS = [LruCache]
