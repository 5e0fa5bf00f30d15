# SPDX-License-Identifier: Apache-2.0
"""What tests of tiers on Redis share: two arenas are two machines, and the server is a real one."""

from types import SimpleNamespace

import pytest
import redis

import forebay
from forebay._loading_options import Options
from forebay.testing import servers
from tiered import Machine, Source, until


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
