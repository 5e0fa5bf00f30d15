# SPDX-License-Identifier: Apache-2.0
import forebay

from peers import Peer, Place, blocks


FIRST = 20_000  # records that a dictionary is trained from


class ForebayRaw(Peer):
    name = "forebay, bytes"
    packages = ("forebay",)
    mode = "codec=None, room for all records"
    shares = "a mapped file"
    lacks = "other systems than Linux; the same object handed out again"
    may_miss = True
    codec: str | None = None
    room = 1.3  # of keys and values: metadata, padding and the segments kept free come on top

    def __init__(self, place: Place) -> None:
        self.path = place.folder / self.name.replace(", ", "-")
        self.size = int(self.room * place.bytes) + (4 << 20)
        self.arena = forebay.open(str(self.path), size=self.size)
        self.store = self.arena.cache("bench", codec=self.codec)
        self.get, self.set, self.get_many = self.store.get, self.store.set, self.store.get_many
        self.written = None

    def before_sets(self, items) -> None:
        """Sets go to an arena of their own: what they evict would be misses, which are fast, in the gets."""
        if self.written is None:
            self.written = forebay.open(f"{self.path}-set", size=self.size)
            self.set = self.written.cache("bench", codec=self.codec).set
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
    mode = "codec=None, room for all records, each value decoded"
    decoded = True


class ForebayEvicting(ForebayRaw):
    name = "forebay, evicting"
    mode = "codec=None, room for a quarter of the records: every set has to evict"
    room = 0.25


class ForebayPacked(ForebayRaw):
    name = "forebay, packed"
    mode = "as a cache is by default: all values packed, but for those that are hit often"
    room = 0.56
    codec = "auto"

    def fill(self, items) -> None:
        first = []
        for key, packed in items:
            self.set(key, packed)
            if len(first) < FIRST:
                first.append((key, packed))
                if len(first) == FIRST:
                    self.store.train()
        for key, packed in first:
            self.set(key, packed)


PEERS = [ForebayRaw, ForebayDecoded, ForebayEvicting, ForebayPacked]
