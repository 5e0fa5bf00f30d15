# SPDX-License-Identifier: Apache-2.0
"""forebay.buses.Postgres and its triggers, on a real server."""

import asyncio
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import uuid

import psycopg
import pymemcache
import pytest

import forebay
from buses import Machines, until
from forebay.buses import install_trigger, remove_trigger
from forebay.buses._postgres_bus import payload_of, read_payload
from forebay.buses._telling import EVERY, Message
from forking import fork_to_run, wait_for

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

KEYS = [1, "x", "", b"\0", (1, "y", (b"z",)), True, -(10**40), "ä\0\ud800'\"\\", uuid.UUID(int=7), datetime.date(2024, 2, 29), "*"]


@pytest.fixture
def machines():
    with Machines() as machines:
        yield machines


def bus_on(postgres, **options):
    return forebay.buses.Postgres(postgres.conninfo, **options)


@pytest.fixture
def two(postgres, machines):
    return machines.add(bus_on(postgres)), machines.add(bus_on(postgres))


@pytest.fixture
def database(postgres):
    """A connection in autocommit; what is made in its schema is gone after the test."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA bus_test")
        connection.execute("SET search_path = bus_test")
        yield connection
        connection.execute("DROP SCHEMA bus_test CASCADE")


@pytest.fixture
def users(postgres, machines, database):
    database.execute("CREATE TABLE users (id integer PRIMARY KEY, name text)")
    database.execute("INSERT INTO users SELECT n, 'old' FROM generate_series(1, 9) AS n")
    install_trigger(database, "users", "id", cache="users")
    return machines.add(bus_on(postgres)).put(*range(1, 10))


# ---- machines that tell each other ----


def test_what_one_machine_deletes_the_others_drop(two):
    one, other = two
    one.put(*KEYS, "stays")
    other.put(*KEYS, "stays")
    one.cache.delete_many(KEYS)
    other.drops(*KEYS)
    assert one.keeps("stays") and other.keeps("stays")
    assert one.bus.stats()["told"] == len(KEYS)


def test_what_one_machine_sets_it_keeps_and_the_others_drop(two):
    one, other = two
    other.put(1, 2)
    one.cache.set_many({1: "new", 2: "new"})
    other.drops(1, 2)
    one.beats()
    assert one.cache.get_many([1, 2]) == {1: "new", 2: "new"}


def test_a_key_too_long_for_a_notification_costs_everything_of_its_cache(two, machines):
    one, other = two
    other.put("bystander")
    orders = machines.add(other.bus, arena=other.arena, name="orders").put("bystander")
    one.cache.delete("\u00fc" * 2000)  # 12,000 bytes of JSON
    other.drops("bystander")
    assert orders.keeps("bystander")


def test_an_invalidation_reaches_entries_of_every_version(postgres, machines):
    one = machines.add(bus_on(postgres), version=1)
    other = machines.add(bus_on(postgres), version=2).put("key")
    one.cache.delete("key")
    other.drops("key")


def test_channels_are_apart(postgres, machines):
    one, other = machines.add(bus_on(postgres)), machines.add(bus_on(postgres, channel='Ä "other"')).put(1)
    one.cache.delete(1)
    other.beats()
    assert other.keeps(1)


def test_a_task_tells_by_a_thread(two):
    one, other = two
    other.put(1, 2)

    async def work():
        await one.cache.aset(1, "new")
        await one.cache.adelete(2)

    asyncio.run(work())
    other.drops(1, 2)


def test_threads_share_the_connection_that_tells(two):
    one, other = two
    other.put(*range(40))
    threads = [threading.Thread(target=lambda n=n: one.cache.delete_many(range(n, 40, 8))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.drops(*range(40))
    assert one.bus.stats()["owed"] == 0


def test_a_change_during_a_load_is_not_stored(users, database):
    begun, go_on, loads = threading.Event(), threading.Event(), []

    def load(key):
        name = database.execute("SELECT name FROM users WHERE id = %s", (key,)).fetchone()[0]
        loads.append(name)
        if len(loads) == 1:
            begun.set()
            assert go_on.wait(30)
        return name

    cache = users.arena.cache("users", bus=users.bus, load=load)
    forebay.Cache.delete(cache, 1)
    found = []
    thread = threading.Thread(target=lambda: found.append(cache.fetch(1)))
    thread.start()
    assert begun.wait(30)
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    users.beats()
    go_on.set()
    thread.join()
    assert found == ["old"] and cache.get(1) is None
    assert cache.fetch(1) == "new"


@pytest.mark.parametrize("key", [1, "x", True, (1, ("x", b"y")), uuid.UUID(int=1), datetime.date.max, b"\xff", "\ud800", 10**40, EVERY])
def test_payloads_mean_what_was_said(key):
    for message in (Message("users", key, 3, "origin", True), Message("ü", key)):
        found = read_payload(payload_of(message).encode())
        assert found == message and type(found.key) is type(key)


@pytest.mark.parametrize(
    "payload",
    ["", "x", "5", "[]", "{}", "[5]", '["users", 1.5]', '["users", {"uuid": 5}]', '["users", {"uuid": "x"}]', '["users", {"date": 5}]', '["users", {}]',
     '["users", {"x": 1}]', '["users", {"key": "00"}]', '["users", 1, 5]', '["users", 1, {"version": "x"}]', '["users", 1, {}, 1]', "[" * 5000],
)  # fmt: skip
def test_what_is_no_message_is_ignored(two, database, payload):
    one, other = two
    one.put(1)
    database.execute("SELECT pg_notify('forebay', %s)", (payload,))
    other.cache.delete(2)
    one.beats()
    assert one.keeps(1) and one.listener.listens


def test_another_program_may_tell(two, database):
    one, _ = two
    one.put(42, 43)
    database.execute("""NOTIFY forebay, '["users", 42]'""")
    one.drops(42)
    assert one.keeps(43)
    database.execute("""NOTIFY forebay, '["users"]'""")
    one.drops(43)


# ---- triggers ----


def test_every_kind_of_change_is_told(users, database):
    database.execute("INSERT INTO users VALUES (10, 'new')")
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    database.execute("DELETE FROM users WHERE id = 2")
    users.drops(1, 2)
    assert users.keeps(*range(3, 10))
    users.put(11)
    database.execute("UPDATE users SET id = 11 WHERE id = 3")
    users.drops(3, 11)
    users.put(10)
    database.execute("INSERT INTO users VALUES (10, 'newer') ON CONFLICT (id) DO UPDATE SET name = excluded.name")
    users.drops(10)
    users.beats()
    assert users.keeps(*range(4, 10))
    database.execute("TRUNCATE users")
    users.drops(*range(4, 10))


def test_a_rollback_tells_nothing(users, database):
    with database.transaction(force_rollback=True):
        database.execute("UPDATE users SET name = 'new'")
        database.execute("DELETE FROM users")
    users.beats()
    assert users.keeps(*range(1, 10))


def test_nothing_is_told_before_the_commit(users, database):
    with database.transaction():
        database.execute("UPDATE users SET name = 'new' WHERE id = 1")
        users.beats()
        assert users.keeps(1)
    users.drops(1)


TYPES = {
    "smallint": 7, "integer": -8, "bigint": 2**62, "text": "ä'\"\\ *", "varchar(20)": "x", "uuid": uuid.UUID(int=2**127 + 1),
    "date": datetime.date(2024, 2, 29),
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_keys_of_each_type(postgres, machines, database, kind):
    key = TYPES[kind]
    one = machines.add(bus_on(postgres)).put(key, "stays")
    database.execute("SET datestyle = 'German'")
    database.execute(f"CREATE TABLE t (k {kind})")
    install_trigger(database, "t", "k", cache="users")
    database.execute("INSERT INTO t VALUES (%s)", (key,))
    one.drops(key)
    assert one.keeps("stays")


def test_keys_of_several_columns_are_tuples(postgres, machines, database):
    key = (7, "x", uuid.UUID(int=1))
    one = machines.add(bus_on(postgres)).put(key, 7, (7,))
    database.execute('CREATE TABLE "T $forebay$ "".%%" (a int, "b ""%%$forebay$" text, c uuid)'.replace("%%", "%"))
    install_trigger(database, 'T $forebay$ ".%', ["a", 'b "%$forebay$', "c"], cache="users")
    database.execute('INSERT INTO "T $forebay$ "".%%" VALUES (%s, %s, %s)', key)
    one.drops(key)
    assert one.keeps(7, (7,))
    install_trigger(database, 'T $forebay$ ".%', ["a"], cache="users")
    database.execute('DELETE FROM "T $forebay$ "".%"')
    one.drops((7,))
    assert one.keeps(7)


def test_of_a_row_without_a_key_nothing_is_told(postgres, machines, database):
    one = machines.add(bus_on(postgres)).put(1)
    database.execute("CREATE TABLE t (k int)")
    install_trigger(database, "t", "k", cache="users")
    database.execute("INSERT INTO t VALUES (NULL)")
    one.beats()
    assert one.keeps(1)


def test_a_long_key_of_a_row_costs_everything_of_its_cache(postgres, machines, database):
    one = machines.add(bus_on(postgres)).put(1)
    database.execute("CREATE TABLE t (k text)")
    install_trigger(database, "t", "k", cache="users")
    database.execute("INSERT INTO t VALUES (repeat('x', 9000))")
    one.drops(1)


def test_names_of_caches_and_channels_may_be_anything(postgres, machines, database):
    name, channel = "ü'\\$forebay$\"{}", "Ä'\\ \"{}"
    one = machines.add(bus_on(postgres, channel=channel), name=name).put(1)
    database.execute("CREATE TABLE t (k int)")
    install_trigger(database, "t", "k", cache=name, channel=channel)
    database.execute("INSERT INTO t VALUES (1)")
    one.drops(1)
    one.put(2)
    database.execute("TRUNCATE t")
    one.drops(2)


def test_a_table_may_tell_several_caches_and_stop(users, machines, database):
    names = machines.add(users.bus, arena=users.arena, name="names").put(1, 2)
    install_trigger(database, ("bus_test", "users"), "id", cache="names")
    install_trigger(database, ("bus_test", "users"), "id", cache="names")  # again: replaced
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    users.drops(1)
    names.drops(1)
    assert remove_trigger(database, "users", cache="users") is True
    assert remove_trigger(database, "users", cache="users") is False
    database.execute("UPDATE users SET name = 'new' WHERE id = 2")
    names.drops(2)
    users.beats()
    assert users.keeps(2)
    assert remove_trigger(database, "users", cache="names") is True
    query = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'forebay%'"
    assert database.execute(query).fetchone() == (0,)


def test_it_is_installed_in_the_callers_transaction(postgres, database):
    database.execute("CREATE TABLE t (k int)")
    query = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'forebay%'"
    with psycopg.connect(postgres.conninfo, row_factory=psycopg.rows.dict_row) as connection:
        install_trigger(connection, ("bus_test", "t"), "k", cache="users")
        connection.rollback()
        assert database.execute(query).fetchone() == (0,)
        install_trigger(connection, ("bus_test", "t"), "k", cache="users")
        connection.commit()
        assert database.execute(query).fetchone() == (2,)


def test_a_failed_installation_leaves_nothing_behind(database):
    database.execute("CREATE TABLE t (k int)")
    database.execute("CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no triggers'; END $$")
    database.execute("CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION no()")
    try:
        with pytest.raises(psycopg.Error, match="no triggers"):
            install_trigger(database, "t", "k", cache="users")
    finally:
        database.execute("DROP EVENT TRIGGER no")
    assert database.execute("SELECT count(*) FROM pg_proc WHERE proname LIKE 'forebay%'").fetchone() == (0,)


def test_tables_and_columns_that_cannot_tell_are_refused(database):
    database.execute("CREATE DOMAIN number AS int")
    database.execute("CREATE TABLE t (k int, f float, n numeric, c char(5), d number, at timestamptz)")
    database.execute("CREATE VIEW v AS SELECT k FROM t")
    for column, kind in {"f": "double precision", "n": "numeric", "c": "character", "d": "number", "at": "timestamp with time zone"}.items():
        with pytest.raises(ValueError, match=f"column {column} of table t is of type {kind}, and keys may be of bigint, character"):
            install_trigger(database, "t", ["k", column], cache="users")
    with pytest.raises(ValueError, match="table t has no column K"):
        install_trigger(database, "t", "K", cache="users")
    with pytest.raises(ValueError, match="key names no column"):
        install_trigger(database, "t", [], cache="users")
    with pytest.raises(ValueError, match="v is no table"):
        install_trigger(database, "v", "k", cache="users")
    for table in ("bus_test.t", ("public", "t"), "T"):
        with pytest.raises(ValueError, match="there is no table"):
            install_trigger(database, table, "k", cache="users")
    for table in (("a", "b", "c"), (), "", "\0"):
        with pytest.raises(ValueError, match="table must be"):
            install_trigger(database, table, "k", cache="users")
    with pytest.raises(ValueError, match="cache must be"):
        install_trigger(database, "t", "k", cache="")
    with pytest.raises(ValueError, match="channel must be"):
        remove_trigger(database, "t", cache="users", channel="")
    with pytest.raises(TypeError, match=r"through a psycopg\.Connection, not builtins\.str"):
        install_trigger("dbname=x", "t", "k", cache="users")


# ---- connections that end ----


def cut(database, what):
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE %s"
    return len(database.execute(query, (what,)).fetchall())


def test_a_cut_listener_begins_anew(users, database):
    assert users.listener.sessions == 1
    assert cut(database, "%pg_notify($1, $2)%") == 1
    until(lambda: users.listener.sessions == 2)
    users.drops(*range(1, 10))
    users.hears().put(1)
    database.execute("UPDATE users SET name = 'new' WHERE id = 1")
    users.drops(1)


def test_a_cut_sender_owes_and_tells_by_another_connection(two, database):
    one, other = two
    one.cache.delete(1)
    assert cut(database, "%json_array_elements_text%") == 1
    other.put(2)
    assert one.cache.delete(2) is False
    other.drops(2)
    until(lambda: one.bus.stats()["owed"] == 0)
    assert other.listener.sessions == 1


def test_a_server_that_is_restarted(two, postgres):
    one, other = two
    one.put(1)
    postgres.stop()
    try:
        one.cache.delete(2)
        until(lambda: one.cache.get(1) is None)
        assert one.bus.stats()["owed"] == 1
    finally:
        postgres.start()
    one.hears()
    other.hears().put(3)
    assert 1 not in one.arena.cache("users")
    one.cache.delete(3)
    other.drops(3)
    until(lambda: one.bus.stats()["owed"] == 0)


def test_a_function_that_connects_may_fail_and_begin_transactions(postgres, machines):
    calls = []

    def connect():
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("no secret")
        connection = psycopg.connect(postgres.conninfo)
        connection.execute("SET application_name = 'of the bus'")
        return connection

    one = machines.add(forebay.buses.Postgres(connect)).put(1)
    other = machines.add(forebay.buses.Postgres(connect))
    other.cache.delete(1)
    one.drops(1)
    assert "connect" in one.bus.describe


def test_a_function_that_gives_no_connection_is_refused(machines, arena):
    bus = forebay.buses.Postgres(lambda: 5)
    with pytest.raises(TypeError, match=r"connect\(\) must give a psycopg\.Connection, not builtins\.int"):
        bus.subscribe()
    with pytest.raises(TypeError, match="connect must be a str"):
        forebay.buses.Postgres(5)
    with pytest.raises(ValueError, match="channel must be"):
        forebay.buses.Postgres("", channel="ä" * 32)


def test_databases_are_told_apart_and_passwords_not_shown():
    def bus(text):
        return forebay.buses.Postgres(text)

    assert bus("host=a user=x password=secret").channel == bus("host=a user=y").channel != bus("host=b").channel
    assert "secret" not in repr(bus("host=a password=secret")) and bus("").describe == "postgres default"
    assert forebay.buses.Postgres(lambda: None, server="shop").describe == "postgres shop"


# ---- processes ----


def test_a_child_of_a_fork_tells_by_a_connection_of_its_own(two):
    one, other = two
    one.cache.delete(0)  # the parent's connection is there
    other.put(1, 2)

    def work():
        one.cache.delete(1)
        assert one.bus.stats()["owed"] == 0

    wait_for(fork_to_run(work))
    other.drops(1)
    one.cache.delete(2)
    other.drops(2)
    assert one.listener.sessions == 1 and one.bus.stats()["owed"] == 0


PROGRAM = """
import os, sys, forebay
from buses import *
machine = Machine(forebay.buses.Postgres(sys.argv[1]), arena=forebay.open(sys.argv[2])).hears()
until(lambda: machine.listener.listens)
print("listens", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_a_listener_that_is_killed_or_stopped_is_replaced(postgres, machines, database, path, stop):
    arena = forebay.open(path, "4MiB")
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, postgres.conninfo, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "listens\n"
        one, here = machines.add(bus_on(postgres)), machines.add(bus_on(postgres), arena=arena)
        until(lambda: here.listener.listens)
        here.beats()
        here.put("kept", "deleted")
        child.send_signal(stop)
        one.cache.delete("deleted")
        here.beats()
        assert not here.has("deleted") and here.keeps("kept")
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()
        child.wait()


# ---- a tier on memcached ----


def test_what_the_database_says_goes_from_a_tier_that_cannot_know(postgres, machines, database, memcached_server):
    def client():
        made = pymemcache.PooledClient(str(memcached_server.socket_path), connect_timeout=1, timeout=1)
        machines.callback(made.close)
        return made

    def load(key):
        return database.execute("SELECT name FROM t WHERE k = %s", (key,)).fetchone()[0]

    memcached = client()
    memcached.flush_all()
    database.execute("CREATE TABLE t (k int, name text)")
    database.execute("INSERT INTO t VALUES (1, 'old')")
    install_trigger(database, "t", "k", cache="users")
    one, other = (machines.add(bus_on(postgres), tier=forebay.tiers.Memcached(client()), load=load) for _ in range(2))
    assert one.cache.fetch(1) == "old" and other.cache.fetch(1) == "old"
    database.execute("UPDATE t SET name = 'new'")
    one.drops(1)
    other.drops(1)
    until(lambda: memcached.get(b"forebay:users:1") is None)
    one.beats()
    other.beats()
    assert one.cache.fetch(1) == "new" and other.cache.fetch(1) == "new"


def test_a_payload_is_what_its_document_says():
    assert json.loads(payload_of(Message("users", (1, uuid.UUID(int=0)), 0, "ab"))) == [
        "users", [1, {"uuid": "00000000-0000-0000-0000-000000000000"}], {"from": "ab"},
    ]  # fmt: skip
