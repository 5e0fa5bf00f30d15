# SPDX-License-Identifier: Apache-2.0
"""What an arena says of tiers: what all its processes had from them, and who leaves them out."""

import gc
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import forebay
from forebay.tiers._arena_records import ArenaRecords, name_in_arena
from forking import fork_to_run, wait_for
from tiered import Machine, until
from tiered_on_redis import client_of, own_server, server, source  # all but client_of: fixtures

pytestmark = pytest.mark.long

COMMAND = Path(sys.executable).with_name("forebay")
TIMEOUT = 0.3
FIELDS = {"hits", "misses", "stored", "errors", "skipped", "opened", "last_left_out", "processes"}


@pytest.fixture
def tier_on():
    """A tier on the server, whose client fails soon."""
    return lambda server, **options: forebay.tiers.Redis(
        client_of(server.unix_path, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT), max_stale=60, **options
    )


@pytest.fixture
def path(folder):
    return folder / "arena"


@pytest.fixture
def machine(tier_on, server, source, path):
    machine = Machine(tier_on(server), source, arena=forebay.open(path, "4MiB"))
    yield machine
    if not machine.arena.closed:
        machine.close()


def the_tier(arena):
    ((name, tier),) = arena.tiers().items()
    assert name.startswith("unix://") and tier.keys() == FIELDS
    return tier


def counts(tier, *names):
    return [tier[name] for name in names]


def test_what_all_processes_had_is_counted(machine):
    machine.cache.fetch_many([1, 2, 3])
    assert counts(the_tier(machine.arena), "hits", "misses", "stored", "errors", "opened") == [0, 3, 3, 0, 0]

    def in_the_child():
        machine.cache.fetch(4)
        assert counts(the_tier(machine.arena), "misses", "stored") == [4, 4]
        assert [user["pid"] for user in the_tier(machine.arena)["processes"]].count(os.getpid()) == 1

    wait_for(fork_to_run(in_the_child))
    tier = the_tier(machine.arena)
    assert counts(tier, "misses", "stored") == [4, 4] and tier["last_left_out"] is None
    assert [(user["pid"], user["left_out"], user["not_stored"]) for user in tier["processes"]] == [(os.getpid(), False, False)]


def test_hits_are_those_of_the_tier(tier_on, server, source, machine):
    machine.cache.fetch_many([1, 2, 3])
    other = Machine(tier_on(server), source)
    assert other.cache.fetch_many([1, 2, 3, 4]).keys() == {1, 2, 3, 4}
    assert counts(the_tier(other.arena), "hits", "misses", "stored") == [3, 1, 1]
    assert other.cache.fetch_many([1, 2, 3, 4]) and counts(the_tier(other.arena), "hits", "misses") == [3, 1]
    other.close()


def test_it_agrees_with_the_tiers_own_account(machine):
    machine.cache.fetch_many(range(10))
    machine.cache.set(3, "new")
    own, shared = machine.tier.stats(), the_tier(machine.arena)
    names = ("hits", "misses", "stored", "errors", "skipped", "opened")
    assert counts(shared, *names) == counts(own, *names)


