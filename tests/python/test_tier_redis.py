# SPDX-License-Identifier: Apache-2.0
"""Tiers on Redis: two arenas are two machines, and the server is a real one."""

import logging
import os
import pickle
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import redis

import forebay
from forebay import _shared
from forebay._loading_options import Options
from forebay.testing import servers
from forebay.tiers._envelope import HEAD, PLACEHOLDER, VALUE, head_of, open_envelope
from forking import fork_to_run, wait_for
from forwarder import Forwarder, turns_of
from pooled import Call
from tiered import LONG, Machine, Source, until

pytestmark = pytest.mark.long

TIMEOUT = 0.3  # of clients that are to fail


def client_of(where, **options):
    return redis.Redis(
        unix_socket_path=str(where), **{"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "retry": None, "retry_on_error": [], **options}
    )


@pytest.fixture
def server(redis_server):
    """Of this session, empty."""
    yield redis_server
    redis_server.call("FLUSHALL")


@pytest.fixture
def own_server(folder):
    with servers.start_redis(folder) as server:
        yield server


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def make():
    """Machines; closed at the end."""
    made = []

    def machine(where, source, *, client=None, timeout=5.0, tier_options=None, **options):
        client = client if client is not None else client_of(where, socket_timeout=timeout, socket_connect_timeout=timeout)
        tier = forebay.tiers.Redis(client, **(tier_options or {}))
        made.append(Machine(tier, source, **options))
        return made[-1]

    yield machine
    for machine in made:
        machine.close()


@pytest.fixture
def pair(make, server, source):
    return make(server.unix_path, source), make(server.unix_path, source)


def heard(machine):
    """Wait until all that was said before now is done, and what was to be looked at again."""
    channel = machine.listener.channel
    begin = channel.now()
    until(lambda: channel.now() - channel.age() > begin + 300)


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


def test_own_fills_are_not_thrown_away_by_what_the_server_says_of_them(pair):
    here, there = pair
    here.cache.fetch_many(range(100))
    there.cache.fetch_many(range(100))
    here.cache.set(200, "set")
    heard(here)
    assert len(here.cache.get_many(range(201))) == 101


class Verdict:
    """What another process of the machine would do if it heard that this key was changed."""

    def __init__(self, machine, server, key):
        self.raw, self.key, self.name = machine.arena.cache("users"), key, machine.name(key)
        self.tier = forebay.tiers.Redis(client_of(server.unix_path, socket_timeout=5, socket_connect_timeout=5))
        self.part = self.tier.bind(self.raw, Options())

    def __call__(self, meanwhile=lambda: None):
        """meanwhile: is done when the server has answered."""
        store = SimpleNamespace(get_many=lambda names: (self.tier.store.get_many(names), meanwhile())[0])
        return self.part.verdicts(store, self.raw, {self.name: self.key})[self.name]


def test_a_fill_that_ends_after_the_server_was_asked_about_it_is_kept(make, server, source):
    here = make(server.unix_path, source)
    source.stop()
    verdict, thread = Verdict(here, server, 1), threading.Thread(target=lambda: here.cache.fetch(1))
    thread.start()
    source.wait_until_it_runs()
    assert verdict(lambda: (source.may_go_on.set(), thread.join())) == "keep"
    assert verdict.raw.get(1) == source.value_of(1)
    assert verdict() == "keep"
    verdict.raw.delete(1)
    assert verdict() == "forget"


def test_a_write_that_ends_after_the_server_was_asked_about_it_is_kept(make, server, source, monkeypatch):
    here = make(server.unix_path, source)
    here.cache.set(1, "old")
    part = _shared._parts[here.cache].tier
    store_here, written, may_go_on = part._store_here, threading.Event(), threading.Event()

    def held(*arguments):
        written.set()
        assert may_go_on.wait(LONG)
        store_here(*arguments)

    monkeypatch.setattr(part, "_store_here", held)
    verdict, thread = Verdict(here, server, 1), threading.Thread(target=lambda: here.cache.set(1, "new"))
    thread.start()
    assert written.wait(LONG)
    assert verdict(lambda: (may_go_on.set(), thread.join())) == "keep"
    assert verdict.raw.get(1) == "new"


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


# ---- races ----


def test_what_was_invalidated_while_it_was_loaded_is_returned_and_stored_nowhere(pair, source, server):
    here, there = pair
    for deleter in (here, there):
        source.rows[1] = "old"
        source.stop()
        call = Call(here.cache.fetch, 1)
        source.wait_until_it_runs()
        source.rows[1] = "new"
        deleter.cache.delete(1)
        source.may_go_on.set()
        assert call.result() == "old"
        assert server.call("EXISTS", here.name(1)) == 0 and here.cache.get(1) is None
        assert here.tier.stats()["stored"] == 0
        assert here.cache.fetch(1) == "new"
        here.cache.delete(1)
        here.tier._counts.stored = 0
    assert here.tier.stats()["refused"] == 2


def test_what_was_set_while_it_was_loaded_stays(pair, source):
    here, there = pair
    source.rows[1] = "old"
    source.stop()
    call = Call(here.cache.fetch, 1)
    source.wait_until_it_runs()
    there.cache.set(1, "new")
    source.may_go_on.set()
    assert call.result() in ("old", "new")
    until(lambda: here.cache.fetch(1) == "new")
    assert there.cache.fetch(1) == "new"


def test_two_machines_that_load_at_once_agree(pair, source, server):
    here, there = pair
    source.stop()
    calls = [Call(machine.cache.fetch, 1) for machine in pair]
    source.wait_until_it_runs()
    source.wait_until_it_runs()
    source.may_go_on.set()
    assert [call.result() for call in calls] == [source.value_of(1)] * 2
    assert open_envelope(server.call("GET", here.name(1))).state == VALUE
    source.rows[1] = "new"
    there.cache.delete(1)
    until(lambda: here.cache.get(1) is None)
    assert here.cache.fetch(1) == "new"


def test_refresh_is_not_undone_by_an_older_load_elsewhere(pair, source):
    here, there = pair
    source.rows[1] = "old"
    source.stop()
    call = Call(there.cache.fetch, 1)
    source.wait_until_it_runs()
    source.rows[1] = "new"
    refresh = Call(here.cache.refresh, 1)
    source.wait_until_it_runs()
    source.may_go_on.set()
    assert refresh.result() == "new" and call.result() == "old"
    until(lambda: there.cache.fetch(1) == "new")
    assert here.cache.fetch(1) == "new"


def test_a_refresh_reaches_the_other_machine(pair, source):
    here, there = pair
    here.cache.fetch(1), there.cache.fetch(1)
    source.rows[1] = "new"
    assert here.cache.refresh(1) == "new"
    until(lambda: there.cache.get(1) is None)
    source.forget()
    assert there.cache.fetch(1) == "new" and source.asked == []


def test_old_entries_are_refreshed_through_the_tier(make, server, source):
    here, there = (make(server.unix_path, source, ttl=0.5, stale=100) for _ in range(2))
    here.cache.fetch(1), there.cache.fetch(1)
    source.rows[1] = "new"
    until(lambda: here.cache.fetch(1) == "new")
    until(lambda: there.cache.fetch(1) == "new")


def test_a_load_that_takes_longer_than_placeholders_live_is_stored_all_the_same(make, server):
    def load(key):
        time.sleep(0.06)
        return key

    machine = make(server.unix_path, None, loads=False, load=load, load_timeout=0.5)
    assert machine.cache.fetch_many(range(20)) == {key: key for key in range(20)}
    stored = [name for name in server.call("KEYS", "*") if server.call("GET", name)[3:4] == VALUE]
    assert len(stored) == 20


def test_overlapping_batches_of_many_threads(pair, source):
    starts = [number * 7 % 60 for number in range(12)]
    calls = [Call(pair[number % 2].cache.fetch_many, range(start, start + 40)) for number, start in enumerate(starts)]
    for start, call in zip(starts, calls):
        assert call.result() == {key: source.value_of(key) for key in range(start, start + 40)}
    assert all(source.keys.count(key) <= 2 for key in set(source.keys))  # once on each machine


def test_an_interrupt_in_a_load_leaves_nothing_that_lasts(make, server, source):
    class Stop(BaseException):
        pass

    machine = make(server.unix_path, source, load_timeout=0.5)
    source.error = Stop()
    with pytest.raises(Stop):
        machine.cache.fetch(1)
    source.error = None
    assert machine.cache.fetch(1) == source.value_of(1)
    taken, lease = machine.cache._lease_take(2, 1000)
    assert taken == 1
    machine.cache._lease_end(lease)
    until(lambda: (there := server.call("GET", machine.name(1))) is None or there[3:4] == VALUE)


def test_an_interrupted_write_leaves_no_old_value_here(make, server, source, monkeypatch):
    machine = make(server.unix_path, source)
    machine.cache.fetch(1)

    def interrupted(items):
        raise KeyboardInterrupt

    monkeypatch.setattr(machine.tier.store, "set_many", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.cache.set(1, "new")
    assert machine.cache.get(1) is None
    taken, lease = machine.cache._lease_take(1, 1000)
    assert taken == 1


# ---- a tier that fails ----


def fast(call, *arguments, seconds=0.1):
    begin = time.monotonic()
    result = call(*arguments)
    assert time.monotonic() - begin < seconds + 2, time.monotonic() - begin
    return result


@pytest.fixture
def frail(make, own_server, source):
    """A machine that goes on for a minute by what it has when nothing is heard."""
    return make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 60})


