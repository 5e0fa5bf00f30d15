# SPDX-License-Identifier: Apache-2.0
import datetime
import decimal
import json
import time
import uuid

import forebay
import pytest

UUID = uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")
ZONE = datetime.timezone(datetime.timedelta(hours=1))


@pytest.fixture
def put(path):
    def put(key, value):
        with forebay.open(path) as arena:
            arena.cache("c", codec=None).set(key, value)

    return put


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("text", ["text"]),
        ("text", ["text", "--type", "str"]),
        ("", [""]),
        ("é\U0001f600", ["é\U0001f600"]),
        ("--json", ["--", "--json"]),
        ("1", ["1"]),
        (1, ["1", "--type", "int"]),
        (0, ["-0", "--type", "int"]),
        (-129, ["-129", "--type", "int"]),
        (128, ["+0128", "--type=int"]),
        (2**63, [str(2**63), "--type", "int"]),
        (-(2**200), [str(-(2**200)), "--type", "int"]),
        (b"", ["", "--type", "bytes"]),
        (b"\x00\xff", ["00fF", "--type", "bytes"]),
        (UUID, [str(UUID), "--type", "uuid"]),
        (UUID, [UUID.hex.upper(), "--type", "uuid"]),
        (datetime.date(2024, 2, 29), ["2024-02-29", "--type", "date"]),
        (True, ["true", "--type", "bool"]),
        (False, ["false", "--type", "bool"]),
        (("a", 1), ["74027361026901", "--type", "raw"]),
    ],
)
def test_a_key_is_the_one_that_python_set(run, put, path, key, words):
    put(key, "found")
    assert run("get", path, "c", *words).stdout == '"found"\n'


def test_keys_of_different_types_are_different(refused, put, path):
    put(1, "int")
    assert "has no entry for the key '1' of type str" in refused("get", path, "c", "1", code=1)
    assert "of type bytes" in refused("get", path, "c", "31", "--type", "bytes", code=1)
    assert "of type bool" in refused("get", path, "c", "true", "--type", "bool", code=1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (-(10**50), -(10**50)),
        (0.1, 0.1),
        (1e300, 1e300),
        (float("inf"), {"$float": "inf"}),
        (float("nan"), {"$float": "nan"}),
        ('"\\\n\x00\x7fé\u2028\U0001f600', '"\\\n\x00\x7fé\u2028\U0001f600'),
        ("\ud800", "\ud800"),
        (b"\x00\xff", {"$bytes": "00ff"}),
        ([], []),
        ({"a": {"b": [1, "x", None]}, "": []}, {"a": {"b": [1, "x", None]}, "": []}),
        ({1: "a", "1": "b"}, {"$map": [[1, "a"], ["1", "b"]]}),
        ((1, (2,)), {"$tuple": [1, {"$tuple": [2]}]}),
        ([b"x"], [{"$bytes": "78"}]),
        (UUID, {"$uuid": str(UUID)}),
        (decimal.Decimal("1.10"), {"$decimal": "1.10"}),
        (datetime.date(2026, 1, 31), {"$date": "2026-01-31"}),
        (datetime.time(1, 2, 3), {"$time": "01:02:03.000000"}),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), {"$datetime": "2026-01-02T03:04:05.000006"}),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), {"$datetime": "2026-01-02T00:00:00.000000+00:00"}),
        (datetime.datetime(2026, 1, 2, tzinfo=ZONE), {"$datetime": "2026-01-02T00:00:00.000000+01:00"}),
        (datetime.timedelta(days=-1, microseconds=5), {"$timedelta": [-1, 0, 5]}),
    ],
)
def test_a_value_is_shown_as_json(run, run_json, put, path, value, shown):
    put("k", value)
    text = run("get", path, "c", "k").stdout
    assert repr(json.loads(text)) == repr(shown)
    assert text.isascii() and text.count("\n") == 1
    facts = run_json("get", path, "c", "k")
    assert repr(facts.pop("value")) == repr(shown)
    assert (facts["cache"], facts["key"], facts["type"]) == ("c", "k", "str")


def test_json_tells_kind_and_stored_length(run_json, put, path):
    for value, kind, length in [(b"abc", "bytes", 3), (5, "int", 8), ("abc", "msgpack", 4)]:
        put("k", value)
        facts = run_json("get", path, "c", "k")
        assert (facts["kind"], facts["length"]) == (kind, length)


@pytest.mark.parametrize("value", [b"", b"\x00\n\xff" * 1000, bytes(100_000)])
def test_raw_prints_bytes_as_they_are(run, put, path, value):
    put("k", value)
    assert run("get", path, "c", "k", "--raw", text=False).stdout == value


def test_raw_prints_messagepack_as_stored(run, put, path):
    put("k", ["a"])
    assert run("get", path, "c", "k", "--raw", text=False).stdout == b"\x91\xa1a"


def test_the_deepest_value_that_python_stores_is_shown(run, put, path):
    value = 1
    for _ in range(200):
        value = (value,)
    put("k", value)
    assert run("get", path, "c", "k").stdout.count("$tuple") == 200


def test_an_expired_entry_is_not_found(refused, path):
    with forebay.open(path) as arena:
        arena.cache("c").set("k", 1, ttl=0.01)
    time.sleep(0.1)
    assert "has no entry" in refused("get", path, "c", "k", code=1)


