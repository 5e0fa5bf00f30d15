# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys

import forebay
import pytest


def test_counts_what_was_done_with_each_cache(run_json, filled):
    with forebay.open(filled) as arena:
        users = arena.cache("users")
        assert users.get(1) == "one" and users.get("two") == [2] and users.get("none") is None
        users.delete(1)
    facts = run_json("stat", filled)
    plain, users = facts["caches"]
    assert (plain["name"], users["name"]) == ("plain", "users")
    assert users == {
        "name": "users",
        "entries": 2,
        "hits": 2,
        "misses": 1,
        "hit_ratio": pytest.approx(2 / 3),
        "sets": 3,
        "deletes": 1,
        "evictions": 0,
        "expirations": 0,
        "ttl_ms": 300_000,
        "share": None,
        "limit": None,
        "bytes": None,
        "codec": "auto",
        "packed_hits": 0,
        "value_bytes": users["value_bytes"],
        "stored_bytes": users["value_bytes"],  # too small to be packed
        "ratio": users["ratio"],
        "warmed": 0,
        "dictionary": None,
        "dictionary_ratio_thousandths": None,
        "dictionary_age_ms": None,
    }
    assert (plain["entries"], plain["hit_ratio"], plain["ttl_ms"]) == (1, None, None)


def test_quotas_and_what_is_taken_of_them_show(run, run_json, path):
    with forebay.open(path) as arena:
        arena.cache("both", share="256KiB", limit="1MiB")["key"] = bytes(100)
        segment = arena.info()["segment_size"]
    (cache,) = run_json("stat", path)["caches"]
    assert (cache["share"], cache["limit"], cache["bytes"]) == (2**18, 2**20, segment)
    (line,) = [line for line in run("stat", path).stdout.splitlines() if " both " in line]
    assert line.endswith("for ever; has 4 KiB, share 256 KiB, limit 1 MiB")


def test_what_packing_comes_to_shows(run, run_json, path):
    records = {
        n: {"id": n, "name": f"customer {n}", "email": f"customer{n}@example.com", "country": "Norway", "tags": ["new", "large"],
            "address": {"street": f"Long Street {n % 97}", "city": "Trondheim"}}
        for n in range(3000)
    }  # fmt: skip
    with forebay.open(path) as arena:
        cache = arena.cache("packed", codec="zstd:9")
        cache.set_many(records)
        assert cache.train() or cache.stats()["dictionary"] is not None
        cache.set_many(records)
        assert cache.get_many(range(100)) == {n: records[n] for n in range(100)}
    (cache,) = run_json("stat", path)["caches"]
    assert cache["codec"] == "zstd:9" and cache["packed_hits"] > 0
    assert cache["ratio"] == pytest.approx(cache["value_bytes"] / cache["stored_bytes"]) and cache["ratio"] > 1.2
    assert cache["dictionary"] is not None and cache["dictionary_ratio_thousandths"] > 1000 and cache["dictionary_age_ms"] >= 0
    (line,) = [line for line in run("stat", path).stdout.splitlines() if " packed " in line]
    assert "; zstd:9 " in line and "of hits unpacked" in line and f"dictionary {cache['dictionary']} of" in line


def test_evictions_show(run_json, path):
    with forebay.open(path) as arena:
        cache = arena.cache("c", codec=None)
        for i in range(4000):
            cache.set(i, bytes(1000))
    (cache,) = run_json("stat", path)["caches"]
    assert cache["evictions"] > 1000
    assert cache["entries"] + cache["evictions"] == cache["sets"] == 4000


def test_describes_the_arena(run_json, filled):
    facts = run_json("stat", filled)
    assert facts["path"] == str(filled)
    assert facts["size"] == 2 << 20 == os.stat(filled).st_size
    assert facts["segments"] == facts["segments_free"] + facts["segments_index"] + facts["segments_entries"]
    assert facts["segments_entries"] >= 1 and facts["index_slots_used"] == 4
    assert 0 < facts["entry_bytes"] < facts["metadata_bytes"] < facts["size"]
    assert facts["replaced"] is False and facts["on_disk"] is False
    assert facts["huge_pages"] == (facts["huge_pages_advice"] is None)


def test_does_not_count_as_a_get_and_makes_no_cache(run, run_json, filled):
    run("stat", filled)
    assert [cache["hits"] + cache["misses"] for cache in run_json("stat", filled)["caches"]] == [0, 0]


def test_shows_who_has_it_open_and_marks_itself(run, run_json, path, holding):
    with holding(path) as process:
        rows = run_json("stat", path)["rows"]
        assert all(row["alive"] for row in rows)
        assert [row["pid"] for row in rows if not row["self"]] == [process.pid]
        assert sum(row["self"] for row in rows) == 1
        text = run("stat", path).stdout
    assert f"pid {process.pid}" in text and "(this command)" in text


