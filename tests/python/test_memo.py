# SPDX-License-Identifier: Apache-2.0
"""The memo of lazy(): the same object as long as the entry is the same, never longer."""

import multiprocessing
import random
import threading
import time
import uuid
from decimal import Decimal

import pytest

import forebay
from forking import fork_to_run, wait_for
from forebay.testing import Clock


def remember(cache, key):
    """The value that the memo has from now on: that of the second time."""
    cache.lazy(key)
    return cache.lazy(key)


def remembered(cache, key):
    """Has the memo a value that is good?"""
    return remember(cache, key) is cache.lazy(key)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], (1, 2), "a long enough text", b"bytes", 2.5, 10**30, Decimal("1.5"), uuid.uuid4()])
def test_a_value_is_given_again_while_the_entry_is_the_same(cache, value):
    cache["key"] = value
    first = remember(cache, "key")
    assert first == value and all(cache.lazy("key") is first for _ in range(5))
    cache["key"] = value
    assert cache.lazy("key") is not first and cache.lazy("key") == value


def test_gets_stay_fresh(cache):
    cache["key"] = {"a": [1]}
    cache.lazy("key")
    assert cache.get("key") is not cache.get("key") and type(cache["key"]) is dict


def change_set(cache):
    cache["key"] = {"n": 2}
    return {"n": 2}


def change_delete(cache):
    del cache["key"]


def change_pop(cache):
    cache.pop("key")


def change_clear(cache):
    cache.clear()


def change_tag(cache):
    cache.invalidate_tag("tag")


def change_expire(cache):
    Clock(cache.arena).advance(101)


def change_absent(cache):
    cache.set_absent("key")


def change_many(cache):
    cache.set_many({"key": 5})
    return 5


def change_version(cache):
    cache.arena.cache("test", version=7)["key"] = 1


def change_evict(cache):
    for number in range(20_000):
        cache[number] = bytes(3000)
    return cache.get("key")  # its hits may keep it


CHANGES = [value for name, value in globals().copy().items() if name.startswith("change_")]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_no_change_is_missed(cache, change, elsewhere):
    """By this process or another one, which has done it by the time it has ended."""
    cache.set("key", {"n": 1}, ttl=100, tags=["tag", "other"])
    assert remembered(cache, "key") and cache.lazy("key") == {"n": 1}
    expected = change(cache) if not elsewhere else None
    if elsewhere:
        wait_for(fork_to_run(lambda: change(cache)))
        expected = cache.get("key")
    assert cache.lazy("key") == expected == cache.get("key")


def test_a_touched_entry_lives_by_its_new_time(cache):
    cache.set("key", {"n": 1}, ttl=100)
    clock = Clock(cache.arena)
    assert remembered(cache, "key")
    cache.touch("key", ttl=10)
    assert remembered(cache, "key")
    clock.advance(11)
    assert cache.lazy("key") is None


def test_an_entry_with_many_tags_is_not_remembered_but_right(cache):
    cache.set("key", {"n": 1}, tags=["a", "b", "c", "d", "e"])
    assert not remembered(cache, "key") and cache.lazy("key") == {"n": 1}
    cache.invalidate_tag("e")
    assert cache.lazy("key") is None


def test_keys_that_are_equal_in_python_are_not_one(cache):
    keys = [1, "1", b"1", True]
    for key in keys:
        cache[key] = [repr(key)]
    for _ in range(3):
        assert [cache.lazy(key)[0] for key in keys] == [repr(key) for key in keys]
    with pytest.raises(TypeError):
        cache.lazy(1.0)

    class Text(str):
        pass

    with pytest.raises(TypeError):
        cache.lazy(Text("1"))
    other = "".join(["lo", "ng key"])
    cache[other] = [1]
    assert remember(cache, "".join(["long", " key"])) is cache.lazy(other)  # equal, not identical


def test_a_dropped_cache_and_a_closed_arena(path):
    arena = forebay.open(path, "2MiB")
    cache = arena.cache("test")
    cache["key"] = {"n": 1}
    record = remember(cache, "key")
    arena.drop("test")
    with pytest.raises(forebay.ClosedError):
        cache.lazy("key")
    again = arena.cache("test")
    assert again.lazy("key") is None
    again["key"] = {"n": 2}
    assert remembered(again, "key")
    arena.close()
    with pytest.raises(forebay.ClosedError):
        again.lazy("key")
    assert record == {"n": 1}


