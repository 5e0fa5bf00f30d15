# SPDX-License-Identifier: Apache-2.0
"""Keys and values to bytes and back, against docs/reference/encoding.md."""

import collections
import dataclasses
import datetime
import decimal
import enum
import gc
import json
import math
import os
import struct
import sys
import threading
import tracemalloc
import uuid
import zoneinfo
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from any_values import keys, values
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forebay import _core

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "msgpack_vectors.json").read_text())
NAMES = {
    name: globals()[name]
    for name in ("datetime", "decimal", "struct", "uuid", "zoneinfo", "Decimal", "timedelta")
}

MANY = 5000 if os.environ.get("FOREBAY_SOAK") else 100  # examples of a property

encode = _core._encode
decode = _core._decode
encode_key = _core._encode_key
decode_key = _core._decode_key


# ---- docs/reference/encoding.md as a program ---------------------------------------------


def integer(value):
    """Two's complement in as few bytes as possible."""
    bits = (value if value >= 0 else ~value).bit_length()
    return value.to_bytes(bits // 8 + 1, "big", signed=True)


def pack_int(value):
    if not -(2**63) <= value < 2**64:
        return pack_ext(2, integer(value))
    if value >= 0:
        forms = [(0x80, ">B", b""), (2**8, ">B", b"\xcc"), (2**16, ">H", b"\xcd"), (2**32, ">I", b"\xce")]
        for limit, form, tag in forms:
            if value < limit:
                return tag + struct.pack(form, value)
        return b"\xcf" + struct.pack(">Q", value)
    forms = [(32, ">b", b""), (2**7, ">b", b"\xd0"), (2**15, ">h", b"\xd1"), (2**31, ">i", b"\xd2")]
    for limit, form, tag in forms:
        if value >= -limit:
            return tag + struct.pack(form, value)
    return b"\xd3" + struct.pack(">q", value)


def sized(length, small, tags):
    """A header: `small` = (limit, first byte) of the one-byte form; tags of 8, 16 and 32 bits or None."""
    if length < small[0]:
        return bytes([small[1] | length])
    for limit, form, tag in zip((2**8, 2**16, 2**32), (">B", ">H", ">I"), tags, strict=True):
        if tag is not None and length < limit:
            return bytes([tag]) + struct.pack(form, length)
    raise OverflowError(length)


def pack_ext(number, payload, *, long_is_32=False):
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    if len(payload) in fixed:
        return bytes([fixed[len(payload)], number]) + payload
    tags = (0xC7, None if long_is_32 else 0xC8, 0xC9)
    return sized(len(payload), (0, 0), tags) + bytes([number]) + payload


def pack_str(text):
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return pack_ext(9, text.encode("utf-8", "surrogatepass"))
    return sized(len(data), (32, 0xA0), (0xD9, 0xDA, 0xDB)) + data


def day(value):
    return value.year << 9 | value.month << 5 | value.day


def moment(value):
    bits = value.hour << 33 | value.minute << 27 | value.second << 21 | value.microsecond << 1 | value.fold
    if isinstance(value, datetime.datetime):
        bits |= day(value) << 38
    return bits.to_bytes(8, "big") + (pack_zone(value.tzinfo) if value.tzinfo is not None else b"")


def pack_zone(zone):
    if isinstance(zone, zoneinfo.ZoneInfo):
        return pack_str(zone.key)
    offset = zone.utcoffset(None)
    packed = pack_int(offset // timedelta(seconds=1))
    if offset.microseconds:
        packed += pack_int(offset.microseconds)
    arguments = zone.__getinitargs__()
    return packed + (pack_str(arguments[1]) if len(arguments) == 2 else b"")


def pack_uuid(value):
    safety = value.is_safe.value
    return value.bytes + (b"" if safety is None else struct.pack(">b", safety))


def pack(value):
    """What the extension should make of a value."""
    match type(value):
        case builtin if value is None or builtin is bool:
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case builtin if builtin is int:
            return pack_int(value)
        case builtin if builtin is float:
            return b"\xcb" + struct.pack(">d", value)
        case builtin if builtin is str:
            return pack_str(value)
        case builtin if builtin is bytes:
            return sized(len(value), (0, 0), (0xC4, 0xC5, 0xC6)) + value
        case builtin if builtin is list:
            return sized(len(value), (16, 0x90), (None, 0xDC, 0xDD)) + b"".join(map(pack, value))
        case builtin if builtin is dict:
            pairs = (pack(key) + pack(item) for key, item in value.items())
            return sized(len(value), (16, 0x80), (None, 0xDE, 0xDF)) + b"".join(pairs)
        case builtin if builtin is tuple:
            return pack_ext(1, pack(list(value)), long_is_32=True)
        case datetime.datetime:
            return pack_ext(3, moment(value), long_is_32=True)
        case datetime.date:
            return pack_ext(4, day(value).to_bytes(4, "big"))
        case datetime.time:
            return pack_ext(5, moment(value), long_is_32=True)
        case datetime.timedelta:
            return pack_ext(6, pack_int(value.days) + pack_int(value.seconds) + pack_int(value.microseconds))
        case decimal.Decimal:
            return pack_ext(7, str(value).encode())
        case uuid.UUID:
            return pack_ext(8, pack_uuid(value))
    raise TypeError(type(value))


def pack_key(key):
    """What the extension should make of a key."""
    if type(key) is tuple:
        packed = b"t"
        for element in map(pack_key, key):
            short = len(element) < 128
            packed += len(element).to_bytes(1, "big") if short else (len(element) | 0x8000).to_bytes(2, "big")
            packed += element
        return packed
    forms = {
        str: lambda: b"s" + key.encode("utf-8", "surrogatepass"),
        bytes: lambda: b"b" + key,
        int: lambda: b"i" + integer(key),
        bool: lambda: b"T" if key else b"F",
        uuid.UUID: lambda: b"u" + key.bytes,
        date: lambda: b"d" + day(key).to_bytes(4, "big"),
    }
    return forms[type(key)]()


# ---- the same, to the last bit ---------------------------------------------------


def exact(value):
    """Something that is equal for two values only if they are the same in type and every detail."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind in (list, tuple):
        return kind, [exact(item) for item in value]
    if kind is dict:
        return kind, [(exact(key), exact(item)) for key, item in value.items()]
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (datetime.datetime, time):
        return kind, str(value.replace(tzinfo=None)), value.fold, exact_zone(value.tzinfo)
    if kind is uuid.UUID:
        return kind, value.int, value.is_safe
    return kind, value


def exact_zone(zone):
    return type(zone), repr(zone)


def assert_round_trip(value):
    data = encode(value)
    assert exact(decode(data)) == exact(value)
    return data


# ---- values ---------------------------------------------------------------------


@settings(deadline=None, max_examples=MANY, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_any_value_round_trips_and_has_the_documented_bytes(value):
    assert assert_round_trip(value) == pack(value)


@pytest.mark.parametrize("vector", GOLDEN["values"], ids=lambda vector: vector["python"][:40])
def test_a_golden_value_has_its_bytes_and_comes_back(vector):
    value = eval(vector["python"], dict(NAMES))
    data = bytes.fromhex(vector["hex"])
    assert encode(value) == data
    assert pack(value) == data
    assert exact(decode(data)) == exact(value)


@pytest.mark.parametrize("vector", GOLDEN["also_read"], ids=lambda vector: vector["hex"][:40])
def test_a_golden_value_in_a_longer_form_is_read(vector):
    assert exact(decode(bytes.fromhex(vector["hex"]))) == exact(eval(vector["python"], dict(NAMES)))


@pytest.mark.parametrize("vector", GOLDEN["refused"], ids=lambda vector: vector["hex"][:40])
def test_a_golden_bad_value_is_a_value_error_that_says_where(vector):
    with pytest.raises(ValueError, match=rf"damaged value at byte {vector['byte']}: .*{vector['why']}"):
        decode(bytes.fromhex(vector["hex"]))


EDGES = sorted(
    {sign * (2**bits + delta) for bits in range(0, 140) for delta in (-1, 0, 1) for sign in (-1, 1)}
)


def test_ints_at_every_power_of_two_round_trip_in_the_shortest_form():
    for value in EDGES:
        assert assert_round_trip(value) == pack(value)


def test_an_int_of_a_million_bits_round_trips():
    assert_round_trip(3**630_000)
    assert_round_trip(-(3**630_000))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: "x" * n,
        lambda n: b"x" * n,
        lambda n: [None] * n,
        lambda n: (None,) * n,
        lambda n: dict.fromkeys(range(n)),
    ],
)
def test_lengths_where_the_header_grows_round_trip(make, length):
    assert assert_round_trip(make(length)) == pack(make(length))


@pytest.mark.parametrize(
    "text", ["é", "€", "𝄞", "aé€𝄞", "\0", "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff", "é" * 70000]
)
def test_text_of_every_width_round_trips(text):
    assert assert_round_trip(text) == pack(text)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "\U0001f600\ud83d"])
def test_lone_surrogates_come_back_as_they_were(text):
    assert assert_round_trip(text) == pack_ext(9, text.encode("utf-8", "surrogatepass"))


def test_encoding_leaves_no_copy_of_the_utf8_in_the_str():
    text = "é" * 1000
    before = sys.getsizeof(text)
    encode(text)
    encode_key(text)
    assert sys.getsizeof(text) == before


@pytest.mark.parametrize(
    "bits", [0x7FF0000000000001, 0x7FF8000000000001, 0xFFF8DEADBEEF0000, 0x8000000000000000, 1]
)
def test_every_bit_of_a_float_comes_back(bits):
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    assert struct.pack("<d", decode(encode(value))) == struct.pack("<d", value)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-0",
        "0E+5",
        "1.10",
        "1E-1000",
        "NaN",
        "-NaN",
        "NaN123",
        "sNaN",
        "-sNaN77",
        "Infinity",
        "-Infinity",
    ]
    + ["9" * 5000, "1E+999999999999999999", "-1E-1999999999999999997"],
)
def test_a_decimal_comes_back_to_the_digit(text):
    value = Decimal(text)
    assert decode(encode(value)).as_tuple() == value.as_tuple()


def test_decimals_ignore_the_context_of_the_thread():
    with decimal.localcontext() as context:
        context.prec = 2
        context.clear_traps()
        context.capitals = 0
        value = Decimal("1.23456789E+50")
        assert decode(encode(value)).as_tuple() == value.as_tuple()
        with pytest.raises(ValueError, match="not the digits"):
            decode(pack_ext(7, b"12x"))


def test_dicts_keep_their_order():
    value = {key: None for key in [3, 1, "b", "a", (2,), None, 2.5]}
    assert list(decode(encode(value))) == list(value)


def test_short_dict_keys_are_shared_by_what_is_decoded():
    data = encode({"a name that is new": 1})
    first, second = list(decode(data))[0], list(decode(data))[0]
    assert first == second == "a name that is new"
    assert not hasattr(sys, "_is_gil_enabled") or not sys._is_gil_enabled() or first is second


def test_many_different_dict_keys_come_back_right_whatever_was_remembered():
    for i in range(5000):
        value = {f"key {i}": i, f"{i:07}": i, "x" * (i % 40): i, f"é{i}": i}
        assert decode(encode(value)) == value


def test_the_utc_singleton_comes_back_as_itself():
    moment = datetime.datetime(2024, 5, 6, tzinfo=timezone.utc)
    assert decode(encode(moment)).tzinfo is timezone.utc


def test_a_named_utc_stays_named():
    zone = decode(encode(time(1, tzinfo=timezone(timedelta(0), "UTC")))).tzinfo
    assert repr(zone) == "datetime.timezone(datetime.timedelta(0), 'UTC')"


@pytest.mark.parametrize(
    "offset",
    [
        timedelta(microseconds=1),
        timedelta(microseconds=-1),
        timedelta(hours=24) - timedelta.resolution,
        -timedelta(hours=24) + timedelta.resolution,
    ],
)
def test_offsets_may_have_microseconds(offset):
    assert_round_trip(datetime.datetime(2024, 5, 6, 7, 8, 9, 10, timezone(offset), fold=1))


def test_both_sides_of_a_fold_stay_apart():
    zone = zoneinfo.ZoneInfo("Europe/Vienna")
    first = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=zone)
    second = first.replace(fold=1)
    assert decode(encode(first)).utcoffset() == timedelta(hours=2)
    assert decode(encode(second)).utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("safety", list(uuid.SafeUUID))
def test_a_uuid_keeps_its_safety(safety):
    value = uuid.UUID(int=2**128 - 1, is_safe=safety)
    assert decode(encode(value)).is_safe is safety
    assert decode(encode(value)) == value


# ---- what is refused -------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Moment(datetime.datetime):
    pass


class Zone(datetime.tzinfo):
    def utcoffset(self, moment):
        return timedelta(0)


@dataclasses.dataclass
class Record:
    name: str


@pytest.mark.parametrize(
    ("value", "name", "advice"),
    [
        (Point(1, 2), "Point", r"tuple\(\) or its _asdict\(\)"),
        (Colour.RED, "Colour", "value attribute"),
        (Level.LOW, "Level", "value attribute"),
        (Text("a"), "Text", r"str\(\)"),
        (collections.OrderedDict(a=1), "collections.OrderedDict", r"dict\(\)"),
        (collections.defaultdict(list), "collections.defaultdict", r"dict\(\)"),
        (collections.Counter("a"), "collections.Counter", r"dict\(\)"),
        (Moment(2024, 1, 1), "Moment", "class that it extends"),
        (Record("a"), "Record", r"dataclasses\.asdict\(\)"),
        ({1, 2}, "set", r"list\(\)"),
        (frozenset(), "frozenset", r"list\(\)"),
        (bytearray(b"a"), "bytearray", r"bytes\(\)"),
        (memoryview(b"a"), "memoryview", r"bytes\(\)"),
        (1j, "complex", "serialise it and store the bytes"),
        (object(), "object", "serialise it and store the bytes"),
        (..., "ellipsis", "serialise it and store the bytes"),
        (len, "builtin_function_or_method", "serialise it"),
        (int, "type", "serialise it"),
    ],
)
def test_other_types_are_refused_with_their_name_and_what_to_do(value, name, advice):
    with pytest.raises(TypeError, match=rf"cannot store value: .*\b{name}\b.*{advice}"):
        encode(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1j], "value[0]"),
        ({"a": [0, 1, 2, 1j]}, "value['a'][3]"),
        ({"a": ({1: 1j},)}, "value['a'][0][1]"),
        ({("k", 1): 1j}, "value[('k', 1)]"),
        ({"a": {0: 0, 1j: 0}}, "list(value['a'])[1]"),
        ([{(1, (2, 1j)): 0}], "list(value[0])[0][1][1]"),
        ({"k" * 100: 1j}, "value['" + "k" * 79 + "]"),
    ],
)
def test_the_refusal_says_where_in_the_value(value, path):
    with pytest.raises(TypeError) as caught:
        encode(value)
    assert str(caught.value).startswith(f"cannot store {path}: ")
    if "k" * 100 not in value:
        assert eval(path, {"value": value}) == 1j


@pytest.mark.parametrize("value", [datetime.datetime(2024, 1, 1, tzinfo=Zone()), time(tzinfo=Zone())])
def test_other_time_zones_are_refused_with_what_to_do(value):
    with pytest.raises(TypeError, match=r"value\['at'\]: its tzinfo .*\bZone\b.*astimezone"):
        encode({"at": value})


def test_a_zone_without_a_key_is_refused(tmp_path):
    # The smallest TZif file: version 1, one type, UTC.
    header = b"TZif" + b"\0" * 16 + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    file = tmp_path / "zone"
    file.write_bytes(header + struct.pack(">ibb", 0, 0, 0) + b"UTC\0")
    with file.open("rb") as opened:
        zone = zoneinfo.ZoneInfo.from_file(opened)
    with pytest.raises(TypeError, match="its tzinfo is of type zoneinfo.ZoneInfo.*with a key"):
        encode(datetime.datetime(2024, 1, 1, tzinfo=zone))


def nested(depth, wrap):
    value = None
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPPERS = [lambda x: [x], lambda x: (x,), lambda x: {"a": x}]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_values_nest_200_deep_and_no_deeper(wrap):
    assert_round_trip(nested(200, wrap))
    with pytest.raises(ValueError, match="more than 200 levels"):
        encode(nested(201, wrap))
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(pack(nested(201, wrap)))


def test_dict_keys_nest_200_deep_and_no_deeper():
    wrap = lambda x: (x,)  # noqa: E731
    assert_round_trip({nested(199, wrap): 1})
    with pytest.raises(ValueError, match="more than 200 levels"):
        encode({nested(200, wrap): 1})


def test_a_value_that_contains_itself_is_a_value_error():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        encode(loop)
    table = {}
    table["a"] = [table]
    with pytest.raises(ValueError, match="contains itself"):
        encode(table)


def test_failing_leaves_no_references_behind():
    class Unknown:
        pass

    marker = Unknown()
    bad = {"a": [1, (2, marker)]}
    before = sys.getrefcount(marker), sys.getrefcount(type(marker)), sys.getrefcount(bad)
    for _ in range(100):
        with pytest.raises(TypeError):
            encode(bad)
    gc.collect()
    after = sys.getrefcount(marker), sys.getrefcount(type(marker)), sys.getrefcount(bad)
    assert after == before


# ---- containers that change ------------------------------------------------------


class MeddlesomeZone(datetime.tzinfo):
    """Never reached by the encoder: other tzinfo are refused without a call."""

    def __getattribute__(self, name):
        raise AssertionError(name)


def test_other_tzinfo_are_refused_without_calling_them():
    with pytest.raises(TypeError, match="MeddlesomeZone"):
        encode([time(tzinfo=MeddlesomeZone())])


def test_containers_that_other_threads_change_give_a_value_or_a_runtime_error():
    slow = [Decimal(1), 2**100, datetime.datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "x"))]
    shared_list = [list(slow) for _ in range(50)]
    shared_dict = {i: slow for i in range(50)}
    stop = threading.Event()

    def meddle():
        i = 0
        while not stop.is_set():
            i += 1
            shared_list.append([i])
            shared_list[i % 20] = [str(i)]
            shared_dict[f"k{i}"] = [str(i)]
            del shared_dict[f"k{i}"]
            if len(shared_list) > 60:
                del shared_list[5:20]

    threads = [threading.Thread(target=meddle) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    outcomes = collections.Counter()
    try:
        for thread in threads:
            thread.start()
        for _ in range(1500):
            for value in (shared_list, shared_dict):
                try:
                    outcomes[type(decode(encode(value)))] += 1
                except RuntimeError as error:
                    assert "changed size while it was being stored" in str(error)
                    outcomes[RuntimeError] += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert sum(outcomes.values()) == 3000


# ---- bytes that are not a value ---------------------------------------------------


@settings(deadline=None, max_examples=MANY)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_value_error(data):
    try:
        value = decode(data)
    except ValueError:
        return
    assert exact(decode(encode(value))) == exact(value)


@settings(deadline=None, max_examples=MANY, suppress_health_check=[HealthCheck.too_slow])
@given(values, st.data())
def test_a_changed_byte_gives_a_value_or_a_value_error(value, data):
    encoded = bytearray(encode(value))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(encoded))
    except ValueError:
        pass


EVERYTHING = {
    "a": [None, True, -1, 2**40, -(2**70), 1.5, "é" * 20, "\ud800", b"\0" * 300, (1, (2,))],
    (1, "x"): {date(2024, 5, 6): timedelta(-1, 2, 3), time(1, 2, 3): Decimal("-1.50")},
    uuid.UUID(int=5): [datetime.datetime(2024, 5, 6, tzinfo=zoneinfo.ZoneInfo("Europe/Vienna"))],
    1.5: datetime.datetime(2024, 5, 6, tzinfo=timezone(timedelta(hours=-3, microseconds=5), "name")),
}


def test_every_truncation_is_a_value_error():
    data = assert_round_trip(EVERYTHING)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="damaged value at byte"):
            decode(data[:length])


def test_every_change_of_every_byte_gives_a_value_or_a_value_error():
    data = encode(EVERYTHING)
    errors = 0
    for position in range(len(data)):
        for change in (1, 0x10, 0x80, 0xFF):
            changed = bytearray(data)
            changed[position] ^= change
            try:
                decode(bytes(changed))
            except ValueError:
                errors += 1
    assert errors > len(data) // 4


@pytest.mark.parametrize(
    "header",
    [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\x10\0\0\0", b"\xc9\xff\xff\xff\xff\x01"],
)
def test_a_header_that_claims_more_than_there_is_takes_no_memory(header):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more values than there are bytes left|ends inside"):
            decode(header + b"\xc0" * 100)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_nested_headers_may_not_each_claim_all_the_bytes():
    count = 100_000
    data = b"".join(b"\xdd" + struct.pack(">I", count - 6 * i) for i in range(150)) + b"\xc0" * count
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more values than there are bytes left"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()


def test_unknown_time_zones_are_a_value_error_that_says_so():
    data = pack_ext(3, b"\0" * 8 + pack("Nowhere/At All"))
    with pytest.raises(ValueError, match="a time zone that this machine does not know"):
        decode(data)


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "", ".", "a\0b", "Europe", "x" * 5000])
def test_time_zone_keys_reach_no_other_file(key):
    with pytest.raises(ValueError, match="damaged value at byte"):
        decode(pack_ext(3, b"\0\0\0\0\0\0\0\0" + pack(key)))


# ---- keys --------------------------------------------------------------------------


@settings(deadline=None, max_examples=MANY)
@given(keys)
@example(())
@example(((), ((), "")))
def test_any_key_round_trips_and_has_the_documented_bytes(key):
    data = encode_key(key)
    assert data == pack_key(key)
    assert exact(decode_key(data)) == exact(key)


@settings(deadline=None, max_examples=MANY)
@given(st.lists(keys, min_size=2, max_size=8))
def test_different_keys_have_different_bytes(many):
    by_bytes = {}
    for key in many:
        known = by_bytes.setdefault(encode_key(key), key)
        assert exact(known) == exact(key)


@pytest.mark.parametrize("vector", GOLDEN["keys"], ids=lambda vector: vector["python"][:40])
def test_a_golden_key_has_its_bytes_and_comes_back(vector):
    key = eval(vector["python"], dict(NAMES))
    data = bytes.fromhex(vector["hex"])
    assert encode_key(key) == data
    assert pack_key(key) == data
    assert exact(decode_key(data)) == exact(key)


@pytest.mark.parametrize("vector", GOLDEN["refused_keys"], ids=lambda vector: vector["hex"][:40])
def test_a_golden_bad_key_is_a_value_error(vector):
    with pytest.raises(ValueError, match="damaged key"):
        decode_key(bytes.fromhex(vector["hex"]))


def test_one_in_four_types_is_four_keys():
    assert len({encode_key(key) for key in (1, "1", b"1", True, (1,), (True,), ("1",))}) == 7


def test_ints_at_every_power_of_two_are_keys_in_the_shortest_form():
    for value in EDGES:
        assert encode_key(value) == pack_key(value)
        assert decode_key(encode_key(value)) == value


@pytest.mark.parametrize(
    ("key", "path", "name", "advice"),
    [
        (1.0, "key", "float", r"str\(\)"),
        (math.nan, "key", "float", r"str\(\)"),
        (Decimal(1), "key", "decimal.Decimal", r"str\(\)"),
        (None, "key", "NoneType", "str or a tuple that identifies it"),
        ([1], "key", "list", r"tuple\(\)"),
        ({}, "key", "dict", "identifies it"),
        (datetime.datetime(2024, 1, 1), "key", "datetime.datetime", r"isoformat\(\)"),
        (Level.LOW, "key", "Level", "value attribute"),
        (Colour.RED, "key", "Colour", "value attribute"),
        (Text("a"), "key", "Text", r"str\(\)"),
        (Point(1, 2), "key", "Point", r"tuple\(\)"),
        ((1, (2, None)), r"key\[1\]\[1\]", "NoneType", "identifies it"),
        (((1, 2), "a", 1.5), r"key\[2\]", "float", r"str\(\)"),
        (object(), "key", "object", "serialise it"),
    ],
)
def test_other_keys_are_refused_with_what_is_allowed(key, path, name, advice):
    allowed = r"a str, bytes, int, bool, uuid\.UUID, datetime\.date or a tuple of these"
    with pytest.raises(TypeError, match=rf"^{path} is of type .*\b{name};.*{allowed}.*{advice}"):
        encode_key(key)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "x" * (n - 1),
        lambda n: b"x" * (n - 1),
        lambda n: 1 << (8 * (n - 1) - 2),
        lambda n: ("x" * (n - 4),),
        lambda n: "é" * ((n - 1) // 2),
    ],
)
def test_keys_have_at_most_4095_bytes(make):
    assert len(encode_key(make(4095))) == 4095
    assert decode_key(encode_key(make(4095))) == make(4095)
    with pytest.raises(ValueError, match=r"takes \d{4} bytes; at most 4095"):
        encode_key(make(4097))


def test_the_error_says_how_long_the_key_is():
    with pytest.raises(ValueError, match="takes 4096 bytes"):
        encode_key("x" * 4095)
    with pytest.raises(ValueError, match="takes 4097 bytes"):
        encode_key(tuple(["x" * 124] * 32) + ("x" * 62,))


@pytest.mark.parametrize("length", [125, 126, 127, 128, 129, 255, 256, 300])
def test_keys_around_the_sizes_of_their_buffers_round_trip(length):
    for key in (
        "x" * length,
        b"x" * length,
        "é" * length,
        ("x" * length,),
        ("x" * length, ("é" * length, 1)),
    ):
        assert encode_key(key) == pack_key(key)
        assert decode_key(encode_key(key)) == key


def test_key_tuples_nest_32_deep_and_no_deeper():
    key = nested(32, lambda x: (x,) if x is not None else ())
    assert decode_key(encode_key(key)) == key
    with pytest.raises(ValueError, match="more than 32 levels"):
        encode_key((key,))
    with pytest.raises(ValueError, match="damaged key"):
        decode_key(pack_key((key,)))


@settings(deadline=None, max_examples=MANY)
@given(
    st.binary(max_size=60)
    | st.builds(bytes.__add__, st.sampled_from([b"t", b"i", b"d", b"s"]), st.binary(max_size=12))
)
def test_any_bytes_are_the_one_form_of_a_key_or_a_value_error(data):
    try:
        key = decode_key(data)
    except ValueError:
        return
    assert encode_key(key) == data
