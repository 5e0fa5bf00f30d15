# SPDX-License-Identifier: Apache-2.0
"""Stores on the clients of redis-py and valkey-py, for threads and for asyncio, on a real server."""

import asyncio
import itertools
import os
import sys

import pytest
import redis
import redis.asyncio
import redis.sentinel
import valkey
import valkey.asyncio

import forebay.pools.redis
import forebay.pools.redis_asyncio
from forebay.testing import servers
from forebay.testing.servers._ports import on_free_ports
from forebay.testing.servers._programs import find
from forebay.testing.servers._redis import RedisServer
from forebay.tiers._store import store_of
from forking import fork_to_run, wait_for
from forwarder import Forwarder, turns_of
from pooled import Call
from store_calls import HOLD_SECONDS, VALUES, Loop, Promises, Waiting, hold, names_of, raises_in_time
from tiered_on_redis import own_server, server  # fixtures

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

CLASSES = {
    ("redis", "sync"): redis.Redis, ("redis", "asyncio"): redis.asyncio.Redis,
    ("valkey", "sync"): valkey.Valkey, ("valkey", "asyncio"): valkey.asyncio.Valkey,
}  # fmt: skip
OPTIONS = {
    "plain": {}, "decoding": {"decode_responses": True}, "resp3": {"protocol": 3},
    "resp3-decoding": {"protocol": 3, "decode_responses": True},
}  # fmt: skip
KINDS = list(CLASSES)


def retry_never(driver, kind):
    package = sys.modules[driver]
    module = sys.modules[f"{driver}.asyncio.retry" if kind == "asyncio" else f"{driver}.retry"]
    return module.Retry(package.backoff.NoBackoff(), 0)


class Maker:
    """Clients and stores of one kind; closed at the end."""

    def __init__(self, driver, kind, loop):
        self.driver, self.kind, self.loop = driver, kind, loop
        self.client_class = CLASSES[driver, kind]
        self._clients = []

    def client(self, where, **options):
        place = {"unix_socket_path": str(where)} if not isinstance(where, tuple) else {"host": where[0], "port": where[1]}
        self._clients.append(self.client_class(**place, **options))
        return self._clients[-1]

    def store(self, where, **options):
        return self.store_on(self.client(where, **options))

    def store_on(self, client):
        store = store_of(client)
        assert store.asynchronous == (self.kind == "asyncio")
        return Waiting(store, self.loop) if store.asynchronous else store

    def impatient(self, where):
        return self.store(where, socket_timeout=HOLD_SECONDS, retry=retry_never(self.driver, self.kind))

    def close(self):
        for client in self._clients:
            close(client, self.kind, self.loop)


def close(client, kind, loop):
    if kind == "asyncio":
        loop.run(client.aclose() if hasattr(client, "aclose") else client.close())  # before redis-py 5
    else:
        client.close()


@pytest.fixture(scope="module")
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=KINDS, ids="-".join)
def maker(request, loop):
    maker = Maker(*request.param, loop)
    yield maker
    maker.close()


@pytest.fixture
def plain(maker, server):
    return maker.store(server.unix_path)


class TestPromises(Promises):
    @pytest.fixture(params=OPTIONS)
    def store(self, request, maker, server):
        return maker.store(server.unix_path, **OPTIONS[request.param])


# ---- what redis has ----


def test_what_another_program_made_a_hash_is_absent_and_not_replaced(plain, server):
    server.call("HSET", "hash", "field", "value")
    plain.set_many([(b"text", b"p", 0)])
    assert plain.get_many([b"hash"]) == {}
    assert plain.get_many([b"hash", b"text"]) == {b"text": b"p"}
    assert plain.get_heads([b"hash", b"text"], 5) == {b"text": b"p"}
    assert plain.place_many([b"hash"], b"p", 1000) == set()
    assert plain.replace_many([(b"hash", b"1", 0), (b"text", b"2", 0)], b"p") == {b"text"}
    plain.set_many([(b"hash", b"mine", 0)])
    assert plain.get_many([b"hash"]) == {b"hash": b"mine"}


