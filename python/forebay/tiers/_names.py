# SPDX-License-Identifier: Apache-2.0
"""The name that a cache's key has in a tier: printable ASCII, which people and other programs can write.

    PREFIX CACHE [@VERSION] : KEY

KEY is an int in decimal; a str that begins with a letter as it is, any other after a
quotation mark ('), both percent-encoded (RFC 3986); for every other type of key, and
for an int that is large, ~ and the bytes of docs/reference/encoding.md in base64url."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote, unquote

from forebay._core import _decode_key, _encode_key

_SAFE = "@:+,;=!*()$&/"  # and letters, digits, - . _ ~
_ESCAPED = {code: quote(chr(code), _SAFE) for code in range(128)}
_LETTER = re.compile(r"[A-Za-z]")
_INT = re.compile(r"-?(0|[1-9][0-9]{0,29})\Z")
_INT_END = 10**30
_VERSION = re.compile(r"[1-9][0-9]{0,9}\Z")
_VERSION_MAX = 2**32 - 1
_CACHE_MAX = 47  # bytes: FOREBAY_NAME_MAX


def text_of(key: Any) -> str:
    """KEY; TypeError, ValueError: it is no key."""
    if type(key) is int and -_INT_END < key < _INT_END:
        return str(key)
    if type(key) is str:
        _encode_key(key)  # refuses what is too long
        if key.isascii():  # most are; quote() takes three times as long
            text = key.translate(_ESCAPED)
            return text if key[:1].isalpha() else "'" + text
        try:
            text = quote(key, _SAFE)
        except UnicodeEncodeError:  # lone surrogates
            pass
        else:
            return text if _LETTER.match(key) else "'" + text
    return "~" + base64.urlsafe_b64encode(_encode_key(key)).decode().rstrip("=")


def key_of(text: str) -> Any:
    """The key; ValueError: there is none of this name."""
    if _INT.match(text) and text != "-0":
        return int(text)
    if text.startswith("'"):
        return unquote(text[1:], errors="strict")
    if text.startswith("~"):
        data = text[1:].encode()
        return _decode_key(base64.b64decode(data + b"=" * (-len(data) % 4), b"-_", validate=True))
    if _LETTER.match(text):
        return unquote(text, errors="strict")
    raise ValueError(f"no key has the name {text!r} in a tier")


def check_prefix(prefix: Any) -> None:
    if not isinstance(prefix, str) or not prefix.isascii() or not prefix.isprintable() or " " in prefix or not prefix:
        raise ValueError(f"prefix must be a str of printable ASCII without spaces, not {prefix!r}")


def _is_cache(name: str) -> bool:
    """May a cache have this name?"""
    return 0 < len(name.encode()) <= _CACHE_MAX and "\0" not in name


def _is_version(text: str) -> bool:
    return _VERSION.match(text) is not None and int(text) <= _VERSION_MAX


class Names:
    """Of the keys of all caches that a tier has."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def of_cache(self, name: str, version: int) -> str:
        """What all names of a cache begin with."""
        return f"{self.prefix}{quote(name, '')}{f'@{version}' if version else ''}:"

    def parse(self, name: bytes) -> tuple[str, int, Any]:
        """Cache, version and key; ValueError: it is the name of something else."""
        text = name.decode("ascii")
        if not text.startswith(self.prefix):
            raise ValueError(f"{text!r} does not begin with {self.prefix!r}")
        head, colon, key = text[len(self.prefix) :].partition(":")
        cache, at, version = head.partition("@")
        cache = unquote(cache, errors="strict")
        if not colon or not _is_cache(cache) or (at and not _is_version(version)):
            raise ValueError(f"{text!r} is no key of a cache")
        return cache, int(version or 0), key_of(key)

    def dictionary(self, digest: bytes) -> bytes:
        return f"{self.prefix}.dictionary.{digest.hex()}".encode()