def test_it_can_be_turned_off_and_is_bounded(arena):
    off = arena.cache("test", memo=None)
    off["key"] = {"n": 1}
    assert not remembered(off, "key") and not remembered(arena.cache("test", memo=0), "key")
    small = arena.cache("test", memo=20_000)
    for number in range(2000):
        small[number] = {"n": number}
    for number in range(2000):
        assert remember(small, number)["n"] == number
    first = [remember(small, number) for number in range(2000)]
    kept = sum(small.lazy(number) is first[number] for number in range(1999, -1, -1))
    assert 5 < kept < 100
    small["long"] = {"text": "x" * 3000}
    assert not remembered(small, "long")  # more than an eighth


def test_what_is_used_stays_and_what_is_not_goes(arena):
    cache = arena.cache("test", memo=100_000)
    cache.set_many({number: {"n": number} for number in range(5000)})
    hot = remember(cache, 0)
    cold = remember(cache, 1)
    for number in range(2, 5000):
        remember(cache, number)
        assert cache.lazy(0) is hot
    assert cache.lazy(1) is not cold


def test_what_is_read_once_drives_out_nobody(arena):
    cache = arena.cache("test", memo=100_000)
    cache.set_many({number: {"n": number} for number in range(20_000)})
    hot = remember(cache, 0)
    for number in range(1, 20_000):
        cache.lazy(number)
    assert cache.lazy(0) is hot