def test_a_killed_process_is_not_shown_as_alive(run_json, path, holding):
    with holding(path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        rows = run_json("stat", path)["rows"]
    assert not [row for row in rows if row["pid"] == process.pid and row["alive"]]


def test_the_text_has_every_cache_on_a_line(run, filled):
    lines = run("stat", filled).stdout.splitlines()
    assert lines[0] == f"arena       {filled}"
    assert any(line.split()[:2] == ["size", "2"] for line in lines)
    (plain,) = [line.split() for line in lines if line.startswith("  plain ")]
    (users,) = [line.split() for line in lines if line.startswith("  users ")]
    assert plain == ["plain", "1", "0", "0", "-", "1", "0", "for", "ever"]
    assert users == ["users", "3", "0", "0", "-", "3", "0", "300", "s"]
    assert any(line.startswith("huge pages  ") for line in lines)
    assert not any("REPLACED" in line for line in lines)


def test_json_escapes_names_so_that_they_come_back(run, run_json, folder):
    name = 'a"b\\c\nd\x7fé\U0001f600'
    path = os.fsencode(folder) + b"/\xffarena"
    forebay.open(path, size="1MiB").cache(name).set(1, 1)
    facts = run_json("stat", path)
    assert os.fsencode(facts["path"]) == path
    assert [cache["name"] for cache in facts["caches"]] == [name]
    text = run("stat", path, text=False).stdout
    assert b"c\\x0ad\\x7f" in text


def test_a_missing_file_is_an_error_and_is_not_created(refused, folder):
    text = refused("stat", folder / "none", code=3)
    assert f"{folder / 'none'}: there is no such file" in text and "forebay create" in text
    assert not list(folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"text\n", bytes(1 << 20), b"\xff" * (2 << 20)])
def test_a_file_that_is_no_arena_is_an_error_and_stays_as_it_is(refused, folder, content):
    (folder / "file").write_bytes(content)
    assert "file" in refused("stat", folder / "file", code=3)
    assert (folder / "file").read_bytes() == content


def test_a_folder_is_an_error(refused, folder):
    assert str(folder) in refused("stat", folder, code=3)


def test_a_file_that_others_may_write_needs_trust(run, refused, path):
    path.chmod(0o666)
    text = refused("stat", path, code=3)
    assert "--trust" in text
    assert run("stat", path, "--trust").stdout