def test_who_leaves_it_out_is_shown_until_it_answers_again(tier_on, own_server, source, path):
    machine = Machine(tier_on(own_server), source, arena=forebay.open(path, "4MiB"))
    machine.cache.fetch(1)
    own_server.hold()
    for key in range(100, 103):
        assert machine.cache.fetch(key) == source.value_of(key)
    breaker = machine.tier.breaker if machine.tier.breaker.is_open else machine.tier.writing
    until_then, breaker._until = breaker._until, breaker._until + 60  # it would try again
    assert machine.cache.fetch(200) == source.value_of(200)
    tier = the_tier(machine.arena)
    assert tier["errors"] >= 2 and tier["opened"] >= 1 and tier["skipped"] >= 1 and 0 <= tier["last_left_out"] < 60
    assert tier["processes"] == [{"pid": os.getpid(), "left_out": True, "not_stored": tier["processes"][0]["not_stored"]}]
    assert counts(tier, "errors", "skipped", "opened") == counts(machine.tier.stats(), "errors", "skipped", "opened")
    shown = subprocess.run([COMMAND, "top", path, "--once", "--interval", "0.1"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"  TIER .*USED BY\n", shown) and re.search(r" 1, 1 out\n", shown)
    assert re.search(rf" {os.getpid()} .* 1 tier out", shown)
    told = subprocess.run([COMMAND, "stat", path], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^  unix://.* left out by 1 of 1: pid {os.getpid()}$", told, re.M)
    breaker._until = until_then
    own_server.go_on()

    def answers():
        machine.cache.fetch(os.urandom(8).hex())
        return not machine.tier.is_left_out

    until(answers)
    tier = the_tier(machine.arena)
    assert [user["left_out"] for user in tier["processes"]] == [False] and tier["opened"] >= 1
    machine.close()


def test_a_killed_process_leaves_nothing_out(machine):
    def in_the_child():
        machine.tier.breaker._until = 0.0  # it is open
        machine.tier._records.say()
        machine.tier.count("errors")
        assert sum(user["left_out"] for user in the_tier(machine.arena)["processes"]) == 1
        os.kill(os.getpid(), 9)

    pid = fork_to_run(in_the_child)
    os.waitpid(pid, 0)
    until(lambda: [user["pid"] for user in the_tier(machine.arena)["processes"]] == [os.getpid()])
    assert the_tier(machine.arena)["errors"] == 1


def test_caches_of_one_tier_share_its_record_and_arenas_have_their_own(tier_on, server, source):
    tier = tier_on(server)
    one, two = Machine(tier, source), Machine(tier, source, name="pages")
    more = Machine(tier, source, name="more", arena=one.arena)
    one.cache.fetch(1)
    more.cache.fetch(1)
    two.cache.fetch(1)
    assert counts(the_tier(one.arena), "misses", "stored") == counts(the_tier(two.arena), "misses", "stored") == [3, 3]
    two.close()
    one.cache.fetch(2)
    assert the_tier(one.arena)["stored"] == 4
    one.close()


def test_a_prefix_of_ones_own_is_named(tier_on, server, source):
    machine = Machine(tier_on(server, prefix="shop:"), source)
    (name,) = machine.arena.tiers()
    assert name == name_in_arena(f"{machine.tier.store.describe} shop:") and name.endswith(" shop:")
    machine.close()


def test_long_names_are_cut():
    assert name_in_arena("redis://here") == "redis://here"
    assert name_in_arena("x" * 63) == "x" * 63
    assert name_in_arena("unix:///run/" + "x" * 60 + "/redis.sock") == "unix:///run/xxxxxxxx..." + "x" * 29 + "/redis.sock"
    cut = name_in_arena("a" + "\xe9" * 80)
    assert cut == "a" + "\xe9" * 9 + "..." + "\xe9" * 20 and len(cut.encode()) <= 63


def test_an_arena_that_keeps_account_of_eight_others_does_without(tier_on, server, source, caplog):
    arena = forebay.open(None, "4MiB")
    others = [arena._tier(f"tier {number}") for number in range(8)]
    with caplog.at_level(logging.INFO, "forebay"):
        machine = Machine(tier_on(server), source, arena=arena)
    assert machine.cache.fetch(1) == source.value_of(1) and machine.tier.stats()["stored"] == 1
    assert "processes use 8 others" in caplog.text and len(arena.tiers()) == 8 == len(others)
    machine.close()


def test_a_child_that_comes_late_gets_a_record_again(machine, path):
    to_child, go_on = os.pipe()

    def in_the_child():
        assert os.read(to_child, 1) == b"x"
        machine.cache.fetch(9)
        (name,) = (name for name in machine.arena.tiers() if name.startswith("unix://"))
        assert counts(machine.arena.tiers()[name], "misses", "stored") == [1, 1]

    pid = fork_to_run(in_the_child)
    machine.close()
    with forebay.open(path) as arena:
        others = [arena._tier(f"tier {number}") for number in range(8)]
        assert len(others) == 8 and all(name.startswith("tier ") for name in arena.tiers())
    os.write(go_on, b"x")
    wait_for(pid)
    os.close(to_child)
    os.close(go_on)


def test_what_is_counted_after_the_arena_was_closed_is_of_no_arena(tier_on, server, source):
    tier = tier_on(server)
    one, two = Machine(tier, source), Machine(tier, source)
    held = one.cache  # and with it the record
    one.close()
    two.cache.fetch(1)
    assert the_tier(two.arena)["stored"] == 1 and tier.stats()["stored"] == 1
    with pytest.raises(forebay.ClosedError):
        one.arena.tiers()
    assert held is not None
    two.close()


def test_whoever_drops_its_caches_is_no_user_any_more(tier_on, server, source):
    machine = Machine(tier_on(server), source)
    machine.tier.breaker._until = 0.0  # it is open
    machine.tier._records.say()
    assert [user["left_out"] for user in the_tier(machine.arena)["processes"]] == [True]
    machine.listener.stop()
    machine.cache = machine.listener = None
    gc.collect()
    assert the_tier(machine.arena)["processes"] == []
    machine.arena.close()


def test_threads_count_once_while_others_open_caches(tier_on, server, source):
    tier, arenas = tier_on(server), [forebay.open(None, "2MiB") for _ in range(20)]
    held = [tier.record_in(arenas[0])]
    counts_of = [threading.Thread(target=lambda: [tier.count("stored") for _ in range(500)]) for _ in range(4)]
    opens = [threading.Thread(target=lambda: held.extend([tier.record_in(arena) for arena in arenas])) for _ in range(4)]
    for thread in counts_of + opens:
        thread.start()
    for thread in counts_of + opens:
        thread.join()
    assert arenas[0].tiers()[tier._label()]["stored"] == tier.stats()["stored"] == 2000
    assert len({id(record) for record in held}) == len(arenas)
    tier.count("stored")
    assert all(arena.tiers()[tier._label()]["stored"] >= 1 for arena in arenas)
    for arena in arenas:
        arena.close()


def test_a_breaker_that_closes_while_it_is_told_that_it_opened_is_told_of(tier_on, server, monkeypatch):
    arena = forebay.open(None, "2MiB")
    tier = tier_on(server)
    record = tier.record_in(arena)
    say = record.say

    def say_late(left_out, not_stored):
        if left_out:
            tier.breaker.succeeded()  # another thread's call ends meanwhile
        say(left_out, not_stored)

    monkeypatch.setattr(record, "say", say_late)
    tier.breaker._until = 0.0
    tier._records.say()
    assert [user["left_out"] for user in the_tier(arena)["processes"]] == [False]
    arena.close()


def test_a_finalizer_that_closes_the_arena_harms_nobody():
    """Run in a process of its own: it would crash."""
    program = """
import gc, forebay

class Closes:
    def __init__(self, arena):
        self.arena, self.circle = arena, self

    def __del__(self):
        self.arena.close()

for what in "tiers", "channels", "limits":
    for threshold in range(1, 12):
        arena = forebay.open(None, "2MiB")
        tier, channel, limit = arena._tier("redis"), arena._channel("news"), arena._limit("pool", 3, False)
        gc.collect()
        Closes(arena)
        gc.set_threshold(threshold)
        try:
            getattr(arena, what)()
        except forebay.ClosedError:
            pass
        gc.set_threshold(700)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nobody_waits_for_the_tables_for_long(machine, path, source):
    """A process is stopped that holds their lock: the last byte before the rows' locks."""
    program = """
import fcntl, struct, sys, time
file = open(sys.argv[1], "r+b")
fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, (1 << 61) - 1, 1, 0))  # F_OFD_SETLK
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        begun = time.monotonic()
        with pytest.raises(forebay.TimeoutError, match="another process holds the arena's tables"):
            machine.arena._tier("another")
        records = ArenaRecords("another", lambda: (False, False))
        assert records.of(machine.arena) is None
        assert time.monotonic() - begun < 5
        holder.stdin.close()
    assert records.of(machine.arena) is not None


def test_only_what_is_counted_can_be(machine):
    record = machine.arena._tier("other")
    with pytest.raises(ValueError, match="nothing of a tier is counted as hit$"):
        record.add("hit", 1)
    with pytest.raises(TypeError):
        record.say(True)
    with pytest.raises(forebay.InvalidError, match="1 to 63 bytes"):
        machine.arena._tier("")
