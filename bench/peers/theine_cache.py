# SPDX-License-Identifier: Apache-2.0
import theine

from peers import Peer, Place


class Theine(Peer):
    name = "theine.Cache"
    packages = ("theine",)
    mode = "W-TinyLFU, size = twice the records, so that none is refused; get() gives (value, found), which is unpacked"
    lacks = "reads of many keys at once"
    shared = False
    has_batches = False

    def __init__(self, place: Place) -> None:
        self.store = theine.Cache(2 * place.count)
        self.set = self.store.set

    def get(self, key):
        value, _ = self.store.get(key)
        return value

    def close(self) -> None:
        self.store.close()


PEERS = [Theine]
