# SPDX-License-Identifier: Apache-2.0
"""Values that show whether they are whole, and whose they are."""

from __future__ import annotations

import hashlib
import random

DIGEST = 16


def checked_value(key: str, seed: int, size: int) -> bytes:
    """About `size` bytes for `key`: every other one random, every other one such as can be compressed."""
    source = random.Random(seed)
    body = source.randbytes(size) if seed % 2 else source.randbytes(16) * (size // 16)
    text = f"{key} {seed} {len(body)} ".encode() + body
    return text + hashlib.blake2b(text, digest_size=DIGEST).digest()


def fault(key: str, value: bytes) -> str:
    """What is wrong with a value read under `key`; empty: nothing."""
    text, digest = value[:-DIGEST], value[-DIGEST:]
    if hashlib.blake2b(text, digest_size=DIGEST).digest() != digest:
        return f"{len(value)} bytes read under {key!r} are not a value that somebody wrote"
    owner = text.split(b" ", 1)[0].decode()
    return "" if owner == key else f"the value of {owner!r} was read under {key!r}"
