# SPDX-License-Identifier: Apache-2.0
"""An interrupt at any line of a tier's code: nothing stays locked, leased or wrong."""

import itertools
import linecache
import sys

import pytest
import redis

import forebay
from pooled import Call
from tiered import Machine, Source


class Stop(BaseException):
    """As KeyboardInterrupt, without the meaning that it has for the test's runner."""


def interrupt_at(number):
    """A trace function that raises at the n-th line of the tier's modules.

    Not at `try:`, nor at the end of a `with lock:`: lines for tracers, but nothing at which the interpreter
    looks for signals; nor in stores, whose own tests see to them."""
    left = number

    def trace(frame, event, argument):
        nonlocal left
        code = frame.f_code
        if "/forebay/tiers/_" not in code.co_filename or "_store" in code.co_filename or code.co_name == "<genexpr>":
            return None
        line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        if event == "line" and line != "try:" and not line.endswith("lock:"):
            left -= 1
            if left == 0:
                raise Stop
        return trace

    return trace


@pytest.fixture
def server(redis_server):
    yield redis_server
    redis_server.call("FLUSHALL")


def machine_on(server, source):
    client = redis.Redis(unix_socket_path=str(server.unix_path), socket_timeout=5, socket_connect_timeout=5)
    return Machine(forebay.tiers.Redis(client, coherent=False), source, load_timeout=30)


def interrupted(number, call, *arguments):
    """Was it?"""
    before = sys.gettrace()
    sys.settrace(interrupt_at(number))
    try:
        call(*arguments)
    except Stop:
        return True
    finally:
        sys.settrace(before)
    return False


def all_can_be_taken(locks):
    """By this thread."""
    for lock in locks:
        if not lock.acquire(blocking=False):
            return False
        lock.release()
    return True


def whole(machine, key):
    """No lock and no lease is held, and the breaker is as it was."""
    tier = machine.tier
    locks = (tier._lock, tier._records._lock, tier.dictionaries._lock, tier.breaker._lock, tier.writing._lock)
    assert Call(all_can_be_taken, locks).result(), "a lock is held"
    assert tier.stats()["state"] == "closed"
    taken, lease = machine.cache._lease_take(key, 10_000)
    assert taken == 1, f"somebody still has the lease of {key!r}"
    machine.cache._lease_end(lease)


CALLS = {
    "fetch": lambda machine: machine.cache.fetch(1),
    "refresh": lambda machine: machine.cache.refresh(1),
    "set": lambda machine: machine.cache.set(1, "new"),
    "delete": lambda machine: machine.cache.delete(1),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("there", [False, True])
def test_at_every_line(name, there, server):
    source = Source()
    machine = machine_on(server, source)
    for number in itertools.count(1):
        machine.tier._debts.clear()
        source.rows[1] = "old"
        machine.cache.set(1, "old") if there else machine.cache.delete(1)
        if there and name == "fetch":
            machine.cache._delete_here(1)  # the tier has it
        source.rows[1] = "new"
        before = server.call("GET", machine.name(1))
        if not interrupted(number, CALLS[name], machine):
            break
        whole(machine, 1)
        if name in ("set", "delete") and server.call("GET", machine.name(1)) != before:
            assert machine.cache.get(1) != "old"
        server.call("DEL", machine.name(1))  # as placeholders go by themselves
        machine.cache._delete_here(1)
        assert machine.cache.fetch(1) == "new"
    assert number > 20
    machine.close()