def test_memory_does_not_grow_with_changing_entries(arena):
    cache = arena.cache("test", memo=50_000)
    import tracemalloc

    def churn(rounds):
        for number in range(rounds):
            cache[number % 50] = {"text": "x" * (number % 700)}
            cache.lazy(number % 50)
            cache.lazy((number + 1) % 50)

    churn(1000)
    tracemalloc.start()
    churn(500)
    before = tracemalloc.get_traced_memory()[0]
    churn(20_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 60_000


def test_hits_are_counted_and_keep_the_entry_from_eviction(path):
    with forebay.open(path, "2MiB") as arena:
        cache = arena.cache("test", codec=None)  # packed, the others would take no room
        cache["hot"] = {"n": 1}
        record = remember(cache, "hot")
        before = cache.stats()["hits"]
        for number in range(10_000):
            cache[number] = bytes(1000)
            assert cache.lazy("hot") is record or cache.lazy("hot") == {"n": 1}
        assert cache.stats()["hits"] >= before + 10_000
        assert cache.stats()["evictions"] > 1000


def test_a_child_goes_on_with_the_memo(cache):
    cache["key"], cache["other"] = {"n": 1}, {"n": 1}
    record = remember(cache, "key")

    def child():
        assert cache.lazy("key") is record
        cache["key"] = {"n": 2}
        assert cache.lazy("key") == {"n": 2}

    wait_for(fork_to_run(child))
    assert cache.lazy("key") == {"n": 2} and record == {"n": 1}


def write_on(path, stop, seen):
    with forebay.open(path) as arena:
        cache, number = arena.cache("test"), 0
        while not stop.is_set():
            number += 1
            cache.set("key", {"n": number, "twice": [number, number]})
            seen.value = number  # set is over: nobody may read an older one from now on
            if number % 7 == 0:
                cache.clear() if number % 2 else cache.delete("key")
            for other in range(20):
                cache[number % 3000, other] = bytes(300)


def test_a_reader_never_sees_what_is_older_than_a_finished_write(path):
    context = multiprocessing.get_context("spawn")
    stop, seen = context.Event(), context.Value("L", 0)
    with forebay.open(path, "2MiB") as arena:
        cache = arena.cache("test")
        writer = context.Process(target=write_on, args=(path, stop, seen))
        writer.start()
        hits = changes = 0
        last, until = None, time.monotonic() + 30
        while (changes < 3000 and time.monotonic() < until) or changes < 50:
            finished = seen.value
            record = cache.lazy("key")
            if record is not None:
                assert record["n"] >= finished and record["twice"] == [record["n"]] * 2
            hits += record is last
            changes += record is not last
            last = record
        stop.set()
        writer.join()
        assert writer.exitcode == 0 and arena.verify() == []


def test_threads_share_a_memo(cache):
    cache.set_many({number: {"n": number} for number in range(300)})
    small = cache.arena.cache("test", memo=30_000)
    failed = []

    def work(seed):
        numbers = random.Random(seed)
        for _ in range(5000):
            number = numbers.randrange(300)
            if numbers.random() < 0.05:
                small[number] = {"n": number}
            record = small.lazy(number)
            if record is None or record["n"] != number or record != {"n": number}:
                failed.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_lazy_cache_uses_it(cache):
    lazy = cache.arena.cache("test", lazy=True)
    lazy["key"] = {"n": 1}
    assert remember(lazy, "key") is lazy["key"] is lazy.get("key") is lazy.lazy("key")


# ---- memoize ----------------------------------------------------------------------


def test_memoized_functions_give_records_if_they_are_lazy(arena):
    calls = []

    @arena.memoize(lazy=True, tags=["t"])
    def record(n, kind="dict"):
        calls.append(n)
        return {"n": n} if kind == "dict" else n

    first = record(1)
    assert type(first) is forebay.Record and first == {"n": 1}  # as a later call gets it
    record(1)
    found = record(1)
    assert type(found) is forebay.Record and record(1) is found and calls == [1]
    assert record(2, "int") == 2 == record(2, "int")
    assert record.invalidate(1)
    assert record(1) == {"n": 1} and calls == [1, 2, 1]
    record.cache_clear()
    assert record(1) == {"n": 1} and calls == [1, 2, 1, 1]
    record.cache.invalidate_tag("t")
    assert record(1) == {"n": 1} and len(calls) == 5 and record.cache_info().hits == 4
    arena.close()
    with pytest.raises(forebay.ClosedError):
        record(1)


def test_a_memoized_function_in_a_lazy_cache(arena):
    lazy = arena.cache("results", lazy=True, memo=None)

    @lazy.memoize
    def record(n):
        return [n, {"n": n}]

    assert type(record(1)) is forebay.RecordList and record(1) == [1, {"n": 1}] and record(1) is not record(1)
    hooked = arena.cache("hooked", encode_hook=str, decode_hook=str)

    @hooked.memoize(lazy=True)  # stores as the cache does, reads records
    def hooks(number):
        return {"at": complex(number, 1)}

    assert hooks(1)["at"] == hooks(1)["at"] == "(1+1j)" and hooks.cache_info().hits == 1
    plain = arena.cache("plain")

    @plain.memoize(lazy=True, condition=lambda result: type(result) is dict)
    def some(n):
        return {"n": n} if n else object()

    assert type(some(1)) is type(some(1)) is forebay.Record and type(some(0)) is object


def test_coroutine_functions_too(arena):
    import asyncio

    @arena.memoize(lazy=True)
    async def record(n):
        return {"n": n}

    assert type(asyncio.run(record(1))) is type(asyncio.run(record(1))) is forebay.Record


def packing(arena, **options):
    """A cache whose values are packed: those of text that repeats itself."""
    return arena.cache("packing", codec="zstd", **options)


def drinks(number):
    return {"n": number, "text": "tea, milk, rum; " * 40}


def test_the_memo_saves_the_unpacking(arena):
    cache = packing(arena)
    cache["key"] = drinks(1)
    assert cache.stats()["ratio"] > 2
    first = remember(cache, "key")
    before = cache.stats()
    assert first == drinks(1) and all(cache.lazy("key") is first for _ in range(50))
    after = cache.stats()
    assert after["hits"] == before["hits"] + 50 and after["packed_hits"] == before["packed_hits"]
    packing(arena)["key"] = drinks(2)
    assert cache.lazy("key") == drinks(2) and cache.get("key") == drinks(2)


def test_an_entry_that_is_stored_again_unpacked_is_remembered_all_the_same(arena):
    cache = packing(arena)
    cache["key"] = drinks(1)
    assert remembered(cache, "key")
    old = cache.lazy("key")
    while cache.stats()["warmed"] == 0:
        assert cache.get("key") == drinks(1)
    for _ in range(4):
        assert cache.lazy("key") == drinks(1)
    assert remembered(cache, "key") and cache.lazy("key") is not old and old == drinks(1)


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_a_packed_entry_is_missed(arena, change):
    cache = arena.cache("test", codec="zstd")
    cache.set("key", drinks(1), ttl=100, tags=["tag", "other"])
    assert cache.stats()["ratio"] > 2
    assert remembered(cache, "key") and cache.lazy("key") == drinks(1)
    expected = change(cache)
    assert cache.lazy("key") == expected


def test_a_large_packed_value_is_a_private_copy_that_goes_with_its_records(arena):
    """A record keeps what was unpacked, whatever happens to the entry; the arena closes once it is gone."""
    cache = packing(arena)
    value = {"rows": [drinks(number) for number in range(200)], "bytes": b"tea" * 20_000}
    cache["key"] = value
    cache["bytes"] = b"rum" * 20_000
    record = cache.lazy("key")
    with cache.view("key") as view:
        assert not view.zero_copy
    rows = record["rows"]
    del record, cache["key"]
    assert rows[199] == drinks(199) and rows == value["rows"] and cache.lazy("bytes") == b"rum" * 20_000
    with pytest.raises(forebay.ViewError, match="1 view is open"):
        arena.close()
    del rows
    assert cache.lazy("key") is None
    arena.close()
