# SPDX-License-Identifier: Apache-2.0
"""A bus in front of a tier that says itself what changes in it: rows of PostgreSQL that anybody changes, a tier on Redis."""

import threading

import psycopg
import pytest
import redis

import forebay
from buses import Machines, until
from forebay.buses import install_trigger
from forebay.testing.proxy import Proxy
from forebay.tiers._tier import Unusable

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

NAME = b"forebay:users:1"


@pytest.fixture
def server(redis_server):
    yield redis_server
    redis_server.call("FLUSHALL")


@pytest.fixture
def machines():
    with Machines() as machines:
        yield machines


@pytest.fixture
def database(postgres):
    """A connection in autocommit, and a table that tells; what is made in its schema is gone after the test."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA bus_test")
        connection.execute("SET search_path = bus_test")
        connection.execute("CREATE TABLE users (id int PRIMARY KEY, name text)")
        connection.execute("INSERT INTO users VALUES (1, 'old'), (2, 'other')")
        install_trigger(connection, "users", "id", cache="users")
        yield connection
        connection.execute("DROP SCHEMA bus_test CASCADE")


def name_in(database, key):
    return database.execute("SELECT name FROM users WHERE id = %s", (key,)).fetchone()[0]


@pytest.fixture
def add(postgres, server, database, machines):
    """Add a machine."""

    def add(*, conninfo=None, load=lambda key: name_in(database, key), **options):
        client = redis.Redis(unix_socket_path=str(server.socket_path), socket_timeout=0.5, socket_connect_timeout=0.5)
        bus = forebay.buses.Postgres(conninfo or postgres.conninfo, **options)
        return machines.add(bus, tier=forebay.tiers.Redis(client, **options), load=load)

    return add


def in_tier(server):
    return server.call("EXISTS", NAME) == 1


def test_what_is_changed_by_sql_goes_from_arenas_and_the_tier(add, server, database):
    one, other = add(), add()
    assert one.cache.fetch(1) == other.cache.fetch(1) == "old" and in_tier(server)
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    one.drops(1)
    other.drops(1)
    until(lambda: not in_tier(server))
    one.beats()
    other.beats()
    assert one.cache.fetch(1) == other.cache.fetch(1) == "new"


def test_what_one_machine_changes_the_others_hear_of_the_tier(add, server):
    one, other = add(), add()
    assert one.cache.fetch(1) == other.cache.fetch(1) == "old"
    one.cache.set(1, "set")
    other.drops(1)
    assert other.cache.fetch(1) == "set"
    one.beats()
    assert one.cache.get(1) == "set" and one.bus._bus.stats()["told"] == 0
    one.cache.delete(1)
    other.drops(1)
    assert not in_tier(server)


def test_what_a_cache_without_the_tier_tells_goes_from_the_tier(add, server, postgres, machines):
    one, plain = add(), machines.add(forebay.buses.Postgres(postgres.conninfo))
    assert one.cache.fetch(1) == "old" and in_tier(server)
    plain.cache.delete(1)
    one.drops(1)
    until(lambda: not in_tier(server))


def test_a_fill_that_began_before_the_change_is_stored_nowhere(add, server, database):
    """The machine that loads hears of the change last of all."""
    asked, go_on, hears = threading.Event(), threading.Event(), threading.Event()

    def load(key):
        name = name_in(database, key)
        asked.set()
        assert go_on.wait(10)
        return name

    late, other = add(load=load), add()
    forget = late.bus.forget
    late.bus.forget = late.listener._bus.forget = lambda *arguments: (hears.wait(10), forget(*arguments))[1]
    found = []
    thread = threading.Thread(target=lambda: found.append(late.cache.fetch(1)))
    thread.start()
    assert asked.wait(10) and in_tier(server)  # its placeholder
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    until(lambda: not in_tier(server))  # the other one has heard
    go_on.set()
    thread.join()
    assert found == ["old"] and not in_tier(server) and not late.has(1)
    hears.set()
    assert other.cache.fetch(1) == "new"
    late.beats()
    assert late.cache.fetch(1) == "new"


def test_where_the_bus_is_not_heard_neither_arena_nor_tier_is_believed(add, server, database, postgres):
    with Proxy(str(postgres.socket_path)) as proxy:
        host, port = proxy.address
        deaf, other = add(conninfo=f"{postgres.conninfo} host={host} port={port}", max_stale=0.5), add()
        assert deaf.cache.fetch(1) == other.cache.fetch(1) == "old"
        proxy.refuse()
        proxy.cut()
        until(lambda: deaf.cache.get(1) is None)
        hits = deaf.cache._loading.options.tier.stats()["hits"]
        assert deaf.cache.fetch(1) == "old" and deaf.cache.fetch(2) == "other"
        assert deaf.cache._loading.options.tier.stats()["hits"] == hits
        database.execute("UPDATE users SET name = 'new' WHERE id = 1")
        other.drops(1)
        assert deaf.cache.fetch(1) == "new"
        proxy.accept()
        deaf.hears()
        assert deaf.cache.fetch(1) == "new"


def test_who_cannot_delete_it_in_the_tier_has_not_heard_it(add, server, database, monkeypatch):
    one = add(max_stale=0.5)
    tier = one.cache._loading.options.tier
    assert one.cache.fetch(1) == "old" and in_tier(server)
    ask, fails = tier.ask, True

    def failing(method, *arguments):
        if fails and method == "delete_many":
            raise Unusable
        return (yield from ask(method, *arguments))

    monkeypatch.setattr(tier, "ask", failing)
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    until(lambda: tier.stats()["owed"] == 1)
    until(lambda: not one.listener.is_heard(0.5))
    assert in_tier(server) and one.cache.fetch(1) == "new"
    fails = False
    one.hears()
    assert not in_tier(server) and tier.stats()["owed"] == 0


def test_a_bus_that_is_the_tiers_own_is_refused(server, arena):
    client = redis.Redis(unix_socket_path=str(server.socket_path), socket_timeout=0.5, socket_connect_timeout=0.5)
    tier, other = forebay.tiers.Redis(client), forebay.tiers.Redis(client)
    with pytest.raises(TypeError, match=r"bus must be forebay\.buses\.Redis or forebay\.buses\.Postgres, not TrackingBus"):
        arena.cache("users", tier=tier, bus=other.bus)
