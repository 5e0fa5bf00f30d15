# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.redis and .valkey on a real server: as the drivers' own pools, but with a queue and the machine's limit."""

import gc
import os
import signal
import socket
import threading
import weakref

import pytest
import redis
import valkey

import forebay
import forebay.pools.redis
import forebay.pools.valkey
from backends import Watch, keeps, stopped, storm
from forebay.testing import servers
from forking import fork_to_run, wait_for
from pooled import Call, until

pytestmark = pytest.mark.long

DRIVERS = {"redis": (redis, forebay.pools.redis, redis.Redis), "valkey": (valkey, forebay.pools.valkey, valkey.Valkey)}


@pytest.fixture(params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture
def module(driver):
    """The driver's."""
    return DRIVERS[driver][0]


@pytest.fixture
def pools(driver):
    return DRIVERS[driver][1]


@pytest.fixture
def client_of(driver):
    return lambda pool: DRIVERS[driver][2](connection_pool=pool)


@pytest.fixture
def make(pools, module, redis_server):
    """A pool on the server; closed at the end."""
    made = []

    def make(**options):
        connection_class = module.connection.UnixDomainSocketConnection
        made.append(pools.ConnectionPool(connection_class, path=str(redis_server.socket_path), client_name="tested", **options))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def clients(redis_server):
    """How many connections of the pools the server counts."""
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as outside:
        yield lambda: sum(client["name"] == "tested" for client in outside.client_list())
        outside.flushdb()


def test_commands_go_through_the_pool(make, client_of, clients):
    pool = make(max_connections=2)
    client = client_of(pool)
    assert client.set("k", "v")
    assert client.get("k") == b"v"
    with client.pipeline() as pipeline:
        pipeline.incr("n")
        pipeline.incr("n")
        assert pipeline.execute() == [1, 2]
    assert clients() == 1
    assert pool.stats["connections_num"] == 1


def test_a_subscriber_keeps_a_connection_and_gives_it_back(make, client_of):
    pool = make(max_connections=2)
    client = client_of(pool)
    with client.pubsub() as subscriber:
        subscriber.subscribe("channel")
        assert subscriber.get_message(timeout=5)["type"] == "subscribe"
        client.publish("channel", "hello")
        assert subscriber.get_message(timeout=5)["data"] == b"hello"
        assert len(pool._in_use_connections) == 1
    assert client.ping()
    assert not pool._in_use_connections


def test_from_url_gives_the_pool_and_its_connections_their_arguments(pools, client_of, redis_server):
    url = f"unix://{redis_server.socket_path}?db=3"
    pool = pools.ConnectionPool.from_url(url, max_connections=3, timeout=1, decode_responses=True, name="by url")
    client = client_of(pool)
    client.set("k", "v")
    assert client.get("k") == "v"
    assert client.client_info()["db"] == 3
    assert (pool._objects.max_size, pool._objects.name, pool.max_connections) == (3, "by url", 3)
    client.flushdb()
    pool.close()


def test_a_command_waits_for_a_connection(make, client_of):
    pool = make(max_connections=1)
    client = client_of(pool)
    connection = pool.get_connection("PING")
    waiting = Call(client.ping)
    until(lambda: pool.stats["requests_waiting"] == 1)
    pool.release(connection)
    assert waiting.result() is True


def test_who_waits_too_long_gets_the_drivers_error(make, client_of, module):
    pool = make(max_connections=1, timeout=0.05)
    connection = pool.get_connection("PING")
    with pytest.raises(module.exceptions.MaxConnectionsError, match="1 of at most 1 are out") as raised:
        client_of(pool).ping()
    assert isinstance(raised.value, module.exceptions.ConnectionError)
    assert isinstance(raised.value, forebay.PoolTimeoutError)
    pool.release(connection)
    assert client_of(pool).ping()


def test_too_many_who_wait_are_refused(make, module):
    pool = make(max_connections=1, max_waiting=1)
    connection = pool.get_connection("PING")
    waiting = Call(pool.get_connection, "PING")
    until(lambda: pool.stats["requests_waiting"] == 1)
    with pytest.raises(module.exceptions.ConnectionError, match="max_waiting"):
        pool.get_connection("PING")
    pool.release(connection)
    pool.release(waiting.result())


def test_the_blocking_pools_arguments_are_the_drivers(pools, module, client_of, redis_server):
    connection_class = module.connection.UnixDomainSocketConnection
    pool = pools.BlockingConnectionPool(7, 3, connection_class, path=str(redis_server.socket_path))
    assert (pool.max_connections, pool.timeout) == (7, 3)
    assert client_of(pool).ping()
    for_ever = pools.BlockingConnectionPool(timeout=None)
    assert (for_ever.max_connections, for_ever._objects._timeout) == (50, float("inf"))
    pool.close()


def test_a_misspelt_argument_is_named(pools):
    with pytest.raises(TypeError, match="max_conections"):
        pools.ConnectionPool(max_conections=5)


@pytest.mark.parametrize("number", [-1, "8"])
def test_a_wrong_number_of_connections_is_refused(pools, number):
    with pytest.raises((TypeError, ValueError), match="max_size|max_connections"):
        pools.ConnectionPool(max_connections=number)


def test_what_the_server_ended_is_connected_again(make, client_of, clients, redis_server):
    pool = make(max_connections=1)
    client = client_of(pool)
    assert client.ping()
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as outside:
        outside.client_kill_filter(_type="normal", skipme=True)
    assert client.ping()
    assert clients() == 1


def test_an_answer_that_nobody_read_is_not_the_next_commands(make, client_of):
    pool = make(max_connections=1)
    client = client_of(pool)
    client.set("k", "v")
    connection = pool.get_connection("GET")
    connection.send_command("ECHO", "not this")
    pool.release(connection)
    until(lambda: pool._available_connections[0].can_read())
    assert client.get("k") == b"v"


def test_a_server_that_restarts_is_found_again(pools, module, client_of, server_folder):
    folder = server_folder / f"restarted-{module.__name__}"
    folder.mkdir()
    with servers.start_redis(folder) as server:
        connection_class = module.connection.UnixDomainSocketConnection
        pool = pools.ConnectionPool(connection_class, max_connections=2, path=str(server.socket_path))
        client = client_of(pool)
        assert client.ping()
        server.stop()
        with pytest.raises(module.exceptions.ConnectionError):
            client.ping()
        assert not pool._in_use_connections
        server.start()
        assert client.ping()
        pool.close()


def test_a_server_that_is_not_there_is_an_error_at_once(pools, module, client_of, folder):
    connection_class = module.connection.UnixDomainSocketConnection
    pool = pools.ConnectionPool(connection_class, max_connections=1, path=str(folder / "nobody"))
    for _ in range(3):
        with pytest.raises(module.exceptions.ConnectionError, match="No such file"):
            client_of(pool).ping()
    assert not pool._in_use_connections


def test_disconnect_ends_what_is_idle_and_what_is_in_use(make, client_of, clients):
    pool = make(max_connections=3)
    in_use, idle = pool.get_connection("PING"), pool.get_connection("PING")
    pool.release(idle)
    pool.disconnect(inuse_connections=False)
    until(lambda: clients() == 1)
    assert in_use in pool._in_use_connections
    pool.disconnect()
    until(lambda: clients() == 0)
    pool.release(in_use)
    assert client_of(pool).ping()


def test_nobody_gets_a_connection_that_is_being_disconnected(make):
    pool = make(max_connections=2)
    pool.release(pool.get_connection("PING"))
    with pool._get_pool_lock():
        (idle,) = pool._get_free_connections()
        with pool._get_pool_lock():
            assert pool._get_free_connections() == [idle]
        other = Call(pool.get_connection, "PING").result()
        assert other is not idle
    pool.release(other)
    assert {idle, other} == set(pool._get_free_connections())


def test_close_gives_all_back_and_the_pool_goes_on(make, client_of, clients):
    pool = make(max_connections=2)
    client = client_of(pool)
    client.ping()
    pool.close()
    until(lambda: clients() == 0)
    assert client.ping()


def test_what_is_not_of_the_pool_is_left_alone(make, module):
    pool, other = make(max_connections=1), make(max_connections=1)
    connection = other.get_connection("PING")
    pool.release(connection)
    assert pool.stats["pool_size"] == 0
    connection.send_command("PING")
    assert connection.read_response() in (b"PONG", "PONG")
    other.release(connection)
    other.release(connection)
    assert other.stats["pool_available"] == 1


def test_a_retry_for_all_reaches_all(make, module):
    pool = make(max_connections=2)
    idle, in_use = pool.get_connection("PING"), pool.get_connection("PING")
    pool.release(idle)
    retry = module.retry.Retry(module.backoff.NoBackoff(), 2)
    pool.set_retry(retry)
    assert idle.retry is retry and in_use.retry is retry
    pool.release(in_use)


def test_a_pool_that_is_dropped_ends(make, pools, module, redis_server, clients):
    connection_class = module.connection.UnixDomainSocketConnection
    pool = pools.ConnectionPool(connection_class, path=str(redis_server.socket_path), client_name="tested")
    pool.release(pool.get_connection("PING"))
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    until(lambda: clients() == 0)


def test_a_child_has_connections_of_its_own(make, client_of):
    pool = make(max_connections=2)
    client = client_of(pool)
    mine = client.client_id()
    out = pool.get_connection("PING")

    def child():
        assert client.client_id() != mine
        pool.release(out)
        assert client.ping()
        pool.disconnect()
        assert client.ping()

    wait_for(fork_to_run(child))
    pool.release(out)
    assert client.client_id() in (mine, mine + 1)
    assert client.ping()


def test_a_lock_held_at_the_fork_does_not_stop_the_child(make, client_of):
    pool = make(max_connections=2)
    client = client_of(pool)
    client.ping()
    held, over = threading.Event(), threading.Event()

    def hold():
        with pool._get_pool_lock():
            held.set()
            over.wait(30)

    holder = Call(hold)
    assert held.wait(30)

    def child():
        with pool._get_pool_lock():
            pass
        assert client.ping()

    wait_for(fork_to_run(child))
    over.set()
    holder.result()
    assert client.ping()


def test_the_server_never_counts_more_than_host_max(make, client_of, clients, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        client = client_of(make(max_connections=3, timeout=60, arena=arena, host_max=4, name="storm"))

        def use():
            while goes_on():
                client.incr("n")

        for call in [Call(use) for _ in range(3)]:
            call.result(60)

    with Watch(clients) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 20
    assert 2 <= watch.most <= 4


def test_a_permit_is_given_back_when_the_server_has_hung_up(make, redis_server, arena, patient):
    pool = make(max_connections=1, arena=arena, host_max=1, name="shop")
    pool.release(pool.get_connection("PING"))
    with stopped(redis_server.process.pid):
        closed = Call(pool.close)
        assert keeps(lambda: arena.limits()["shop"]["held"] == 1)
    closed.result()
    until(lambda: arena.limits()["shop"]["held"] == 0)


def test_the_connections_of_a_killed_holder_are_there_for_others(make, path, arena):
    read, write = os.pipe()

    def hold():
        pool = make(max_connections=2, arena=forebay.open(path), host_max=2, name="killed")
        taken = [pool.get_connection("PING") for _ in range(2)]
        os.write(write, b"x")
        signal.pause()
        del taken

    pid = fork_to_run(hold)
    assert os.read(read, 1) == b"x"
    pool = make(max_connections=2, arena=arena, host_max=2, name="killed")
    os.kill(pid, signal.SIGKILL)
    wait_for(pid, -signal.SIGKILL)
    for connection in [pool.get_connection("PING") for _ in range(2)]:
        pool.release(connection)
    os.close(read)
    os.close(write)


# ---- what redis-py has and valkey-py has not ----


class Token:
    def try_get(self, key):
        return {"oid": "default"}[key]

    def get_value(self):
        return "secret"


def test_other_credentials_reach_idle_connections_and_those_in_use():
    pool = forebay.pools.redis.ConnectionPool()

    class Connection:
        def __init__(self):
            self.sent = []
            self.retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
            self.token = None

        def send_command(self, *words):
            self.sent.append(words)

        def read_response(self):
            return b"OK"

        def connect(self):
            pass

        def disconnect(self):
            pass

        def can_read(self):
            return False

        def should_reconnect(self):
            return False

        def re_auth(self):
            pass

        def set_re_auth_token(self, token):
            self.token = token

    pool.make_connection = Connection
    idle, in_use = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    token = Token()
    pool.re_auth_callback(token)
    assert idle.sent == [("AUTH", "default", "secret")]
    assert (idle.token, in_use.token, in_use.sent) == (None, token, [])
    pool.release(in_use)


def test_a_connection_that_is_to_reconnect_does_so(make):
    if not hasattr(redis.Connection, "mark_for_reconnect"):
        pytest.skip("not in this redis-py")
    pool = forebay.pools.redis.ConnectionPool(redis.UnixDomainSocketConnection, **make().connection_kwargs)
    connection = pool.get_connection()
    connection.mark_for_reconnect()
    pool.release(connection)
    assert connection._sock is None
    assert pool.get_connection() is connection and connection._sock is not None
    pool.release(connection)
    pool.close()


def test_client_side_caching_works(server_folder, monkeypatch):
    """redis-py caches for connections by TCP only, and wants a newer server than it needs here."""
    monkeypatch.setattr(redis.connection.CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")
    folder = server_folder / "tcp"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with servers.start_redis(folder, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "secret"):
        where = {"host": "127.0.0.1", "port": port, "password": "secret"}
        pool = forebay.pools.redis.ConnectionPool(**where, protocol=3, cache_config=redis.cache.CacheConfig())
        with redis.Redis(connection_pool=pool) as client, redis.Redis(**where) as other:
            other.set("cached", "1")
            assert client.get("cached") in (b"1", "1")
            assert client.get("cached") in (b"1", "1")
            assert pool.cache.size == 1
            other.set("cached", "2")
            until(lambda: client.get("cached") in (b"2", "2"))
        pool.close()
