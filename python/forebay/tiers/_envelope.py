# SPDX-License-Identifier: Apache-2.0
"""What a tier holds under a name: docs/guides/tiers.md specifies the bytes.

    0   2  "FB"
    2   1  version of this format, 1
    3   1  state: "P" placeholder, "V" value, "B" too big for the tier
    4   8  token of whoever wrote it
   12   1  kind of the value: docs/reference/encoding.md; absent is one
   13   1  codec: 0 none, 1 zstd, 2 lz4; + 128: with a dictionary
   14   8  when it expires, Unix time in ms; 0: never
   22   8  with a dictionary: the first bytes of its SHA-256
        .  the value

A placeholder ends after the token.  Integers are little-endian."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from forebay import codec

VALUE, PLACEHOLDER, BIG = b"V", b"P", b"B"
HEAD: Final = 12
_MAGIC = b"FB\x01"
_REST = struct.Struct("<BBQ")
_WHOLE = struct.Struct("<4x8sBBQ")  # token, kind, codec, when it expires
_BODY = HEAD + _REST.size
_CODECS = {1: "zstd", 2: "lz4"}
_NUMBERS = {name: number for number, name in _CODECS.items()}
_WITH_DICTIONARY = 128
DIGEST: Final = 8
COMPRESS_FROM = 48  # bytes; without a dictionary there is nothing to gain below 1,024
COMPRESS_ALONE_FROM = 1024


def new_token() -> bytes:
    return os.urandom(8)


def head_of(state: bytes, token: bytes) -> bytes:
    return _MAGIC + state + token


def digest_of(dictionary: bytes) -> bytes:
    return hashlib.sha256(dictionary).digest()[:DIGEST]


class Envelope(NamedTuple):
    state: bytes
    token: bytes
    kind: int = 0
    codec: str = ""
    digest: bytes = b""  # of the dictionary
    expires: int = 0
    data: bytes = b""

    def left(self, now: float) -> float | None:
        """Seconds of it; None: for ever."""
        return self.expires / 1000 - now if self.expires else None

    def payload(self, dictionary: bytes | None, most: int) -> bytes:
        """What was put in; ValueError: it is damaged, larger than `most`, or wants another dictionary."""
        if not self.codec:
            return self.data
        return codec.decompress(self.data, self.codec, max_size=most, dictionary=dictionary)


_new = tuple.__new__  # Envelope() takes three times as long, and a load opens a thousand


def open_envelope(data: bytes) -> Envelope:
    """ValueError: another program, or another version, wrote it."""
    if len(data) < HEAD or not data.startswith(_MAGIC):
        raise ValueError("what the tier has was not written by this format of Forebay's")
    state = data[3:4]
    if state == PLACEHOLDER:
        return Envelope(state, data[4:HEAD])
    if (state != VALUE and state != BIG) or len(data) < _BODY:
        raise ValueError("what the tier has is no value")
    token, kind, number, expires = _WHOLE.unpack_from(data)
    if number == 0:
        return _new(Envelope, (state, token, kind, "", b"", expires, data[_BODY:]))
    name = _CODECS.get(number & ~_WITH_DICTIONARY)
    if name is None:
        raise ValueError(f"what the tier has is packed by a codec of number {number}, which is not known here")
    at = _BODY + DIGEST if number & _WITH_DICTIONARY else _BODY
    return _new(Envelope, (state, token, kind, name, data[_BODY:at], expires, data[at:]))


@dataclass(frozen=True, slots=True)
class Dictionary:
    id: int  # in its arena
    codec: str
    content: bytes
    digest: bytes


def seal(token: bytes, kind: int, payload: bytes, expires: int, dictionary: Dictionary | None, compress: bool) -> bytes:
    """Packed, if that makes it an eighth smaller."""
    number, digest, data = 0, b"", payload
    if compress and len(payload) >= (COMPRESS_ALONE_FROM if dictionary is None else COMPRESS_FROM):
        name = "zstd" if dictionary is None else dictionary.codec
        packed = codec.compress(payload, name, dictionary=None if dictionary is None else dictionary.content)
        if len(packed) <= len(payload) - len(payload) // 8 and name in _NUMBERS:
            number, data = _NUMBERS[name], packed
            if dictionary is not None:
                number, digest = number | _WITH_DICTIONARY, dictionary.digest
    return head_of(VALUE, token) + _REST.pack(kind, number, expires) + digest + data


def too_big(token: bytes, expires: int) -> bytes:
    """In place of a value that the tier cannot hold, so that there is something to be invalidated."""
    return head_of(BIG, token) + _REST.pack(0, 0, expires)
