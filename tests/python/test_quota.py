# SPDX-License-Identifier: Apache-2.0
"""Shares and limits of caches."""

import functools
import itertools
import os
import signal
import time
import zlib

import pytest

import forebay
from forking import fork_to_run, wait_for

MIB = 2**20


@pytest.fixture
def arena():
    with forebay.open(None, size="4MiB") as arena:
        yield arena


def value_of(number):
    return zlib.crc32(b"%d" % number).to_bytes(4, "big") * (50 + number % 50)


def test_stats_show_what_was_asked_for_and_what_is_taken(arena):
    plain = arena.cache("plain")
    shared = arena.cache("shared", share="1MiB")
    limited = arena.cache("limited", limit=MIB)
    for cache in plain, shared, limited:
        cache["key"] = bytes(1000)
    segment = arena.info()["segment_size"]
    assert {k: plain.stats()[k] for k in ("share", "limit", "bytes")} == dict(share=None, limit=None, bytes=None)
    assert {k: shared.stats()[k] for k in ("share", "limit", "bytes")} == dict(share=MIB, limit=None, bytes=segment)
    assert arena.stats()["limited"]["limit"] == MIB
    assert limited.stats()["bytes"] == segment


def test_a_flood_leaves_a_quiet_cache_its_entries_and_its_hit_ratio(arena):
    """The must-show: the same cache, without a share, loses everything."""
    ratio = {}
    for name, options in ("quiet", {"share": "1MiB"}), ("unprotected", {}):
        cache, noisy = arena.cache(name, codec=None, **options), arena.cache("noisy", codec=None)
        cache.set_many({number: value_of(number) for number in range(2000)})
        hits = gets = 0
        for begin in range(0, 60000, 500):
            noisy.set_many({number: bytes(300) for number in range(begin, begin + 500)})
            if begin % 20000 == 0:
                for number in range(2000):
                    got = cache.get(number)
                    assert got is None or got == value_of(number)
                    hits += got is not None
                    gets += 1
        ratio[name] = hits / gets
        stats = cache.stats()
        assert stats["hits"] == hits
        assert (stats["evictions"] == 0) == (name == "quiet")
    assert ratio["quiet"] == 1
    assert ratio["unprotected"] < 0.7


def test_a_limit_holds_for_several_processes_and_outlives_their_death(tmp_path):
    path = tmp_path / "arena"
    with forebay.open(path, size="4MiB") as arena:
        limited = arena.cache("limited", limit="512KiB", codec=None)
        other = arena.cache("other", codec=None)
        other.set_many({number: value_of(number) for number in range(2000)})

        def child(child):
            for number in itertools.count():
                limited[child, number % 5000] = value_of(number)

        children = [fork_to_run(functools.partial(child, n)) for n in range(3)]
        until = time.monotonic() + 1
        try:
            while time.monotonic() < until:
                assert limited.stats()["bytes"] <= 512 * 1024
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            wait_for(pid, -signal.SIGKILL)  # none had ended: a full group makes room of its own
        assert 256 * 1024 <= limited.stats()["bytes"] <= 512 * 1024
        assert limited.stats()["evictions"] > 0
        assert other.stats()["evictions"] == 0
        for number in range(20000):
            limited[number] = value_of(number)
        assert limited.stats()["bytes"] <= 512 * 1024
        assert all(other[number] == value_of(number) for number in range(2000))
        assert arena.verify() == []


def test_quotas_belong_to_the_cache_as_its_ttl_does(arena):
    cache = arena.cache("cache", share=MIB, limit="2MiB", ttl=60)
    assert arena.cache("cache").stats()["share"] == MIB
    assert arena.cache("cache", share="1 MiB").ttl == 60
    with pytest.raises(forebay.ConflictError, match="another share .1048576 bytes."):
        arena.cache("cache", share="2MiB")
    with pytest.raises(forebay.ConflictError, match="another limit .2097152 bytes."):
        arena.cache("cache", limit=None)
    arena.cache("cache", share=None, update=True)
    assert cache.stats()["share"] is None
    assert cache.stats()["limit"] == 2 * MIB
    assert arena.cache("cache", limit=None, ttl=5, update=True).ttl == 5
    assert cache.stats()["limit"] is cache.stats()["bytes"] is None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"limit": 1000}, ValueError, "too small"),
        ({"share": "4MiB"}, ValueError, "all shares together"),
        ({"share": "2MiB", "limit": "1MiB"}, ValueError, "the limit is to be the larger"),
        ({"share": 0}, ValueError, "share must be more than 0"),
        ({"limit": "many"}, ValueError, "limit is not understood"),
        ({"share": 1.5}, TypeError, "share must be an int, or a str"),
        ({"limit": True}, TypeError, "limit must be an int, or a str"),
        ({"shares": 1}, TypeError, "shares"),
    ],
)
def test_quotas_that_make_no_sense(arena, options, error, words):
    with pytest.raises(error, match=words):
        arena.cache("cache", **options)
    assert arena.caches() == []


def test_shares_of_all_caches_add_up(arena):
    arena.cache("a", share="2MiB")
    with pytest.raises(ValueError, match="others have 2097152 of that"):
        arena.cache("b", share="2MiB")
    arena.drop("a")
    arena.cache("b", share="2MiB")


def test_an_entry_larger_than_half_the_limit(arena):
    cache = arena.cache("cache", limit="512KiB", codec=None)
    cache["key"] = bytes(200_000)
    with pytest.raises(forebay.TooBigError):
        cache["key"] = bytes(300_000)
    assert "key" not in cache
