# SPDX-License-Identifier: Apache-2.0
"""Records: what they give is what a full decode gives, and only what is touched is decoded."""

import collections
import copy
import dataclasses
import enum
import gc
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

import pytest
from any_values import scalars, values
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_encoding import exact

import forebay
from forking import fork_to_run, wait_for
from forebay._core import _decode, _encode, _record

VALUE = {
    "id": 7,
    "tags": ["a", {"deep": (1, [2.5, None])}],
    "by": {1: "one", 2.5: "float", (1, "x"): "tuple", b"k": b"v", None: True},
    "text": "Zürich",
    "empty": {},
}
LONG = {"fields": {f"field-{n}": n for n in range(3000)}, "list": list(range(5000)), "text": "x" * 20_000}
RECORDS = (forebay.Record, forebay.RecordList, forebay.RecordTuple)


def lazily(value):
    return _record(_encode(value))


def same(record, value):
    """Is what is reached through the record, element by element, exactly the value?"""
    if type(value) is dict:
        assert type(record) is forebay.Record and len(record) == len(value) and bool(record) == bool(value)
        assert [exact(key) for key in record] == [exact(key) for key in value]
        plain = record.materialize()
        for key, item in value.items():
            assert (key in record) == (key in plain)  # NaN is found by none but itself
            if key in plain:
                same(record[key], item)
                same(record.get(key), item)
        for (key, item), wanted in zip(record.items(), value.items(), strict=True):
            assert exact(key) == exact(wanted[0])
            same(item, wanted[1])
        for item, wanted in zip(record.values(), value.values(), strict=True):
            same(item, wanted)
    elif type(value) in (list, tuple):
        assert type(record) is (forebay.RecordList if type(value) is list else forebay.RecordTuple)
        assert len(record) == len(value) and bool(record) == bool(value)
        for index, (item, wanted) in enumerate(zip(record, value, strict=True)):
            same(item, wanted)
            same(record[index], wanted)
            same(record[index - len(value)], wanted)
    else:
        assert exact(record) == exact(value)
    if isinstance(record, RECORDS):
        assert exact(record.materialize()) == exact(value)
        assert exact(pickle.loads(pickle.dumps(record)).materialize()) == exact(value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
@example(VALUE)
@example(LONG["list"])
@example({1: 0, "1": {2**100: -0.0}})
def test_every_path_leads_to_what_a_full_decode_gives(value):
    same(lazily(value), _decode(_encode(value)))


@settings(deadline=None)
@given(st.binary(max_size=60))
@example(b"\x82\xa1a\x01\xa1a\x02")
@example(b"\x82\x01\xa1a\xc3\xa1b")  # 1 and True
@example(b"\x81\x91\x01\x02")  # a list as a key
@example(b"\x91\x01\x02")
@example(b"\xd5\x01\x91\x01")
@example(b"\xc7\x03\x01\x91\x01\x05")
@example(b"\xdf\xff\xff\xff\xff\x01")
@example(b"\x81\xd4\x09a\x05")
def test_any_bytes_give_what_the_full_decoder_gives_or_its_error(data):
    try:
        value = _decode(data)
    except ValueError:
        with pytest.raises(forebay.CorruptError):
            record = _record(data)
            assert isinstance(record, RECORDS)
            record.materialize()
    else:
        same(_record(data), value)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), scalars, max_size=4), st.data())
def test_damage_is_an_error_where_it_is_reached_never_another_value(value, data):
    """Cut off anywhere: what can still be read is right."""
    encoded = _encode(value)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    try:
        record = _record(cut)
    except forebay.CorruptError:
        return
    for key, item in value.items():
        try:
            assert exact(record[key]) == exact(item)
        except forebay.CorruptError as error:
            assert "damaged" in str(error) and "byte" in str(error)
    with pytest.raises(forebay.CorruptError):
        record.materialize()


