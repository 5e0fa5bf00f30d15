# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import forebay
import pytest
from any_values import keys, values
from forebay import _core
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "msgpack_vectors.json").read_text())
FORMATS = ["jsonl", "msgpack"]


@pytest.fixture
def other(folder):
    """Of an empty arena of another size, and another seed of its hash."""
    forebay.open(folder / "other", size="8MiB").close()
    return folder / "other"


@pytest.fixture
def load(run):
    """Load this text, or these bytes; `.stdout` and `.stderr` are str."""

    def load(path, dump, *words, **options):
        data = dump if isinstance(dump, bytes) else dump.encode()
        done = run("load", path, *words, input=data, text=False, **options)
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    return load


def dumped(run, path, format="jsonl", *words):
    return run("dump", path, "--format", format, *words, text=False).stdout


def bytes_of(cache):
    return {_core._encode_key(key): _core._encode(value) for key, value in cache.items()}


@pytest.mark.parametrize("format", FORMATS)
def test_any_keys_and_values_come_back_the_same(run, load, folder, format):
    @settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(keys, values, max_size=30))
    def comes_back(stored):
        for name, size in [("from", "4MiB"), ("to", "8MiB")]:
            (folder / name).unlink(missing_ok=True)
            forebay.open(folder / name, size=size).close()
        with forebay.open(folder / "from") as arena:
            cache = arena.cache("c")
            cache.set_many(stored)
            before = bytes_of(cache)
        load(folder / "to", dumped(run, folder / "from", format))
        with forebay.open(folder / "to") as arena:
            assert bytes_of(arena.cache("c")) == before

    comes_back()


@pytest.mark.parametrize("format", FORMATS)
def test_stored_bytes_of_any_program_come_back_the_same(run, load, path, other, format):
    stored = [bytes.fromhex(vector["hex"]) for group in ("values", "also_read", "refused") for vector in GOLDEN[group]]
    keys_of_c = [b"no python key", b"s\xff", b"i\x00\x01", b"t\x05", b"\x00" * 4095]
    for number, key in enumerate(keys_of_c):
        stored.append(b"\xc4\x01%c" % number)  # bytes inside MessagePack: another kind than bytes themselves
    records = [{"forebay_dump": 1, "time_ms": 1}, {"cache": "c"}]
    records += [{"raw_key": {"$bytes": (b"s%d" % n).hex()}, "raw_value": {"$bytes": value.hex()}, "kind": 1}
                for n, value in enumerate(stored) if value]
    records += [{"raw_key": {"$bytes": key.hex()}, "value": n} for n, key in enumerate(keys_of_c)]
    written = "".join(json.dumps(record) + "\n" for record in records)
    load(path, written + json.dumps({"end": len(records) - 2}) + "\n")
    load(other, dumped(run, path, format))
    first, second = (sorted(dumped(run, arena).splitlines()[1:]) for arena in (path, other))
    assert first == second and len(first) == len(records)
    for number, value in enumerate(stored):
        assert value == b"" or run("get", other, "c", str(number), "--raw", text=False).stdout == value
    for number, key in enumerate(keys_of_c):
        assert run("get", other, "c", key.hex(), "--type", "raw").stdout == f"{number}\n"


@pytest.mark.parametrize("format", FORMATS)
def test_big_values_and_all_kinds_of_entries_come_back(run, load, path, other, format):
    with forebay.open(path) as arena:
        cache = arena.cache("c", ttl=1000, share="256KiB", limit="1MiB", codec="zstd:9")
        cache.set("long", os.urandom(250_000))
        cache.set("text", "é\U0001f600\x00" * 20_000)
        cache.set_absent("absent")
        cache.set("brief", 1, ttl=100)
        cache.set("int", 2)
        arena.cache("c", version=5).set("of a version", [3])
        before = bytes_of(cache)
    load(other, dumped(run, path, format))
    with forebay.open(other) as arena:
        cache = arena.cache("c", ttl=1000, share="256KiB", limit="1MiB", codec="zstd:9")  # no conflict: the same
        assert bytes_of(cache) == before
        assert arena.cache("c", version=5).get("of a version") == [3]
        assert arena.cache("c", version=6).get("of a version") is None
        assert not arena.verify()
    records = {record.get("key"): record for record in map(json.loads, dumped(run, other).splitlines())}
    assert records["absent"]["absent"] is True
    left = {key: record["expires_ms"] / 1000 - time.time() for key, record in records.items() if key is not None}
    assert 0 < left["brief"] <= 100 and 500 < left["int"] <= 1000


