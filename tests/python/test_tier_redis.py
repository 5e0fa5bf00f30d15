# SPDX-License-Identifier: Apache-2.0
"""Tiers on Redis: what they are for, what they hold, what they cost, and what is refused."""

import os
import pickle
import threading

import pytest
import redis

import forebay
from forebay.tiers._envelope import HEAD, PLACEHOLDER, head_of, open_envelope
from forwarder import Forwarder, turns_of
from pooled import Call
from tiered import LONG, until
from tiered_on_redis import Verdict, client_of, heard, make, pair, server, source  # make, pair, server, source: fixtures

pytestmark = pytest.mark.long


# ---- what it is for ----


def test_what_one_machine_loaded_others_have(pair, source):
    here, there = pair
    first = here.cache.fetch_many(range(50))
    assert first == {key: source.value_of(key) for key in range(50)}
    assert there.cache.fetch_many(range(50)) == first
    assert source.keys == list(range(50))
    assert there.tier.stats()["hits"] == 50 and here.tier.stats()["stored"] == 50


def test_what_is_deleted_is_gone_everywhere(pair, source):
    here, there = pair
    for machine in pair:
        machine.cache.fetch(1)
    source.rows[1] = "new"
    assert here.cache.delete(1) is True
    assert here.cache.get(1) is None
    until(lambda: there.cache.get(1) is None)
    assert there.cache.fetch(1) == here.cache.fetch(1) == "new"


def test_what_is_set_others_get(pair, source):
    here, there = pair
    there.cache.fetch_many([1, 2])
    here.cache.set(1, "set")
    here.cache.set_many({2: "many", 3: b"bytes"})
    assert here.cache.get_many([1, 2, 3]) == {1: "set", 2: "many", 3: b"bytes"}
    until(lambda: there.cache.get(1) != source.value_of(1) and there.cache.get(2) != source.value_of(2))
    assert there.cache.fetch_many([1, 2, 3]) == {1: "set", 2: "many", 3: b"bytes"}
    assert source.keys == [1, 2]


KINDS = [None, True, 2**40, -1, 2**80, 1.5, "text", b"bytes", [1, (2, 3)], {"a": {1: 2}}, b"", "", [], "x" * 5000]


def test_values_of_every_kind_travel(pair, source):
    here, there = pair
    source.rows.update(enumerate(KINDS))
    assert here.cache.fetch_many(range(len(KINDS))) == dict(enumerate(KINDS))
    found = there.cache.fetch_many(range(len(KINDS)))
    assert found == dict(enumerate(KINDS)) and [type(value) for value in found.values()] == [type(value) for value in KINDS]
    assert len(source.keys) == len(KINDS)


KEYS = [1, "1", b"1", True, ("a", 1), "\u00e9", "", "x" * 4000, "\u00e9" * 2000]


def test_keys_of_every_kind_are_told_apart(pair, source):
    here, there = pair
    for number, key in enumerate(KEYS):
        here.cache.set(key, number)
    assert [there.cache.fetch(key) for key in KEYS] == list(range(len(KEYS)))
    for key in KEYS:
        assert here.cache.delete(key)
    until(lambda: not any(key in there.cache for key in KEYS))
    assert source.asked == []


def test_one_loader_for_each_key_and_no_loader_at_all(make, server, source):
    single = make(server.unix_path, source, loads=False, load=source.one)
    without = make(server.unix_path, source, loads=False)
    assert single.cache.fetch_many([1, 2]) == {1: source.value_of(1), 2: source.value_of(2)}
    assert source.asked == [[1], [2]]
    assert without.cache.fetch_many([1, 2, 3]) == {1: source.value_of(1), 2: source.value_of(2)}
    assert without.cache.fetch(3, "none") == "none"


def test_loads_of_single_keys_run_at_the_same_time(make, server):
    both = threading.Barrier(2)

    def load(key):
        both.wait(LONG)
        return key

    machine = make(server.unix_path, None, loads=False, load=load)
    assert [call.result() for call in [Call(machine.cache.fetch, key) for key in (1, 2)]] == [1, 2]


# ---- round trips ----


