# SPDX-License-Identifier: Apache-2.0
"""Arena.cache(serializer=): wherever values go in or out, the same functions make bytes of them."""

import array
import gc
import json
import pickle
import subprocess
import sys
import warnings
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest

import forebay
from forebay import _serializers


class Point:  # what neither Forebay nor json takes
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)


def dump_point(value):
    return f"{value.x},{value.y}".encode()


def load_point(data):
    return Point(*map(int, data.split(b",")))


POINTS = dump_point, load_point


@pytest.fixture(autouse=True)
def warned_before(monkeypatch):
    monkeypatch.setattr(_serializers, "_warned", True)


@pytest.fixture
def points(arena):
    return arena.cache("points", serializer=POINTS)


VALUES = {
    "json": {"a": [1, None, True, "ü", "\ud800"], "b": 1.5},
    "pickle": [Point(1, 2), {3}, Fraction(1, 3), Decimal("1.5")],
    "bytes": b"abc",
    POINTS: Point(3, 4),
}


@pytest.mark.parametrize("serializer", VALUES, ids=str)
def test_values_come_back_by_every_way_in_and_out(arena, serializer):
    cache, value = arena.cache("c", serializer=serializer), VALUES[serializer]
    assert cache.serializer == serializer
    cache["set item"] = value
    cache.set("set", value, ttl=60, tags=["t"])
    assert cache.add("add", value) and not cache.add("add", value)
    assert cache.replace("add", value)
    cache.set_many({"many 1": value, "many 2": value})
    cache.update([("update", value)])
    assert cache.get_or_set("made", lambda: value) == value
    assert cache.get_or_set("made", lambda: None) == value
    assert cache.setdefault("default", value) == value
    names = {"set item", "set", "add", "many 1", "many 2", "update", "made", "default"}
    for name in names:
        assert cache[name] == cache.get(name) == value
    assert cache.get_many(names | {"none"}) == dict.fromkeys(names, value)
    assert dict(cache.items()) == dict.fromkeys(names, value)
    assert list(cache.values()) == [value] * len(names)
    got, token = cache.gets("set")
    assert got == value
    assert cache.cas("set", value, token)
    assert cache.pop("set") == value and cache.pop("set", 0) == 0
    assert cache.popitem()[1] == value
    space = cache.namespace("space")
    space["k"] = value
    assert space["k"] == value == cache["space", "k"]
    cache.set_absent("nothing")
    assert cache.get("nothing") is None and cache.is_absent("nothing")


@pytest.mark.parametrize("serializer", VALUES, ids=str)
def test_memoize_uses_it(arena, serializer):
    calls = []

    @arena.cache("memo", serializer=serializer).memoize
    def function(n):
        calls.append(n)
        return VALUES[serializer]

    assert function(1) == function(1) == VALUES[serializer]
    assert calls == [1]


def test_what_is_stored_are_the_bytes(arena):
    arena.cache("c", serializer="json")["k"] = {"a": 1}
    assert arena.cache("c")["k"] == b'{"a":1}'
    arena.cache("c", serializer="pickle")["k"] = (1, 2)
    assert pickle.loads(arena.cache("c")["k"]) == (1, 2)


def test_bytes_that_others_stored_are_loaded_and_their_other_values_read_as_they_are(arena):
    plain, by_json = arena.cache("c"), arena.cache("c", serializer="json")
    plain["bytes"] = b'{"a": 1}'
    plain["dict"] = {"b": (2,)}
    plain["text"] = "[]"
    assert by_json.get_many(["bytes", "dict", "text"]) == {"bytes": {"a": 1}, "dict": {"b": (2,)}, "text": "[]"}


@pytest.mark.parametrize("serializer", VALUES, ids=str)
def test_counters_stay_ints(arena, serializer):
    cache = arena.cache("c", serializer=serializer)
    assert cache.incr("n", 5, initial=1) == 6
    assert cache["n"] == 6 == cache.gets("n")[0] == cache.get_many(["n"])["n"]
    assert cache.decr("n") == cache.pop("n") == 5
    cache["value"] = VALUES[serializer]
    with pytest.raises(forebay.TypeMismatchError):
        cache.incr("value")


