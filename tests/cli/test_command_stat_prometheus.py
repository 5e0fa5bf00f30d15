# SPDX-License-Identifier: Apache-2.0
"""`forebay stat --prometheus`: read by prometheus_client's parser, and by a strict one of these tests."""

import os
import re
import subprocess
import sys

import forebay
import pytest
from prometheus_client.parser import text_string_to_metric_families

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} ([0-9]+(?:\.[0-9]+)?)")
HELP = re.compile(rf"# HELP ({NAME}) ([A-Z0-9][^\\\n]*[.])")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge)")
BASE_UNITS = ("bytes", "seconds")
OTHER_UNITS = re.compile("_(ms|milliseconds|minutes|hours|kib|mib|kb|mb|bits)(_|$)")


def read_strictly(text):
    """{name: (kind, {label text: value})}; the rules of the text format 0.0.4 and of Prometheus's naming."""
    assert text.endswith("\n") and "\r" not in text
    families, current = {}, None
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if line.startswith("#"):
            name, _ = HELP.fullmatch(line).groups()
            typed, kind = TYPE.fullmatch(next(lines)).groups()
            assert typed == name and name not in families, "one HELP and one TYPE for each family, together"
            current = families[name] = (kind, {})
            assert (kind == "counter") == name.endswith("_total")
            words = name.removesuffix("_total").split("_")
            assert not OTHER_UNITS.search(name) and not any(unit in words[:-1] for unit in BASE_UNITS)
        else:
            sampled, labels, value = SAMPLE.fullmatch(line).groups()
            assert sampled == name and labels not in current[1], "the samples of a family are together, each once"
            current[1][labels] = float(value)
    return families


@pytest.fixture
def metrics(run):
    """Of an arena: {(name, labels as a sorted tuple without the arena): value}; both parsers have read it."""

    def metrics(path, **options):
        text = run("stat", path, "--prometheus", **options).stdout
        strict = read_strictly(text)
        found = {}
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            assert strict[name][0] == family.type and len(strict[name][1]) == len(family.samples)
            assert family.documentation
            for sample in family.samples:
                labels = dict(sample.labels)
                assert labels.pop("arena") == os.path.realpath(path)
                assert sample.name == name and sample.value in strict[name][1].values()
                found[name, *sorted(labels.items())] = sample.value
        return found

    return metrics


def test_the_figures_of_an_arena_are_those_of_stat(metrics, run_json, filled):
    facts, found = run_json("stat", filled), metrics(filled)
    expected = {
        "size_bytes": facts["size"], "metadata_bytes": facts["metadata_bytes"], "entry_bytes": facts["entry_bytes"],
        "segment_size_bytes": facts["segment_size"], "index_slots": facts["index_buckets"] * 8,
        "index_slots_used": facts["index_slots_used"], "caches": 2, "caches_max": facts["cache_count"], "limits": 0,
        "limits_max": facts["limit_count"], "channels": 0, "tiers": 0, "leases_held": 0, "leases_max": facts["leases"],
        "format_version": facts["format_version"], "replaced": 0, "huge_pages": facts["huge_pages"], "on_disk": 0,
    }  # fmt: skip
    assert {name: found[f"forebay_arena_{name}",] for name in expected} == expected
    assert {state: found["forebay_arena_segments", ("state", state)] for state in ("entries", "index", "free")} == {
        "entries": facts["segments_entries"], "index": facts["segments_index"], "free": facts["segments_free"],
    }  # fmt: skip


def test_the_figures_of_caches_are_those_of_stat(metrics, run_json, filled):
    with forebay.open(filled) as arena:
        users = arena.cache("users")
        assert users.get(1) == "one" and users.get("two") == [2] and users.get("none") is None
        users.delete(1)
        arena.cache("quota", share="256KiB", limit="1MiB")["key"] = bytes(100)
        arena.cache("share", share="128KiB")
    facts = {cache["name"]: cache for cache in run_json("stat", filled)["caches"]}
    found = metrics(filled)
    for name, cache in facts.items():
        label = ("cache", name)
        assert found["forebay_cache_entries", label] == cache["entries"]
        for counter in ("hits", "misses", "sets", "deletes", "evictions", "expirations", "packed_hits", "warmed"):
            assert found[f"forebay_cache_{counter}_total", label] == cache[counter]
        for counter in ("value_bytes", "stored_bytes"):
            assert found[f"forebay_cache_{counter}_total", label] == cache[counter]
        assert found.get(("forebay_cache_bytes", label)) == cache["bytes"]
        assert found.get(("forebay_cache_share_bytes", label)) == cache["share"]
        assert found.get(("forebay_cache_limit_bytes", label)) == cache["limit"]
        assert ("forebay_cache_dictionary_age_seconds", label) not in found
    assert found["forebay_cache_hits_total", ("cache", "users")] == 2
    assert found["forebay_cache_share_bytes", ("cache", "share")] == 2**17


def test_the_age_of_a_dictionary_is_in_seconds(metrics, path):
    with forebay.open(path) as arena:
        cache = arena.cache("packed", codec="zstd")
        cache.set_many({n: {"id": n, "text": f"customer {n} of the shop at {n * 7919} Long Street"} for n in range(3000)})
        assert cache.train() or cache.stats()["dictionary"] is not None
        before = cache.stats()["dictionary_age"]
        age = metrics(path)["forebay_cache_dictionary_age_seconds", ("cache", "packed")]
        assert before <= age <= cache.stats()["dictionary_age"]


