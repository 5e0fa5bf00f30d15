# SPDX-License-Identifier: Apache-2.0
"""What reads may see of what other machines change, whatever happens: docs/guides/coherence.md.

Two machines (arenas, with worker processes that read) on one tier; a process of the first changes
rows, and the history says how far behind each read was.  The bound is no matter of speed: a read
that is further behind than max_stale, and a clock tick, is a defect on any machine."""

import os
import random
import signal
import time
from contextlib import contextmanager

import forebay
import pytest
from forebay.testing import servers
from forebay.testing.proxy import Proxy
from forebay.testing.staleness.history import percentile
from forebay.testing.staleness.world import Machine, World, summary

pytestmark = pytest.mark.long

MAX_STALE = 1.0
TICK = 0.02
WORKERS = 2


@contextmanager
def two_machines(folder, url_of_a, url_of_b, **orders):
    with World(folder, max_stale=MAX_STALE, **orders) as world:
        a, b = Machine(world, "a", url_of_a, WORKERS), Machine(world, "b", url_of_b, WORKERS)
        world.wait_for_reads(a, b)
        world.start("notify" if orders.get("database") else "change", a, seed=99)
        world.wait_for_changes(20)
        yield world, a, b
        world.check()


def assert_nothing_too_old(world, *machines):
    world.end()
    for machine in machines:
        figures = machine.figures()
        print(machine.name, summary(figures))
        assert figures[-1] <= MAX_STALE + TICK, summary(figures)


def until_it_goes_on(world, *machines, seconds=30):
    """Both machines are served from their arenas, and hear what changes."""
    end = time.monotonic() + seconds
    before = [machine.hits() for machine in machines]
    while time.monotonic() < end:
        time.sleep(0.1)
        if all(machine.hits() > count + 1000 and machine.is_heard() for machine, count in zip(machines, before)):
            return
    raise AssertionError("the machines are not served from their arenas any more")


@pytest.fixture
def redis_server(folder):
    (folder / "server").mkdir()
    with servers.start_redis(folder / "server", port=0) as server:
        yield server


@pytest.fixture
def url(redis_server):
    return f"redis://127.0.0.1:{redis_server.port}"


def test_changes_are_seen_by_the_other_machine(folder, url):
    with two_machines(folder, url, url, changes=500) as (world, a, b):
        time.sleep(3)
        changes = world.changes()
        assert_nothing_too_old(world, a, b)
        figures = b.figures()
        assert changes > 100 and len(figures) > 1000
        assert any(figure > 0 for figure in figures)  # the history sees what it is to see
        assert percentile(figures, 0.5) == 0
        assert a.figures()[-1] == 0  # one's own writes first


def test_listeners_are_killed(folder, url):
    with two_machines(folder, url, url) as (world, a, b):
        for _ in range(6):
            time.sleep(0.4)
            for pid in b.listeners():
                b.kill(pid)
                b.start()
        until_it_goes_on(world, a, b)
        assert_nothing_too_old(world, a, b)


def test_one_of_two_listeners_is_killed_and_nothing_is_forgotten(folder, url):
    with two_machines(folder, url, url, changes=1) as (world, a, b):
        world.wait_until(lambda: len(b.listeners()) == 2)
        time.sleep(1)
        for _ in range(3):
            before = b.entries()
            b.kill(b.listeners()[0])
            b.start()
            world.wait_until(lambda: len(b.listeners()) == 2)
            time.sleep(0.5)
            assert b.entries() > before * 0.8  # some were changed
        assert_nothing_too_old(world, a, b)


def test_listeners_are_stopped(folder, url):
    with two_machines(folder, url, url) as (world, a, b):
        for seconds in (0.3, 1.5, 2.5):
            stopped = b.listeners()
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.3)
        until_it_goes_on(world, a, b)
        assert_nothing_too_old(world, a, b)


def test_any_process_is_stopped_at_any_moment(folder, url):
    random.seed(1)
    with two_machines(folder, url, url, changes=500) as (world, a, b):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            process = random.choice(a.workers + b.workers)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(random.random() * 0.3)
            os.kill(process.pid, signal.SIGCONT)
        assert_nothing_too_old(world, a, b)


@pytest.mark.parametrize("fault", ["cut", "held", "answers held", "refused"])
def test_the_network_between_one_machine_and_the_tier_breaks(folder, redis_server, url, fault):
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        host, port = proxy.address
        with two_machines(folder, url, f"redis://{host}:{port}") as (world, a, b):
            for seconds in (0.5, 2.0):
                if fault == "cut":
                    proxy.cut()
                elif fault == "refused":
                    proxy.refuse()
                    proxy.cut()
                else:
                    proxy.hold(to_client=True, to_server=fault == "held")
                time.sleep(seconds)
                proxy.go_on()
                proxy.accept()
                time.sleep(0.5)
            until_it_goes_on(world, a, b)
            assert_nothing_too_old(world, a, b)


def test_the_server_restarts_empty_and_pauses(folder, redis_server, url):
    with two_machines(folder, url, url) as (world, a, b):
        redis_server.restart()
        time.sleep(1.5)
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(redis_server.process.pid, signal.SIGCONT)
        until_it_goes_on(world, a, b)
        assert_nothing_too_old(world, a, b)


def test_everything_in_the_server_is_deleted(folder, redis_server, url):
    with two_machines(folder, url, url) as (world, a, b):
        for _ in range(5):
            redis_server.call("FLUSHALL")
            time.sleep(0.3)
        until_it_goes_on(world, a, b)
        assert_nothing_too_old(world, a, b)