def test_of_a_key_that_is_there_twice_the_last_counts_in_the_place_of_the_first():
    data = b"\x84\xa1a\x01\xa1b\x02\xd9\x01a\x03\xa1c\x04"
    assert list(_decode(data).items()) == [("a", 3), ("b", 2), ("c", 4)]
    assert _record(data)["a"] == 3
    assert list(_record(data).items()) == [("a", 3), ("b", 2), ("c", 4)]
    assert len(_record(data)) == 3 and list(_record(data)) == ["a", "b", "c"]


def test_keys_are_looked_up_as_in_a_dict():
    plain = {1: "int", "1": "str", b"1": "bytes", (1, 2): "tuple", None: "none", 0: "zero", 2**70: "big"}
    record = lazily(plain)

    class Text(str):
        pass

    for key in (1, 1.0, True, Decimal(1), "1", Text("1"), b"1", (1, 2), (1.0, 2), None, 0, -0.0, False, 2**70, 2.0**70):
        assert record[key] == plain[key] and key in record and record.get(key, 5) == plain[key]
    assert record[lazily((1, 2))] == "tuple"
    for key in ("2", 2, b"2", (2, 1), 1.5, "\ud800", "é"):
        assert key not in record and record.get(key) is None and record.get(key, 5) == 5
        with pytest.raises(KeyError) as caught:
            record[key]
        assert caught.value.args == (key,)
    for use in (lambda: record[[]], lambda: {} in record, lambda: record.get(set())):
        with pytest.raises(TypeError, match="unhashable"):
            use()


def test_strs_with_surrogates_and_beyond_ascii_are_found():
    plain = {"Zürich": 1, "\ud800": 2, "日本": 3, "😀": 4, "": 5}
    for key, item in plain.items():
        assert lazily(plain)[key] == item


def test_many_lookups_and_iteration_are_not_quadratic():
    plain = {f"key-{n}": n for n in range(20_000)} | {n: n for n in range(20_000)}
    record = lazily(plain)
    assert all(record[key] == item for key, item in plain.items())  # minutes if it were
    numbers = lazily(list(range(100_000)))
    assert all(numbers[n] == n for n in range(99_999, -1, -1))
    assert sum(numbers) == sum(range(100_000))
    assert list(reversed(numbers)) == list(range(99_999, -1, -1))


def test_it_is_a_mapping_or_a_sequence_also_to_match():
    record = lazily(VALUE)
    assert isinstance(record, Mapping) and isinstance(record["tags"], Sequence)
    assert isinstance(record["tags"][1]["deep"], Sequence) and not isinstance(record, Sequence)
    match record:
        case {"id": number, "tags": [first, {"deep": (one, [*rest])}], **others}:
            assert (number, first, one, rest) == (7, "a", 1, [2.5, None])
            assert list(others) == ["by", "text", "empty"]
        case _:
            pytest.fail("no match")
    assert dict(record) == {**record} == VALUE
    (first, (key,)) = record["tags"]
    assert (first, key) == ("a", "deep")


def test_equality_is_that_of_what_it_stands_for():
    record = lazily(VALUE)
    assert record == VALUE and VALUE == record and record == lazily(VALUE) and not record != VALUE
    assert record == MappingProxyType(VALUE) and record == collections.UserDict(VALUE) and record == collections.OrderedDict(VALUE)
    assert lazily({1: "a", "b": 1}) == {True: "a", "b": 1.0} and lazily({"a": 1, "b": 2}) == lazily({"b": 2, "a": 1})
    assert record != {} and record != [] and record != 5 and {} != record and record != None  # noqa: E711
    assert record["tags"] == VALUE["tags"] and VALUE["tags"] == record["tags"]
    assert lazily([1]) == [1] and lazily([1]) != (1,) and lazily((1,)) == (1,) and lazily((1,)) != [1]
    assert lazily([1]) != lazily((1,)) and lazily([(1,)]) == [lazily((1,))]
    assert lazily([1, 2]) < [1, 3] and lazily((2,)) >= lazily((1, 9)) and [0] < lazily([1])
    with pytest.raises(TypeError):
        assert lazily([1]) < (2,)
    with pytest.raises(TypeError):
        assert record < VALUE
    nan = lazily({"nan": float("nan")})
    assert nan == nan and nan != lazily({"nan": float("nan")})
    assert {"inner": record} == {"inner": VALUE} and [record] == [VALUE]


