# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.pymemcache on a real server: as pymemcache's own pool, and the machine's limit."""

import re

import pymemcache
import pytest

import forebay
from backends import Watch, keeps, stopped, storm
from forebay.pools.pymemcache import HashClient, PooledClient, _limit_name
from forebay.testing import servers
from forking import fork_to_run, wait_for
from pooled import Call, until

pytestmark = pytest.mark.long


@pytest.fixture
def server(memcached_server):
    return f"unix:{memcached_server.socket_path}"


@pytest.fixture
def client(server):
    client = PooledClient(server, max_pool_size=2)
    yield client
    client.flush_all()
    client.close()


@pytest.fixture
def connections(server):
    """How many the server counts, but for this one and what it had before."""
    outside = pymemcache.Client(server)

    def count():
        return int(outside.stats()[b"curr_connections"])

    before = count()
    yield lambda: count() - before
    outside.close()


def test_calls_go_through_the_pool(client):
    assert client.set("k", "v", noreply=False)
    assert client.get("k") == b"v"
    assert client.set_many({"a": 1, "b": 2}) == []
    assert client.get_many(["a", "b", "none"]) == {"a": b"1", "b": b"2"}
    assert client.incr("a", 5) == 6
    assert client.delete("k", noreply=False)
    assert client.version()
    assert client.stats_of_pool["connections_num"] == 1


def test_a_call_waits_for_a_connection(server):
    client = PooledClient(server, max_pool_size=1)
    taken = client.client_pool.get()
    assert client.client_pool.used == (taken,)
    waiting = Call(client.version)
    until(lambda: client.stats_of_pool["requests_waiting"] == 1)
    client.client_pool.release(taken)
    assert waiting.result()
    assert client.client_pool.free == (taken,)
    client.close()


def test_who_waits_too_long_gets_an_error(server):
    client = PooledClient(server, max_pool_size=1, acquire_timeout=0.05)
    taken = client.client_pool.get()
    with pytest.raises(RuntimeError, match="1 of at most 1 are out") as raised:  # as pymemcache's
        client.get("k")
    assert isinstance(raised.value, forebay.PoolTimeoutError)
    client.client_pool.destroy(taken)
    assert client.version()
    with pytest.raises(ValueError, match="not out of this pool"):
        client.client_pool.release(taken, silent=False)
    client.client_pool.release(taken)
    client.close()


def test_after_a_failure_a_connection_is_made_anew(client):
    client.set("k", "v", noreply=False)
    (before,) = client.client_pool.free
    with pytest.raises(pymemcache.MemcacheIllegalInputError):
        client.get("a b")
    assert client.client_pool.free == (before,)
    assert before.sock is None
    assert client.get("k") == b"v"


def test_an_interrupted_call_leaves_no_answer_for_the_next(client, monkeypatch):
    """pymemcache's own pool loses the connection."""
    client.set("k", "v", noreply=False)
    with pytest.raises(KeyboardInterrupt), client.client_pool.get_and_release(destroy_on_fail=True) as one:
        one.sock.sendall(b"get k\r\n")
        raise KeyboardInterrupt
    assert client.get("none") is None
    assert client.stats_of_pool["pool_available"] == 1


def test_a_server_that_restarts_is_found_again(server_folder):
    folder = server_folder / "restarted-memcached"
    folder.mkdir()
    with servers.start_memcached(folder) as server:
        client = PooledClient(f"unix:{server.socket_path}", max_pool_size=2)
        assert client.set("k", "v", noreply=False)
        server.stop()
        with pytest.raises((OSError, pymemcache.MemcacheUnexpectedCloseError)):
            client.get("k")
        with pytest.raises(OSError):
            client.get("k")
        server.start()
        assert client.get("k") is None
        client.close()


def test_close_ends_all_and_the_client_goes_on(client, connections):
    client.version()
    assert connections() >= 0
    client.close()
    until(lambda: connections() == -1 or connections() == 0)
    assert client.version()
    client.quit()
    assert client.version()


def test_threads_share_few_connections(client, connections):
    def work():
        for _ in range(100):
            client.get("k")

    with Watch(connections) as watch:
        for call in [Call(work) for _ in range(8)]:
            call.result()
    assert watch.most <= 2


def test_a_child_has_connections_of_its_own(client):
    client.set("k", "v", noreply=False)
    (mine,) = client.client_pool.free

    def child():
        assert client.get("k") == b"v"
        assert mine not in client.client_pool.free

    wait_for(fork_to_run(child))
    assert client.get("k") == b"v"
    assert client.client_pool.free == (mine,)


def test_a_permit_is_given_back_when_the_server_has_hung_up(server, memcached_server, arena, patient):
    client = PooledClient(server, max_pool_size=1, arena=arena, host_max=1, name="shop")
    client.version()
    with stopped(memcached_server.process.pid):
        closed = Call(client.close)
        assert keeps(lambda: arena.limits()["shop"]["held"] == 1)
    closed.result()
    until(lambda: arena.limits()["shop"]["held"] == 0)


def test_the_server_never_counts_more_than_host_max(server, connections, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        client = PooledClient(server, max_pool_size=3, acquire_timeout=60, arena=arena, host_max=4, name="storm")

        def use():
            while goes_on():
                client.incr("n", 1)

        for call in [Call(use) for _ in range(3)]:
            call.result(60)

    with Watch(connections) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 20
    assert 2 <= watch.most <= 4


# ---- several servers ----


@pytest.fixture
def two_servers(server_folder):
    folders = [server_folder / "first", server_folder / "second"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    with servers.start_memcached(folders[0]) as first, servers.start_memcached(folders[1]) as second:
        yield [f"unix:{one.socket_path}" for one in (first, second)]


def test_a_hash_client_has_a_pool_for_each_server(two_servers, arena):
    client = HashClient(two_servers, max_pool_size=2, arena=arena, host_max=5, name="cache")
    values = {f"key {n}".replace(" ", "-"): str(n).encode() for n in range(50)}
    assert client.set_many(values, noreply=False) == []
    assert client.get_many(list(values)) == values
    assert all(isinstance(one, PooledClient) for one in client.clients.values())
    assert [re.fullmatch("cache [0-9a-f]{8}", name) is not None for name in arena.limits()] == [True, True]
    assert _limit_name("cache", "localhost:11211") == "cache localhost:11211"
    assert all(one.stats_of_pool["pool_size"] == 1 for one in client.clients.values())
    client.flush_all()
    client.close()


def test_a_hash_client_leaves_a_dead_server_out(two_servers):
    client = HashClient([*two_servers, "unix:/nowhere"], ignore_exc=True, retry_attempts=0, max_pool_size=1)
    for n in range(50):
        client.get(f"k{n}")
    assert sorted(client.hasher.nodes) == sorted(server.removeprefix("unix:") for server in two_servers)
    client.close()


def test_a_hash_client_without_pools_is_pymemcaches(two_servers):
    with pytest.raises(ValueError, match="use_pooling is True here"):
        HashClient(two_servers, use_pooling=False)
