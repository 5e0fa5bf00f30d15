# SPDX-License-Identifier: Apache-2.0
import json
import os
import resource
import signal
import stat
import subprocess
import time

import forebay
import msgpack
import pytest
from forebay.testing import Clock


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def entries(text):
    return [record for record in lines(text) if "key" in record or "raw_key" in record]


def test_a_dump_has_a_header_the_caches_their_entries_and_an_end(run, filled):
    first, *middle, last = lines(run("dump", filled).stdout)
    assert first["forebay_dump"] == 1 and abs(first["time_ms"] / 1000 - time.time()) < 600
    assert last == {"end": 4}
    caches = [record for record in middle if "cache" in record]
    assert {"cache": "users", "ttl_ms": 300_000, "codec": "auto"} in caches
    assert {"cache": "plain", "codec": "auto"} in caches
    at = middle.index({"cache": "users", "ttl_ms": 300_000, "codec": "auto"})
    users = {json.dumps(record["key"]): record["value"] for record in middle[at + 1 : at + 4]}
    assert users == {"1": "one", '"two"': [2], '{"$bytes": "03"}': None}
    assert {"key": "key", "value": {"$bytes": "0076616c7565ff"}} in middle


def test_an_entry_has_the_moment_at_which_it_expires(run, filled):
    moments = [record["expires_ms"] / 1000 - time.time() for record in entries(run("dump", filled, "--cache", "users").stdout)]
    assert len(moments) == 3 and all(200 < left <= 301 for left in moments)
    assert all("expires_ms" not in record for record in entries(run("dump", filled, "--cache", "plain").stdout))


def test_expired_entries_are_left_out(run, filled):
    with forebay.open(filled) as arena:
        Clock(arena).advance(301)
    assert [record["key"] for record in entries(run("dump", filled).stdout)] == ["key"]


def test_versions_negative_entries_quotas_and_the_number_of_tags_are_in_it(run, path):
    with forebay.open(path) as arena:
        arena.cache("v", version=7, share="256KiB", limit="512KiB", codec="zstd:9").set("a", 1)
        arena.cache("v").set_absent("b")
        arena.cache("v").set("c", 2, tags=["x", "y"])
    done = run("dump", path)
    assert "1 entries have tags, which a dump cannot keep" in done.stderr
    cache = next(record for record in lines(done.stdout) if "cache" in record)
    assert cache == {"cache": "v", "share": 262144, "limit": 524288, "codec": "zstd:9"}
    found = sorted(entries(done.stdout), key=lambda record: record["key"])
    assert found[0] == {"key": "a", "value": 1, "version": 7}
    assert found[1]["key"] == "b" and found[1]["absent"] is True and "value" not in found[1]
    assert found[2] == {"key": "c", "value": 2, "tags": 2}


def test_a_messagepack_stream_is_read_by_any_reader(run, filled):
    stream = run("dump", filled, "--format", "msgpack", text=False).stdout
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(stream)
    records = list(unpacker)
    assert records[0]["forebay_dump"] == 1 and records[-1] == {"end": 4}
    assert {record["key"]: record["value"] for record in records if "key" in record} == {
        1: "one", "two": [2], b"\x03": None, "key": b"\x00value\xff",
    }


def test_a_dump_changes_no_statistics(run, run_json, filled):
    before = run_json("stat", filled)["caches"]
    run("dump", filled)
    assert run_json("stat", filled)["caches"] == before


def test_a_file_is_whole_private_and_replaced_at_once(run, run_json, filled, folder):
    target = folder / "out.jsonl"
    target.write_text("old")
    (folder / "link").symlink_to(target)
    assert run("dump", filled, "-o", folder / "link").stdout == f"{folder}/link: 4 entries of 2 caches\n"
    assert (folder / "link").is_symlink() and lines(target.read_text())[-1] == {"end": 4}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert run_json("dump", filled, "-o", target) == {"file": str(target), "caches": 2, "entries": 4, "tagged": 0}
    assert sorted(path.name for path in folder.iterdir()) == ["arena", "link", "out.jsonl"]


def test_a_dash_and_a_device_are_written_to_directly(run, filled):
    assert lines(run("dump", filled, "-o", "-").stdout)[-1] == {"end": 4}
    assert run("dump", filled, "-o", "/dev/stderr").stderr.endswith('{"end":4}\n')


def test_a_file_that_cannot_be_made_is_an_error(refused, filled, folder):
    assert "cannot write" in refused("dump", filled, "-o", folder / "none" / "x", code=3)
    assert "Is a directory" in refused("dump", filled, "-o", folder, code=3)
    assert "No space left on device" in refused("dump", filled, "-o", "/dev/full", code=3)


def test_what_cannot_be_dumped_is_said(refused, filled):
    assert "has no cache 'nope'" in refused("dump", filled, "--cache", "nope", code=1)
    assert "'xml' is no format" in refused("dump", filled, "--format", "xml", code=2)
    assert "--json tells of what -o FILE" in refused("dump", filled, "--json", code=2)
    assert "there is no such file" in refused("dump", "/nowhere/arena", code=3)


def test_messagepack_is_not_written_to_a_terminal(command, filled):
    leader, follower = os.openpty()
    words = [command, "dump", filled, "--format", "msgpack"]
    done = subprocess.run(words, stdout=follower, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(leader), os.close(follower)
    assert done.returncode == 2 and "nothing for a terminal" in done.stderr


@pytest.fixture
def blocked(command, path):
    """A dump of more than a pipe holds, that nobody reads on: the process, after its first line."""
    with forebay.open(path) as arena:
        arena.cache("c", codec=None).set_many({n: bytes(10_000) for n in range(50)})

    def blocked(*words):
        process = subprocess.Popen([command, "dump", path, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert b"forebay_dump" in process.stdout.readline()
        return process

    return blocked


def test_a_reader_that_goes_away_ends_the_dump_without_a_word(blocked):
    with blocked() as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_dump_and_the_process(blocked, number):
    with blocked() as process:
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(60) == -number
        assert process.stderr.read() == b""


def limit_files():
    """Before a process begins: files of more than 4 KiB are an error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_file_that_cannot_be_written_to_its_end_stays_as_it_was(refused, path, folder):
    with forebay.open(path) as arena:
        arena.cache("c", codec=None).set("k", bytes(10_000))
    target = folder / "out"
    target.write_text("before")
    assert "File too large" in refused("dump", path, "-o", target, code=3, preexec_fn=limit_files)
    assert target.read_text() == "before"
    assert sorted(found.name for found in folder.iterdir()) == ["arena", "out"]