def left_out(machine, source):
    """Callers get their values, first within the client's timeouts, then without asking."""
    for key in range(100, 103):
        assert fast(machine.cache.fetch, key, seconds=3 * TIMEOUT) == source.value_of(key)
    assert machine.tier.is_left_out
    breaker = machine.tier.breaker if machine.tier.breaker.is_open else machine.tier.writing
    breaker._until = time.monotonic() + 60  # it would try again
    skipped, errors = machine.tier.stats()["skipped"], machine.tier.stats()["errors"]
    begin = time.monotonic()
    for key in range(200, 300):
        assert machine.cache.fetch(key) == source.value_of(key)
    assert time.monotonic() - begin < 5
    stats = machine.tier.stats()
    assert stats["errors"] == errors and stats["skipped"] > skipped and stats["state"] == "open"
    breaker._until = time.monotonic()


def healed(machine, source):
    def works():
        key = time.monotonic_ns()
        machine.cache.fetch(key)
        return machine.tier.client.exists(machine.name(key))

    until(works)
    assert machine.tier.stats()["state"] == "closed"
    machine.hears()


def test_a_server_that_stands_still(frail, own_server, source):
    frail.cache.fetch(1)
    own_server.hold()
    left_out(frail, source)
    own_server.go_on()
    healed(frail, source)


