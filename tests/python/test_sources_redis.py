# SPDX-License-Identifier: Apache-2.0
"""forebay.sources.Redis on real servers and a cluster, with redis-py and valkey-py, sync and asyncio."""

import asyncio
import contextlib
import inspect
import json
import uuid

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

import forebay
from forebay.sources import Redis, SourceError
from forebay.testing import servers

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

CLIENTS = {
    "redis": redis.Redis, "valkey": valkey.Valkey, "redis.asyncio": redis.asyncio.Redis, "valkey.asyncio": valkey.asyncio.Valkey,
}  # fmt: skip
CLUSTERS = {
    "redis": redis.RedisCluster, "valkey": valkey.ValkeyCluster, "redis.asyncio": redis.asyncio.RedisCluster,
    "valkey.asyncio": valkey.asyncio.ValkeyCluster,
}  # fmt: skip


@pytest.fixture
def server(redis_server):
    """With some hashes and strings."""
    redis_server.call("FLUSHALL")
    for number in range(1, 51):
        redis_server.call("HSET", f"user:{number}", "name", f"user {number}", "score", str(number))
        redis_server.call("SET", f"doc:{number}", json.dumps({"id": number, "tags": ["a", None]}))
    yield redis_server
    redis_server.call("FLUSHALL")


class Reading:
    """Makes a client and a source of it and asks it, in a loop of its own if it is asynchronous."""

    def __init__(self, make, arguments):
        self.make, self.arguments = make, arguments
        self.asynchronous = "asyncio" in make.__module__

    def ask(self, *batches, client=None, **options):
        arguments = {**self.arguments, **(client or {})}
        if self.asynchronous:
            answers = asyncio.run(self._ask(batches, arguments, options))
        else:
            with contextlib.closing(self.make(**arguments)) as made:
                source = Redis(made, **options)
                assert not inspect.iscoroutinefunction(source.__call__)
                answers = [source(keys) for keys in batches]
        return answers[0] if len(answers) == 1 else answers

    async def _ask(self, batches, arguments, options):
        async with contextlib.aclosing(self.make(**arguments)) as made:
            source = Redis(made, **options)
            assert inspect.iscoroutinefunction(source.__call__)
            return [await source(keys) for keys in batches]


@pytest.fixture(params=CLIENTS)
def reading(request, server):
    return Reading(CLIENTS[request.param], {"unix_socket_path": str(server.socket_path)})


@pytest.fixture(params=CLUSTERS)
def cluster_reading(request, redis_cluster):
    host, port = redis_cluster.addresses[0]
    return Reading(CLUSTERS[request.param], {"host": host, "port": port})


@pytest.fixture
def client(server):
    with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        yield client


def user(number):
    return {"name": f"user {number}", "score": str(number)}


# ---- what is read ----


def test_hashes_come_as_dicts_and_absent_ones_are_left_out(reading):
    first, second, none = reading.ask([1, 2, 1000, 1], [3], [], key="user:{}")
    assert first == {1: user(1), 2: user(2)}
    assert second == {3: user(3)}
    assert none == {}


def test_fields_are_those_that_were_asked_for(reading):
    assert reading.ask([1, 1000], key="user:{}", fields=["name"]) == {1: {"name": "user 1"}}
    assert reading.ask([1], key="user:{}", fields=["email", "name"]) == {1: {"email": None, "name": "user 1"}}
    assert reading.ask([1], key="user:{}", fields=["email"]) == {}


def test_json_strings_come_as_what_they_say(reading, server):
    server.call("SET", "doc:null", "null")
    found = reading.ask([1, "null", 1000], key="doc:{}", form="json")
    assert found == {1: {"id": 1, "tags": ["a", None]}, "null": None}


def test_strings_come_as_they_are(reading, server):
    server.call("SET", "raw:1", b"\0\xff")
    server.call("SET", "raw:2", b"")
    assert reading.ask([1, 2, 3], key="raw:{}", form="bytes") == {1: b"\0\xff", 2: b""}


def test_a_client_that_decodes_gives_the_same(reading):
    assert reading.ask([1], client={"decode_responses": True}, key="user:{}") == {1: user(1)}
    assert reading.ask([1], client={"decode_responses": True}, key="user:{}", fields=["name"]) == {1: {"name": "user 1"}}
    assert reading.ask([1], client={"decode_responses": True}, key="doc:{}", form="json")[1]["id"] == 1


