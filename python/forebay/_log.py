# SPDX-License-Identifier: Apache-2.0
"""The loggers.  docs/metrics.md lists what is logged, where and how loud; a record that is new is added there.

What a call returns or raises is its caller's and is not logged.  Logged is what changes by itself, and what fails
where there is nobody to be told.  Without a handler of the user's nothing is printed.
"""

import logging

_root = logging.getLogger("forebay")
_root.addHandler(logging.NullHandler())

dictionary = _root.getChild("dictionary")
loading = _root.getChild("loading")
pool = _root.getChild("pool")
tiers = _root.getChild("tiers")
buses = _root.getChild("buses")


def dictionary_trained(cache: str, number: int, ratio: int) -> None:
    """This process trained it, and it is what the cache's new values are packed with; ratio: in thousandths."""
    dictionary.info("cache %r: dictionary %d, trained by this process, is the current one; it packs %.2fx", cache, number, ratio / 1000)