def test_hashes_are_as_those_of_dicts_lists_and_tuples():
    for value in ({}, [], {"a": 1}):
        with pytest.raises(TypeError, match=r"unhashable.*materialize\(\)"):
            hash(lazily(value))
    assert hash(lazily((1, ("a", None)))) == hash((1, ("a", None)))
    assert {lazily((1, 2)): "x"}[1, 2] == "x" and lazily((1, 2)) in {(1, 2)}
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(lazily((1, [])))


def test_views_of_keys_values_and_items():
    record = lazily(VALUE)
    assert record.keys() == VALUE.keys() and record.keys() & {"id", 5} == {"id"} and record.keys() | {5} == {*VALUE, 5}
    assert list(reversed(record)) == list(reversed(VALUE))
    assert list(record.values()) == list(VALUE.values()) and 7 in record.values() and 8 not in record.values()
    assert list(record.items()) == list(VALUE.items()) and ("id", 7) in record.items() and ("id", 8) not in record.items()
    assert lazily({"a": 1}).items() & {("a", 1), ("b", 2)} == {("a", 1)} and len(record.items()) == 5
    iterator = iter(record.values())
    assert iterator.__length_hint__() == 5 and next(iterator) == 7 and iterator.__length_hint__() == 4
    assert list(iterator)[-1] == {} and list(iterator) == []


def test_union_gives_a_plain_dict():
    merged = lazily(VALUE) | {"id": 8}
    assert type(merged) is dict and merged == VALUE | {"id": 8} and type(merged["tags"]) is list
    assert type({"id": 8, "x": 1} | lazily(VALUE)) is dict and {"id": 8, "x": 1} | lazily(VALUE) == {"id": 8, "x": 1} | VALUE
    assert lazily({"a": 1}) | lazily({"b": 2}) == {"a": 1, "b": 2}
    other = {"a": 1}
    assert other | lazily({"a": 2}) == {"a": 2} and other == {"a": 1}
    for wrong in ([], 5, lazily([])):
        with pytest.raises(TypeError):
            lazily({}) | wrong
        with pytest.raises(TypeError):
            wrong | lazily({})


@given(st.lists(st.integers(), max_size=60), st.none() | st.integers(-70, 70), st.none() | st.integers(-70, 70),
       st.integers(-70, 70).filter(bool))
def test_slices_are_those_of_the_list_or_tuple(plain, start, stop, step):
    assert lazily(plain)[start:stop:step] == plain[start:stop:step]
    assert lazily(tuple(plain))[start:stop:step] == tuple(plain)[start:stop:step]


def test_sequences_as_lists_and_tuples():
    numbers = lazily([5, 6, 5, [1]])
    assert numbers.index(5) == 0 and numbers.index(5, 1) == 2 and numbers.count(5) == 2 and numbers.index([1]) == 3
    assert 6 in numbers and [1] in numbers and 7 not in numbers
    assert type(numbers[:]) is list and type(numbers[3:][0]) is forebay.RecordList and type(lazily((1,))[:]) is tuple
    assert numbers[True] == 6
    for use in (lambda: numbers[4], lambda: numbers[-5], lambda: lazily(())[0]):
        with pytest.raises(IndexError, match="out of range"):
            use()
    with pytest.raises(ValueError):
        numbers.index(9)
    with pytest.raises(TypeError, match="indices must be integers or slices"):
        numbers["a"]


def test_nothing_of_it_can_be_changed():
    record = lazily(VALUE)
    for change in (lambda: record.__setitem__, lambda: record["tags"].append, lambda: record.update, lambda: record.pop):
        with pytest.raises(AttributeError):
            change()
    with pytest.raises(TypeError):
        record["id"] = 8
    with pytest.raises(TypeError):
        del record["tags"][0]
    with pytest.raises(AttributeError):
        record.id = 8
    with pytest.raises(TypeError):
        forebay.Record({})


