# SPDX-License-Identifier: Apache-2.0
"""The Redis Cluster that tests use: it is whole, can be broken and repaired, and leaves nothing behind."""

import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest
import redis
from forebay.testing import servers
from forebay.testing.servers import _ports
from redis.cluster import ClusterNode as Place

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers


@pytest.fixture
def cluster(redis_cluster):
    return redis_cluster


@pytest.fixture
def client(cluster):
    with redis.RedisCluster(startup_nodes=[Place(*address) for address in cluster.addresses]) as client:
        yield client


def is_ended(pid):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle):
        return bool(select.select([handle], [], [], 30)[0])


def test_three_masters_with_a_replica_each_serve_all_slots(cluster):
    assert sorted(node.role for node in cluster.nodes) == ["master"] * 3 + ["replica"] * 3
    assert [len(cluster.replicas_of(node)) for node in cluster.masters] == [1, 1, 1]
    views = cluster.nodes[5].view()
    slots = [slot for node in cluster.masters for slot in views[node.id].slots]
    assert sorted(slots) == list(range(16384))


def test_a_client_reaches_every_master(cluster, client):
    for number in range(50):
        client.set(f"key {number}", number)
    assert [int(value) for value in client.mget_nonatomic([f"key {number}" for number in range(50)])] == list(range(50))
    assert all(node.call("DBSIZE") for node in cluster.masters)
    for node in cluster.nodes:
        assert redis.Redis(*node.address).ping()


@pytest.mark.parametrize("key", ["a", b"\xff\x00", "{a}b", "{}a", "a{b}{c}", "{{a}}", "a{", "", "a}b{c}"])
def test_the_slot_of_a_key_is_what_the_server_says(cluster, key):
    slot = cluster.nodes[0].call("CLUSTER", "KEYSLOT", key)
    assert servers.key_slot(key) == slot
    assert cluster.master_of(key) is cluster.master_of(slot)


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(cluster, client):
    client.set("a", "kept")
    client.wait(1, 5000, target_nodes=client.get_node_from_key("a"))
    master = cluster.master_of("a")
    [replica] = cluster.replicas_of(master)
    cluster.kill(master)
    assert master.role == "down"
    with pytest.raises(LookupError, match="serves slot"):
        cluster.master_of("a")
    cluster.wait_until_ok()
    assert cluster.master_of("a") is replica
    assert replica.call("GET", "a") == b"kept"
    id = master.id
    cluster.start(master)
    cluster.wait_until_ok()
    assert master.role == "replica"
    assert master.call("CLUSTER", "MYID").decode() == id
    assert cluster.replicas_of(replica) == [master]
    assert client.get("a") == b"kept"


def test_a_stopped_master_is_replaced_and_goes_on_as_a_replica(cluster):
    master = cluster.master_of(0)
    [replica] = cluster.replicas_of(master)
    cluster.stop(master)
    assert master.role == "down"
    cluster.wait_until_ok()
    assert cluster.master_of(0) is replica
    cluster.cont(master)
    cluster.wait_until_ok()
    assert master.role == "replica"


@pytest.mark.parametrize("how", ["", "FORCE", "TAKEOVER"])
def test_a_failover_makes_the_replica_the_master(cluster, how):
    master = cluster.master_of("a")
    [replica] = cluster.replicas_of(master)
    cluster.failover(replica, how)
    assert cluster.master_of("a") is replica
    cluster.wait_until_ok()
    assert cluster.replicas_of(replica) == [master]


def test_a_failover_to_a_master_is_an_error(cluster):
    with pytest.raises(servers.ReplyError, match="replica"):
        cluster.failover(cluster.masters[0])


def test_a_slot_moves_with_its_keys(cluster, client):
    keys = [f"{{moves}}{number}" for number in range(250)]
    for key in keys:
        client.set(key, key)
    source = cluster.master_of("moves")
    target = next(node for node in cluster.masters if node is not source)
    assert cluster.move_slot(servers.key_slot("moves"), target) == 250
    assert cluster.master_of("moves") is target
    cluster.wait_until_ok()
    with pytest.raises(servers.ReplyError, match=f"MOVED .*:{target.port}"):
        source.call("GET", keys[0])
    assert [client.get(key) for key in keys] == [key.encode() for key in keys]