@pytest.fixture
def counted(make, server, source):
    """A machine whose only round trips are those of calls."""
    with Forwarder(str(server.unix_path)) as between:
        machine = make(between.address, source, tier_options={"coherent": False})
        machine.cache.fetch(-1)  # connects; the server knows the script
        source.forget()
        machine.between = between
        yield machine


def turns(machine, call, *arguments):
    (count,) = turns_of([machine.between], call, *arguments)
    return count


def test_a_hit_makes_no_call(counted):
    counted.cache.fetch_many(range(20))
    for call in [
        (counted.cache.get, 1), (counted.cache.get_many, range(20)), (counted.cache.fetch, 1), (counted.cache.fetch_many, range(20)), (counted.cache.lazy, 2),
    ]:  # fmt: skip
        assert turns(counted, *call) == 0, call


def test_a_get_makes_no_call(counted):
    assert turns(counted, counted.cache.get, 1) == 0
    assert turns(counted, counted.cache.get_many, [1, 2]) == 0


def test_a_batch_takes_one_round_trip_to_be_read_and_three_to_be_loaded(counted, make, server, source):
    assert turns(counted, counted.cache.fetch_many, range(300)) == 3
    assert sorted(source.keys) == list(range(300))
    make(server.unix_path, source).cache.fetch_many(range(1000, 1300))
    assert turns(counted, counted.cache.fetch_many, range(1000, 1300)) == 1


def test_a_write_takes_one_round_trip(counted):
    assert turns(counted, counted.cache.set, 1, "a") == 1
    assert turns(counted, counted.cache.set_many, {key: "b" for key in range(300)}) == 1
    assert turns(counted, counted.cache.delete, 1) == 1
    assert turns(counted, counted.cache.delete_many, range(300)) == 1


# ---- time, absence, sizes ----


def test_an_entry_has_the_time_that_is_left(pair):
    here, there = pair
    here.cache.set(1, "short", ttl=50)
    here.cache.set(2, "capped", ttl=None)
    assert 40_000 < here.tier.client.pttl(here.name(1)) <= 50_000
    heard(there)
    there.cache.fetch_many([1, 2])
    assert 40_000 < there.cache._ttl_left(1) <= 50_000
    assert 86_000_000 < there.cache._ttl_left(2) <= 86_400_000


def test_what_is_absent_is_known_everywhere(make, server, source):
    here, there = (make(server.unix_path, source, absent_ttl=100) for _ in range(2))
    source.rows[1] = forebay.ABSENT
    assert here.cache.fetch(1, "none") == there.cache.fetch(1, "none") == "none"
    assert source.keys == [1]
    heard(there)  # of what was stored
    assert there.cache.fetch(1, "none") == "none" and source.keys == [1]
    assert there.cache.is_absent(1) and 90_000 < there.cache._ttl_left(1) <= 100_000


def test_what_is_absent_leaves_nothing_without_absent_ttl(pair, source, server):
    here, there = pair
    source.rows[1] = forebay.ABSENT
    assert here.cache.fetch(1) is there.cache.fetch(1) is None
    assert source.keys == [1, 1]
    until(lambda: server.call("EXISTS", here.name(1)) == 0)


def test_a_refresh_that_finds_nothing_takes_the_value_away(pair, source):
    here, there = pair
    here.cache.fetch(1), there.cache.fetch(1)
    source.rows[1] = forebay.ABSENT
    assert here.cache.refresh(1, "none") == "none"
    until(lambda: there.cache.get(1) is None)
    assert there.cache.fetch(1, "none") == here.cache.fetch(1, "none") == "none"


def test_a_value_that_no_arena_takes_is_loaded_each_time_and_marked(make, server, source):
    machine = make(server.unix_path, source, size="1MiB")
    source.rows[1] = os.urandom(machine.arena.max_entry + 10)
    assert machine.cache.fetch(1) == machine.cache.fetch(1) == source.rows[1]
    assert source.keys == [1, 1] and machine.tier.stats()["too_big"] == 1
    assert server.call("STRLEN", machine.name(1)) < 100
    with pytest.raises(forebay.TooBigError, match="entry of this arena"):
        machine.cache.set(2, source.rows[1])


