# SPDX-License-Identifier: Apache-2.0
"""Stores on the cluster clients of redis-py and valkey-py, on six nodes whose slots move and which end."""

import sys
import time
import warnings

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
import valkey
import valkey.asyncio
import valkey.asyncio.cluster
import valkey.cluster

from forebay.tiers._store import store_of
from forking import fork_to_run, wait_for
from forwarder import Forwarder, turns_of
from pooled import until
from redis.crc import key_slot
from store_calls import HOLD_SECONDS, Loop, Promises, Waiting, hold, names_of, raises_in_time

pytestmark = pytest.mark.long

CLASSES = {
    ("redis", "sync"): redis.RedisCluster, ("redis", "asyncio"): redis.asyncio.RedisCluster,
    ("valkey", "sync"): valkey.ValkeyCluster, ("valkey", "asyncio"): valkey.asyncio.ValkeyCluster,
}  # fmt: skip
OPTIONS = {"plain": {}, "decoding": {"decode_responses": True}, "resp3": {"protocol": 3}}


class Maker:
    """Clients and stores of one kind; closed at the end."""

    def __init__(self, driver, kind, loop, cluster):
        self.driver, self.kind, self.loop, self.cluster = driver, kind, loop, cluster
        self._clients = []

    def client(self, **options):
        node = sys.modules[f"{self.driver}.asyncio.cluster" if self.kind == "asyncio" else f"{self.driver}.cluster"].ClusterNode
        nodes = [node(host, port) for host, port in self.cluster.addresses]
        self._clients.append(CLASSES[self.driver, self.kind](startup_nodes=nodes, **options))
        return self._clients[-1]

    def store(self, **options):
        store = store_of(self.client(**options))
        return Waiting(store, self.loop) if store.asynchronous else store

    def close(self):
        for client in self._clients:
            if self.kind == "asyncio":
                self.loop.run(client.aclose() if hasattr(client, "aclose") else client.close())  # before redis-py 5
            else:
                client.close()


@pytest.fixture(scope="module")
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=CLASSES, ids="-".join)
def maker(request, loop, redis_cluster):
    maker = Maker(*request.param, loop, redis_cluster)
    yield maker
    maker.close()


class TestPromises(Promises):
    @pytest.fixture(params=OPTIONS)
    def store(self, request, maker):
        return maker.store(**OPTIONS[request.param])


def place(store, names):
    store.set_many([(name, b"p" + name, 60_000) for name in names])


def holds(store, names):
    return store.get_many(names) == {name: b"p" + name for name in names}


# ---- round trips ----


def test_a_call_takes_one_round_trip_to_each_primary(maker, redis_cluster):
    forwarders = {address: Forwarder(address, tcp=True) for address in redis_cluster.addresses}
    store = maker.store(address_remap=lambda address: forwarders[address].address if address in forwarders else address)
    primaries = [forwarders[node.address] for node in redis_cluster.masters]
    replicas = [forwarder for forwarder in forwarders.values() if forwarder not in primaries]
    names = names_of(1000)
    items = [(name, b"p", 60_000) for name in names]
    place(store, names)
    store.replace_many(items, b"p")
    for method, *arguments in [
        (store.set_many, items), (store.get_many, names), (store.get_heads, names, 5), (store.replace_many, items, b"p"),
        (store.delete_many, names), (store.place_many, names, b"p", 1000), (store.ping,),
    ]:  # fmt: skip
        assert turns_of([*primaries, *replicas], method, *arguments) == [1, 1, 1, 0, 0, 0], method
    for forwarder in forwarders.values():
        forwarder.close()


def test_names_of_one_slot_are_one_command(maker, redis_cluster):
    store = maker.store()
    names = [b"{tag}-%d" % number for number in range(500)]
    place(store, names)
    node = redis_cluster.master_of(names[0])
    node.call("CONFIG", "RESETSTAT")
    assert holds(store, names)
    store.delete_many(names)
    found = node.call("INFO", "commandstats").decode()
    assert "cmdstat_mget:calls=1," in found
    assert "cmdstat_unlink:calls=1," in found
    assert "cmdstat_get:" not in found


def test_only_primaries_are_read_from(maker, redis_cluster):
    store = maker.store()
    names = names_of(200)
    place(store, names)
    replicas = [node for node in redis_cluster.nodes if node.role == "replica"]
    for node in replicas:
        node.call("CONFIG", "RESETSTAT")
    assert holds(store, names)
    assert not any("cmdstat_get" in node.call("INFO", "commandstats").decode() for node in replicas)


# ---- slots that move ----


def moving(cluster, names):
    """The slot of these names, and a primary that does not have it."""
    slot = key_slot(names[0])
    owner = cluster.master_of(slot)
    return slot, next(node for node in cluster.masters if node is not owner)


@pytest.mark.parametrize("count", [0, 10, 20], ids=["none-moved", "half-moved", "all-moved"])
def test_while_a_slot_moves_all_of_its_names_are_found_and_written(maker, redis_cluster, count):
    store = maker.store()
    names = [b"{moving}-%d" % number for number in range(20)]
    others = names_of(100)
    place(store, names + others)
    slot, to = moving(redis_cluster, names)
    redis_cluster.begin_move(slot, to)
    redis_cluster.move_keys(slot, to, count)
    for _ in range(2):
        assert holds(store, names + others)
        assert store.get_heads(names, 2) == dict.fromkeys(names, b"p{")
    assert store.get_many([b"{moving}-absent", names[0]]) == {names[0]: b"p" + names[0]}
    assert store.place_many([names[0], b"{moving}-new"], b"p{moving}-new", 60_000) == {b"{moving}-new"}
    names.append(b"{moving}-new")
    assert holds(store, names)
    assert store.replace_many([(name, b"p" + name, 60_000) for name in names + others], b"p") == set(names + others)
    store.set_many([(name, b"p" + name, 60_000) for name in names])
    assert holds(store, names)
    store.delete_many(names[:5])
    assert store.get_many(names) == {name: b"p" + name for name in names[5:]}
    redis_cluster.move_keys(slot, to)
    redis_cluster.finish_move(slot, to)
    assert store.get_many(names + others) == {name: b"p" + name for name in names[5:] + others}