def test_a_dump_of_a_larger_arena_leaves_what_fits(run, load, folder, path):
    with forebay.open(folder / "large", size="16MiB") as arena:
        arena.cache("c", codec=None, share="8MiB").set_many({n: os.urandom(30_000) for n in range(300)})
    done = load(path, dumped(run, folder / "large", "msgpack"))
    assert "300 entries loaded" in done.stdout
    assert "made without its share and limit" in done.stderr
    with forebay.open(path) as arena:
        assert 10 < len(arena.cache("c")) < 300
        assert not arena.verify()


def test_entries_are_replaced_unless_they_are_to_stay(run, load, filled, other):
    dump = dumped(run, filled)
    with forebay.open(filled) as arena:
        arena.cache("users").set(1, "newer")
    assert load(filled, dump, "--no-replace").stdout == "0 entries loaded; 4 were there already\n"
    with forebay.open(filled) as arena:
        assert arena.cache("users").get(1) == "newer"
    assert load(filled, dump).stdout == "4 entries loaded\n"
    with forebay.open(filled) as arena:
        assert arena.cache("users").get(1) == "one"


def test_a_cache_that_is_there_keeps_its_options(run, load, filled, other):
    with forebay.open(other) as arena:
        arena.cache("users", ttl=7, codec="lz4")
    load(other, dumped(run, filled))
    with forebay.open(other) as arena:
        assert arena.cache("users", ttl=7, codec="lz4").get(1) == "one"


def test_one_cache_of_a_dump_can_be_loaded(run, load, filled, other):
    assert load(other, dumped(run, filled), "--cache", "plain").stdout == "1 entries loaded; 3 of other caches\n"
    with forebay.open(other) as arena:
        assert arena.caches() == ["plain"]


def test_a_cache_without_entries_is_made_too(run, load, path, other):
    with forebay.open(path) as arena:
        arena.cache("empty", ttl=9)
    load(other, dumped(run, path))
    with forebay.open(other) as arena:
        assert arena.cache("empty", ttl=9).stats()["entries"] == 0


def test_what_has_expired_since_the_dump_is_left_out_and_counted(load, path):
    lines = ['{"cache": "c"}', '{"key": 1, "value": 1, "expires_ms": 1}', '{"key": 2, "value": 2}']
    assert load(path, "\n".join(lines)).stdout == "1 entries loaded; 1 have expired\n"


def test_lines_may_be_written_by_hand(run, load, run_json, path, folder):
    (folder / "file").write_text(' {"key": "a", "value": 1}\r\n\n  \n{"value": {"b": [2.5, null]}, "key": {"$tuple": [1, "x"]}}')
    assert run("load", path, folder / "file", "--cache", "c").stdout == "2 entries loaded\n"
    with forebay.open(path) as arena:
        assert dict(arena.cache("c").items()) == {"a": 1, (1, "x"): {"b": [2.5, None]}}
    assert run_json("load", path, folder / "file", "--cache", "c") == {
        "loaded": 2, "kept": 0, "expired": 0, "passed_over": 0, "bad": 0, "tagged": 0,
    }


def test_dumps_one_behind_the_other_are_loaded(run, load, filled, other):
    for format in FORMATS:
        assert load(other, dumped(run, filled, format) * 2).stdout == "8 entries loaded\n"