def test_a_value_that_cannot_be_stored_is_an_error_of_its_key(pair, source):
    here, _ = pair
    source.rows[1] = object()
    with pytest.raises(TypeError):
        here.cache.fetch(1)
    assert here.cache.fetch(2) == source.value_of(2)
    with pytest.raises(TypeError):
        here.cache.set(1, object())


def test_an_error_of_the_source_is_the_callers_and_leaves_no_placeholder(pair, source, server):
    here, there = pair
    source.error = ValueError("the database says no")
    with pytest.raises(ValueError, match="says no"):
        here.cache.fetch(1)
    until(lambda: server.call("EXISTS", here.name(1)) == 0)
    source.error = None
    assert there.cache.fetch(1) == source.value_of(1)
    assert there.tier.stats()["stored"] == 1


def test_set_many_of_more_than_there_are_leases(make, server, source):
    here, there = (make(server.unix_path, source, size="1MiB") for _ in range(2))
    items = {key: key for key in range(2500)}
    here.cache.set_many(items)
    assert there.cache.fetch_many(items) == here.cache.fetch_many(items) == items
    assert source.asked == []


def test_fetch_many_of_more_than_there_are_leases(make, server, source):
    here, there = (make(server.unix_path, source, size="1MiB") for _ in range(2))
    wanted = {key: source.value_of(key) for key in range(1500)}
    assert here.cache.fetch_many(wanted) == wanted
    source.forget()
    assert there.cache.fetch_many(wanted) == wanted
    assert source.asked == []


# ---- what it holds ----


def test_versions_do_not_see_each_other(make, server, source):
    old, new = make(server.unix_path, source, version=1), make(server.unix_path, source, version=2)
    old.cache.set(1, "old")
    new.cache.set(1, "new")
    assert (old.cache.fetch(1), new.cache.fetch(1)) == ("old", "new")
    assert {old.name(1), new.name(1)} == set(server.call("KEYS", "*")) == {b"forebay:users@1:1", b"forebay:users@2:1"}


def test_prefixes_and_caches_do_not_see_each_other(make, server, source):
    machines = [
        make(server.unix_path, source), make(server.unix_path, source, name="orders"), make(server.unix_path, source, tier_options={"prefix": "other:"}),
    ]  # fmt: skip
    for number, machine in enumerate(machines):
        machine.cache.set(1, number)
    assert [machine.cache.fetch(1) for machine in machines] == [0, 1, 2]


@pytest.mark.parametrize("there", [b"", b"junk", b"FB\x01V", b"FB\x02V" + bytes(40), b"FB\x01V" + bytes(8) + b"\x02\x00" + bytes(8) + b"\xc1"])
def test_what_another_program_wrote_is_a_miss(there, make, server, source):
    machine = make(server.unix_path, source)
    server.call("SET", machine.name(1), there)
    heard(machine)
    assert machine.cache.fetch(1) == source.value_of(1)
    assert machine.cache.get(1) == source.value_of(1)
    assert server.call("GET", machine.name(1)) == there
    assert machine.cache.delete(1) and server.call("EXISTS", machine.name(1)) == 0


def test_a_list_of_another_program_is_a_miss(make, server, source):
    machine = make(server.unix_path, source)
    server.call("LPUSH", machine.name(1), "x")
    heard(machine)
    assert machine.cache.fetch(1) == source.value_of(1)


def test_names_of_caches_that_this_machine_has_not_harm_nobody(pair, server):
    here, there = pair
    for number in range(60):
        server.call("SET", f"forebay:other{number}:1", "x")
    for name in ("forebay::1", "forebay:users@-5:1", "forebay:users@99999999999:1", "forebay:" + "x" * 60 + ":1", "forebay:x"):
        server.call("SET", name, "x")
    here.cache.fetch(1), there.cache.fetch(1)
    here.cache.delete(1)
    until(lambda: there.cache.get(1) is None)
    assert set(there.arena.caches()) == {"users", "forebay.tiers"}


@pytest.mark.filterwarnings("ignore::forebay.PickleWarning")
def test_hooks_and_serializers(make, server, source):
    source.rows[1] = {"a": 1}
    for options in ({"serializer": "json"}, {"serializer": "pickle"}, {"lazy": True}):
        machines = [make(server.unix_path, source, name=str(options)[:40], **options) for _ in range(2)]
        source.forget()
        assert [dict(machine.cache.fetch(1)) for machine in machines] == [{"a": 1}] * 2
        assert source.keys == [1]


