# SPDX-License-Identifier: Apache-2.0
"""forebay.pools.redis_asyncio and .valkey_asyncio on a real server."""

import asyncio

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

import forebay
import forebay.pools.redis_asyncio
import forebay.pools.valkey_asyncio
from backends import Watch, akeeps, stopped, storm
from forking import fork_to_run, wait_for

pytestmark = pytest.mark.long

DRIVERS = {
    "redis": (redis, forebay.pools.redis_asyncio, redis.asyncio.Redis),
    "valkey": (valkey, forebay.pools.valkey_asyncio, valkey.asyncio.Valkey),
}


@pytest.fixture(params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture
def module(driver):
    return DRIVERS[driver][0]


@pytest.fixture
def pools(driver):
    return DRIVERS[driver][1]


@pytest.fixture
def client_of(driver):
    return lambda pool: DRIVERS[driver][2](connection_pool=pool)


@pytest.fixture
def make(pools, module, redis_server):
    """A pool on the server."""

    def make(**options):
        connection_class = module.asyncio.connection.UnixDomainSocketConnection
        return pools.ConnectionPool(connection_class, path=str(redis_server.socket_path), client_name="tested", **options)

    return make


@pytest.fixture
def clients(redis_server):
    """How many connections of the pools the server counts."""
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as outside:
        yield lambda: sum(client["name"] == "tested" for client in outside.client_list())
        outside.flushdb()


def test_commands_go_through_the_pool(make, client_of, clients):
    async def main():
        pool = make(max_connections=2)
        client = client_of(pool)
        assert await client.set("k", "v")
        assert await client.get("k") == b"v"
        async with client.pipeline() as pipeline:
            assert await pipeline.incr("n").incr("n").execute() == [1, 2]
        assert clients() == 1
        await asyncio.gather(*(client.incr("n") for _ in range(50)))
        assert await client.get("n") == b"52"
        assert 1 <= clients() <= 2
        await pool.aclose()
        while clients():
            await asyncio.sleep(0.001)
        assert await client.ping()
        await pool.aclose()

    asyncio.run(main())


def test_who_waits_too_long_gets_the_drivers_error(make, client_of, module):
    async def main():
        pool = make(max_connections=1, timeout=0.05)
        connection = await pool.get_connection("PING")
        assert not pool.can_get_connection()
        with pytest.raises(module.exceptions.MaxConnectionsError, match="1 of at most 1 are out") as raised:
            await client_of(pool).ping()
        assert isinstance(raised.value, forebay.PoolTimeoutError)
        await pool.release(connection)
        assert pool.can_get_connection()
        assert await client_of(pool).ping()
        await pool.aclose()

    asyncio.run(main())


def test_too_many_who_wait_are_refused(make, module):
    async def main():
        pool = make(max_connections=1, max_waiting=1)
        connection = await pool.get_connection("PING")
        waiting = asyncio.create_task(pool.get_connection("PING"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(module.exceptions.ConnectionError, match="max_waiting"):
            await pool.get_connection("PING")
        await pool.release(connection)
        await pool.release(await waiting)
        await pool.aclose()

    asyncio.run(main())


def test_from_url_and_the_blocking_pools_arguments(pools, client_of, redis_server, module):
    async def main():
        pool = pools.ConnectionPool.from_url(f"unix://{redis_server.socket_path}?db=3", max_connections=3, name="by url")
        assert (await client_of(pool).client_info())["db"] == 3
        assert (pool._objects.max_size, pool._objects.name) == (3, "by url")
        await pool.aclose()
        blocking = pools.BlockingConnectionPool(timeout=None)
        assert (blocking.max_connections, blocking._objects._timeout) == (50, float("inf"))

    asyncio.run(main())


def test_a_misspelt_argument_is_named(pools):
    async def main():
        with pytest.raises(TypeError, match="max_conections"):
            pools.ConnectionPool(max_conections=5)

    asyncio.run(main())


def test_what_the_server_ended_is_connected_again(make, client_of, clients, redis_server):
    async def main():
        pool = make(max_connections=1)
        client = client_of(pool)
        assert await client.ping()
        with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as outside:
            outside.client_kill_filter(_type="normal", skipme=True)
        (idle,) = pool._available_connections
        while not idle._reader.at_eof():
            await asyncio.sleep(0.001)
        assert await client.ping()
        assert clients() == 1
        await pool.aclose()

    asyncio.run(main())


def test_an_error_to_connect_is_the_callers_and_loses_nothing(pools, module, client_of, folder):
    async def main():
        connection_class = module.asyncio.connection.UnixDomainSocketConnection
        pool = pools.ConnectionPool(connection_class, max_connections=1, path=str(folder / "nobody"))
        for _ in range(3):
            with pytest.raises(module.exceptions.ConnectionError):
                await client_of(pool).ping()
        assert not pool._in_use_connections

    asyncio.run(main())


def test_a_cancelled_command_loses_no_connection(make, client_of):
    async def main():
        pool = make(max_connections=1)
        client = client_of(pool)
        for _ in range(3):
            await client.ping()  # cancelled while it connects, redis-py goes on
            task = asyncio.create_task(client.blpop("nothing", timeout=0))
            while not pool._in_use_connections:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await client.ping()
        await pool.aclose()

    asyncio.run(main())


def test_nobody_gets_a_connection_that_is_being_disconnected(make):
    async def main():
        pool = make(max_connections=2)
        await pool.release(await pool.get_connection("PING"))
        async with pool._get_pool_lock():
            (idle,) = pool._get_free_connections()
            other = await pool.get_connection("PING")
            assert other is not idle
        await pool.release(other)
        assert {idle, other} == set(pool._get_free_connections())
        await pool.disconnect(inuse_connections=False)
        assert {idle, other} == set(pool._get_free_connections())
        pool.reset()
        assert not pool._get_free_connections()
        await pool.aclose()

    asyncio.run(main())


def test_a_child_has_connections_and_a_loop_of_its_own(make, client_of):
    async def main():
        pool = make(max_connections=2)
        client = client_of(pool)
        mine = await client.client_id()

        def child():
            async def go():
                assert await client.client_id() != mine
                await pool.aclose()

            asyncio.events._set_running_loop(None)  # the parent's is not the child's to use
            asyncio.run(go())

        wait_for(fork_to_run(child))
        assert await client.client_id() == mine
        await pool.aclose()

    asyncio.run(main())


def test_a_permit_is_given_back_when_the_server_has_hung_up(make, redis_server, arena, patient):
    async def main():
        pool = make(max_connections=1, arena=arena, host_max=1, name="shop")
        await pool.release(await pool.get_connection("PING"))
        with stopped(redis_server.process.pid):
            closed = asyncio.create_task(pool.aclose())
            assert await akeeps(lambda: arena.limits()["shop"]["held"] == 1)
        await closed
        while arena.limits()["shop"]["held"]:
            await asyncio.sleep(0.001)

    asyncio.run(main())


def test_the_server_never_counts_more_than_host_max(make, client_of, clients, path):
    forebay.open(path, "1MiB").close()

    def work(arena, goes_on):
        async def main():
            pool = make(max_connections=3, timeout=60, arena=arena, host_max=4, name="storm")
            client = client_of(pool)

            async def use():
                while goes_on():
                    await client.incr("n")

            await asyncio.gather(*(use() for _ in range(3)))
            await pool.aclose()

        asyncio.run(main())

    with Watch(clients) as watch:
        storm(path, work, processes=4, seconds=2)
    assert watch.looks > 20
    assert 2 <= watch.most <= 4
