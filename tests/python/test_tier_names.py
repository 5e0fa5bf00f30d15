# SPDX-License-Identifier: Apache-2.0
"""The names that keys have in a tier."""

import datetime
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay._core import _encode_key
from forebay.tiers._names import Names, key_of, text_of

TEXTS = st.text(max_size=40) | st.text(alphabet="ab1'~-%:@ \u00e9\U0001f600\ud800", max_size=8)
INTS = st.integers() | st.integers(-(2**200), 2**200) | st.integers(-(10**31), 10**31)
PLAIN = TEXTS | INTS | st.binary(max_size=40) | st.booleans() | st.uuids() | st.dates()
KEYS = st.recursive(PLAIN, lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple), max_leaves=5)
CACHES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10)


def same(a, b):
    """Not as 1 == True is."""
    return _encode_key(a) == _encode_key(b)


@given(KEYS)
@example("")
@example("-0")
@example("'")
@example("~AA")
@example("12")
@example(10**30)
@example(-(10**30))
@example(10**30 - 1)
@example("\ud800")
@example("x" * 4000)
@example("\u00e9" * 2000)
def test_a_key_comes_back_from_its_text(key):
    text = text_of(key)
    assert text.isascii() and text.isprintable() and " " not in text
    assert same(key_of(text), key)


@given(KEYS, KEYS)
@example(1, "1")
@example(1, True)
@example("1", b"1")
@example("a", "'a")
@example("~", b"")
@example("", b"")
@example(("a",), "a")
def test_two_keys_have_two_names(a, b):
    assert (text_of(a) == text_of(b)) == same(a, b)


@given(CACHES, st.integers(0, 2**32 - 1), KEYS)
@example("a@1", 0, "k")
@example("a", 1, "k")
@example("a:b", 0, "k")
@example(".dictionary.00", 0, 1)
def test_a_name_says_cache_version_and_key(cache, version, key):
    names = Names("forebay:")
    name = (names.of_cache(cache, version) + text_of(key)).encode("ascii")
    found_cache, found_version, found_key = names.parse(name)
    assert (found_cache, found_version) == (cache, version) and same(found_key, key)


@given(st.tuples(CACHES, st.integers(0, 3), TEXTS), st.tuples(CACHES, st.integers(0, 3), TEXTS))
@example(("a", 1, "k"), ("a@1", 0, "k"))
@example(("a", 0, "b:c"), ("a:b", 0, "c"))
def test_no_two_entries_have_one_name(a, b):
    def name(cache, version, key):
        return Names("p").of_cache(cache, version) + text_of(key)

    assert (name(*a) == name(*b)) == (a == b)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (42, "42"), (-7, "-7"), ("ada", "ada"), ("user:1", "user:1"), ("1", "'1"), ("", "'"), ("a b", "a%20b"), ("~x", "'~x"), (b"a", "~YmE"),
        (True, "~VA"), ((1, "a"), "~dAJpAQFzAWE"), (uuid.UUID(int=1), "~dQAAAAAAAAAAAAAAAAAAAAE"), (datetime.date(2026, 1, 2), None), ("{tag}x", "'%7Btag%7Dx"),
    ],
)  # fmt: skip
def test_names_that_people_write(key, text):
    assert key_of(text_of(key)) == key
    if text is not None and not text.startswith("~"):
        assert text_of(key) == text


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda rest: b"forebay:" + rest) | st.text("ab@:%0129~'-_", max_size=12).map(lambda t: b"forebay:" + t.encode()))
@example(b"forebay::1")
@example(b"forebay:x@-5:1")
@example(b"forebay:x@99999999999:1")
@example(b"forebay:" + b"x" * 48 + b":1")
@example(b"forebay:%00:1")
@example(b"forebay:%ff:1")
@example(b"forebay:x:%ff")
@example(b"forebay:x:a%ff")
@example(b"forebay:x:~!")
@example(b"forebay:x:~")
@example(b"forebay:x:~YQ")
@example(b"forebay:x:-0")
@example(b"forebay:x:")
def test_a_name_of_something_else_is_a_value_error_and_one_that_is_read_is_of_a_possible_cache(name):
    names = Names("forebay:")
    try:
        cache, version, key = names.parse(name)
    except ValueError:
        return
    assert 0 < len(cache.encode()) <= 47 and "\0" not in cache and 0 <= version < 2**32
    assert same(key_of(text_of(key)), key)


@pytest.mark.parametrize("key", [1.5, None, [1], "x" * 5000, b"x" * 5000])
def test_what_is_no_key_has_no_name(key):
    with pytest.raises((TypeError, ValueError)):
        text_of(key)


def test_dictionaries_have_names_of_no_cache():
    names = Names("forebay:")
    name = names.dictionary(bytes(range(8)))
    assert name == b"forebay:.dictionary.0001020304050607"
    with pytest.raises(ValueError, match="no key of a cache"):
        names.parse(name)