def test_a_server_that_is_killed(frail, own_server, source):
    own_server.stop()
    left_out(frail, source)
    own_server.restart()
    healed(frail, source)


def test_a_server_without_memory(frail, own_server, source):
    own_server.call("CONFIG", "SET", "maxmemory", "1")
    left_out(frail, source)
    own_server.call("CONFIG", "SET", "maxmemory", "0")
    healed(frail, source)


def test_a_replica(frail, own_server, source):
    own_server.call("REPLICAOF", "127.0.0.1", "1")
    left_out(frail, source)
    own_server.call("REPLICAOF", "NO", "ONE")
    healed(frail, source)


def test_what_the_tier_does_not_know_is_kept_for_a_moment_only(make, own_server, source):
    machine = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 5})
    own_server.stop()
    for key in range(4):
        machine.cache.fetch(key)
    assert 0 < machine.cache._ttl_left(3) <= 5000
    machine.cache.set(9, "set")
    assert 0 < machine.cache._ttl_left(9) <= 5000


def test_what_is_kept_for_a_moment_is_not_refreshed_all_the_time(make, own_server, source):
    machine = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 20}, stale=100)
    own_server.stop()
    for key in range(4):
        machine.cache.fetch(key)
    machine.tier.breaker._until = time.monotonic() + 60
    machine.cache.fetch(4)
    source.forget()
    for _ in range(100):
        assert machine.cache.fetch(4) == source.value_of(4)
    time.sleep(0.1)  # a refresh would have begun
    assert source.asked == []


