# SPDX-License-Identifier: Apache-2.0
"""Fixtures: arenas in a folder of their own on the tmpfs, gone after each test."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

import forebay
from forebay.testing import servers

sys.path.insert(0, str(Path(__file__).parent))  # for what tests share


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="forebay-test-", dir="/dev/shm"))
    yield path
    path.chmod(0o700)
    shutil.rmtree(path)


@pytest.fixture
def path(folder):
    return folder / "test.forebay"


@pytest.fixture
def arena(path):
    with forebay.open(path, "16MiB") as arena:
        yield arena


@pytest.fixture
def cache(arena):
    return arena.cache("test")


def open_resources():
    """Descriptors and mapped files of this process."""
    descriptors = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            descriptors.append(str(entry.readlink()))
        except FileNotFoundError:  # the listing's own
            pass
    maps = Path("/proc/self/maps").read_text().splitlines()
    return sorted(name for name in descriptors if "/proc/" not in name), sorted(
        line.split(maxsplit=5)[5] for line in maps if ".forebay" in line or "memfd:" in line
    )


@pytest.fixture
def leaves_nothing_open():
    """What the test opens must be closed at its end."""
    before = open_resources()
    yield
    assert open_resources() == before


@pytest.fixture(scope="session")
def server_folder():
    """Where this session's servers have their sockets and files."""
    with tempfile.TemporaryDirectory(prefix="forebay-servers-") as folder:
        Path(folder).chmod(0o711)  # servers that refuse to be root pass through
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(server_folder):
    """A PostgreSQL server of this session; what a test makes in it, it takes away."""
    with servers.start_postgres(server_folder) as server:
        yield server


@pytest.fixture
def patient(monkeypatch):
    """A permit is not given back before the server has hung up, however long that takes."""
    monkeypatch.setattr("forebay.pools._hang_up.PATIENCE", 60.0)


@pytest.fixture(scope="session")
def redis_server(server_folder):
    with servers.start_redis(server_folder) as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server(server_folder):
    with servers.start_memcached(server_folder) as server:
        yield server


@pytest.fixture(scope="session")
def session_cluster(server_folder):
    with servers.start_redis_cluster(server_folder) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(session_cluster):
    """An empty Redis Cluster; a test that kills, holds or moves leaves the repair to this fixture, and adds no nodes."""
    yield session_cluster
    session_cluster.repair()
    for node in session_cluster.masters:
        node.call("FLUSHALL")


@pytest.fixture(scope="session")
def memcached_servers(server_folder):
    """Three, on ports of loopback."""
    with servers.start_memcacheds(server_folder, 3) as three:
        yield three


@pytest.fixture(scope="session")
def cassandra(server_folder):
    """A Cassandra node; for tests that are marked cassandra, which `make test-cassandra` runs."""
    if "FOREBAY_CASSANDRA_JARS" not in os.environ and not Path("build/cassandra/jars").exists():
        pytest.skip("Cassandra's jars are not here: make test-cassandra")
    with servers.start_cassandra(server_folder) as server:
        yield server
