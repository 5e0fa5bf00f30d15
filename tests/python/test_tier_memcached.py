# SPDX-License-Identifier: Apache-2.0
"""Tiers on memcached, which cannot say what changes: what is the same as on Redis, and what is not."""

import contextlib
import os
import time

import pymemcache
import pytest

import forebay
from forebay.testing import servers
from forebay.tiers._envelope import BIG, VALUE, open_envelope
from forking import fork_to_run, wait_for
from pooled import Call
from tiered import LONG, Machine, Source, until

pytestmark = pytest.mark.long

TIMEOUT = 0.3
KINDS = ["plain", "pooled", "hash", "pylibmc"]


def client_of(kind, path, timeout=5.0):
    options = {"timeout": timeout, "connect_timeout": timeout}
    if kind == "plain":
        return pymemcache.Client(str(path), **options)
    if kind == "pooled":
        return pymemcache.PooledClient(str(path), **options)
    if kind == "hash":
        return pymemcache.HashClient([str(path)], use_pooling=True, **options)
    pylibmc = pytest.importorskip("pylibmc")
    milliseconds = round(timeout * 1000)
    return pylibmc.Client(
        [str(path)], binary=False,
        behaviors={"connect_timeout": milliseconds, "send_timeout": milliseconds * 1000, "receive_timeout": milliseconds * 1000},
    )  # fmt: skip


def raw(server):
    return contextlib.closing(pymemcache.Client(str(server.socket_path)))


@pytest.fixture
def server(memcached_server):
    with raw(memcached_server) as client:
        client.flush_all(noreply=False)  # whatever tests of other files left
    return memcached_server


@pytest.fixture
def own_server(folder):
    with servers.start_memcached(folder) as server:
        yield server


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def make():
    made = []

    def machine(server, source, *, kind="pooled", timeout=5.0, tier_options=None, **options):
        tier = forebay.tiers.Memcached(client_of(kind, server.socket_path, timeout), **(tier_options or {}))
        made.append(Machine(tier, source, **options))
        return made[-1]

    yield machine
    for machine in made:
        machine.close()
        client = machine.tier.client
        client.disconnect_all() if hasattr(client, "disconnect_all") else client.close()


@pytest.fixture(params=KINDS)
def pair(request, make, server, source):
    return make(server, source, kind=request.param), make(server, source, kind=request.param)


def read(server, name):
    with raw(server) as client:
        return client.get(name)


def test_what_one_machine_loaded_others_have(pair, source):
    here, there = pair
    wanted = {key: source.value_of(key) for key in range(120)}
    assert here.cache.fetch_many(wanted) == wanted
    source.forget()
    assert there.cache.fetch_many(wanted) == wanted
    assert source.asked == [] and there.tier.stats()["hits"] == 120


def test_writes_reach_the_tier(pair, source):
    here, there = pair
    here.cache.set(1, "set", ttl=50)
    here.cache.set_many({2: "many", "key with \u00e9": b"bytes"})
    assert there.cache.fetch_many([1, 2, "key with \u00e9"]) == {1: "set", 2: "many", "key with \u00e9": b"bytes"}
    assert 30_000 < there.cache._ttl_left(1) <= 50_000
    here.cache.delete_many([1, 2])
    source.rows[1] = "new"
    assert here.cache.fetch(1) == "new"


def test_other_machines_keep_what_they_have_for_its_ttl(make, server, source):
    here, there = (make(server, source, ttl=2) for _ in range(2))
    here.cache.fetch(1), there.cache.fetch(1)
    source.rows[1] = "new"
    here.cache.delete(1)
    assert here.cache.fetch(1) == "new"
    assert there.cache.get(1) == source.value_of(1)
    until(lambda: there.cache.fetch(1) == "new")


def test_absence_and_versions(make, server, source):
    here, there = (make(server, source, absent_ttl=100, version=3) for _ in range(2))
    source.rows[1] = forebay.ABSENT
    assert here.cache.fetch(1, "none") == there.cache.fetch(1, "none") == "none"
    assert source.keys == [1]
    other = make(server, source, version=4)
    source.rows[1] = "new"
    assert other.cache.fetch(1) == "new"


def test_a_value_too_big_for_memcached_is_marked(make, server, source):
    here, there = (make(server, source, size="64MiB") for _ in range(2))
    source.rows[1] = os.urandom(1_100_000)
    assert here.cache.fetch(1) == there.cache.fetch(1) == source.rows[1]
    assert source.keys == [1, 1]
    assert open_envelope(read(server, here.name(1))).state == BIG
    assert here.tier.stats()["too_big"] == 1 and here.tier.stats()["errors"] == 0
    assert here.cache.get(1) == source.rows[1]
    source.rows[2] = b"x" * 1_100_000  # compressed, it fits
    assert here.cache.fetch(2) == there.cache.fetch(2) == source.rows[2]
    assert source.keys == [1, 1, 2]