def test_resp3_gives_the_same(reading):
    assert reading.ask([1], client={"protocol": 3}, key="user:{}") == {1: user(1)}


def test_values_of_hashes_may_stay_bytes(reading, server):
    server.call("HSET", "user:60", "raw", b"\xff")
    assert reading.ask([60], key="user:{}", encoding=None) == {60: {"raw": b"\xff"}}
    found = reading.ask([1, 60], key="user:{}")
    assert found[1] == user(1)
    assert isinstance(found[60], UnicodeDecodeError)
    assert found[60].__notes__ == ["in the value of the key 60"]


def test_what_is_wrong_with_one_key_is_its_own_outcome(reading):
    found = reading.ask([1, "x"], key=lambda key: f"doc:{key}" if key == "x" else f"user:{key}")
    assert found == {1: user(1)}
    found = reading.ask(["user:1", "doc:1"], key="{}")
    assert found["user:1"] == user(1)
    assert "WRONGTYPE" in str(found["doc:1"])


def test_json_that_is_none_is_an_error_that_names_the_key(reading, server):
    server.call("SET", "doc:bad", "{")
    found = reading.ask([1, "bad"], key="doc:{}", form="json")
    assert found[1]["id"] == 1
    assert isinstance(found["bad"], json.JSONDecodeError)
    assert found["bad"].__notes__ == ["in the value of the key 'bad'"]


def test_row_makes_the_value(reading):
    assert reading.ask([1], key="user:{}", row=lambda row: {**row, "score": int(row["score"])}) == {1: {"name": "user 1", "score": 1}}
    with pytest.raises(ZeroDivisionError):
        reading.ask([1], key="user:{}", row=lambda row: 1 / 0)


def test_keys_are_named_by_template_or_function(reading, server):
    token = uuid.UUID(int=7)
    server.call("HSET", "seat:a:7", "free", "yes")
    server.call("HSET", f"{{{token}}}:profile", "name", "Ada")
    server.call("HSET", b"\xff", "name", "Bob")
    assert reading.ask([("a", 7), ("b", 7)], key="seat:{}:{}") == {("a", 7): {"free": "yes"}}
    assert reading.ask([token], key="{{{}}}:profile") == {token: {"name": "Ada"}}
    assert reading.ask([b"\xff"], key=lambda key: key) == {b"\xff": {"name": "Bob"}}


def test_a_key_of_another_form_is_an_error_of_its_own(reading):
    found = reading.ask([1, (1, 2), b"1"], key="user:{}")
    assert found[1] == user(1)
    assert isinstance(found[(1, 2)], TypeError) and isinstance(found[b"1"], TypeError)
    assert isinstance(reading.ask(["a"], key="seat:{}:{}")["a"], TypeError)


def test_a_cache_loads_through_it(client, arena):
    users = arena.cache("users", load_many=Redis(client, key="user:{}"), absent_ttl=10)
    assert users.fetch_many([1, 2, 1000]) == {1: user(1), 2: user(2)}
    assert users.is_absent(1000)
    client.set("user:77", "a string")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        users.fetch(77)


def test_a_cache_loads_through_it_in_a_loop(server, arena):
    async def main():
        async with redis.asyncio.Redis(unix_socket_path=str(server.socket_path)) as client:
            users = arena.cache("users", load_many=Redis(client, key="user:{}"))
            assert await users.afetch_many([1, 2, 1000]) == {1: user(1), 2: user(2)}

    asyncio.run(main())


def test_a_batch_is_one_pipeline(client):
    with client.monitor() as monitor:
        Redis(client, key="user:{}")(range(1, 51))
        seen = []
        while seen.count("HGETALL") < 50:
            seen.append(monitor.next_command()["command"].split()[0])
    assert seen[-51:] == ["ROLE"] + ["HGETALL"] * 50
    assert not {"MULTI", "EXEC"} & set(seen)


# ---- freshness ----


def test_a_replica_is_refused(tmp_path):
    with servers.start_redis(tmp_path, "--replicaof", "127.0.0.1", "1") as replica:
        for make in CLIENTS.values():
            reading = Reading(make, {"unix_socket_path": str(replica.socket_path)})
            with pytest.raises(SourceError, match="the server is a replica"):
                reading.ask([1], key="user:{}")
        replica.call("REPLICAOF", "NO", "ONE")
        assert reading.ask([1], key="user:{}") == {}


