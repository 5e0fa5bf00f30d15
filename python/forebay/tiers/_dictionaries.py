# SPDX-License-Identifier: Apache-2.0
"""Dictionaries of compressed values: each lies in the tier once, named by its hash.

So machines with other dictionaries read what one wrote, and versions of a service whose
caches were trained anew."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from forebay.tiers._envelope import Dictionary, digest_of
from forebay.tiers._names import Names
from forebay.tiers._steps import Steps

if TYPE_CHECKING:
    from forebay.tiers._tier import Tier

_KEPT = 64  # of others, in this process; at most 110 KiB each
_STORED_FOR = 30 * 86400.0  # seconds, and set anew
_STORE_AGAIN = 600.0  # after so many: those that read values have it and do not ask, so a full server forgets it first


class Dictionaries:
    """Those that this process has met in a tier, and those of its own."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.forked()
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._own: dict[tuple[str, int], Dictionary] = {}  # by arena and id
        self._stored: dict[bytes, float] = {}  # when

    def forked(self) -> None:
        """In the child of a fork: who held the lock is in the parent."""
        self._lock = threading.Lock()

    def _remember(self, digest: bytes, content: bytes) -> None:
        with self._lock:
            self._known[digest] = content
            self._known.move_to_end(digest)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)

    def fetch(self, tier: Tier, digests: set[bytes]) -> Steps[dict[bytes, bytes]]:
        """By digest, as many as there are."""
        found = {digest: content for digest in digests if (content := self._known.get(digest)) is not None}
        wanted = {self._names.dictionary(digest): digest for digest in digests - found.keys()}
        if wanted:
            there = yield from tier.ask("get_many", list(wanted))
            for name, content in there.items():
                if digest_of(content) == wanted[name]:
                    self._remember(wanted[name], content)
                    found[wanted[name]] = content
        return found

    def current(self, tier: Tier, cache: Any) -> Steps[Dictionary | None]:
        """What the cache packs with now, once the tier has it."""
        if not tier.compress:
            return None
        number = cache._dictionary_id()
        if number == 0:
            return None
        place = (cache.arena.path or str(id(cache.arena)), number)
        dictionary = self._own.get(place)
        if dictionary is None:
            there = cache._dictionary()
            if there is None:
                return None
            number, codec, content = there
            dictionary = Dictionary(number, codec, content, digest_of(content))
            if len(self._own) >= _KEPT:  # caches train anew
                self._own.clear()
            self._own[place] = dictionary
        if self._stored.get(dictionary.digest, -_STORE_AGAIN) + _STORE_AGAIN <= time.monotonic():
            item = (self._names.dictionary(dictionary.digest), dictionary.content, round(_STORED_FOR * 1000))
            yield from tier.ask("set_many", [item])
            self._stored[dictionary.digest] = time.monotonic()
        self._remember(dictionary.digest, dictionary.content)
        return dictionary
