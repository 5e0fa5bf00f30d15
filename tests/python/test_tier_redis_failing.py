# SPDX-License-Identifier: Apache-2.0
"""Tiers on Redis that fail: they are left out, and what they are owed is paid."""

import logging
import time

import pytest

from tiered import until
from tiered_on_redis import heard, make, own_server, server, source  # all but heard: fixtures

pytestmark = pytest.mark.long

TIMEOUT = 0.3  # of clients that are to fail


def fast(call, *arguments, seconds=0.1):
    begin = time.monotonic()
    result = call(*arguments)
    assert time.monotonic() - begin < seconds + 2, time.monotonic() - begin
    return result


@pytest.fixture
def frail(make, own_server, source):
    """A machine that goes on for a minute by what it has when nothing is heard."""
    return make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 60})


def left_out(machine, source):
    """Callers get their values, first within the client's timeouts, then without asking."""
    for key in range(100, 103):
        assert fast(machine.cache.fetch, key, seconds=3 * TIMEOUT) == source.value_of(key)
    assert machine.tier.is_left_out
    breaker = machine.tier.breaker if machine.tier.breaker.is_open else machine.tier.writing
    breaker._until = time.monotonic() + 60  # it would try again
    skipped, errors = machine.tier.stats()["skipped"], machine.tier.stats()["errors"]
    begin = time.monotonic()
    for key in range(200, 300):
        assert machine.cache.fetch(key) == source.value_of(key)
    assert time.monotonic() - begin < 5
    stats = machine.tier.stats()
    assert stats["errors"] == errors and stats["skipped"] > skipped and stats["state"] == "open"
    breaker._until = time.monotonic()


def healed(machine, source):
    def works():
        key = time.monotonic_ns()
        machine.cache.fetch(key)
        return machine.tier.client.exists(machine.name(key))

    until(works)
    assert machine.tier.stats()["state"] == "closed"
    machine.hears()


def test_a_server_that_stands_still(frail, own_server, source):
    frail.cache.fetch(1)
    own_server.hold()
    left_out(frail, source)
    own_server.go_on()
    healed(frail, source)


def test_a_server_that_is_killed(frail, own_server, source):
    own_server.stop()
    left_out(frail, source)
    own_server.restart()
    healed(frail, source)


def test_a_server_without_memory(frail, own_server, source):
    own_server.call("CONFIG", "SET", "maxmemory", "1")
    left_out(frail, source)
    own_server.call("CONFIG", "SET", "maxmemory", "0")
    healed(frail, source)


def test_a_replica(frail, own_server, source):
    own_server.call("REPLICAOF", "127.0.0.1", "1")
    left_out(frail, source)
    own_server.call("REPLICAOF", "NO", "ONE")
    healed(frail, source)


def test_it_says_that_a_tier_is_left_out(frail, own_server, source, caplog):
    caplog.set_level(logging.WARNING, "forebay.tiers")
    own_server.stop()
    for key in range(5):
        frail.cache.fetch(key)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "forebay.tiers"]
    assert said.startswith("tier unix://") and " is left out: ConnectionError: " in said


def test_what_the_tier_does_not_know_is_kept_for_a_moment_only(make, own_server, source):
    machine = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 5})
    own_server.stop()
    for key in range(4):
        machine.cache.fetch(key)
    assert 0 < machine.cache._ttl_left(3) <= 5000
    machine.cache.set(9, "set")
    assert 0 < machine.cache._ttl_left(9) <= 5000


def test_what_is_kept_for_a_moment_is_not_refreshed_all_the_time(make, own_server, source):
    machine = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 20}, stale=100)
    own_server.stop()
    for key in range(4):
        machine.cache.fetch(key)
    machine.tier.breaker._until = time.monotonic() + 60
    machine.cache.fetch(4)
    source.forget()
    for _ in range(100):
        assert machine.cache.fetch(4) == source.value_of(4)
    assert not machine.cache._loading.flights.table  # a refresh that begins is here, until it has asked
    assert source.asked == []


def test_deletions_are_owed_and_paid(make, own_server, source):
    here = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 60})
    there = make(own_server.unix_path, source, timeout=5, tier_options={"max_stale": 60})
    here.cache.fetch_many([1, 2, 3]), there.cache.fetch_many([1, 2, 3])
    source.rows.update({1: "new", 2: "new"})
    own_server.hold()
    here.cache.delete(1)
    here.cache.delete_many([2])
    assert here.tier.stats()["owed"] == 2
    assert here.cache.fetch(1) == "new"
    own_server.go_on()
    until(lambda: here.cache.fetch(time.monotonic_ns()) and here.tier.stats()["owed"] == 0)
    until(lambda: there.cache.get(1) is None and there.cache.get(2) is None)
    assert there.cache.fetch_many([1, 2]) == here.cache.fetch_many([1, 2]) == {1: "new", 2: "new"}


def test_a_value_that_could_not_be_set_is_owed(make, own_server, source):
    here = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 60})
    there = make(own_server.unix_path, source, tier_options={"max_stale": 60})
    here.cache.set(1, "old")
    heard(here)
    own_server.call("CONFIG", "SET", "maxmemory", "1")
    here.cache.set(1, "new")
    assert here.cache.get(1) == "new" and here.tier.stats()["owed"] == 1
    own_server.call("CONFIG", "SET", "maxmemory", "0")
    source.rows[1] = "new"
    until(lambda: here.cache.fetch(time.monotonic_ns()) and here.tier.stats()["owed"] == 0)
    assert there.cache.fetch(1) == "new"


def test_a_debt_that_grew_while_it_was_paid_stays(make, server, source):
    tier = make(server.unix_path, source).tier
    tier.owe([b"a", b"b"])
    steps = tier.pay()
    assert sorted(next(steps).arguments[0]) == [b"a", b"b"]
    tier.owe([b"a"])
    with pytest.raises(StopIteration):
        steps.send(None)
    assert tier.is_owed(b"a") and not tier.is_owed(b"b")


def test_only_so_much_is_owed(make, server, source, monkeypatch):
    monkeypatch.setattr("forebay.tiers._debts.MOST", 10)
    tier = make(server.unix_path, source).tier
    tier.owe(b"%d" % number for number in range(15))
    tier.owe([b"1"])
    assert tier.stats()["owed"] == 10 and tier.stats()["forgotten"] == 5


def test_what_is_owed_is_neither_read_nor_stored(make, server, source):
    machine = make(server.unix_path, source)
    machine.cache.set(1, "old")
    machine.cache._delete_here(1)
    machine.tier.owe([machine.name(1)])
    assert machine.cache.fetch(1) == source.value_of(1)
    assert machine.tier.stats()["owed"] == 0