def test_copies_and_pickles():
    record = lazily(VALUE)
    assert copy.copy(record) is record and copy.deepcopy(record) is record and copy.deepcopy([record])[0] is record
    for part in (record, record["tags"], record["tags"][1], record["tags"][1]["deep"], record["by"]):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(part, protocol))
            assert type(again) is type(part) and again == part
    first, second = record.materialize(), record.materialize()
    assert first is not second and first["tags"] is not second["tags"] and first == VALUE


def test_repr_and_plain_and_json():
    assert repr(lazily({"a": [1, (2,)]})) == "Record({'a': [1, (2,)]})"
    assert repr(lazily([1])) == "RecordList([1])" and repr(lazily((1,))) == "RecordTuple((1,))"
    assert json.dumps(lazily({"a": [1, {"b": 2}]}), default=forebay.plain) == '{"a": [1, {"b": 2}]}'
    assert json.dumps([lazily((1, 2))], default=forebay.plain) == "[[1, 2]]"
    assert type(forebay.plain(lazily(VALUE))) is dict
    with pytest.raises(TypeError, match="not object"):
        json.dumps(object(), default=forebay.plain)
    assert forebay.Record[str, int] and forebay.RecordList[int] and forebay.RecordTuple[int]


def test_the_collector_does_not_know_records():
    records = [lazily(VALUE) for _ in range(100)]
    for record in records:
        record["by"][1], len(record), record["tags"][1]["deep"]
    assert not any(gc.is_tracked(record) or gc.is_tracked(record["tags"]) for record in records)


def test_a_part_keeps_the_bytes_and_nothing_else():
    data = _encode(VALUE)
    before = sys.getrefcount(data)
    part = _record(data)["tags"][1]["deep"]
    assert sys.getrefcount(data) == before + 1
    iterator = iter(part)
    del part
    assert next(iterator) == 1
    del iterator
    assert sys.getrefcount(data) == before


def test_deep_nesting_is_bounded_as_in_the_full_decoder():
    deep = _record(b"\x91" * 5000 + b"\x00")
    with pytest.raises(forebay.CorruptError, match="too deeply"):
        deep.materialize()
    for _ in range(4999):
        deep = deep[0]
    assert deep == [0]


# ---- from a cache -----------------------------------------------------------------


def test_lazy_gives_records_and_other_values_plain(cache):
    cache.set_many({"dict": VALUE, "list": [1], "tuple": (1, "a"), "str": "s", "int": 5, "bytes": b"b", "none": None, "big": 2**80})
    assert type(cache.lazy("dict")) is forebay.Record and cache.lazy("dict") == VALUE == cache["dict"]
    assert type(cache.lazy("list")) is forebay.RecordList and type(cache.lazy("tuple")) is forebay.RecordTuple
    assert [cache.lazy(key) for key in ("str", "int", "bytes", "none", "big")] == ["s", 5, b"b", None, 2**80]
    assert cache.lazy("absent") is None and cache.lazy("absent", 3) == 3 and cache.lazy("absent", default=4) == 4
    cache.set_absent("negative")
    assert cache.lazy("negative", 3) == 3
    for wrong in (lambda: cache.lazy(), lambda: cache.lazy(1, 2, 3), lambda: cache.lazy(1, other=2), lambda: cache.lazy(1, 2, default=3)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError, match="key"):
        cache.lazy([])
    assert type(cache["dict"]) is dict and cache["dict"] is not cache["dict"]  # plain gets stay fresh
    names = cache.namespace("n")
    names["a"] = VALUE
    assert names.lazy("a")["id"] == 7 and names.lazy("b", 5) == 5