def test_deletions_are_owed_and_paid(make, own_server, source):
    here = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 60})
    there = make(own_server.unix_path, source, timeout=5, tier_options={"max_stale": 60})
    here.cache.fetch_many([1, 2, 3]), there.cache.fetch_many([1, 2, 3])
    source.rows.update({1: "new", 2: "new"})
    own_server.hold()
    here.cache.delete(1)
    here.cache.delete_many([2])
    assert here.tier.stats()["owed"] == 2
    assert here.cache.fetch(1) == "new"
    own_server.go_on()
    until(lambda: here.cache.fetch(time.monotonic_ns()) and here.tier.stats()["owed"] == 0)
    until(lambda: there.cache.get(1) is None and there.cache.get(2) is None)
    assert there.cache.fetch_many([1, 2]) == here.cache.fetch_many([1, 2]) == {1: "new", 2: "new"}


def test_a_value_that_could_not_be_set_is_owed(make, own_server, source):
    here = make(own_server.unix_path, source, timeout=TIMEOUT, tier_options={"max_stale": 60})
    there = make(own_server.unix_path, source, tier_options={"max_stale": 60})
    here.cache.set(1, "old")
    heard(here)
    own_server.call("CONFIG", "SET", "maxmemory", "1")
    here.cache.set(1, "new")
    assert here.cache.get(1) == "new" and here.tier.stats()["owed"] == 1
    own_server.call("CONFIG", "SET", "maxmemory", "0")
    source.rows[1] = "new"
    until(lambda: here.cache.fetch(time.monotonic_ns()) and here.tier.stats()["owed"] == 0)
    assert there.cache.fetch(1) == "new"


def test_a_debt_that_grew_while_it_was_paid_stays(make, server, source):
    tier = make(server.unix_path, source).tier
    tier.owe([b"a", b"b"])
    steps = tier.pay()
    assert sorted(next(steps).arguments[0]) == [b"a", b"b"]
    tier.owe([b"a"])
    with pytest.raises(StopIteration):
        steps.send(None)
    assert tier.is_owed(b"a") and not tier.is_owed(b"b")


def test_only_so_much_is_owed(make, server, source, monkeypatch):
    monkeypatch.setattr("forebay.tiers._debts.MOST", 10)
    tier = make(server.unix_path, source).tier
    tier.owe(b"%d" % number for number in range(15))
    tier.owe([b"1"])
    assert tier.stats()["owed"] == 10 and tier.stats()["forgotten"] == 5


def test_what_is_owed_is_neither_read_nor_stored(make, server, source):
    machine = make(server.unix_path, source)
    machine.cache.set(1, "old")
    machine.cache._delete_here(1)
    machine.tier.owe([machine.name(1)])
    assert machine.cache.fetch(1) == source.value_of(1)
    assert machine.tier.stats()["owed"] == 0


# ---- processes ----


def children(count, work):
    return [fork_to_run(lambda number=number: work(number)) for number in range(count)]


def test_a_loader_that_is_killed_holds_nobody_up_for_long(make, server, folder):
    """Placeholder and lease end with load_timeout, and with the process."""
    path = folder / "arena"

    def load(keys):
        os.kill(os.getpid(), signal.SIGKILL)

    def child():
        with forebay.open(path, "16MiB") as arena:
            Machine(forebay.tiers.Redis(client_of(server.unix_path)), None, arena=arena, loads=False, load_many=load, load_timeout=1.0).cache.fetch(1)

    for pid in children(2, lambda number: child()):
        wait_for(pid, -signal.SIGKILL)
    source = Source()
    machine = make(server.unix_path, source, arena=forebay.open(path, "16MiB"), load_timeout=1.0)
    other = make(server.unix_path, source)
    assert machine.cache.fetch(1) == other.cache.fetch(1) == source.value_of(1)
    until(lambda: (there := server.call("GET", machine.name(1))) is None or open_envelope(there).state != PLACEHOLDER)
    machine.cache.delete(1), other.cache.delete(1)
    assert machine.cache.fetch(1) == source.value_of(1)
    assert open_envelope(server.call("GET", machine.name(1))).state == VALUE


