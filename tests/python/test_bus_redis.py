# SPDX-License-Identifier: Apache-2.0
"""forebay.buses.Redis: machines that tell each other what changed, on real servers."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading

import pymemcache
import pytest
import redis
import redis.asyncio
import valkey

import forebay
from buses import Machine, Machines, until
from forebay.buses import _redis_bus as module
from forking import fork_to_run, wait_for

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

KEYS = [1, "x", "", b"\0", (1, "y"), True, -(10**40), "ä%:*", "*", "~", "'"]


@pytest.fixture
def server(redis_server):
    yield redis_server
    if redis_server.held:
        redis_server.go_on()
    redis_server.call("FLUSHALL")


@pytest.fixture
def machines():
    with Machines() as machines:
        yield machines


def client_of(server, kind=redis.Redis, **options):
    return kind(unix_socket_path=str(server.socket_path), **{"socket_timeout": 0.5, "socket_connect_timeout": 0.5, **options})


def bus_on(server, kind=redis.Redis, **options):
    return forebay.buses.Redis(client_of(server, kind), **options)


@pytest.fixture
def two(server, machines):
    return machines.add(bus_on(server)), machines.add(bus_on(server))


# ---- what is told ----


@pytest.mark.parametrize("kind", [redis.Redis, valkey.Valkey])
def test_what_one_machine_deletes_the_others_drop(server, machines, kind):
    one, other, third = (machines.add(bus_on(server, kind)) for _ in range(3))
    for machine in (one, other, third):
        machine.put(*KEYS, "stays")
    one.cache.delete_many(KEYS)
    other.drops(*KEYS)
    third.drops(*KEYS)
    assert one.keeps("stays") and other.keeps("stays") and third.keeps("stays")
    assert one.bus.stats()["told"] == len(KEYS)


def test_what_one_machine_sets_it_keeps_and_the_others_drop(two):
    one, other = two
    other.put(1, 2)
    one.cache.set_many({1: "new", 2: "new"})
    other.drops(1, 2)
    one.beats()
    assert one.cache.get_many([1, 2]) == {1: "new", 2: "new"}


def test_other_processes_of_the_machine_and_their_listeners_leave_alone_what_it_set(server, machines, path):
    one = machines.add(bus_on(server), arena=forebay.open(path, "4MiB"))
    again = machines.add(bus_on(server), arena=forebay.open(path))
    assert one.bus.here(one.arena).origin == again.bus.here(again.arena).origin
    one.cache.set(1, "new")
    one.beats()
    again.beats()
    assert again.cache.get(1) == "new"


def test_a_copy_of_an_arena_on_another_machine_is_another_arena(server, arena, monkeypatch, tmp_path):
    bus = bus_on(server)
    here = bus.here(arena).origin
    (tmp_path / "boot").write_text("another machine")
    monkeypatch.setattr("forebay.buses._telling._BOOT", str(tmp_path / "boot"))
    bus.release(arena)
    assert bus.here(arena).origin != here


def test_caches_of_other_names_and_prefixes_are_not_concerned(server, machines):
    one = machines.add(bus_on(server))
    orders = machines.add(bus_on(server), name="orders").put(1)
    elsewhere = machines.add(bus_on(server, prefix="elsewhere:")).put(1)
    one.cache.delete(1)
    orders.beats()
    elsewhere.beats()
    assert orders.keeps(1) and elsewhere.keeps(1)
    assert orders.arena.caches() == ["orders"]  # nothing was made for what came


def test_an_invalidation_reaches_entries_of_every_version(server, machines):
    one = machines.add(bus_on(server), version=1)
    other = machines.add(bus_on(server), version=2).put("key")
    one.cache.delete("key")
    other.drops("key")


def test_another_program_may_tell_again_and_again(two, server):
    one, _ = two
    for _ in range(3):
        one.put(42, 43)
        server.call("SET", "forebay:bus:shop:users:42", "", "PX", "60000")
        one.drops(42)
        assert one.keeps(43)
    server.call("SET", "forebay:bus:shop:users:*", "", "PX", "1000")
    one.drops(43)


@pytest.mark.parametrize("name", ["", "x", ":", "a:users", "a:users:", "a:users:1.5", "a.b:!", "a.b:\xff:1", "a:users@x:1", "a:users:~AA"])
def test_what_is_no_message_is_ignored(two, server, name):
    one, other = two
    one.put(1)
    server.call("SET", b"forebay:bus:" + name.encode("latin-1"), "")
    other.cache.delete(2)
    one.beats()
    assert one.keeps(1) and one.listener.listens


def test_the_expiry_of_a_message_is_no_message(server, machines, monkeypatch):
    monkeypatch.setattr(module, "_MILLISECONDS", 50)
    one, other = machines.add(bus_on(server)), machines.add(bus_on(server)).put(1)
    one.cache.delete(1)
    other.drops(1)
    other.put(1)
    until(lambda: server.call("DBSIZE") == 0)
    other.beats()
    assert other.keeps(1)


def test_an_expiry_that_was_forgotten_costs_a_miss(server, machines, monkeypatch):
    monkeypatch.setattr(module, "_MILLISECONDS", 500)
    monkeypatch.setattr(module, "_SEEN_MOST", 1)
    one, other = machines.add(bus_on(server)), machines.add(bus_on(server)).put(1)
    one.cache.delete_many([1, 2])
    other.drops(1)
    other.put(1)
    other.drops(1)


def test_messages_do_not_pile_up_at_the_server(two, server):
    one, _ = two
    one.cache.delete_many(range(100))
    assert server.call("DBSIZE") == 100
    until(lambda: server.call("DBSIZE") == 0)


def test_a_dropped_cache_does_not_end_the_listening(two):
    one, other = two
    other.put(1)
    one.cache.delete(1)
    other.drops(1)
    other.arena.drop("users")
    one.cache.delete(2)
    other.cache = other.arena.cache("users", bus=other.bus)
    other.hears().put(3)
    one.cache.delete(3)
    other.drops(3)


def test_a_change_during_a_load_is_not_stored(server, machines):
    begun, go_on, loads = threading.Event(), threading.Event(), []

    def load(key):
        loads.append(key)
        if len(loads) == 1:
            begun.set()
            assert go_on.wait(30)
        return f"value {len(loads)}"

    one, other = machines.add(bus_on(server)), machines.add(bus_on(server), load=load)
    found = []
    thread = threading.Thread(target=lambda: found.append(other.cache.fetch("key")))
    thread.start()
    assert begun.wait(30)
    one.cache.delete("key")
    other.beats()
    go_on.set()
    thread.join()
    assert found == ["value 1"] and other.cache.get("key") is None
    assert other.cache.fetch("key") == "value 2" and other.cache.get("key") == "value 2"


# ---- a server that is not there ----


def test_without_a_server_writes_do_not_fail_and_are_told_later(server, machines, caplog):
    one, other = machines.add(bus_on(server)), machines.add(bus_on(server)).put("late")
    server.hold()
    assert one.cache.delete("late") is False
    one.cache.delete_many(["more", "late"])
    one.cache.set("set", 1)
    assert one.bus.stats()["state"] == "open" and one.bus.stats()["owed"] == 3
    assert other.has("late")
    server.go_on()
    other.drops("late")
    until(lambda: one.bus.stats()["owed"] == 0)
    assert {name.rpartition(b":")[2] for name in server.call("KEYS", "forebay:bus:*")} == {b"late", b"more", b"set"}
    assert one.bus.stats()["state"] == "closed" and one.bus.stats()["opened"] == 1
    assert "is left out" in caplog.text


def test_without_a_server_entries_are_misses_after_max_stale_and_forgotten_when_it_is_back(server, machines):
    one = machines.add(bus_on(server)).put(1)
    server.hold()
    until(lambda: one.cache.get(1) is None and not one.listener.listens)
    assert one.has(1)
    server.go_on()
    until(lambda: one.listener.sessions == 2)
    one.hears()
    assert 1 not in one.arena.cache("users")


def test_a_flush_of_the_server_has_caches_begin_anew(two, server):
    one, other = two
    one.put(1)
    other.put(2)
    server.call("FLUSHALL")
    one.drops(1)
    other.drops(2)


def test_a_server_that_takes_no_writes_is_owed(two, server):
    one, other = two
    other.put(1)
    server.call("CONFIG", "SET", "maxmemory", "1")
    try:
        one.cache.delete(1)
        assert one.bus.stats()["owed"] == 1 and other.has(1)
    finally:
        server.call("CONFIG", "SET", "maxmemory", "0")
    other.drops(1)


def test_too_much_that_is_owed_becomes_everything_of_the_cache(server, machines, monkeypatch):
    monkeypatch.setattr("forebay.tiers._debts.Debts.owe.__defaults__", (3,))
    one, other = machines.add(bus_on(server)), machines.add(bus_on(server)).put("unheard of")
    server.hold()
    one.cache.delete_many(range(9))
    assert one.bus.stats()["owed"] == 4
    server.go_on()
    other.drops("unheard of")


def test_a_write_that_is_cut_short_is_told_later(two, monkeypatch):
    one, other = two
    other.put(1)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("forebay._shared.SharedCache._set_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.cache.set(1, 2)
    other.drops(1)


# ---- asyncio ----


def asynchronous_bus(server, **options):
    return bus_on(server, redis.asyncio.Redis, **options)


def test_an_asyncio_client_tells_and_does_not_hold_the_loop_up(server, machines):
    bus = asynchronous_bus(server)
    one, other = machines.add(bus), machines.add(bus_on(server)).put(1, 2)

    async def work():
        assert not await one.cache.adelete(1)
        await one.cache.aset(2, "new")
        server.hold()
        ticks, writing = 0, asyncio.ensure_future(one.cache.adelete_many([3]))
        while not writing.done():
            await asyncio.sleep(0.01)
            ticks += 1
        server.go_on()
        await bus._store._client.aclose()
        return ticks

    assert asyncio.run(work()) >= 5
    other.drops(1, 2)
    until(lambda: bus.stats()["owed"] == 0)  # by the thread: no loop is there
    assert one.cache.get(2) == "new" or one.listener.sessions > 1


def test_an_asyncio_client_is_refused_for_plain_writes(server, machines):
    one = machines.add(asynchronous_bus(server)).put(1)
    for write in (lambda: one.cache.set(1, 2), lambda: one.cache.delete(1), lambda: one.cache.delete_many([1])):
        with pytest.raises(TypeError, match="client of the bus is for asyncio: use `await cache.a"):
            write()
    assert one.cache.get(1) == "old 1"


def test_a_task_that_is_cancelled_while_it_tells_owes(server, machines):
    bus = asynchronous_bus(server)
    one, other = machines.add(bus), machines.add(bus_on(server)).put(1)

    async def work():
        server.hold()
        writing = asyncio.ensure_future(one.cache.adelete(1))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert bus.stats()["owed"] == 1
        server.go_on()
        await bus._store._client.aclose()

    asyncio.run(work())
    other.drops(1)


def test_plain_clients_tell_from_tasks_by_a_thread(two):
    one, other = two
    other.put(1, 2)

    async def work():
        await one.cache.aset(1, "new")
        await one.cache.adelete(2)

    asyncio.run(work())
    other.drops(1, 2)


# ---- who listens ----


def listening_process(server, path):
    """A process that listens for the arena at the path, for as long as its input is open."""
    program = (
        "import sys, forebay, redis; from buses import *\n"
        "client = redis.Redis(unix_socket_path=sys.argv[1], socket_timeout=0.5, socket_connect_timeout=0.5)\n"
        "machine = Machine(forebay.buses.Redis(client), arena=forebay.open(sys.argv[2])).hears()\n"
        "until(lambda: machine.listener.listens)\n"
        "print('listens', flush=True); sys.stdin.read(); os._exit(0)\n"
    ).replace("import sys,", "import os, sys,")
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(server.socket_path), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
    )  # fmt: skip
    assert child.stdout.readline() == "listens\n"
    return child


def end(child):
    child.kill()
    child.stdin.close()
    child.stdout.close()
    child.wait()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_a_listener_that_is_killed_or_stopped_is_replaced_and_nothing_is_forgotten(server, machines, path, stop):
    arena = forebay.open(path, "4MiB")
    children = [listening_process(server, path)]
    try:
        children.append(listening_process(server, path))
        one, here = machines.add(bus_on(server)), machines.add(bus_on(server), arena=arena)
        assert not here.listener.listens  # two others do
        here.put("kept", "deleted")
        children[0].send_signal(stop)
        until(lambda: here.listener.listens)
        here.beats()
        assert here.keeps("kept")
        children[1].send_signal(stop)
        one.cache.delete("deleted")
        here.beats()
        assert here.cache.get("deleted") is None and here.keeps("kept")
    finally:
        for child in children:
            end(child)


def test_when_the_only_listener_is_stopped_nothing_old_is_read_nor_when_it_goes_on(server, machines, path):
    arena = forebay.open(path, "4MiB")
    child = listening_process(server, path)
    try:
        one, here = machines.add(bus_on(server)), machines.add(bus_on(server), arena=arena)
        here.listener.stop()
        here.put("key")
        child.send_signal(signal.SIGSTOP)
        one.cache.delete("key")
        until(lambda: here.cache.get("key") is None)
        assert here.has("key")
        child.send_signal(signal.SIGCONT)
        here.drops("key")
    finally:
        end(child)


def test_who_opens_an_arena_that_was_heard_long_ago_waits_until_it_is_again(server, machines, path):
    with forebay.open(path, "4MiB") as before:
        Machine(bus_on(server), arena=before).hears().listener.stop()
        before._advance_clock(60_000)
    here = Machine(bus_on(server), arena=forebay.open(path))
    machines.callback(here.close)
    here.put("key")  # an entry that is there before somebody listens is forgotten then
    here.beats()
    assert here.keeps("key")


def test_a_child_of_a_fork_tells_and_listens(two):
    one, other = two
    other.put(1)

    def work():
        one.cache.delete(1)
        assert one.bus.stats()["owed"] == 0
        one.listener.ensure()  # as a load does
        until(lambda: one.listener.listens)

    wait_for(fork_to_run(work))
    other.drops(1)
    assert one.listener.listens and one.listener.sessions == 1


def test_what_a_child_of_a_fork_could_not_tell_it_tells_later(two, server):
    one, other = two
    other.put(1)
    server.call("CONFIG", "SET", "maxmemory", "1")
    asked, go_on = os.pipe()

    def work():
        one.cache.delete(1)
        assert one.bus.stats()["owed"] == 1
        os.write(go_on, b"owed")
        until(lambda: one.bus.stats()["owed"] == 0)

    pid = fork_to_run(work)
    try:
        assert os.read(asked, 4) == b"owed" and other.has(1)
    finally:
        server.call("CONFIG", "SET", "maxmemory", "0")
        os.close(asked)
        os.close(go_on)
    wait_for(pid)
    other.drops(1)


# ---- Redis as the database ----


def watched_key(name):
    return int(name.removeprefix("user:")) if name[5:].isdigit() else None


def test_the_database_says_which_of_its_keys_change(server, machines):
    users = machines.add(bus_on(server, watch="user:", key=watched_key)).put(1, 2)
    server.call("SET", "user:1", "new")
    users.drops(1)
    server.call("SET", "user:2:friends", "of no cache")
    server.call("SET", "other", "not watched")
    users.beats()
    assert users.keeps(2)
    server.call("HSET", "user:2", "name", "new")
    users.drops(2)


def test_every_cache_that_follows_drops_it_whoever_listens(server, machines, path):
    bus = bus_on(server, watch="user:", key=watched_key)
    users = machines.add(bus, arena=forebay.open(path, "4MiB")).put(1)
    names = machines.add(bus_on(server, watch="user:", key=watched_key), arena=forebay.open(path), name="names").put(1)
    stranger = names.arena.cache("stranger")
    stranger.set(1, "stays")
    server.call("SET", "user:1", "new")
    users.drops(1)
    names.drops(1)
    assert stranger.get(1) == "stays"


def test_a_function_that_fails_costs_all_entries(server, machines, caplog):
    users = machines.add(bus_on(server, watch="user:", key=lambda name: int(name))).put(1)
    server.call("SET", "user:1", "new")
    users.drops(1)
    assert "key('user:1') failed" in caplog.text
    assert users.listener.listens


def test_machines_that_watch_tell_each_other_too(server, machines):
    one, other = (machines.add(bus_on(server, watch="user:", key=watched_key)) for _ in range(2))
    other.put(1)
    one.cache.delete(1)
    other.drops(1)


# ---- a tier on memcached ----


@pytest.fixture
def memcached(memcached_server):
    client = pymemcache.PooledClient(str(memcached_server.socket_path), connect_timeout=0.5, timeout=0.5)
    client.flush_all()
    yield client
    client.close()


def memcached_machine(server, machines, memcached, **options):
    client = pymemcache.PooledClient(memcached.server, connect_timeout=0.5, timeout=0.5)
    machines.callback(client.close)
    return machines.add(bus_on(server), tier=forebay.tiers.Memcached(client), **options)


def test_what_one_machine_sets_the_others_read_from_the_tier(server, machines, memcached):
    one, other = (memcached_machine(server, machines, memcached, load=lambda key: f"loaded {key}") for _ in range(2))
    assert other.cache.fetch(1) == "loaded 1"
    one.cache.set(1, "new")
    other.drops(1)
    one.beats()
    assert one.cache.get(1) == "new"
    one.cache.delete(1)
    other.drops(1)
    assert memcached.get(b"forebay:users:1") is None


def late_hearing(machine):
    """What it hears, it handles only when the event that is returned is set: as if it was on its way."""
    came, forget = threading.Event(), machine.bus.forget
    machine.bus.forget = lambda *arguments: (came.wait(30), forget(*arguments))[1]
    return came


def test_a_stale_fill_of_the_tier_is_healed_and_who_read_it_drops_it(server, machines, memcached):
    """The lease is held until after the tier was filled."""
    database = {"key": "old"}
    one = memcached_machine(server, machines, memcached)
    late, reader = (memcached_machine(server, machines, memcached, load=lambda key: database[key]) for _ in range(2))
    came = late_hearing(late)
    one.cache.delete("key")
    reader.beats()
    assert late.cache.fetch("key") == "old"  # it asked the database just before
    database["key"] = "new"
    assert reader.cache.fetch("key") == "old"  # of the tier
    came.set()
    reader.drops("key")
    late.drops("key")
    until(lambda: memcached.get(b"forebay:users:key") is None)
    assert reader.cache.fetch("key") == "new"


def test_a_stale_fill_that_somebody_removed_meanwhile_may_have_been_read(server, machines, memcached):
    one = memcached_machine(server, machines, memcached)
    late, reader = (memcached_machine(server, machines, memcached, load=lambda key: "old") for _ in range(2))
    came = late_hearing(late)
    one.cache.delete("key")
    reader.beats()
    assert late.cache.fetch("key") == reader.cache.fetch("key") == "old"
    memcached.delete(b"forebay:users:key")
    came.set()
    reader.drops("key")


def test_machines_that_heal_do_not_answer_each_other_for_ever(server, machines, memcached):
    one, other = (memcached_machine(server, machines, memcached, load=lambda key: "loaded") for _ in range(2))
    one.cache.set(1, "one")
    other.cache.set(1, "other")
    one.cache.delete(1)
    for _ in range(3):
        one.beats()
        other.beats()
    assert one.bus.stats()["told"] + other.bus.stats()["told"] <= 6


def test_what_others_say_goes_from_the_tier_too(server, machines, memcached):
    one = memcached_machine(server, machines, memcached, load=lambda key: "loaded")
    memcached.set(b"forebay:users:7", b"whoever set it")
    server.call("SET", "forebay:bus:shop:users:7", "", "PX", "1000")
    until(lambda: memcached.get(b"forebay:users:7") is None)
    assert one.listener.listens


def test_a_tier_that_does_not_answer_is_healed_later(server, machines, memcached, memcached_server):
    one = memcached_machine(server, machines, memcached, load=lambda key: "loaded")
    memcached.set(b"forebay:users:7", b"old")
    memcached_server.hold()
    try:
        server.call("SET", "forebay:bus:shop:users:7", "", "PX", "1000")
        tier = next(one.bus._parts(one.arena, "users")).tier
        until(lambda: tier.stats()["owed"] == 1)
    finally:
        memcached_server.go_on()
    until(lambda: one.cache.fetch(7) == "loaded" and tier.stats()["owed"] == 0)


# ---- a cluster ----


def test_a_cluster_tells(redis_cluster, machines):
    def bus():
        host, port = redis_cluster.masters[0].address
        client = redis.RedisCluster(host=host, port=port, socket_timeout=0.5, socket_connect_timeout=0.5)
        machines.callback(client.close)
        return forebay.buses.Redis(client)

    keys = list(range(30))
    one, other = machines.add(bus()), machines.add(bus()).put(*keys)
    one.cache.delete_many(keys)
    other.drops(*keys)


# ---- what is refused ----


def test_wrong_arguments_are_refused(server):
    client = client_of(server)
    with pytest.raises(TypeError, match=r"takes a client of redis-py or valkey-py, not builtins\.str"):
        forebay.buses.Redis("redis://")
    with pytest.raises(ValueError, match="as a bus that does not answer"):
        forebay.buses.Redis(client_of(server, socket_timeout=None))
    for prefix in ("", "a b", "ä", 5):
        with pytest.raises(ValueError, match="prefix must be"):
            forebay.buses.Redis(client, prefix=prefix)
    for options in ({"watch": "user:"}, {"key": watched_key}, {"watch": "", "key": watched_key}, {"watch": 5, "key": watched_key}, {"watch": "a", "key": 5}):
        with pytest.raises(TypeError, match="watch= and key= go together"):
            forebay.buses.Redis(client, **options)
    for watch in ("forebay:", "forebay:bus:x", "forebay:bus:"):
        with pytest.raises(ValueError, match="must be told apart"):
            forebay.buses.Redis(client, watch=watch, key=watched_key)
    with pytest.raises(ValueError, match="max_stale"):
        forebay.buses.Redis(client, max_stale=-1)


def test_what_is_for_one_machine_is_refused(two):
    one, _ = two
    with pytest.raises(TypeError, match=r"clear\(\) is for caches of one machine"):
        one.cache.clear()


def test_it_says_what_it_is_without_a_password(server):
    bus = forebay.buses.Redis(redis.Redis(host="cache.example", password="secret", socket_timeout=1, socket_connect_timeout=1))
    assert repr(bus) == "<forebay.buses.Redis redis-bus redis://cache.example:6379/0>"
    assert logging.getLogger("forebay.buses").name in ("forebay.buses",)