def test_a_lazy_cache_gives_records_wherever_it_gives_values(cache):
    lazy = cache.arena.cache("test", lazy=True)
    cache.set_many({key: {"key": key} for key in range(10)})
    cache[10], cache["long"] = b"bytes", LONG
    assert type(lazy[1]) is type(lazy.get(1)) is forebay.Record and lazy[1]["key"] == 1
    many = lazy.get_many([1, 2, 10, "long", "absent"])
    assert many == {1: {"key": 1}, 2: {"key": 2}, 10: b"bytes", "long": LONG}
    assert {type(many[key]) for key in (1, 2, "long")} == {forebay.Record}
    value, token = lazy.gets(3)
    assert type(value) is forebay.Record and lazy.cas(3, [1], token) and lazy[3] == [1]
    assert type(lazy.pop(4)) is forebay.Record and 4 not in lazy
    assert lazy.get_or_set(5, dict) == {"key": 5} and type(lazy.get_or_set(5, dict)) is forebay.Record
    assert type(lazy.get_or_set("made", dict)) is type(lazy.setdefault("set", {"a": 1})) is forebay.Record and lazy["made"] == {}
    assert all(type(value) in RECORDS + (bytes,) for value in lazy.values())
    assert type(lazy.namespace(()).cache["long"]) is forebay.Record
    with pytest.raises(KeyError):
        lazy["absent"]
    assert type(cache[1]) is dict
    again = pickle.loads(pickle.dumps(lazy))
    assert type(again[1]) is forebay.Record
    again.arena.close()


@pytest.mark.parametrize("codec", [None, "zstd"])
def test_long_values_are_read_in_place_and_stay(arena, codec):
    """Or, packed, they are unpacked once, for the record."""
    cache = arena.cache("test", codec=codec)
    cache["long"] = LONG
    with cache.view("long") as view:
        assert view.zero_copy == (codec is None)
    record = cache.lazy("long")
    part = record["fields"]
    with pytest.raises(forebay.ViewError, match="records of large values"):
        cache.arena.close()
    cache["long"] = 5
    for number in range(200):
        cache[number] = bytes(200_000)
    assert record == LONG and part["field-2999"] == 2999
    del record
    assert part == LONG["fields"] and cache.lazy("long") == 5
    del part
    cache["text"], cache["tuple"] = "x" * 100_000, ("x" * 100_000, 1)
    assert cache.lazy("text") == "x" * 100_000 and cache.lazy("tuple")[1] == 1  # let go at once
    cache.arena.close()


def test_more_long_records_than_may_be_pinned_are_copies(arena):
    cache = arena.cache("test", codec=None)
    for key in range(100):
        cache[key] = [key] * 40_000
    records = [cache.lazy(key) for key in range(100)]
    assert [record[39_999] for record in records] == list(range(100))


@pytest.mark.parametrize("codec", [None, "zstd"])
def test_a_child_has_its_parents_records(arena, codec):
    cache = arena.cache("test", codec=codec)
    cache["long"], cache["short"] = LONG, VALUE
    long, short = cache.lazy("long"), cache.lazy("short")

    def child():
        for number in range(200):
            cache[number] = bytes(200_000)
        assert long == LONG and short == VALUE and cache.arena.verify() == []

    wait_for(fork_to_run(child))
    assert long == LONG


def test_records_outlive_their_arena(path):
    with forebay.open(path, "2MiB") as arena:
        cache = arena.cache("test")
        cache["key"] = VALUE
        record = cache.lazy("key")
    assert record == VALUE
    with pytest.raises(forebay.ClosedError):
        cache.lazy("key")


def test_a_damaged_entry_is_an_error_when_it_is_reached(cache):
    cache["key"] = VALUE
    for call in (lambda: _record(b"\x81"), lambda: _record(b"\xc1"), lambda: _record(b"\x01\x01"), lambda: _record(b"")):
        with pytest.raises(forebay.CorruptError, match="damaged"):
            call()
    with pytest.raises(TypeError):
        _record("text")


# ---- hooks ------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class User:
    name: str
    colour: str = "red"


def storable(value):
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"what is {value!r}?")


