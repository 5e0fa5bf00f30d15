# SPDX-License-Identifier: Apache-2.0
"""Compression in formats that others read and write too, without an arena.

    from forebay import codec

    small = codec.compress(page, "zstd", level=9)
    page = codec.decompress(small)

The codecs are zstd, lz4 (its frames), gzip, bz2 and lzma (xz).  What
Python's modules gzip, bz2 and lzma write is read here, and the reverse.  All
calls let other threads run.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from forebay._core import (
    _codec_compress,
    _codec_decompress,
    _codec_dictionary,
    _codec_names,
    _codec_recognise,
    _codec_train,
)
from forebay._open import parse_size

if TYPE_CHECKING:
    from typing_extensions import Buffer, CapsuleType

__all__ = ["codecs", "compress", "decompress", "train_dictionary"]

_USUAL_MOST = 64 * 2**20  # an int: reading "64MiB" takes as long as decompressing a small value
_DICTIONARIES = 8  # made ready and kept: a call would take a hundred times as long without


def codecs() -> tuple[str, ...]:
    """The names of the codecs: ("zstd", "lz4", "gzip", "bz2", "lzma")."""
    return _codec_names()


def compress(data: Buffer, codec: str = "zstd", level: int | None = None, dictionary: Buffer | None = None) -> bytes:
    """The data, compressed: one frame, member or stream of the codec's format.

    data: any object with a buffer (bytes, bytearray, memoryview, an array of
    numpy).  level: None for the codec's usual one; zstd -131072 to 22 (3), lz4
    -65536 to 12 (1), gzip 0 to 9 (6), bz2 1 to 9 (9), lzma 0 to 9 (6).
    dictionary: for zstd and lz4, bytes that are like the data, best made by
    train_dictionary(); decompress() needs the same.  The last few dictionaries
    are remembered: pass the same bytes object each time.

    >>> len(compress(b"tea " * 1000)) < 40
    True
    """
    return _codec_compress(data, codec, level, _made_ready(codec, level, dictionary))


def decompress(
    data: Buffer, codec: str | None = None, *, max_size: int | str = _USUAL_MOST, dictionary: Buffer | None = None
) -> bytes:
    """The data, decompressed, all of it: several frames, members or streams give one result.

    codec: None to go by the first bytes.  max_size: the most bytes that may
    come out (64 MiB), an int or a str such as "1GiB"; how many do is decided by
    whoever made the data.

    Raises TooBigError if more than max_size would come out; CorruptError if the
    data is damaged, cut off, followed by something else, of another format or
    wants another dictionary.  Both are kinds of ValueError.

    >>> decompress(compress(b"tea", "gzip"))
    b'tea'
    """
    if codec is None:
        codec = _codec_recognise(data)
    return _codec_decompress(data, codec, parse_size(max_size, "max_size"), _made_ready(codec, None, dictionary))


def train_dictionary(samples: Iterable[Buffer], size: int | str = 112640) -> bytes:
    """A dictionary of at most size bytes (1 KiB to 1 MiB) for data like the samples.

    Small values compress far better with one.  The samples should be some
    hundred or thousand values as they are going to be compressed, twenty times
    as many bytes as the dictionary is to have; it takes 20 ms for each MiB.  It is
    of zstd's format and works for lz4 too.  The same samples give the same bytes.

    Raises InvalidError, a kind of ValueError, if the samples are too few, too
    short, or have nothing in common.
    """
    return _codec_train(samples, parse_size(size))


def _made_ready(codec: str, level: int | None, dictionary: Buffer | None) -> CapsuleType | None:
    if dictionary is None:
        return None
    content = dictionary if isinstance(dictionary, bytes) else bytes(memoryview(dictionary))
    return _remembered(codec, level, content)


_remembered = functools.lru_cache(_DICTIONARIES, typed=True)(_codec_dictionary)