def test_who_may_not_ask_for_the_role_may_read(server, reading):
    server.call("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+hgetall", "+client", "+hello")
    try:
        assert reading.ask([1], client={"username": "reader", "password": "secret"}, key="user:{}") == {1: user(1)}
    finally:
        server.call("ACL", "DELUSER", "reader")


@pytest.mark.filterwarnings("ignore:Call to '__init__' function with deprecated usage:DeprecationWarning")
def test_a_cluster_client_that_reads_from_replicas_is_refused(redis_cluster):
    host, port = redis_cluster.addresses[0]
    options = [(redis.RedisCluster, {"read_from_replicas": True}), (valkey.ValkeyCluster, {"read_from_replicas": True}),
               (redis.RedisCluster, {"load_balancing_strategy": redis.cluster.LoadBalancingStrategy.RANDOM}),
               (redis.asyncio.RedisCluster, {"read_from_replicas": True}), (valkey.asyncio.ValkeyCluster, {"read_from_replicas": True})]  # fmt: skip
    for make, arguments in options:
        with pytest.raises(ValueError, match="reads from replicas, which may show the past"):
            Reading(make, {"host": host, "port": port, **arguments}).ask([], key="user:{}")


# ---- clusters ----


def fill(cluster, count=100):
    for number in range(count):
        name = f"user:{number}"
        cluster.master_of(name).call("HSET", name, "name", f"user {number}", "score", str(number))


def test_a_cluster_is_asked_node_by_node(redis_cluster, cluster_reading):
    fill(redis_cluster)
    assert cluster_reading.ask([*range(100), "none"], key="user:{}") == {number: user(number) for number in range(100)}
    assert cluster_reading.ask([1, "none"], key="user:{}", fields=["name"]) == {1: {"name": "user 1"}}


def test_what_is_wrong_with_one_key_of_a_cluster_is_its_own_outcome(redis_cluster, cluster_reading):
    fill(redis_cluster, 10)
    redis_cluster.master_of("user:x").call("SET", "user:x", "a string")
    found = cluster_reading.ask([1, "x"], key="user:{}")
    assert found[1] == user(1)
    assert "WRONGTYPE" in str(found["x"])


def test_a_slot_that_is_moving_is_read_on_both_sides(redis_cluster, cluster_reading):
    fill(redis_cluster, 10)
    slot = servers.key_slot("user:1")
    here = redis_cluster.master_of(slot)
    there = next(node for node in redis_cluster.masters if node is not here)
    redis_cluster.begin_move(slot, there)
    redis_cluster.move_keys(slot, there)
    assert cluster_reading.ask(range(10), key="user:{}") == {number: user(number) for number in range(10)}
    redis_cluster.finish_move(slot, there)
    assert cluster_reading.ask(range(10), key="user:{}") == {number: user(number) for number in range(10)}
    redis_cluster.move_slot(slot, here)


# ---- arguments and errors ----


def test_errors_of_the_driver_reach_who_fetches(tmp_path, arena):
    with redis.Redis(unix_socket_path=str(tmp_path / "none.sock")) as client:
        things = arena.cache("things", load_many=Redis(client, key="user:{}"))
        with pytest.raises(redis.ConnectionError):
            things.fetch(1)


def test_what_is_no_client_is_refused_with_what_to_give(client):
    for source in (5, None, "redis://", object(), client.pipeline(), client.connection_pool, forebay):
        with pytest.raises(TypeError, match=r"Redis\(\) reads with redis.Redis, redis.RedisCluster"):
            Redis(source, key="user:{}")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"key": "user"}, ValueError, "key has {} for the cache's key"),
        ({"key": "user:{0}"}, ValueError, "key has {}"),
        ({"key": "user:{name}"}, ValueError, "key has {}"),
        ({"key": 5}, TypeError, "key is a template"),
        ({"key": "{}", "form": "list"}, ValueError, "form is one of 'hash', 'json', 'bytes'"),
        ({"key": "{}", "form": "json", "fields": ["a"]}, TypeError, "fields= are those of a hash"),
        ({"key": "{}", "fields": "name"}, ValueError, "fields is a list of names"),
        ({"key": "{}", "fields": []}, ValueError, "fields is a list of names"),
        ({"key": "{}", "row": 5}, TypeError, "row is a function"),
    ],
)
def test_wrong_arguments_are_refused_at_once(client, options, error, text):
    with pytest.raises(error, match=text):
        Redis(client, **options)