def test_an_arena_without_anything_has_the_families_all_the_same(run, metrics, path, filled):
    forebay.open(path.with_name("empty"), size="1MiB").close()
    empty, full = (run("stat", name, "--prometheus").stdout for name in (path.with_name("empty"), filled))
    assert read_strictly(empty).keys() == read_strictly(full).keys() and metrics(filled) and len(empty) < len(full)


def test_the_command_itself_is_not_counted(metrics, run_json, path, holding):
    def rows():
        return [metrics(path)["forebay_arena_rows", ("state", state)] for state in ("alive", "dead", "free")]

    most = run_json("stat", path)["row_count"]
    assert rows() == [0, 0, most]
    with holding(path) as process:
        assert rows() == [1, 0, most - 1]
        process.kill()
        process.wait()
        alive, dead, free = rows()
        assert alive == 0 and dead + free == most


LIMITED = """
import sys, forebay
limit = forebay.open(sys.argv[1])._limit("data\\"base", 3, False)
permits = [limit.take() for _ in range(3)]
turn = limit.queue()
print("open", flush=True)
sys.stdin.read()
"""


def test_limits_have_what_is_held_and_waited_for(metrics, path):
    words = [sys.executable, "-c", LIMITED, os.fspath(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        found = metrics(path)
        process.kill()
    label = ("limit", 'data"base')
    names = ("forebay_limit_permits_max", "forebay_limit_permits_held", "forebay_limit_waiting")
    assert [found[name, label] for name in names] == [3, 3, 1]
    assert not any("pid" in dict(labels) for _, *labels in found)


def test_channels_have_who_listens_and_how_long_ago_all_was_heard(metrics, path):
    with forebay.open(path) as arena:
        arena._channel("silent")
        channel = arena._channel("ne\tws")
        listener = channel.claim(1000)
        assert channel.begin(listener) and channel.beat(listener, channel.now())
        arena._advance_clock(2500)
        before = channel.age() / 1000
        found = metrics(path)
        after = channel.age() / 1000
        channel.leave(listener)
        assert metrics(path)["forebay_channel_listeners", ("channel", "ne\\x09ws")] == 0
    assert found["forebay_arena_channels",] == 2
    assert 2 < before <= found["forebay_channel_age_seconds", ("channel", "ne\\x09ws")] <= after
    assert found["forebay_channel_listeners", ("channel", "ne\\x09ws")] == 1
    assert ("forebay_channel_age_seconds", ("channel", "silent")) not in found
    assert found["forebay_channel_listeners", ("channel", "silent")] == 0


def test_tiers_have_what_all_processes_had_and_who_leaves_them_out(metrics, path):
    with forebay.open(path) as arena:
        tier = arena._tier("redis://127.0.0.1:6379/0")
        for number, count in enumerate(("hits", "misses", "stored", "errors", "skipped", "opened"), 1):
            assert tier.add(count, number)
        assert tier.say(True, False)
        found = metrics(path)
    of_it = ("tier", "redis://127.0.0.1:6379/0")
    assert found["forebay_arena_tiers",] == 1
    counts = [found[f"forebay_shared_tier_{count}_total", of_it] for count in ("hits", "misses", "stored", "errors", "skipped", "opened")]
    assert counts == [1, 2, 3, 4, 5, 6]
    assert [found[f"forebay_shared_tier_{gauge}", of_it] for gauge in ("users", "left_out", "not_stored")] == [1, 1, 0]
    found = metrics(path)  # it has ended
    assert found["forebay_shared_tier_users", of_it] == 0 and found["forebay_shared_tier_hits_total", of_it] == 1


def test_labels_are_escaped(run, folder):
    path = os.fsencode(folder) + b'/a"\\\xff\n\x1b'
    name = 'u"\\ \n\x7f\té\U0001f600\\'
    forebay.open(path, size="1MiB").cache(name).set(1, 1)
    text = run("stat", path, "--prometheus", text=False).stdout.decode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    read_strictly(text)
    (sample,) = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "forebay_cache_sets_total"
    ]
    assert sample.labels == {"arena": str(folder) + '/a"\\\\xff\n\\x1b', "cache": 'u"\\ \n\\x7f\\x09é\U0001f600\\'}


def test_the_label_is_the_real_path(run, path):
    link = path.with_name("link")
    link.symlink_to(path)
    direct = run("stat", path, "--prometheus").stdout
    assert f'{{arena="{path}"}}' in direct
    assert run("stat", "link", "--prometheus", cwd=path.parent).stdout == direct


def test_counters_begin_again_with_the_file(metrics, path):
    for sets in (3, 1):
        path.unlink()
        with forebay.open(path, size="1MiB") as arena:
            arena.cache("c").set_many({n: n for n in range(sets)})
            assert metrics(path)["forebay_cache_sets_total", ("cache", "c")] == sets


def test_the_help_says_how_to_use_it(run):
    text = run("stat", "--help").stdout
    assert "PATH [--trust] [--json | --prometheus]" in text
    assert "0.0.4" in text and "docs/metrics.md" in text and "mv metrics.new metrics.prom" in text
    assert max(map(len, text.splitlines())) <= 100


def test_one_format_at_a_time(refused, path):
    assert "exclude each other" in refused("stat", path, "--json", "--prometheus", code=2)


def test_what_is_no_arena_gives_no_metrics(refused, folder):
    (folder / "file").write_bytes(bytes(1 << 20))
    assert "file" in refused("stat", folder / "file", "--prometheus", code=3)
    assert "there is no such file" in refused("stat", folder / "none", "--prometheus", code=3)


def test_a_full_disk_is_an_error(command, filled):
    with open("/dev/full", "w") as full:
        done = subprocess.run([command, "stat", filled, "--prometheus"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3 and done.stderr.startswith("forebay")
