# SPDX-License-Identifier: Apache-2.0
"""Stores on the clients of pymemcache and pylibmc, on real servers."""

import gc
import os
import sys
import threading

import pymemcache
import pymemcache.exceptions
import pymemcache.serde
import pytest
from pymemcache.client.retrying import RetryingClient

import forebay.pools.pymemcache
from forebay.testing import servers
from forebay.tiers import _memcached_store
from forebay.tiers._store import store_of
from forking import fork_to_run, wait_for
from forwarder import Forwarder, turns_of
from pooled import Call
from store_calls import HOLD_SECONDS, Promises, hold, names_of, raises_in_time

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

try:
    import pylibmc
except ImportError:  # it is built from its source, with libmemcached
    pylibmc = None

needs_pylibmc = pytest.mark.skipif(pylibmc is None, reason="pylibmc is not installed")
PATIENT = {"timeout": 20, "connect_timeout": 20}
BEHAVIORS = {"_poll_timeout": 20_000, "connect_timeout": 20_000}


def one(where):
    return [where] if not isinstance(where, list) else where


# Each makes a client of one server, or of a list of them.
PYMEMCACHE = {
    "client": lambda where, **options: pymemcache.Client(where, **PATIENT | options),
    "pooled": lambda where, **options: pymemcache.PooledClient(where, **PATIENT | options),
    "hash": lambda where, **options: pymemcache.HashClient(one(where), **PATIENT | options),
    "hash-pooled": lambda where, **options: pymemcache.HashClient(one(where), use_pooling=True, **PATIENT | options),
    "retrying": lambda where, **options: RetryingClient(pymemcache.PooledClient(where, **PATIENT | options), attempts=2),
    "forebay": lambda where, **options: forebay.pools.pymemcache.PooledClient(where, max_pool_size=4, **PATIENT | options),
    "forebay-hash": lambda where, **options: forebay.pools.pymemcache.HashClient(
        one(where), max_pool_size=4, **PATIENT | options
    ),
    "pickle": lambda where, **options: pymemcache.PooledClient(where, serde=pymemcache.serde.pickle_serde, **PATIENT | options),
    "prefixed": lambda where, **options: pymemcache.PooledClient(where, key_prefix=b"of-the-client:", **PATIENT | options),
}  # fmt: skip


def libmc(where, **behaviors):
    addresses = [f"{place[0]}:{place[1]}" if isinstance(place, tuple) else place for place in one(where)]
    return pylibmc.Client(addresses, binary=behaviors.pop("binary", False), behaviors=BEHAVIORS | behaviors)


PYLIBMC = {
    "libmc": libmc,
    "libmc-binary": lambda where: libmc(where, binary=True, tcp_nodelay=True, cas=True),
    "libmc-pool": lambda where: pylibmc.ClientPool(libmc(where), 2),
    "libmc-threads": lambda where: pylibmc.ThreadMappedPool(libmc(where)),
}  # fmt: skip
CLIENTS = PYMEMCACHE | PYLIBMC
MANY = ["hash", "hash-pooled", "forebay-hash", "libmc", "libmc-binary"]
EACH = [pytest.param(name, marks=needs_pylibmc if name in PYLIBMC else ()) for name in CLIENTS]


def close(client):
    if hasattr(client, "close"):
        client.close()
    elif hasattr(client, "relinquish"):
        client.relinquish()


@pytest.fixture
def make():
    """A client, closed at the end."""
    made = []

    def make(name, where, **options):
        made.append(CLIENTS[name](where, **options))
        return made[-1]

    yield make
    for client in made:
        close(client)
    gc.collect()


def flush(server):
    client = pymemcache.Client(server.address if server.port else str(server.socket_path))
    client.flush_all(noreply=False)
    client.close()


@pytest.fixture
def server(memcached_server):
    yield memcached_server
    flush(memcached_server)


@pytest.fixture
def own_server(server_folder, request):
    folder = server_folder / f"own-{abs(hash(request.node.name))}"
    folder.mkdir()
    with servers.start_memcached(folder) as server:
        yield server


@pytest.fixture(scope="module")
def several(server_folder):
    """Three servers on ports."""
    folder = server_folder / "several"
    folder.mkdir()
    with servers.start_memcacheds(folder) as found:
        yield found


@pytest.fixture
def three(several):
    yield several
    for server in several:
        if not server.running:
            server.start()
        flush(server)


class TestPromises(Promises):
    @pytest.fixture(params=EACH)
    def store(self, request, make, server):
        return store_of(make(request.param, str(server.socket_path)))


class TestPromisesOfSeveralServers(Promises):
    @pytest.fixture(params=[pytest.param(name, marks=needs_pylibmc if name in PYLIBMC else ()) for name in MANY])
    def store(self, request, make, three):
        return store_of(make(request.param, [server.address for server in three]))