@pytest.mark.parametrize("value", [bytearray(b"abc"), memoryview(b"abc"), array.array("b", b"abc"), memoryview(b"a-b-c-")[::2]])
def test_bytes_takes_what_has_a_buffer(arena, value):
    cache = arena.cache("c", serializer="bytes")
    cache["k"] = value
    assert cache["k"] == bytes(value) and type(cache["k"]) is bytes


@pytest.mark.parametrize("value", ["text", 1, None, [1], {}])
def test_bytes_takes_nothing_else(arena, value):
    cache = arena.cache("c", serializer="bytes")
    cache["k"] = b"old"
    for call in (lambda: cache.set("k", value), lambda: cache.set_many({"k": value}), lambda: cache.cas("k", value, 1)):
        with pytest.raises(TypeError, match=f'"bytes" takes bytes-like values only, not {type(value).__name__}'):
            call()
    assert cache["k"] == b"old"


@pytest.mark.parametrize("made", ["text", None, bytearray(b"x"), 5])
def test_dumps_must_give_bytes(arena, made):
    cache = arena.cache("c", serializer=(lambda value: made, bytes))
    for call in (lambda: cache.set("k", 1), lambda: cache.set_many({"k": 1}), lambda: cache.get_or_set("k", 1)):
        with pytest.raises(TypeError, match=f"serializer of the cache 'c' must give bytes, not {type(made).__name__}"):
            call()
    assert len(cache) == 0


def test_what_dumps_raises_is_passed_on_and_changes_nothing(arena):
    cache = arena.cache("c", serializer="json")
    cache["k"] = "old"
    for call in (lambda: cache.set("k", {1}), lambda: cache.set_many({"j": 1, "k": {1}})):
        with pytest.raises(TypeError, match="set is not JSON serializable"):
            call()
    assert dict(cache.items()) == {"k": "old"}


@pytest.mark.parametrize("key", ["k", 7, ("a", b"b")])
def test_what_loads_raises_is_passed_on_with_the_key(arena, key):
    arena.cache("c")[key] = b"no json"
    cache = arena.cache("c", serializer="json")
    ways = [cache.get, cache.__getitem__, cache.gets, lambda k: cache.get_many([k]), lambda k: list(cache.items()), cache.pop]
    for way in ways:
        with pytest.raises(json.JSONDecodeError) as caught:
            way(key)
        assert caught.value.__notes__ == [f"while loading the value of key {key!r} of the cache 'c'"]


def test_an_unknown_one_names_those_there_are(arena):
    with pytest.raises(ValueError, match="no serializer 'yaml'; there are msgpack, bytes, json, pickle, or pass a pair"):
        arena.cache("c", serializer="yaml")
    assert arena.caches() == []


@pytest.mark.parametrize("wrong", [None, 5, b"json", (len,), (len, 5), [len, len], (len, len, len), json])
def test_wrong_types_are_type_errors(arena, wrong):
    with pytest.raises(TypeError, match="serializer must be a str or a pair"):
        arena.cache("c", serializer=wrong)
    assert arena.caches() == []


def test_msgpack_is_the_usual_one(arena):
    assert arena.cache("c").serializer == arena.cache("c", serializer="msgpack").serializer == "msgpack"
    arena.cache("c", serializer="msgpack")["k"] = (1,)
    assert arena.cache("c")["k"] == (1,)


def test_pickle_warns_once_and_where_the_cache_is_opened(arena, monkeypatch):
    monkeypatch.setattr(_serializers, "_warned", False)
    with pytest.warns(forebay.PickleWarning, match="run code when they are loaded") as caught:
        arena.cache("c", serializer="pickle")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arena.cache("c", serializer="pickle")
    assert issubclass(forebay.PickleWarning, RuntimeWarning)


@pytest.mark.parametrize("serializer", ["json", POINTS], ids=str)
def test_a_pickled_cache_keeps_it(arena, serializer):
    again = pickle.loads(pickle.dumps(arena.cache("c", serializer=serializer)))
    assert again.serializer == serializer
    again["k"] = VALUES[serializer]
    assert again["k"] == VALUES[serializer]