def test_an_encode_hook_replaces_what_cannot_be_stored(cache):
    hooked = cache.arena.cache("test", encode_hook=storable)
    hooked["user"] = User("Ada")
    hooked.set_many({"colour": Colour.RED, "nested": {"users": [User("Grace")], Colour.RED: ({1, 2},)}})
    assert hooked["user"] == cache["user"] == {"name": "Ada", "colour": "red"} and hooked["colour"] == "red"
    assert hooked["nested"] == {"users": [{"name": "Grace", "colour": "red"}], "red": ([1, 2],)}
    token = hooked.gets("user")[1]
    assert hooked.add("new", Colour.RED) and hooked.cas("user", [Colour.RED], token) and cache["user"] == ["red"]
    assert hooked.get_or_set("made", lambda: Colour.RED) is Colour.RED and hooked["made"] == "red"
    with pytest.raises(TypeError, match="what is"):
        hooked["x"] = object()
    with pytest.raises(TypeError, match="what is"):
        hooked.set_many({"y": object()})
    assert "x" not in hooked and "y" not in hooked
    with pytest.raises(TypeError, match="cannot store"):
        cache["x"] = Colour.RED
    endless = cache.arena.cache("test", encode_hook=lambda value: value)
    with pytest.raises(ValueError, match="200 levels"):
        endless["x"] = object()
    assert cache.arena.verify() == []


def test_a_hook_may_use_the_cache_and_even_close_the_arena(path):
    arena = forebay.open(path, "2MiB")

    def hook(value):
        cache["inner"] = 1
        arena.close()
        return 2

    cache = arena.cache("test", encode_hook=hook)
    cache["outer"] = object()
    with forebay.open(path) as again:
        assert again.cache("test").get_many(["inner", "outer"]) == {"inner": 1, "outer": 2}


def test_a_decode_hook_makes_what_reads_give(cache):
    users = cache.arena.cache("test", encode_hook=storable, decode_hook=lambda plain: User(**plain))
    ada = User("Ada", "blue")
    users["ada"] = ada
    assert users["ada"] == users.get("ada") == users.get_many(["ada"])["ada"] == users.gets("ada")[0] == ada
    assert users.get_or_set("ada", None) == ada and list(users.values()) == [ada] and users.get("nobody") is None
    assert users.lazy("ada") == dataclasses.asdict(ada)  # records need no hook
    assert users.pop("ada") == ada
    users["bad"] = {"wrong": 1}
    with pytest.raises(TypeError, match="wrong"):
        users["bad"]
    upper = cache.arena.cache("test", decode_hook=lambda plain: (type(plain), plain))
    upper.set_many({1: b"b", 2: 5, 3: "s"})
    assert upper.get_many([1, 2, 3]) == {1: (bytes, b"b"), 2: (int, 5), 3: (str, "s")} and upper[1] == (bytes, b"b")
    assert upper.pop(1) == (bytes, b"b") and upper.gets(2)[0] == (int, 5)


def test_wrong_options_are_errors(arena):
    for wrong in ({"encode_hook": 5}, {"decode_hook": "x"}, {"memo": 1.5}, {"memo": []}):
        with pytest.raises(TypeError):
            arena.cache("test", **wrong)
    for wrong in ({"memo": -1}, {"memo": "many"}, {"lazy": True, "decode_hook": str}):
        with pytest.raises(ValueError):
            arena.cache("test", **wrong)
    for right in ({"memo": 0}, {"memo": None}, {"memo": "2MiB"}, {"memo": 1}, {"encode_hook": None, "decode_hook": None}):
        arena.cache("test", **right)


def test_hooks_that_lead_back_to_the_cache_are_collected(path):
    arena = forebay.open(path, "1MiB")
    gone = []

    class Hook:
        def __call__(self, value):
            return value

        def __del__(self):
            gone.append(1)

    hook = Hook()
    hook.cache = arena.cache("test", decode_hook=hook)
    del hook
    gc.collect()
    assert gone == [1]
    arena.close()


def test_a_record_is_stored_by_what_materialize_gives(cache):
    cache["a"] = VALUE
    with pytest.raises(TypeError, match=r"materialize\(\)"):
        cache["b"] = cache.lazy("a")
    copies = cache.arena.cache("test", encode_hook=forebay.plain)
    copies["b"] = {"inner": copies.lazy("a")}
    assert cache["b"] == {"inner": VALUE}