def test_milliseconds_are_the_servers(plain, server):
    plain.set_many([(b"a", b"p", 30_000), (b"b", b"p", 0)])
    plain.place_many([b"c"], b"p", 40_000)
    plain.replace_many([(b"b", b"2", 50_000), (b"c", b"2", 0)], b"p")
    assert 25_000 < server.call("PTTL", "a") <= 30_000
    assert 45_000 < server.call("PTTL", "b") <= 50_000
    assert server.call("PTTL", "c") == -1


def test_a_server_that_forgot_its_scripts_is_told_again(plain, server):
    plain.set_many([(name, b"p", 0) for name in names_of(30)])
    for value in (b"p1", b"p2"):
        server.call("SCRIPT", "FLUSH")
        assert plain.replace_many([(name, value, 0) for name in names_of(30)], b"p") == set(names_of(30))
    assert plain.get_many(names_of(30)) == dict.fromkeys(names_of(30), b"p2")


def test_a_call_takes_one_round_trip(maker, server):
    with Forwarder(str(server.unix_path)) as between:
        store = maker.store(between.address)
        store.ping()
        names = names_of(100)
        items = [(name, b"p" * 50, 60_000 + number) for number, name in enumerate(names)]
        store.replace_many([(b"warm", b"x", 0)], b"p")
        for method, *arguments in [
            (store.set_many, items), (store.get_many, names), (store.get_heads, names, 5), (store.replace_many, items, b"p"),
            (store.delete_many, names), (store.place_many, names, b"p", 1000), (store.ping,),
        ]:  # fmt: skip
            assert turns_of([between], method, *arguments) == [1], method
        server.call("SCRIPT", "FLUSH")
        assert turns_of([between], store.replace_many, items, b"p") == [2]


def test_the_clients_own_use_is_not_disturbed(maker, server):
    client = maker.client(server.unix_path, decode_responses=True)
    store = maker.store_on(client)
    store.set_many([(b"a", b"text", 0)])
    found = client.get("a")
    assert (maker.loop.run(found) if maker.kind == "asyncio" else found) == "text"
    assert store.get_many([b"a"]) == {b"a": b"text"}


def test_a_connection_is_given_back_after_each_call(maker, server):
    store = maker.store(server.unix_path, max_connections=1)
    for _ in range(3):
        store.set_many([(b"a", b"1", 0)])
        assert store.get_many([b"a"]) == {b"a": b"1"}


# ---- failures ----


@pytest.mark.parametrize("driver", ["redis", "valkey"])
def test_a_pool_without_another_connection_is_an_error(driver, server):
    client = CLASSES[driver, "sync"](unix_socket_path=str(server.unix_path), max_connections=1)
    store = store_of(client)
    with client.pubsub() as subscriber:
        subscriber.subscribe("channel")
        with pytest.raises(store.errors, match="[Cc]onnections"):
            store.get_many([b"a"])
    assert store.get_many([b"a"]) == {}
    client.close()


def test_a_server_that_restarts_is_found_again(maker, own_server):
    store = maker.store(own_server.unix_path)
    store.set_many([(b"a", b"p", 0)])
    own_server.restart()
    assert store.get_many([b"a"]) == {}
    assert store.place_many([b"a"], b"p", 60_000) == {b"a"}
    own_server.restart()
    store.set_many([(b"a", b"p", 0)])
    assert store.replace_many([(b"a", b"2", 0)], b"p") == {b"a"}


def calls_of(store):
    return [
        (store.get_many, [b"a", b"b"]), (store.get_heads, [b"a", b"b"], 2), (store.place_many, [b"a"], b"p", 1000),
        (store.replace_many, [(b"a", b"1", 0)], b"p"), (store.set_many, [(b"a", b"1", 0)]),
        (store.delete_many, [b"a"]), (store.ping,),
    ]  # fmt: skip


