# SPDX-License-Identifier: Apache-2.0
"""One fetch is one get in the statistics: a hit, or a miss, however often it looks."""

import asyncio

import pytest
from loading_calls import arena  # a fixture

KEYS = [1, 2, 3, 4]


def counted(cache, call):
    """What hits and misses the call added."""
    before = cache.stats()
    call()
    after = cache.stats()
    return after["hits"] - before["hits"], after["misses"] - before["misses"]


def identity_of(keys):
    return {key: {"id": key} for key in keys}


CALLS = {
    "fetch": lambda cache: [cache.fetch(key) for key in KEYS],
    "fetch_many": lambda cache: cache.fetch_many(KEYS),
    "afetch": lambda cache: asyncio.run(all_of(cache)),
    "afetch_many": lambda cache: asyncio.run(cache.afetch_many(KEYS)),
}


async def all_of(cache):
    return [await cache.afetch(key) for key in KEYS]


@pytest.mark.parametrize("options", [{}, {"lazy": True}, {"stale": 60}, {"serializer": "json"}], ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_missing_counts_as_one_miss_and_what_is_there_as_one_hit(arena, call, options):
    cache = arena.cache("c", load_many=identity_of, **options)
    assert counted(cache, lambda: CALLS[call](cache)) == (0, len(KEYS))
    assert counted(cache, lambda: CALLS[call](cache)) == (len(KEYS), 0)


def test_so_does_what_is_known_to_be_absent(arena):
    cache = arena.cache("c", load_many=lambda keys: {}, absent_ttl=60)
    assert counted(cache, lambda: cache.fetch_many(KEYS)) == (0, len(KEYS))
    assert counted(cache, lambda: cache.fetch_many(KEYS)) == (len(KEYS), 0)


def test_memoized_calls_count_as_one_get(arena):
    square = arena.memoize(ttl=60)(lambda number: {"square": number * number})
    square(0)
    (name,) = arena.stats()
    cache = arena.cache(name)
    assert counted(cache, lambda: square(3)) == (0, 1)
    assert counted(cache, lambda: square(3)) == (1, 0)
