# SPDX-License-Identifier: Apache-2.0
"""Cache.view(): values read in place."""

import gc
import os
import pickle
import signal
import struct

import numpy
import pytest

import forebay
from forking import fork_to_run, wait_for

BLOB = bytes(range(256)) * 20


@pytest.fixture
def cache(arena):
    return arena.cache("test", codec=None)  # what is packed is not viewed in place


def flood(cache, begin=0):
    cache.set_many({number: b"x" * 3000 for number in range(begin, begin + 12000)})  # twice the arena


def test_a_view_is_the_bytes_in_place(cache):
    cache["key"] = BLOB
    with cache.view("key") as view:
        assert view.zero_copy and view.kind == "bytes" and view.nbytes == len(view) == len(BLOB)
        assert view == BLOB and BLOB == view and view != b"" and view != "text"
        assert bytes(view) == view.tobytes() == bytes(memoryview(view)) == BLOB
        assert view[0] == 0 and view[-1] == 255 and view[3:6] == b"\3\4\5" and isinstance(view[1:2], memoryview)
        assert b"".join([view, view]) == BLOB * 2
        assert struct.unpack_from("<H", view, 2) == (0x0302,)
        assert repr(view) == "<forebay.View of 5120 bytes, in place>"
    assert view.released and repr(view) == "<forebay.View, released>"


def test_it_stays_whatever_happens_to_the_entry(cache):
    cache["deleted"], cache["replaced"], cache["evicted"] = BLOB, BLOB[::-1], b"e" * 1000
    with cache.view("deleted") as a, cache.view("replaced") as b, cache.view("evicted") as c:
        del cache["deleted"]
        cache["replaced"] = b"new"
        flood(cache)
        cache.clear()
        flood(cache)
        assert a == BLOB and b == BLOB[::-1] and c == b"e" * 1000
    flood(cache)
    assert cache.arena.verify() == []


def test_it_is_read_only(cache):
    cache["key"] = b"abc"
    with cache.view("key") as view, memoryview(view) as memory:
        assert memory.readonly and memory.format == "B" and memory.contiguous
        with pytest.raises(TypeError):
            memory[0] = 1
        with pytest.raises(TypeError):
            view[0] = 1


def test_numpy_reads_it_in_place(cache):
    cache["array"] = numpy.arange(10_000, dtype="<i4").tobytes()
    with cache.view("array") as view:
        array = numpy.frombuffer(view, dtype="<i4")
        assert not array.flags.owndata and not array.flags.writeable
        cache["array"] = b""
        flood(cache)
        assert (array == numpy.arange(10_000)).all()
        with pytest.raises(BufferError, match="1 memoryviews or arrays"):
            view.release()
        del array
    assert view.released


def test_other_values_are_their_encoding(cache):
    cache["dict"], cache["int"] = {"a": 1}, 258
    with cache.view("dict") as view:
        assert view.kind == "msgpack" and view == b"\x81\xa1a\x01"
    cache.incr("count", 258)
    with cache.view("count") as view:
        assert view.kind == "int" and view == (258).to_bytes(8, "little")
    cache["empty"] = b""
    with cache.view("empty") as view:
        assert len(view) == 0 and bytes(view) == b""


def test_a_miss_is_a_key_error_and_wrong_keys_are_type_errors(cache):
    with pytest.raises(forebay.MissError) as caught:
        cache.view("absent")
    assert caught.value.args == ("absent",)
    cache.set_absent("negative")
    with pytest.raises(KeyError):
        cache.view("negative")
    with pytest.raises(TypeError, match="key"):
        cache.view([])
    with pytest.raises(TypeError, match="cannot be called"):
        forebay.View()
    assert cache.arena.stats()["test"]["misses"] == 1  # a negative entry is a hit


def test_release_and_what_is_left_of_a_view(cache):
    cache["key"] = b"value"
    view = cache.view("key")
    memory = memoryview(view)
    with pytest.raises(BufferError):
        view.release()
    memory.release()
    view.release()
    view.release()
    for use in (len, bytes, memoryview, lambda v: v[0], lambda v: v.kind, lambda v: v.zero_copy, lambda v: v.tobytes()):
        with pytest.raises(ValueError, match="released"):
            use(view)
    with pytest.raises(ValueError, match="released"), view:
        pass
    assert view == view and view != b"value"
    for refused in (hash, pickle.dumps):
        with pytest.raises(TypeError):
            refused(cache.view("key"))


def test_closing_the_arena_with_open_views_is_an_error_that_says_so(path):
    arena = forebay.open(path, "2MiB")
    cache = arena.cache("test", codec=None)
    cache["key"] = b"value"
    view = cache.view("key")
    with pytest.raises(forebay.ViewError, match="1 view is open; release"):
        arena.close()
    memory = memoryview(cache.view("key"))  # keeps its view
    with pytest.raises(BufferError, match="2 views are open"), arena:
        pass
    assert cache["key"] == b"value"  # nothing changed
    view.release()
    del memory
    gc.collect()
    arena.close()


def test_views_are_let_go_when_nobody_has_them(cache):
    cache["key"] = BLOB
    for _ in range(1000):
        assert cache.view("key").zero_copy
    views = [cache.view("key") for _ in range(1000)]
    assert all(view.zero_copy for view in views)  # one place in the arena
    del views
    cache.arena.close()


def test_more_places_than_a_process_may_keep_are_copies(cache):
    keys = range(200)
    for key in keys:
        cache[key] = key.to_bytes(2, "big") * 15_000
    views = [cache.view(key) for key in keys]
    assert {view.zero_copy for view in views} == {True, False}
    flood(cache, 1000)
    for key, view in zip(keys, views, strict=True):
        assert view == key.to_bytes(2, "big") * 15_000
    for view in views:
        view.release()


def test_a_view_of_a_namespace(cache):
    names = cache.namespace("names")
    names[1] = b"one"
    with names.view(1) as view:
        assert view == b"one"
    with pytest.raises(KeyError):
        names.view(2)


def test_a_child_has_its_parents_views(cache):
    cache["key"] = BLOB
    view = cache.view("key")
    down, up = os.pipe()

    def child():
        os.close(up)
        os.read(down, 1)  # the parent has released and flooded
        assert view == BLOB
        flood(cache, 50_000)
        assert view == BLOB
        view.release()

    pid = fork_to_run(child)
    os.close(down)
    view.release()
    flood(cache)
    os.write(up, b"x")
    os.close(up)
    wait_for(pid)
    flood(cache)


def test_views_of_the_killed_do_not_keep_the_arena(path):
    with forebay.open(path, "2MiB") as arena:
        cache = arena.cache("test", codec=None)
        for number in range(4):
            for key in range(100):
                cache[number, key] = bytes(4000)

            def child(number=number):
                views = [cache.view((number, key)) for key in range(100) if (number, key) in cache]
                os.kill(os.getpid(), signal.SIGKILL if views else signal.SIGABRT)

            wait_for(fork_to_run(child), -signal.SIGKILL)
        for number in range(3000):
            cache[number] = bytes(4000)
        views = [cache.view(number) for number in range(3000) if number in cache]
        assert sum(view.zero_copy for view in views) == 64  # all its own
        for view in views:
            view.release()
        assert arena.verify() == []