def test_a_server_that_stands_still_is_an_error_within_the_timeout(maker, own_server):
    store = maker.impatient(own_server.unix_path)
    store.ping()
    hold(own_server)
    for call in calls_of(store):
        raises_in_time(store, *call)
    own_server.go_on()
    store.set_many([(b"b", b"2", 0)])
    assert store.get_many([b"b"]) == {b"b": b"2"}


def test_a_command_is_not_tried_again_by_a_client_that_would(maker, own_server):
    store = maker.store(own_server.unix_path, socket_timeout=HOLD_SECONDS)
    store.ping()
    hold(own_server)
    assert raises_in_time(store, store.get_many, names_of(50)) < HOLD_SECONDS + 1
    own_server.go_on()


def test_an_answer_that_came_too_late_is_nobodys(maker, own_server):
    store = maker.impatient(own_server.unix_path)
    store.set_many([(b"a", b"1", 0), (b"b", b"2", 0)])
    hold(own_server)
    raises_in_time(store, store.get_many, [b"a"])
    own_server.go_on()
    for _ in range(5):
        assert store.get_many([b"b"]) == {b"b": b"2"}


def test_a_server_that_is_not_there_is_an_error(maker, folder):
    store = maker.impatient(folder / "nobody")
    for call in calls_of(store):
        raises_in_time(store, *call)


def test_a_server_without_memory_refuses_to_store(maker, own_server):
    store = maker.store(own_server.unix_path)
    store.set_many([(b"a", b"p", 0)])
    own_server.call("CONFIG", "SET", "maxmemory", "1")
    item = (b"a", b"1", 0)
    for call in [(store.set_many, [item]), (store.place_many, [b"b"], b"p", 1000), (store.replace_many, [item], b"p")]:
        raises_in_time(store, *call)
    assert store.get_many([b"a"]) == {b"a": b"p"}


def test_a_replica_refuses_to_store(maker, own_server):
    store = maker.store(own_server.unix_path)
    own_server.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(store.errors, match="read only"):
        store.set_many([(b"a", b"1", 0)])
    with pytest.raises(store.errors, match="read only"):
        store.place_many([b"a"], b"1", 1000)
    assert store.get_many([b"a"]) == {}


def test_a_user_who_may_not_is_an_error(maker, own_server):
    own_server.call("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+client", "+ping")
    store = maker.store(own_server.unix_path, username="reader", password="secret")
    assert store.get_many([b"a"]) == {}
    for call in [
        (store.get_many, [b"a", b"b"]), (store.get_heads, [b"a"], 3), (store.set_many, [(b"a", b"1", 0)]),
        (store.delete_many, [b"a"]),
    ]:  # fmt: skip
        raises_in_time(store, *call)
    assert "secret" not in store.describe


def test_a_child_has_connections_of_its_own(server):
    for driver in ("redis", "valkey"):
        store = store_of(CLASSES[driver, "sync"](unix_socket_path=str(server.unix_path)))
        store.set_many([(b"a", b"1", 0)])

        def child(store=store):
            for _ in range(50):
                assert store.get_many([b"a"]) == {b"a": b"1"}

        pid = fork_to_run(child)
        for _ in range(50):
            assert store.get_many([b"a"]) == {b"a": b"1"}
        wait_for(pid)


# ---- asyncio ----


async def cancelled_in_the_midst(store, server):
    for waits in (0, 1, 2, 3):
        hold(server)
        task = asyncio.ensure_future(store.get_many([b"a", b"b"]))
        for _ in range(waits):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.go_on()
        assert await store.get_many([b"b"]) == {b"b": b"2"}


@pytest.mark.parametrize("driver", ["redis", "valkey"])
def test_a_call_that_is_cancelled_leaves_no_answer_to_others(driver, loop, own_server):
    maker = Maker(driver, "asyncio", loop)
    store = store_of(maker.client(own_server.unix_path, max_connections=1))
    loop.run(store.set_many([(b"a", b"1", 0), (b"b", b"2", 0)]))
    loop.run(cancelled_in_the_midst(store, own_server))
    maker.close()


