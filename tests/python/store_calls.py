# SPDX-License-Identifier: Apache-2.0
"""Stores of both kinds, called the same way; what all of them promise."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from pooled import Call

EVERY_BYTE = bytes(range(256))
VALUES = {
    b"bytes": EVERY_BYTE, b"empty": b"", b"lines": b"\r\nEND\r\n$-1\r\nVALUE x 0 1\r\n", b"not-utf-8": b"\xff\xfe\xc3(",
    b"number": b"17", b"pickle": b"\x80\x04K\x01.", b"large": EVERY_BYTE * 3900,
}  # fmt: skip
HOLD_SECONDS = 0.4  # the timeout of clients that are to fail


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self):
        self.run(_end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _end_tasks():
    """Those in the background of pools."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Waiting:
    """A store for asyncio whose methods wait."""

    def __init__(self, store, loop):
        self._store, self._loop = store, loop

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return lambda *arguments: self._loop.run(found(*arguments))


def names_of(count, prefix=b"name"):
    return [b"%s-%d" % (prefix, number) for number in range(count)]


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def hold(server):
    """Stop a server; when it returns, each of its threads stands still."""
    server.hold()
    tasks = Path(f"/proc/{server.process.pid}/task")
    until(lambda: all("State:\tT" in (task / "status").read_text() for task in tasks.iterdir()))


class Promises:
    """What every store does; a class of tests derives from it and has a fixture `store`, of an empty server."""

    def test_what_is_set_is_read_byte_for_byte(self, store):
        store.set_many([(name, value, 0) for name, value in VALUES.items()])
        assert store.get_many(list(VALUES)) == VALUES

    def test_absent_names_are_left_out(self, store):
        store.set_many([(b"here", b"1", 0)])
        assert store.get_many([b"not", b"here", b"neither"]) == {b"here": b"1"}

    def test_nothing_asked_is_nothing_done(self, store):
        assert store.get_many([]) == store.get_heads([], 5) == {}
        assert store.place_many([], b"p", 1000) == store.replace_many([], b"p") == set()
        store.set_many([])
        store.delete_many([])

    def test_many_names_at_once(self, store):
        items = [(name, name * 3, 60_000) for name in names_of(2500)]
        store.set_many(items)
        assert store.get_many(names_of(2600)) == {name: value for name, value, _ in items}
        store.delete_many(names_of(2500))
        assert store.get_many(names_of(2500)) == {}

    def test_a_name_may_be_as_long_as_is_said_and_a_value_with_it_as_large(self, store):
        size = min(store.name_max, 4000)
        names = [bytes(range(33, 127)) * 50, b"b" * 4000]
        names = [name[:size] for name in names]
        value = b"x" * min(store.item_max, 3 * 1024 * 1024)
        store.set_many([(name, value, 60_000) for name in names])
        assert store.get_many(names) == dict.fromkeys(names, value)

    def test_heads_are_the_first_bytes(self, store):
        store.set_many([(b"long", EVERY_BYTE, 0), (b"short", b"ab", 0), (b"empty", b"", 0)])
        assert store.get_heads([b"long", b"short", b"empty", b"absent"], 3) == {b"long": b"\x00\x01\x02", b"short": b"ab"}

    def test_placeholders_are_placed_where_there_is_nothing(self, store):
        store.set_many([(b"b", b"old", 0)])
        assert store.place_many([b"a", b"b", b"c"], b"\x00mine", 60_000) == {b"a", b"c"}
        assert store.place_many([b"a", b"d"], b"\x00other", 60_000) == {b"d"}
        found = store.get_many([b"a", b"b", b"c", b"d"])
        assert found == {b"a": b"\x00mine", b"b": b"old", b"c": b"\x00mine", b"d": b"\x00other"}

    def test_only_what_begins_with_the_prefix_is_replaced(self, store):
        there = {
            b"same": b"\x00\xffp", b"longer": b"\x00\xffp and more", b"shorter": b"\x00\xff", b"other": b"\x00\xfep",
            b"empty": b"",
        }  # fmt: skip
        store.set_many([(name, value, 0) for name, value in there.items()])
        items = [(name, b"new " + name, 60_000) for name in (*there, b"absent")]
        assert store.replace_many(items, b"\x00\xffp") == {b"same", b"longer"}
        assert store.get_many([*there, b"absent"]) == there | {b"same": b"new same", b"longer": b"new longer"}

    def test_an_empty_prefix_is_refused(self, store):
        with pytest.raises(ValueError, match="empty"):
            store.replace_many([(b"a", b"b", 0)], b"")

    def test_of_two_writers_who_find_the_same_one_stores(self, store):
        names = names_of(100)
        store.set_many([(name, b"placeholder", 60_000) for name in names])
        start = threading.Barrier(2)

        def write(mine):
            start.wait(30)
            return store.replace_many([(name, mine, 60_000) for name in names], b"placeholder")

        calls = {mine: Call(write, mine) for mine in (b"left", b"right")}
        won = {mine: call.result() for mine, call in calls.items()}
        assert not won[b"left"] & won[b"right"]
        assert store.get_many(names) == {name: mine for mine, part in won.items() for name in part}
        assert won[b"left"] | won[b"right"] == set(names)

    def test_what_is_to_expire_does_and_the_rest_stays(self, store):
        store.set_many([(b"set", b"1", 500), (b"stays", b"1", 0), (b"long", b"1", 40 * 24 * 3600 * 1000), (b"p", b"x", 0)])
        assert store.place_many([b"placed"], b"1", 500) == {b"placed"}
        assert store.replace_many([(b"p", b"1", 500)], b"x") == {b"p"}
        names = [b"set", b"placed", b"p", b"stays", b"long"]
        until(lambda: not {b"set", b"placed", b"p"} & set(store.get_many(names)))
        assert set(store.get_many(names)) == {b"stays", b"long"}

    def test_deleted_is_absent_and_deleting_again_does_nothing(self, store):
        store.set_many([(b"a", b"1", 0), (b"b", b"2", 0)])
        store.delete_many([b"a", b"absent"])
        store.delete_many([b"a"])
        assert store.get_many([b"a", b"b"]) == {b"b": b"2"}

    def test_threads_share_a_store(self, store):
        def work(number):
            names = names_of(20, b"thread-%d" % number)
            for turn in range(20):
                store.set_many([(name, name + b"%d" % turn, 60_000) for name in names])
                assert store.get_many(names) == {name: name + b"%d" % turn for name in names}

        for call in [Call(work, number) for number in range(6)]:
            call.result(60)

    def test_a_server_that_answers_is_found_to(self, store):
        assert store.ping() is None


def raises_in_time(store, *call, seconds=HOLD_SECONDS):
    """The call raises one of the store's errors, not much later than it says."""
    begin = time.monotonic()
    with pytest.raises(store.errors):
        call[0](*call[1:])
    took = time.monotonic() - begin
    assert took < seconds + 5, took
    return took