# ---- round trips ----


def test_how_many_round_trips_pymemcaches_clients_take(make, server):
    with Forwarder(str(server.socket_path)) as between:
        names = names_of(50)
        items = [(name, b"p", 60_000 - number) for number, name in enumerate(names)]
        for kind in ("client", "pooled", "hash-pooled"):
            store = store_of(make(kind, between.address))
            store.ping()
            deletes = 50 if kind == "hash-pooled" else 1
            for turns, method, *arguments in [
                (1, store.set_many, items), (1, store.get_many, names), (1, store.get_heads, names, 2),
                (51, store.replace_many, items, b"p"), (deletes, store.delete_many, names),
                (50, store.place_many, names, b"p", 1000), (1, store.replace_many, items, b"q"), (1, store.ping),
            ]:  # fmt: skip
                assert turns_of([between], method, *arguments) == [turns], (kind, method)
            two = [(b"a", b"1", 1000), (b"b", b"2", 1001)]
            assert turns_of([between], store.set_many, two) == [2]  # seconds after which they expire
            store.delete_many(names)


@needs_pylibmc
def test_how_many_round_trips_pylibmcs_clients_take(make, server):
    with Forwarder(str(server.socket_path)) as between:
        store = store_of(make("libmc", between.address))
        store.ping()
        names = names_of(50)
        items = [(name, b"p", 60_000) for name in names]
        for turns, method, *arguments in [
            (50, store.set_many, items), (1, store.get_many, names), (2, store.get_many, [*names, b"absent"]),
            (100, store.replace_many, items, b"p"), (50, store.delete_many, names), (50, store.place_many, names, b"p", 1000),
        ]:  # fmt: skip
            assert turns_of([between], method, *arguments) == [turns], method


def test_of_several_servers_each_is_asked_once(make, three):
    forwarders = [Forwarder(server.address, tcp=True) for server in three]
    store = store_of(make("hash-pooled", [forwarder.address for forwarder in forwarders]))
    names = names_of(300)
    store.ping()
    assert turns_of(forwarders, store.set_many, [(name, b"1", 60_000) for name in names]) == [1, 1, 1]
    assert turns_of(forwarders, store.get_many, names) == [1, 1, 1]
    for forwarder in forwarders:
        forwarder.close()


# ---- what memcached is like ----


@pytest.mark.parametrize("name", EACH)
def test_values_that_are_too_large_are_an_error(make, name, server):
    store = store_of(make(name, str(server.socket_path)))
    with pytest.raises(store.errors):
        store.set_many([(b"a", b"x" * (1024 * 1024), 0)])
    store.set_many([(b"b", b"1", 0)])
    assert store.get_many([b"a", b"b"]) == {b"b": b"1"}


def test_the_server_is_asked_how_large_values_may_be(make, server_folder, folder):
    own = server_folder / "large"
    own.mkdir()
    with servers.start_memcached(own, "-I", "2m") as server:
        client = make("pooled", str(server.socket_path))
        server.stop()
        store = store_of(client)
        assert store.item_max == 1024 * 1024 - 512  # nobody answers; asked again
        server.start()
        assert store.item_max == 2 * 1024 * 1024 - 512
        store.set_many([(b"n" * 250, b"x" * store.item_max, 0)])
        assert len(store.get_many([b"n" * 250])[b"n" * 250]) == store.item_max


def test_milliseconds_become_seconds_and_long_ones_a_time(monkeypatch):
    monkeypatch.setattr(_memcached_store.time, "time", lambda: 1_800_000_000.9)
    month = 30 * 24 * 3600
    expire = _memcached_store.expire_of
    assert [expire(0), expire(1), expire(1000), expire(1001), expire(month * 1000)] == [0, 1, 1, 2, month]
    assert expire(month * 1000 + 1) == 1_800_000_000 + month + 1


def test_names_have_the_clients_prefix(make, server):
    store = store_of(make("prefixed", str(server.socket_path)))
    assert store.name_max == 250 - len(b"of-the-client:")
    store.set_many([(b"a", b"1", 0)])
    assert store.place_many([b"b"], b"p", 0) == {b"b"}
    assert store.replace_many([(b"b", b"2", 0)], b"p") == {b"b"}
    assert store_of(make("client", str(server.socket_path))).get_many([b"of-the-client:a", b"of-the-client:b", b"a"]) == {
        b"of-the-client:a": b"1", b"of-the-client:b": b"2",
    }  # fmt: skip


# ---- failures ----


def impatient(make, name, where):
    options = {"_poll_timeout": int(HOLD_SECONDS * 1000), "connect_timeout": int(HOLD_SECONDS * 1000)} if name in PYLIBMC else {
        "timeout": HOLD_SECONDS, "connect_timeout": HOLD_SECONDS,
    }  # fmt: skip
    return store_of(make(name, where, **options))