@pytest.mark.parametrize("driver", ["redis", "valkey"])
def test_another_loop_gets_the_drivers_error(driver, loop, own_server):
    maker = Maker(driver, "asyncio", loop)
    store = store_of(maker.client(own_server.unix_path))
    loop.run(store.ping())
    other = Loop()
    hold(own_server)  # so that there is something to wait for
    with pytest.raises(RuntimeError, match="different loop"):
        other.run(store.ping())
    own_server.go_on()
    other.close()
    maker.close()


# ---- other pools and kinds of clients ----


def test_the_clients_of_forebay_pools_will_do(server, arena, loop):
    place = {"path": str(server.unix_path), "max_connections": 2}
    pool = forebay.pools.redis.ConnectionPool(redis.UnixDomainSocketConnection, **place, arena=arena, host_max=2, name="store")
    store = store_of(redis.Redis(connection_pool=pool))
    calls = [Call(store.set_many, [(b"%d" % number, b"1", 0)]) for number in range(6)]
    for call in calls:
        call.result()
    assert len(store.get_many([b"%d" % number for number in range(6)])) == 6
    assert arena.limits()["store"]["held"] <= 2
    pool.close()
    pool = forebay.pools.redis_asyncio.ConnectionPool(redis.asyncio.UnixDomainSocketConnection, **place)
    store = Waiting(store_of(redis.asyncio.Redis(connection_pool=pool)), loop)
    assert len(store.get_many([b"%d" % number for number in range(6)])) == 6
    loop.run(pool.aclose() if hasattr(pool, "aclose") else pool.disconnect())


