# SPDX-License-Identifier: Apache-2.0
from manager_server import connect
from peers import Peer, Place

BATCH = 1000


class ManagerDict(Peer):
    name = "multiprocessing.Manager dict"
    mode = "unix socket, the manager on the other core, values pickled"
    shares = "a server: the manager's process"
    lacks = "bound, eviction, expiry; reads without a round trip; readers stop with the manager"
    server = "manager"
    has_batches = False

    def __init__(self, place: Place) -> None:
        self.store = connect(place.folder)
        self.get, self.set = self.store.get, self.store.__setitem__

    def fill(self, items) -> None:
        items = list(items)
        for at in range(0, len(items), BATCH):
            self.store.update(items[at : at + BATCH])


PEERS = [ManagerDict]