@pytest.mark.parametrize("name", ["client", "pooled", "retrying", "forebay"])
def test_a_server_that_stands_still_is_an_error_within_the_timeout(make, name, own_server):
    store = impatient(make, name, str(own_server.socket_path))
    store.set_many([(b"a", b"p", 0)])
    hold(own_server)
    for call in [
        (store.get_many, [b"a"]), (store.get_heads, [b"a"], 2), (store.place_many, [b"c"], b"p", 1000),
        (store.replace_many, [(b"a", b"1", 0)], b"p"), (store.set_many, [(b"c", b"1", 0)]),
        (store.delete_many, [b"c"]), (store.ping,),
    ]:  # fmt: skip
        raises_in_time(store, *call, seconds=HOLD_SECONDS * (1 + store.retries))
    own_server.go_on()
    store.set_many([(b"b", b"2", 0)])
    assert store.get_many([b"b"]) == {b"b": b"2"}


@needs_pylibmc
@pytest.mark.parametrize("method", ["get_many", "place_many", "set_many", "delete_many", "ping"])
def test_to_pylibmc_a_server_that_stands_still_is_an_error_within_the_timeout(make, method, own_server):
    store = impatient(make, "libmc", str(own_server.socket_path))
    store.set_many([(b"a", b"p", 0)])
    hold(own_server)
    arguments = {"place_many": [[b"c"], b"p", 1000], "set_many": [[(b"a", b"1", 0)]], "ping": []}.get(method, [[b"a"]])
    raises_in_time(store, getattr(store, method), *arguments)
    raises_in_time(store, store.replace_many, [(b"a", b"1", 0)], b"p")
    own_server.go_on()


@pytest.mark.parametrize("name", EACH)
def test_a_server_that_is_not_there_is_an_error(make, name, own_server):
    store = store_of(make(name, str(own_server.socket_path)))
    own_server.stop()
    with pytest.raises(store.errors):
        store.ping()
    with pytest.raises(store.errors):
        store.set_many([(b"a", b"1", 0)])
    own_server.start()


@pytest.mark.parametrize("name", [name for name in PYMEMCACHE if "hash" not in name])
def test_a_server_that_restarts_is_found_again(make, name, own_server):
    store = store_of(make(name, str(own_server.socket_path)))
    store.set_many([(b"a", b"p", 0)])
    own_server.restart()
    try:  # pymemcache does not look whether a connection has ended
        assert store.get_many([b"a"]) == {}
    except store.errors:
        assert store.get_many([b"a"]) == {}
    assert store.place_many([b"a"], b"p", 0) == {b"a"}


def test_a_hash_client_does_not_ask_a_server_that_failed_and_says_so_where_it_writes(make, three):
    client = make("hash", [server.address for server in three], retry_timeout=60)
    store = store_of(client)
    names = names_of(60)
    items = [(name, b"1", 0) for name in names]
    store.set_many(items)
    three[0].stop()
    for _ in range(2):  # the end of the connection, and that there is no other
        raises_in_time(store, store.get_many, names)
    rest = store.get_many(names)
    assert 0 < len(rest) < 60
    raises_in_time(store, store.set_many, items)
    raises_in_time(store, store.ping)


def test_a_hash_client_that_ignores_errors_finds_nothing_and_still_fails_to_set(make, own_server):
    store = store_of(make("hash", str(own_server.socket_path), ignore_exc=True))
    store.set_many([(b"a", b"1", 0)])
    own_server.stop()
    assert store.get_many([b"a"]) == {}
    with pytest.raises(pymemcache.exceptions.MemcacheServerError, match="did not store 1 of 1 values"):
        store.set_many([(b"a", b"1", 0)])
    own_server.start()


def test_a_pool_that_has_no_more_clients_is_an_error_of_the_store(make, server):
    client = make("pooled", str(server.socket_path), max_pool_size=1)
    store = store_of(client)
    with client.client_pool.get_and_release():
        with pytest.raises(store.errors, match="Too many"):
            store.get_many([b"a"])


# ---- forks ----


@pytest.mark.parametrize("name", EACH)
def test_a_child_has_connections_of_its_own(make, name, server):
    if name in ("libmc-pool", "libmc-threads"):
        pytest.skip("pools of pylibmc share their connections with children, as they always do")
    store = store_of(make(name, str(server.socket_path)))
    names = names_of(30)
    store.set_many([(item, item, 0) for item in names])
    other = Call(store.get_many, names)  # a thread that is gone in the child
    other.result()

    def child():
        for _ in range(50):
            assert store.get_many(names) == {item: item for item in names}

    pid = fork_to_run(child)
    for _ in range(50):
        assert store.get_many(names) == {item: item for item in names}
    wait_for(pid)
    assert store.get_many(names) == {item: item for item in names}