def test_a_missing_cache_is_not_found_and_not_made(refused, filled):
    assert "has no cache 'nope'; list them with: forebay stat" in refused("get", filled, "nope", "k", code=1)
    for odd in ["", "x" * 200]:
        assert "has no cache" in refused("get", filled, odd, "k", code=1)
    with forebay.open(filled) as arena:
        assert sorted(arena.caches()) == ["plain", "users"]


def test_a_missing_file_is_an_error_and_is_not_created(refused, folder):
    assert "there is no such file" in refused("get", folder / "none", "c", "k", code=3)
    assert not list(folder.iterdir())


def test_a_file_that_is_no_arena_is_an_error(refused, folder):
    (folder / "file").write_bytes(b"text\n")
    assert "file" in refused("get", folder / "file", "c", "k", code=3)


@pytest.mark.parametrize(
    ("type", "text", "reason"),
    [
        ("int", "1x", "decimal digits"),
        ("int", "", "decimal digits"),
        ("int", "-", "decimal digits"),
        ("int", "9" * 9900, "too long"),
        ("bytes", "0", "two hexadecimal digits"),
        ("bytes", "0g", "hexadecimal digits"),
        ("bytes", "00" * 4095, "too long"),
        ("str", "x" * 4095, "too long"),
        ("uuid", "1234", "32 hexadecimal digits"),
        ("uuid", "g" * 32, "hexadecimal digits"),
        ("date", "2023-02-29", "no such day"),
        ("date", "2023-2-9", "2026-01-31"),
        ("bool", "yes", "true or false"),
        ("raw", "", "empty"),
    ],
)
def test_what_is_no_key_is_a_usage_error(refused, path, type, text, reason):
    text = refused("get", path, "c", text, "--type", type, code=2)
    assert f"is no key of type {type}" in text and reason in text


def test_a_type_that_is_none_is_a_usage_error(refused, path):
    assert "'float' is no type of a key" in refused("get", path, "c", "k", "--type", "float", code=2)


def test_raw_and_json_exclude_each_other(refused, path):
    assert "exclude each other" in refused("get", path, "c", "k", "--raw", "--json", code=2)


def test_the_longest_keys_that_python_takes_are_found(run, put, path):
    put("x" * 4094, 1)
    assert run("get", path, "c", "x" * 4094).stdout == "1\n"
    put(b"\xff" * 4094, 2)
    assert run("get", path, "c", "ff" * 4094, "--type", "bytes").stdout == "2\n"


def replace_stored(path, put, stored):
    """Give the key "k" this value, as if a damaged program had encoded it."""
    header = 1 if len(stored) <= 32 else 2 if len(stored) <= 257 else 3  # of a str that takes as many bytes
    text = b"~" * (len(stored) - header)
    put("k", text.decode())
    content = path.read_bytes()
    assert content.count(text) == 1
    at = content.index(text)
    path.write_bytes(content[: at - header] + stored + content[at + len(text) :])


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (b"\xc1 and more", "it has a byte that begins no value"),
        (b"\xdb\xff\xff\xff\xff and more", "it ends too early"),
        (b"\xdd\xff\xff\xff\xff and more", "it ends too early"),
        (b"\xdf\x7f\xff\xff\xff and more", "it ends too early"),
        (b"\x81\x01\xdd\xff\xff\xff\xff and more", "it ends too early"),
        (b"\xa1x and more", "bytes follow its end"),
        (b"\xc7\x0a\x01\x90 and more", "bytes follow the end of a tuple"),
        (b"\x91" * 2000 + b"\xc0", "it is nested too deeply"),
        (b"\xc7\x0a\x08" + bytes(10), "it has a UUID that is too short"),
        (b"\xc7\x0a\x03" + bytes(8) + b"\xc0\xc0", "it has something else where a number belongs"),
        (b"\xc7\x0d\x05" + bytes(8) + b"\xd2\x7f\xff\xff\xff", "it has a time zone of more than a day"),
    ],
)
def test_a_damaged_value_is_an_error_that_says_why(run, refused, put, path, stored, reason):
    replace_stored(path, put, stored)
    for words in [[], ["--json"]]:
        error = refused("get", path, "c", "k", *words, code=3)
        assert error == f"forebay get: the value of 'k' cannot be shown: {reason}; print its bytes with --raw\n"
    assert run("get", path, "c", "k", "--raw", text=False).stdout == stored


@pytest.mark.parametrize("stored", [b"\xc7\x0a\x63" + bytes(10), b"\xd8\x02" + b"\x01" + bytes(15)])
def test_what_only_other_programs_write_is_shown_too(run, put, path, stored):
    replace_stored(path, put, stored)
    shown = json.loads(run("get", path, "c", "k").stdout)
    assert shown in ({"$ext": [0x63, "00" * 10]}, 2**120)


def test_a_packed_value_is_unpacked(run, path):
    value = {"name": "customer", "lines": ["the same words"] * 100}
    with forebay.open(path) as arena:
        cache = arena.cache("packed", codec="zstd")
        cache["k"] = value
        assert cache.stats()["ratio"] > 2
    assert json.loads(run("get", path, "packed", "k").stdout) == value
