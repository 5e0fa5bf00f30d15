# SPDX-License-Identifier: Apache-2.0
"""Tiers on asyncio clients of Redis."""

import asyncio
import time

import pytest
import redis.asyncio

import forebay
from store_calls import Loop
from tiered import Machine, until
from tiered_on_redis import own_server, server, source  # fixtures

TIMEOUT = 0.3


@pytest.fixture(scope="module")
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def make(loop):
    made = []

    def machine(server, source, *, timeout=5.0, tier_options=None, **options):
        client = redis.asyncio.Redis(
            unix_socket_path=str(server.unix_path), socket_timeout=timeout, socket_connect_timeout=timeout, retry=None, retry_on_error=[],
        )  # fmt: skip
        made.append((Machine(forebay.tiers.Redis(client, **(tier_options or {})), source, **options), client))
        return made[-1][0]

    yield machine
    for machine, client in made:
        machine.close()
        loop.run(client.aclose())


@pytest.fixture
def pair(make, server, source):
    return make(server, source), make(server, source)


def test_what_one_machine_loaded_others_have(pair, source, loop):
    here, there = pair
    wanted = {key: source.value_of(key) for key in range(250)}
    assert loop.run(here.cache.afetch_many(wanted)) == wanted
    source.forget()
    assert loop.run(there.cache.afetch_many(wanted)) == wanted
    assert loop.run(there.cache.afetch(1)) == source.value_of(1)
    assert source.asked == []


def test_writes_reach_all_machines(pair, loop, source):
    here, there = pair
    loop.run(there.cache.afetch(1))
    loop.run(here.cache.aset(1, "set"))
    loop.run(here.cache.aset_many({2: "many"}, ttl=50))
    until(lambda: there.cache.get(1) is None)
    assert loop.run(there.cache.afetch_many([1, 2])) == {1: "set", 2: "many"}
    assert loop.run(here.cache.adelete(1)) is True and loop.run(here.cache.adelete_many([2, 3])) == 1
    until(lambda: there.cache.get(1) is None and there.cache.get(2) is None)
    assert loop.run(here.cache.ainvalidate(1)) is False
    assert loop.run(here.cache.afetch(1)) == source.value_of(1)


def test_functions_that_would_block_are_refused(make, server, source):
    machine = make(server, source)
    for call, name in [(lambda: machine.cache.set(1, 2), "aset"), (lambda: machine.cache.delete(1), "adelete"), (lambda: machine.cache.pop(1), "adelete")]:
        with pytest.raises(TypeError, match=rf"for asyncio: use `await cache\.{name}\(\)`"):
            call()
    with pytest.raises(TypeError, match=r"await cache.afetch\(\)"):
        machine.cache.fetch(1)
    with pytest.raises(TypeError, match="a plain function, and the client of the tier is for asyncio"):
        machine.arena.cache("other", tier=machine.tier, load_many=source.read)


def test_many_tasks_that_want_the_same_load_once(pair, source, loop):
    async def all_of(cache):
        return await asyncio.gather(*(cache.afetch(key % 20) for key in range(200)))

    here, there = pair
    assert loop.run(all_of(here.cache)) == [source.value_of(key % 20) for key in range(200)]
    assert sorted(source.keys) == list(range(20))
    assert loop.run(all_of(there.cache)) == [source.value_of(key % 20) for key in range(200)]
    assert len(source.keys) == 20


def test_loads_of_single_keys_run_at_the_same_time(make, server, loop):
    async def main():
        both = asyncio.Event()
        inside = set()

        async def load(key):
            inside.add(key)
            if len(inside) == 3:
                both.set()
            await both.wait()
            return key

        machine = make(server, None, loads=False, load=load)
        return await asyncio.wait_for(machine.cache.afetch_many([1, 2, 3]), 30)

    assert loop.run(main()) == {1: 1, 2: 2, 3: 3}


