# SPDX-License-Identifier: Apache-2.0
import forebay

from peers import Peer, Place, blocks


class ForebayRaw(Peer):
    name = "forebay, bytes"
    may_miss = True
    room = 1.3  # of keys and values: metadata, padding and the segments kept free come on top

    def __init__(self, place: Place) -> None:
        self.path = place.folder / self.name.replace(", ", "-")
        self.size = int(self.room * place.bytes) + (4 << 20)
        self.arena = forebay.open(str(self.path), size=self.size)
        self.store = self.arena.cache("bench", codec=None)
        self.get, self.set, self.get_many = self.store.get, self.store.set, self.store.get_many
        self.written = None

    def before_sets(self, items) -> None:
        """Sets go to an arena of their own: what they evict would be misses, which are fast, in the gets."""
        if self.written is None:
            self.written = forebay.open(f"{self.path}-set", size=self.size)
            self.set = self.written.cache("bench", codec=None).set
            self.fill(items)

    def file_bytes(self) -> int:
        return blocks(self.path)

    def files(self) -> str:
        return str(self.path)

    def close(self) -> None:
        self.arena.close()
        if self.written is not None:
            self.written.close()


class ForebayDecoded(ForebayRaw):
    name = "forebay, dict"
    decoded = True


class ForebayEvicting(ForebayRaw):
    """Has room for a quarter of the set, so that every set has to evict."""

    name = "forebay, evicting"
    room = 0.25


PEERS = [ForebayRaw, ForebayDecoded, ForebayEvicting]