def test_a_lock_that_is_held_at_the_fork_does_not_stop_the_child(make, server):
    store = store_of(make("client", str(server.socket_path)))
    held, over = threading.Event(), threading.Event()

    def hold():
        with store._lock:
            held.set()
            over.wait(30)

    holder = Call(hold)
    assert held.wait(30)
    wait_for(fork_to_run(lambda: store.set_many([(b"a", b"1", 0)])))
    over.set()
    holder.result()
    assert store.get_many([b"a"]) == {b"a": b"1"}


@needs_pylibmc
def test_each_thread_has_a_clone_which_ends_with_it(make, own_server):
    store = store_of(make("libmc", str(own_server.socket_path)))
    outside = pymemcache.Client(str(own_server.socket_path))

    def connections():
        return outside.stats()[b"curr_connections"]

    store.ping()
    before = connections()
    for _ in range(5):
        Call(store.get_many, [b"a"]).result()
    gc.collect()
    assert connections() == before
    outside.close()


# ---- what a store says of itself, and which clients are refused ----


def test_what_a_store_says_of_itself():
    store = store_of(pymemcache.Client(("localhost", 11211), timeout=0.5, connect_timeout=2))
    assert (store.describe, store.timeout, store.connect_timeout, store.retries) == ("memcached://localhost:11211", 0.5, 2, 0)
    assert store.asynchronous is False
    store = store_of(RetryingClient(pymemcache.HashClient(["/run/memcached.sock", ("::1", 1)]), attempts=3))
    assert (store.describe, store.timeout, store.retries) == ("memcached:///run/memcached.sock,[::1]:1", None, 2)


@needs_pylibmc
def test_what_a_store_on_pylibmc_says_of_itself():
    store = store_of(pylibmc.Client(["127.0.0.1:1", "127.0.0.1:2"], behaviors={"_poll_timeout": 250}))
    assert store.describe == "memcached://127.0.0.1:1,127.0.0.1:2"
    assert (store.timeout, store.connect_timeout) == (0.25, 4)
    assert store_of(pylibmc.Client(["/run/memcached.sock"], behaviors={"_poll_timeout": -1})).timeout is None
    assert store.asynchronous is False


def test_a_clients_behaviors_are_left_as_they_are(make, server):
    if pylibmc is None:
        pytest.skip("pylibmc is not installed")
    client = make("libmc", str(server.socket_path))
    before = dict(client.behaviors)
    store = store_of(client)
    store.set_many([(b"a", b"p", 0)])
    store.replace_many([(b"a", b"1", 0)], b"p")
    assert dict(client.behaviors) == before
    pool = pylibmc.ClientPool(client, 1)
    store_of(pool).replace_many([(b"a", b"1", 0)], b"p")
    with pool.reserve() as one_of_it:
        assert dict(one_of_it.behaviors) == before


class Reversing:
    def serialize(self, key, value):
        return value[::-1], 0

    def deserialize(self, key, value, flags):
        return value[::-1]


@pytest.mark.parametrize("kind", ["client", "pooled", "hash"])
@pytest.mark.parametrize(
    "options",
    [
        {"serde": pymemcache.serde.compressed_serde}, {"serde": Reversing()},
        {"serializer": lambda key, value: (value + b"!", 0)},
        {"deserializer": lambda key, value, flags: value.decode("latin-1")},
    ],
    ids=["compressed", "reversed", "serializer", "deserializer"],
)  # fmt: skip
def test_a_client_that_changes_bytes_is_refused(make, kind, options):
    with pytest.raises(ValueError, match="stores bytes as they are"):
        store_of(make(kind, "/nowhere", **options))


@needs_pylibmc
def test_a_client_of_pylibmc_that_changes_bytes_is_refused():
    class Reversing(pylibmc.Client):
        def serialize(self, value):
            return value[::-1], 0

    with pytest.raises(ValueError, match=r"Reversing.serialize\(\) changes them"):
        store_of(Reversing(["/nowhere"], behaviors={}))


def test_what_is_no_client_is_refused():
    with pytest.raises(TypeError, match="pymemcache's Client, PooledClient, HashClient or RetryingClient, not"):
        store_of(pymemcache.serde.pickle_serde)


def test_no_other_driver_is_imported():
    program = (
        "import pymemcache, sys; from forebay.tiers._store import store_of; store_of(pymemcache.Client('/x'));"
        "assert not {'redis', 'valkey', 'pylibmc', 'asyncio'} & set(sys.modules)"
    )
    wait_for(os.spawnl(os.P_NOWAIT, sys.executable, sys.executable, "-c", program))
