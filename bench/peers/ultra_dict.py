# SPDX-License-Identifier: Apache-2.0
from UltraDict import UltraDict

from peers import Peer, Place, block_name, blocks_of_shared_memory


class SharedUltraDict(Peer):
    name = "UltraDict"
    packages = ("UltraDict", "atomics")
    mode = "shared_lock=True; each process applies the updates of all to a dict of its own"
    shares = "a stream of pickled updates, in shared memory"
    lacks = "one copy per machine; bound, eviction, expiry; survival of its maker"
    has_batches = False

    def __init__(self, place: Place) -> None:
        self.block = block_name(place, "ud")
        room = 2 * place.bytes + (1 << 20)
        self.store = UltraDict(name=self.block, buffer_size=room, full_dump_size=room, shared_lock=True)
        self.get, self.set = self.store.get, self.store.__setitem__

    def file_bytes(self) -> int:
        return blocks_of_shared_memory(f"{self.block}*")

    def files(self) -> str:
        return self.block

    def close(self) -> None:
        self.store.close()


PEERS = [SharedUltraDict]