def test_a_key_too_long_for_memcached_is_an_error_of_its_own(make, server, source):
    machine = make(server, source)
    keys = [1, "x" * 300, 2]
    results = [Call(machine.cache.fetch, key) for key in keys]
    assert results[0].result() == source.value_of(1) and results[2].result() == source.value_of(2)
    with pytest.raises(ValueError, match="too long for the tier: 314 bytes with the names of tier and cache, 250 at most"):
        results[1].result()
    for call in (lambda: machine.cache.set("x" * 300, 1), lambda: machine.cache.delete("x" * 300)):
        with pytest.raises(ValueError, match="too long"):
            call()


def test_what_was_invalidated_while_it_was_loaded_is_stored_nowhere(make, server, source):
    machine = make(server, source)
    source.stop()
    call = Call(machine.cache.fetch, 1)
    source.wait_until_it_runs()
    machine.cache.delete(1)
    source.may_go_on.set()
    assert call.result() == source.value_of(1)
    assert read(server, machine.name(1)) is None and machine.cache.get(1) is None


def test_what_was_invalidated_while_it_was_stored_is_taken_away(make, server, source, monkeypatch):
    machine = make(server, source)
    store = machine.tier.store
    set_many = store.set_many

    def set_and_invalidate(items):
        machine.cache._delete_here(1)
        set_many(items)

    monkeypatch.setattr(store, "set_many", set_and_invalidate)
    assert machine.cache.fetch(1) == source.value_of(1)
    assert read(server, machine.name(1)) is None and machine.cache.get(1) is None
    assert machine.tier.stats()["refused"] == 1


def test_what_was_invalidated_while_storing_failed_is_owed(make, server, source, monkeypatch):
    machine = make(server, source)

    def fail_and_invalidate(items):
        machine.cache._delete_here(1)
        raise ConnectionError("cut")

    monkeypatch.setattr(machine.tier.store, "set_many", fail_and_invalidate)
    assert machine.cache.fetch(1) == source.value_of(1)
    assert machine.tier.is_owed(machine.name(1))


def test_a_refresh_replaces(pair, source):
    here, there = pair
    here.cache.fetch(1)
    source.rows[1] = "new"
    assert here.cache.refresh(1) == "new"
    assert there.cache.fetch(1) == "new"
    assert len(source.asked) == 2


def test_foreign_bytes_are_a_miss_and_replaced(make, server, source):
    machine = make(server, source)
    with raw(server) as client:
        client.set(machine.name(1), b"junk", noreply=False)
    assert machine.cache.fetch(1) == source.value_of(1)
    assert open_envelope(read(server, machine.name(1))).state == VALUE


@pytest.mark.parametrize("end", ["hold", "stop"])
def test_a_server_that_fails_is_left_out_and_comes_back(end, make, own_server, source):
    machine = make(own_server, source, timeout=TIMEOUT)
    machine.cache.fetch(1)
    getattr(own_server, end)()
    begin = time.monotonic()
    for key in range(10, 13):
        assert machine.cache.fetch(key) == source.value_of(key)
    assert time.monotonic() - begin < 8 * TIMEOUT + 3
    assert machine.tier.stats()["state"] != "closed" and machine.tier.stats()["errors"] >= 2
    machine.cache.delete(1)
    assert machine.tier.stats()["owed"] == 1
    own_server.go_on() if end == "hold" else own_server.start()
    until(lambda: machine.cache.fetch(time.monotonic_ns()) and machine.tier.stats()["owed"] == 0)
    assert machine.tier.stats()["state"] == "closed"
    assert machine.cache.fetch(1) == source.value_of(1)


def test_a_child_of_a_fork_goes_on(pair, source):
    here, there = pair
    here.cache.fetch(1)

    def child():
        assert here.cache.fetch_many([1, 2]) == {1: source.value_of(1), 2: source.value_of(2)}

    pid = fork_to_run(child)
    assert here.cache.fetch(3) == source.value_of(3)
    wait_for(pid)
    source.forget()
    assert there.cache.fetch(2) == source.value_of(2) and source.asked == []


def test_a_client_without_timeouts_is_refused(server):
    with pytest.raises(ValueError, match="waits for ever"):
        forebay.tiers.Memcached(pymemcache.Client(str(server.socket_path)))


def test_threads_with_overlapping_keys(make, server, source):
    machine = make(server, source)
    calls = [Call(machine.cache.fetch_many, range(start, start + 30)) for start in range(0, 60, 10)]
    for start, call in zip(range(0, 60, 10), calls):
        assert call.result(LONG) == {key: source.value_of(key) for key in range(start, start + 30)}
    assert len(source.keys) == len(set(source.keys))
