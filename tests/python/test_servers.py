# SPDX-License-Identifier: Apache-2.0
"""The real servers that tests use: they answer, are private, and end with whoever started them."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import psycopg
import pymemcache
import pytest
import redis
from forebay.testing import servers

STARTERS = {"redis": servers.start_redis, "memcached": servers.start_memcached, "postgres": servers.start_postgres}


@pytest.fixture
def place():
    """A folder that other users may pass through, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="forebay-servers-") as folder:
        yield Path(folder)


def test_postgres_answers_on_its_socket_and_on_loopback(postgres):
    for conninfo in (postgres.conninfo, postgres.tcp_conninfo):
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("postgres",)
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("60",)


def test_postgres_wants_its_password_on_loopback(postgres):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.tcp_conninfo.replace(postgres.password, "another"))


def test_redis_and_memcached_answer(redis_server, memcached_server):
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as client:
        assert client.ping()
    client = pymemcache.Client(f"unix:{memcached_server.socket_path}")
    assert client.version()
    client.close()


def test_only_their_user_reaches_the_sockets(postgres, redis_server, memcached_server):
    assert redis_server.socket_path.stat().st_mode & 0o077 == 0
    for server in (postgres, memcached_server):
        assert server.socket_path.parent.stat().st_mode & 0o077 == 0


def test_what_postgres_keeps_is_there_after_a_restart(place):
    with servers.start_postgres(place, "-c", "max_connections=10") as server:
        with psycopg.connect(server.conninfo) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            connection.commit()
            connection.execute("CHECKPOINT")
            server.restart()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with psycopg.connect(server.conninfo) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
            assert connection.execute("SHOW max_connections").fetchone() == ("10",)
    assert server.process.poll() is not None


@pytest.mark.parametrize("name", STARTERS)
def test_a_stopped_server_answers_again_when_it_is_started(name, place):
    with STARTERS[name](place) as server:
        server.stop()
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError):
            probe.connect(str(server.socket_path))
        server.start()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(server.socket_path))
    server.close()


STARTED_AND_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from forebay.testing import servers
    server = servers.start_{name}(Path(sys.argv[1]))
    print(server.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", STARTERS)
def test_a_server_ends_with_a_process_that_is_killed(name, place):
    program = textwrap.dedent(STARTED_AND_KILLED.format(name=name))
    killed = subprocess.run([sys.executable, "-c", program, place], stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    try:
        ended = os.pidfd_open(int(killed.stdout))
    except ProcessLookupError:
        return
    with os.fdopen(ended):
        assert select.select([ended], [], [], 30)[0], "the server outlived who started it"


@pytest.mark.parametrize(("name", "option"), [("redis", "--no-such"), ("memcached", "--no-such"), ("postgres", "--no-such=1")])
def test_what_does_not_start_says_why(name, option, place):
    with pytest.raises(RuntimeError, match=r"(?s)did not start.*no.such"):
        STARTERS[name](place, option)


def test_a_server_that_is_not_installed_is_named(place, monkeypatch):
    monkeypatch.setattr(servers, "ELSEWHERE", "")
    monkeypatch.setattr(servers, "POSTGRES_BINARIES", "nowhere/*")
    monkeypatch.setenv("PATH", str(place))
    for name, program in (("redis", "redis-server"), ("memcached", "memcached"), ("postgres", "postgres")):
        with pytest.raises(RuntimeError, match=f"{program} is not installed"):
            STARTERS[name](place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
@pytest.mark.parametrize("name", ["memcached", "postgres"])
def test_a_folder_that_the_servers_user_may_not_enter_is_named(name, place):
    inner = place / "inner"
    inner.mkdir()
    place.chmod(0o700)
    with pytest.raises(RuntimeError, match=f"may not pass through {place}: choose another folder"):
        STARTERS[name](inner)