@pytest.mark.parametrize("serializer", VALUES, ids=str)
@pytest.mark.parametrize("wrong", [{"lazy": True}, {"encode_hook": str}, {"decode_hook": str}, {"lazy": True, "encode_hook": str}], ids=str)
def test_it_excludes_records_and_hooks(arena, serializer, wrong):
    with pytest.raises(ValueError, match="serializer other than 'msgpack'"):
        arena.cache("c", serializer=serializer, **wrong)
    arena.cache("c", serializer="msgpack", **wrong)
    arena.cache("c", serializer=serializer, lazy=False, encode_hook=None, decode_hook=None, memo="1MiB")


@pytest.mark.parametrize("serializer", VALUES, ids=str)
def test_lazy_gives_what_is_loaded_each_time(arena, serializer):
    cache, value = arena.cache("c", serializer=serializer), VALUES[serializer]
    cache["k"] = value
    found = [cache.lazy("k") for _ in range(4)]
    assert all(each == value for each in found) and cache.lazy("absent", 5) == 5
    assert serializer == "bytes" or len({id(each) for each in found}) == 4
    assert cache.namespace("n").lazy("k") is None


def test_packed_values_are_loaded_all_the_same(arena):
    cache = arena.cache("c", codec="zstd", serializer="json")
    value = {"text": "tea, milk, rum; " * 100}
    cache["k"] = value
    assert cache.stats()["ratio"] > 2
    assert cache["k"] == cache.lazy("k") == cache.get_many(["k"])["k"] == cache.gets("k")[0] == cache.pop("k") == value


def test_memoize_takes_no_lazy_with_it(arena, points):
    with pytest.raises(ValueError, match="serializer"):
        points.memoize(lambda: None, lazy=True)

    @points.memoize
    def make(x, y):
        return Point(x, y)

    assert make(1, 2) == make(1, 2) == Point(1, 2) and make.cache_info().hits == 1


def test_a_pickled_cache_keeps_all_of_its_options(arena):
    cache = arena.cache("c", codec="zstd", version=3, lazy=True, memo=12345, encode_hook=dump_point)
    again = pickle.loads(pickle.dumps(cache))
    assert again.__reduce__()[1][1:] == cache.__reduce__()[1][1:] == ("c", 3, "msgpack", True, 12345, dump_point, None, None)
    again = pickle.loads(pickle.dumps(arena.cache("c", load=dump_point, stale=5, jitter=0.5)))
    assert again._loading.given == {"load": dump_point, "stale": 5, "jitter": 0.5}
    again = pickle.loads(pickle.dumps(arena.cache("c", serializer=POINTS)))
    assert again.serializer == POINTS and again.stats()["codec"] == "zstd"


def test_a_function_may_close_the_arena(path):
    with forebay.open(path, "1MiB") as arena:
        arena.cache("c")["k"] = b"1"
        cache = arena.cache("c", serializer=(lambda value: arena.close() or b"1", lambda data: arena.close() or "loaded"))
        assert cache["k"] == "loaded"
    with forebay.open(path, "1MiB") as arena:
        cache = arena.cache("c", serializer=(lambda value: arena.close() or b"1", bytes))
        for call in (lambda: cache.set("k", 1), lambda: cache.set_many({"k": 1}), lambda: cache.cas("k", 1, 1)):
            with pytest.raises(forebay.ClosedError):
                call()


def test_a_function_may_use_the_cache(arena):
    cache = None

    def loads(data):
        return cache.get_many(["other"]) if data == b"again" else data

    cache = arena.cache("c", serializer=(bytes, loads))
    cache.set_many({"k": b"again", "other": b"x"})
    assert cache.get_many(["k", "other"]) == {"k": {"other": b"x"}, "other": b"x"}


def test_a_cycle_through_a_function_is_collected(arena):
    def make():
        cell = []
        cache = arena.cache("c", serializer=(bytes, lambda data: cell))
        cell.append(cache)
        return weakref.ref(cache)

    gone = make()
    gc.collect()
    assert gone() is None


def test_large_values_work(arena):
    cache = arena.cache("c", serializer="json")
    cache["k"] = ["x" * 1000] * 1500
    assert cache["k"] == ["x" * 1000] * 1500


def test_importing_forebay_loads_neither_json_nor_pickle():
    code = f"import sys; sys.path[:] = {sys.path!r}; import forebay; print({{'json', 'pickle'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