def test_the_server_evicts(folder, redis_server, url):
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    with two_machines(folder, url, url, keys=2000) as (world, a, b):
        redis_server.call("CONFIG", "SET", "maxmemory", "2mb")
        time.sleep(3)
        assert_nothing_too_old(world, a, b)


# ---- rows that others change by SQL ----


def test_rows_are_changed_by_sql_behind_the_tier(folder, postgres, url):
    with two_machines(folder, url, url, changes=300, database=postgres.conninfo) as (world, a, b):
        time.sleep(1)
        for _ in range(2):
            for pid in b.listeners():
                b.kill(pid)
                b.start()
            time.sleep(0.5)
        stopped = b.listeners()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.5)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        until_it_goes_on(world, a, b)
        assert_nothing_too_old(world, a, b)
        assert any(figure > 0 for figure in b.figures())  # the history sees what it is to see


# ---- clusters ----


@pytest.fixture
def cluster(folder):
    (folder / "server").mkdir()
    with servers.start_redis_cluster(folder / "server") as cluster:
        yield cluster


@pytest.fixture
def cluster_url(cluster):
    return "cluster:{}:{}".format(*cluster.addresses[0])


def test_a_primary_of_a_cluster_is_killed(folder, cluster, cluster_url):
    """Acknowledged changes may be lost with it: Redis replicates afterwards.  So the process that changes waits for replicas."""
    with two_machines(folder, cluster_url, cluster_url, changes=100) as (world, a, b):
        time.sleep(1)
        world.stop_changes()  # what was acknowledged has reached the replicas by now
        time.sleep(0.5)
        cluster.kill(cluster.master_of("forebay:rows:0"))
        time.sleep(0.5)
        world.start("change", a, seed=100)
        cluster.wait_until_ok()
        until_it_goes_on(world, a, b, seconds=60)
        assert_nothing_too_old(world, a, b)


def test_a_replica_takes_over_from_a_primary_that_lives(folder, cluster, cluster_url):
    with two_machines(folder, cluster_url, cluster_url, changes=100) as (world, a, b):
        for _ in range(2):
            cluster.failover(cluster.replicas_of(cluster.master_of("forebay:rows:0"))[0])
            time.sleep(1)
        until_it_goes_on(world, a, b, seconds=60)
        assert_nothing_too_old(world, a, b)


def test_slots_move_between_primaries(folder, cluster, cluster_url):
    with two_machines(folder, cluster_url, cluster_url, changes=300) as (world, a, b):
        for key in range(6):
            slot = servers.key_slot(f"forebay:rows:{key}")
            home = cluster.master_of(slot)
            other = next(node for node in cluster.masters if node.port != home.port)
            cluster.begin_move(slot, other)
            time.sleep(0.3)  # asked for at both
            cluster.move_keys(slot, other)
            time.sleep(0.3)
            cluster.finish_move(slot, other)
        until_it_goes_on(world, a, b, seconds=60)
        assert_nothing_too_old(world, a, b)


# ---- the race, forced ----


def test_an_invalidation_that_overtakes_the_reply_of_the_source_wins(folder, url):
    import threading

    import redis

    def tier():
        return forebay.tiers.Redis(redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2))

    asked, go_on = threading.Event(), threading.Event()
    row = {"version": 1}

    def slow(keys):
        values = {key: dict(row) for key in keys}
        asked.set()
        assert go_on.wait(10)
        return values

    with forebay.open(folder / "a", "4MiB") as one, forebay.open(folder / "b", "4MiB") as other:
        here = one.cache("rows", ttl=60, tier=tier(), load_many=slow)
        there = other.cache("rows", ttl=60, tier=tier(), load_many=lambda keys: {key: dict(row) for key in keys})
        found = []
        thread = threading.Thread(target=lambda: found.append(here.fetch(1)))
        thread.start()
        assert asked.wait(10)
        row["version"] = 2
        there.delete(1)
        go_on.set()
        thread.join()
        assert found == [{"version": 1}]  # the caller asked before it changed
        time.sleep(0.3)
        assert here.get(1) is None
        assert there.fetch(1) == {"version": 2}
        assert here.fetch(1) == {"version": 2}


def test_all_engines_down_then_up(folder, redis_server, url):
    """Where a service may be as far behind as it takes, it serves what it holds, and heals."""
    import redis

    down = False
    calls = []

    def load(keys):
        calls.append(keys)
        if down:
            raise ConnectionError("the database is down")
        return {key: {"row": key} for key in keys}

    client = redis.Redis.from_url(url, socket_timeout=0.2, socket_connect_timeout=0.2)
    tier = forebay.tiers.Redis(client, max_stale=None)
    with forebay.open(folder / "a", "4MiB") as arena:
        rows = arena.cache("rows", ttl=600, tier=tier, load_many=load)
        while all(channel["age"] is None for channel in arena.channels().values()):
            time.sleep(0.01)  # what was filled before somebody listens is forgotten then
        assert len(rows.fetch_many(range(100))) == 100
        time.sleep(0.3)
        redis_server.stop()
        down = True
        for _ in range(3):
            assert len(rows.fetch_many(range(100))) == 100
            time.sleep(0.5)
        with pytest.raises(ConnectionError, match="the database is down"):
            rows.fetch(1000)
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(ConnectionError):
                rows.fetch(1000)
        assert tier.stats()["state"] != "closed" and tier.stats()["skipped"] > 0
        assert time.monotonic() - began < 10
        redis_server.start()
        down = False
        assert rows.fetch(1000) == {"row": 1000}
        end = time.monotonic() + 20
        while tier.stats()["state"] != "closed" and time.monotonic() < end:
            rows.fetch(random.randrange(10**6, 10**9))
            time.sleep(0.1)
        assert tier.stats()["state"] == "closed"
        assert len(rows.fetch_many(range(100))) == 100