WRONG = [
    ("x", "column 1: a value belongs here"),
    ('{"key": 1, "value": 01}', "column 21: a number is not written as JSON has it"),
    ('{"key": 1, "value": 1e999}', "too large for a float"),
    ('{"key": 1, "value": 1} 2', "column 24: something follows the end of the value"),
    ('{"key": 1, "value": "a', "a string has no end"),
    ('{"key": 1, "value": "\\x"}', "no such escape"),
    ('{"key": 1, "value": "\\u12"}', "four hexadecimal digits"),
    ('{"key": 1, "value": "a\tb"}', "a control character"),
    ('{"key": 1, "value": [1 2]}', "an array goes on with a comma"),
    ('{"key": 1, "value": {"a" 2}}', "a name is followed by a colon"),
    ('{"key": 1, "value": {"a": 2', "an object goes on with a comma"),
    ('{"key": 1, "value": {"$bytes": "0"}}', "pairs of hexadecimal digits"),
    ('{"key": 1, "value": {"$bytes": "00", "a": 1}}', "this object has one name only"),
    ('{"key": 1, "value": {"$uuid": "12"}}', "a UUID has 32"),
    ('{"key": 1, "value": {"$date": "2023-02-29"}}', "a date is written as"),
    ('{"key": 1, "value": {"$date": "2023-02-09\\u0000"}}', "a date is written as"),
    ('{"key": 1, "value": {"$decimal": "1.2.3"}}', "a decimal is written as"),
    ('{"key": 1, "value": {"$float": "1"}}', "nan, inf or -inf"),
    ('{"key": 1, "value": {"$map": [[1]]}}', "$map has pairs"),
    ('{"key": 1, "value": {"$timedelta": [1, 86400, 0]}}', "a timedelta is"),
    ('{"key": 1, "value": {"$timedelta": [1, "1", 0]}}', "a timedelta is"),
    ('{"key": 1, "value": {"$datetime": "2026-01-01 00:00:00"}}', "a datetime is written as"),
    ('{"key": 1, "value": {"$datetime": "2026-01-01T24:00:00"}}', "a datetime is written as"),
    ('{"key": 1, "value": {"$datetime": "2026-01-01T00:00:00+1"}}', "a datetime is written as"),
    ('{"key": 1, "value": {"$time": "00:00:00[]"}}', "a time is written as"),
    ('{"key": 1, "value": {"$time": "00:00:00", "x": 1}}', "only \"fold\": 1 may follow"),
    ('{"key": 1, "value": {"$ext": [200, ""]}}', "$ext is"),
    ('{"key": 1, "value": ' + "9" * 9_900 + "}", "an integer has too many digits"),
    ('{"key": 1, "value": ' + "9" * 11_000 + "}", "a number has too many digits"),
    ('{"key": 1, "value": ' + "[" * 600, "it is nested too deeply"),
    ("[1]", "a record is a map"),
    ('{"key": 1}', "a key and a value"),
    ('{"value": 1}', "a key and a value"),
    ('{"key": 1, "value": 2, "end": 3}', "a key and a value"),
    ('{"key": 1, "key": 1, "value": 2}', "the same thing twice"),
    ('{"key": 1, "value": 2, "absent": true}', "the same thing twice"),
    ('{"key": 1.5, "value": 2}', "a key is a str"),
    ('{"key": {"$ext": [8, "00"]}, "value": 2}', "a key is a str"),
    ('{"key": "' + "x" * 5000 + '", "value": 2}', "a key is too long"),
    ('{"key": ' + '{"$tuple": [' * 40 + "]}" * 40 + ', "value": 2}', "tuples more than 32 deep"),
    ('{"key": {"$ext": [1, "01"]}, "value": 2}', "a tuple holds an array"),
    ('{"key": {"$ext": [1, "9000"]}, "value": 2}', "bytes follow the end of a tuple"),
    ('{"key": {"$ext": [2, ""]}, "value": 2}', "an integer without bytes"),
    ('{"raw_key": {"$bytes": ""}, "value": 2}', "raw_key is 1 to 4095 bytes"),
    ('{"key": 1, "raw_value": {"$bytes": ""}}', "raw_value and kind come together"),
    ('{"key": 1, "raw_value": "x", "kind": 1}', "raw_value is bytes"),
    ('{"key": 1, "raw_value": {"$bytes": "00"}, "kind": 3}', "out of its range"),
    ('{"key": 1, "absent": false}', "absent can only be true"),
    ('{"key": 1, "value": 2, "expires_ms": 0}', "leave it out for ever"),
    ('{"key": 1, "value": 2, "expires_ms": -1}', "out of its range"),
    ('{"key": 1, "value": 2, "color": 3}', "does not know"),
    ('{"$map": [[1, 2]]}', "a name of a record is no string"),
    ('{"cache": ""}', "a cache's name is a string"),
    ('{"cache": "' + "x" * 48 + '"}', "a cache's name is a string"),
    ('{"key": 1, "value": "' + "x" * 1_000_000 + '"}', "too large for this arena"),
    ('{"key": 1, "value": "' + "x" * 9_000_000 + '"}', "longer than any entry"),
    (b'{"key": 1, "value": "\xff"}', "it is no UTF-8"),
]