def test_lazy_reads_of_what_the_tier_had_give_records(make, server, source):
    writer, reader = make(server.unix_path, source), make(server.unix_path, source, lazy=True)
    writer.cache.set(1, {"name": "Ada"})
    loaded = reader.cache.fetch(1)
    assert type(loaded) is type(reader.cache.get(1)) is not dict and loaded["name"] == "Ada"


def test_placeholders_are_what_the_document_says(make, server, source):
    machine = make(server.unix_path, source, load_timeout=20)
    source.stop()
    call = Call(machine.cache.fetch, 1)
    source.wait_until_it_runs()
    there = server.call("GET", machine.name(1))
    assert len(there) == HEAD and there.startswith(head_of(PLACEHOLDER, b""))
    assert 10_000 < server.call("PTTL", machine.name(1)) <= 20_000
    source.may_go_on.set()
    call.result()


# ---- compression ----


def rows(count):
    return {key: {"name": f"Ada Lovelace number {key}", "city": "London", "tags": ["mathematics", "engines"], "n": key * 7919} for key in range(count)}


@pytest.fixture
def trained(make, server, source):
    """Two machines of which one has a dictionary."""
    source.rows.update(rows(3000))
    machine = make(server.unix_path, source)
    machine.arena.cache("users").set_many({key: value for key, value in source.rows.items() if key >= 1000})
    assert machine.cache.train()
    assert machine.cache._dictionary_id() != 0
    return machine, make(server.unix_path, source)


def dictionaries_of(server):
    return [name for name in server.call("KEYS", "*") if b".dictionary." in name]


def test_compressed_values_travel_compressed(trained, server, source):
    here, there = trained
    here.cache.fetch_many(range(100))
    raw = open_envelope(server.call("GET", here.name(1)))
    assert raw.digest and len(raw.data) < len(here.cache._payload(source.rows[1])[1]) / 1.5
    assert len(dictionaries_of(server)) == 1
    source.forget()
    assert there.cache.fetch_many(range(100)) == {key: source.rows[key] for key in range(100)}
    assert source.asked == [] and there.cache._dictionary_id() == 0


def test_what_another_process_of_the_machine_has_packed_is_kept(trained, server):
    here, _ = trained
    here.cache.fetch(1)
    verdict = Verdict(here, server, 1)
    assert verdict() == "keep"
    server.call("DEL", *dictionaries_of(server))
    assert verdict() == "keep"  # it knows it by now
    assert Verdict(here, server, 1)() == "forget"  # nobody can say what that is


def test_a_dictionary_that_is_gone_is_a_miss_and_is_healed(trained, make, server, source):
    here, there = trained
    here.cache.fetch_many(range(10))
    server.call("DEL", *dictionaries_of(server))
    source.forget()
    assert there.cache.fetch_many(range(10)) == {key: source.rows[key] for key in range(10)}
    assert sorted(source.keys) == list(range(10))
    third = make(server.unix_path, source)
    source.forget()
    assert third.cache.fetch_many(range(10)) == {key: source.rows[key] for key in range(10)}
    assert source.asked == []


def test_compress_false_travels_as_it_is(make, server, source):
    machine = make(server.unix_path, source, tier_options={"compress": False})
    source.rows[1] = "x" * 10_000
    machine.cache.fetch(1)
    assert not open_envelope(server.call("GET", machine.name(1))).codec
    assert server.call("STRLEN", machine.name(1)) > 10_000


# ---- what is refused ----


def test_a_client_without_timeouts_is_refused(server):
    for options in ({"socket_timeout": None}, {"socket_timeout": None, "socket_connect_timeout": None}):
        with pytest.raises(ValueError, match=r"waits for ever: make it with socket_timeout= and socket_connect_timeout="):
            forebay.tiers.Redis(client_of(server.unix_path, **options))