def test_slots_that_have_moved_cost_one_more_round_trip_once(maker, redis_cluster):
    forwarders = {address: Forwarder(address, tcp=True) for address in redis_cluster.addresses}
    store = maker.store(address_remap=lambda address: forwarders[address].address if address in forwarders else address)
    names = [b"{moved}-%d" % number for number in range(20)]
    place(store, names + names_of(100))  # of all primaries: connections are there
    slot, to = moving(redis_cluster, names)
    source = forwarders[redis_cluster.master_of(slot).address]
    redis_cluster.begin_move(slot, to)
    redis_cluster.move_keys(slot, to)
    redis_cluster.finish_move(slot, to)
    both = [source, forwarders[to.address]]
    assert turns_of(both, store.get_many, names) == [1, 1]
    assert turns_of(both, store.get_many, names) == [0, 1]
    assert holds(store, names)
    for forwarder in forwarders.values():
        forwarder.close()


# ---- nodes that end ----


def test_scripts_are_told_to_each_node_that_has_forgotten_them(maker, redis_cluster):
    store = maker.store()
    names = names_of(60)
    place(store, names)
    for node in redis_cluster.masters:
        node.call("SCRIPT", "FLUSH")
    assert store.replace_many([(name, b"p" + name, 0) for name in names], b"p") == set(names)
    assert holds(store, names)


def test_a_node_that_stands_still_is_an_error_within_the_timeout(maker, redis_cluster):
    store = maker.store(socket_timeout=HOLD_SECONDS, socket_connect_timeout=HOLD_SECONDS)
    names = names_of(100)
    place(store, names)
    node = redis_cluster.master_of(names[0])
    hold(node)
    assert raises_in_time(store, store.get_many, names) < HOLD_SECONDS * 2 + 1  # once for all the names of that node
    raises_in_time(store, store.get_many, [names[0]])
    redis_cluster.cont(node)
    until(lambda: works(store, names), 60)


def works(store, names):
    try:
        store.set_many([(name, b"p" + name, 60_000) for name in names])
        store.ping()
        return holds(store, names)
    except store.errors:
        time.sleep(0.1)
        return False


def test_after_a_failover_all_goes_on_without_the_node_that_ended(maker, redis_cluster):
    store = maker.store(socket_timeout=2, socket_connect_timeout=2)
    names = names_of(100)
    place(store, names)
    redis_cluster.kill(redis_cluster.master_of(names[0]))
    raises_in_time(store, store.get_many, names, seconds=2)
    until(lambda: works(store, names), 60)
    new = names_of(20, b"new-%d" % time.time_ns())
    assert store.place_many(new, b"p", 60_000) == set(new)
    assert store.replace_many([(name, b"2", 0) for name in names], b"p") == set(names)


def test_a_failover_that_is_asked_for_is_not_noticed(maker, redis_cluster):
    store = maker.store(socket_timeout=30)  # a node that took over twice within seconds may hold back writes for 10 s
    names = names_of(100)
    place(store, names)
    store.replace_many([(name, b"p" + name, 0) for name in names], b"p")
    (replica,) = redis_cluster.replicas_of(redis_cluster.master_of(names[0]))
    redis_cluster.failover(replica)
    assert holds(store, names)
    assert store.replace_many([(name, b"p" + name, 0) for name in names], b"p") == set(names)
    place(store, names)


def test_a_cluster_of_which_nobody_answers_is_an_error(maker, redis_cluster):
    store = maker.store(socket_timeout=HOLD_SECONDS, socket_connect_timeout=HOLD_SECONDS)
    names = names_of(20)
    place(store, names)
    for node in list(redis_cluster.nodes):
        redis_cluster.kill(node)
    for _ in range(3):
        raises_in_time(store, store.get_many, names, seconds=10)
        raises_in_time(store, store.ping, seconds=10)


@pytest.mark.parametrize("driver", ["redis", "valkey"])
def test_a_child_has_connections_of_its_own(driver, redis_cluster):
    maker = Maker(driver, "sync", None, redis_cluster)
    store = maker.store()
    names = names_of(50)
    place(store, names)

    def child():
        for _ in range(20):
            assert holds(store, names)

    pid = fork_to_run(child)
    for _ in range(20):
        assert holds(store, names)
    wait_for(pid)
    maker.close()


# ---- facts ----


def test_what_a_store_says_of_itself(maker, redis_cluster):
    store = maker.store(socket_timeout=0.7, socket_connect_timeout=3)
    assert store.describe.startswith(f"{maker.driver}+cluster://127.0.0.1:")
    assert (store.timeout, store.connect_timeout) == (0.7, 3)
    assert store.retries == (3 if (maker.driver, maker.kind) == ("valkey", "asyncio") else 0)


def test_clients_that_read_from_replicas_are_refused(maker):
    with warnings.catch_warnings(), pytest.raises(ValueError, match="reads from primaries only"):
        warnings.simplefilter("ignore")  # newer drivers have another name for it
        maker.store(read_from_replicas=True)
    if maker.driver == "redis":
        with pytest.raises(ValueError, match="reads from primaries only"):
            maker.store(load_balancing_strategy=redis.cluster.LoadBalancingStrategy.ROUND_ROBIN)
