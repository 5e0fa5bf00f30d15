# SPDX-License-Identifier: Apache-2.0
from peers import Peer, Place, one_by_one


class Dict(Peer):
    name = "dict"
    mode = "a dict of bytes in each process"
    lacks = "bound, eviction, expiry"
    shared = False

    def __init__(self, place: Place) -> None:
        self.store: dict = {}
        self.get, self.set = self.store.get, self.store.__setitem__
        self.get_many = one_by_one(self.get)


class DictOfDicts(Dict):
    name = "dict of dicts"
    mode = "a dict of decoded records in each process"
    decoded = True


PEERS = [Dict, DictOfDicts]