def test_wrong_objects_are_refused(server, arena, source):
    client = client_of(server.unix_path)
    tier = forebay.tiers.Redis(client)
    with pytest.raises(TypeError, match="takes a client of redis-py or valkey-py, not builtins.str"):
        forebay.tiers.Redis("redis://localhost")
    with pytest.raises(TypeError, match="takes a client of pymemcache or pylibmc"):
        forebay.tiers.Memcached(client)
    with pytest.raises(TypeError, match=r"as forebay.tiers.Redis\(client\), not Redis"):
        arena.cache("a", tier=client)
    with pytest.raises(TypeError, match="bus must be one of forebay.buses"):
        arena.cache("a", tier=tier, bus=client)
    with pytest.raises(TypeError, match="coroutine function, and the client of the tier is for threads"):
        arena.cache("a", tier=tier, load_many=source.aread)
    for prefix in ("", "a b", "\u00e9", 5, "a\n"):
        with pytest.raises(ValueError, match="printable ASCII"):
            forebay.tiers.Redis(client, prefix=prefix)
    for options in ({"max_age": 0}, {"max_age": -1}, {"max_stale": -1}):
        with pytest.raises(ValueError, match="max_"):
            forebay.tiers.Redis(client, **options)


REFUSED = {
    "add": (1, 2), "replace": (1, 2), "incr": (1,), "decr": (1,), "touch": (1,), "cas": (1, 2, 3), "get_or_set": (1, 2), "setdefault": (1, 2),
    "set_absent": (1,), "popitem": (), "prime": ({1: 2},), "invalidate_tag": ("t",), "clear": (),
}  # fmt: skip


def test_what_is_one_machines_is_refused(pair):
    here, _ = pair
    for method, arguments in REFUSED.items():
        with pytest.raises(TypeError, match=r"is for caches of one machine, and others share 'users'"):
            getattr(here.cache, method)(*arguments)
    with pytest.raises(TypeError, match="tags are one machine's"):
        here.cache.set(1, 2, tags=["t"])
    with pytest.raises(TypeError, match="one machine"):
        here.cache.namespace("n").clear()


def test_every_method_that_writes_is_either_shared_or_refused():
    """Whoever adds one to Cache decides what it is for caches that machines share."""
    reads = {
        "afetch", "afetch_many", "arefresh", "arena", "fetch", "fetch_many", "get", "get_many", "gets", "is_absent", "items", "keys", "lazy", "memoize",
        "name", "namespace", "refresh", "serializer", "stats", "train", "ttl", "update", "values", "version", "view",
    }  # fmt: skip
    own = {name for name in vars(forebay.SharedCache) if not name.startswith("_")}
    assert {name for name in dir(forebay.Cache) if not name.startswith("_")} - own == reads


def test_mapping_methods_reach_all_machines(pair):
    here, there = pair
    here.cache[1] = "item"
    here.cache.update({2: "update"}, )
    here.cache.namespace("n").set(3, "space")
    assert there.cache.fetch_many([1, 2]) == {1: "item", 2: "update"} and there.cache.fetch(("n", 3)) == "space"
    del here.cache[1]
    assert here.cache.pop(2) == "update" and here.cache.pop(2, "gone") == "gone"
    assert here.cache.namespace("n").delete(3)
    until(lambda: not any(key in there.cache for key in (1, 2, ("n", 3))))
    for missing in (lambda: here.cache.__delitem__(1), lambda: here.cache.pop(1)):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(ValueError, match="ttl"):
        here.cache.set(1, 2, ttl=0)
    with pytest.raises(TypeError, match="iterable of keys"):
        here.cache.delete_many("ab")


def test_a_tier_and_its_cache_are_not_pickled(make, server, source, path):
    machine = make(server.unix_path, source, arena=forebay.open(path, "16MiB"), loads=False)
    for thing in (machine.tier, machine.cache):
        with pytest.raises(TypeError, match="make client, tier and cache in each process"):
            pickle.dumps(thing)


def test_nothing_secret_is_in_what_is_shown(server):
    client = redis.Redis(host="example.invalid", username="me", password="secret", socket_timeout=1, socket_connect_timeout=1)
    tier = forebay.tiers.Redis(client, coherent=False)
    assert "secret" not in repr(tier) and "example.invalid" in repr(tier)