LIMITED = """
import sys, forebay
arena = forebay.open(sys.argv[1])
limit = arena._limit("database", 3, False)
permits = [limit.take() for _ in range(int(sys.argv[2]))]
turn = limit.queue() if sys.argv[3] == "waits" else None
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def limited():
    """Start a process that holds so many permits of the limit "database" (3), and perhaps waits."""
    started = []

    def limited(path, held, waits=False):
        words = [sys.executable, "-c", LIMITED, os.fspath(path), str(held), "waits" if waits else ""]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield limited
    for process in started:
        process.kill()
        process.communicate()


def test_limits_show_with_who_holds_permits_and_who_waits(run, run_json, path, limited):
    first, second = limited(path, 2), limited(path, 1, waits=True)
    facts = run_json("stat", path)
    assert facts["limit_count"] >= 1
    assert facts["limits"] == [
        {
            "name": "database",
            "most": 3,
            "held": 3,
            "waiting": 1,
            "processes": sorted(
                [{"pid": first.pid, "held": 2, "waiting": 0}, {"pid": second.pid, "held": 1, "waiting": 1}],
                key=lambda process: process["pid"],
            ),
        }
    ]
    text = run("stat", path).stdout
    (line,) = [line for line in text.splitlines() if line.startswith("  database ")]
    assert line.split()[1:4] == ["3", "3", "1"]
    assert f"pid {first.pid} holds 2" in line and f"pid {second.pid} holds 1, waits for 1" in line
    assert f"limits      1 of {facts['limit_count']}" in text


def test_what_the_killed_held_of_a_limit_does_not_show(run_json, path, limited):
    process = limited(path, 2)
    process.kill()
    process.wait()
    (limit,) = run_json("stat", path)["limits"]
    assert (limit["held"], limit["waiting"], limit["processes"]) == (0, 0, [])


def test_the_text_names_a_few_of_many_processes(run, run_json, path):
    arenas = [forebay.open(path) for _ in range(10)]
    permits = [arena._limit("wide", 10, False) for arena in arenas]
    assert all(limit.take() for limit in permits)
    (line,) = [line for line in run("stat", path).stdout.splitlines() if line.startswith("  wide ")]
    assert line.count("holds 1") == 8 and line.endswith("; and 2 more: --json has them all")
    (limit,) = run_json("stat", path)["limits"]
    assert len(limit["processes"]) == 10


def test_limits_are_in_the_order_of_their_names(run_json, path):
    with forebay.open(path) as arena:
        for name in "bca":
            arena._limit(name, 1, False)
        assert [limit["name"] for limit in run_json("stat", path)["limits"]] == ["a", "b", "c"]


LISTENING = """
import sys, forebay
arena = forebay.open(sys.argv[1])
channel = arena._channel("news")
listener = channel.claim(1000)
assert channel.begin(listener) and channel.beat(listener, channel.now())
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listening():
    """Start a process that listens to the channel "news", and has just heard of everything."""
    started = []

    def listening(path):
        words = [sys.executable, "-c", LISTENING, os.fspath(path)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield listening
    for process in started:
        process.kill()
        process.communicate()


def test_channels_show_with_who_listens_and_how_much_was_heard(run, run_json, path, listening):
    assert run_json("stat", path)["channels"] == []
    assert "channels" not in run("stat", path).stdout
    first, second = listening(path), listening(path)
    (channel,) = run_json("stat", path)["channels"]
    assert channel["name"] == "news" and channel["listeners"] == [first.pid, second.pid]
    assert 0 <= channel["age_ms"] < 60_000
    text = run("stat", path).stdout
    assert "channels    1 of 8" in text
    (line,) = [line for line in text.splitlines() if line.startswith("  news ")]
    assert line.endswith(f"s ago  pid {first.pid}, pid {second.pid}")


def test_who_was_killed_listens_no_more_and_what_it_heard_stays_heard(run, run_json, path, listening):
    process = listening(path)
    process.kill()
    process.wait()
    (channel,) = run_json("stat", path)["channels"]
    assert channel["listeners"] == [] and channel["age_ms"] is not None
    (line,) = [line for line in run("stat", path).stdout.splitlines() if line.startswith("  news ")]
    assert line.endswith("s ago  nobody")


def test_a_channel_that_nobody_heard_was_never_and_names_are_in_order(run, run_json, path):
    with forebay.open(path) as arena:
        for name in "bca":
            arena._channel(name)
        assert run_json("stat", path)["channels"] == [{"name": name, "age_ms": None, "listeners": []} for name in "abc"]
        (line,) = [line for line in run("stat", path).stdout.splitlines() if line.startswith("  b ")]
        assert line.split() == ["b", "never", "nobody"]


def test_tiers_show_with_who_leaves_them_out(run, run_json, path):
    assert run_json("stat", path)["tiers"] == []
    assert "tiers" not in run("stat", path).stdout
    with forebay.open(path) as arena:
        tiers = [arena._tier(name) for name in "bca"]  # used for as long as there are these
        assert all(tier.add("hits", 5) for tier in tiers)
        assert tiers[0].say(True, True) and tiers[1].say(False, True)
        a, b, c = run_json("stat", path)["tiers"]
        text = run("stat", path).stdout
    me = os.getpid()
    assert a == {
        "name": "a", "hits": 5, "misses": 0, "stored": 0, "errors": 0, "skipped": 0, "opened": 0, "last_left_out_ms": None,
        "processes": [{"pid": me, "left_out": False, "not_stored": False}],
    }  # fmt: skip
    assert b["processes"] == [{"pid": me, "left_out": True, "not_stored": True}] and 0 <= b["last_left_out_ms"] < 60_000
    assert c["processes"] == [{"pid": me, "left_out": False, "not_stored": True}] and c["last_left_out_ms"] is None
    assert "tiers       3 of 8" in text
    of_tiers = text[text.index("tiers  ") :].splitlines()[2:]
    assert [line.split(maxsplit=6)[6] for line in of_tiers] == ["used by 1", f"left out by 1 of 1: pid {me}", f"only read by 1 of 1: pid {me}"]
    assert "nobody uses it" in run("stat", path).stdout


def test_more_processes_than_a_line_has_are_counted(run, path):
    arenas = [forebay.open(path) for _ in range(10)]
    tiers = [arena._tier("redis") for arena in arenas]
    assert all(tier.say(True, False) for tier in tiers)
    (line,) = [line for line in run("stat", path).stdout.splitlines() if line.startswith("  redis ")]
    assert "left out by 10 of 10: " in line and line.count("pid ") == 8 and line.endswith(", and 2 more: --json has them all")
    for arena in arenas:
        arena.close()


def test_keys_being_loaded_are_counted(run, run_json, path):
    assert run_json("stat", path)["leases_held"] == 0
    with forebay.open(path) as arena:
        seen = []

        def load(key):
            seen.append((run_json("stat", path)["leases_held"], arena.info()["leases_held"]))
            return key

        assert arena.cache("loaded", load=load).fetch("key") == "key"
        assert seen == [(1, 1)]
        leases = arena.info()["leases"]
    assert f"leases      0 of {leases} held" in run("stat", path).stdout
