# SPDX-License-Identifier: Apache-2.0
"""codec=: packed values, their dictionaries, what is shown of them."""

import multiprocessing
import os
import random
import signal
import threading
import time
from decimal import Decimal

import pytest

import forebay
from forking import fork_to_run, wait_for


def record(n):
    return {
        "id": n, "name": f"customer {n}", "email": f"customer{n}@example.com", "country": "Norway",
        "tags": ["newsletter", "since 2019"], "balance": Decimal(n) / 100,
        "address": {"street": f"Long Street {n % 97}", "city": "Trondheim", "code": f"{n * 7919 % 100000:05}"},
    }  # fmt: skip


def records(count):
    return {n: record(n) for n in range(count)}


@pytest.mark.parametrize("codec", [None, "auto", "zstd", "zstd:19", "zstd:-3", "lz4", "gzip:1", "bz2", "lzma"])
def test_values_come_back_whatever_packs_them(arena, codec):
    cache = arena.cache("test", codec=codec)
    values = {**records(300), "text": "the same " * 500, "bytes": bytes(5000), "large": "x" * 200_000, "int": 7, "none": None}
    cache.set_many(values)
    for key, value in values.items():
        assert cache[key] == value
    assert cache.get_many(values) == values
    assert cache.stats()["codec"] == codec
    value, token = cache.gets("text")
    assert value == values["text"] and cache.cas("text", "another " * 500, token)
    assert cache.pop("text") == "another " * 500 and "text" not in cache
    with cache.view("bytes") as view:
        assert bytes(view) == bytes(5000) and (view.zero_copy or codec)  # or hit so often that it is kept unpacked
    assert arena.verify() == []


@pytest.mark.parametrize("codec", ["auto", "zstd", "lz4"])
def test_a_dictionary_makes_small_values_small(arena, codec):
    cache = arena.cache("test", codec=codec)
    cache.set_many(records(2000))
    assert cache.train() or cache.stats()["dictionary"] is not None
    before = cache.stats()
    cache.set_many(records(2000))
    after = cache.stats()
    ratio = (after["value_bytes"] - before["value_bytes"]) / (after["stored_bytes"] - before["stored_bytes"])
    assert ratio > (2 if codec == "lz4" else 2.5)
    assert cache.get_many(range(2000)) == records(2000)
    assert cache.stats()["packed_hits"] >= 1000
    # a better one may come once or twice: a first one was perhaps trained from some of the values
    assert not all(cache.train() for _ in range(10))
    assert isinstance(after["dictionary"], int) and after["dictionary_age"] >= 0


def test_a_dictionary_comes_by_itself(arena):
    cache = arena.cache("test")
    threads = threading.active_count()
    end = time.monotonic() + 30
    n = 0
    while cache.stats()["dictionary"] is None:
        assert time.monotonic() < end
        cache.set_many({n + i: record(n + i) for i in range(500)})
        n += 500
    assert threading.active_count() == threads  # its thread is none of Python's


def test_what_is_hit_often_is_kept_unpacked(arena):
    cache = arena.cache("test", codec="zstd")
    cache.set_many(records(500))
    cache.train()
    cache.set_many(records(500))
    for _ in range(200):
        assert cache[7] == record(7)
    stats = cache.stats()
    assert stats["warmed"] >= 1 and stats["packed_hits"] < 100


def test_random_bytes_take_no_more_room(arena):
    source = random.Random(1)
    cache = arena.cache("test")
    values = {n: source.randbytes(700) for n in range(3000)}
    cache.set_many(values)
    cache.set_many(values)
    assert cache.stats()["stored_bytes"] == cache.stats()["value_bytes"]
    assert cache.get_many(values) == values


@pytest.mark.parametrize("codec", ["", "none of these", "zstd:", "zstd:1000", "ZSTD", "zstd\0", "auto:1"])
def test_a_codec_that_is_none(arena, codec):
    with pytest.raises(ValueError, match=r"zstd \(") as caught:
        arena.cache("test", codec=codec)
    assert isinstance(caught.value, forebay.Error)
    assert arena.caches() == []


@pytest.mark.parametrize("codec", [9, b"zstd", ["zstd"], True])
def test_a_codec_of_another_type(arena, codec):
    with pytest.raises(TypeError, match="codec must be a str or None"):
        arena.cache("test", codec=codec)


def test_the_codec_belongs_to_the_cache(arena):
    arena.cache("test", codec="lz4")
    assert arena.cache("test").stats()["codec"] == "lz4"
    with pytest.raises(forebay.ConflictError, match=r"another codec \(lz4\)"):
        arena.cache("test", codec=None)
    assert arena.cache("test", codec=None, update=True).stats()["codec"] is None
    with pytest.raises(ValueError, match="takes no dictionary"):
        arena.cache("test").train()


def test_a_value_too_large_is_refused_however_small_it_packs(arena):
    cache = arena.cache("test", codec="zstd")
    with pytest.raises(forebay.TooBigError):
        cache["key"] = bytes(arena.max_entry + 1)
    assert "key" not in cache


def use(path, begin):
    with forebay.open(path) as arena:
        cache = arena.cache("test")
        while True:
            cache.set_many({begin + n: record(begin + n) for n in range(200)})
            cache.train()
            for n in range(begin, begin + 200):
                assert cache.get(n) in (None, record(n))


def test_killed_while_they_train_and_pack(path):
    with forebay.open(path, "4MiB") as arena:
        cache = arena.cache("test", codec="zstd")
        context = multiprocessing.get_context("spawn")
        for turn in range(6):
            workers = [context.Process(target=use, args=(path, i * 1000)) for i in range(2)]
            for worker in workers:
                worker.start()
            time.sleep(0.4 + turn * 0.03)
            for worker in workers:
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
            assert arena.verify() == []
            for n in range(1200):
                assert cache.get(n) in (None, record(n))
        cache.set_many(records(1000))
        cache.train()
        assert cache.get_many(range(1000)) == records(1000)


def test_a_child_of_fork_packs_and_trains(arena):
    cache = arena.cache("test", codec="zstd")
    cache.set_many(records(1000))

    def child():
        assert cache.get_many(range(1000)) == records(1000)
        cache.set_many({n: record(n) for n in range(1000, 3000)})
        cache.train()
        assert cache.get_many(range(3000)) == records(3000)

    wait_for(fork_to_run(child))
    assert cache.get_many(range(3000)) == records(3000)


def test_threads_that_train_at_once_wait_for_each_other(arena):
    cache = arena.cache("test", codec="zstd")
    cache.set_many(records(3000))
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(cache.train())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4 and set(outcomes) <= {True, False}
    assert cache.stats()["dictionary"] is not None
