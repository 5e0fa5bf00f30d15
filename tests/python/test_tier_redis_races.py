# SPDX-License-Identifier: Apache-2.0
"""Tiers on Redis while threads, processes and machines do several things at once."""

import os
import signal
import threading
import time

import pytest

import forebay
from forebay import _shared
from forebay.tiers._envelope import PLACEHOLDER, VALUE, open_envelope
from forking import fork_to_run, wait_for
from pooled import Call
from tiered import LONG, Machine, Source, until
from tiered_on_redis import Verdict, client_of, heard, make, pair, server, source  # make, pair, server, source: fixtures

pytestmark = pytest.mark.long


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


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
def test_what_the_tier_had_is_each_caller_s_own(make, server, source, monkeypatch, stored):
    machine = make(server.unix_path, source)
    machine.cache.set(1, {"list": []})
    machine.cache._delete_here(1)
    heard(machine)  # what the server says of that would take the key from those who wait
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
    if not stored:
        machine.cache._lease_break(1)  # somebody has changed it
    may_go_on.set()
    first.result()[1]["list"].append("mine")
    assert second.result() == {1: {"list": []}} == machine.cache.fetch_many([1])
    assert source.asked == []


# ---- what the server says of what was written here ----


def test_own_fills_are_not_thrown_away_by_what_the_server_says_of_them(pair):
    here, there = pair
    here.cache.fetch_many(range(100))
    there.cache.fetch_many(range(100))
    here.cache.set(200, "set")
    heard(here)
    assert len(here.cache.get_many(range(201))) == 101


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
