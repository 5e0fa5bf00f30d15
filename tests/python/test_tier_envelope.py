# SPDX-License-Identifier: Apache-2.0
"""The bytes that a tier holds: other machines, releases and programs write them."""

import hashlib
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay import codec
from forebay.tiers._envelope import (
    BIG, HEAD, PLACEHOLDER, VALUE, Dictionary, Envelope, digest_of, head_of, new_token, open_envelope, seal, too_big,
)  # fmt: skip

TOKEN = bytes(range(1, 9))
SAMPLE = b'{"name": "Ada", "city": "London", "number": %d}'
CONTENT = b"".join(SAMPLE % number for number in range(200))
DICTIONARIES = [Dictionary(1, name, CONTENT, digest_of(CONTENT)) for name in ("zstd", "lz4")]
MOST = 1 << 20

# Version 1.  What is here was written by some release, and is to be read for as long as there is this version.
GOLDEN = {
    "placeholder": ("464201500102030405060708", Envelope(PLACEHOLDER, TOKEN)),
    "value": ("464201560102030405060708" + "0200" + "0807060504030200" + b"payload".hex(), Envelope(VALUE, TOKEN, 2, "", b"", 0x0002030405060708, b"payload")),
    "absent": ("46420156010203040506070803000000000000000000", Envelope(VALUE, TOKEN, 3)),
    "too big": ("464201420102030405060708" + "0000" + "0100000000000000", Envelope(BIG, TOKEN, 0, "", b"", 1)),
    "zstd": ("46420156010203040506070801010100000000000000" + "6161", Envelope(VALUE, TOKEN, 1, "zstd", b"", 1, b"aa")),
    "lz4, with a dictionary": (
        "46420156010203040506070801820100000000000000" + "1011121314151617" + "6161", Envelope(VALUE, TOKEN, 1, "lz4", bytes(range(16, 24)), 1, b"aa"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_of_version_1_are_read(name):
    written, envelope = GOLDEN[name]
    assert open_envelope(bytes.fromhex(written)) == envelope


def test_the_bytes_of_version_1_are_written():
    assert head_of(PLACEHOLDER, TOKEN).hex() == "464201500102030405060708"
    assert seal(TOKEN, 2, b"payload", 0x0102, None, True).hex() == "4642015601020304050607080200" + "0201000000000000" + b"payload".hex()
    assert too_big(TOKEN, 3).hex() == "464201420102030405060708" + "0000" + "0300000000000000"
    packed = seal(TOKEN, 1, SAMPLE % 77777, 1, DICTIONARIES[0], True)
    assert packed[:HEAD].hex() == "464201560102030405060708"
    assert packed[HEAD : HEAD + 2] == bytes([1, 1 + 128])
    assert packed[HEAD + 10 : HEAD + 18] == hashlib.sha256(CONTENT).digest()[:8]
    assert codec.decompress(packed[HEAD + 18 :], "zstd", dictionary=CONTENT) == SAMPLE % 77777
    assert seal(TOKEN, 1, SAMPLE % 77777, 1, DICTIONARIES[1], True)[HEAD + 1] == 2 + 128
    assert seal(TOKEN, 1, b"x" * 2000, 1, None, True)[HEAD + 1] == 1


@given(
    st.integers(0, 255), st.binary(max_size=200) | st.integers(0, 3000).map(lambda count: b"abc" * count), st.integers(0, 2**63),
    st.sampled_from([None, *DICTIONARIES]), st.booleans(),
)  # fmt: skip
def test_what_is_sealed_is_opened(kind, payload, expires, dictionary, compress):
    token = new_token()
    sealed = seal(token, kind, payload, expires, dictionary, compress)
    assert sealed.startswith(head_of(VALUE, token))
    envelope = open_envelope(sealed)
    assert (envelope.state, envelope.token, envelope.kind, envelope.expires) == (VALUE, token, kind, expires)
    assert envelope.payload(None if dictionary is None else dictionary.content, MOST) == payload
    assert len(sealed) <= HEAD + 10 + len(payload)
    assert compress or not envelope.codec


def test_what_gains_nothing_stays_as_it_is():
    for payload in (os.urandom(5000), b"x" * 1000, b""):
        assert not open_envelope(seal(TOKEN, 1, payload, 0, None, True)).codec
    assert not open_envelope(seal(TOKEN, 1, b"x" * 47, 0, DICTIONARIES[0], True)).codec
    assert open_envelope(seal(TOKEN, 1, b"x" * 48, 0, DICTIONARIES[0], True)).digest


@given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda rest: b"FB\x01" + rest) | st.binary(max_size=60).map(lambda rest: b"FB\x01V" + rest))
@example(b"")
@example(b"FB\x01")
@example(b"FB\x01V" + bytes(8))
@example(b"FB\x02V" + bytes(40))
@example(b"FB\x01V" + bytes(8) + b"\x01\x81" + bytes(8))
@example(b"FB\x01V" + bytes(8) + b"\x01\x01" + bytes(8))
@example(b"FB\x01V" + bytes(8) + b"\x01\x07" + bytes(8))
def test_foreign_bytes_are_a_value_error_or_an_envelope(data):
    try:
        envelope = open_envelope(data)
        assert data.startswith(head_of(envelope.state, envelope.token))
        payload = envelope.payload(CONTENT, 1000)
    except ValueError:
        return
    assert not envelope.codec or len(payload) <= 1000


@given(st.data())
def test_damaged_envelopes_are_a_value_error_or_an_envelope(data):
    sealed = bytearray(seal(TOKEN, 1, CONTENT[:3000], 77, data.draw(st.sampled_from([None, *DICTIONARIES])), True))
    for _ in range(data.draw(st.integers(1, 3))):
        sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    sealed = sealed[: data.draw(st.integers(0, len(sealed)))]
    try:
        open_envelope(bytes(sealed)).payload(CONTENT, MOST)
    except ValueError:
        pass


def test_a_value_that_would_be_larger_than_the_arena_takes_is_refused():
    envelope = open_envelope(seal(TOKEN, 1, b"x" * 100_000, 0, None, True))
    assert len(envelope.data) < 1000
    assert len(envelope.payload(None, 100_000)) == 100_000
    with pytest.raises(ValueError, match="more than 99999 bytes"):
        envelope.payload(None, 99_999)


def test_a_value_of_another_dictionary_is_refused():
    sealed = seal(TOKEN, 1, SAMPLE % 1 * 3, 0, DICTIONARIES[0], True)
    assert open_envelope(sealed).digest == digest_of(CONTENT)
    with pytest.raises(ValueError):
        open_envelope(sealed).payload(None, MOST)


def test_time_that_is_left():
    assert Envelope(VALUE, TOKEN).left(123.0) is None
    assert Envelope(VALUE, TOKEN, expires=5500).left(5.0) == 0.5
    assert Envelope(VALUE, TOKEN, expires=5500).left(6.0) == -0.5


def test_tokens_differ():
    assert len({new_token() for _ in range(1000)}) == 1000