def test_a_cold_start_of_eight_processes_asks_the_source_once_for_each_key(make, server, folder):
    make(server.unix_path, None, arena=forebay.open(folder / "arena", "16MiB"), loads=False)  # somebody listens already
    read, write = os.pipe()
    keys = list(range(400))

    def load(wanted):
        os.write(write, b"".join(b"%d\n" % key for key in wanted))
        time.sleep(0.01)
        return {key: key * 10 for key in wanted}

    def work(number):
        with forebay.open(folder / "arena", "16MiB") as arena:
            machine = Machine(forebay.tiers.Redis(client_of(server.unix_path)), None, arena=arena, loads=False, load_many=load)
            for _ in range(3):
                assert machine.cache.fetch_many(keys[number * 50 :] + keys[: number * 50]) == {key: key * 10 for key in keys}

    pids = children(8, work)
    for pid in pids:
        wait_for(pid)
    os.close(write)
    with os.fdopen(read) as told:
        assert sorted(int(line) for line in told.read().split()) == keys


def test_a_child_of_a_fork_goes_on(pair, source):
    here, there = pair
    here.cache.fetch(1)
    here.tier._lock.acquire()  # as if another thread had them
    here.tier.dictionaries._lock.acquire()

    def child():
        assert here.cache.get(1) == source.value_of(1)
        assert here.cache.fetch(2) == source.value_of(2)
        here.cache.set(3, "child")
        here.cache.delete(1)

    pid = fork_to_run(child)
    here.tier._lock.release()
    here.tier.dictionaries._lock.release()
    wait_for(pid)
    until(lambda: here.cache.get(1) is None)
    source.forget()
    assert there.cache.fetch_many([2, 3]) == {2: source.value_of(2), 3: "child"} and source.asked == []


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


def test_nothing_secret_is_in_what_is_shown(server):
    client = redis.Redis(host="example.invalid", username="me", password="secret", socket_timeout=1, socket_connect_timeout=1)
    tier = forebay.tiers.Redis(client, coherent=False)
    assert "secret" not in repr(tier) and "example.invalid" in repr(tier)


def test_it_says_that_a_tier_is_left_out(frail, own_server, source, caplog):
    caplog.set_level(logging.WARNING, "forebay.tiers")
    own_server.stop()
    for key in range(5):
        frail.cache.fetch(key)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "forebay.tiers"]
    assert said.startswith("tier unix://") and " is left out: ConnectionError: " in said


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


def test_what_the_tier_had_is_each_caller_s_own(make, server, source, monkeypatch):
    machine = make(server.unix_path, source)
    machine.cache.set(1, {"list": []})
    machine.cache._delete_here(1)
    asked, may_go_on = threading.Event(), threading.Event()
    get_many = machine.tier.store.get_many

    def held(names):
        asked.set()
        assert may_go_on.wait(LONG)
        return get_many(names)

    monkeypatch.setattr(machine.tier.store, "get_many", held)
    first = Call(machine.cache.fetch_many, [1])
    assert asked.wait(LONG)
    second = Call(machine.cache.fetch_many, [1])
    flights = machine.cache._loading.flights.table
    until(lambda: [len(flight.waiters) for flight in list(flights.values())] == [2])
    may_go_on.set()
    first.result()[1]["list"].append("mine")
    assert second.result() == {1: {"list": []}} == machine.cache.fetch_many([1])
    assert source.asked == []


def test_lazy_reads_of_what_the_tier_had_give_records(make, server, source):
    writer, reader = make(server.unix_path, source), make(server.unix_path, source, lazy=True)
    writer.cache.set(1, {"name": "Ada"})
    loaded = reader.cache.fetch(1)
    assert type(loaded) is type(reader.cache.get(1)) is not dict and loaded["name"] == "Ada"
