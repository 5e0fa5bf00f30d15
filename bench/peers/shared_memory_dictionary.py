# SPDX-License-Identifier: Apache-2.0
import contextlib

from shared_memory_dict import SharedMemoryDict

from peers import Peer, Place, block_name, blocks_of_shared_memory

ROOM = 2000  # bytes for each record and its pickling


class SharedMemoryDictionary(Peer):
    name = "shared-memory-dict, 200 records"
    packages = ("shared-memory-dict",)
    mode = "not the whole set: each get decodes the pickle of the whole dict, each set writes it anew"
    shares = "a block of shared memory with one pickle"
    lacks = "reads of one entry; locks between processes unless an environment variable asks for them; eviction, expiry"
    most = 200
    has_batches = False

    def __init__(self, place: Place) -> None:
        self.block = block_name(place, "smd")
        self.store = SharedMemoryDict(name=self.block, size=self.most * ROOM)
        self.get, self.set = self.store.get, self.store.__setitem__

    def fill(self, items) -> None:
        self.store.update(dict(items))

    def file_bytes(self) -> int:
        return blocks_of_shared_memory(f"*{self.block}")

    def files(self) -> str:
        return self.block

    def close(self) -> None:
        self.store.cleanup()
        with contextlib.suppress(FileNotFoundError):  # another process was first
            self.store.shm.unlink()


PEERS = [SharedMemoryDictionary]