def test_a_blocking_pool_waits_for_a_connection(server):
    pool = redis.BlockingConnectionPool(1, 20, redis.UnixDomainSocketConnection, path=str(server.unix_path))
    store = store_of(redis.Redis(connection_pool=pool))
    calls = [Call(store.set_many, [(name, b"1", 0) for name in names_of(50)]) for _ in range(5)]
    for call in calls:
        call.result()
    pool.disconnect()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A master on a port, and a Sentinel that knows it by the name "mine"."""
    folder = tmp_path_factory.mktemp("sentinel")
    with servers.start_redis(folder, port=0) as master:
        configuration = folder / "sentinel.conf"
        configuration.write_text(f"sentinel monitor mine {master.address[0]} {master.address[1]} 1\n")

        def start(port):
            path = folder / "sentinel.sock"
            command = [find("redis-server"), str(configuration), "--sentinel", "--port", str(port), "--unixsocket", str(path)]
            return RedisServer(command, folder, socket_path=path, port=port)

        with on_free_ports(1, start) as sentinel:
            yield master, sentinel


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
@pytest.mark.parametrize("driver", ["redis", "valkey"])
def test_a_client_of_sentinel_finds_the_master(driver, kind, watched, loop):
    _, sentinel = watched
    module = sys.modules[driver] if kind == "sync" else sys.modules[f"{driver}.asyncio"]
    sentinels = module.Sentinel([sentinel.address], socket_timeout=5)
    client = sentinels.master_for("mine", socket_timeout=5)
    found = store_of(client)
    store = found if kind == "sync" else Waiting(found, loop)
    store.set_many([(name, value, 0) for name, value in VALUES.items()])
    assert store.get_many(list(VALUES)) == VALUES
    assert store.describe == f"{driver}+sentinel://mine/0"
    assert store.timeout == 5
    for each in (client, *sentinels.sentinels):
        close(each, kind, loop)


# ---- what a client is told by, and which are refused ----


@pytest.mark.parametrize(("driver", "kind"), KINDS)
def test_what_a_store_says_of_itself(driver, kind):
    kinds = CLASSES[driver, kind]
    store = store_of(kinds(host="example.org", port=7000, db=3, username="me", password="secret", socket_timeout=0.25))
    assert store.describe == f"{driver}://example.org:7000/3"
    assert store.timeout == 0.25
    assert store.retries >= 0
    assert store_of(kinds(host="x", ssl=True)).describe == f"{driver}s://x:6379/0"
    assert store_of(kinds(host="::1")).describe == f"{driver}://[::1]:6379/0"
    assert store_of(kinds(unix_socket_path="/run/redis.sock", db=1)).describe == "unix:///run/redis.sock?db=1"
    assert store_of(kinds(socket_timeout=1, socket_connect_timeout=3)).connect_timeout == 3
    assert store_of(kinds(socket_timeout=None)).timeout is None
    assert store_of(kinds(retry=retry_never(driver, kind))).retries == 0
    assert store.item_max == 512 * 1024 * 1024
    assert "secret" not in repr(store)


@pytest.mark.parametrize(("driver", "kind"), KINDS)
def test_clients_that_cannot_keep_the_promises_are_refused(driver, kind):
    client_class = CLASSES[driver, kind]
    client = client_class(host="localhost")
    with pytest.raises(TypeError, match="the client itself"):
        store_of(client.pipeline())
    with pytest.raises(TypeError, match="the client itself"):
        store_of(client.pubsub())
    single = client_class(host="localhost", single_connection_client=kind == "asyncio")
    if kind == "sync":
        single.connection = object()  # single_connection_client=True would connect at once
    with pytest.raises(ValueError, match="single connection"):
        store_of(single)
    single.connection = None
    sentinel = (sys.modules[driver] if kind == "sync" else sys.modules[f"{driver}.asyncio"]).Sentinel([("localhost", 1)])
    with pytest.raises(ValueError, match=r"master_for\(\), not slave_for"):
        store_of(sentinel.slave_for("mine"))


def test_what_is_no_client_is_refused():
    for thing in (object(), None, "redis://localhost"):
        with pytest.raises(TypeError, match="a tier takes a client of redis, valkey, pymemcache, pylibmc, not"):
            store_of(thing)
    with pytest.raises(TypeError, match="connection pool"):
        store_of(redis.ConnectionPool())


def test_no_driver_is_imported_by_the_module_of_stores():
    program = (
        "import forebay.tiers._store, sys;"
        "assert not {'redis', 'valkey', 'pymemcache', 'pylibmc', 'asyncio'} & set(sys.modules)"
    )
    wait_for(os.spawnl(os.P_NOWAIT, sys.executable, sys.executable, "-c", program))


def test_the_script_is_the_one_of_its_digest():
    import hashlib

    from forebay.tiers import _redis_commands

    assert hashlib.sha1(_redis_commands.SCRIPT).hexdigest().encode() == _redis_commands.SCRIPT_DIGEST


def test_groups_are_of_one_slot_and_not_too_large():
    from forebay.tiers._redis_commands import by_slot, chunks
    from redis.crc import key_slot

    names = [b"{tag}%d" % number for number in range(1500)] + names_of(100)
    groups = by_slot(names, key_slot)
    assert sorted(itertools.chain(*groups)) == sorted(names)
    assert all(len(set(map(key_slot, group))) == 1 and len(group) <= 1000 for group in groups)
    assert [len(group) for group in chunks(names_of(2100))] == [1000, 1000, 100]


def test_commands_are_sent_as_the_driver_packs_them():
    from forebay.tiers._redis_commands import SEND_MOST, Command, deletes, heads, packed, reads, replaces, sets

    names = names_of(3)
    commands = [*reads([names, names[:1]]), *heads(names, 12), *deletes([names]), *replaces([(names[0], b"\r\n" * 50000, 7)], b"FB")]
    commands += sets([(name, bytes(SEND_MOST // 2), 5) for name in names_of(10)], b"NX")
    commands.append(Command((b"GET", names[0]), names[:1], ask=("127.0.0.1", 1)))
    words = [command.words for command in commands]
    sent = packed(commands)
    assert b"".join(sent) == b"".join(redis.Connection().pack_commands([*words[:-1], (b"ASKING",), words[-1]]))
    assert max(map(len, sent)) < 3 * SEND_MOST and packed([]) == []