@pytest.mark.parametrize(("line", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_a_line_that_is_wrong_is_named_with_the_reason_or_passed_over(load, path, line, reason):
    line = line if isinstance(line, bytes) else line.encode()
    text = b'{"key": "before", "value": 1}\n' + line + b'\n{"key": "after", "value": 2}\n'
    done = load(path, text, "--cache", "c", code=3)
    assert done.stderr.startswith("forebay load: line 2") and reason in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == "1 entries loaded; 1 could not be loaded\n"
    done = load(path, text, "--cache", "c", "--skip-bad")
    assert reason in done.stderr
    assert done.stdout == "2 entries loaded; 1 could not be loaded\n"


def test_of_many_bad_lines_only_the_first_are_told(load, path):
    done = load(path, "x\n" * 100 + '{"key": 1, "value": 1}', "--cache", "c", "--skip-bad")
    assert done.stderr.count("\n") == 10
    assert done.stdout == "1 entries loaded; 100 could not be loaded\n"


def test_an_entry_of_no_cache_asks_for_one(load, path):
    assert "no cache was named before this entry; give --cache CACHE" in load(path, '{"key": 1, "value": 1}', code=3).stderr


def test_messagepack_that_is_wrong_is_named_by_record_and_byte(run, load, filled, path):
    stream = dumped(run, filled, "msgpack")
    at = stream.index(b"\x81\xa3end")
    for wrong, reason in [
        (b"\x01", "a record is a map"),
        (b"\x81\xa1x\x01", "does not know"),
        (b"\xc6\x7f\x00\x00\x00" + b"x" * 9_000_000, "ends in the middle of a record"),
        (b"\xc1", "begins no value"),
    ]:
        done = load(path, stream[:at] + wrong, code=3)
        assert f"record 8 (byte {at}): " in done.stderr and reason in done.stderr
    too_long = b"\x82\xa3key\x01\xa5value\xc6" + (9_000_000).to_bytes(4, "big") + bytes(9_000_000)
    done = load(path, stream[:at] + too_long + b"\x81\xa3end\x05", "--skip-bad")
    assert "record 8" in done.stderr and "longer than any entry" in done.stderr
    assert done.stdout == "4 entries loaded; 1 could not be loaded\n"


@pytest.mark.parametrize("format", FORMATS)
def test_a_dump_that_was_cut_off_is_known_to_be(run, load, filled, other, format):
    stream = dumped(run, filled, format)
    without_end = stream[: stream.rindex(b"{" if format == "jsonl" else b"\x81\xa3end")]
    assert "ends too early: its last record is missing" in load(other, without_end, code=3).stderr
    assert "could not be loaded" in load(other, stream[: without_end.rindex(b"key")], code=3).stdout


def test_a_dump_that_lost_an_entry_is_known_to_have(run, load, filled, other):
    lines = dumped(run, filled).splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"key"' in line)
    done = load(other, b"".join(lines[:at] + lines[at + 1 :]), code=3)
    assert "the dump says it has 4 entries, but there are 3" in done.stderr


def test_a_dump_of_a_later_version_is_refused(load, path):
    assert "the dump has version 2, this command reads 1" in load(path, '{"forebay_dump": 2}', code=3).stderr


def test_what_cannot_be_read_is_an_error(refused, path, folder):
    assert "cannot read" in refused("load", path, folder / "none", code=3)
    assert "Is a directory" in refused("load", path, folder, code=3)
    assert "there is no such file" in refused("load", folder / "none", folder / "none", code=3)
    assert "'xml' is no format" in refused("load", path, "--format", "xml", code=2)
    assert "is no name of a cache" in refused("load", path, "--cache", "x" * 48, code=2)


def test_an_empty_dump_loads_nothing(load, path):
    assert load(path, "").stdout == "0 entries loaded\n"


def test_a_signal_ends_the_load_with_what_was_loaded(command, path):
    words = [command, "load", path, "--cache", "c"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with forebay.open(path) as arena:
            process.stdin.write(b'{"key": "a", "value": 1}\n')
            process.stdin.flush()
            while "c" not in arena.caches() or arena.cache("c").get("a") is None:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == b"1 entries loaded\n"
            assert process.stderr.read() == b"" and process.wait(60) == -signal.SIGINT


def test_a_load_takes_little_memory_however_long_the_dump_is(command, path):
    line = b'{"key": 1, "value": "' + b"x" * 1000 + b'"}\n'
    limited = ["prlimit", "--data=16777216", command, "load", path, "--cache", "c"]
    done = subprocess.run(limited, input=line * 40_000, capture_output=True, timeout=60)
    assert done.stdout == b"40000 entries loaded\n", done.stderr