def test_one_of_many_parts_fails_alone(make, server, loop):
    async def load(key):
        if key == 2:
            raise LookupError("no two")
        return key

    machine = make(server, None, loads=False, load=load)

    async def main():
        return await asyncio.gather(*(machine.cache.afetch(key) for key in (1, 2, 3)), return_exceptions=True)

    one, two, three = loop.run(main())
    assert (one, three) == (1, 3) and isinstance(two, LookupError)


def test_a_load_that_is_invalidated_is_stored_nowhere(pair, source, server, loop):
    here, there = pair
    source.stop()
    call = asyncio.run_coroutine_threadsafe(here.cache.afetch(1), loop.loop)
    source.wait_until_it_runs()
    loop.run(there.cache.adelete(1))
    source.may_go_on.set()
    assert call.result(30) == source.value_of(1)
    assert server.call("EXISTS", here.name(1)) == 0 and here.cache.get(1) is None


def test_a_cancelled_caller_leaves_nothing_behind(make, source, server, loop):
    machine = make(server, source, load_timeout=1)

    async def cancelled():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(machine.cache.afetch(1), 0.05)

    source.stop()
    loop.run(cancelled())
    source.may_go_on.set()
    assert loop.run(machine.cache.afetch(1)) == source.value_of(1)


def test_a_cancelled_write_leaves_no_old_value_here(make, own_server, source, loop):
    machine = make(own_server, source)
    loop.run(machine.cache.aset(1, "old"))

    async def cancelled():
        task = asyncio.ensure_future(machine.cache.aset(1, "new"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    own_server.hold()
    loop.run(cancelled())
    own_server.go_on()
    assert machine.cache.get(1) is None
    assert loop.run(machine.cache.afetch(1)) in ("old", "new", source.value_of(1))


def test_a_cancelled_delete_is_owed(make, own_server, source, loop):
    machine = make(own_server, source)
    loop.run(machine.cache.aset(1, "old"))

    async def cancelled():
        task = asyncio.ensure_future(machine.cache.adelete(1))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    own_server.hold()
    loop.run(cancelled())
    own_server.go_on()
    assert machine.cache.get(1) is None
    assert loop.run(machine.cache.afetch(1)) == source.value_of(1)


def test_a_tier_that_fails_is_left_out_and_comes_back(make, own_server, source, loop):
    machine = make(own_server, source, timeout=TIMEOUT, tier_options={"max_stale": 60})
    own_server.hold()
    begin = time.monotonic()
    for key in range(3):
        assert loop.run(machine.cache.afetch(key)) == source.value_of(key)
    assert time.monotonic() - begin < 5 * TIMEOUT + 3
    assert machine.tier.is_left_out
    loop.run(machine.cache.adelete(1))
    assert machine.tier.stats()["owed"] == 1
    own_server.go_on()
    until(lambda: loop.run(machine.cache.afetch(time.monotonic_ns())) and machine.tier.stats()["owed"] == 0)
    assert machine.tier.stats()["state"] == "closed"


def test_another_loop_than_the_clients_is_an_error_of_the_call_not_of_the_tier(make, own_server, source, loop):
    machine = make(own_server, source)
    loop.run(machine.cache.afetch(1))
    other = Loop()
    own_server.hold()
    with pytest.raises(RuntimeError, match="loop"):
        other.run(machine.cache.afetch(2))
    own_server.go_on()
    other.close()
    assert loop.run(machine.cache.afetch(3)) == source.value_of(3)
    assert machine.tier.stats()["state"] == "closed"


def test_dataloader_on_a_shared_cache(pair, source, loop):
    from forebay.batch import DataLoader

    here, there = pair

    async def main(cache):
        loader = DataLoader.of(cache)
        return await asyncio.gather(*(loader.load(key) for key in range(10)))

    assert loop.run(main(here.cache)) == loop.run(main(there.cache)) == [source.value_of(key) for key in range(10)]
    assert sorted(source.keys) == list(range(10))