def test_a_slot_that_is_half_moved_answers_with_ask(cluster, client):
    keys = [f"{{half}}{number}" for number in range(10)]
    for key in keys:
        client.set(key, "x")
    slot = servers.key_slot("half")
    source = cluster.master_of(slot)
    target = next(node for node in cluster.masters if node is not source)
    cluster.begin_move(slot, target)
    assert cluster.move_keys(slot, target, 4) == 4
    assert cluster.master_of(slot) is source
    answers = []
    for key in keys:
        try:
            answers.append(source.call("GET", key))
        except servers.ReplyError as error:
            assert str(error).startswith(f"ASK {slot} 127.0.0.1:{target.port}")
    assert answers == [b"x"] * 6
    assert [client.get(key) for key in keys] == [b"x"] * 10
    assert cluster.move_keys(slot, target) == 6
    cluster.finish_move(slot, target)
    assert cluster.master_of(slot) is target
    assert [client.get(key) for key in keys] == [b"x"] * 10


def test_a_slot_does_not_move_to_where_it_is(cluster):
    with pytest.raises(ValueError, match="has slot 5 already"):
        cluster.begin_move(5, cluster.master_of(5))


def test_what_keeps_a_cluster_from_being_ok_is_named(cluster):
    cluster.wait_until_ok()
    master = cluster.master_of(0)
    for node in (*cluster.replicas_of(master), master):
        cluster.kill(node)
    with pytest.raises(TimeoutError, match=r"down and has slots|does not call the cluster ok|fail"):
        cluster.wait_until_ok(0.2)
    cluster.repair()
    assert cluster.master_of(0) is master
    for node in cluster.nodes:
        cluster.stop(node)
    with pytest.raises(TimeoutError, match="no node answers"):
        cluster.wait_until_ok(0.2)


def test_a_master_that_is_added_has_no_slots_and_takes_some(tmp_path):
    with servers.start_redis_cluster(tmp_path, 3, 0) as cluster:
        node = cluster.add_master()
        assert cluster.masters == cluster.nodes and cluster.nodes[3] is node
        assert not node.view()[node.id].slots
        cluster.move_slot(77, node)
        assert cluster.master_of(77) is node
        processes = [node.process for node in cluster.nodes]
    assert all(process.poll() is not None for process in processes)


def test_options_are_every_nodes_and_a_taken_port_is_replaced(tmp_path, monkeypatch):
    find = _ports.free_ports
    offered = iter([1, 2])  # the first time it is one that needs no luck to be taken
    with servers.start_redis(tmp_path, port=0) as other:
        monkeypatch.setattr(_ports, "free_ports", lambda count: [find(1)[0], other.port] if next(offered, None) else find(count))
        with servers.start_redis_cluster(tmp_path, 3, 0, "--maxmemory", "9mb", node_timeout=700) as cluster:
            for node in cluster.nodes:
                assert node.call("CONFIG", "GET", "maxmemory")[1] == b"9437184"
                assert node.call("CONFIG", "GET", "cluster-node-timeout")[1] == b"700"
                assert other.port not in (node.port, node.bus_port)


def test_fewer_masters_than_can_fail_over_are_refused(tmp_path):
    with pytest.raises(ValueError, match="three masters, not 2"):
        servers.start_redis_cluster(tmp_path, 2, 1)
    assert not list(tmp_path.iterdir())


def test_of_a_cluster_that_does_not_start_nothing_is_left(tmp_path, monkeypatch):
    started = []
    call = servers.ClusterNode.call

    def fails_late(node, *words):
        started.append(node.process)
        if words[:2] == ("CLUSTER", "ADDSLOTSRANGE"):
            raise RuntimeError("on purpose")
        return call(node, *words)

    monkeypatch.setattr(servers.ClusterNode, "call", fails_late)
    with pytest.raises(RuntimeError, match="on purpose"):
        servers.start_redis_cluster(tmp_path)
    assert len(set(started)) == 6
    assert all(process.poll() is not None for process in started)


STARTED_AND_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from forebay.testing import servers
    cluster = servers.start_redis_cluster(Path(sys.argv[1]))
    cluster.stop(cluster.nodes[0])
    print(*[node.process.pid for node in cluster.nodes], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_all_nodes_end_with_a_process_that_is_killed(tmp_path):
    program = textwrap.dedent(STARTED_AND_KILLED)
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in killed.stdout.split()]
    assert len(pids) == 6
    assert all(map(is_ended, pids))


def test_a_cluster_of_valkey_is_one(tmp_path):
    try:
        servers.find("valkey-server")
    except RuntimeError:
        pytest.skip("no valkey-server here")
    with servers.start_redis_cluster(tmp_path, program="valkey-server") as cluster:
        assert b"server_name:valkey" in cluster.nodes[0].call("INFO", "SERVER")
        source = cluster.master_of("a")
        target = next(node for node in cluster.masters if node is not source)
        source.call("SET", "a", "kept")
        assert cluster.move_slot(servers.key_slot("a"), target) == 1
        assert target.call("GET", "a") == b"kept"
        [replica] = cluster.replicas_of(target)
        cluster.failover(replica)
        assert cluster.master_of("a") is replica
